//! Constraints: what they do to the catalog, the names they get, and what they read.

use pg_query::{
    NodeEnum,
    protobuf::{self, ConstrType},
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, ForeignKeyAction, Relation},
    ids::{ColId, RelId},
    pg::ident::QualifiedName,
};

use super::{draft::Draft, expression, generated_name, index, object, table_element};
use crate::compile::error::BindError;

/// The oldest server where NOT NULL is a constraint with a name.
const NAMED_NOT_NULL: u32 = 180_000;

/// Constraints that wait until all columns are there.
#[derive(Default)]
pub(super) struct Pending<'s> {
    not_nulls: Vec<(ColId, Option<&'s protobuf::Constraint>)>,
    checks: Vec<&'s protobuf::Constraint>,
    indexes: Vec<Waiting<'s>>,
    foreign_keys: Vec<Waiting<'s>>,
    last: Last,
}

/// A constraint on columns, with the DEFERRABLE that may stand behind it.
struct Waiting<'s> {
    columns: Vec<ColId>,
    constraint: &'s protobuf::Constraint,
    deferrable: bool,
    deferred: bool,
}

/// Which constraint a DEFERRABLE that follows is about.
#[derive(Default)]
enum Last {
    #[default]
    Other,
    Index,
    ForeignKey,
}

impl<'s> Pending<'s> {
    /// NOT NULL, with its own name where it has one.
    pub(super) fn not_null(&mut self, column: ColId, constraint: Option<&'s protobuf::Constraint>) {
        match self.not_nulls.iter_mut().find(|(c, _)| *c == column) {
            Some((_, known)) => *known = known.or(constraint),
            None => self.not_nulls.push((column, constraint)),
        }
        self.last = Last::Other;
    }

    /// CHECK.
    pub(super) fn check(&mut self, constraint: &'s protobuf::Constraint) {
        self.checks.push(constraint);
        self.last = Last::Other;
    }

    /// PRIMARY KEY, UNIQUE, EXCLUDE.
    pub(super) fn index(&mut self, columns: Vec<ColId>, constraint: &'s protobuf::Constraint) {
        self.indexes.push(Waiting::new(columns, constraint));
        self.last = Last::Index;
    }

    /// REFERENCES.
    pub(super) fn foreign_key(
        &mut self,
        columns: Vec<ColId>,
        constraint: &'s protobuf::Constraint,
    ) {
        self.foreign_keys.push(Waiting::new(columns, constraint));
        self.last = Last::ForeignKey;
    }

    /// DEFERRABLE (or INITIALLY DEFERRED) behind a column's constraint.
    pub(super) fn deferrable(&mut self, deferred: bool) {
        let last = match self.last {
            Last::Index => self.indexes.last_mut(),
            Last::ForeignKey => self.foreign_keys.last_mut(),
            Last::Other => None,
        };
        if let Some(last) = last {
            last.deferrable = true;
            last.deferred |= deferred;
        }
    }

    /// A constraint of the table as a whole.
    pub(super) fn table_constraint(
        &mut self,
        draft: &Draft<'_>,
        table: RelId,
        constraint: &'s protobuf::Constraint,
    ) -> Result<(), BindError> {
        match kind(constraint) {
            ConstrType::ConstrCheck => self.check(constraint),
            ConstrType::ConstrNotnull => {
                let columns = key_columns(draft, table, constraint)?;
                for column in columns {
                    self.not_null(column, Some(constraint));
                }
            }
            ConstrType::ConstrForeign => {
                let names = object::strings(&constraint.fk_attrs);
                let columns = columns(draft, table, &names)?;
                self.foreign_key(columns, constraint);
            }
            ConstrType::ConstrPrimary | ConstrType::ConstrUnique => {
                let columns = key_columns(draft, table, constraint)?;
                if kind(constraint) == ConstrType::ConstrPrimary {
                    for column in &columns {
                        self.not_null(*column, None);
                    }
                }
                self.index(columns, constraint);
            }
            _ => self.index(Vec::new(), constraint),
        }
        Ok(())
    }
}

impl<'s> Waiting<'s> {
    fn new(columns: Vec<ColId>, constraint: &'s protobuf::Constraint) -> Self {
        Self {
            columns,
            constraint,
            deferrable: constraint.deferrable,
            deferred: constraint.initdeferred,
        }
    }
}

