//! The event log: what it holds of a run that is tried again, killed, resumed, taken back and committed; how
//! it is read; and that what waits says for whom.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use upshift_tests::{
    harness::{Database, Running, Upshift, one_module},
    small_erp,
};

fn events(database: &Database, arguments: &[&str]) -> Result<Vec<Value>> {
    let outcome = Upshift::on(database, ["events", "--json"])
        .arguments(arguments)
        .succeed()?;
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

/// The kinds of those events, where they are of one of these.
fn kinds<'a>(events: &'a [Value], of: &[&str]) -> Vec<&'a str> {
    let kind = |event: &'a Value| event["kind"].as_str();
    let wanted = |kind: &&str| of.contains(kind);
    events.iter().filter_map(kind).filter(wanted).collect()
}

/// Numbered from 1 without a hole, and the order of the numbers is that of time.
fn expect_order(events: &[Value]) -> Result<()> {
    for (number, event) in (1..).zip(events) {
        ensure!(event["seq"] == number, "number {number} is {event}");
    }
    let at = |event: &Value| event["at"].as_str().map(str::to_owned);
    for pair in events.windows(2) {
        ensure!(
            at(&pair[0]) <= at(&pair[1]),
            "{} is before {}",
            pair[1],
            pair[0]
        );
    }
    Ok(())
}

fn last_state(events: &[Value], state: &str) -> Result<()> {
    let last = events.last().context("there are events")?;
    ensure!(
        last["kind"] == "run_state" && last["detail"]["to"] == state,
        "{last}"
    );
    Ok(())
}

