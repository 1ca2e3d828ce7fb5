//! Around the search for bad rows: what of its pieces is verified, what they hold, how far the cap goes, and
//! what of a failure is told.

use anyhow::{Context, Result, bail, ensure};
use upshift_tests::{
    compare,
    faults::Paused,
    harness::{Database, Upshift, one_module},
};

/// What bad rows hold, and no message may without being asked.
const SECRET: &str = "Z3CR3T";

const TABLES: &str = "
CREATE TABLE t (id integer PRIMARY KEY, code text NOT NULL, short varchar(5), mail varchar(9), other integer);
INSERT INTO t SELECT i, (i % 1000)::text, NULL, 'M' || i, 0 FROM generate_series(1, 4000) i;
CREATE TABLE copied (id integer PRIMARY KEY, short varchar(5));
ANALYZE;";

const TRANSFORM: &str = "[[transform]]\ntable = \"t\"\nsource = \"code\"\ntarget = \"mail\"\n\
     function = \"regex_replace\"\n[transform.arguments]\nrules = [{ pattern = '^(\\d+)$', replacement = \"no $1\" }, \
     { pattern = 'Z', replacement = \"too long for it \" }]\n";

fn spoiled(ids: &str) -> Result<Database> {
    let database = Database::filled(TABLES)?;
    database.psql(&format!(
        "UPDATE t SET code = '{SECRET}' WHERE id IN ({ids})"
    ))?;
    Ok(database)
}

/// Of each task, what its units counted and digested.
fn verified(database: &Database) -> Result<String> {
    database.psql(
        "SELECT task, sum(rows_after), bool_and(rows_before IN (0, rows_after)),
                bool_and(digest_after IS NOT NULL), bool_and(coalesce(digest_before, digest_after) = digest_after)
         FROM upshift.verification GROUP BY task ORDER BY task",
    )
}

/// In tasks that are cut into units, and in those that are not.
#[tokio::test]
async fn pieces_are_counted_and_digested_as_units_are() -> Result<()> {
    let pack = one_module(&[
        (
            "pre-a.sql",
            "UPDATE t SET short = code;
             INSERT INTO copied (id, short) SELECT id, code FROM t;",
        ),
        ("pre-b.toml", TRANSFORM),
    ])?;
    for rows in ["500", "100000"] {
        let database = spoiled("3, 777, 778, 4000")?;
        let start = database.copy()?;
        Upshift::on(
            &database,
            ["run", "--unit-rows", rows, "--passes", "in-place"],
        )
        .arguments(&["--on-bad-data", "quarantine", "--verify", "full"])
        .argument(pack.path())
        .succeed()?;
        let units = database.psql("SELECT count(*) > 3 FROM upshift.unit")?;
        ensure!(units.starts_with('t') == (rows == "500"), "{units}");
        let counted = verified(&database)?;
        let tasks: Vec<&str> = counted.lines().collect();
        ensure!(
            tasks.len() == 3 && tasks.iter().all(|task| task.ends_with("|3996|t|t|t")),
            "units of {rows} rows: {counted}"
        );
        database.psql("UPDATE t SET code = '7' WHERE id IN (777, 4000)")?;
        start.psql("UPDATE t SET code = '7' WHERE id IN (777, 4000)")?;
        Upshift::on(&database, ["quarantine", "retry"])
            .run()?
            .expect_code(1)?;
        let counted = verified(&database)?;
        ensure!(
            counted.lines().all(|task| task.ends_with("|3998|t|t|t")),
            "retried, units of {rows} rows: {counted}"
        );
        Upshift::on(&database, ["rollback"]).succeed()?;
        compare::expect_same(&database, &start, "rolled back after a retry").await?;
    }
    Ok(())
}

