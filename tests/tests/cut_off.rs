//! What a run is cut off from while it is at work: its server, which crashes; the session that holds the
//! database's lock; the patience of whoever started it. It goes on, or stops so that it can be resumed, and
//! ends where an undisturbed one does.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};
use upshift_coordinator::coordination::DATABASE_LOCK;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Outcome, Running, Server, Upshift},
    oracle, small_erp,
};

/// Units in flight wait for locks as long as a test wants them to.
const RUN: [&str; 7] = [
    "--workers",
    "2",
    "--unit-rows",
    "50",
    "--lock-timeout",
    "10min",
    "--json",
];

fn run(database: &Database) -> Upshift {
    Upshift::on(database, ["run"])
        .argument(small_erp::pack())
        .arguments(&RUN)
}

/// Commits, and compares with what `psql` makes of an untouched copy.
async fn expect_upgraded(database: &Database, untouched: &Database, what: &str) -> Result<()> {
    Upshift::on(database, ["commit"]).succeed()?;
    oracle::upgrade(untouched, &small_erp::pack()).await?;
    compare::expect_same(untouched, database, what).await
}

/// Went on by itself, or stopped and is resumed.
fn ends_or_resumes(outcome: Outcome, database: &Database, verb: &str) -> Result<()> {
    if outcome.code == Some(0) {
        println!("it went on by itself");
        return Ok(());
    }
    let outcome = outcome.expect_code(1)?;
    ensure!(outcome.stderr.contains("upshift"), "{}", outcome.stderr);
    println!("it stopped: {}", outcome.stderr.trim());
    Upshift::on(database, [verb]).succeed().map(drop)
}

/// The servers of tests commit asynchronously, so a unit that was reported would be lost with the crash
/// if the session had not asked for more.
#[tokio::test]
async fn a_server_that_crashes_during_a_run() -> Result<()> {
    let server = Server::own()?;
    let start = small_erp::database_on(server)?;
    for after in [1, 20, 60] {
        let what = format!("the server crashed after {after} units");
        let database = start.copy()?;
        let untouched = start.copy()?;
        let mut running = run(&database).start()?;
        running.units_done(after)?;
        server.crash()?;
        server.start_again()?;
        let outcome = running.wait()?;
        ends_or_resumes(outcome, &database, "resume").context(what.clone())?;
        Upshift::on(&database, ["commit"]).succeed()?;
        oracle::upgrade(&untouched, &small_erp::pack()).await?;
        let upgraded = Snapshot::take(&untouched).await?;
        upgraded.forgive_sequences(&database).await?;
        compare::expect_same(&untouched, &database, &what).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_crashes_during_a_rollback() -> Result<()> {
    let server = Server::own()?;
    let start = small_erp::database_on(server)?;
    for after in [1, 20, 60] {
        let what = format!("the server crashed after {after} units of the way back");
        let database = start.copy()?;
        let before = Snapshot::take(&database).await?;
        run(&database).succeed()?;
        let mut running = Upshift::on(&database, ["rollback", "--json"]).start()?;
        running.units_done(after)?;
        server.crash()?;
        server.start_again()?;
        let outcome = running.wait()?;
        ends_or_resumes(outcome, &database, "rollback").context(what.clone())?;
        before.forgive_sequences(&database).await?;
        before.expect_same(&Snapshot::take(&database).await?, &what)?;
    }
    Ok(())
}

/// A run that is certainly at work: one of its units waits for rows that this holds.
struct Held {
    holder: PgConnection,
    running: Running,
}

impl Held {
    async fn begin(database: &Database) -> Result<Self> {
        let mut holder = database.connect().await?;
        // Not with the table's lock, for which planning and preparing would wait too.
        sqlx::raw_sql("BEGIN; SELECT FROM journal_note FOR UPDATE")
            .execute(&mut holder)
            .await?;
        let running = run(database).start()?;
        database.await_answer(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name LIKE 'upshift%' AND wait_event_type = 'Lock'",
        )?;
        Ok(Self { holder, running })
    }

    async fn let_go(self) -> Result<Running> {
        self.holder.close().await?;
        Ok(self.running)
    }
}

/// The session that holds the database's lock, other than this one.
fn lock_session(database: &Database, but: &str) -> Result<String> {
    database.await_answer(&format!(
        "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
          WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() \
            AND a.application_name = 'upshift lock' AND l.pid <> {but}"
    ))
}

#[tokio::test]
async fn a_lost_lock_is_taken_again() -> Result<()> {
    let database = small_erp::database().await?;
    let untouched = database.copy()?;
    let held = Held::begin(&database).await?;
    let session = lock_session(&database, "0")?;
    database.psql_as_superuser(&format!("SELECT pg_terminate_backend({session})"))?;
    let again = lock_session(&database, &session)?;
    ensure!(again != session, "the same session");
    held.let_go().await?.wait()?.expect_code(0)?;
    expect_upgraded(&database, &untouched, "its lock was lost for a while").await
}

#[tokio::test]
async fn a_run_whose_lock_another_has_stops() -> Result<()> {
    let database = small_erp::database().await?;
    let untouched = database.copy()?;
    let mut held = Held::begin(&database).await?;
    let session = lock_session(&database, "0")?;
    let mut other = database.connect().await?;
    // It queues before the run can, and so is next.
    let (first, second) = DATABASE_LOCK;
    let lock = format!("SELECT pg_advisory_lock({first}, {second})");
    let taken = sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut other);
    let terminated = async {
        database
            .await_answer("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")?;
        database.psql_as_superuser(&format!("SELECT pg_terminate_backend({session})"))
    };
    let (taken, terminated) = tokio::join!(taken, terminated);
    taken?;
    terminated?;
    let stopping = |line: &str| line.contains("\"stopping\"");
    ensure!(held.running.read_until(stopping)?, "it does not stop");
    let outcome = held.let_go().await?.wait()?.expect_code(1)?;
    ensure!(
        outcome.stderr.contains("the lock of the database was lost"),
        "{}",
        outcome.stderr
    );
    other.close().await?;
    Upshift::on(&database, ["resume"]).succeed()?;
    expect_upgraded(&database, &untouched, "its lock was lost for good").await
}

/// The first lets units in flight end; the second does not wait for them.
#[tokio::test]
async fn a_second_ctrl_c_cancels_units_in_flight() -> Result<()> {
    let database = small_erp::database().await?;
    let untouched = database.copy()?;
    let mut held = Held::begin(&database).await?;
    held.running.signal(Signal::SIGINT)?;
    let stopping = |line: &str| line.contains("\"stopping\"");
    ensure!(held.running.read_until(stopping)?, "it does not stop");
    held.running.signal(Signal::SIGINT)?;
    // What the unit waits for is still held: only its cancellation ends it.
    let Held { holder, running } = held;
    let outcome = running.wait()?.expect_code(1)?;
    ensure!(
        outcome.stderr.contains("upshift resume"),
        "{}",
        outcome.stderr
    );
    holder.close().await?;
    Upshift::on(&database, ["resume"]).succeed()?;
    expect_upgraded(&database, &untouched, "stopped by two Ctrl-C").await
}
