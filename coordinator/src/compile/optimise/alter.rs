//! DDL in a pass. It runs as written against the new table while that is still empty, so PostgreSQL
//! itself brings the table into its final shape; here is what it means for the rows on their way.
//! Foreign keys are left out there and made after the swap.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        self, AlterTableCmd, AlterTableStmt, AlterTableType as Type, ConstrType, IndexStmt,
        ObjectType, RenameStmt,
    },
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, ForeignKeyAction, Relation},
    ids::ColId,
    pg::ident::ident,
    plan::AddedKey,
};

use super::{
    cast::{self, Carried},
    compose::{Carry, Composer},
    default,
};
use crate::compile::{
    model::{AnalysedStep, Around},
    sql::{deparse, expression},
};

impl Composer<'_> {
    /// Adds DDL.
    pub(super) fn ddl(&mut self, step: &AnalysedStep, around: &Around) -> Result<(), String> {
        let node = step.parsed.as_deref().and_then(|node| node.node.as_ref());
        match node {
            Some(NodeEnum::AlterTableStmt(statement)) => self.alter(statement, around),
            Some(NodeEnum::RenameStmt(statement)) => self.rename(statement, around),
            Some(NodeEnum::IndexStmt(statement)) => self.index(statement, around),
            _ => Err("it is DDL of a kind that passes do not know".to_owned()),
        }
    }

    fn index(&mut self, statement: &IndexStmt, around: &Around) -> Result<(), String> {
        let mut statement = statement.clone();
        if statement.idxname.is_empty() {
            let before: BTreeSet<&str> = around
                .before
                .indexes
                .iter()
                .map(|i| i.name.as_str())
                .collect();
            let mut new = around
                .after
                .indexes
                .iter()
                .filter(|i| !before.contains(i.name.as_str()));
            let new = new.next().ok_or("its index has no name")?;
            statement.idxname.clone_from(&new.name);
        }
        if let Some(relation) = statement.relation.as_mut() {
            relation.schemaname.clear();
        }
        self.evolve
            .push(deparse(NodeEnum::IndexStmt(Box::new(statement)))?);
        Ok(())
    }

    fn rename(&mut self, statement: &RenameStmt, around: &Around) -> Result<(), String> {
        if statement.rename_type != ObjectType::ObjectColumn as i32
            || statement.relation_type != ObjectType::ObjectTable as i32
        {
            return Err("it renames something else than a column".to_owned());
        }
        let (from, to) = (statement.subname.clone(), statement.newname.clone());
        if around.before.column(&from).is_none() {
            return Err("it renames a column that is not there: please report this".to_owned());
        }
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let old = ident(&column.name);
                let new = if column.name == from {
                    ident(&to)
                } else {
                    old.clone()
                };
                format!("l.{old} AS {new}")
            })
            .collect();
        self.wrap(&list);
        for column in &mut self.columns {
            if column.name == from {
                column.name.clone_from(&to);
            }
        }
        let mut statement = statement.clone();
        if let Some(relation) = statement.relation.as_mut() {
            relation.schemaname.clear();
        }
        self.evolve
            .push(deparse(NodeEnum::RenameStmt(Box::new(statement)))?);
        // The swap makes them, on the columns by their last names.
        for added in &mut self.added_keys {
            let key = around
                .after
                .constraints
                .iter()
                .find(|c| c.name == added.name);
            let key = key.ok_or("it renames a column of a foreign key that is not known")?;
            added.definition = definition(key, around)?;
        }
        Ok(())
    }

    fn alter(&mut self, statement: &AlterTableStmt, around: &Around) -> Result<(), String> {
        if statement.missing_ok {
            return Err("it says IF EXISTS of the table".to_owned());
        }
        let mut commands = Vec::new();
        for node in &statement.cmds {
            let Some(NodeEnum::AlterTableCmd(command)) = &node.node else {
                return Err("it is DDL of a kind that passes do not know".to_owned());
            };
            commands.push(&**command);
        }
        if commands.len() > 1 && commands.iter().any(|command| changes_rows(command)) {
            // PostgreSQL runs them in passes of its own, each expression seeing the old row.
            let plain = commands
                .iter()
                .all(|command| kind(command) == Type::AtAddColumn);
            if !plain {
                return Err("it changes several things of the table at once".to_owned());
            }
        }
        let mut kept = Vec::new();
        for command in commands {
            kept.extend(self.command(command, around)?);
        }
        if !kept.is_empty() {
            let mut statement = AlterTableStmt {
                cmds: kept,
                ..statement.clone()
            };
            if let Some(relation) = statement.relation.as_mut() {
                relation.schemaname.clear();
            }
            self.evolve
                .push(deparse(NodeEnum::AlterTableStmt(statement))?);
        }
        self.keys(around)
    }

    /// One subcommand; what of it runs against the new table.
    fn command(
        &mut self,
        command: &AlterTableCmd,
        around: &Around,
    ) -> Result<Option<Node>, String> {
        let written = || node(command.clone());
        match kind(command) {
            Type::AtAddColumn => self.add_column(command, around).map(Some),
            Type::AtDropColumn => {
                self.drop_column(command, around)?;
                Ok(Some(written()))
            }
            Type::AtAlterColumnType => {
                self.change_type(command, around)?;
                Ok(Some(written()))
            }
            Type::AtColumnDefault
            | Type::AtSetNotNull
            | Type::AtDropNotNull
            | Type::AtSetStatistics
            | Type::AtSetStorage
            | Type::AtSetCompression
            | Type::AtSetOptions
            | Type::AtResetOptions => Ok(Some(written())),
            Type::AtAddConstraint => match constraint_of(command) {
                Some(constraint) => match contype(constraint) {
                    ConstrType::ConstrForeign => plain_key(constraint).map(|()| None),
                    ConstrType::ConstrCheck if constraint.skip_validation => {
                        Err("it adds a CHECK that is NOT VALID".to_owned())
                    }
                    ConstrType::ConstrCheck
                    | ConstrType::ConstrPrimary
                    | ConstrType::ConstrUnique
                        if constraint.indexname.is_empty() && !constraint.conname.is_empty() =>
                    {
                        Ok(Some(written()))
                    }
                    _ => Err("it adds a constraint of a kind that passes do not know".to_owned()),
                },
                None => Err("it adds a constraint of a kind that passes do not know".to_owned()),
            },
            Type::AtDropConstraint => self.drop_constraint(command, around),
            _ => Err("it is DDL of a kind that passes do not know".to_owned()),
        }
    }

    fn add_column(&mut self, command: &AlterTableCmd, around: &Around) -> Result<Node, String> {
        let Some(NodeEnum::ColumnDef(definition)) = def(command) else {
            return Err("it adds a column that passes do not know".to_owned());
        };
        let after = around.after.column(&definition.colname);
        let after = after.ok_or("it adds a column that is not there: please report this")?;
        if around.before.column(&definition.colname).is_some() {
            return Err("it says IF NOT EXISTS of a column that is there".to_owned());
        }
        if after.identity.is_some() || after.sequence.is_some() {
            return Err(format!("{} draws from a sequence", after.name));
        }
        if after.generated.is_some() {
            self.computed.insert(after.id);
        } else {
            let value = default::of_definition(definition, after, self.types)?;
            let mut list = self.pass_on();
            let value = format!("CAST({value} AS {})", after.type_name);
            list.push(format!(
                "{} AS {}",
                cast::collate(&value, after, self.types),
                ident(&after.name)
            ));
            self.wrap(&list);
            self.columns.push(Carry {
                id: after.id,
                name: after.name.clone(),
                carried: Carried::Exact,
            });
        }
        let mut definition = definition.clone();
        for node in &definition.constraints {
            if let Some(NodeEnum::Constraint(constraint)) = &node.node
                && !matches!(
                    contype(constraint),
                    ConstrType::ConstrForeign
                        | ConstrType::ConstrDefault
                        | ConstrType::ConstrNotnull
                        | ConstrType::ConstrNull
                        | ConstrType::ConstrGenerated
                )
            {
                return Err("it adds a column together with a constraint".to_owned());
            }
        }
        for node in &definition.constraints {
            if let Some(NodeEnum::Constraint(constraint)) = &node.node
                && contype(constraint) == ConstrType::ConstrForeign
            {
                plain_key(constraint)?;
            }
        }
        definition.constraints.retain(|node| {
            !matches!(&node.node, Some(NodeEnum::Constraint(c)) if contype(c) == ConstrType::ConstrForeign)
        });
        let mut command = command.clone();
        command.def = Some(Box::new(Node {
            node: Some(NodeEnum::ColumnDef(definition)),
        }));
        Ok(node(command))
    }

    fn drop_column(&mut self, command: &AlterTableCmd, around: &Around) -> Result<(), String> {
        let Some(column) = around.before.column(&command.name) else {
            return Err("it drops a column that is not there".to_owned());
        };
        if column.sequence.is_some() || column.identity.is_some() {
            return Err(format!("{} owns a sequence", column.name));
        }
        if let Some(what) = around.named_by() {
            return Err(format!("{what} are on the table whose column it drops"));
        }
        let pointed_at = |key: &Constraint| match &key.kind {
            ConstraintKind::ForeignKey { columns, .. } => columns.contains(&column.id),
            _ => false,
        };
        if around.incoming.iter().any(|(_, _, key)| pointed_at(key)) {
            return Err(format!("foreign keys point at {}", column.name));
        }
        let generated = around
            .before
            .columns
            .iter()
            .filter(|c| c.generated.is_some());
        if generated.count() > 0 {
            return Err("the table whose column it drops has generated columns".to_owned());
        }
        self.columns.retain(|carry| carry.id != column.id);
        let list = self.pass_on();
        self.wrap(&list);
        Ok(())
    }

    fn change_type(&mut self, command: &AlterTableCmd, around: &Around) -> Result<(), String> {
        let Some(NodeEnum::ColumnDef(definition)) = def(command) else {
            return Err("it changes a type that passes do not know".to_owned());
        };
        let name = &command.name;
        let (Some(before), Some(after)) = (around.before.column(name), around.after.column(name))
        else {
            return Err("it changes a column that is not there: please report this".to_owned());
        };
        if before.identity.is_some() || before.sequence.is_some() || before.generated.is_some() {
            return Err(format!("{name} draws from a sequence, or is generated"));
        }
        if let Some(what) = around.named_by() {
            return Err(format!("{what} are on the table whose column it changes"));
        }
        let points = |key: &Constraint| match &key.kind {
            ConstraintKind::ForeignKey { columns, .. } => columns.contains(&before.id),
            _ => false,
        };
        let own = around.before.constraints.iter();
        let own = own.filter(|key| matches!(key.kind, ConstraintKind::ForeignKey { .. }));
        if own.into_iter().any(|key| key.columns.contains(&before.id))
            || around.incoming.iter().any(|(_, _, key)| points(key))
        {
            return Err(format!("foreign keys hang on {name}"));
        }
        let generated = around.before.columns.iter().any(|c| c.generated.is_some());
        if generated {
            return Err("the table whose column it changes has generated columns".to_owned());
        }
        let carried = cast::carried(&after.type_name, self.types)
            .map_err(|why| format!("{name} becomes {}, {why}", after.type_name))?;
        let alias = ident(&around.before.name);
        let quoted = ident(name);
        let value = match definition.raw_default.as_deref() {
            Some(using) if default::has_call(using, self.types) => {
                return Err("its USING calls functions or has a subquery".to_owned());
            }
            Some(using) => format!("({})", expression(using)?),
            None => format!("{alias}.{quoted}"),
        };
        let unchecked = |c: &Carry| c.id == before.id && c.carried != Carried::Exact;
        if self.columns.iter().any(unchecked) {
            return Err(format!(
                "{name} has a length, and an earlier statement of the pass sets it"
            ));
        }
        self.look_at(&|_| true);
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let own = ident(&column.name);
                if column.name == *name {
                    let value = cast::carry(&value, &after.type_name, carried);
                    format!("{} AS {own}", cast::collate(&value, after, self.types))
                } else {
                    format!("{alias}.{own} AS {own}")
                }
            })
            .collect();
        self.sql = format!("SELECT {} FROM ({}) AS {alias}", list.join(", "), self.sql);
        for column in &mut self.columns {
            if column.name == *name {
                column.carried = carried;
            }
        }
        self.written.insert(before.id);
        self.changes_rows = true;
        Ok(())
    }

    fn drop_constraint(
        &mut self,
        command: &AlterTableCmd,
        around: &Around,
    ) -> Result<Option<Node>, String> {
        let found = around
            .before
            .constraints
            .iter()
            .find(|c| c.name == command.name);
        let Some(found) = found else {
            return Err("it drops a constraint that is not there".to_owned());
        };
        match found.kind {
            // See `keys`.
            ConstraintKind::ForeignKey { .. } => Ok(None),
            ConstraintKind::Check => Ok(Some(node(command.clone()))),
            ConstraintKind::PrimaryKey | ConstraintKind::Unique if around.incoming.is_empty() => {
                Ok(Some(node(command.clone())))
            }
            _ => Err("it drops a constraint that others may depend on".to_owned()),
        }
    }

    /// Foreign keys that came and went with a statement.
    fn keys(&mut self, around: &Around) -> Result<(), String> {
        let is_key = |c: &&Constraint| matches!(c.kind, ConstraintKind::ForeignKey { .. });
        let has = |relation: &Relation, name: &str| {
            relation
                .constraints
                .iter()
                .filter(is_key)
                .any(|c| c.name == name)
        };
        for key in around.before.constraints.iter().filter(is_key) {
            if !has(&around.after, &key.name) {
                let added = self
                    .added_keys
                    .iter()
                    .position(|added| added.name == key.name);
                match added {
                    Some(place) => drop(self.added_keys.remove(place)),
                    None => self.dropped_keys.push(key.name.clone()),
                }
            }
        }
        for key in around.after.constraints.iter().filter(is_key) {
            if !has(&around.before, &key.name) {
                self.added_keys.push(AddedKey {
                    name: key.name.clone(),
                    definition: definition(key, around)?,
                });
            }
        }
        Ok(())
    }

    fn pass_on(&self) -> Vec<String> {
        let quoted = self.columns.iter().map(|column| ident(&column.name));
        quoted
            .map(|column| format!("l.{column} AS {column}"))
            .collect()
    }

    fn wrap(&mut self, list: &[String]) {
        self.sql = format!("SELECT {} FROM ({}) AS l", list.join(", "), self.sql);
    }
}

