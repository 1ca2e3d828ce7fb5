//! ALTER TABLE (and ALTER INDEX, VIEW, SEQUENCE in the same grammar): subcommands in the order of
//! PostgreSQL's passes, each with its inverse.

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AlterTableCmd, AlterTableStmt, AlterTableType as Type, ConstrType, DropBehavior, ObjectType,
    },
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Persistence, Relation, RelationKind},
    ids::{ColId, RelId},
    pg::ident::{QualifiedName, ident},
    plan::{Capture, DdlEffect, Hide},
};

use super::{
    alter_column, constraint,
    draft::{Draft, Outcome, deparse},
    expression, object, owner, partition, table_element, user_type,
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
        if let Some((index, table)) = find_index(draft, &parts) {
            return alter_index(draft, stmt, table, &index);
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

fn commands(stmt: &AlterTableStmt) -> Vec<&AlterTableCmd> {
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
        Type::AtAddConstraint => match command_constraint(command).map(constraint::kind) {
            Some(ConstrType::ConstrCheck | ConstrType::ConstrForeign) => 5,
            _ => 4,
        },
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
        Type::AtAddConstraint => add_constraint(draft, table, command),
        Type::AtAlterConstraint => alter_constraint(draft, table, command),
        Type::AtValidateConstraint => validate_constraint(draft, table, command),
        Type::AtDropConstraint => drop_constraint(draft, table, command),
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

/// The constraint of ADD CONSTRAINT.
fn command_constraint(command: &AlterTableCmd) -> Option<&pg_query::protobuf::Constraint> {
    command.def.as_deref().and_then(constraint::of_node)
}

fn add_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let Some(constraint) = command_constraint(command) else {
        return Err(BindError::new("ADD CONSTRAINT needs a constraint"));
    };
    let before = draft.relation(table).clone();
    let quoted = draft.quoted(table);
    let name = constraint::add(draft, table, constraint)?;
    let mut undo = Vec::new();
    if !name.is_empty() {
        undo.push(format!(
            "ALTER TABLE {quoted} DROP CONSTRAINT {}",
            ident(&name)
        ));
    }
    if !constraint.indexname.is_empty() {
        let index = before
            .indexes
            .iter()
            .find(|index| index.name == constraint.indexname);
        undo.extend(index.map(|index| index.definition.clone()));
    }
    undo.extend(nullable_again(draft, table, &before));
    let columns = draft
        .relation(table)
        .constraints
        .iter()
        .find(|c| c.name == name)
        .map(|c| c.columns.clone())
        .unwrap_or_default();
    draft.scans(table, &columns);
    match constraint::kind(constraint) {
        _ if constraint.skip_validation => {}
        ConstrType::ConstrPrimary | ConstrType::ConstrUnique | ConstrType::ConstrExclusion => {
            if constraint.indexname.is_empty() {
                draft.costs("scans the table to build the constraint's index");
            }
        }
        _ => draft.costs("scans the table to check every row"),
    }
    Effect::invert(undo)
}

/// A primary key makes its columns NOT NULL, and they stay so when it is dropped.
fn nullable_again(draft: &Draft<'_>, table: RelId, before: &Relation) -> Vec<String> {
    let quoted = draft.quoted(table);
    let now = draft.relation(table);
    let was_nullable = |name: &str| before.column(name).is_some_and(|c| !c.not_null);
    let columns = now.columns.iter();
    columns
        .filter(|column| column.not_null && was_nullable(&column.name))
        .map(|column| {
            format!(
                "ALTER TABLE {quoted} ALTER COLUMN {} DROP NOT NULL",
                ident(&column.name)
            )
        })
        .collect()
}

/// A constraint of a table by name.
pub(super) fn find_constraint(
    draft: &Draft<'_>,
    table: RelId,
    name: &str,
) -> Result<Constraint, BindError> {
    let relation = draft.relation(table);
    let found = relation.constraints.iter().find(|c| c.name == name);
    found.cloned().ok_or_else(|| {
        let known = relation.constraints.iter().map(|c| c.name.as_str());
        let hint = object::did_you_mean(name, known);
        let table = draft.name(table).plain();
        BindError::new(format!(
            "constraint \"{name}\" of relation \"{table}\" does not exist{hint}"
        ))
    })
}

fn alter_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let node = command.def.as_ref().and_then(|def| def.node.as_ref());
    let (name, deferrable, deferred) = match node {
        Some(NodeEnum::Constraint(c)) => (c.conname.clone(), c.deferrable, c.initdeferred),
        Some(NodeEnum::AtalterConstraint(c)) => (c.conname.clone(), c.deferrable, c.initdeferred),
        _ => return Effect::lost("ALTER CONSTRAINT"),
    };
    let old = find_constraint(draft, table, &name)?;
    if !matches!(old.kind, ConstraintKind::ForeignKey { .. }) {
        return Effect::lost("ALTER CONSTRAINT of what is not a foreign key");
    }
    let word = match (old.deferrable, old.deferred) {
        (false, _) => "NOT DEFERRABLE",
        (true, false) => "DEFERRABLE INITIALLY IMMEDIATE",
        (true, true) => "DEFERRABLE INITIALLY DEFERRED",
    };
    let undo = format!(
        "ALTER TABLE {} ALTER CONSTRAINT {} {word}",
        draft.quoted(table),
        ident(&name)
    );
    change_constraint(draft, table, &name, |constraint| {
        constraint.deferrable = deferrable || deferred;
        constraint.deferred = deferred;
    });
    Effect::invert(vec![undo])
}

fn change_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    name: &str,
    change: impl FnOnce(&mut Constraint),
) {
    draft.catalog.change(table, |relation| {
        if let Some(constraint) = relation.constraints.iter_mut().find(|c| c.name == name) {
            change(constraint);
        }
    });
}

