//! A snapshot of the parts of `pg_catalog` that the compiler binds statements against. It is plain
//! data: read once from the live database, then evolved step by step by the compiler (step 3 sees
//! the column that step 2 renamed).

pub mod installed;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ColId, RelId},
    pg::ident::ident,
};

/// The catalog of one database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// `server_version_num`, such as 150018.
    pub server_version: u32,
    /// The database's name.
    pub database: String,
    /// The session's `current_schemas(true)`, resolved: where unqualified names are looked up.
    pub search_path: Vec<String>,
    /// All schemas.
    pub schemas: Vec<String>,
    /// Relations that are not PostgreSQL's own or Upshift's own. Private, so that `names` cannot
    /// disagree with it.
    relations: BTreeMap<RelId, Relation>,
    /// Schema and name of every relation: 100,000 statements are bound through this map.
    #[serde(skip)]
    names: HashMap<String, HashMap<String, RelId>>,
    /// The table of every index, by schema and name: indexes share the namespace of relations.
    #[serde(skip)]
    index_names: HashMap<String, HashMap<String, RelId>>,
    /// How many constraints of a schema have a name: PostgreSQL makes up names that none has.
    #[serde(skip)]
    constraint_names: HashMap<String, HashMap<String, u32>>,
    /// The tables with foreign keys that point at a relation (or did).
    #[serde(skip)]
    referencing: HashMap<RelId, BTreeSet<RelId>>,
    /// Functions, PostgreSQL's own included, by name (unqualified); several where overloaded.
    pub functions: BTreeMap<String, Vec<Function>>,
    /// User-defined types: enums, domains, composites.
    pub types: Vec<UserType>,
    /// Names of extensions.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// The next number for a relation that a step creates.
    next_relation: u32,
}

/// A table, view, sequence or other row of `pg_class`, indexes apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Its number in this snapshot.
    pub id: RelId,
    /// `pg_class.oid`; `None` for one that a step creates.
    pub oid: Option<u32>,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Whether it is UNLOGGED or a temporary one.
    pub persistence: Persistence,
    /// Columns by position; dropped ones are not listed.
    pub columns: Vec<Column>,
    /// Constraints on it, foreign keys that point *at* it not included.
    pub constraints: Vec<Constraint>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// User triggers (internal ones of constraints not included).
    pub triggers: Vec<Trigger>,
    /// What rules other than a view's own are on, disabled ones included.
    pub rules: BTreeSet<RuleEvent>,
    /// Whether row-level security is enabled.
    pub row_security: bool,
    /// Whether it is a partitioned table, a partition, or in an inheritance tree.
    pub inheritance: Inheritance,
    /// For a view or materialized view: the relations that it reads.
    pub reads: Vec<RelId>,
    /// For a sequence: the column that owns it.
    pub owned_by: Option<(RelId, ColId)>,
    /// `pg_class.reltuples`, 0 when never analysed.
    pub rows: f64,
    /// Size of the main fork and TOAST, in bytes.
    pub bytes: u64,
    /// What hangs on a table and could not be carried over to a new one by a shadow pass.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// What depends on a table, is neither table nor view, and has to be pointed at a new one.
    #[serde(default)]
    pub dependents: Vec<Dependent>,
}

/// `pg_class.relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// `r`
    Table,
    /// `p`
    PartitionedTable,
    /// `v`
    View,
    /// `m`
    MaterializedView,
    /// `S`
    Sequence,
    /// `f`
    ForeignTable,
    /// `c`
    CompositeType,
}

/// `pg_class.relpersistence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// `p`
    #[default]
    Permanent,
    /// `u`
    Unlogged,
    /// `t`
    Temporary,
}

/// `pg_rewrite.ev_type` of what is not a view's own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleEvent {
    /// `2`
    Update,
    /// `3`
    Insert,
    /// `4`
    Delete,
}

/// What a shadow pass points at the new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependent {
    /// A rule of another relation that mentions the table.
    Rule {
        /// That relation.
        relation: RelId,
    },
    /// A publication that publishes the table.
    Publication {
        /// Name.
        name: String,
        /// Whether its column list or row filter names columns.
        columns: bool,
    },
    /// A partitioned table that it is a partition of.
    Parent,
    /// A function or procedure that has the row type in its signature or mentions the table in an SQL
    /// body (BEGIN ATOMIC).
    Function {
        /// Name, without its schema.
        name: String,
        /// Whether its body mentions the table.
        columns: bool,
    },
}

