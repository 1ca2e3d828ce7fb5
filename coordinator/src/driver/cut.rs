//! Cutting a task into units: key ranges of about so many rows. One query finds the bounds of a whole
//! batch of units, each by a short walk along the key's index; they are recorded before any unit is
//! leased, so that a resumed run cuts where the first one did.

mod pages;

use sqlx::Row;
use upshift_shared::{
    Error, Result,
    ids::{TaskId, UnitId},
    ledger::{self, Bounds, Holder},
    pg::{
        self, PgConnection,
        ident::ident,
        transaction::{self, Isolation, Spec},
    },
    plan::Cut,
};

/// Where cutting goes on: behind the last bound, with the next number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    /// The upper bound of the last unit that was cut; `None` before the first.
    pub(super) after: Option<Vec<String>>,
    /// The number of the next unit.
    pub(super) next: u32,
}

/// Units that were cut and recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: UnitId,
    pub(super) bounds: Vec<Bounds>,
    pub(super) exhausted: bool,
}

/// Text of keys must be read back as it was written, whatever the session's formats.
fn formats() -> [(String, String); 3] {
    [
        ("datestyle", "ISO"),
        ("intervalstyle", "postgres"),
        ("extra_float_digits", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), format!("'{value}'")))
}

/// Cuts up to `units` units of `rows` rows behind the frontier, and records them.
pub(super) async fn cut(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    cut: &Cut,
    frontier: &Frontier,
    (rows, units): (u64, u32),
) -> Result<Batch> {
    let after = frontier.after.as_deref();
    let found = match cut.is_by_pages() {
        true => pages::bounds(conn, &cut.table, after, (rows, units)).await?,
        false => bounds(conn, cut, after, (rows, units)).await?,
    };
    let exhausted = found.len() < units as usize;
    let mut lower = frontier.after.clone();
    let mut bounds: Vec<Bounds> = Vec::with_capacity(found.len() + 1);
    for upper in found {
        let upper = Some(upper);
        bounds.push(Bounds {
            lower: std::mem::replace(&mut lower, upper.clone()),
            upper,
        });
    }
    if exhausted {
        // The last unit has no upper bound: rows that come behind it meanwhile are its own.
        bounds.push(Bounds { lower, upper: None });
    }
    let first = UnitId(frontier.next);
    let before = ledger::cut::insert(conn, holder, task, first, &bounds, exhausted).await?;
    let (bounds, exhausted) = before.unwrap_or((bounds, exhausted));
    Ok(Batch {
        first,
        bounds,
        exhausted,
    })
}

/// Splits a unit in two, at the row in its middle, and records it. `None` when it has fewer than two
/// rows, or is done already.
pub(super) async fn split(
    conn: &mut PgConnection,
    holder: Holder,
    task: TaskId,
    cut: &Cut,
    (unit, bounds, new): (UnitId, &Bounds, UnitId),
) -> Result<Option<Vec<String>>> {
    let middle = match cut.is_by_pages() {
        true => pages::middle(conn, &cut.table, bounds).await?,
        false => middle(conn, cut, bounds).await?,
    };
    let Some(middle) = middle else {
        return Ok(None);
    };
    ledger::cut::split(conn, holder, task, unit, new, &middle).await
}

async fn bounds(
    conn: &mut PgConnection,
    cut: &Cut,
    after: Option<&[String]>,
    (rows, units): (u64, u32),
) -> Result<Vec<Vec<String>>> {
    let offset = i64::try_from(rows.max(1) - 1).unwrap_or(i64::MAX);
    let text = bounds_query(cut, after.is_some());
    let settings = formats();
    let spec = spec(&settings);
    let context = format!("cutting {} into units", cut.table);
    let mut tx = transaction::begin(conn, &spec).await?;
    index_only(&mut tx).await?;
    let mut query = sqlx::query(pg::sql(text))
        .bind(offset)
        .bind(i64::from(units))
        .persistent(false);
    for value in after.unwrap_or_default() {
        query = query.bind(value);
    }
    let found = query.fetch_all(&mut *tx).await;
    let found = found.map_err(Error::database(&context))?;
    tx.commit().await?;
    found
        .iter()
        .map(|row| (0..cut.key.len()).map(|i| row.try_get(i)).collect())
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database(context))
}

fn spec(settings: &[(String, String)]) -> Spec<'_> {
    Spec {
        isolation: Isolation::RepeatableRead,
        read_only: true,
        settings,
        statement_timeout: std::time::Duration::ZERO,
        ..Spec::new("cut into units")
    }
}

/// A large offset makes the planner think of sorting the whole table, once for every unit.
async fn index_only(conn: &mut PgConnection) -> Result<()> {
    let settings = "/* upshift: walk along the index */ SET LOCAL enable_seqscan = off; \
                    SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; \
                    SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off";
    pg::execute_raw(conn, settings)
        .await
        .map_err(Error::database("preparing to cut into units"))?;
    Ok(())
}