/// A foreign key that a step added, as SQL.
fn definition(key: &Constraint, around: &Around) -> Result<String, String> {
    let unknown = || {
        format!(
            "its foreign key {} is of a kind that passes do not know",
            key.name
        )
    };
    let ConstraintKind::ForeignKey {
        table,
        columns,
        on_delete,
        on_update,
    } = &key.kind
    else {
        return Err(unknown());
    };
    if !key.validated {
        return Err(unknown());
    }
    let parent = around.parents.iter().find(|(id, _)| id == table);
    let (_, parent) = parent.ok_or_else(unknown)?;
    if *table == around.before.id {
        return Err(unknown());
    }
    // A primary key is what REFERENCES without columns means; with them, names would be needed of a
    // table that is not at hand here.
    let own: Option<Vec<String>> = key
        .columns
        .iter()
        .map(|id: &ColId| {
            around
                .after
                .column_by_id(*id)
                .map(|column| ident(&column.name))
        })
        .collect();
    let own = own.ok_or_else(unknown)?;
    let pointed = around.parent_columns.iter().find(|(id, ..)| id == table);
    let pointed: Option<Vec<String>> = pointed.and_then(|(_, names)| {
        columns
            .iter()
            .map(|id| names.get(id).map(|name| ident(name)))
            .collect()
    });
    let pointed = pointed.ok_or_else(unknown)?;
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {parent} ({})",
        own.join(", "),
        pointed.join(", ")
    );
    for (on, action) in [("UPDATE", on_update), ("DELETE", on_delete)] {
        let action = match action {
            ForeignKeyAction::NoAction => continue,
            ForeignKeyAction::Restrict => "RESTRICT",
            ForeignKeyAction::Cascade => "CASCADE",
            ForeignKeyAction::SetNull => "SET NULL",
            ForeignKeyAction::SetDefault => "SET DEFAULT",
        };
        text.push_str(&format!(" ON {on} {action}"));
    }
    if key.deferrable {
        text.push_str(" DEFERRABLE");
    }
    if key.deferred {
        text.push_str(" INITIALLY DEFERRED");
    }
    Ok(text)
}

