//! A snapshot of the parts of `pg_catalog` that the compiler binds statements against. It is plain
//! data: read once from the live database, then evolved step by step by the compiler (step 3 sees
//! the column that step 2 renamed).

pub mod installed;
mod relation;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use relation::{
    Column, Constraint, ConstraintKind, Dependent, ForeignKeyAction, Identity, Index, Inheritance,
    Persistence, Relation, RelationKind, RuleEvent, Trigger,
};

use crate::{ids::RelId, pg::ident::ident};

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
    /// Nobody has asked what hangs on tables, because no pass was to be expected: none of them is built
    /// anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hangings_unknown: bool,
    /// The next number for a relation that a step creates.
    next_relation: u32,
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