/// Where a table stands in inheritance or partitioning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// What it inherits from, or is a partition of.
    pub parents: Vec<RelId>,
    /// What inherits from it, or its partitions.
    pub children: Vec<RelId>,
}

/// A row of `pg_attribute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its number: `attnum`, or the next free one for a column that a step creates.
    pub id: ColId,
    /// Name.
    pub name: String,
    /// `format_type(atttypid, atttypmod)`, such as `character varying(64)`.
    pub type_name: String,
    /// Its collation, quoted, where that is not the default one.
    #[serde(default)]
    pub collation: Option<String>,
    /// `attnotnull`.
    pub not_null: bool,
    /// `pg_get_expr` of its default.
    pub default: Option<String>,
    /// Whether it is an identity column, and which kind.
    pub identity: Option<Identity>,
    /// The expression of a stored or virtual generated column.
    pub generated: Option<String>,
    /// The sequence that its default or identity draws from.
    pub sequence: Option<RelId>,
}

/// `pg_attribute.attidentity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// `a`
    Always,
    /// `d`
    ByDefault,
}

/// A row of `pg_constraint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: ConstraintKind,
    /// Its columns (`conkey`).
    pub columns: Vec<ColId>,
    /// Whether it is DEFERRABLE.
    pub deferrable: bool,
    /// Whether it is INITIALLY DEFERRED.
    pub deferred: bool,
    /// `convalidated`.
    pub validated: bool,
    /// `pg_get_constraintdef`.
    pub definition: String,
}

/// `pg_constraint.contype`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintKind {
    /// `p`
    PrimaryKey,
    /// `u`
    Unique,
    /// `c`
    Check,
    /// `x`
    Exclusion,
    /// `n`, a constraint of its own from PostgreSQL 18 on.
    NotNull,
    /// `t`
    ConstraintTrigger,
    /// `f`
    ForeignKey {
        /// The table that it points at.
        table: RelId,
        /// The columns that it points at.
        columns: Vec<ColId>,
        /// ON DELETE.
        on_delete: ForeignKeyAction,
        /// ON UPDATE.
        on_update: ForeignKeyAction,
    },
}

/// `confdeltype`, `confupdtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignKeyAction {
    /// `a`
    NoAction,
    /// `r`
    Restrict,
    /// `c`
    Cascade,
    /// `n`
    SetNull,
    /// `d`
    SetDefault,
}

/// An index and its row of `pg_index`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Name; its schema is its table's.
    pub name: String,
    /// `indisunique`
    pub unique: bool,
    /// `indisprimary`
    pub primary: bool,
    /// `indisvalid`
    pub valid: bool,
    /// `indimmediate`: uniqueness is checked row by row, not at the end.
    pub immediate: bool,
    /// Access method, such as `btree`.
    pub method: String,
    /// Key columns; `None` for an expression. INCLUDE columns are not listed.
    pub columns: Vec<Option<ColId>>,
    /// Every column that its keys, expressions, predicate or INCLUDE list mention.
    pub mentions: Vec<ColId>,
    /// The predicate of a partial index.
    pub predicate: Option<String>,
    /// `pg_get_indexdef`.
    pub definition: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A row of `pg_trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Name.
    pub name: String,
    /// Whether it fires in an ordinary session (`tgenabled` is `O` or `A`).
    pub enabled: bool,
    /// On INSERT.
    pub insert: bool,
    /// On UPDATE.
    pub update: bool,
    /// Only on UPDATE OF these; empty for all.
    pub update_of: Vec<ColId>,
    /// On DELETE.
    pub delete: bool,
    /// On TRUNCATE.
    pub truncate: bool,
    /// FOR EACH ROW.
    pub row: bool,
    /// A partition's copy of its parent's trigger up to PostgreSQL 14 (`tgisinternal`): only a superuser
    /// can disable it.
    pub internal: bool,
}

/// A row of `pg_proc`, as far as the compiler asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Schema.
    pub schema: String,
    /// `provolatile`.
    pub volatility: Volatility,
    /// `prokind` is `a`.
    pub aggregate: bool,
    /// `prokind` is `w`.
    pub window: bool,
    /// `proretset`.
    pub returns_set: bool,
    /// Whether the function is PostgreSQL's own (`pg_catalog`), so that its name says what it does.
    pub builtin: bool,
    /// `pronargs`
    pub arguments: u16,
}

/// `pg_proc.provolatile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volatility {
    /// `i`
    Immutable,
    /// `s`
    Stable,
    /// `v`
    Volatile,
}

