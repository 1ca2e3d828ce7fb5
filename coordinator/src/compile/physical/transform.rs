//! The transform operator: the query of its rows, and the UPDATE that brings the changed ones back.

use pg_query::{
    Node, NodeEnum,
    protobuf::{Alias, RangeVar},
};
use upshift_shared::{
    pack::TransformStep,
    pg::ident::ident,
    plan::{
        Cut, InPlace, InPlaceAction, KeptTable, KeyColumn, Operator, Strategy, TRANSFORMED_ROWS,
        Transform, UndoKind,
    },
};

use super::{Chosen, in_place, template};
use crate::compile::{
    model::{AnalysedStep, BoundTransform},
    sql::{deparse, select},
};

/// Chooses transform for a transform step.
pub(super) fn choose(
    step: &AnalysedStep,
    (transform, bound): (&TransformStep, &BoundTransform),
    number: u32,
    strategy: Strategy,
) -> Result<Chosen, String> {
    let dml = &bound.dml;
    let key = dml
        .key
        .as_ref()
        .ok_or("a table without a key cannot be transformed")?;
    let (cut, why) = match strategy {
        Strategy::Sequential => (
            None,
            "in one unit, as written: --strategy sequential".to_owned(),
        ),
        _ => in_place::cut(step, dml, key),
    };
    let compares = transform.source != transform.target;
    let kept = in_place::changed(key, dml);
    let write = InPlace {
        table: dml.table.to_string(),
        action: InPlaceAction::Update(dml.assigned.clone()),
        sql: in_place::keep_updated(
            dml,
            (key, &kept),
            &update(transform, bound, key, cut.as_ref()),
            1,
            cut.as_ref(),
        ),
        key: key.clone(),
        before_images: KeptTable {
            name: format!("{{run}}_t{number}_before"),
            table: dml.table.to_string(),
            columns: Some(kept.iter().map(|column| column.name.clone()).collect()),
        },
        spare: in_place::spare(dml, key, cut.is_some()),
        cut,
    };
    Ok(Chosen {
        operator: Operator::Transform(Transform {
            rows: rows(step, (transform, bound), key, compares)?,
            compares,
            source: transform.source.clone(),
            target: transform.target.clone(),
            longest: bound.longest,
            translated: bound.translated,
            call: transform.call.clone(),
            write,
        }),
        undo: match strategy {
            Strategy::Sequential => UndoKind::Irreversible,
            _ => UndoKind::BeforeImages,
        },
        why,
        pinned_now: false,
        warning: None,
    })
}

/// The rows that may change: the author's condition on the table as the author calls it.
fn rows(
    step: &AnalysedStep,
    (transform, bound): (&TransformStep, &BoundTransform),
    key: &[KeyColumn],
    compares: bool,
) -> Result<String, String> {
    let dml = &bound.dml;
    let NodeEnum::UpdateStmt(statement) = template::tree(step, &transform.statement)? else {
        return Err("not an UPDATE: please report this".to_owned());
    };
    let alias = ident(&dml.alias);
    let mut list: Vec<String> = (1..)
        .zip(key)
        .map(|(n, column): (u32, _)| format!("{alias}.{} AS k{n}", ident(&column.name)))
        .collect();
    list.push(format!(
        "{alias}.{}::text AS source",
        ident(&transform.source)
    ));
    if compares {
        list.push(format!(
            "{alias}.{}::text AS target",
            ident(&transform.target)
        ));
    }
    let mut select = select(&list.join(", "))?;
    let renamed = (dml.alias != dml.table.name).then(|| Alias {
        aliasname: dml.alias.clone(),
        colnames: Vec::new(),
    });
    select.from_clause = vec![Node {
        node: Some(NodeEnum::RangeVar(RangeVar {
            schemaname: dml.table.schema.clone(),
            relname: dml.table.name.clone(),
            inh: true,
            relpersistence: "p".to_owned(),
            alias: renamed,
            ..RangeVar::default()
        })),
    }];
    select.where_clause = statement.where_clause;
    deparse(NodeEnum::SelectStmt(select))
}

/// The UPDATE from the table of changed rows, by key.
fn update(
    transform: &TransformStep,
    bound: &BoundTransform,
    key: &[KeyColumn],
    cut: Option<&Cut>,
) -> String {
    // An assignment cast is not an explicit one, which would cut a text that is too long: text is
    // assigned as it is. To other types there is no assignment cast from text.
    let value = match &bound.cast {
        Some(type_name) => format!("CAST(r.value AS {type_name})"),
        None => "r.value".to_owned(),
    };
    let target = ident(&transform.target);
    let mut conditions: Vec<String> = (1..)
        .zip(key)
        .map(|(n, column): (u32, _)| format!("t.{} = r.k{n}", ident(&column.name)))
        .collect();
    conditions.extend(cut.map(|cut| template::key_range("t", &cut.key, 2)));
    if bound.distinct {
        // Another text may be the same value.
        conditions.push(format!("t.{target} IS DISTINCT FROM {value}"));
    }
    let returned: Vec<String> = key
        .iter()
        .map(|column| format!("t.{}", ident(&column.name)))
        .collect();
    format!(
        "UPDATE {} AS t SET {target} = {value} FROM {TRANSFORMED_ROWS} AS r WHERE {} RETURNING {}",
        bound.dml.table,
        conditions.join(" AND "),
        returned.join(", "),
    )
}
