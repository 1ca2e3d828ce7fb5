//! What a change to a table does beyond the rows it names: partitions, generated columns, checks,
//! foreign keys in both directions, triggers.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{
        Catalog, Column, Constraint, ConstraintKind, ForeignKeyAction, Relation, RelationKind,
        RuleEvent, Trigger,
    },
    ids::{ColId, RelId},
};

use crate::compile::{
    analyse::query::{Uses, descendants, type_of_column},
    model::Resource,
};

/// Everything that a statement's changes read and write.
#[derive(Debug, Default, Clone)]
pub(crate) struct Effects {
    pub(crate) reads: BTreeSet<Resource>,
    pub(crate) writes: BTreeSet<Resource>,
    /// Relations whose rows change, the statement's own target first.
    pub(crate) written: Vec<RelId>,
    /// Tables that foreign keys carry the change into, in words.
    pub(crate) cascades: Vec<String>,
    /// Why nobody can tell what happens: the first reason.
    pub(crate) opaque: Option<String>,
    /// Sequences that are drawn from for columns that are left to their default.
    pub(crate) sequences: BTreeSet<RelId>,
}

/// What happens to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event<'c> {
    Insert,
    Update(&'c BTreeSet<ColId>),
    Delete,
    /// To another partition: DELETE and INSERT for triggers of rows, not for those of statements
    /// (PostgreSQL manual, 39.1).
    Move,
    Truncate,
}

impl Effects {
    /// New rows, with values for these columns.
    pub(crate) fn insert(
        &mut self,
        catalog: &Catalog,
        relation: &Relation,
        given: &BTreeSet<ColId>,
    ) {
        for member in family(
            catalog,
            relation,
            relation.kind != RelationKind::PartitionedTable,
        ) {
            self.touch(member, Event::Insert);
            self.writes.insert(Resource::Rows(member.id));
            self.types(catalog, member, given);
            // A foreign key with a NULL in it is not looked up (MATCH SIMPLE).
            let filled = |id: &ColId| {
                let column = member.column_by_id(*id);
                given.contains(id) || column.is_some_and(|column| column.default.is_some())
            };
            for key in &member.constraints {
                if key.columns.iter().any(filled) {
                    self.referenced(catalog, key);
                }
            }
        }
    }

    /// Other values in these columns.
    pub(crate) fn update(
        &mut self,
        catalog: &Catalog,
        relation: &Relation,
        only: bool,
        columns: &BTreeSet<ColId>,
    ) {
        for member in family(catalog, relation, only) {
            let columns: BTreeSet<ColId> = columns
                .iter()
                .filter_map(|column| relation.column_by_id(*column))
                .filter_map(|column| member.column(&column.name))
                .map(|column| column.id)
                .collect();
            self.update_one(catalog, member, &columns);
            // A new partition key moves a row to another partition. Every unique key of a partitioned
            // table contains the partition key.
            let moves = relation.kind == RelationKind::PartitionedTable
                && relation.key().is_none_or(|key| {
                    key.iter()
                        .any(|column| member_has(member, column, &columns))
                });
            if moves {
                self.touch(member, Event::Move);
                self.writes.insert(Resource::Rows(member.id));
            }
        }
    }

    fn update_one(&mut self, catalog: &Catalog, relation: &Relation, columns: &BTreeSet<ColId>) {
        let new = columns.iter().any(|column| {
            !self
                .writes
                .contains(&Resource::Column(relation.id, *column))
        });
        if !new {
            return;
        }
        // UPDATE OF a generated column too fires when what it is computed from is assigned (PostgreSQL manual,
        // CREATE TRIGGER).
        let mut changed = columns.clone();
        changed.extend(computed_from(relation, columns));
        self.touch(relation, Event::Update(&changed));
        self.reads.insert(Resource::Rows(relation.id));
        for column in &changed {
            self.writes.insert(Resource::Column(relation.id, *column));
        }
        self.types(catalog, relation, columns);
        self.checked_with(relation, columns);
        for key in &relation.constraints {
            if key.columns.iter().any(|column| columns.contains(column)) {
                self.referenced(catalog, key);
            }
        }
        if !is_key_part(relation, columns) {
            return;
        }
        for (child, key) in catalog.incoming(relation.id) {
            let ConstraintKind::ForeignKey {
                columns: keyed,
                on_update,
                ..
            } = &key.kind
            else {
                continue;
            };
            if keyed.iter().any(|column| columns.contains(column)) {
                self.carried(catalog, relation, (child, key), *on_update, "ON UPDATE");
            }
        }
    }

