//! Data that a statement cannot work on: the rows are found and named, left out where that is the policy,
//! and done after all once they are mended.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use upshift_tests::{
    compare,
    harness::{Database, Outcome, Upshift, one_module},
    oracle,
};

/// What bad rows hold, and no message may without being asked.
const SECRET: &str = "Z3CR3T";

const TABLES: &str = "
CREATE TABLE peer (id integer PRIMARY KEY);
INSERT INTO peer SELECT generate_series(1, 100);
CREATE TABLE t (id integer PRIMARY KEY, code text NOT NULL, d integer NOT NULL, r integer NOT NULL, u integer,
    short varchar(5), n integer, must text NOT NULL DEFAULT '', checked text CHECK (checked <> 'Z3CR3T'),
    uniq integer UNIQUE, ref integer REFERENCES peer, q integer, mail text, other integer);
INSERT INTO t (id, code, d, r, u, mail)
SELECT i, (i % 1000)::text, 1 + i % 9, 1 + i % 100, i, 'm' || i || '@example.com'
FROM generate_series(1, 10000) i;
CREATE TABLE child (id integer PRIMARY KEY, t_id integer REFERENCES t);
CREATE INDEX ON child (t_id);
CREATE TABLE dest (id integer PRIMARY KEY, short varchar(5), double integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.code = 'Z3CR3T' THEN RAISE EXCEPTION 'row % has code %', NEW.id, NEW.code; END IF;
    RETURN NEW;
END $$;
CREATE TABLE watched (id integer PRIMARY KEY, code text NOT NULL, other integer);
INSERT INTO watched (id, code) SELECT id, code FROM t;
CREATE TRIGGER watch BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION refuse();
ANALYZE;";

/// The rows that are bad where seven are; the first one where one is.
const IDS: [u32; 7] = [7777, 2, 1000, 1001, 5005, 7778, 10000];

async fn tables() -> Result<Database> {
    Database::of_template("bad_data", |database| database.psql(TABLES).map(drop)).await
}

fn ids(count: usize) -> String {
    let ids: Vec<String> = IDS[..count].iter().map(u32::to_string).collect();
    ids.join(", ")
}

/// How rows go bad, how they are mended, and what the run says of them.
struct Case {
    script: (&'static str, &'static str),
    /// `{ids}` stands for the rows.
    spoil: &'static str,
    mend: &'static str,
    /// The table whose rows are bad, and the column.
    fault: &'static str,
    line: &'static str,
    options: &'static [&'static str],
}

const SPOIL: &str = "UPDATE t SET code = 'Z3CR3T' WHERE id IN ({ids})";
const MEND: &str = "UPDATE t SET code = '17' WHERE id IN ({ids})";

fn update(script: &'static str, column: &'static str) -> Case {
    Case {
        script: ("pre-a.sql", script),
        spoil: SPOIL,
        mend: MEND,
        fault: column,
        line: "pre-a.sql:2:1",
        options: &["--passes", "in-place"],
    }
}

impl Case {
    fn pack(&self) -> Result<TempDir> {
        one_module(&[self.script])
    }

    fn spoiled(&self, database: &Database, count: usize) -> Result<()> {
        database.psql(&self.spoil.replace("{ids}", &ids(count)))?;
        Ok(())
    }

    fn run(&self, database: &Database, pack: &TempDir) -> Upshift {
        Upshift::on(database, ["run", "--workers", "2", "--unit-rows", "1000"])
            .arguments(self.options)
            .argument(pack.path())
    }
}