fn kind(command: &AlterTableCmd) -> Type {
    Type::try_from(command.subtype).unwrap_or(Type::Undefined)
}

fn changes_rows(command: &AlterTableCmd) -> bool {
    matches!(
        kind(command),
        Type::AtAddColumn | Type::AtDropColumn | Type::AtAlterColumnType
    )
}

fn node(command: AlterTableCmd) -> Node {
    Node {
        node: Some(NodeEnum::AlterTableCmd(Box::new(command))),
    }
}

fn def(command: &AlterTableCmd) -> Option<&NodeEnum> {
    command.def.as_ref().and_then(|def| def.node.as_ref())
}

fn constraint_of(command: &AlterTableCmd) -> Option<&protobuf::Constraint> {
    match def(command) {
        Some(NodeEnum::Constraint(constraint)) => Some(constraint),
        _ => None,
    }
}

pub(super) fn contype(constraint: &protobuf::Constraint) -> ConstrType {
    ConstrType::try_from(constraint.contype).unwrap_or(ConstrType::Undefined)
}

/// Whether the catalog says all of a foreign key that the statement does.
fn plain_key(constraint: &protobuf::Constraint) -> Result<(), String> {
    let simple = matches!(constraint.fk_matchtype.as_str(), "" | "s");
    if simple && constraint.fk_del_set_cols.is_empty() {
        Ok(())
    } else {
        Err("it adds a foreign key of a kind that passes do not know".to_owned())
    }
}
