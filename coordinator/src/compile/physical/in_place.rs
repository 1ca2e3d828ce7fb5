//! The in-place operator's template: the UPDATE or DELETE as a writable CTE whose outer INSERT keeps
//! the before-images.

use pg_query::NodeEnum;
use upshift_shared::{
    pack::{StepKind, StrategyDirective},
    pg::ident::ident,
    plan::{
        Cut, Fragment, InPlace, InPlaceAction, KeptTable, KeyColumn, Operator, Spare, Template,
        UndoKind,
    },
};

use super::{Chosen, estimate, template};
use crate::compile::{
    model::{AnalysedStep, BoundDml, Chunk, Class},
    sql::deparse,
};

/// Chooses in-place for an UPDATE or DELETE on a table with a key.
pub(super) fn choose(step: &AnalysedStep, dml: &BoundDml, number: u32) -> Result<Chosen, String> {
    let StepKind::Sql(sql) = &step.step.kind else {
        return Err("not a SQL statement: please report this".to_owned());
    };
    let key = dml
        .key
        .as_ref()
        .ok_or("a table without a key cannot be changed in place")?;
    let (cut, why) = cut(step, dml, key);
    let pinned_now = !step.bound.now_calls.is_empty();
    let unit = if pinned_now { 2 } else { 1 };
    let range = cut
        .as_ref()
        .map(|cut| template::key_range(&dml.alias, &cut.key, unit + 1));
    let deletes = matches!(step.bound.class, Class::Delete(_));
    let kept = changed(key, dml);
    let returned = if deletes {
        format!("{}.*", ident(&dml.alias))
    } else {
        let columns = key.iter().map(|column| ident(&column.name));
        let columns = columns.map(|column| format!("{}.{column}", ident(&dml.alias)));
        columns.collect::<Vec<_>>().join(", ")
    };
    let body = body(step, sql, &returned, range.as_deref())?;
    let operator = InPlace {
        table: dml.table.to_string(),
        action: if deletes {
            InPlaceAction::Delete
        } else {
            InPlaceAction::Update(dml.assigned.clone())
        },
        sql: if deletes {
            keep_deleted(&body, unit)
        } else {
            keep_updated(dml, (key, &kept), &body, unit, cut.as_ref())
        },
        key: key.clone(),
        before_images: KeptTable {
            name: format!("{{run}}_t{number}_before"),
            table: dml.table.to_string(),
            columns: (!deletes).then(|| kept.iter().map(|column| column.name.clone()).collect()),
        },
        spare: spare(dml, key, cut.is_some()),
        cut,
    };
    let warning = step.step.directives.irreversible.then(|| {
        "marked irreversible, but before-images are kept: it can be taken back all the same"
            .to_owned()
    });
    Ok(Chosen {
        operator: Operator::InPlace(operator),
        undo: UndoKind::BeforeImages,
        why,
        pinned_now,
        warning,
    })
}

/// How it is cut, and why (not).
pub(super) fn cut(step: &AnalysedStep, dml: &BoundDml, key: &[KeyColumn]) -> (Option<Cut>, String) {
    if step.step.directives.strategy == Some(StrategyDirective::Single) {
        return (None, "in one unit: strategy = single".to_owned());
    }
    match &dml.chunk {
        Chunk::Whole(why) => (None, format!("in one unit: {why}")),
        Chunk::ByKey(why) if estimate::is_small(step.bound.rows) => (
            None,
            format!("in one unit: few rows (it could be cut: {why})"),
        ),
        Chunk::ByKey(why) => {
            let cut = Cut {
                table: dml.table.to_string(),
                key: key.to_vec(),
            };
            let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
            (Some(cut), format!("cut by {}: {why}", names.join(", ")))
        }
    }
}

/// How it could be cut where it is not.
pub(super) fn spare(dml: &BoundDml, key: &[KeyColumn], is_cut: bool) -> Option<Spare> {
    let possible = !is_cut && matches!(dml.chunk, Chunk::ByKey(_));
    possible.then(|| Spare {
        cut: Cut {
            table: dml.table.to_string(),
            key: key.to_vec(),
        },
        alias: dml.alias.clone(),
    })
}

/// Key columns and assigned columns: what an UPDATE's before-image holds. Types of assigned columns
/// come from the table itself.
pub(super) fn changed(key: &[KeyColumn], dml: &BoundDml) -> Vec<KeyColumn> {
    let assigned = dml.assigned.iter().map(|name| KeyColumn {
        name: name.clone(),
        type_name: String::new(),
    });
    key.iter().cloned().chain(assigned).collect()
}

/// The statement itself, cut and returning what is listed of its target.
fn body(
    step: &AnalysedStep,
    sql: &str,
    returned: &str,
    range: Option<&str>,
) -> Result<String, String> {
    let returning = Some(template::returning(returned)?);
    match template::tree(step, sql)? {
        NodeEnum::UpdateStmt(mut statement) => {
            if let Some(range) = range {
                statement.where_clause = template::conjoin(statement.where_clause.take(), range)?;
            }
            statement.returning_clause = returning;
            deparse(NodeEnum::UpdateStmt(statement))
        }
        NodeEnum::DeleteStmt(mut statement) => {
            if let Some(range) = range {
                statement.where_clause = template::conjoin(statement.where_clause.take(), range)?;
            }
            statement.returning_clause = returning;
            deparse(NodeEnum::DeleteStmt(statement))
        }
        _ => Err("neither UPDATE nor DELETE: please report this".to_owned()),
    }
}

/// The outer query of a statement with a writable CTE sees the rows as they were before it
/// (PostgreSQL manual, 7.8.4): the before-images. It is cut like the statement itself, or every unit
/// would read the whole table.
pub(super) fn keep_updated(
    dml: &BoundDml,
    (key, kept): (&[KeyColumn], &[KeyColumn]),
    body: &str,
    unit: usize,
    cut: Option<&Cut>,
) -> Template {
    let columns: Vec<String> = kept.iter().map(|column| ident(&column.name)).collect();
    let old: Vec<String> = columns.iter().map(|column| format!("o.{column}")).collect();
    let on: Vec<String> = key
        .iter()
        .map(|column| ident(&column.name))
        .map(|column| format!("o.{column} = c.{column}"))
        .collect();
    let range = cut
        .map(|cut| format!(" WHERE {}", template::key_range("o", &cut.key, unit + 1)))
        .unwrap_or_default();
    Template(vec![
        Fragment::Text(format!("WITH upshift_changed AS ({body}) INSERT INTO ")),
        Fragment::Kept,
        Fragment::Text(format!(
            " (upshift_unit, {}) SELECT ${unit}::text::integer, {} FROM {} AS o JOIN upshift_changed \
             AS c ON {}{range}",
            columns.join(", "),
            old.join(", "),
            dml.table,
            on.join(" AND "),
        )),
    ])
}

/// DELETE returns the rows as they were, whole: what this run has hidden in them goes with them.
fn keep_deleted(body: &str, unit: usize) -> Template {
    Template(vec![
        Fragment::Text(format!("WITH upshift_changed AS ({body}) INSERT INTO ")),
        Fragment::Kept,
        Fragment::Text(format!(
            " SELECT ${unit}::text::integer, c.* FROM upshift_changed AS c"
        )),
    ])
}