fn validate_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let old = find_constraint(draft, table, &command.name)?;
    if old.validated {
        return Ok(Effect::Skip(format!(
            "constraint \"{}\" is valid already",
            command.name
        )));
    }
    draft.scans(table, &old.columns);
    if let ConstraintKind::ForeignKey { table, columns, .. } = &old.kind {
        draft.scans(*table, columns);
    }
    draft.costs("scans the table to check every row");
    change_constraint(draft, table, &command.name, |c| c.validated = true);
    Effect::capture(vec![Capture::Constraint {
        table: draft.quoted(table),
        constraint: command.name.clone(),
    }])
}

fn drop_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    command: &AlterTableCmd,
) -> Result<Effect, BindError> {
    let old = match find_constraint(draft, table, &command.name) {
        Ok(old) => old,
        Err(error) if command.missing_ok => return Ok(Effect::Skip(error.message)),
        Err(error) => return Err(error),
    };
    let mut objects = vec![capture_constraint(draft, table, &old.name)];
    if let ConstraintKind::ForeignKey { table, .. } = &old.kind {
        draft.alters(*table);
    }
    let dependents = dependent_foreign_keys(draft, table, &old);
    if let (Some((other, foreign_key)), false) = (dependents.first(), cascades(command.behavior)) {
        let other = draft.name(*other).plain();
        return Err(BindError::new(format!(
            "constraint \"{}\" cannot be dropped because constraint \"{foreign_key}\" on table \
             \"{other}\" depends on it: drop that first, or say CASCADE",
            old.name
        )));
    }
    for (other, foreign_key) in dependents {
        draft.alters(other);
        objects.push(capture_constraint(draft, other, &foreign_key));
        forget_constraint(draft, other, &foreign_key);
    }
    if matches!(
        old.kind,
        ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
    ) {
        let schema = draft.name(table).schema;
        draft.takes_name(&QualifiedName::new(schema, &old.name));
    }
    if let (ConstraintKind::NotNull, [column]) = (&old.kind, old.columns.as_slice()) {
        table_element::with_column(draft, table, *column, |column| column.not_null = false);
    }
    for member in constraint::family(draft, table) {
        forget_constraint(draft, member, &old.name);
    }
    Effect::capture(objects)
}

