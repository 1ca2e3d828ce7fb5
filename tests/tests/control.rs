//! A run that goes on, steered from other processes: paused and resumed, over the death of its driver
//! too; with more and fewer workers; and slowed down by the health of its server. Whatever was done to
//! it, it ends where an undisturbed one does.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use upshift_shared::clock::Stopwatch;
use upshift_tests::{
    compare,
    harness::{Database, Running, Upshift, one_module},
    oracle,
};

/// How long a state is awaited.
const PATIENCE: Duration = Duration::from_secs(60);

const TABLE: &str = "
    CREATE TABLE t (id integer PRIMARY KEY, a integer NOT NULL);
    INSERT INTO t SELECT i, i % 7 FROM generate_series(1, 2000) i;";

/// Units of a hundred rows; those in flight wait for locks as long as a test wants them to.
const RUN: [&str; 7] = [
    "--unit-rows",
    "100",
    "--passes",
    "in-place",
    "--lock-timeout",
    "10min",
    "--json",
];

/// A run of which three units are done, and whose workers wait for rows that this holds. Once it lets go,
/// all but the last unit can be done, and that when it ends.
struct Held {
    database: Database,
    untouched: Database,
    pack: TempDir,
    holder: PgConnection,
    last: PgConnection,
    running: Running,
}

impl Held {
    async fn begin(arguments: &[&str]) -> Result<Self> {
        let database = Database::create()?;
        database.psql(TABLE)?;
        let untouched = database.copy()?;
        let pack = one_module(&[("pre-a.sql", "UPDATE t SET a = a + 1;")])?;
        let mut holder = database.connect().await?;
        sqlx::raw_sql("BEGIN; SELECT FROM t WHERE id BETWEEN 301 AND 1900 FOR UPDATE")
            .execute(&mut holder)
            .await?;
        let mut last = database.connect().await?;
        sqlx::raw_sql("BEGIN; SELECT FROM t WHERE id > 1900 FOR UPDATE")
            .execute(&mut last)
            .await?;
        let running = Upshift::on(&database, ["run"])
            .argument(pack.path())
            .arguments(&RUN)
            .arguments(arguments)
            .start()?;
        let held = Self {
            database,
            untouched,
            pack,
            holder,
            last,
            running,
        };
        held.await_answer("SELECT 'three' FROM upshift.unit HAVING count(*) = 3")?;
        Ok(held)
    }

    fn on(&self, arguments: &[&str]) -> Upshift {
        Upshift::on(&self.database, arguments)
    }

    /// As [`Database::await_answer`], where the ledger may not be there yet.
    fn await_answer(&self, sql: &str) -> Result<()> {
        let there = "SELECT 'there' WHERE to_regclass('upshift.unit') IS NOT NULL";
        self.database.await_answer(there)?;
        self.database.await_answer(sql).map(drop)
    }

    /// Until so many units of the run wait for locks.
    fn await_waiting(&self, units: u32) -> Result<()> {
        self.await_answer(&format!(
            "SELECT 'they wait' FROM pg_stat_activity
              WHERE datname = current_database() AND application_name ~ '^upshift [^ ]* t'
                AND wait_event_type = 'Lock' HAVING count(*) = {units}"
        ))
    }

    /// Until no unit is in flight.
    fn await_idle(&self) -> Result<()> {
        self.await_answer(
            "SELECT 'all have ended' FROM pg_stat_activity
              WHERE datname = current_database() AND application_name ~ '^upshift [^ ]* t'
             HAVING count(*) = 0",
        )
    }

    fn units(&self) -> Result<String> {
        self.database.psql("SELECT count(*) FROM upshift.unit")
    }

    fn status(&self) -> Result<Value> {
        let outcome = self.on(&["status", "--json"]).succeed()?;
        serde_json::from_str(&outcome.stdout).context("status --json is JSON")
    }

    fn await_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let watch = Stopwatch::start();
        loop {
            let status = self.status()?;
            if is(&status) {
                return Ok(status);
            }
            ensure!(watch.elapsed() < PATIENCE, "still not {what}: {status:#}");
        }
    }

    /// Lets units go on, up to the last.
    async fn let_go(&mut self) -> Result<()> {
        let holder = self.database.connect().await?;
        std::mem::replace(&mut self.holder, holder).close().await?;
        Ok(())
    }

    /// Lets units go on while none may begin: those in flight end, and no other, for as long as the driver
    /// needs to look twice.
    async fn expect_standstill(&mut self) -> Result<()> {
        self.let_go().await?;
        self.await_idle()?;
        let units = self.units()?;
        for most in ["3", "2"] {
            self.on(&["set", "--max-units", most]).succeed()?;
            ensure!(self.units()? == units, "a unit has begun");
        }
        let left = self
            .database
            .psql("SELECT count(*) FROM t WHERE id > 600")?;
        ensure!(
            left.trim() == "1400" && units.trim() == "5",
            "{units} units"
        );
        Ok(())
    }

    /// The run ends, and has done what `psql` does.
    async fn expect_end(self, what: &str) -> Result<()> {
        let Self {
            database,
            untouched,
            pack,
            holder,
            last,
            running,
        } = self;
        last.close().await?;
        running.wait()?.expect_code(0)?;
        holder.close().await?;
        expect_upgraded(&database, &untouched, &pack, what).await
    }
}

