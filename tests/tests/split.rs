//! A unit that is split while somebody who was believed lost still has its old range: each row is in
//! exactly one unit that commits.

use anyhow::{Context, Result, bail, ensure};
use sqlx::{Connection, PgConnection};
use upshift_shared::{
    Error,
    ids::{Epoch, RunId, TaskId, UnitId},
    ledger::{
        self,
        cut::{self, Bounds},
        fence::{self, Holder},
        unit::{self, Claim, UnitKey, UnitState},
    },
};
use upshift_tests::harness::Database;

const TASK: TaskId = TaskId(0);
const UNIT: UnitId = UnitId(0);
const UPPER_HALF: UnitId = UnitId(1);

fn up_to(upper: &str) -> Bounds {
    Bounds {
        lower: None,
        upper: Some(vec![upper.to_owned()]),
    }
}

/// A ledger with one run and one unit that was cut, up to 100.
async fn cut_unit(database: &Database) -> Result<(PgConnection, UnitKey)> {
    let mut conn = database.connect().await?;
    ledger::create(&mut conn).await?;
    let holder = Holder {
        run: RunId::generate(),
        epoch: Epoch(1),
    };
    database.psql(&format!(
        "INSERT INTO upshift.fence VALUES ('{}', 1)",
        holder.run
    ))?;
    cut::insert(&mut conn, holder, TASK, UNIT, &[up_to("100")], true).await?;
    let key = UnitKey {
        holder,
        task: TASK,
        unit: UNIT,
    };
    Ok((conn, key))
}

/// What a unit's transaction does before its work.
async fn begin(conn: &mut PgConnection) -> Result<()> {
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *conn)
        .await?;
    sqlx::query(fence::LOCK).execute(conn).await?;
    Ok(())
}

async fn split(conn: &mut PgConnection, key: UnitKey) -> Result<bool> {
    let middle = ["50".to_owned()];
    let split = cut::split(conn, key.holder, TASK, UNIT, UPPER_HALF, &middle).await?;
    Ok(split.is_some())
}

/// Until a session of the database waits for a row lock.
async fn somebody_waits(database: &Database) -> Result<()> {
    let mut conn = database.connect().await?;
    for _ in 0..100_000 {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut conn)
        .await?;
        if waiting > 0 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    bail!("nobody waits for a lock")
}

#[tokio::test]
async fn an_old_range_is_refused_after_the_split() -> Result<()> {
    let database = Database::create()?;
    let (mut conn, key) = cut_unit(&database).await?;
    ensure!(split(&mut conn, key).await?);
    begin(&mut conn).await?;
    let old = unit::claim(&mut conn, key, UnitState::Done, Some(&up_to("100"))).await;
    ensure!(matches!(old, Err(Error::Refused(_))), "{old:?}");
    sqlx::query("ROLLBACK").execute(&mut conn).await?;
    begin(&mut conn).await?;
    let new = unit::claim(&mut conn, key, UnitState::Done, Some(&up_to("50"))).await?;
    ensure!(new == Claim::Fresh, "{new:?}");
    sqlx::query("COMMIT").execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_split_waits_for_the_old_range_and_finds_it_done() -> Result<()> {
    let database = Database::create()?;
    let (mut zombie, key) = cut_unit(&database).await?;
    let mut driver = database.connect().await?;
    begin(&mut zombie).await?;
    unit::claim(&mut zombie, key, UnitState::Done, Some(&up_to("100"))).await?;
    let (was_split, committed) = tokio::join!(split(&mut driver, key), async {
        somebody_waits(&database).await?;
        sqlx::query("COMMIT").execute(&mut zombie).await?;
        anyhow::Ok(())
    });
    committed.context("the zombie's commit")?;
    ensure!(!was_split?, "the unit was split, and done as a whole");
    let units = database.psql("SELECT count(*) FROM upshift.cut")?;
    ensure!(units.trim() == "1", "{units} units");
    Ok(())
}

#[tokio::test]
async fn a_snapshot_from_before_the_split_does_not_help() -> Result<()> {
    let database = Database::create()?;
    let (mut zombie, key) = cut_unit(&database).await?;
    let mut driver = database.connect().await?;
    begin(&mut zombie).await?;
    // Fixes its snapshot.
    sqlx::query("SELECT FROM upshift.cut")
        .fetch_all(&mut zombie)
        .await?;
    ensure!(split(&mut driver, key).await?);
    let late = unit::claim(&mut zombie, key, UnitState::Done, Some(&up_to("100"))).await;
    let code = late.err().and_then(|error| error.sqlstate());
    ensure!(code.as_deref() == Some("40001"), "{code:?}");
    Ok(())
}

/// The connection was lost between a commit and its answer: the driver does it again, and finds other rows.
#[tokio::test]
async fn what_was_cut_or_split_before_stands() -> Result<()> {
    let database = Database::create()?;
    let (mut conn, key) = cut_unit(&database).await?;
    let others = [up_to("80"), up_to("90")];
    let again = cut::insert(&mut conn, key.holder, TASK, UNIT, &others, false).await?;
    ensure!(again == Some((vec![up_to("100")], false)), "{again:?}");
    ensure!(split(&mut conn, key).await?);
    let elsewhere = ["40".to_owned()];
    let again = cut::split(&mut conn, key.holder, TASK, UNIT, UPPER_HALF, &elsewhere).await?;
    ensure!(again == Some(vec!["50".to_owned()]), "{again:?}");
    let uppers =
        database.psql("SELECT string_agg(upper[1], ' ' ORDER BY unit) FROM upshift.cut")?;
    ensure!(uppers.trim() == "50 100", "{uppers}");
    let next = cut::insert(&mut conn, key.holder, TASK, UnitId(2), &others, false).await?;
    ensure!(next.is_none(), "{next:?}");
    let units = database.psql("SELECT count(*) FROM upshift.cut")?;
    ensure!(units.trim() == "4", "{units} units");
    conn.close().await?;
    Ok(())
}