fn cases() -> Vec<Case> {
    vec![
        update(
            "-- too long\nUPDATE t SET short = code;",
            "column \"short\" of",
        ),
        update(
            "-- no number\nUPDATE t SET (other, n) = (d, code::integer), must = 'x';",
            "column \"other, n\" of",
        ),
        update(
            "-- none\nUPDATE t SET must = nullif(code, 'Z3CR3T'), n = d;",
            "column \"must\" of",
        ),
        update(
            "-- refused\nUPDATE t SET checked = code;",
            "column \"checked\" of",
        ),
        Case {
            spoil: "UPDATE t SET d = 0 WHERE id IN ({ids})",
            mend: "UPDATE t SET d = 3 WHERE id IN ({ids})",
            ..update(
                "-- by zero\nUPDATE t SET q = 100 / d, n = 1;",
                "column \"q\" of",
            )
        },
        Case {
            spoil: "UPDATE t SET r = -1 WHERE id IN ({ids})",
            mend: "UPDATE t SET r = 1 WHERE id IN ({ids})",
            ..update("-- nobody\nUPDATE t SET ref = r;", "column \"ref\" of")
        },
        Case {
            spoil: "INSERT INTO child SELECT id, id FROM t WHERE id IN ({ids}) \
                    ON CONFLICT DO NOTHING",
            mend: "DELETE FROM child",
            ..update(
                "-- pointed at\nDELETE FROM t WHERE id % 2 >= 0;",
                "\"public\".\"t\"",
            )
        },
        Case {
            options: &[],
            ..update(
                "-- new rows\nINSERT INTO dest (id, double, short) SELECT id, 2 * d, code FROM t WHERE id > 0;",
                "column \"short\" of",
            )
        },
        Case {
            script: (
                "pre-a.toml",
                "# mail\n[[transform]]\ntable = \"t\"\ncolumn = \"mail\"\nfunction = \"email_normalise\"\narguments = { invalid = \"error\" }\n",
            ),
            spoil: "UPDATE t SET mail = 'Z3CR3T' WHERE id IN ({ids})",
            mend: "UPDATE t SET mail = 'a@b.example' WHERE id IN ({ids})",
            fault: "column \"mail\" of",
            line: "pre-a.toml:2:1",
            options: &["--passes", "in-place"],
        },
    ]
}

/// Nothing of the rows is shown.
fn expect_discreet(outcome: &Outcome) -> Result<()> {
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    ensure!(!said.contains(SECRET), "a value is shown: {said}");
    for id in IDS {
        let shown = said.contains(&format!("= {id}")) || said.contains(&format!("row {id}"));
        ensure!(!shown, "a key is shown: {said}");
    }
    Ok(())
}

fn expect_said(outcome: &Outcome, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(
            outcome.stderr.contains(part),
            "not \"{part}\" in: {}",
            outcome.stderr
        );
    }
    Ok(())
}

/// Without the bad rows, by whatever references there are.
fn without(database: &Database, count: usize) -> Result<Database> {
    let copy = database.copy()?;
    let ids = ids(count);
    copy.psql_as_superuser(&format!(
        "SET session_replication_role = replica; DELETE FROM t WHERE id IN ({ids}); \
         DELETE FROM child; DELETE FROM watched WHERE id IN ({ids})"
    ))?;
    Ok(copy)
}

fn quarantined(database: &Database, values: bool) -> Result<Value> {
    let more: &[&str] = if values { &["--values"] } else { &[] };
    let outcome = Upshift::on(database, ["quarantine", "list", "--json"])
        .arguments(more)
        .succeed()?;
    serde_json::from_str(&outcome.stdout).context("quarantine list --json is JSON")
}

/// Policy stop: named without values, then with them; mended and resumed.
async fn stops(case: &Case, count: usize) -> Result<()> {
    let (database, pack) = (tables().await?, case.pack()?);
    case.spoiled(&database, count)?;
    let naive = database.copy()?;
    let failed = case.run(&database, &pack).run()?.expect_code(1)?;
    expect_discreet(&failed)?;
    expect_said(&failed, &[case.line, case.fault, "quarantine list"])?;
    if count > 1 {
        let shown = Upshift::on(&database, ["resume", "--show-values"]);
        expect_said(&shown.run()?.expect_code(1)?, &[case.line, ": id = "])?;
    }
    let listed = quarantined(&database, true)?;
    let found = listed["counts"]["found"].as_u64().context("a number")?;
    ensure!((1..=count as u64).contains(&found), "{listed}");
    if count == 1 {
        expect_said(&failed, &["1 bad row: "])?;
        let key = &listed["statements"][0]["values"][0]["key"];
        ensure!(key["id"].as_str() == Some("7777"), "{listed}");
    }
    let mend = case.mend.replace("{ids}", &ids(count));
    database.psql(&mend)?;
    naive.psql(&mend)?;
    Upshift::on(&database, ["resume"]).succeed()?;
    ensure!(quarantined(&database, false)?["counts"]["found"] == 0);
    if case.script.0.ends_with(".sql") {
        oracle::upgrade(&naive, pack.path()).await?;
        compare::expect_same(&database, &naive, "resumed is not psql").await?;
    }
    Ok(())
}