    /// Rows go.
    pub(crate) fn delete(&mut self, catalog: &Catalog, relation: &Relation, only: bool) {
        for member in family(catalog, relation, only) {
            if !self.writes.insert(Resource::Rows(member.id)) {
                continue;
            }
            self.touch(member, Event::Delete);
            self.reads.insert(Resource::Rows(member.id));
            for (child, key) in catalog.incoming(member.id) {
                let ConstraintKind::ForeignKey { on_delete, .. } = &key.kind else {
                    continue;
                };
                if *on_delete == ForeignKeyAction::Cascade {
                    self.cascade(member, child, "ON DELETE CASCADE");
                    self.delete(catalog, child, false);
                } else {
                    self.carried(catalog, member, (child, key), *on_delete, "ON DELETE");
                }
            }
        }
    }

    /// All rows go, and no row trigger or foreign key action fires.
    pub(crate) fn truncate(&mut self, catalog: &Catalog, relation: &Relation, only: bool) {
        for member in family(catalog, relation, only) {
            if self.writes.insert(Resource::Rows(member.id)) {
                self.touch(member, Event::Truncate);
                for (child, key) in catalog.incoming(member.id) {
                    self.looks_at(child, key);
                }
            }
        }
    }

    /// What another statement inside the same one does.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.reads.append(&mut other.reads);
        self.writes.append(&mut other.writes);
        self.sequences.append(&mut other.sequences);
        self.cascades.append(&mut other.cascades);
        for relation in other.written {
            self.note_written(relation);
        }
        if self.opaque.is_none() {
            self.opaque = other.opaque;
        }
    }

    /// Adds what it reads and writes.
    pub(crate) fn add_to(&self, uses: &mut Uses) {
        uses.reads.extend(self.reads.iter().cloned());
        uses.writes.extend(self.writes.iter().cloned());
        for sequence in &self.sequences {
            uses.writes.insert(Resource::Sequence(*sequence));
            uses.reads.insert(Resource::Table(*sequence));
        }
        for resource in &self.reads {
            if let Resource::Table(table) = resource {
                uses.tables.entry(*table).or_default();
            }
        }
        for relation in &self.written {
            uses.tables.insert(*relation, true);
        }
    }

    fn note_written(&mut self, relation: RelId) {
        if !self.written.contains(&relation) {
            self.written.push(relation);
        }
    }

    fn touch(&mut self, relation: &Relation, event: Event<'_>) {
        self.reads.insert(Resource::Table(relation.id));
        self.note_written(relation.id);
        if self.opaque.is_none() {
            self.opaque = hidden_behaviour(relation, event);
        }
    }

    /// User-defined types of columns: a new enum label must be there before it is written.
    fn types(&mut self, catalog: &Catalog, relation: &Relation, columns: &BTreeSet<ColId>) {
        if catalog.types.is_empty() {
            return;
        }
        for column in columns.iter().filter_map(|c| relation.column_by_id(*c)) {
            self.reads
                .extend(type_of_column(catalog, &column.type_name));
        }
    }

    /// A new value is looked at together with the other columns of checks and unique indexes.
    fn checked_with(&mut self, relation: &Relation, columns: &BTreeSet<ColId>) {
        let checks = relation
            .constraints
            .iter()
            .filter(|c| matches!(c.kind, ConstraintKind::Check | ConstraintKind::Exclusion))
            .map(|c| &c.columns);
        let unique = relation
            .indexes
            .iter()
            .filter(|i| i.unique)
            .map(|i| &i.mentions);
        for together in checks.chain(unique) {
            if together.iter().any(|column| columns.contains(column)) {
                let read = together.iter().map(|c| Resource::Column(relation.id, *c));
                self.reads.extend(read);
            }
        }
    }

    /// A new value of a foreign key column is looked up.
    fn referenced(&mut self, catalog: &Catalog, constraint: &Constraint) {
        if let ConstraintKind::ForeignKey { table, columns, .. } = &constraint.kind
            && let Some(target) = catalog.relation(*table)
        {
            self.reads.insert(Resource::Table(target.id));
            self.reads.insert(Resource::Rows(target.id));
            let columns = columns
                .iter()
                .map(|column| Resource::Column(target.id, *column));
            self.reads.extend(columns);
        }
    }

    fn looks_at(&mut self, child: &Relation, key: &Constraint) {
        self.reads.insert(Resource::Table(child.id));
        self.reads.insert(Resource::Rows(child.id));
        let columns = key
            .columns
            .iter()
            .map(|column| Resource::Column(child.id, *column));
        self.reads.extend(columns);
    }

    /// A foreign key that points at a row that goes or gets another key.
    fn carried(
        &mut self,
        catalog: &Catalog,
        parent: &Relation,
        (child, key): (&Relation, &Constraint),
        action: ForeignKeyAction,
        on: &str,
    ) {
        let action = match action {
            ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => {
                self.looks_at(child, key);
                return;
            }
            ForeignKeyAction::Cascade => "CASCADE",
            ForeignKeyAction::SetNull => "SET NULL",
            ForeignKeyAction::SetDefault => "SET DEFAULT",
        };
        self.cascade(parent, child, &format!("{on} {action}"));
        let columns: BTreeSet<ColId> = key.columns.iter().copied().collect();
        self.update(catalog, child, false, &columns);
    }

    fn cascade(&mut self, parent: &Relation, child: &Relation, how: &str) {
        let what = format!("{} {how} changes {}", parent.name, child.name);
        if !self.cascades.contains(&what) {
            self.cascades.push(what);
        }
    }
}