async fn expect_upgraded(
    database: &Database,
    untouched: &Database,
    pack: &TempDir,
    what: &str,
) -> Result<()> {
    Upshift::on(database, ["commit"]).succeed()?;
    oracle::upgrade(untouched, pack.path()).await?;
    compare::expect_same(untouched, database, what).await
}

#[tokio::test]
async fn a_run_is_paused_and_resumed_by_other_processes() -> Result<()> {
    let mut held = Held::begin(&["--workers", "2"]).await?;
    held.await_waiting(2)?;
    let paused = held.on(&["pause", "--reason", "month end"]).succeed()?;
    ensure!(paused.stdout.contains("is paused"), "{}", paused.stdout);
    let status = held.status()?;
    let control = &status["control"];
    ensure!(control["paused"] == true, "{status:#}");
    ensure!(control["in_force"]["paused"] == true, "{status:#}");
    ensure!(control["reason"] == "month end", "{status:#}");
    ensure!(status["next"].to_string().contains("resume"), "{status:#}");
    let said = held.on(&["status"]).succeed()?.stdout;
    ensure!(said.contains("paused, last change by"), "{said}");
    ensure!(said.contains(": month end"), "{said}");
    held.expect_standstill().await?;

    let resumed = held.on(&["resume"]).succeed()?;
    ensure!(
        resumed.stdout.contains("no longer paused"),
        "{}",
        resumed.stdout
    );
    ensure!(
        held.running
            .read_until(|line| line.contains("\"paused\"") && line.contains("month end"))?
            && held
                .running
                .read_until(|line| line.contains("\"resumed\""))?,
        "the driver did not tell"
    );
    held.expect_end("paused and resumed").await
}

#[tokio::test]
async fn a_pause_outlives_its_driver() -> Result<()> {
    let mut held = Held::begin(&["--workers", "2"]).await?;
    held.await_waiting(2)?;
    held.on(&["pause", "--reason", "month end"]).succeed()?;
    held.let_go().await?;
    held.await_idle()?;
    let Held {
        database,
        untouched,
        pack,
        running,
        last,
        ..
    } = held;
    running.kill()?;
    last.close().await?;
    let said = Upshift::on(&database, ["status"]).succeed()?.stdout;
    ensure!(said.contains("paused, last change by"), "{said}");
    // Nobody drives it: what is asked now holds when it goes on.
    database.await_answer(
        "SELECT 'gone' FROM pg_locks
          WHERE locktype = 'advisory' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         HAVING count(*) = 0",
    )?;
    let set = Upshift::on(&database, ["workers", "1"]).succeed()?.stdout;
    ensure!(
        set.contains("nobody drives") && set.contains("upshift resume"),
        "{set}"
    );
    let still = Upshift::on(&database, ["status", "--json"]).succeed()?;
    let still: Value = serde_json::from_str(&still.stdout)?;
    ensure!(still["control"]["paused"] == true, "{still:#}");

    let resumed = Upshift::on(&database, ["resume", "--json"]).succeed()?;
    let first = resumed.stdout.lines().next().unwrap_or_default();
    ensure!(first.contains("\"workers\":1"), "{first}");
    let after = Upshift::on(&database, ["status", "--json"]).succeed()?;
    let after: Value = serde_json::from_str(&after.stdout)?;
    ensure!(after["control"]["paused"] == false, "{after:#}");
    expect_upgraded(&database, &untouched, &pack, "killed while paused").await
}