/// A session that keeps the rows of a table to itself.
async fn hold_rows(database: &Database, table: &str) -> Result<PgConnection> {
    let mut holder = database.connect().await?;
    let text =
        format!("SET application_name = 'the application'; BEGIN; SELECT FROM {table} FOR UPDATE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .execute(&mut holder)
        .await?;
    Ok(holder)
}

/// Waits until the log has such an event; its detail.
fn await_event(database: &Database, condition: &str) -> Result<Value> {
    let detail = database.await_answer(&format!(
        "SELECT detail FROM upshift.event WHERE {condition} ORDER BY seq DESC LIMIT 1"
    ))?;
    Ok(serde_json::from_str(&detail)?)
}

#[tokio::test]
async fn a_log_goes_on_over_retry_kill_resume_and_commit() -> Result<()> {
    let database = small_erp::database().await?;
    let holder = hold_rows(&database, "journal_note").await?;
    let running = Upshift::on(&database, ["run", "--workers", "2", "--unit-rows", "20"])
        .argument(small_erp::pack())
        .arguments(&["--lock-timeout", "200ms", "--json"])
        .start()?;
    // The ledger comes into being with the run.
    database.await_answer("SELECT to_regclass('upshift.event')")?;
    let retry = await_event(&database, "kind = 'retry'")?;
    ensure!(
        retry["reason"]
            .as_str()
            .is_some_and(|r| r.contains("55P03")),
        "{retry}"
    );
    running.kill()?;
    holder.close().await?;
    let killed = events(&database, &[])?;
    Upshift::on(&database, ["resume"]).succeed()?;

    let prepared = events(&database, &[])?;
    expect_order(&prepared)?;
    ensure!(
        prepared[..killed.len()] == killed,
        "what was written has changed"
    );
    last_state(&prepared, "prepared")?;
    let story = [
        "run_submitted",
        "taken_over",
        "run_started",
        "run_ended",
        "run_state",
    ];
    ensure!(
        kinds(&prepared, &story)
            == [
                "taken_over",
                "run_submitted",
                "run_state",
                "run_started", // run
                "taken_over",
                "run_started",
                "run_ended",
                "run_state", // resume
            ],
        "{:?}",
        kinds(&prepared, &story)
    );
    ensure!(kinds(&prepared, &["checkpoint_prepared"]).len() >= 4);
    let done: Vec<&Value> = prepared
        .iter()
        .filter(|e| e["kind"] == "task_done")
        .collect();
    let units: u64 = done
        .iter()
        .filter_map(|e| e["detail"]["units"].as_u64())
        .sum();
    ensure!(units > done.len() as u64, "{units} units");
    let with_rows = |e: &&&Value| e["detail"]["rows"].as_u64() > Some(0) && e["source"].is_string();
    ensure!(done.iter().filter(with_rows).count() > 3, "{done:?}");

    Upshift::on(&database, ["commit"]).succeed()?;
    let committed = events(&database, &[])?;
    expect_order(&committed)?;
    let rest = &committed[prepared.len()..];
    ensure!(
        kinds(rest, &story) == ["taken_over", "run_state", "run_started", "run_ended"],
        "{rest:?}"
    );
    ensure!(rest[1]["detail"]["to"] == "committed", "{rest:?}");
    expect_few_writes(&database)
}

/// Writes grow with seconds, and events with tasks (and with what goes wrong), neither with units.
fn expect_few_writes(database: &Database) -> Result<()> {
    let counts = database.psql(
        "SELECT count(DISTINCT xmin::text), \
                count(*) FILTER (WHERE kind <> ALL ('{retry,waiting,wait_ended}')), \
                count(*) FILTER (WHERE kind LIKE 'unit%'), \
                ceil(extract(epoch FROM max(at) - min(at))), \
                (SELECT count(*) FROM upshift.task), \
                (SELECT count(*) FROM upshift.unit) FROM upshift.event",
    )?;
    let counts: Vec<u64> = counts
        .trim()
        .split('|')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [writes, events, of_units, seconds, tasks, units] = counts[..] else {
        anyhow::bail!("{counts:?}");
    };
    // The commands' own, and one a second.
    ensure!(writes <= 12 + seconds, "{writes} writes: {counts:?}");
    ensure!(units > tasks && of_units == 0, "{counts:?}");
    ensure!(events < 3 * tasks + 30, "{events} events: {counts:?}");
    Ok(())
}

#[tokio::test]
async fn a_rollback_is_in_the_log_and_filters_choose() -> Result<()> {
    let database = small_erp::database().await?;
    Upshift::on(&database, ["run"])
        .argument(small_erp::pack())
        .succeed()?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    let all = events(&database, &[])?;
    expect_order(&all)?;
    last_state(&all, "rolled_back")?;
    let begun = all.iter().find(|event| event["kind"] == "rollback_begun");
    ensure!(
        begun.is_some_and(|event| event["detail"]["to"].is_null()),
        "{begun:?}"
    );
    let back = all.iter().rfind(|event| event["kind"] == "run_started");
    ensure!(
        back.is_some_and(|event| event["detail"]["going"] == "back"),
        "{back:?}"
    );

    let of_task = events(&database, &["--task", "t1"])?;
    ensure!(
        of_task.len() >= 4 && of_task.iter().all(|e| e["task"] == 1),
        "{of_task:?}"
    );
    let chosen = events(&database, &["--kind", "task_done", "--kind", "run_state"])?;
    ensure!(chosen.len() == kinds(&all, &["task_done", "run_state"]).len());
    ensure!(events(&database, &["--since", "1h"])?.len() == all.len());
    let middle = all[all.len() / 2]["at"].as_str().context("a time")?;
    let since = events(&database, &["--since", middle])?;
    ensure!(
        !since.is_empty() && since.len() < all.len(),
        "{}",
        since.len()
    );
    ensure!(
        since
            .iter()
            .all(|event| event["at"].as_str() >= Some(middle))
    );
    ensure!(events(&database, &["--since", "2999-01-01"])?.is_empty());
    let nonsense = Upshift::on(&database, ["events", "--since", "yesteryear"]).run()?;
    ensure!(nonsense.expect_code(2)?.stderr.contains("2026-11-27 10:00"));

    // One line each, of a log that is longer than a page.
    database.psql(
        "INSERT INTO upshift.event (run, seq, at, kind, detail) \
         SELECT run, max(seq) + i, max(at), 'made_up', '{\"some\": \"thing\"}' \
         FROM upshift.event, generate_series(1, 2500) i GROUP BY run, i",
    )?;
    let text = Upshift::on(&database, ["events"]).succeed()?.stdout;
    ensure!(
        text.lines().count() == all.len() + 2500,
        "{}",
        text.lines().count()
    );
    ensure!(
        text.contains("rolling_back") || text.contains("became rolling back"),
        "{text}"
    );
    ensure!(
        text.lines()
            .last()
            .is_some_and(|line| line.ends_with("some thing")),
        "{text}"
    );

    // An older ledger has no log.
    database.psql("DROP TABLE upshift.event")?;
    Upshift::on(&database, ["events"]).run()?.expect_code(3)?;
    Upshift::on(&database, ["status"]).succeed().map(drop)
}

const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, a text, b integer);
    INSERT INTO t SELECT i, CASE WHEN i = 500 THEN 'secret-77' ELSE i::text END, 0 FROM generate_series(1, 1000) i;
    ANALYZE t;";

/// A run in flight, whose units cannot have the rows of `t`.
fn start(database: &Database, pack: &tempfile::TempDir) -> Result<Running> {
    Upshift::on(database, ["run", "--workers", "2", "--unit-rows", "100"])
        .argument(pack.path())
        .arguments(&["--lock-timeout", "10min", "--json"])
        .start()
}

