//! Append: INSERT … SELECT of a range of the driving table, with the keys of the new rows recorded by
//! the same statement.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure, split on the statement
//! timeout, aborted by anything in the data. Undone by deleting the recorded keys; no trigger fires, and where
//! a foreign key would delete or change rows that an application has pointed at the new ones meanwhile,
//! the undo stops unless it is forced.

use sqlx::PgConnection;
use upshift_shared::{Error, Result, plan::Append};

use super::{
    UnitContext,
    in_place::{execute, expect_rows, forget, join_on},
    metadata::capture,
    reaction::{self, By},
    verified,
};
use crate::prepare::kept_name;

/// Queries that say which foreign key would carry the deletion on ($1 table, $2 kept keys, $3 how those
/// join `t` and `b`, $4 unit, $5 how they join `c` and `b`).
const CARRIED: &str = "-- rows that foreign keys would delete or change
SELECT format('SELECT %L WHERE EXISTS (SELECT FROM %I.%I AS c JOIN %s AS t ON %s JOIN %s AS b ON %s '
              'WHERE b.upshift_unit = %s%s)',
              format('%I.%I by ON DELETE %s of %I', n.nspname, c.relname,
                     CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
                                        ELSE 'SET DEFAULT' END, k.conname),
              n.nspname, c.relname, $1::text,
              (SELECT string_agg(format('t.%I OPERATOR(%I.%s) c.%I', ta.attname, o_n.nspname, o.oprname,
                                        ca.attname), ' AND ')
               FROM unnest(k.conkey, k.confkey, k.conpfeqop) x (child, parent, equal)
               JOIN pg_operator o ON o.oid = x.equal
               JOIN pg_namespace o_n ON o_n.oid = o.oprnamespace
               JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = x.child
               JOIN pg_attribute ta ON ta.attrelid = k.confrelid AND ta.attnum = x.parent),
              $2::text, $3::text, $4::text,
              CASE WHEN k.conrelid = k.confrelid
                   THEN format(' AND NOT EXISTS (SELECT FROM %s AS b WHERE %s)', $2::text, $5::text)
                   ELSE '' END)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.confrelid = to_regclass($1) AND k.confdeltype IN ('c', 'n', 'd')
ORDER BY k.oid";

/// Runs the unit; returns the rows that it inserted.
pub(super) async fn run(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Append) -> Result<u64> {
    verified::append(tx, unit, op).await
}

/// Deletes the rows that the unit inserted.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
    touched: u64,
) -> Result<u64> {
    let kept = kept_name(unit.holder.run, &op.recorded).to_string();
    let statement = format!(
        "/* upshift: delete what was inserted */ DELETE FROM {} AS t USING {kept} AS b \
         WHERE b.upshift_unit = $1::integer AND {}",
        op.table,
        join_on(&op.key, ("t", "b")),
    );
    if !unit.force {
        refuse_carried(tx, unit, op, &kept).await?;
    }
    let reactions = reaction::disable(tx, &[&op.table], By::Delete, None).await?;
    let deleted = execute(tx, unit, statement, &op.table).await?;
    reactions.enable(tx).await?;
    let forgotten = forget(tx, unit, &kept).await?;
    expect_rows(unit, &op.table, deleted, forgotten.max(touched))?;
    Ok(deleted)
}

/// What the pack pointed at the new rows has been taken back before.
async fn refuse_carried(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Append,
    kept: &str,
) -> Result<()> {
    let number = unit.unit.0.to_string();
    let new = join_on(&op.key, ("t", "b"));
    let own = join_on(&op.key, ("c", "b"));
    let parameters = [
        Some(op.table.as_str()),
        Some(kept),
        Some(&new),
        Some(&number),
        Some(&own),
    ];
    for query in capture::texts(tx, CARRIED, &parameters).await? {
        if let Some(rows) = capture::texts(tx, query, &[]).await?.first() {
            return Err(Error::Refused(format!(
                "taking {} of {} back would change rows of {rows}: an application has pointed them at new \
                 rows of {} since; put them right, or roll back with --force to let that happen",
                unit.unit, unit.task.id, op.table,
            )));
        }
    }
    Ok(())
}