#[tokio::test]
async fn workers_come_and_go_while_a_run_goes_on() -> Result<()> {
    let mut held = Held::begin(&["--workers", "1"]).await?;
    held.await_waiting(1)?;
    let more = held.on(&["workers", "3"]).succeed()?.stdout;
    ensure!(more.contains("3 workers, 3 units at once"), "{more}");
    held.await_waiting(3)?;
    let fewer = held.on(&["workers", "1", "--json"]).succeed()?.stdout;
    let fewer: Value = serde_json::from_str(&fewer)?;
    ensure!(fewer["acknowledged"] == true, "{fewer:#}");
    ensure!(fewer["control"]["in_force"]["workers"] == 1, "{fewer:#}");
    held.let_go().await?;
    for number in 0..2 {
        let left = held
            .running
            .read_until(|line| line.contains("\"worker_left\""))?;
        ensure!(left, "only {number} workers have left");
    }
    held.expect_end("with more and fewer workers").await
}

#[tokio::test]
async fn sessions_that_wait_for_a_run_slow_it_down() -> Result<()> {
    let mut held = Held::begin(&["--workers", "2", "--lock-wait", "1s"]).await?;
    held.await_waiting(2)?;
    let waiting = "SELECT pid FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation' \
                   AND NOT granted AND relation = 't'::regclass";
    thread::scope(|scope| -> Result<()> {
        // Nothing but units of the run stands in its way.
        let waiter = scope.spawn(|| {
            held.database
                .psql_as_superuser("BEGIN; LOCK TABLE t IN SHARE MODE; COMMIT")
        });
        let throttled = |line: &str| line.contains("\"throttled\"") && line.contains("lock waits");
        ensure!(held.running.read_until(throttled)?, "it was not throttled");
        let process = held.database.await_answer(waiting)?;
        held.database
            .psql_as_superuser(&format!("SELECT pg_cancel_backend({process})"))?;
        let ended = waiter.join();
        ensure!(
            matches!(ended, Ok(Err(_))),
            "it got the lock though units hold it"
        );
        Ok(())
    })?;
    ensure!(
        held.running
            .read_until(|line| line.contains("\"unthrottled\""))?,
        "it is still throttled"
    );
    held.let_go().await?;
    held.expect_end("others waited for it").await
}

#[tokio::test]
async fn a_wal_budget_pauses_a_run_until_it_is_another() -> Result<()> {
    let mut held = Held::begin(&["--workers", "2", "--wal-budget", "1kB/s"]).await?;
    held.await_waiting(2)?;
    let write = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))";
    let throttled = held.await_status("throttled", |status| {
        // Others may be done with writing by the time it looks.
        held.database
            .psql_as_superuser(write)
            .is_ok_and(|_| status["control"]["in_force"]["throttled"][0]["units"] == 0)
    })?;
    let first = &throttled["control"]["in_force"]["throttled"][0];
    ensure!(first["signal"] == "WAL rate", "{throttled:#}");
    let said = held.on(&["status"]).succeed()?.stdout;
    ensure!(
        said.contains("throttled by WAL rate, no new units: the server writes"),
        "{said}"
    );
    held.database.psql_as_superuser(write)?;
    held.expect_standstill().await?;
    let set = held.on(&["set", "--wal-budget", "off"]).succeed()?.stdout;
    ensure!(set.contains("2 workers, 2 units at once"), "{set}");
    held.await_status("unthrottled or done", |status| {
        status["control"]["in_force"]["throttled"]
            .as_array()
            .is_none_or(Vec::is_empty)
    })?;
    held.expect_end("held by a budget of WAL").await
}

#[tokio::test]
async fn what_cannot_be_steered_is_refused() -> Result<()> {
    let database = Database::create()?;
    database.psql(TABLE)?;
    let on = |arguments: &[&str]| Upshift::on(&database, arguments);
    for order in [&["pause"][..], &["workers", "2"], &["set", "-w", "2"]] {
        on(order).run()?.expect_code(3)?;
    }
    let pack = one_module(&[("pre-a.sql", "UPDATE t SET a = a + 1;")])?;
    on(&["run"]).argument(pack.path()).succeed()?;
    on(&["pause"]).run()?.expect_code(3)?;
    on(&["set"]).run()?.expect_code(2)?;
    for (option, value) in [
        ("--wal-budget", "fast"),
        ("--max-replication-lag", "5"),
        ("--max-lock-waits", "-1"),
        ("--max-units", "0"),
    ] {
        let option = format!("{option}={value}");
        on(&["set", &option]).run()?.expect_code(2)?;
    }
    // A rollback heeds it.
    let set = on(&["workers", "1"]).succeed()?;
    ensure!(set.stdout.contains("nobody drives"), "{}", set.stdout);
    let back = on(&["rollback", "--json"]).succeed()?;
    let first = back.stdout.lines().next().unwrap_or_default();
    ensure!(first.contains("\"workers\":1"), "{first}");
    for order in [&["pause"][..], &["workers", "2"]] {
        on(order).run()?.expect_code(3)?;
    }
    Ok(())
}
