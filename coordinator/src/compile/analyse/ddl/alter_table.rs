//! ALTER TABLE (and ALTER INDEX, VIEW, SEQUENCE in the same grammar): subcommands in the order of
//! PostgreSQL's passes, each with its inverse.

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AlterTableCmd, AlterTableStmt, AlterTableType as Type, ConstrType, DropBehavior, ObjectType,
    },
};
use upshift_shared::{
    catalog::{Persistence, RelationKind},
    ids::RelId,
    plan::{Capture, DdlEffect, Hide},
};

use super::{
    alter_column, alter_constraint, alter_index, constraint,
    draft::{Draft, Outcome, deparse},
    expression, object, owner, partition, user_type,
};
use crate::compile::error::BindError;

/// What a subcommand comes to.
pub(super) enum Effect {
    /// It has no effect here: why.
    Skip(String),
    /// It runs, with this effect.
    Run(DdlEffect),
    /// It has no inverse: what it is.
    Lost(String),
}

impl Effect {
    /// A known inverse.
    pub(super) fn invert(undo: Vec<String>) -> Result<Self, BindError> {
        Ok(Self::Run(DdlEffect::Invert { undo }))
    }

    /// What the catalog says before it.
    pub(super) fn capture(objects: Vec<Capture>) -> Result<Self, BindError> {
        Ok(Self::Run(DdlEffect::Capture { objects }))
    }

    /// No inverse.
    pub(super) fn lost(what: &str) -> Result<Self, BindError> {
        Ok(Self::Lost(what.to_owned()))
    }
}

/// ALTER TABLE
pub(super) fn bind(draft: &mut Draft<'_>, stmt: &AlterTableStmt) -> Result<Outcome, BindError> {
    let Some(name) = &stmt.relation else {
        return Err(BindError::new("ALTER TABLE needs a name"));
    };
    let object_type = ObjectType::try_from(stmt.objtype).unwrap_or(ObjectType::ObjectTable);
    let Some(table) = draft.find(name) else {
        let parts = [name.schemaname.clone(), name.relname.clone()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if let Some((index, table)) = alter_index::find(draft, &parts) {
            return alter_index::bind(draft, stmt, table, &index);
        }
        if object_type == ObjectType::ObjectType {
            return user_type::alter_composite(draft, stmt);
        }
        if stmt.missing_ok {
            return Ok(Outcome::Skipped(object::no_relation(draft, name)));
        }
        return Err(BindError::at(
            name.location,
            object::no_relation(draft, name),
        ));
    };
    if draft.relation(table).kind == RelationKind::CompositeType {
        return user_type::alter_composite(draft, stmt);
    }
    for member in constraint::family(draft, table) {
        draft.alters(member);
    }
    let mut commands = commands(stmt);
    if reads_what_it_changes(&commands) && commands.len() > 1 {
        draft.no_inverse("ALTER TABLE with a USING that reads columns which it also changes");
    }
    commands.sort_by_key(|command| pass(command));
    let mut groups: Vec<(Vec<Node>, DdlEffect)> = Vec::new();
    let mut skipped = Vec::new();
    for command in commands {
        match subcommand(draft, table, command)? {
            Effect::Skip(why) => skipped.push(why),
            Effect::Lost(what) => draft.no_inverse(what),
            Effect::Run(effect) => join(&mut groups, command, effect),
        }
    }
    if groups.is_empty() && skipped.len() == stmt.cmds.len() {
        return Ok(Outcome::Skipped(skipped.join("; ")));
    }
    if let [(cmds, _)] = groups.as_slice()
        && cmds.len() == stmt.cmds.len()
    {
        let (_, effect) = groups.remove(0);
        draft.push(draft.text.to_owned(), effect);
        return Ok(Outcome::Done);
    }
    for (cmds, effect) in groups {
        let part = AlterTableStmt {
            cmds,
            ..stmt.clone()
        };
        draft.push(deparse(NodeEnum::AlterTableStmt(part))?, effect);
    }
    Ok(Outcome::Done)
}

/// Its subcommands, in the order in which they are written.
pub(super) fn commands(stmt: &AlterTableStmt) -> Vec<&AlterTableCmd> {
    let commands = stmt.cmds.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::AlterTableCmd(command)) => Some(&**command),
        _ => None,
    });
    commands.collect()
}