/// Policy quarantine: the rest is done, the rows are retried, and all of it comes back.
async fn quarantines(case: &Case) -> Result<()> {
    let (database, pack) = (tables().await?, case.pack()?);
    case.spoiled(&database, 7)?;
    let start = database.copy()?;
    let run = || {
        case.run(&database, &pack)
            .arguments(&["--on-bad-data", "quarantine"])
    };
    run().dies_at("before_commit:3")?;
    let done = Upshift::on(&database, ["resume"]).succeed()?;
    expect_discreet(&done)?;
    ensure!(
        done.stderr.contains("7 rows quarantined"),
        "{}",
        done.stderr
    );
    let listed = quarantined(&database, false)?;
    ensure!(listed["counts"]["quarantined"] == 7, "{listed}");
    ensure!(!listed.to_string().contains(SECRET), "{listed}");
    let naive = without(&start, 7)?;
    if case.script.0.ends_with(".sql") {
        oracle::upgrade(&naive, pack.path()).await?;
        let rest = without(&database, 7)?;
        compare::expect_same(&rest, &naive, "the rest is not psql's").await?;
    }
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back is not untouched").await?;
    let left = database.psql("SELECT count(*) FROM upshift.bad_row")?;
    ensure!(left.trim() == "0", "{left} rows are still quarantined");

    run().succeed()?;
    let refused = Upshift::on(&database, ["quarantine", "retry"])
        .run()?
        .expect_code(1)?;
    expect_discreet(&refused)?;
    expect_said(&refused, &["7 rows still quarantined"])?;
    database.psql(&case.mend.replace("{ids}", &ids(7)))?;
    start.psql(&case.mend.replace("{ids}", &ids(7)))?;
    for point in ["before_commit", "after_commit"] {
        Upshift::on(&database, ["quarantine", "retry"]).dies_at(point)?;
    }
    Upshift::on(&database, ["quarantine", "retry"]).succeed()?;
    Upshift::on(&database, ["verify"])
        .succeed()
        .context("retries are what the run left too")?;
    let listed = quarantined(&database, false)?;
    ensure!(listed["counts"]["retried"] == 7, "{listed}");
    if case.script.0.ends_with(".sql") {
        let naive = start.copy()?;
        oracle::upgrade(&naive, pack.path()).await?;
        compare::expect_same(&database, &naive, "retried is not psql").await?;
    }
    for point in ["during_undo:2", "after_retries_back"] {
        Upshift::on(&database, ["rollback"]).dies_at(point)?;
    }
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back after a retry").await
}

#[tokio::test]
async fn assignments_stop_and_are_quarantined() -> Result<()> {
    let cases = cases();
    for (case, count) in cases[..5].iter().zip([7, 1, 7, 1, 1]) {
        stops(case, count).await.context(case.script.1)?;
    }
    quarantines(&cases[0]).await
}

#[tokio::test]
async fn foreign_keys_stop_and_are_quarantined() -> Result<()> {
    let cases = cases();
    stops(&cases[5], 7).await?;
    stops(&cases[6], 1).await.context("DELETE")?;
    quarantines(&cases[6]).await.context("DELETE")
}