/// What kind a parsed constraint is.
pub(super) fn kind(constraint: &protobuf::Constraint) -> ConstrType {
    ConstrType::try_from(constraint.contype).unwrap_or(ConstrType::Undefined)
}

fn key_columns(
    draft: &Draft<'_>,
    table: RelId,
    constraint: &protobuf::Constraint,
) -> Result<Vec<ColId>, BindError> {
    columns(draft, table, &object::strings(&constraint.keys))
}

/// Columns by name.
pub(super) fn columns(
    draft: &Draft<'_>,
    table: RelId,
    names: &[String],
) -> Result<Vec<ColId>, BindError> {
    names
        .iter()
        .map(|name| draft.column(table, name).map(|column| column.id))
        .collect()
}

/// Applies what waits, in PostgreSQL's order: CHECK, NOT NULL, indexes with the primary key first,
/// foreign keys. Names are made up in that order too.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    table: RelId,
    mut pending: Pending<'_>,
) -> Result<(), BindError> {
    for constraint in pending.checks {
        add_check(draft, table, constraint)?;
    }
    for (column, constraint) in pending.not_nulls {
        add_not_null(draft, table, column, constraint);
    }
    let is_primary = |waiting: &Waiting<'_>| kind(waiting.constraint) == ConstrType::ConstrPrimary;
    pending.indexes.sort_by_key(|waiting| !is_primary(waiting));
    // A second constraint on the same columns without a name of its own is the same one
    // (transformIndexConstraints in parse_utilcmd.c).
    let mut done: Vec<(Vec<ColId>, bool)> = Vec::new();
    for waiting in pending.indexes {
        let plain = !waiting.columns.is_empty();
        let again = done.iter().any(|(columns, deferrable)| {
            *columns == waiting.columns && *deferrable == waiting.deferrable
        });
        if plain && again && waiting.constraint.conname.is_empty() {
            continue;
        }
        done.push((waiting.columns.clone(), waiting.deferrable));
        add_index(draft, table, &waiting)?;
    }
    for waiting in pending.foreign_keys {
        add_foreign_key(draft, table, &waiting)?;
    }
    Ok(())
}

/// Adds one constraint of ALTER TABLE; its name.
pub(super) fn add(
    draft: &mut Draft<'_>,
    table: RelId,
    constraint: &protobuf::Constraint,
) -> Result<String, BindError> {
    let before: Vec<String> = names(draft.relation(table));
    if !constraint.conname.is_empty() && before.contains(&constraint.conname) {
        let table = draft.name(table).plain();
        return Err(BindError::at(
            constraint.location,
            format!(
                "constraint \"{}\" for relation \"{table}\" already exists",
                constraint.conname
            ),
        ));
    }
    let mut pending = Pending::default();
    pending.table_constraint(draft, table, constraint)?;
    if kind(constraint) == ConstrType::ConstrPrimary {
        let columns = pending.not_nulls.iter().map(|(column, _)| *column);
        let columns: Vec<ColId> = columns.collect();
        for column in columns {
            table_element::with_column(draft, table, column, |column| column.not_null = true);
        }
    }
    apply(draft, table, pending)?;
    let wanted = |c: &&Constraint| {
        !before.contains(&c.name)
            && (c.kind == ConstraintKind::NotNull)
                == (kind(constraint) == ConstrType::ConstrNotnull)
    };
    let relation = draft.relation(table);
    let added = relation.constraints.iter().find(wanted);
    Ok(added.map(|c| c.name.clone()).unwrap_or_default())
}

fn names(relation: &Relation) -> Vec<String> {
    relation
        .constraints
        .iter()
        .map(|c| c.name.clone())
        .collect()
}

