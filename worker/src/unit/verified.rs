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

mod pass;

use sqlx::{PgConnection, Row};
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
    plan::{Append, Cut, Fragment, InPlace, InPlaceAction, KeptTable, KeyColumn, Template},
};

pub(super) use self::pass::{fill, settle, swap};
use super::{UnitContext, in_place::join_on, parameters, run_template};
use crate::prepare::{columns, kept_name};

/// What a unit did to rows, or a piece of one that is searched for bad rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Rows that were changed or inserted.
    pub(super) rows: u64,
    /// The digest of those rows as they were; `None` where it was not made.
    digest: Option<i128>,
}

impl Part {
    /// Before the first piece.
    pub(super) const NOTHING: Self = Self {
        rows: 0,
        digest: Some(0),
    };

    /// Rows of work that is not digested.
    pub(super) fn undigested(rows: u64) -> Self {
        Self { rows, digest: None }
    }

    /// One more piece of the same unit.
    pub(super) fn add(&mut self, piece: Self) {
        self.rows += piece.rows;
        self.digest = self.digest.zip(piece.digest).map(|(a, b)| a + b);
    }
}

/// Runs an UPDATE or DELETE with its before-images; returns the rows that it changed. `expected`: how
/// many it was given, where that is known.
pub(super) async fn change(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &InPlace,
    expected: Option<u64>,
) -> Result<u64> {
    let columns = digested(tx, unit, op).await?;
    let columns = columns.as_deref();
    let part = change_part(tx, unit, (op, columns), expected).await?;
    changed(tx, unit, (op, columns), part).await?;
    Ok(part.rows)
}

/// The columns of an UPDATE's rows that are digested, where that is asked for.
pub(super) async fn digested(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &InPlace,
) -> Result<Option<Vec<String>>> {
    match &op.action {
        InPlaceAction::Update(assigned) if unit.options.verify == Verify::Full => {
            Ok(Some(unassigned(tx, &op.table, assigned).await?))
        }
        InPlaceAction::Update(_) | InPlaceAction::Delete => Ok(None),
    }
}

