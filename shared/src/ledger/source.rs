//! What a run's plan was compiled from, so that an edited pack can be compiled as if the database still
//! stood at the run's start; and the plans that a run had before its pack was edited.

use sqlx::{PgConnection, Row};

use super::{
    checkpoint::Checkpoint,
    fence::{self, Holder},
    signed,
};
use crate::{Error, Result, ids::RunId, plan::Plan};

/// Stores what the plan of a run was compiled from. (PostgreSQL compresses it.)
///
/// # Errors
/// When the ledger cannot be written.
pub async fn store(conn: &mut PgConnection, run: RunId, source: &str) -> Result<()> {
    sqlx::query(
        "-- store what the plan was compiled from
        INSERT INTO upshift.source (run, source) VALUES ($1::uuid, $2)
        ON CONFLICT (run) DO UPDATE SET source = excluded.source",
    )
    .bind(run.to_string())
    .bind(source)
    .execute(conn)
    .await
    .map_err(Error::database("storing what the plan was compiled from"))?;
    Ok(())
}

/// What the plan of a run was compiled from; `None` where an older program began it.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn load(conn: &mut PgConnection, run: RunId) -> Result<Option<String>> {
    sqlx::query(
        "-- read what the plan was compiled from
        SELECT source FROM upshift.source WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .fetch_optional(conn)
    .await
    .and_then(|row| row.map(|row| row.try_get("source")).transpose())
    .map_err(Error::database("reading what the plan was compiled from"))
}

/// Puts another plan in the place of a run's plan, which is kept in `upshift.plan_history`; with what it
/// was compiled from, and the checkpoints that are prepared in it. One transaction.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run.
pub async fn replace_plan(
    conn: &mut PgConnection,
    holder: Holder,
    plan: &Plan,
    source: &str,
    checkpoints: &[Checkpoint],
) -> Result<()> {
    let json = serde_json::to_string(plan).expect("a plan is plain data with string keys");
    let target = plan.target_version.as_ref().map(ToString::to_string);
    let pack = plan.pack.as_str();
    fence::run(conn, "take up an edited pack", holder, |tx, _scope| {
        let (json, target) = (json.clone(), target.clone());
        Box::pin(async move {
            replace_within(tx, holder.run, (pack, target, json)).await?;
            store(tx, holder.run, source).await?;
            rewrite_checkpoints(tx, holder.run, checkpoints).await
        })
    })
    .await
}

async fn replace_within(
    tx: &mut PgConnection,
    run: RunId,
    (pack, target, plan): (&str, Option<String>, String),
) -> Result<()> {
    let failed = || Error::database("putting another plan in the place of the run's");
    sqlx::query(
        "-- keep the plan that is replaced
        INSERT INTO upshift.plan_history (run, seq, plan)
        SELECT r.run, 1 + (SELECT count(*) FROM upshift.plan_history h WHERE h.run = r.run), r.plan
        FROM upshift.run r WHERE r.run = $1::uuid",
    )
    .bind(run.to_string())
    .execute(&mut *tx)
    .await
    .map_err(failed())?;
    sqlx::query(
        "-- replace the run's plan
        UPDATE upshift.run SET plan = $2::jsonb, pack = $3, target_version = $4
        WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .bind(plan)
    .bind(pack)
    .bind(target)
    .execute(tx)
    .await
    .map_err(failed())?;
    Ok(())
}

async fn rewrite_checkpoints(
    tx: &mut PgConnection,
    run: RunId,
    checkpoints: &[Checkpoint],
) -> Result<()> {
    let failed = || Error::database("rewriting the run's checkpoints");
    let places: Vec<i32> = checkpoints.iter().map(|one| signed(one.place)).collect();
    let names: Vec<&str> = checkpoints.iter().map(|one| one.name.as_str()).collect();
    let times: Vec<&str> = checkpoints
        .iter()
        .map(|one| one.prepared_at.as_str())
        .collect();
    sqlx::query(
        "-- forget the run's checkpoints\nDELETE FROM upshift.checkpoint WHERE run = $1::uuid",
    )
    .bind(run.to_string())
    .execute(&mut *tx)
    .await
    .map_err(failed())?;
    sqlx::query(
        "-- write the run's checkpoints
        INSERT INTO upshift.checkpoint (run, seq, name, prepared_at)
        SELECT $1::uuid, c.seq, c.name, c.at::timestamptz
        FROM unnest($2::integer[], $3::text[], $4::text[]) AS c (seq, name, at)",
    )
    .bind(run.to_string())
    .bind(places)
    .bind(names)
    .bind(times)
    .execute(tx)
    .await
    .map_err(failed())?;
    Ok(())
}