#[tokio::test]
async fn new_rows_stop_and_are_quarantined() -> Result<()> {
    stops(&cases()[7], 1).await?;
    quarantines(&cases()[7]).await
}

#[tokio::test]
async fn transforms_stop_and_are_quarantined() -> Result<()> {
    stops(&cases()[8], 7).await?;
    quarantines(&cases()[8]).await
}

/// A statement of one unit is searched, and goes on without rows, all the same: a range is added to it.
#[tokio::test]
async fn few_rows_are_quarantined_too() -> Result<()> {
    let pack = one_module(&[(
        "pre-a.sql",
        "UPDATE tiny AS x SET short = p.name FROM other p WHERE p.id = x.id AND x.at < now();
         INSERT INTO copied (id, kind, short) SELECT y.id, y.kind, y.code FROM tiny y WHERE y.id > 2;",
    )])?;
    let database = Database::create()?;
    database.psql(
        "CREATE TABLE tiny (kind date, id integer, code text, short varchar(5), at timestamptz, PRIMARY KEY (kind, id));
         INSERT INTO tiny SELECT date '2020-01-01' + i % 3, i, i, NULL, '2020-01-01' FROM generate_series(1, 60) i;
         CREATE TABLE other (id integer PRIMARY KEY, name text);
         INSERT INTO other SELECT i, i FROM generate_series(1, 60) i;
         CREATE TABLE copied (id integer PRIMARY KEY, kind date, short varchar(5));
         UPDATE other SET name = 'Z3CR3T' WHERE id IN (1, 31, 32, 60);
         UPDATE tiny SET code = 'Z3CR3T' WHERE id IN (3, 60);
         ANALYZE",
    )?;
    let start = database.copy()?;
    let run =
        || Upshift::on(&database, ["run", "--on-bad-data", "quarantine"]).argument(pack.path());
    expect_discreet(&run().succeed()?)?;
    let listed = quarantined(&database, true)?;
    ensure!(listed["counts"]["quarantined"] == 6, "{listed}");
    let columns =
        database.psql("SELECT DISTINCT column_name, value, sqlstate FROM upshift.bad_row")?;
    ensure!(columns.trim() == "short|\"Z3CR3T\"|22001", "{columns}");
    let done = database
        .psql("SELECT count(*), count(short) FROM tiny UNION SELECT count(*), 0 FROM copied")?;
    ensure!(done.contains("60|56") && done.contains("56|0"), "{done}");
    database.psql(
        "UPDATE other SET name = 'x' WHERE id <> 1; UPDATE tiny SET code = 'y' WHERE id = 3",
    )?;
    start.psql(
        "UPDATE other SET name = 'x' WHERE id <> 1; UPDATE tiny SET code = 'y' WHERE id = 3",
    )?;
    let left = Upshift::on(&database, ["quarantine", "retry"])
        .run()?
        .expect_code(1)?;
    expect_said(&left, &["2 rows still quarantined"])?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    compare::expect_same(&database, &start, "rolled back after a retry").await
}