/// However many pieces there are: locks of what a transaction drops stay to its end.
#[tokio::test]
async fn pieces_take_no_locks_of_their_own() -> Result<()> {
    let database = spoiled("SELECT i * 200 FROM generate_series(1, 20) i")?;
    let pack = one_module(&[("pre-a.toml", TRANSFORM)])?;
    let run = Upshift::on(&database, ["run", "--workers", "1", "--passes", "in-place"])
        .arguments(&["--on-bad-data", "quarantine"])
        .argument(pack.path());
    let paused = Paused::at(run, "before_commit@transform").await?;
    ensure!(paused.there, "no unit is about to commit");
    let locks = database.psql_as_superuser(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE datname = current_database() AND application_name ~ '^upshift [0-9a-f]{12} t'",
    )?;
    paused.end()?.expect_code(0)?;
    let locks: u32 = locks.trim().parse().context("a number")?;
    ensure!((1..60).contains(&locks), "{locks} locks are held");
    let rows = database.psql("SELECT count(*) FROM upshift.bad_row")?;
    ensure!(rows.trim() == "20", "{rows}");
    Ok(())
}

/// Units that are searched at once do not see each other's rows.
#[tokio::test]
async fn the_cap_holds_over_units_that_are_searched_at_once() -> Result<()> {
    let database = spoiled("1, 1001, 2001, 3001")?;
    let start = database.copy()?;
    let pack = one_module(&[("pre-a.sql", "UPDATE t SET short = code;")])?;
    let run = Upshift::on(&database, ["run", "--workers", "2", "--unit-rows", "1000"])
        .arguments(&[
            "--passes",
            "in-place",
            "--on-bad-data",
            "quarantine",
            "--max-bad-rows",
            "3",
        ])
        .argument(pack.path());
    let paused = Paused::at(run, "before_commit@in_place update").await?;
    if !paused.there {
        bail!("no unit is about to commit: {:?}", paused.end()?);
    }
    let others = "SELECT count(*) FROM upshift.bad_row HAVING count(*) = 3";
    database.await_answer(others)?;
    let stopped = paused.end()?.expect_code(1)?;
    ensure!(
        stopped.stderr.contains("4 rows are quarantined")
            && stopped.stderr.contains("--max-bad-rows 3"),
        "{}",
        stopped.stderr
    );
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back is not untouched").await
}

/// Whatever SQLSTATE an author gives to it, wherever he raises it, and where nobody looks for rows.
#[tokio::test]
async fn what_functions_raise_is_not_told() -> Result<()> {
    let raise = |code: &str| {
        format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.code = '{SECRET}' THEN RAISE EXCEPTION 'bad %', NEW.code USING ERRCODE = '{code}'; END IF;
                 RETURN NEW; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse();"
        )
    };
    let update = "-- upshift: undo = \"SELECT 1\"\nUPDATE t SET other = 1 WHERE id > 0;";
    let block = "-- upshift: undo = \"SELECT 1\"\nDO $$ BEGIN RAISE 'bad %', (SELECT code FROM t WHERE id = 5); END $$;";
    for (script, code, options) in [
        (update, "P0001", &["--search-time", "0s"][..]),
        (update, "23514", &[]),
        (update, "42501", &[]),
        (block, "P0001", &[]),
    ] {
        let database = spoiled("5")?;
        database.psql(&raise(code))?;
        let pack = one_module(&[("pre-a.sql", script)])?;
        let failed = Upshift::on(&database, ["run", "--yes"])
            .arguments(options)
            .argument(pack.path())
            .run()?
            .expect_code(1)?;
        let status = Upshift::on(&database, ["status"]).succeed()?;
        let events = Upshift::on(&database, ["events", "--json"]).succeed()?;
        for told in [&failed, &status, &events] {
            let told = format!("{}\n{}", told.stdout, told.stderr);
            ensure!(!told.contains(SECRET), "{code}: a value is shown: {told}");
        }
        let asked = ["quarantine", "list", "--values", "--json"];
        let listed = Upshift::on(&database, asked).succeed()?.stdout;
        let found = code != "42501";
        ensure!(
            listed.contains(SECRET) == found,
            "{code}: asked for: {listed}"
        );
    }
    Ok(())
}
