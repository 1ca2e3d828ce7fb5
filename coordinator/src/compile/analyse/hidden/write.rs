//! Statements that write, and DDL.

use pg_query::protobuf::{AlterTableType, CmdType};
use serde_json::Value;
use upshift_shared::pg::ident::ident;

use super::{
    scope::{Columns, Scope, Source, Tables, list, of_kind},
    walk::{Walk, refused},
};
use crate::compile::error::BindError;

impl Walk<'_> {
    /// INSERT, UPDATE, DELETE, MERGE: the columns that it returns.
    pub(super) fn write(
        &mut self,
        kind: &str,
        statement: &Value,
        scope: &Scope<'_>,
    ) -> Result<Columns, BindError> {
        let mut with = Scope::inside(scope, Vec::new());
        self.with(&statement["with_clause"], &mut with)?;
        // The target is never a CTE.
        let target = self.named_table(&statement["relation"], &Scope::default())?;
        let mut done = vec!["with_clause", "relation", "returning_clause"];
        let mut seen = Tables::none();
        match kind {
            "InsertStmt" => {
                done.push("select_stmt");
                self.insert(statement, &target, &with)?;
                seen.add(Tables::one(target.clone()));
            }
            "MergeStmt" => {
                done.push("source_relation");
                refuse_insert(statement, &target)?;
                seen.add(self.table(&statement["source_relation"], &[], &with)?);
                seen.add(Tables::one(target.clone()));
            }
            _ => {
                let from = if kind == "UpdateStmt" {
                    "from_clause"
                } else {
                    "using_clause"
                };
                done.push(from);
                let others = self.from(&statement[from], &with)?;
                seen.add(Tables::one(target.clone()));
                seen.add(others);
            }
        }
        let mut sources = seen.sources.clone();
        for name in ["excluded", "old", "new"] {
            sources.push(Source {
                alias: name.to_owned(),
                qualified_only: true,
                ..target.clone()
            });
        }
        let inner = Scope::inside(&with, sources);
        self.rest(statement, &done, &inner)?;
        let returning = &statement["returning_clause"]["exprs"];
        self.targets(returning, &seen, &Value::Null, &inner)
    }

    /// Gives an INSERT without a list of columns the list of as many as its rows have.
    fn insert(
        &mut self,
        statement: &Value,
        target: &Source,
        scope: &Scope<'_>,
    ) -> Result<(), BindError> {
        let Some(select) = of_kind(&statement["select_stmt"], "SelectStmt") else {
            return Ok(());
        };
        let width = self
            .select(select, scope, false)?
            .map(|columns| columns.len());
        let relation = &statement["relation"];
        let Some(at) = target.hidden.as_ref() else {
            return Ok(());
        };
        if !list(&statement["cols"]).is_empty() {
            return Ok(());
        }
        let columns = target.columns.as_ref().zip(width).map(|(columns, width)| {
            let columns = columns.iter().take(width).map(|name| ident(name));
            columns.collect::<Vec<_>>().join(", ")
        });
        columns
            .and_then(|columns| {
                let list = format!(" ({columns})");
                self.text.after_target(&relation["location"], list)
            })
            .ok_or_else(|| refused(at, relation, "this INSERT has no list of columns"))
    }

    /// Anything but a query, DML or an expression.
    pub(super) fn utility(
        &mut self,
        kind: &str,
        inner: &Value,
        scope: &Scope<'_>,
    ) -> Result<(), BindError> {
        match kind {
            "TableLikeClause" => {
                let source = self.named_table(&inner["relation"], scope)?;
                match &source.hidden {
                    Some(at) => Err(refused(
                        at,
                        &inner["relation"],
                        "LIKE takes over all columns",
                    )),
                    None => Ok(()),
                }
            }
            "AlterTableStmt" => self.alter_table(inner),
            "CopyStmt" => self.copy(inner, scope),
            "RuleStmt" => {
                let table = self.named_table(&inner["relation"], scope)?;
                let row = |alias: &str| Source {
                    alias: alias.to_owned(),
                    qualified_only: true,
                    ..table.clone()
                };
                let rows = Scope::inside(scope, vec![row("old"), row("new")]);
                self.rest(inner, &["relation"], &rows)
            }
            _ => self.rest(inner, &[], scope),
        }
    }

    /// Parents and children must have the same columns, hidden ones included.
    fn alter_table(&mut self, statement: &Value) -> Result<(), BindError> {
        let families = [
            AlterTableType::AtAttachPartition,
            AlterTableType::AtDetachPartition,
            AlterTableType::AtAddInherit,
            AlterTableType::AtDropInherit,
        ];
        for item in list(&statement["cmds"]) {
            let Some(command) = of_kind(item, "AlterTableCmd") else {
                continue;
            };
            if !families
                .iter()
                .any(|kind| command["subtype"] == *kind as i32)
            {
                continue;
            }
            let partition = of_kind(&command["def"], "PartitionCmd").map(|c| &c["name"]);
            let other = of_kind(&command["def"], "RangeVar").or(partition);
            for range in [Some(&statement["relation"]), other].into_iter().flatten() {
                if let Some(relation) = self.relation(range)
                    && let Some(at) = self.hidden.of(self.catalog, relation)
                {
                    let what = "parents and children have all columns in common";
                    return Err(refused(at, range, what));
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, statement: &Value, scope: &Scope<'_>) -> Result<(), BindError> {
        self.walk(&statement["query"], scope)?;
        let relation = &statement["relation"];
        if relation.is_null() || !list(&statement["attlist"]).is_empty() {
            return Ok(());
        }
        let source = self.named_table(relation, scope)?;
        let Some(at) = &source.hidden else {
            return Ok(());
        };
        let columns = source.columns.iter().flatten().map(|name| ident(name));
        let columns = format!(" ({})", columns.collect::<Vec<_>>().join(", "));
        self.text
            .after_target(&relation["location"], columns)
            .ok_or_else(|| refused(at, relation, "this COPY has no list of columns"))
    }
}

/// The place of a MERGE's INSERT is not in the tree.
fn refuse_insert(statement: &Value, target: &Source) -> Result<(), BindError> {
    let Some(at) = &target.hidden else {
        return Ok(());
    };
    let clauses = list(&statement["merge_when_clauses"]).iter();
    let mut clauses = clauses.filter_map(|clause| of_kind(clause, "MergeWhenClause"));
    let unlisted = clauses.any(|clause| {
        clause["command_type"] == CmdType::CmdInsert as i32
            && list(&clause["target_list"]).is_empty()
            && !list(&clause["values"]).is_empty()
    });
    if unlisted {
        let what = "the INSERT of this MERGE has no list of columns";
        return Err(refused(at, &statement["relation"], what));
    }
    Ok(())
}
