//! Verification of units, in their own transactions: what a unit did to rows is counted, and with
//! `--verify full` what the pack does not mention is digested before and after. A unit whose counts or
//! digests disagree fails before it commits.
//!
//! | operator | counts | full |
//! |---|---|---|
//! | in-place, transform | rows changed = before-images kept (= rows that went in) | digest of key and columns that are not assigned, of the rows touched: equal before and after |
//! | append | rows inserted = keys recorded | digest of the new rows, recorded |
//! | shadow fill | rows of the old pages = rows written, less only where the pass deletes | digest of the columns that the pass carries over, of the rows kept: equal in old and new table |
//! | shadow settle | | rows and digest of the whole new table = the sums of the fill's units |
//! | shadow swap | every unit of the fill has been counted, and wrote what it counted | |
//!
//! The digest is the sum of `hashtextextended` of the rows' text, which does not depend on their order,
//! works for every type (a type has an output function, but perhaps no equality and no hash function),
//! and tells NULL from the empty string. Before and after are made by the same session, so settings
//! such as `datestyle` do not matter.

use sqlx::{PgConnection, Row, postgres::PgRow};
use upshift_shared::{
    Error, Result,
    ledger::{
        Bounds,
        options::Verify,
        verification::{self, Sides},
    },
    pg::{
        ident::{ident, literal},
        sql,
    },
    plan::{
        Append, Carried, Cut, Fragment, InPlace, InPlaceAction, KeptTable, KeyColumn, Shadow,
        Template,
    },
};

use super::{UnitContext, in_place::join_on, parameters, run_template, shadow::bound};
use crate::prepare::kept_name;

/// Runs an UPDATE or DELETE with its before-images; returns the rows that it changed. `expected`: how
/// many it was given, where that is known.
pub(super) async fn change(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &InPlace,
    expected: Option<u64>,
) -> Result<u64> {
    let assigned = match &op.action {
        InPlaceAction::Update(assigned) => Some(assigned),
        InPlaceAction::Delete => None,
    };
    let full = unit.options.verify == Verify::Full;
    let columns = match assigned.filter(|_| full) {
        Some(assigned) => Some(unassigned(tx, &op.table, assigned).await?),
        None => None,
    };
    let range = range("o", op.cut.as_ref(), unit.bounds);
    let kept = &op.before_images;
    let changed = head(&op.sql);
    let old = columns.as_ref().zip(changed).map(|(columns, changed)| {
        let on = on(&op.key, "o", "c");
        format!(
            "SELECT pg_catalog.sum({}) FROM {} AS o JOIN {changed} AS c ON {on} WHERE {range}",
            hash("o", columns),
            op.table,
        )
    });
    let Some(counted) = counted(tx, unit, (&op.sql, kept), old).await? else {
        return run_template(tx, unit, (&op.sql, kept)).await;
    };
    agree(
        unit,
        "rows changed",
        counted.touched,
        "before-images kept",
        counted.kept,
    )?;
    if let Some(expected) = expected {
        agree(
            unit,
            "rows that went in",
            expected,
            "rows changed",
            counted.touched,
        )?;
    }
    if let Some(columns) = columns {
        let new = rows_of(
            tx,
            unit,
            (&op.table, &op.key, op.cut.as_ref()),
            kept,
            &columns,
        )
        .await?;
        agree(
            unit,
            "rows changed",
            counted.touched,
            "rows found again by their key",
            new.0,
        )?;
        let sides = Sides {
            rows_before: counted.touched,
            rows_after: new.0,
            digest_before: Some(counted.digest),
            digest_after: Some(new.1),
        };
        same(unit, &op.table, &sides)?;
        verification::record(tx, unit.key(), &sides).await?;
    }
    Ok(counted.touched)
}

/// Runs an INSERT that records the keys of its rows; returns how many it inserted.
pub(super) async fn append(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
) -> Result<u64> {
    let kept = &op.recorded;
    let Some(counted) = counted(tx, unit, (&op.sql, kept), None).await? else {
        return run_template(tx, unit, (&op.sql, kept)).await;
    };
    agree(
        unit,
        "rows inserted",
        counted.touched,
        "keys recorded",
        counted.kept,
    )?;
    if unit.options.verify == Verify::Full {
        let columns = unassigned(tx, &op.table, &[]).await?;
        let new = rows_of(tx, unit, (&op.table, &op.key, None), kept, &columns).await?;
        agree(
            unit,
            "rows inserted",
            counted.touched,
            "rows found again by their key",
            new.0,
        )?;
        let sides = Sides {
            rows_before: 0,
            rows_after: new.0,
            digest_before: None,
            digest_after: Some(new.1),
        };
        verification::record(tx, unit.key(), &sides).await?;
    }
    Ok(counted.touched)
}