fn add_check(
    draft: &mut Draft<'_>,
    table: RelId,
    constraint: &protobuf::Constraint,
) -> Result<(), BindError> {
    let Some(expression) = &constraint.raw_expr else {
        return Ok(());
    };
    expression::check_columns(draft, table, expression)?;
    table_element::use_functions(draft, expression);
    let columns = expression::columns_of(draft.relation(table), expression);
    let name = if constraint.conname.is_empty() {
        let relation = draft.relation(table);
        let column = match columns.as_slice() {
            [only] => relation.column_by_id(*only).map(|c| c.name.clone()),
            _ => None,
        };
        let (schema, table) = (relation.schema.clone(), relation.name.clone());
        generated_name::constraint(draft, &schema, &table, column.as_deref(), "check")
    } else {
        constraint.conname.clone()
    };
    let definition = format!("CHECK ({})", expression::text(expression)?);
    let family = if constraint.is_no_inherit {
        vec![table]
    } else {
        family(draft, table)
    };
    for member in family {
        // Columns have their own numbers in each table of an inheritance tree.
        let columns = expression::columns_of(draft.relation(member), expression);
        draft.add_constraint(
            member,
            Constraint {
                name: name.clone(),
                kind: ConstraintKind::Check,
                columns,
                deferrable: false,
                deferred: false,
                validated: !constraint.skip_validation,
                definition: definition.clone(),
            },
        );
    }
    Ok(())
}

/// Records a NOT NULL constraint, where the server has such. Partitions and inheriting tables get it too,
/// under the name that it has here (`ATExecSetNotNull` in tablecmds.c).
pub(super) fn add_not_null(
    draft: &mut Draft<'_>,
    table: RelId,
    column: ColId,
    constraint: Option<&protobuf::Constraint>,
) {
    table_element::with_column(draft, table, column, |column| column.not_null = true);
    let relation = draft.relation(table);
    let there = has_not_null(relation, column);
    let Some(known) = relation.column_by_id(column) else {
        return;
    };
    if draft.catalog.server_version < NAMED_NOT_NULL || there {
        return;
    }
    let definition = format!("NOT NULL {}", upshift_shared::pg::ident::ident(&known.name));
    let (schema, on) = (relation.schema.clone(), relation.name.clone());
    let column_name = known.name.clone();
    let name = match constraint {
        Some(constraint) if !constraint.conname.is_empty() => constraint.conname.clone(),
        _ => generated_name::constraint(draft, &schema, &on, Some(&column_name), "not_null"),
    };
    let family = match constraint {
        Some(constraint) if constraint.is_no_inherit => vec![table],
        _ => family(draft, table),
    };
    for member in family {
        let found = draft.relation(member).column(&column_name);
        let Some(column) = found.map(|column| column.id) else {
            continue;
        };
        table_element::with_column(draft, member, column, |column| column.not_null = true);
        let there = has_not_null(draft.relation(member), column);
        let constraint = Constraint {
            name: name.clone(),
            kind: ConstraintKind::NotNull,
            columns: vec![column],
            deferrable: false,
            deferred: false,
            validated: constraint.is_none_or(|c| !c.skip_validation),
            definition: definition.clone(),
        };
        if !there {
            draft.add_constraint(member, constraint);
        }
    }
}

fn has_not_null(relation: &Relation, column: ColId) -> bool {
    let mut constraints = relation.constraints.iter();
    constraints.any(|c| c.kind == ConstraintKind::NotNull && c.columns == [column])
}

fn add_index(draft: &mut Draft<'_>, table: RelId, waiting: &Waiting<'_>) -> Result<(), BindError> {
    let constraint = waiting.constraint;
    let (kind, label) = match kind(constraint) {
        ConstrType::ConstrPrimary => (ConstraintKind::PrimaryKey, "pkey"),
        ConstrType::ConstrUnique => (ConstraintKind::Unique, "key"),
        _ => (ConstraintKind::Exclusion, "excl"),
    };
    if kind == ConstraintKind::PrimaryKey {
        let relation = draft.relation(table);
        if relation.constraints.iter().any(|c| c.kind == kind) {
            let table = draft.name(table).plain();
            return Err(BindError::at(
                constraint.location,
                format!("multiple primary keys for table \"{table}\" are not allowed"),
            ));
        }
    }
    if !constraint.indexname.is_empty() {
        return index::attach_constraint(draft, table, constraint, kind);
    }
    let shape = index::Shape::of_constraint(draft, table, &waiting.columns, constraint)?;
    let deferrable = (waiting.deferrable || waiting.deferred, waiting.deferred);
    index::add_backing(draft, table, constraint, kind, label, &shape, deferrable)
}

