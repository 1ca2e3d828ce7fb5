//! Reads a [`Catalog`] from a live database: a dozen set-based queries in one read-only snapshot,
//! however many tables there are, with no more rights than any role has.

use std::collections::{BTreeSet, HashMap};

use sqlx::{Executor, PgConnection, Row, postgres::PgRow};

use super::{
    Catalog, Column, Constraint, ConstraintKind, Dependent, Domain, ForeignKeyAction, Function,
    Identity, Index, Inheritance, Persistence, Relation, RelationKind, RuleEvent, Trigger,
    UserType, Volatility,
};
use crate::{
    Error, Result,
    ids::{ColId, RelId},
};

/// What a shadow pass could not carry over: `relation` (oid) and `obstacle`, of all tables.
const OBSTACLES: &str = include_str!("sql/obstacles.sql");

/// The same of the table that the first parameter names, quoted and qualified.
#[must_use]
pub fn obstacles_of_one() -> String {
    let marker = "/* of one table */";
    debug_assert!(OBSTACLES.contains(marker), "the query says where");
    OBSTACLES.replace(marker, "AND c.oid = to_regclass($1)")
}

/// Reads the catalog. The connection must not be in a transaction.
///
/// # Errors
/// When the database cannot be asked, or answers with something that this version does not know.
pub async fn read(conn: &mut PgConnection) -> Result<Catalog> {
    read_for(conn, |_| true).await
}

/// The same; `passes` says, by relations and their sizes, whether tables may be built anew. Otherwise it is not
/// asked what hangs on them, which takes longer than all the rest.
///
/// # Errors
/// See [`read`].
pub async fn read_for(
    conn: &mut PgConnection,
    passes: impl FnOnce(&Catalog) -> bool + Send,
) -> Result<Catalog> {
    // The search path has to be read before it is emptied, which makes PostgreSQL qualify every name
    // in the expressions and definitions that it prints.
    let database = fetch(conn, include_str!("sql/database.sql"), "the database").await?;
    run(
        conn,
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    )
    .await?;
    let read = read_in_transaction(conn, &database, passes).await;
    let end = run(conn, if read.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let catalog = read?;
    end?;
    Ok(catalog)
}

async fn read_in_transaction(
    conn: &mut PgConnection,
    database: &[PgRow],
    passes: impl FnOnce(&Catalog) -> bool + Send,
) -> Result<Catalog> {
    run(conn, "SET LOCAL search_path = ''").await?;
    // Estimates of catalog queries are far off, and compiling one takes longer than all of them. Functions that
    // print definitions lock what they print: whoever holds a table is not waited for for ever.
    run(conn, "SET LOCAL jit = off; SET LOCAL lock_timeout = '10s'").await?;
    let mut reader = Reader::default();
    reader.database(database)?;
    for row in fetch(conn, include_str!("sql/schemas.sql"), "schemas").await? {
        reader.catalog.schemas.push(get(&row, "name")?);
    }
    for row in fetch(conn, include_str!("sql/relations.sql"), "relations").await? {
        reader.relation(&row)?;
    }
    for row in fetch(conn, include_str!("sql/columns.sql"), "columns").await? {
        reader.column(&row)?;
    }
    for row in fetch(conn, include_str!("sql/constraints.sql"), "constraints").await? {
        reader.constraint(&row)?;
    }
    for row in fetch(conn, include_str!("sql/indexes.sql"), "indexes").await? {
        reader.index(&row)?;
    }
    for row in fetch(conn, include_str!("sql/triggers.sql"), "triggers").await? {
        reader.trigger(&row)?;
    }
    for row in fetch(conn, include_str!("sql/inheritance.sql"), "inheritance").await? {
        reader.inheritance(&row)?;
    }
    for row in fetch(conn, include_str!("sql/view_reads.sql"), "views").await? {
        reader.view_read(&row)?;
    }
    match passes(&reader.catalog) {
        true => read_hangings(conn, &mut reader).await?,
        false => reader.catalog.hangings_unknown = true,
    }
    for row in fetch(conn, include_str!("sql/sequences.sql"), "sequences").await? {
        reader.sequence(&row)?;
    }
    for row in fetch(conn, include_str!("sql/functions.sql"), "functions").await? {
        reader.function(&row)?;
    }
    for row in fetch(conn, include_str!("sql/types.sql"), "types").await? {
        reader.user_type(&row)?;
    }
    for row in fetch(conn, include_str!("sql/extensions.sql"), "extensions").await? {
        reader.catalog.extensions.push(get(&row, "name")?);
    }
    Ok(reader.catalog)
}

/// What hangs on tables: what a pass could not carry over, and what it has to.
async fn read_hangings(conn: &mut PgConnection, reader: &mut Reader) -> Result<()> {
    for row in fetch(conn, OBSTACLES, "dependents").await? {
        let obstacle: String = get(&row, "obstacle")?;
        if let Some(relation) = reader.of(&row, "relation")? {
            relation.obstacles.push(obstacle);
        }
    }
    for row in fetch(conn, include_str!("sql/carried.sql"), "what is carried").await? {
        reader.dependent(&row)?;
    }
    Ok(())
}

async fn run(conn: &mut PgConnection, sql: &'static str) -> Result<()> {
    conn.execute(sql)
        .await
        .map_err(Error::database("reading the catalog"))?;
    Ok(())
}

pub(super) async fn fetch(
    conn: &mut PgConnection,
    sql: &'static str,
    what: &str,
) -> Result<Vec<PgRow>> {
    // Asked once a run: a prepared statement would only stay behind in the session.
    sqlx::query(sql)
        .persistent(false)
        .fetch_all(conn)
        .await
        .map_err(Error::database(format!("reading {what}")))
}

pub(super) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column)
        .map_err(Error::database(format!("reading the catalog ({column})")))
}

