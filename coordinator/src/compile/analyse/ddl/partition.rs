//! Inheritance and partitions: INHERIT, ATTACH PARTITION and their opposites.

use pg_query::{
    NodeEnum,
    protobuf::{AlterTableCmd, AlterTableType as Type, RangeVar},
};
use upshift_shared::{catalog::RelationKind, ids::RelId};

use super::{
    alter_table::{Effect, kind},
    draft::Draft,
};
use crate::compile::error::BindError;

fn other(command: &AlterTableCmd) -> Option<&RangeVar> {
    match command.def.as_ref()?.node.as_ref()? {
        NodeEnum::RangeVar(name) => Some(name),
        NodeEnum::PartitionCmd(partition) => partition.name.as_ref(),
        _ => None,
    }
}

fn require(draft: &mut Draft<'_>, command: &AlterTableCmd) -> Result<RelId, BindError> {
    let name = other(command).ok_or_else(|| BindError::new("the other table is missing"))?;
    let id = draft.require(name)?;
    draft.alters(id);
    Ok(id)
}

/// INHERIT, NO INHERIT
pub(super) fn inherit(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let parent = require(draft, command)?;
    if kind(command) == Type::AtDropInherit {
        unlink(draft, parent, table);
        // The columns would come back as the child's own as well as inherited ones.
        return Effect::lost("NO INHERIT");
    }
    link(draft, parent, table);
    Effect::invert(vec![format!(
        "ALTER TABLE {} NO INHERIT {}",
        draft.quoted(table),
        draft.quoted(parent)
    )])
}

/// ATTACH PARTITION
pub(super) fn attach(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let partition = require(draft, command)?;
    draft.scans_all(partition);
    draft.costs("scans the partition to check its bounds");
    let undo = format!(
        "ALTER TABLE {} DETACH PARTITION {}",
        draft.quoted(table),
        draft.quoted(partition)
    );
    let parent = draft.relation(table);
    let leaves_something =
        !parent.indexes.is_empty() || !parent.constraints.is_empty() || !parent.triggers.is_empty();
    let nested = draft.relation(partition).kind == RelationKind::PartitionedTable;
    link(draft, table, partition);
    if leaves_something || nested {
        return Effect::lost(
            "ATTACH PARTITION to a table with indexes, constraints or triggers, which the partition \
             keeps when it is detached,",
        );
    }
    Effect::invert(vec![undo])
}

/// DETACH PARTITION: its bounds are not in the snapshot.
pub(super) fn detach(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let partition = require(draft, command)?;
    unlink(draft, table, partition);
    Effect::lost("DETACH PARTITION")
}

fn link(draft: &mut Draft<'_>, parent: RelId, child: RelId) {
    if let Some(relation) = draft.catalog.relation_mut(parent) {
        relation.inheritance.children.push(child);
    }
    if let Some(relation) = draft.catalog.relation_mut(child) {
        relation.inheritance.parents.push(parent);
    }
}

pub(super) fn unlink(draft: &mut Draft<'_>, parent: RelId, child: RelId) {
    if let Some(relation) = draft.catalog.relation_mut(parent) {
        relation.inheritance.children.retain(|id| *id != child);
    }
    if let Some(relation) = draft.catalog.relation_mut(child) {
        relation.inheritance.parents.retain(|id| *id != parent);
    }
}