fn status(database: &Database) -> Result<Value> {
    let outcome = Upshift::on(database, ["status", "--json"]).succeed()?;
    Ok(serde_json::from_str(&outcome.stdout)?)
}

/// What `status` says while the process `pid` holds the rows of `t`.
fn expect_status(database: &Database, pid: i32) -> Result<()> {
    let found = status(database)?;
    let waits = found["waits"].as_array().context("waits")?;
    let of_unit = |wait: &&Value| wait["unit"] == 0 && wait["blockers"][0]["pid"] == pid;
    ensure!(waits.iter().any(|wait| of_unit(&wait)), "{found}");
    let sessions = found["sessions"].as_array().context("sessions")?;
    let live = |session: &&Value| session["wait"]["blockers"][0]["pid"] == pid;
    ensure!(sessions.iter().any(|session| live(&session)), "{found}");
    ensure!(found["blocked"][0]["waits_for"].is_array(), "{found}");
    ensure!(found["next_checkpoint"]["module"] == "m", "{found}");
    let text = Upshift::on(database, ["status"]).succeed()?.stdout;
    for part in [
        &format!("held by process {pid} (the application"),
        "a row of t",
        "checkpoint m waits for",
    ] {
        ensure!(text.contains(part), "no \"{part}\" in {text}");
    }
    Ok(())
}

#[tokio::test]
async fn what_waits_says_for_whom() -> Result<()> {
    let database = Database::create()?;
    database.psql(TABLE)?;
    let pack = one_module(&[(
        "pre-a.sql",
        "UPDATE t SET b = b + 1;\nCREATE INDEX ON t (b);\n",
    )])?;
    let mut holder = hold_rows(&database, "t").await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut holder)
        .await?;
    let running = start(&database, &pack)?;
    database.await_answer("SELECT to_regclass('upshift.event')")?;
    let waiting = await_event(&database, "kind = 'waiting' AND unit = 0")?;
    ensure!(waiting["blockers"][0]["pid"] == pid, "{waiting}");
    ensure!(
        waiting["blockers"][0]["application"] == "the application",
        "{waiting}"
    );
    let mut follow = Upshift::on(&database, ["events", "--follow", "--json"]).start()?;
    ensure!(
        follow.read_until(|line| line.contains("\"waiting\""))?,
        "not followed"
    );

    expect_status(&database, pid)?;

    // The driver loses all its connections, and then cannot have a table of the ledger.
    database.psql_as_superuser(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
          WHERE application_name LIKE 'upshift % coordinator' OR application_name LIKE 'upshift % events'",
    )?;
    let mut other = database.connect().await?;
    let lock = "SET application_name = 'the other'; BEGIN; LOCK TABLE upshift.task IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await?;
    holder.close().await?;
    let waiting = await_event(
        &database,
        "kind = 'waiting' AND detail ->> 'about' = 'driver'",
    )?;
    ensure!(
        waiting["blockers"][0]["application"] == "the other",
        "{waiting}"
    );
    other.close().await?;
    running.wait()?.expect_code(0)?;

    let all = events(&database, &[])?;
    expect_order(&all)?;
    last_state(&all, "prepared")?;
    ensure!(!kinds(&all, &["operation_retry"]).is_empty(), "{all:?}");
    let (begun, ended) = (
        kinds(&all, &["waiting"]).len(),
        kinds(&all, &["wait_ended"]).len(),
    );
    ensure!(
        begun == ended,
        "{begun} waits began, {ended} ended: {all:?}"
    );
    let followed = follow.wait()?.expect_code(0)?;
    ensure!(
        followed.stdout.lines().count() == all.len(),
        "{}",
        followed.stdout
    );
    Ok(())
}

#[tokio::test]
async fn a_failure_is_told_without_values_of_rows() -> Result<()> {
    let database = Database::create()?;
    database.psql(TABLE)?;
    let pack = one_module(&[("pre-a.sql", "UPDATE t SET b = a::integer;\n")])?;
    let run = Upshift::on(&database, ["run", "--unit-rows", "100"]).argument(pack.path());
    run.run()?.expect_code(1)?;
    let all = events(&database, &[])?;
    last_state(&all, "failed")?;
    let log = database.psql("SELECT * FROM upshift.event")?;
    ensure!(log.contains("22P02") && !log.contains("secret-77"), "{log}");
    let found = status(&database)?;
    let last = found["last_events"].to_string();
    ensure!(
        last.contains("run_ended") && last.contains("22P02"),
        "{last}"
    );
    let text = Upshift::on(&database, ["status"]).succeed()?.stdout;
    ensure!(
        text.contains("last events:") && text.contains("pre-a.sql:1:1"),
        "{text}"
    );
    Ok(())
}