fn member_has(member: &Relation, column: &Column, columns: &BTreeSet<ColId>) -> bool {
    let same = member.column(&column.name);
    same.is_some_and(|column| columns.contains(&column.id))
}

/// The relation and what inherits from it.
fn family<'c>(catalog: &'c Catalog, relation: &'c Relation, only: bool) -> Vec<&'c Relation> {
    let mut family = vec![relation];
    if !only {
        family.extend(descendants(catalog, relation.id));
    }
    family
}

/// What fires or stands between the statement and the table, so that nobody can tell what happens.
fn hidden_behaviour(relation: &Relation, event: Event<'_>) -> Option<String> {
    let name = &relation.name;
    match relation.kind {
        RelationKind::Table | RelationKind::PartitionedTable => {}
        RelationKind::ForeignTable => {
            return Some(format!("{name} is a foreign table: its rows are elsewhere"));
        }
        RelationKind::View => return Some(format!("it writes through the view {name}")),
        _ => return Some(format!("{name} is not a table")),
    }
    let ruled = |event| relation.rules.contains(&event);
    let ruled = match event {
        // The way back of either is the other.
        Event::Insert | Event::Delete => ruled(RuleEvent::Insert) || ruled(RuleEvent::Delete),
        Event::Update(_) => ruled(RuleEvent::Update),
        Event::Move | Event::Truncate => false,
    };
    if ruled {
        return Some(format!("rules on {name} may do anything"));
    }
    if relation.row_security && event != Event::Truncate {
        return Some(format!(
            "row-level security on {name} decides which rows it sees"
        ));
    }
    let fires = |trigger: &&Trigger| {
        // What fires on the way back is disabled for it, where that can be done.
        let both = trigger.internal && (trigger.insert || trigger.delete);
        trigger.enabled
            && match event {
                Event::Insert => trigger.insert || both,
                Event::Delete => trigger.delete || both,
                Event::Move => trigger.row && (trigger.insert || trigger.delete),
                Event::Truncate => trigger.truncate,
                Event::Update(columns) => {
                    trigger.update
                        && (trigger.update_of.is_empty()
                            || trigger.update_of.iter().any(|c| columns.contains(c)))
                }
            }
    };
    relation
        .triggers
        .iter()
        .find(fires)
        .map(|trigger| format!("the trigger {} on {name} may do anything", trigger.name))
}

/// Generated columns whose expression mentions one of these. By name, so that one too many may be
/// found, never one too few.
fn computed_from(relation: &Relation, columns: &BTreeSet<ColId>) -> Vec<ColId> {
    let names: Vec<&str> = columns
        .iter()
        .filter_map(|column| relation.column_by_id(*column))
        .map(|column| column.name.as_str())
        .collect();
    relation
        .columns
        .iter()
        .filter(|column| {
            column.generated.as_ref().is_some_and(|expression| {
                let quoted = |name: &&str| expression.contains(&name.replace('"', "\"\""));
                names.iter().any(quoted)
            })
        })
        .map(|column| column.id)
        .collect()
}

/// Whether a foreign key may point at one of these columns.
fn is_key_part(relation: &Relation, columns: &BTreeSet<ColId>) -> bool {
    relation.indexes.iter().any(|index| {
        index.unique
            && index
                .columns
                .iter()
                .flatten()
                .any(|column| columns.contains(column))
    })
}
