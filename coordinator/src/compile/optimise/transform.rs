//! A transform in a pass. Its function runs in no SELECT: in each unit of the fill its rows come out as the
//! layers so far leave them, and what changed is a temporary table that the next layer joins by the key.
//!
//! So the layers before it are computed twice, and must come out the same: not so where they call
//! `random()`, take any one of several rows, or add up in the order of a scan. Behind a statement that
//! computes anything they are kept, as a table of the unit.

use pg_query::{NodeEnum, protobuf::UpdateStmt};
use upshift_shared::{
    pack::{StepKind, TransformStep},
    pg::ident::ident,
    plan::{JoinedTransform, KeyColumn},
};

use super::{
    cast,
    compose::{Composer, column_of},
};
use crate::compile::{
    model::{AnalysedStep, Around, BoundTransform, Resource},
    physical::template,
    sql::{expression, parse},
};

/// What the table of changed rows is called.
const CHANGED: &str = "upshift_changed";

impl Composer<'_> {
    /// Adds a transform.
    pub(super) fn transform(
        &mut self,
        step: &AnalysedStep,
        bound: &BoundTransform,
        around: &Around,
    ) -> Result<(), String> {
        let StepKind::Transform(transform) = &step.step.kind else {
            return Err("it is no transform: please report this".to_owned());
        };
        let dml = &bound.dml;
        let key = dml.key.as_ref().ok_or("its table has no key")?;
        // Beside what the UPDATE reads that it is bound as: the key that finds its rows again, and what
        // stands where the new value goes.
        let mut reading = step.clone();
        let keys = key.iter().map(|column| column.name.as_str());
        for name in keys.chain([transform.target.as_str()]) {
            let column = column_of(around, name)?;
            let resource = Resource::Column(self.table, column.id);
            reading.bound.reads.insert(resource);
        }
        self.may_read(&reading, dml, around)?;
        let NodeEnum::UpdateStmt(statement) = template::tree(step, &transform.statement)? else {
            return Err("it is no UPDATE: please report this".to_owned());
        };
        let number = u32::try_from(self.transforms.len()).map_err(|e| e.to_string())?;
        let keep = self.keep(number);
        self.transforms.push(JoinedTransform {
            number,
            location: step.step.location.clone(),
            keep,
            rows: self.rows(&statement, (transform, bound), key)?,
            key: key.clone(),
            compares: transform.source != transform.target,
            source: transform.source.clone(),
            longest: bound.longest,
            translated: bound.translated,
            call: transform.call.clone(),
        });
        self.fence();
        self.join_changed((transform, bound), key, number, around)?;
        let tree = assigned(&statement, transform, bound)?;
        self.explain(Some(tree), dml, &around.before)?;
        self.note(step);
        Ok(())
    }

    /// The rows so far, to be kept in a table that what follows reads; `None` where they come out the same
    /// however often they are computed.
    fn keep(&mut self, number: u32) -> Option<String> {
        if self.settled {
            return None;
        }
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("k.{}", ident(&column.name)))
            .collect();
        let kept = format!(
            "SELECT {} FROM {} AS k",
            list.join(", "),
            JoinedTransform::kept(number)
        );
        self.settled = true;
        self.layers = 0;
        Some(std::mem::replace(&mut self.sql, kept))
    }

    /// The rows that may change.
    fn rows(
        &self,
        statement: &UpdateStmt,
        (transform, bound): (&TransformStep, &BoundTransform),
        key: &[KeyColumn],
    ) -> Result<String, String> {
        let alias = ident(&bound.dml.alias);
        let mut list: Vec<String> = (1..)
            .zip(key)
            .map(|(n, column): (u32, _)| format!("{alias}.{} AS k{n}", ident(&column.name)))
            .collect();
        let text = |column: &str, name| format!("{alias}.{}::text AS {name}", ident(column));
        list.push(text(&transform.source, "source"));
        if transform.source != transform.target {
            list.push(text(&transform.target, "target"));
        }
        // Behind a fence its condition is on columns, and PostgreSQL asks the parts of it in the order in
        // which it would ask them of the table.
        let fence = match self.sql.ends_with(" OFFSET 0") {
            true => "",
            false => " OFFSET 0",
        };
        let condition = match &statement.where_clause {
            Some(condition) => format!(" WHERE {}", expression(condition)?),
            None => String::new(),
        };
        Ok(format!(
            "SELECT {} FROM ({}{fence}) AS {alias}{condition}",
            list.join(", "),
            self.sql
        ))
    }

    /// The layer that takes the changed values.
    fn join_changed(
        &mut self,
        (transform, bound): (&TransformStep, &BoundTransform),
        key: &[KeyColumn],
        number: u32,
        around: &Around,
    ) -> Result<(), String> {
        let own = column_of(around, &transform.target)?;
        let carried = cast::carried(&own.type_name, self.types)
            .map_err(|why| format!("{} is of type {}, {why}", own.name, own.type_name))?;
        let alias = ident(&bound.dml.alias);
        let value = cast_to(&format!("{CHANGED}.value"), bound);
        let mut list = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let quoted = ident(&column.name);
            let old = format!("{alias}.{quoted}");
            if column.name != own.name {
                list.push(format!("{old} AS {quoted}"));
                continue;
            }
            column.carried = carried;
            let new = cast::carry(&value, &own.type_name, carried);
            let mut hit = format!("{CHANGED}.k1 IS NOT NULL");
            if bound.distinct {
                // Another text may be the same value, which stays as it was.
                hit.push_str(&format!(" AND {old} IS DISTINCT FROM {new}"));
            }
            let value = format!("CASE WHEN {hit} THEN {new} ELSE {old} END");
            let value = cast::collate(&value, own, self.types);
            list.push(format!("{value} AS {quoted}"));
        }
        let on: Vec<String> = (1..)
            .zip(key)
            .map(|(n, column): (u32, _)| {
                format!("{CHANGED}.k{n} = {alias}.{}", ident(&column.name))
            })
            .collect();
        self.sql = format!(
            "SELECT {} FROM ({}) AS {alias} LEFT JOIN {} AS {CHANGED} ON ({})",
            list.join(", "),
            self.sql,
            JoinedTransform::changed(number),
            on.join(" AND ")
        );
        Ok(())
    }
}

/// A text as it is assigned: to what is no text there is no assignment cast from it.
fn cast_to(text: &str, bound: &BoundTransform) -> String {
    match &bound.cast {
        Some(type_name) => format!("CAST({text} AS {type_name})"),
        None => text.to_owned(),
    }
}

/// The UPDATE with a value of the type that is assigned, for PostgreSQL to say what is wrong with it.
fn assigned(
    statement: &UpdateStmt,
    transform: &TransformStep,
    bound: &BoundTransform,
) -> Result<NodeEnum, String> {
    let source = format!(
        "{}.{}::text",
        ident(&bound.dml.alias),
        ident(&transform.source)
    );
    let value = match parse(&format!("SELECT {}", cast_to(&source, bound)))? {
        Some(NodeEnum::SelectStmt(mut select)) => select.target_list.pop(),
        _ => None,
    };
    let value = match value.and_then(|node| node.node) {
        Some(NodeEnum::ResTarget(target)) => target.val,
        _ => None,
    };
    let mut statement = statement.clone();
    match statement
        .target_list
        .first_mut()
        .and_then(|node| node.node.as_mut())
    {
        Some(NodeEnum::ResTarget(target)) => target.val = value,
        _ => return Err("it assigns nothing: please report this".to_owned()),
    }
    Ok(NodeEnum::UpdateStmt(Box::new(statement)))
}