pub(super) fn capture_constraint(draft: &Draft<'_>, table: RelId, name: &str) -> Capture {
    Capture::Constraint {
        table: draft.quoted(table),
        constraint: name.to_owned(),
    }
}

/// Takes a constraint out, and the index that backs it.
pub(super) fn forget_constraint(draft: &mut Draft<'_>, table: RelId, name: &str) {
    let schema = draft.name(table).schema;
    draft.takes_constraint_name(&schema, name);
    draft.catalog.change(table, |relation| {
        let backed = relation.constraints.iter().any(|c| {
            c.name == name
                && matches!(
                    c.kind,
                    ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclusion
                )
        });
        relation.constraints.retain(|c| c.name != name);
        if backed {
            relation.indexes.retain(|index| index.name != name);
        }
    });
}

/// Foreign keys that rest on a primary key or unique constraint.
pub(super) fn dependent_foreign_keys(
    draft: &Draft<'_>,
    table: RelId,
    constraint: &Constraint,
) -> Vec<(RelId, String)> {
    if !matches!(
        constraint.kind,
        ConstraintKind::PrimaryKey | ConstraintKind::Unique
    ) {
        return Vec::new();
    }
    let covers = |columns: &[ColId]| {
        columns.len() == constraint.columns.len()
            && columns.iter().all(|c| constraint.columns.contains(c))
    };
    // Another unique index over the same columns may be the one that the foreign key rests on; which
    // of them it is, only PostgreSQL knows, and it will say so.
    let rest = draft.relation(table).indexes.iter().filter(|index| {
        let columns: Option<Vec<ColId>> = index.columns.iter().copied().collect();
        index.unique && index.name != constraint.name && columns.is_some_and(|c| covers(&c))
    });
    if rest.count() > 0 {
        return Vec::new();
    }
    draft
        .catalog
        .incoming(table)
        .filter(|(_, incoming)| match &incoming.kind {
            ConstraintKind::ForeignKey { columns, .. } => covers(columns),
            _ => false,
        })
        .map(|(other, incoming)| (other.id, incoming.name.clone()))
        .collect()
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

/// An index by name parts, and the table that has it.
pub(super) fn find_index(draft: &Draft<'_>, parts: &[String]) -> Option<(QualifiedName, RelId)> {
    let (schema, name) = object::split(parts);
    let schemas: Vec<&str> = if schema.is_empty() {
        draft.path.iter().map(String::as_str).collect()
    } else {
        vec![&schema]
    };
    schemas.into_iter().find_map(|schema| {
        let table = draft.catalog.index_owner(schema, &name)?;
        Some((QualifiedName::new(schema, &name), table))
    })
}

/// ALTER INDEX … SET (…), and whatever else an index may be told.
fn alter_index(
    draft: &mut Draft<'_>,
    stmt: &AlterTableStmt,
    table: RelId,
    index: &QualifiedName,
) -> Result<Outcome, BindError> {
    draft.alters(table);
    for command in commands(stmt) {
        match kind(command) {
            Type::AtSetRelOptions | Type::AtResetRelOptions | Type::AtReplaceRelOptions => {}
            Type::AtAttachPartition => {
                return draft.done_without_inverse("ATTACH PARTITION of an index");
            }
            _ => return draft.done_without_inverse("this form of ALTER INDEX"),
        }
    }
    draft.done_captured(vec![Capture::Options {
        object: index.to_string(),
    }])
}

/// A deferred DROP COLUMN.
pub(super) fn hide_column(table: String, column: &str, cascade: bool) -> Effect {
    Effect::Run(DdlEffect::Hide(Hide::Column {
        table,
        column: column.to_owned(),
        cascade,
    }))
}