/// Rows that collide with each other, what triggers raise, statements as written, passes: found, where the
/// rest cannot go on without them.
#[tokio::test]
async fn rows_that_cannot_be_left_out_are_found_all_the_same() -> Result<()> {
    let cases = [
        Case {
            spoil: "UPDATE t SET u = 1 WHERE id IN ({ids})",
            options: &["--workers", "1"],
            ..update("-- twice\nUPDATE t SET uniq = u;", "column \"uniq\" of")
        },
        Case {
            spoil: "UPDATE watched SET other = 1; ALTER TABLE watched DISABLE TRIGGER watch; \
                    UPDATE watched SET code = 'Z3CR3T' WHERE id IN ({ids}); \
                    ALTER TABLE watched ENABLE TRIGGER watch",
            line: "pre-a.sql:3:1",
            ..update(
                "-- raised\n-- upshift: undo = \"SELECT 1\"\nUPDATE watched SET other = 99;",
                "\"public\".\"watched\"",
            )
        },
        Case {
            options: &["--strategy", "sequential"],
            ..update(
                "-- as written\nUPDATE t SET n = 2, short = code;",
                "column \"short\" of",
            )
        },
        Case {
            line: "pre-a.sql:3:1",
            options: &["--passes", "shadow"],
            ..update(
                "-- a pass\nUPDATE t SET n = 2, must = 'y';\nUPDATE t SET short = code WHERE id > 1;",
                "column \"short\" of \"public\".\"t\", by m/migrations/2.0/pre-a.sql:3:1",
            )
        },
        Case {
            options: &["--statement-timeout", "0s"],
            ..update(
                "-- all of it\n-- upshift: strategy = single\nUPDATE t SET n = 2, short = code;",
                "column \"short\" of",
            )
        },
    ];
    for (mut case, count) in cases.into_iter().zip([7, 1, 7, 1, 7]) {
        if case.script.1.contains("single") {
            case.line = "pre-a.sql:3:1";
        }
        let (database, pack) = (tables().await?, case.pack()?);
        case.spoiled(&database, count)?;
        let start = database.copy()?;
        let run = case.run_once(&database, &pack).argument("--show-values");
        let failed = run.run()?.expect_code(1)?;
        let context = || format!("{}: {}", case.script.1, failed.stderr);
        expect_said(&failed, &[case.line, case.fault]).with_context(context)?;
        ensure!(failed.stderr.contains(": id = "), "{}", context());
        let listed = quarantined(&database, false)?;
        let found = listed["counts"]["found"].as_u64().context("a number")?;
        ensure!(
            (1..=count as u64).contains(&found),
            "{listed} {}",
            context()
        );
        if case.script.1.contains("single") {
            ensure!(found == count as u64, "{listed}");
        }
        expect_discreet(&Upshift::on(&database, ["status"]).succeed()?)?;
        if case.options != ["--strategy", "sequential"] {
            Upshift::on(&database, ["rollback"]).succeed()?;
            compare::expect_same(&database, &start, "rolled back is not untouched").await?;
        }
    }
    Ok(())
}

impl Case {
    /// The workers may be said by the case.
    fn run_once(&self, database: &Database, pack: &TempDir) -> Upshift {
        Upshift::on(database, ["run", "--yes", "--unit-rows", "1000"])
            .arguments(self.options)
            .argument(pack.path())
    }
}

#[tokio::test]
async fn caps_and_bounds_stop_the_run() -> Result<()> {
    let case = update("-- too long\nUPDATE t SET short = code;", "");
    let (database, pack) = (tables().await?, case.pack()?);
    case.spoiled(&database, 7)?;
    let start = database.copy()?;
    let run = Upshift::on(&database, ["run", "--workers", "1", "--unit-rows", "20000"])
        .arguments(&["--on-bad-data", "quarantine", "--max-bad-rows", "3"])
        .argument(pack.path());
    let failed = run.run()?.expect_code(1)?;
    expect_said(&failed, &["3 bad rows", "--max-bad-rows 3"])?;
    Upshift::on(&database, ["rollback"]).succeed()?;

    database.psql(
        "CREATE FUNCTION slow(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
            PERFORM pg_sleep(0.002); RETURN $1; END $$",
    )?;
    let slow = one_module(&[(
        "pre-a.sql",
        "UPDATE t SET short = slow(code) WHERE id > 7000;",
    )])?;
    let run = Upshift::on(
        &database,
        ["run", "--search-time", "500ms", "--workers", "1"],
    )
    .argument(slow.path());
    let failed = run.run()?.expect_code(1)?;
    expect_said(&failed, &["the search ended after 0.5 s"])?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    let run = Upshift::on(&database, ["run", "--search-time", "0s", "--workers", "1"])
        .argument(pack.path());
    expect_said(&run.run()?.expect_code(1)?, &["its rows were not searched"])?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    database.psql("DROP FUNCTION slow")?;
    compare::expect_same(&database, &start, "rolled back is not untouched").await?;

    let run = Upshift::on(
        &database,
        ["run", "--passes", "shadow", "--on-bad-data", "quarantine"],
    )
    .argument(pack.path());
    run.run()?.expect_code(2)?;
    Ok(())
}

