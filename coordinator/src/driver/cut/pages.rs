//! Cutting a table into ranges of pages: no index is walked, and whatever the key is, units are as
//! large as each other. Bounds are `(page,0)`: no row has number 0 in its page, so everything up to
//! such a bound is on the pages before it.

use sqlx::Row;
use upshift_shared::{Error, Result, ledger::Bounds, pg::PgConnection};

/// Size of a table, in pages, and rows on a page.
async fn measure(conn: &mut PgConnection, table: &str) -> Result<(u64, f64)> {
    let failed = || Error::database(format!("measuring {table}"));
    let row = sqlx::query(
        "-- upshift: pages of a table
        SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages,
               CASE WHEN c.relpages > 0 AND c.reltuples > 0
                    THEN c.reltuples::double precision / c.relpages ELSE 50 END AS rows
        FROM pg_class c WHERE c.oid = to_regclass($1)",
    )
    .bind(table)
    .persistent(false)
    .fetch_optional(conn)
    .await
    .map_err(failed())?;
    let Some(row) = row else {
        return Err(Error::Refused(format!("there is no table {table}")));
    };
    let pages: i64 = row.try_get("pages").map_err(failed())?;
    let rows: f64 = row.try_get("rows").map_err(failed())?;
    Ok((pages.unsigned_abs(), rows.max(1.0)))
}

/// Upper bounds of up to `units` units of about `rows` rows behind a bound; fewer where the table ends.
pub(super) async fn bounds(
    conn: &mut PgConnection,
    table: &str,
    after: Option<&[String]>,
    (rows, units): (u64, u32),
) -> Result<Vec<Vec<String>>> {
    let (pages, density) = measure(conn, table).await?;
    let first = after.map_or(Ok(0), page)?;
    Ok(tile(first, pages, (rows, units), density)
        .into_iter()
        .map(|page| vec![bound(page)])
        .collect())
}

fn tile(first: u64, pages: u64, (rows, units): (u64, u32), density: f64) -> Vec<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number of pages, far below 2^52"
    )]
    let step = ((rows as f64 / density).ceil() as u64).max(1);
    let left = pages.saturating_sub(first);
    let units = u64::from(units);
    let step = if left > step && left < units.saturating_mul(step) {
        // The last ones are as large as each other, so that the slots end together.
        left.div_ceil(units).max(step / 4).max(1)
    } else {
        step
    };
    let ends = (1..=units).map(|unit| first.saturating_add(unit.saturating_mul(step)));
    ends.take_while(|end| *end < pages).collect()
}

/// The bound in the middle of a unit; `None` where it is one page.
pub(super) async fn middle(
    conn: &mut PgConnection,
    table: &str,
    bounds: &Bounds,
) -> Result<Option<Vec<String>>> {
    let lower = bounds.lower.as_deref().map_or(Ok(0), page)?;
    let upper = match bounds.upper.as_deref() {
        Some(upper) => page(upper)?,
        None => measure(conn, table).await?.0,
    };
    let middle = lower.midpoint(upper);
    Ok((middle > lower && middle < upper).then(|| vec![bound(middle)]))
}

fn bound(page: u64) -> String {
    format!("({page},0)")
}

fn page(bound: &[String]) -> Result<u64> {
    let text = bound.first().map(String::as_str).unwrap_or_default();
    let page = text
        .strip_prefix('(')
        .and_then(|text| text.split(',').next());
    page.and_then(|page| page.parse().ok())
        .ok_or_else(|| Error::Format(format!("the ledger has \"{text}\" as a bound of pages")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_tile_the_pages() {
        // 100 rows a page, 250 rows a unit: three pages each; the rest is the last unit's.
        assert_eq!(tile(0, 100, (250, 3), 100.0), [3, 6, 9]);
        // Eight units for the last ten pages, none smaller than a quarter of the others.
        assert_eq!(tile(0, 10, (250, 8), 100.0), [2, 4, 6, 8]);
        assert_eq!(tile(0, 130, (4_000, 4), 100.0), [33, 66, 99]);
        assert_eq!(tile(9, 10, (250, 8), 100.0), Vec::<u64>::new());
        assert_eq!(tile(3, 100, (250, 2), 100.0), [6, 9]);
        assert_eq!(tile(0, 0, (250, 2), 100.0), Vec::<u64>::new());
        assert_eq!(tile(0, 3, (1, 8), 100.0), [1, 2]);
    }

    #[test]
    fn bounds_are_read_back() {
        assert_eq!(page(&[bound(17)]).expect("it is one"), 17);
        assert!(page(&["17".to_owned()]).is_err());
    }
}
