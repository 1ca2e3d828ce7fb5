//! SET of an UPDATE in a pass: what each column is given.

use pg_query::{
    Node, NodeEnum,
    protobuf::{MultiAssignRef, RowExpr, SubLink, SubLinkType},
};
use upshift_shared::{catalog::Column, pg::ident::ident};

use super::{
    cast::{self, Carried},
    compose::{Composer, column_of, mentions},
    default,
};
use crate::compile::{
    model::{Around, BoundDml},
    sql::{deparse, expression},
};

/// A column and what it is given.
pub(super) struct Given {
    pub(super) column: String,
    pub(super) value: String,
    /// How the value is carried.
    pub(super) carried: Carried,
}

/// What `(a, b) = (SELECT …)` is called.
const ROW: &str = "upshift_row";

impl Composer<'_> {
    /// The columns of SET and their values.
    pub(super) fn given(
        &self,
        targets: &[Node],
        dml: &BoundDml,
        around: &Around,
    ) -> Result<Vec<Given>, String> {
        let mut given = Vec::with_capacity(targets.len());
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = &target.node else {
                return Err("its SET is of a form that passes do not know".to_owned());
            };
            if !target.indirection.is_empty() {
                return Err("it sets a part of a column".to_owned());
            }
            let column = column_of(around, &target.name)?;
            if column.generated.is_some() {
                // To DEFAULT, which is what it has anyway: PostgreSQL refuses all else.
                continue;
            }
            let value = target.val.as_deref().ok_or("its SET gives no value")?;
            let type_name = &column.type_name;
            given.push(Given {
                value: self.value(value, column, dml)?,
                carried: cast::carried(type_name, self.types)
                    .map_err(|why| format!("{} is of type {type_name}, {why}", column.name))?,
                column: column.name.clone(),
            });
        }
        Ok(given)
    }

    fn value(&self, value: &Node, column: &Column, dml: &BoundDml) -> Result<String, String> {
        match &value.node {
            Some(NodeEnum::SetToDefault(_)) => default::of_column(column, self.types),
            Some(NodeEnum::MultiAssignRef(several)) => self.one_of(several, column, dml),
            _ => expression(value),
        }
    }

    /// A column of `(a, b) = …`.
    fn one_of(
        &self,
        several: &MultiAssignRef,
        column: &Column,
        dml: &BoundDml,
    ) -> Result<String, String> {
        let source = several
            .source
            .as_deref()
            .and_then(|node| node.node.as_ref());
        match source {
            Some(NodeEnum::RowExpr(row)) => match of_row(row, several) {
                Some(value) => self.value(value, column, dml),
                None => Err("it sets several columns from a row with other ones".to_owned()),
            },
            Some(NodeEnum::SubLink(link)) => of_query(link, several, dml),
            _ => Err("it sets several columns from something that is no row".to_owned()),
        }
    }
}

fn of_row<'n>(row: &'n RowExpr, several: &MultiAssignRef) -> Option<&'n Node> {
    let place = usize::try_from(several.colno).ok()?.checked_sub(1)?;
    let all = usize::try_from(several.ncolumns).ok()? == row.args.len();
    // A star stands for any number of columns.
    let plain = |node: &Node| match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            let last = column.fields.last().and_then(|field| field.node.as_ref());
            !matches!(last, Some(NodeEnum::AStar(_)))
        }
        _ => true,
    };
    (all && row.args.iter().all(plain)).then_some(row.args.get(place)?)
}

/// A scalar subquery for each of the columns: like the query itself it gives NULL where there is no row,
/// and raises where there are several. PostgreSQL runs it only for rows that are changed, and so does
/// the CASE around it.
fn of_query(link: &SubLink, several: &MultiAssignRef, dml: &BoundDml) -> Result<String, String> {
    let query = link.subselect.as_deref().and_then(|node| node.node.clone());
    let query = query.filter(|_| link.sub_link_type == SubLinkType::ExprSublink as i32);
    // It is written once for each column, and each may then take another of several rows.
    let query = deparse(query.ok_or("it sets several columns from something that is no row")?)?;
    // Anywhere in it; a name that holds the word only costs the pass.
    let words = query.to_uppercase();
    if ["LIMIT", "FETCH", "DISTINCT"]
        .iter()
        .any(|word| words.contains(word))
    {
        return Err("it sets several columns from any one of several rows".to_owned());
    }
    if let Some(function) = dml.joins.volatile.iter().find(|f| mentions(&query, f)) {
        return Err(format!(
            "it sets several columns from a query that calls {function}, which is volatile"
        ));
    }
    let names: Vec<String> = (1..=several.ncolumns)
        .map(|n| ident(&format!("c{n}")))
        .collect();
    Ok(format!(
        "(SELECT {ROW}.\"c{}\" FROM ({query}) AS {ROW} ({}))",
        several.colno,
        names.join(", ")
    ))
}