/// The catalog in the making, with the way from oids to its own numbers.
#[derive(Default)]
struct Reader {
    catalog: Catalog,
    numbers: HashMap<i64, RelId>,
}

impl Reader {
    fn database(&mut self, rows: &[PgRow]) -> Result<()> {
        if let Some(row) = rows.first() {
            self.catalog.server_version = get::<i32>(row, "server_version")?.unsigned_abs();
            self.catalog.database = get(row, "database")?;
            self.catalog.search_path = get(row, "search_path")?;
        }
        Ok(())
    }

    fn relation(&mut self, row: &PgRow) -> Result<()> {
        let oid: i64 = get(row, "oid")?;
        let kind: &str = get(row, "kind")?;
        let persistence: &str = get(row, "persistence")?;
        let relation = Relation {
            id: RelId(0),
            oid: u32::try_from(oid).ok(),
            schema: get(row, "schema")?,
            name: get(row, "name")?,
            kind: relation_kind(kind)?,
            persistence: match persistence {
                "u" => Persistence::Unlogged,
                "t" => Persistence::Temporary,
                _ => Persistence::Permanent,
            },
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
            triggers: Vec::new(),
            rules: rule_events(&get::<Vec<String>>(row, "rules")?)?,
            row_security: get(row, "row_security")?,
            inheritance: Inheritance::default(),
            reads: Vec::new(),
            owned_by: None,
            rows: get(row, "rows")?,
            bytes: get::<i64>(row, "bytes")?.unsigned_abs(),
            obstacles: Vec::new(),
            dependents: Vec::new(),
        };
        let id = self.catalog.insert(relation);
        self.numbers.insert(oid, id);
        Ok(())
    }

    /// The relation that a row is about; `None` for one that the snapshot leaves out.
    fn of(&mut self, row: &PgRow, column: &str) -> Result<Option<&mut Relation>> {
        let id = self.number(row, column)?;
        Ok(id.and_then(|id| self.catalog.relation_mut(id)))
    }

    fn number(&self, row: &PgRow, column: &str) -> Result<Option<RelId>> {
        Ok(self.numbers.get(&get::<i64>(row, column)?).copied())
    }

    fn column(&mut self, row: &PgRow) -> Result<()> {
        let expression: Option<String> = get(row, "expression")?;
        let generated = !get::<&str>(row, "generated")?.is_empty();
        let (default, generated) = if generated {
            (None, expression)
        } else {
            (expression, None)
        };
        let column = Column {
            id: col_id(get(row, "number")?)?,
            name: get(row, "name")?,
            type_name: get(row, "type_name")?,
            collation: get(row, "collation")?,
            not_null: get(row, "not_null")?,
            default,
            identity: match get::<&str>(row, "identity")? {
                "a" => Some(Identity::Always),
                "d" => Some(Identity::ByDefault),
                _ => None,
            },
            generated,
            sequence: None,
        };
        if let Some(relation) = self.of(row, "relation")? {
            relation.columns.push(column);
        }
        Ok(())
    }

