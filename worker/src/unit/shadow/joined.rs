//! A transform that joined a pass, within a unit of its fill: the unit's rows as the statements before it
//! leave them, through the function, and what changed into a temporary table that the fill's INSERT
//! joins by the row's key.
//!
//! Part of the fill's unit: tried again, split, aborted and undone with it.

use futures::TryStreamExt;
use sqlx::{
    PgConnection, Postgres, Row, ValueRef,
    postgres::{PgArguments, PgRow, PgValueFormat},
    query::Query,
};
use upshift_shared::{
    Error, Result,
    pg::{execute_raw, ident::ident, sql},
    plan::{JoinedTransform, Shadow},
};

use super::super::{
    UnitContext,
    transform::{Passed, Way},
};
use crate::transform::{batch::Shape, binary::Field};

/// A statement of a fill, with the unit's parameters: the instant where it is pinned, the lower bound,
/// the upper bound. Planned for these very pages: a generic plan would not scan by ranges of them.
pub(in crate::unit) fn bound(
    unit: &UnitContext<'_>,
    text: String,
) -> Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(sql(text)).persistent(false);
    if unit.task.pinned_now {
        query = query.bind(unit.pinned_now.to_owned());
    }
    for side in [&unit.bounds.lower, &unit.bounds.upper] {
        let value = side.as_deref().and_then(|values| values.first());
        query = query.bind(value.cloned());
    }
    query
}

/// Leaves the transform's changed rows in its temporary table.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (op, joined): (&Shadow, &JoinedTransform),
) -> Result<()> {
    let way = way(op, joined);
    let what = &way.what;
    if let Some(keep) = &joined.keep {
        let kept = JoinedTransform::kept(joined.number);
        let keep = format!(
            "/* upshift: rows so far */ CREATE TEMPORARY TABLE {kept} ON COMMIT DROP AS {keep}"
        );
        bound(unit, keep)
            .execute(&mut *tx)
            .await
            .map_err(Error::database(format!(
                "{what}: what the statements before it make of the rows"
            )))?;
        unit.refuse_cancelled()?;
    }
    bound(unit, way.create_rows(&joined.rows))
        .execute(&mut *tx)
        .await
        .map_err(way.making_rows())?;
    let mut passed = Passed::new(&way)?;
    read(tx, unit, (joined, &way), &mut passed).await?;
    unit.refuse_cancelled()?;
    let (spool, rows) = match passed.finish().await? {
        Ok(written) => written,
        Err(failure) => return Err(way.refusal(tx, failure).await?),
    };
    if rows > 0 {
        way.copy_in(tx, spool).await?;
    }
    // Of an empty table PostgreSQL believes that it has ten pages, and it would rather sort what it
    // joins with these than hash it.
    let key: Vec<String> = way.numbered().map(|(name, _)| name).collect();
    let analyse = format!(
        "/* upshift: rows in */ ANALYZE {} ({})",
        way.rows,
        key.join(", ")
    );
    execute_raw(tx, analyse)
        .await
        .map_err(Error::database(format!("{what}: counting its values")))?;
    unit.refuse_cancelled()
}

fn way<'a>(op: &Shadow, joined: &'a JoinedTransform) -> Way<'a> {
    Way {
        what: format!(
            "{} of {}.{}, at {}",
            joined.call.function,
            op.table,
            ident(&joined.source),
            joined.location
        ),
        // Nobody can write a table that is being built anew.
        advice: "roll back, mend it or leave it out with the step's where, and run again",
        key: &joined.key,
        shape: Shape {
            key: joined.key.len(),
            compares: joined.compares,
            longest: joined.longest,
        },
        call: &joined.call,
        translated: joined.translated,
        rows: JoinedTransform::changed(joined.number),
    }
}

/// Reads the rows that may change. COPY takes no parameters; a query whose rows come in binary does, and
/// they are the same bytes.
async fn read(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (joined, way): (&JoinedTransform, &Way<'_>),
    passed: &mut Passed,
) -> Result<()> {
    let failed = || Error::database(format!("{}: reading its values", way.what));
    let text = format!("/* upshift: rows out */ {}", joined.rows);
    let mut rows = bound(unit, text).fetch(tx);
    while let Some(row) = rows.try_next().await.map_err(failed())? {
        let row = fields(&row, way.shape.columns())
            .map_err(|why| Error::Format(format!("{}: {why}", way.what)))?;
        passed.push(row).await?;
    }
    Ok(())
}

fn fields(row: &PgRow, columns: usize) -> Result<Vec<Field>, String> {
    (0..columns)
        .map(|column| {
            let value = row.try_get_raw(column).map_err(|e| e.to_string())?;
            if value.is_null() {
                return Ok(None);
            }
            if value.format() != PgValueFormat::Binary {
                return Err("a row did not come in binary: please report this".to_owned());
            }
            let bytes = value.as_bytes().map_err(|e| e.to_string())?;
            Ok(Some(bytes.to_vec()))
        })
        .collect()
}
