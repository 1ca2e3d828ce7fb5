//! The append operator's template: the INSERT as a writable CTE whose outer INSERT records the keys of
//! the new rows.

use pg_query::NodeEnum;
use upshift_shared::{
    pack::{StepKind, StrategyDirective},
    pg::ident::ident,
    plan::{Append, Cut, Fragment, KeptTable, Operator, Spare, Template, UndoKind},
};

use super::{Chosen, estimate, template};
use crate::compile::{
    model::{AnalysedStep, BoundInsert, Chunk},
    sql::deparse,
};

/// Chooses append for an INSERT into a table with a key.
pub(super) fn choose(
    step: &AnalysedStep,
    insert: &BoundInsert,
    number: u32,
) -> Result<Chosen, String> {
    let StepKind::Sql(sql) = &step.step.kind else {
        return Err("not a SQL statement: please report this".to_owned());
    };
    let key = insert
        .key
        .as_ref()
        .ok_or("a table without a key cannot be appended to with an undo")?;
    let (cut, why) = cut(step, insert);
    let pinned_now = !step.bound.now_calls.is_empty();
    let unit = if pinned_now { 2 } else { 1 };
    let columns: Vec<String> = key.iter().map(|column| ident(&column.name)).collect();
    let columns = columns.join(", ");
    let NodeEnum::InsertStmt(mut statement) = template::tree(step, sql)? else {
        return Err("not an INSERT: please report this".to_owned());
    };
    if let (Some(cut), Some(driving)) = (&cut, &insert.driving) {
        let range = template::key_range(&driving.alias, &cut.key, unit + 1);
        let select = statement
            .select_stmt
            .as_mut()
            .and_then(|node| node.node.as_mut());
        let Some(NodeEnum::SelectStmt(select)) = select else {
            return Err("INSERT without SELECT cannot be cut: please report this".to_owned());
        };
        select.where_clause = template::conjoin(select.where_clause.take(), &range)?;
    }
    statement.returning_clause = Some(template::returning(&columns)?);
    let body = deparse(NodeEnum::InsertStmt(statement))?;
    let operator = Append {
        table: insert.table.to_string(),
        sql: Template(vec![
            Fragment::Text(format!("WITH upshift_inserted AS ({body}) INSERT INTO ")),
            Fragment::Kept,
            Fragment::Text(format!(
                " (upshift_unit, {columns}) SELECT ${unit}::text::integer, {columns} FROM \
                 upshift_inserted"
            )),
        ]),
        key: key.clone(),
        recorded: KeptTable {
            name: format!("{{run}}_t{number}_new"),
            table: insert.table.to_string(),
            columns: Some(key.iter().map(|column| column.name.clone()).collect()),
        },
        spare: spare(insert, cut.is_some()),
        cut,
    };
    Ok(Chosen {
        operator: Operator::Append(operator),
        undo: UndoKind::RecordedKeys,
        why,
        pinned_now,
        warning: None,
    })
}

/// How it could be cut where it is not.
fn spare(insert: &BoundInsert, is_cut: bool) -> Option<Spare> {
    let driving = insert.driving.as_ref()?;
    let possible = !is_cut && matches!(insert.chunk, Chunk::ByKey(_));
    possible.then(|| Spare {
        cut: Cut {
            table: driving.table.to_string(),
            key: driving.key.clone(),
        },
        alias: driving.alias.clone(),
    })
}

fn cut(step: &AnalysedStep, insert: &BoundInsert) -> (Option<Cut>, String) {
    if step.step.directives.strategy == Some(StrategyDirective::Single) {
        return (None, "in one unit: strategy = single".to_owned());
    }
    match (&insert.chunk, &insert.driving) {
        (Chunk::Whole(why), _) => (None, format!("in one unit: {why}")),
        (Chunk::ByKey(why), _) if estimate::is_small(step.bound.rows) => (
            None,
            format!("in one unit: few rows (it could be cut: {why})"),
        ),
        (Chunk::ByKey(why), Some(driving)) => {
            let names: Vec<&str> = driving
                .key
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            let why = format!(
                "cut by {}.{}: {why}",
                driving.table.plain(),
                names.join(", ")
            );
            (
                Some(Cut {
                    table: driving.table.to_string(),
                    key: driving.key.clone(),
                }),
                why,
            )
        }
        (Chunk::ByKey(_), None) => (None, "in one unit: nothing drives it".to_owned()),
    }
}