    fn constraint(&mut self, row: &PgRow) -> Result<()> {
        let kind = match get::<&str>(row, "kind")? {
            "p" => ConstraintKind::PrimaryKey,
            "u" => ConstraintKind::Unique,
            "c" => ConstraintKind::Check,
            "x" => ConstraintKind::Exclusion,
            "n" => ConstraintKind::NotNull,
            "t" => ConstraintKind::ConstraintTrigger,
            "f" => match self.number(row, "referenced")? {
                Some(table) => ConstraintKind::ForeignKey {
                    table,
                    columns: col_ids(&get::<Vec<i16>>(row, "referenced_columns")?)?,
                    on_delete: foreign_key_action(get(row, "on_delete")?)?,
                    on_update: foreign_key_action(get(row, "on_update")?)?,
                },
                // It points at a table of PostgreSQL's own, which nobody may have.
                None => return Ok(()),
            },
            other => return Err(unknown("pg_constraint.contype", other)),
        };
        let constraint = Constraint {
            name: get(row, "name")?,
            kind,
            columns: col_ids(&get::<Vec<i16>>(row, "columns")?)?,
            deferrable: get(row, "deferrable")?,
            deferred: get(row, "deferred")?,
            validated: get(row, "validated")?,
            definition: get(row, "definition")?,
        };
        if let Some(relation) = self.number(row, "relation")? {
            self.catalog.add_constraint(relation, constraint);
        }
        Ok(())
    }

    fn index(&mut self, row: &PgRow) -> Result<()> {
        let all = attribute_numbers(get(row, "columns")?)?;
        let keys = usize::try_from(get::<i32>(row, "keys")?).unwrap_or(0);
        let mut mentions: Vec<ColId> = all.iter().copied().flatten().collect();
        for number in get::<Vec<i32>>(row, "mentions")? {
            mentions.push(col_id(number)?);
        }
        mentions.sort_unstable();
        mentions.dedup();
        let index = Index {
            name: get(row, "name")?,
            unique: get(row, "is_unique")?,
            primary: get(row, "is_primary")?,
            valid: get(row, "is_valid")?,
            immediate: get(row, "immediate")?,
            method: get(row, "method")?,
            columns: all.into_iter().take(keys).collect(),
            mentions,
            predicate: get(row, "predicate")?,
            definition: get(row, "definition")?,
            bytes: get::<i64>(row, "bytes")?.unsigned_abs(),
        };
        if let Some(relation) = self.number(row, "relation")? {
            self.catalog.add_index(relation, index);
        }
        Ok(())
    }

    fn trigger(&mut self, row: &PgRow) -> Result<()> {
        // Bits of pg_trigger.tgtype, as src/include/catalog/pg_trigger.h numbers them.
        let events: i32 = get(row, "events")?;
        let trigger = Trigger {
            name: get(row, "name")?,
            enabled: get(row, "enabled")?,
            insert: events & 4 != 0,
            delete: events & 8 != 0,
            update: events & 16 != 0,
            truncate: events & 32 != 0,
            row: events & 1 != 0,
            internal: get(row, "internal")?,
            update_of: attribute_numbers(get(row, "update_of")?)?
                .into_iter()
                .flatten()
                .collect(),
        };
        if let Some(relation) = self.of(row, "relation")? {
            relation.triggers.push(trigger);
        }
        Ok(())
    }

    fn inheritance(&mut self, row: &PgRow) -> Result<()> {
        let child = self.number(row, "child")?;
        let parent = self.number(row, "parent")?;
        let (Some(child), Some(parent)) = (child, parent) else {
            return Ok(());
        };
        if let Some(relation) = self.catalog.relation_mut(child) {
            relation.inheritance.parents.push(parent);
        }
        if let Some(relation) = self.catalog.relation_mut(parent) {
            relation.inheritance.children.push(child);
        }
        Ok(())
    }

    fn view_read(&mut self, row: &PgRow) -> Result<()> {
        let read = self.number(row, "relation")?;
        if let (Some(view), Some(read)) = (self.of(row, "view")?, read) {
            view.reads.push(read);
        }
        Ok(())
    }

    fn dependent(&mut self, row: &PgRow) -> Result<()> {
        let dependent = match get::<&str>(row, "kind")? {
            "rule" => match self.number(row, "other")? {
                Some(relation) => Dependent::Rule { relation },
                None => return Ok(()),
            },
            "parent" => Dependent::Parent,
            "function" => Dependent::Function {
                name: get(row, "name")?,
                columns: get(row, "columns")?,
            },
            _ => Dependent::Publication {
                name: get(row, "name")?,
                columns: get(row, "columns")?,
            },
        };
        if let Some(relation) = self.of(row, "relation")? {
            relation.dependents.push(dependent);
        }
        Ok(())
    }