/// A user-defined type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserType {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// `pg_type.typtype`: `e`num, `d`omain, `c`omposite, `r`ange, `b`ase.
    pub kind: char,
    /// For a domain of the snapshot: what it is made of.
    #[serde(default)]
    pub domain: Option<Domain>,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// `format_type(typbasetype, typtypmod)`.
    pub base: String,
    /// Whether columns without a default of their own get one from it.
    pub has_default: bool,
    /// Whether its constraints call functions or operators that are not PostgreSQL's own.
    pub calls_foreign: bool,
    /// Its collation, quoted, where that is not the default one.
    pub collation: Option<String>,
}

impl UserType {
    /// Its name as `format_type` prints it, which quotes only where it must.
    pub fn printed(&self) -> impl Iterator<Item = String> {
        let either = |name: &str| [name.to_owned(), ident(name)];
        let names = either(&self.name);
        let schemas = either(&self.schema).into_iter();
        schemas.flat_map(move |schema| {
            let names = names.clone().into_iter();
            names.map(move |name| format!("{schema}.{name}"))
        })
    }
}

impl Catalog {
    /// The relation that a possibly qualified name means, through the search path where it is not
    /// qualified.
    #[must_use]
    pub fn find(
        &self,
        schema: Option<&str>,
        name: &str,
        search_path: &[String],
    ) -> Option<&Relation> {
        let in_schema = |schema: &str| self.names.get(schema).and_then(|names| names.get(name));
        let id = match schema {
            Some(schema) => in_schema(schema),
            None => search_path.iter().find_map(|schema| in_schema(schema)),
        };
        id.and_then(|id| self.relations.get(id))
    }

    /// The domain that a column's type is, as `format_type` prints it with or without need of quotes.
    #[must_use]
    pub fn domain(&self, type_name: &str) -> Option<&Domain> {
        let domains = self.types.iter().filter(|own| own.domain.is_some());
        let mut named = domains.filter(|own| own.printed().any(|printed| printed == type_name));
        named.next()?.domain.as_ref()
    }

    /// All relations, by number.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    /// The relation of that number.
    #[must_use]
    pub fn relation(&self, id: RelId) -> Option<&Relation> {
        self.relations.get(&id)
    }

    /// The relation of that number, to be changed in anything but its schema, name, indexes and
    /// constraints ([`Self::rename`], [`Self::add_index`] and the like do that).
    pub fn relation_mut(&mut self, id: RelId) -> Option<&mut Relation> {
        self.relations.get_mut(&id)
    }

    /// Adds a relation; its `id` is set to a fresh number, which is returned.
    pub fn insert(&mut self, mut relation: Relation) -> RelId {
        let id = RelId(self.next_relation);
        self.next_relation += 1;
        relation.id = id;
        self.relations.insert(id, relation);
        self.remember(id);
        id
    }

    /// Takes a relation out.
    pub fn remove(&mut self, id: RelId) -> Option<Relation> {
        self.forget(id);
        self.relations.remove(&id)
    }

    /// Gives a relation another schema and name. Its indexes and constraints go along to the schema.
    pub fn rename(&mut self, id: RelId, schema: &str, name: &str) {
        self.forget(id);
        if let Some(relation) = self.relations.get_mut(&id) {
            schema.clone_into(&mut relation.schema);
            name.clone_into(&mut relation.name);
        }
        self.remember(id);
    }

    /// Adds an index to a table.
    pub fn add_index(&mut self, table: RelId, index: Index) {
        self.change(table, |relation| relation.indexes.push(index));
    }

    /// Adds a constraint to a relation.
    pub fn add_constraint(&mut self, relation: RelId, constraint: Constraint) {
        self.change(relation, |relation| relation.constraints.push(constraint));
    }