/// `$1` rows to skip for each bound, `$2` bounds; then the bound to begin behind, if any.
fn bounds_query(cut: &Cut, behind: bool) -> String {
    let columns: Vec<String> = cut.key.iter().map(|column| ident(&column.name)).collect();
    let names: Vec<String> = (1..=columns.len()).map(|i| format!("k{i}")).collect();
    let named: Vec<String> = columns
        .iter()
        .zip(&names)
        .map(|(column, name)| format!("t.{column} AS {name}"))
        .collect();
    let (named, table) = (named.join(", "), &cut.table);
    let tuple = columns
        .iter()
        .map(|c| format!("t.{c}"))
        .collect::<Vec<_>>()
        .join(", ");
    let start = if behind {
        format!(" WHERE ({tuple}) > ({})", parameters(cut, 3))
    } else {
        String::new()
    };
    let walked = names
        .iter()
        .map(|name| format!("b.{name}"))
        .collect::<Vec<_>>()
        .join(", ");
    let texts = names
        .iter()
        .map(|name| format!("{name}::text"))
        .collect::<Vec<_>>()
        .join(", ");
    let ordered = format!("ORDER BY {tuple} OFFSET $1 LIMIT 1");
    format!(
        "-- upshift: bounds of units
WITH RECURSIVE bound AS (
    (SELECT 1::bigint AS n, f.* FROM (SELECT {named} FROM {table} t{start} {ordered}) f)
    UNION ALL
    SELECT b.n + 1, f.* FROM bound b CROSS JOIN LATERAL (
        SELECT {named} FROM {table} t WHERE ({tuple}) > ({walked}) {ordered}
    ) f WHERE b.n < $2
)
SELECT {texts} FROM bound ORDER BY n"
    )
}

/// `$n::text::type` for each key column.
fn parameters(cut: &Cut, first: usize) -> String {
    cut.key
        .iter()
        .enumerate()
        .map(|(i, column)| format!("${}::text::{}", first + i, column.type_name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The key of the row in the middle of a range; `None` when it has fewer than two rows.
async fn middle(
    conn: &mut PgConnection,
    cut: &Cut,
    bounds: &Bounds,
) -> Result<Option<Vec<String>>> {
    let (count, pick) = middle_queries(cut, bounds);
    let values: Vec<&String> = [&bounds.lower, &bounds.upper]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let context = format!("splitting a unit of {}", cut.table);
    let settings = formats();
    let spec = spec(&settings);
    let mut tx = transaction::begin(conn, &spec).await?;
    index_only(&mut tx).await?;
    let mut query = sqlx::query_scalar::<_, i64>(pg::sql(count)).persistent(false);
    for value in &values {
        query = query.bind(*value);
    }
    let rows = query
        .fetch_one(&mut *tx)
        .await
        .map_err(Error::database(&context))?;
    if rows < 2 {
        return Ok(None);
    }
    let mut query = sqlx::query(pg::sql(pick)).persistent(false);
    for value in &values {
        query = query.bind(*value);
    }
    let row = query.bind(rows / 2 - 1).fetch_one(&mut *tx).await;
    let row = row.map_err(Error::database(&context))?;
    tx.commit().await?;
    (0..cut.key.len())
        .map(|i| row.try_get(i))
        .collect::<sqlx::Result<_>>()
        .map(Some)
        .map_err(Error::database(context))
}

/// How many rows a range has; and the key of the n-th, n being the last parameter.
fn middle_queries(cut: &Cut, bounds: &Bounds) -> (String, String) {
    let columns: Vec<String> = cut
        .key
        .iter()
        .map(|c| format!("t.{}", ident(&c.name)))
        .collect();
    let tuple = columns.join(", ");
    let mut conditions = Vec::new();
    let mut next = 1;
    for (bound, comparison) in [(&bounds.lower, ">"), (&bounds.upper, "<=")] {
        if bound.is_some() {
            conditions.push(format!(
                "({tuple}) {comparison} ({})",
                parameters(cut, next)
            ));
            next += cut.key.len();
        }
    }
    let range = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let table = &cut.table;
    let texts = columns
        .iter()
        .map(|c| format!("{c}::text"))
        .collect::<Vec<_>>()
        .join(", ");
    (
        format!("-- upshift: rows of a unit\nSELECT count(*) FROM {table} t{range}"),
        format!(
            "-- upshift: middle of a unit\nSELECT {texts} FROM {table} t{range} ORDER BY {tuple} \
             OFFSET ${next} LIMIT 1"
        ),
    )
}

#[cfg(test)]
mod tests {
    use upshift_shared::plan::KeyColumn;

    use super::*;

    fn key(columns: &[(&str, &str)]) -> Cut {
        let column = |(name, type_name): &(&str, &str)| KeyColumn {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
        };
        Cut {
            table: "\"public\".\"t\"".to_owned(),
            key: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn bounds_walk_along_the_key() {
        let single = bounds_query(&key(&[("id", "integer")]), true);
        assert!(
            single.contains("WHERE (t.\"id\") > ($3::text::integer)"),
            "{single}"
        );
        assert!(single.contains("WHERE (t.\"id\") > (b.k1)"), "{single}");
        let composite = bounds_query(&key(&[("a", "bigint"), ("B", "text")]), false);
        assert!(
            composite.contains("(t.\"a\", t.\"B\") > (b.k1, b.k2)"),
            "{composite}"
        );
        assert!(!composite.contains("$3"), "{composite}");
    }

    #[test]
    fn the_middle_is_looked_for_between_the_bounds() {
        let cut = key(&[("id", "integer")]);
        let lower = Some(vec!["5".to_owned()]);
        let (count, pick) = middle_queries(&cut, &Bounds { lower, upper: None });
        assert!(
            count.ends_with("t WHERE (t.\"id\") > ($1::text::integer)"),
            "{count}"
        );
        assert!(pick.ends_with("OFFSET $2 LIMIT 1"), "{pick}");
        let (count, pick) = middle_queries(&cut, &Bounds::default());
        assert!(!count.contains("WHERE"), "{count}");
        assert!(pick.ends_with("OFFSET $1 LIMIT 1"), "{pick}");
    }
}