pub(super) fn kind(command: &AlterTableCmd) -> Type {
    Type::try_from(command.subtype).unwrap_or(Type::Undefined)
}

/// The pass in which PostgreSQL runs a subcommand (`ATPrepCmd` in tablecmds.c).
fn pass(command: &AlterTableCmd) -> u8 {
    match kind(command) {
        Type::AtDropColumn
        | Type::AtDropConstraint
        | Type::AtDropNotNull
        | Type::AtDropExpression
        | Type::AtDropIdentity => 0,
        Type::AtColumnDefault if command.def.is_none() => 0,
        Type::AtAlterColumnType => 1,
        Type::AtAddColumn => 2,
        Type::AtSetNotNull | Type::AtSetIdentity => 3,
        Type::AtAddConstraint => {
            match alter_constraint::of_command(command).map(constraint::kind) {
                Some(ConstrType::ConstrCheck | ConstrType::ConstrForeign) => 5,
                _ => 4,
            }
        }
        Type::AtColumnDefault | Type::AtAddIdentity => 5,
        _ => 6,
    }
}

/// Whether a USING reads a column that another subcommand drops or changes: PostgreSQL gives it the
/// value from before the statement, which cannot be had once the statement is cut.
fn reads_what_it_changes(commands: &[&AlterTableCmd]) -> bool {
    let changed = |name: &str, but: &str| {
        name != but
            && commands.iter().any(|command| {
                command.name == name
                    && matches!(kind(command), Type::AtAlterColumnType | Type::AtDropColumn)
            })
    };
    commands.iter().any(|command| {
        let Some(NodeEnum::ColumnDef(column)) = command.def.as_ref().and_then(|d| d.node.as_ref())
        else {
            return false;
        };
        let using = column.raw_default.as_ref();
        kind(command) == Type::AtAlterColumnType
            && using.is_some_and(|using| {
                let names = expression::column_names(using);
                names.iter().any(|name| changed(name, &command.name))
            })
    })
}

/// Neighbours of one kind stay one statement: one lock, one rewrite.
fn join(groups: &mut Vec<(Vec<Node>, DdlEffect)>, command: &AlterTableCmd, effect: DdlEffect) {
    let node = Node {
        node: Some(NodeEnum::AlterTableCmd(Box::new(command.clone()))),
    };
    match (groups.last_mut(), effect) {
        (Some((cmds, DdlEffect::Invert { undo })), DdlEffect::Invert { undo: more }) => {
            cmds.push(node);
            undo.splice(0..0, more);
        }
        (Some((cmds, DdlEffect::Capture { objects })), DdlEffect::Capture { objects: more }) => {
            cmds.push(node);
            for object in more {
                if !objects.contains(&object) {
                    objects.push(object);
                }
            }
        }
        (_, effect) => groups.push((vec![node], effect)),
    }
}

fn subcommand(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let quoted = draft.quoted(table);
    match kind(command) {
        Type::AtAddColumn => alter_column::add(draft, table, command),
        Type::AtDropColumn => alter_column::drop(draft, table, command),
        Type::AtColumnDefault => alter_column::default(draft, table, command),
        Type::AtDropNotNull | Type::AtSetNotNull => alter_column::not_null(draft, table, command),
        Type::AtAlterColumnType => alter_column::change_type(draft, table, command),
        Type::AtAddIdentity | Type::AtSetIdentity | Type::AtDropIdentity => {
            alter_column::identity(draft, table, command)
        }
        Type::AtSetExpression | Type::AtDropExpression => {
            alter_column::expression(draft, table, command)
        }
        Type::AtSetStatistics
        | Type::AtSetOptions
        | Type::AtResetOptions
        | Type::AtSetStorage
        | Type::AtSetCompression => alter_column::attributes(draft, table, command),
        Type::AtAddConstraint => alter_constraint::add(draft, table, command),
        Type::AtAlterConstraint => alter_constraint::alter(draft, table, command),
        Type::AtValidateConstraint => alter_constraint::validate(draft, table, command),
        Type::AtDropConstraint => alter_constraint::drop(draft, table, command),
        Type::AtChangeOwner => owner::relation(draft, table),
        Type::AtSetLogged | Type::AtSetUnLogged => set_logged(draft, table, command),
        Type::AtSetRelOptions | Type::AtResetRelOptions | Type::AtReplaceRelOptions => {
            Effect::capture(vec![Capture::Options { object: quoted }])
        }
        Type::AtEnableTrig
        | Type::AtEnableAlwaysTrig
        | Type::AtEnableReplicaTrig
        | Type::AtDisableTrig
        | Type::AtEnableTrigAll
        | Type::AtDisableTrigAll
        | Type::AtEnableTrigUser
        | Type::AtDisableTrigUser => trigger_state(draft, table, command),
        Type::AtEnableRowSecurity
        | Type::AtDisableRowSecurity
        | Type::AtForceRowSecurity
        | Type::AtNoForceRowSecurity => {
            let enabled = match kind(command) {
                Type::AtEnableRowSecurity => Some(true),
                Type::AtDisableRowSecurity => Some(false),
                _ => None,
            };
            if let (Some(enabled), Some(relation)) = (enabled, draft.catalog.relation_mut(table)) {
                relation.row_security = enabled;
            }
            Effect::capture(vec![Capture::RowSecurity { table: quoted }])
        }
        Type::AtAddInherit | Type::AtDropInherit => partition::inherit(draft, table, command),
        Type::AtAttachPartition => partition::attach(draft, table, command),
        Type::AtDetachPartition | Type::AtDetachPartitionFinalize => {
            partition::detach(draft, table, command)
        }
        other => Effect::lost(what(other)),
    }
}