/// [`change`] on the unit's bounds, which may be those of a piece of it; [`changed`] comes once, behind
/// the last one. `columns`: those of [`digested`].
pub(super) async fn change_part(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (op, columns): (&InPlace, Option<&[String]>),
    expected: Option<u64>,
) -> Result<Part> {
    let old = columns.zip(head(&op.sql)).map(|(columns, changed)| {
        let on = join_on(&op.key, ("o", "c"));
        format!(
            "SELECT pg_catalog.sum({}) FROM {} AS o JOIN {changed} AS c ON {on} WHERE {}",
            hash("o", columns),
            op.table,
            range("o", searched(op), unit.bounds),
        )
    });
    let template = (&op.sql, &op.before_images, op.cut.as_ref());
    let Some(counted) = counted(tx, unit, template, old).await? else {
        return Ok(Part::undigested(run_template(tx, unit, template).await?));
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
    counted.part()
}

/// Looks at what all pieces of a unit made of its rows.
pub(super) async fn changed(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (op, columns): (&InPlace, Option<&[String]>),
    part: Part,
) -> Result<()> {
    let (Some(columns), Some(digest)) = (columns, part.digest) else {
        return Ok(());
    };
    let range = range("t", searched(op), unit.bounds);
    let of = (op.table.as_str(), op.key.as_slice(), range.as_str());
    let new = rows_of(tx, unit, of, &op.before_images, columns).await?;
    agree(
        unit,
        "rows changed",
        part.rows,
        "rows found again by their key",
        new.0,
    )?;
    let sides = Sides {
        rows_before: part.rows,
        rows_after: new.0,
        digest_before: Some(digest.to_string()),
        digest_after: Some(new.1),
    };
    same(unit, &op.table, &sides)?;
    verification::record(tx, unit.key(), &sides).await
}

/// What the bounds of a unit are about: a task that is not cut has some where it is searched for bad rows.
fn searched(op: &InPlace) -> &[KeyColumn] {
    op.cut.as_ref().map_or(&op.key, |cut| &cut.key)
}

/// Runs an INSERT that records the keys of its rows; returns how many it inserted.
pub(super) async fn append(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
) -> Result<u64> {
    let part = append_part(tx, unit, op).await?;
    appended(tx, unit, op, part).await?;
    Ok(part.rows)
}

/// [`append`] on the unit's bounds, which may be those of a piece of it; [`appended`] comes once, behind
/// the last one.
pub(super) async fn append_part(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
) -> Result<Part> {
    let template = (&op.sql, &op.recorded, op.cut.as_ref());
    let Some(counted) = counted(tx, unit, template, None).await? else {
        return Ok(Part::undigested(run_template(tx, unit, template).await?));
    };
    agree(
        unit,
        "rows inserted",
        counted.touched,
        "keys recorded",
        counted.kept,
    )?;
    counted.part()
}

/// Looks at the rows that all pieces of a unit inserted.
pub(super) async fn appended(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
    part: Part,
) -> Result<()> {
    if unit.options.verify != Verify::Full || part.digest.is_none() {
        return Ok(());
    }
    let columns = unassigned(tx, &op.table, &[]).await?;
    let of = (op.table.as_str(), op.key.as_slice(), "true");
    let new = rows_of(tx, unit, of, &op.recorded, &columns).await?;
    agree(
        unit,
        "rows inserted",
        part.rows,
        "rows found again by their key",
        new.0,
    )?;
    let sides = Sides {
        rows_before: 0,
        rows_after: new.0,
        digest_before: None,
        digest_after: Some(new.1),
    };
    verification::record(tx, unit.key(), &sides).await
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

impl Counted {
    fn part(&self) -> Result<Part> {
        let digest = self.digest.parse();
        let digest = digest.map_err(|_| Error::Format("a digest is no integer".to_owned()))?;
        Ok(Part {
            rows: self.touched,
            digest: Some(digest),
        })
    }
}

/// Runs a template so that it counts; `None`, and nothing has run, where nothing is to be counted.
async fn counted(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (template, kept, cut): (&Template, &KeptTable, Option<&Cut>),
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
    for parameter in parameters(unit, cut) {
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
    (table, key, range): (&str, &[KeyColumn], &str),
    kept: &KeptTable,
    columns: &[String],
) -> Result<(u64, String)> {
    let query = format!(
        "/* upshift: rows after a unit */ SELECT pg_catalog.count(*) AS rows, \
         coalesce(pg_catalog.sum({}), 0)::text AS digest FROM {table} AS t \
         JOIN {} AS b ON {} WHERE b.upshift_unit = {} AND {range}",
        hash("t", columns),
        kept_name(unit.holder.run, kept),
        join_on(key, ("t", "b")),
        unit.unit.0,
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
    let query = sqlx::query_scalar(
        "-- columns that a statement does not assign
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
          AND attname::text <> ALL ($2::text[])
        ORDER BY attnum",
    );
    columns(tx, query.bind(table).bind(assigned), table).await
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

/// The unit's range, with its bounds quoted.
fn range(alias: &str, key: &[KeyColumn], bounds: &Bounds) -> String {
    let names: Vec<String> = key
        .iter()
        .map(|column| format!("{alias}.{}", ident(&column.name)))
        .collect();
    quoted_range(&names, key, bounds)
}

/// `names`: what the columns of the key are called. For what takes no parameters, else there is
/// [`key_range`](upshift_shared::plan::key_range).
pub(super) fn quoted_range(names: &[String], key: &[KeyColumn], bounds: &Bounds) -> String {
    let side = |comparison: &str, bound: &Option<Vec<String>>| {
        let values = bound.as_ref()?.iter().zip(key);
        let values: Vec<String> = values
            .map(|(value, column)| format!("CAST({} AS {})", literal(value), column.type_name))
            .collect();
        let (names, values) = (names.join(", "), values.join(", "));
        Some(match key.len() {
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
        let key = ["a\"b", "c"].map(|name| KeyColumn {
            name: name.to_owned(),
            type_name: "text".to_owned(),
        });
        let bounds = Bounds {
            lower: None,
            upper: Some(vec!["x'y".to_owned(), "z".to_owned()]),
        };
        assert_eq!(
            range("o", &key, &bounds),
            "ROW(o.\"a\"\"b\", o.\"c\") <= ROW(CAST('x''y' AS text), CAST('z' AS text))"
        );
        assert_eq!(range("o", &key, &Bounds::default()), "true");
        assert!(hash("o", &["a\"b"]).contains("ROW(o.\"a\"\"b\")::text"));
    }
}
