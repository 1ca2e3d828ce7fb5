//! The table that a step changes, kept as the step finds and leaves it: what `optimise` composes
//! passes from. Only for tables that a pass may be worth while for, because every step costs a copy.

use std::{collections::BTreeSet, sync::Arc};

use pg_query::{Node, NodeEnum};
use upshift_shared::{
    catalog::{Catalog, ConstraintKind, Relation, RelationKind},
    ids::RelId,
    pack::{Directives, Pack, StrategyDirective},
    pg::ident::QualifiedName,
    plan::Strategy,
};

use super::query::qualified;
use crate::compile::model::{Around, Options, Passes, Resolved};

/// With fewer rows than this, a table's statements are over before a pass has begun.
const WORTH_A_PASS: f64 = 20_000.0;

/// The tables that a pass may be worth while for.
pub(super) struct Tables(BTreeSet<RelId>);

/// A table before a step.
pub(super) struct Before {
    relation: Arc<Relation>,
    around: Around,
}

/// Whether any table may be built anew by a pack: then the compiler has to know what hangs on tables.
#[must_use]
pub fn may_build_anew(pack: &Pack, catalog: &Catalog, options: &Options) -> bool {
    let migrations = pack.modules.values().flat_map(|module| &module.migrations);
    let scripts = migrations.flat_map(|migration| &migration.scripts);
    let mut steps = scripts.flat_map(|script| &script.steps);
    let asked = steps.any(|step| asks(&step.directives));
    candidates(asked, catalog, options).next().is_some()
}

/// Whether the author of a step wants its table to be built anew.
fn asks(directives: &Directives) -> bool {
    directives.strategy == Some(StrategyDirective::Shadow)
}

/// The tables that may be built anew.
fn candidates<'c>(
    asked: bool,
    catalog: &'c Catalog,
    options: &Options,
) -> impl Iterator<Item = &'c Relation> + use<'c> {
    let never = options.strategy == Strategy::Sequential || options.passes == Passes::InPlace;
    let asked = asked || options.passes == Passes::Shadow;
    let ordinary = catalog.relations().filter(move |relation| {
        !never && relation.kind == RelationKind::Table && relation.oid.is_some()
    });
    ordinary.filter(move |relation| asked || relation.rows >= WORTH_A_PASS)
}

impl Tables {
    pub(super) fn of(resolved: &Resolved, catalog: &Catalog, options: &Options) -> Self {
        if catalog.hangings_unknown {
            return Self(BTreeSet::new());
        }
        let asked = resolved.steps.iter().any(|step| asks(&step.directives));
        let candidates = candidates(asked, catalog, options);
        Self(candidates.map(|relation| relation.id).collect())
    }

    /// The table that a statement changes, as it is now.
    pub(super) fn before(
        &self,
        node: Option<&Node>,
        catalog: &Catalog,
        path: &[String],
    ) -> Option<Before> {
        if self.0.is_empty() {
            return None;
        }
        let id = target(node?, catalog, path)?;
        let relation = catalog.relation(id).filter(|_| self.0.contains(&id))?;
        let relation = Arc::new(relation.clone());
        let incoming = catalog.incoming(id);
        let (incoming, incoming_rows) = incoming
            .map(|(child, key)| ((child.id, qualified(child), key.clone()), child.rows))
            .unzip();
        let views = catalog.relations();
        let views =
            views.filter(|view| view.kind == RelationKind::View && view.reads.contains(&id));
        Some(Before {
            around: Around {
                before: Arc::clone(&relation),
                after: Arc::clone(&relation),
                incoming,
                incoming_rows,
                parents: Vec::new(),
                parent_columns: Vec::new(),
                views: views.map(|view| view.id).collect(),
                ancestors: ancestors(catalog, &relation),
            },
            relation,
        })
    }
}

impl Before {
    /// With the table as it is after the step.
    pub(super) fn after(self, catalog: &Catalog) -> Around {
        let Some(now) = catalog.relation(self.relation.id) else {
            return self.around;
        };
        let after = if *now == *self.relation {
            self.relation
        } else {
            Arc::new(now.clone())
        };
        let keys = self
            .around
            .before
            .constraints
            .iter()
            .chain(&after.constraints);
        let parents: BTreeSet<RelId> = keys
            .filter_map(|key| match &key.kind {
                ConstraintKind::ForeignKey { table, .. } => Some(*table),
                _ => None,
            })
            .collect();
        let named = |id: RelId| -> Option<(RelId, QualifiedName)> {
            Some((id, qualified(catalog.relation(id)?)))
        };
        let columns = |id: &RelId| {
            let columns = catalog.relation(*id)?.columns.iter();
            Some((*id, columns.map(|c| (c.id, c.name.clone())).collect()))
        };
        Around {
            after,
            parent_columns: parents.iter().filter_map(columns).collect(),
            parents: parents.into_iter().filter_map(named).collect(),
            ..self.around
        }
    }
}

fn ancestors(catalog: &Catalog, relation: &Relation) -> BTreeSet<RelId> {
    let mut found = BTreeSet::new();
    let mut open = relation.inheritance.parents.clone();
    while let Some(parent) = open.pop() {
        if found.insert(parent) {
            let parent = catalog.relation(parent);
            open.extend(parent.iter().flat_map(|parent| &parent.inheritance.parents));
        }
    }
    found
}

/// The one table that a statement changes, where it is of a kind that passes know.
fn target(node: &Node, catalog: &Catalog, path: &[String]) -> Option<RelId> {
    let range = match node.node.as_ref()? {
        NodeEnum::UpdateStmt(statement) => statement.relation.as_ref(),
        NodeEnum::DeleteStmt(statement) => statement.relation.as_ref(),
        NodeEnum::AlterTableStmt(statement) => statement.relation.as_ref(),
        NodeEnum::RenameStmt(statement) => statement.relation.as_ref(),
        NodeEnum::IndexStmt(statement) => statement.relation.as_ref(),
        _ => None,
    }?;
    let schema = (!range.schemaname.is_empty()).then_some(range.schemaname.as_str());
    catalog
        .find(schema, &range.relname, path)
        .map(|relation| relation.id)
}
