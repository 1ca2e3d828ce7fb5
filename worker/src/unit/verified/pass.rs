//! Verification of a pass: what a fill reads and writes, the new table before it is used, and the sums of
//! the fill's units before the swap.

use sqlx::{PgConnection, Row, postgres::PgRow};
use upshift_shared::{
    Error, Result,
    ledger::{
        options::Verify,
        verification::{self, Sides},
    },
    pg::{ident::ident, sql},
    plan::{Carried, Cut, Shadow, Template},
};

use super::{
    super::{UnitContext, shadow::bound},
    agree, disagree, hash, hash_of, range, same,
};

/// Runs the INSERT of a fill; returns the rows that it wrote.
pub(in crate::unit) async fn fill(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    (template, carried): (&Template, Option<&Carried>),
) -> Result<u64> {
    let text = template.render(&op.new_table(unit.holder.run));
    let failed = || Error::database(unit.task.label.clone());
    let cut = Cut::pages(op.table.to_string());
    let pages = range("o", &cut.key, unit.bounds);
    let (Some(carried), true) = (carried, unit.options.verify != Verify::Off) else {
        let done = bound(unit, text).execute(tx).await.map_err(failed())?;
        return Ok(done.rows_affected());
    };
    let sides = if unit.options.verify == Verify::Full && can_digest(carried) {
        let text = filled(&text, &op.table.to_string(), &pages, carried);
        let row = bound(unit, text).fetch_one(&mut *tx).await;
        sides(&row.map_err(failed())?).map_err(failed())?
    } else {
        let done = bound(unit, text)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        let count = format!(
            "/* upshift: rows of the old pages */ SELECT pg_catalog.count(*) FROM ONLY {} AS o WHERE {pages}",
            op.table
        );
        let row = sqlx::query(sql(count))
            .persistent(false)
            .fetch_one(&mut *tx)
            .await;
        let read: i64 = row.and_then(|row| row.try_get(0)).map_err(failed())?;
        Sides {
            rows_before: read.unsigned_abs(),
            rows_after: done.rows_affected(),
            ..Sides::default()
        }
    };
    if !carried.deletes || sides.rows_after > sides.rows_before {
        agree(
            unit,
            "rows read",
            sides.rows_before,
            "rows written",
            sides.rows_after,
        )?;
    }
    same(unit, &op.table.to_string(), &sides)?;
    verification::record(tx, unit.key(), &sides).await?;
    Ok(sides.rows_after)
}

/// Looks at a new table once more before it is used: it has to hold what the fill's units wrote. Nobody
/// is kept from the old table meanwhile.
pub(in crate::unit) async fn settle(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    carried: Option<&Carried>,
) -> Result<()> {
    let Some(carried) = carried.filter(|c| unit.options.verify == Verify::Full && can_digest(c))
    else {
        return Ok(());
    };
    let run = unit.holder.run;
    let sums = verification::sums(conn, run, Some(op.fill())).await?;
    let Some(sums) = sums.into_iter().next() else {
        return Err(disagree(
            unit,
            "no unit of the fill has been verified".to_owned(),
        ));
    };
    let failed = || Error::database(unit.task.label.clone());
    let columns: Vec<&String> = carried.columns.iter().map(|(_, new)| new).collect();
    let table = op.new_table(run).to_string();
    let query = format!(
        "/* upshift: digest a new table */ SELECT pg_catalog.count(*) AS rows, \
         coalesce(pg_catalog.sum({}), 0)::text AS digest FROM ONLY {table} AS t",
        hash("t", &columns),
    );
    let row = sqlx::query(sql(query))
        .persistent(false)
        .fetch_one(conn)
        .await;
    let row = row.map_err(failed())?;
    let rows: i64 = row.try_get("rows").map_err(failed())?;
    let digest: String = row.try_get("digest").map_err(failed())?;
    agree(
        unit,
        "rows that the fill wrote",
        sums.sides.rows_after,
        "rows of the new table",
        rows.unsigned_abs(),
    )?;
    let sides = Sides {
        digest_before: sums.sides.digest_after,
        digest_after: Some(digest),
        ..Sides::default()
    };
    if sides.digest_before == sides.digest_after {
        return Ok(());
    }
    Err(disagree(
        unit,
        format!(
            "the new table {table} does not hold what was written into it: something else has changed it"
        ),
    ))
}

/// The sums of a fill's units, before its table is swapped in: each has been counted, and the rows that it
/// counted are those that it wrote.
pub(in crate::unit) async fn swap(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<()> {
    let run = unit.holder.run;
    let sums = verification::sums(tx, run, Some(op.fill())).await?;
    // With --verify off, and in a run of an older program, none is.
    let Some(sums) = sums.into_iter().next() else {
        return Ok(());
    };
    let (units, rows) = verification::units_done(tx, run, op.fill()).await?;
    agree(
        unit,
        "units of the fill",
        units,
        "units verified",
        sums.units,
    )?;
    agree(
        unit,
        "rows written by the fill",
        rows,
        "rows counted",
        sums.sides.rows_after,
    )
}

/// Without its key, a row that is kept cannot be told from one that the pass deletes.
fn can_digest(carried: &Carried) -> bool {
    !carried.columns.is_empty() && (!carried.deletes || !carried.key.is_empty())
}

/// The INSERT of a fill, and in the same statement the rows that it read and wrote.
fn filled(insert: &str, old: &str, pages: &str, carried: &Carried) -> String {
    let (old_columns, new_columns): (Vec<&String>, Vec<&String>) =
        carried.columns.iter().map(|(old, new)| (old, new)).unzip();
    let own: Vec<String> = new_columns.iter().map(|name| ident(name)).collect();
    let old_hash = hash("o", &old_columns);
    let rows = format!("FROM ONLY {old} AS o WHERE {pages}");
    // Where nothing is deleted, every row of the old pages is kept. Else those are whose key has been
    // written: asked by EXISTS, so that a row that was written twice does not count twice here.
    let (keys, before) = if carried.deletes {
        let pairs = || (1..).zip(&carried.key);
        let keys: String = pairs()
            .map(|(n, (_, new))| format!(", {} AS k{n}", ident(new)))
            .collect();
        let found: Vec<String> = pairs()
            .map(|(n, (old, _))| format!("w.k{n} = o.{}", ident(old)))
            .collect();
        let before = format!(
            "SELECT (SELECT pg_catalog.count(*) {rows}) AS rows, pg_catalog.sum({old_hash}) AS digest \
             {rows} AND EXISTS (SELECT FROM upshift_written AS w WHERE {})",
            found.join(" AND "),
        );
        (keys, before)
    } else {
        let before = format!(
            "SELECT pg_catalog.count(*) AS rows, pg_catalog.sum({old_hash}) AS digest {rows}"
        );
        (String::new(), before)
    };
    format!(
        "WITH upshift_written AS ({insert} RETURNING {} AS h{keys}) \
         SELECT b.rows AS rows_before, a.rows AS rows_after, \
                coalesce(b.digest, 0)::text AS digest_before, \
                coalesce(a.digest, 0)::text AS digest_after \
         FROM (SELECT pg_catalog.count(*) AS rows, pg_catalog.sum(h) AS digest FROM upshift_written) AS a, \
              ({before}) AS b",
        hash_of(&own),
    )
}

fn sides(row: &PgRow) -> sqlx::Result<Sides> {
    let count = |name: &str| row.try_get(name).map(i64::unsigned_abs);
    Ok(Sides {
        rows_before: count("rows_before")?,
        rows_after: count("rows_after")?,
        digest_before: row.try_get("digest_before")?,
        digest_after: row.try_get("digest_after")?,
    })
}