    fn sequence(&mut self, row: &PgRow) -> Result<()> {
        let sequence = self.number(row, "sequence")?;
        let relation = self.number(row, "relation")?;
        let (Some(sequence), Some(relation)) = (sequence, relation) else {
            return Ok(());
        };
        let number = col_id(get(row, "number")?)?;
        if get(row, "owned")?
            && let Some(sequence) = self.catalog.relation_mut(sequence)
        {
            sequence.owned_by = Some((relation, number));
        }
        if get(row, "draws")?
            && let Some(relation) = self.catalog.relation_mut(relation)
            && let Some(column) = relation.columns.iter_mut().find(|c| c.id == number)
        {
            column.sequence = Some(sequence);
        }
        Ok(())
    }

    fn function(&mut self, row: &PgRow) -> Result<()> {
        let kind: &str = get(row, "kind")?;
        let function = Function {
            schema: get(row, "schema")?,
            volatility: match get::<&str>(row, "volatility")? {
                "i" => Volatility::Immutable,
                "s" => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            aggregate: kind == "a",
            window: kind == "w",
            returns_set: get(row, "returns_set")?,
            builtin: get(row, "builtin")?,
            arguments: u16::try_from(get::<i32>(row, "arguments")?).unwrap_or(u16::MAX),
        };
        let name: String = get(row, "name")?;
        self.catalog
            .functions
            .entry(name)
            .or_default()
            .push(function);
        Ok(())
    }

    fn user_type(&mut self, row: &PgRow) -> Result<()> {
        let kind: &str = get(row, "kind")?;
        self.catalog.types.push(UserType {
            schema: get(row, "schema")?,
            name: get(row, "name")?,
            kind: kind.chars().next().unwrap_or('b'),
            domain: match get::<Option<String>>(row, "base")? {
                Some(base) => Some(Domain {
                    base,
                    has_default: get(row, "has_default")?,
                    calls_foreign: get(row, "calls_foreign")?,
                    collation: get(row, "collation")?,
                }),
                None => None,
            },
        });
        Ok(())
    }
}

fn rule_events(letters: &[String]) -> Result<BTreeSet<RuleEvent>> {
    let event = |letter: &String| {
        Ok(match letter.as_str() {
            "2" => RuleEvent::Update,
            "3" => RuleEvent::Insert,
            "4" => RuleEvent::Delete,
            other => return Err(unknown("pg_rewrite.ev_type", other)),
        })
    };
    letters.iter().map(event).collect()
}

fn relation_kind(relkind: &str) -> Result<RelationKind> {
    Ok(match relkind {
        "r" => RelationKind::Table,
        "p" => RelationKind::PartitionedTable,
        "v" => RelationKind::View,
        "m" => RelationKind::MaterializedView,
        "S" => RelationKind::Sequence,
        "f" => RelationKind::ForeignTable,
        "c" => RelationKind::CompositeType,
        other => return Err(unknown("pg_class.relkind", other)),
    })
}

fn foreign_key_action(letter: &str) -> Result<ForeignKeyAction> {
    Ok(match letter {
        "a" => ForeignKeyAction::NoAction,
        "r" => ForeignKeyAction::Restrict,
        "c" => ForeignKeyAction::Cascade,
        "n" => ForeignKeyAction::SetNull,
        "d" => ForeignKeyAction::SetDefault,
        other => return Err(unknown("pg_constraint.confdeltype", other)),
    })
}

fn col_id(number: i32) -> Result<ColId> {
    u16::try_from(number)
        .map(ColId)
        .map_err(|_| unknown("an attribute number", &number.to_string()))
}

fn col_ids(numbers: &[i16]) -> Result<Vec<ColId>> {
    // 0 stands for an expression of an exclusion constraint.
    let numbers = numbers.iter().filter(|n| **n != 0);
    numbers.map(|n| col_id(i32::from(*n))).collect()
}

/// Reads an `int2vector` that was cast to text; 0 stands for an expression.
fn attribute_numbers(text: &str) -> Result<Vec<Option<ColId>>> {
    text.split_whitespace()
        .map(|word| match word {
            "0" => Ok(None),
            _ => match word.parse() {
                Ok(number) => Ok(Some(ColId(number))),
                Err(_) => Err(unknown("an attribute number", word)),
            },
        })
        .collect()
}

fn unknown(what: &str, value: &str) -> Error {
    Error::Format(format!(
        "the catalog holds {what} = {value}, which this version of upshift does not know"
    ))
}