    /// Changes a relation's indexes and constraints in any way.
    pub fn change(&mut self, id: RelId, change: impl FnOnce(&mut Relation)) {
        self.forget(id);
        if let Some(relation) = self.relations.get_mut(&id) {
            change(relation);
        }
        self.remember(id);
    }

    /// The table that has the index of that name.
    #[must_use]
    pub fn index_owner(&self, schema: &str, index: &str) -> Option<RelId> {
        self.index_names.get(schema)?.get(index).copied()
    }

    /// Whether any relation of the schema has a constraint of that name.
    #[must_use]
    pub fn has_constraint(&self, schema: &str, constraint: &str) -> bool {
        let names = self.constraint_names.get(schema);
        names.is_some_and(|names| names.contains_key(constraint))
    }

    /// Rebuilds what is not stored; to be called once after deserialising.
    pub fn index_names(&mut self) {
        self.names.clear();
        self.index_names.clear();
        self.constraint_names.clear();
        self.referencing.clear();
        let ids: Vec<RelId> = self.relations.keys().copied().collect();
        for id in ids {
            self.remember(id);
        }
    }

    fn remember(&mut self, id: RelId) {
        let Some(relation) = self.relations.get(&id) else {
            return;
        };
        let names = self.names.entry(relation.schema.clone()).or_default();
        names.insert(relation.name.clone(), id);
        if !relation.indexes.is_empty() {
            let names = self.index_names.entry(relation.schema.clone()).or_default();
            names.extend(relation.indexes.iter().map(|i| (i.name.clone(), id)));
        }
        for constraint in &relation.constraints {
            let names = self
                .constraint_names
                .entry(relation.schema.clone())
                .or_default();
            *names.entry(constraint.name.clone()).or_default() += 1;
            if let ConstraintKind::ForeignKey { table, .. } = &constraint.kind {
                self.referencing.entry(*table).or_default().insert(id);
            }
        }
    }

    fn forget(&mut self, id: RelId) {
        let Some(relation) = self.relations.get(&id) else {
            return;
        };
        if let Some(names) = self.names.get_mut(&relation.schema) {
            names.remove(&relation.name);
        }
        if let Some(names) = self.index_names.get_mut(&relation.schema) {
            for index in &relation.indexes {
                names.remove(&index.name);
            }
        }
        if let Some(names) = self.constraint_names.get_mut(&relation.schema) {
            for constraint in &relation.constraints {
                let left = names.get(&constraint.name).map_or(0, |count| count - 1);
                if left == 0 {
                    names.remove(&constraint.name);
                } else {
                    names.insert(constraint.name.clone(), left);
                }
            }
        }
    }

    /// The foreign keys that point at a relation: the table that has each, and the constraint.
    pub fn incoming(&self, target: RelId) -> impl Iterator<Item = (&Relation, &Constraint)> {
        let tables = self.referencing.get(&target).into_iter().flatten();
        tables
            .filter_map(|id| self.relations.get(id))
            .flat_map(move |r| {
                r.constraints.iter().filter_map(move |c| match &c.kind {
                    ConstraintKind::ForeignKey { table, .. } if *table == target => Some((r, c)),
                    _ => None,
                })
            })
    }
}

impl Relation {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column of that number.
    #[must_use]
    pub fn column_by_id(&self, id: ColId) -> Option<&Column> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// The columns of the key that rows can be told apart by: the primary key, else the first valid
    /// unique index over plain NOT NULL columns without predicate that is checked at once.
    #[must_use]
    pub fn key(&self) -> Option<Vec<&Column>> {
        let usable = |index: &&Index| {
            index.unique
                && index.valid
                && index.immediate
                && index.predicate.is_none()
                && index.method == "btree"
                && index.columns.iter().all(|c| {
                    c.and_then(|c| self.column_by_id(c))
                        .is_some_and(|c| c.not_null)
                })
        };
        let mut candidates: Vec<&Index> = self.indexes.iter().filter(usable).collect();
        candidates.sort_by_key(|i| (!i.primary, i.columns.len()));
        let index = candidates.first()?;
        index
            .columns
            .iter()
            .map(|c| c.and_then(|c| self.column_by_id(c)))
            .collect()
    }
}