fn what(kind: Type) -> &'static str {
    match kind {
        Type::AtClusterOn => "CLUSTER ON",
        Type::AtDropCluster => "SET WITHOUT CLUSTER",
        Type::AtSetAccessMethod => "SET ACCESS METHOD",
        Type::AtSetTableSpace => "SET TABLESPACE",
        Type::AtReplicaIdentity => "REPLICA IDENTITY",
        Type::AtAddOf | Type::AtDropOf => "ALTER TABLE … OF",
        Type::AtGenericOptions | Type::AtAlterColumnGenericOptions => "OPTIONS",
        Type::AtEnableRule
        | Type::AtEnableAlwaysRule
        | Type::AtEnableReplicaRule
        | Type::AtDisableRule => "enabling or disabling a rule",
        _ => "this form of ALTER TABLE",
    }
}

/// Whether a DROP says CASCADE.
pub(super) fn cascades(behavior: i32) -> bool {
    behavior == DropBehavior::DropCascade as i32
}

fn set_logged(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let wanted = if kind(command) == Type::AtSetLogged {
        Persistence::Permanent
    } else {
        Persistence::Unlogged
    };
    let quoted = draft.quoted(table);
    let relation = draft.catalog.relation_mut(table);
    let relation = relation.expect("the table was looked up by the caller");
    if relation.persistence == wanted {
        return Ok(Effect::Skip("the table is so already".to_owned()));
    }
    relation.persistence = wanted;
    draft.costs("rewrites the table");
    let back = match wanted {
        Persistence::Permanent => "UNLOGGED",
        _ => "LOGGED",
    };
    Effect::invert(vec![format!("ALTER TABLE {quoted} SET {back}")])
}

fn trigger_state(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let enabled = matches!(
        kind(command),
        Type::AtEnableTrig
            | Type::AtEnableAlwaysTrig
            | Type::AtEnableTrigAll
            | Type::AtEnableTrigUser
    );
    let quoted = draft.quoted(table);
    let name = &command.name;
    if !name.is_empty()
        && !draft
            .relation(table)
            .triggers
            .iter()
            .any(|t| t.name == *name)
    {
        let known = draft.relation(table).triggers.iter();
        let hint = object::did_you_mean(name, known.map(|t| t.name.as_str()));
        let table = draft.name(table).plain();
        return Err(BindError::new(format!(
            "trigger \"{name}\" for table \"{table}\" does not exist{hint}"
        )));
    }
    if let Some(relation) = draft.catalog.relation_mut(table) {
        for trigger in &mut relation.triggers {
            if name.is_empty() || trigger.name == *name {
                trigger.enabled = enabled;
            }
        }
    }
    Effect::capture(vec![Capture::TriggerStates { table: quoted }])
}

/// A deferred DROP COLUMN.
pub(super) fn hide_column(table: String, column: &str, cascade: bool) -> Effect {
    Effect::Run(DdlEffect::Hide(Hide::Column {
        table,
        column: column.to_owned(),
        cascade,
    }))
}