/// A lock that somebody holds is no bad data.
#[tokio::test]
async fn a_passing_failure_is_not_searched() -> Result<()> {
    let (database, pack) = (
        tables().await?,
        one_module(&[("pre-a.sql", "UPDATE t SET short = code;")])?,
    );
    let mut other = database.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE t IN SHARE MODE")
        .execute(&mut other)
        .await?;
    let mut running = Upshift::on(&database, ["run", "--json", "--lock-timeout", "200ms"])
        .argument(pack.path())
        .start()?;
    ensure!(running.read_until(|line| line.contains("55P03") || line.contains("lock timeout"))?);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
    let outcome = running.wait()?.expect_code(0)?;
    ensure!(!outcome.stdout.contains("bad row"), "{}", outcome.stdout);
    let rows = database.psql("SELECT count(*) FROM upshift.bad_row")?;
    ensure!(rows.trim() == "0", "{rows}");
    Ok(())
}

/// What is committed keeps its list and is not retried; what came later is told so.
#[tokio::test]
async fn a_committed_run_keeps_its_list() -> Result<()> {
    let case = update("-- too long\nUPDATE t SET short = code;", "");
    let (database, pack) = (tables().await?, case.pack()?);
    case.spoiled(&database, 7)?;
    let run = case.run(&database, &pack);
    run.arguments(&["--on-bad-data", "quarantine"]).succeed()?;
    let status = Upshift::on(&database, ["status"]).succeed()?;
    ensure!(
        status.stdout.contains("7 rows quarantined"),
        "{}",
        status.stdout
    );
    Upshift::on(&database, ["commit"]).succeed()?;
    let refused = Upshift::on(&database, ["quarantine", "retry"])
        .run()?
        .expect_code(3)?;
    expect_said(&refused, &["is committed", "quarantine export"])?;
    let exported = Upshift::on(&database, ["quarantine", "export"]).succeed()?;
    let lines: Vec<Value> = exported
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(lines.len() == 7);
    ensure!(
        lines.iter().all(|line| line["row"]["code"] == SECRET),
        "{}",
        exported.stdout
    );
    ensure!(
        lines.iter().all(|line| line["column"] == "short"),
        "{}",
        exported.stdout
    );
    let plain = Upshift::on(&database, ["quarantine", "list", "--values"]).succeed()?;
    ensure!(
        plain.stdout.contains("id = 7777: column short"),
        "{}",
        plain.stdout
    );
    Ok(())
}

/// Which column of new rows is at fault is asked one by one, and no default draws for that.
#[tokio::test]
async fn a_search_draws_from_no_sequence() -> Result<()> {
    let pack = one_module(&[(
        "pre-a.sql",
        "INSERT INTO numbered (id, place, short) SELECT id, place, code FROM source WHERE id > 0;",
    )])?;
    let database = Database::create()?;
    database.psql(
        "CREATE TABLE source (id integer PRIMARY KEY, place integer, code text);
         INSERT INTO source SELECT i, i, CASE i WHEN 7 THEN 'Z3CR3T' ELSE 'x' END FROM generate_series(1, 2000) i;
         CREATE TABLE numbered (id serial PRIMARY KEY, place serial, short varchar(5));
         SELECT nextval('numbered_id_seq'), nextval('numbered_place_seq');
         ANALYZE",
    )?;
    let failed = Upshift::on(&database, ["run", "--unit-rows", "500"])
        .argument(pack.path())
        .run()?
        .expect_code(1)?;
    expect_said(&failed, &["1 bad row: ", "column \"short\" of"])?;
    let drawn = database.psql(
        "SELECT last_value FROM numbered_id_seq UNION ALL SELECT last_value FROM numbered_place_seq",
    )?;
    ensure!(drawn.trim() == "1\n1", "drawn up to {drawn}");
    Ok(())
}