/// Runs the INSERT of a fill; returns the rows that it wrote.
pub(super) async fn fill(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    (template, carried): (&Template, Option<&Carried>),
) -> Result<u64> {
    let text = template.render(&op.new_table(unit.holder.run));
    let failed = || Error::database(unit.task.label.clone());
    let cut = Cut::pages(op.table.to_string());
    let pages = range("o", Some(&cut), unit.bounds);
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
pub(super) async fn settle(
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
pub(super) async fn swap(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<()> {
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

/// What a statement with before-images or recorded keys says of itself.
struct Counted {
    /// Rows that the author's statement changed.
    touched: u64,
    /// Rows that went into the kept table.
    kept: u64,
    /// Of the rows as they were, where asked for.
    digest: String,
}

/// Runs a template so that it counts; `None`, and nothing has run, where nothing is to be counted.
async fn counted(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (template, kept): (&Template, &KeptTable),
    old: Option<String>,
) -> Result<Option<Counted>> {
    if unit.options.verify == Verify::Off {
        return Ok(None);
    }
    let kept = kept_name(unit.holder.run, kept).to_string();
    let Some(text) = counting(template, &kept, old.as_deref()) else {
        return Ok(None);
    };
    let mut query = sqlx::query(sql(text)).persistent(false);
    for parameter in parameters(unit) {
        query = query.bind(parameter);
    }
    let failed = || Error::database(unit.task.label.clone());
    let row = query.fetch_one(tx).await.map_err(failed())?;
    let count = |name: &str| row.try_get(name).map(i64::unsigned_abs);
    Ok(Some(Counted {
        touched: count("touched").map_err(failed())?,
        kept: count("kept").map_err(failed())?,
        digest: row.try_get("digest").map_err(failed())?,
    }))
}

/// `WITH head AS (…) INSERT INTO kept …` as a statement that counts both. Writable CTEs have to stand at
/// the top, so the INSERT becomes one of them.
fn counting(template: &Template, kept: &str, old: Option<&str>) -> Option<String> {
    let head = head(template)?;
    let [Fragment::Text(body), Fragment::Kept, Fragment::Text(select)] = template.0.as_slice()
    else {
        return None;
    };
    let body = body.strip_suffix(" INSERT INTO ")?;
    let old = old.unwrap_or("SELECT 0::numeric");
    Some(format!(
        "{body}, upshift_kept AS (INSERT INTO {kept}{select} RETURNING 1) \
         SELECT (SELECT pg_catalog.count(*) FROM {head}) AS touched, \
                (SELECT pg_catalog.count(*) FROM upshift_kept) AS kept, \
                coalesce(({old}), 0)::text AS digest"
    ))
}

/// What a template calls the author's statement: `WITH head AS (…`.
fn head(template: &Template) -> Option<&str> {
    let Some(Fragment::Text(text)) = template.0.first() else {
        return None;
    };
    let (head, _) = text.strip_prefix("WITH ")?.split_once(" AS (")?;
    head.chars()
        .all(|c| c.is_ascii_lowercase() || c == '_')
        .then_some(head)
}

/// How many rows are found by the keys that the unit kept, and their digest.
async fn rows_of(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (table, key, cut): (&str, &[KeyColumn], Option<&Cut>),
    kept: &KeptTable,
    columns: &[String],
) -> Result<(u64, String)> {
    let query = format!(
        "/* upshift: rows after a unit */ SELECT pg_catalog.count(*) AS rows, \
         coalesce(pg_catalog.sum({}), 0)::text AS digest FROM {table} AS t \
         JOIN {} AS b ON {} WHERE b.upshift_unit = {} AND {}",
        hash("t", columns),
        kept_name(unit.holder.run, kept),
        join_on(key),
        unit.unit.0,
        range("t", cut, unit.bounds),
    );
    let failed = || Error::database(unit.task.label.clone());
    let row = sqlx::query(sql(query))
        .persistent(false)
        .fetch_one(tx)
        .await;
    let row = row.map_err(failed())?;
    let rows: i64 = row.try_get("rows").map_err(failed())?;
    Ok((
        rows.unsigned_abs(),
        row.try_get("digest").map_err(failed())?,
    ))
}

/// Columns of a table that a statement does not assign, as the table is now: other tasks may have added
/// some, or hidden some. What the table computes may well change.
async fn unassigned(
    tx: &mut PgConnection,
    table: &str,
    assigned: &[String],
) -> Result<Vec<String>> {
    let failed = || Error::database(format!("reading the columns of {table}"));
    let rows = sqlx::query(
        "-- columns that a statement does not assign
        SELECT attname::text AS name FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
          AND attname::text <> ALL ($2::text[])
        ORDER BY attnum",
    )
    .bind(table)
    .bind(assigned)
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| row.try_get("name"))
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// The hash of a row's columns.
fn hash(alias: &str, columns: &[impl AsRef<str>]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{alias}.{}", ident(column.as_ref())))
        .collect();
    hash_of(&columns)
}

/// A text's hash is that of its bytes, whatever collation the database has.
fn hash_of(columns: &[String]) -> String {
    format!(
        "pg_catalog.hashtextextended(ROW({})::text COLLATE pg_catalog.\"C\", 0)",
        columns.join(", ")
    )
}

fn on(key: &[KeyColumn], left: &str, right: &str) -> String {
    let pairs: Vec<String> = key
        .iter()
        .map(|column| ident(&column.name))
        .map(|column| format!("{left}.{column} = {right}.{column}"))
        .collect();
    pairs.join(" AND ")
}

/// The unit's range, with its bounds quoted.
fn range(alias: &str, cut: Option<&Cut>, bounds: &Bounds) -> String {
    let Some(cut) = cut else {
        return "true".to_owned();
    };
    let names: Vec<String> = cut
        .key
        .iter()
        .map(|column| format!("{alias}.{}", ident(&column.name)))
        .collect();
    let side = |comparison: &str, bound: &Option<Vec<String>>| {
        let values = bound.as_ref()?.iter().zip(&cut.key);
        let values: Vec<String> = values
            .map(|(value, column)| format!("CAST({} AS {})", literal(value), column.type_name))
            .collect();
        let (names, values) = (names.join(", "), values.join(", "));
        Some(match cut.key.len() {
            1 => format!("{names} {comparison} {values}"),
            _ => format!("ROW({names}) {comparison} ROW({values})"),
        })
    };
    let sides = [side(">", &bounds.lower), side("<=", &bounds.upper)];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    match sides.is_empty() {
        true => "true".to_owned(),
        false => sides.join(" AND "),
    }
}

fn agree(unit: &UnitContext<'_>, what: &str, count: u64, other: &str, again: u64) -> Result<()> {
    if count == again {
        return Ok(());
    }
    Err(disagree(
        unit,
        format!("{what}: {count}, but {other}: {again}"),
    ))
}

fn same(unit: &UnitContext<'_>, table: &str, sides: &Sides) -> Result<()> {
    if sides.digest_before == sides.digest_after {
        return Ok(());
    }
    Err(disagree(
        unit,
        format!(
            "columns of {table} that the pack does not mention are not what they were: look for a trigger \
             or rule that changes them"
        ),
    ))
}

fn disagree(unit: &UnitContext<'_>, what: String) -> Error {
    Error::Refused(format!(
        "verification of {} of {} failed, and nothing of the unit is in effect: {what}",
        unit.unit, unit.task.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_keeps_becomes_one_that_counts() {
        let template = Template(vec![
            Fragment::Text("WITH upshift_changed AS (DELETE …) INSERT INTO ".to_owned()),
            Fragment::Kept,
            Fragment::Text(" SELECT c.* FROM upshift_changed AS c".to_owned()),
        ]);
        let text = counting(&template, "k", None).expect("it keeps");
        assert!(
            text.starts_with(
                "WITH upshift_changed AS (DELETE …), upshift_kept AS (INSERT INTO k SELECT c.* FROM \
                 upshift_changed AS c RETURNING 1) SELECT "
            ),
            "{text}"
        );
        let other = Template(vec![Fragment::Text("UPDATE t SET a = 1".to_owned())]);
        assert_eq!(counting(&other, "k", None), None);
    }

    #[test]
    fn bounds_and_names_stay_quoted() {
        let cut = Cut {
            table: "t".to_owned(),
            key: ["a\"b", "c"]
                .map(|name| KeyColumn {
                    name: name.to_owned(),
                    type_name: "text".to_owned(),
                })
                .to_vec(),
        };
        let bounds = Bounds {
            lower: None,
            upper: Some(vec!["x'y".to_owned(), "z".to_owned()]),
        };
        assert_eq!(
            range("o", Some(&cut), &bounds),
            "ROW(o.\"a\"\"b\", o.\"c\") <= ROW(CAST('x''y' AS text), CAST('z' AS text))"
        );
        assert_eq!(range("o", Some(&cut), &Bounds::default()), "true");
        assert!(hash("o", &["a\"b"]).contains("ROW(o.\"a\"\"b\")::text"));
    }
}