fn add_foreign_key(
    draft: &mut Draft<'_>,
    table: RelId,
    waiting: &Waiting<'_>,
) -> Result<(), BindError> {
    let constraint = waiting.constraint;
    let Some(target) = &constraint.pktable else {
        return Ok(());
    };
    let target = draft.require(target)?;
    draft.alters(target);
    let named = object::strings(&constraint.pk_attrs);
    let target_columns = if named.is_empty() {
        primary_key(draft, target, constraint)?
    } else {
        columns(draft, target, &named)?
    };
    if !is_unique(draft.relation(target), &target_columns) {
        let target = draft.name(target).plain();
        return Err(BindError::at(
            constraint.location,
            format!(
                "there is no unique constraint matching given keys for referenced table \"{target}\""
            ),
        ));
    }
    draft.scans(target, &target_columns);
    let own: Vec<String> = waiting
        .columns
        .iter()
        .filter_map(|id| draft.relation(table).column_by_id(*id))
        .map(|column| column.name.clone())
        .collect();
    let name = if constraint.conname.is_empty() {
        let QualifiedName { schema, name } = draft.name(table);
        let addition = generated_name::addition(&own);
        generated_name::constraint(draft, &schema, &name, Some(&addition), "fkey")
    } else {
        constraint.conname.clone()
    };
    let record = Constraint {
        name,
        kind: ConstraintKind::ForeignKey {
            table: target,
            columns: target_columns,
            on_delete: action(&constraint.fk_del_action),
            on_update: action(&constraint.fk_upd_action),
        },
        columns: waiting.columns.clone(),
        deferrable: waiting.deferrable || waiting.deferred,
        deferred: waiting.deferred,
        validated: !constraint.skip_validation,
        definition: format!(
            "FOREIGN KEY ({}) REFERENCES {}",
            quote_list(&own),
            draft.quoted(target)
        ),
    };
    for member in family(draft, table) {
        let columns = columns(draft, member, &own)?;
        let record = Constraint {
            columns,
            ..record.clone()
        };
        draft.add_constraint(member, record);
    }
    Ok(())
}

fn quote_list(names: &[String]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| upshift_shared::pg::ident::ident(name))
        .collect();
    quoted.join(", ")
}

fn primary_key(
    draft: &Draft<'_>,
    target: RelId,
    constraint: &protobuf::Constraint,
) -> Result<Vec<ColId>, BindError> {
    let relation = draft.relation(target);
    let key = relation
        .constraints
        .iter()
        .find(|c| c.kind == ConstraintKind::PrimaryKey);
    key.map(|key| key.columns.clone()).ok_or_else(|| {
        let target = draft.name(target).plain();
        BindError::at(
            constraint.location,
            format!("there is no primary key for referenced table \"{target}\""),
        )
    })
}

/// Whether a unique index covers exactly these columns.
fn is_unique(relation: &Relation, columns: &[ColId]) -> bool {
    relation.indexes.iter().any(|index| {
        index.unique
            && index.predicate.is_none()
            && index.columns.len() == columns.len()
            && columns.iter().all(|c| index.columns.contains(&Some(*c)))
    })
}

fn action(letter: &str) -> ForeignKeyAction {
    match letter {
        "r" => ForeignKeyAction::Restrict,
        "c" => ForeignKeyAction::Cascade,
        "n" => ForeignKeyAction::SetNull,
        "d" => ForeignKeyAction::SetDefault,
        _ => ForeignKeyAction::NoAction,
    }
}

/// A table with everything that inherits from it or is a partition of it.
pub(super) fn family(draft: &Draft<'_>, table: RelId) -> Vec<RelId> {
    let mut family = vec![table];
    let mut next = 0;
    while let Some(id) = family.get(next).copied() {
        for child in &draft.relation(id).inheritance.children {
            if !family.contains(child) && draft.catalog.relation(*child).is_some() {
                family.push(*child);
            }
        }
        next += 1;
    }
    family
}

/// The constraint of a parse tree's table element.
pub(super) fn of_node(node: &pg_query::Node) -> Option<&protobuf::Constraint> {
    match &node.node {
        Some(NodeEnum::Constraint(constraint)) => Some(constraint),
        _ => None,
    }
}
