//! Operators that change rows: in-place, append, statement with copies, check; sequences, the fence,
//! and what errors say.

use std::time::Duration;

use anyhow::Result;
use upshift_shared::{
    ids::Epoch,
    ledger::{Bounds, options::OnBadData},
    plan::{
        Append, Check, CopiedTable, Cut, Fragment, InPlace, InPlaceAction, KeptTable, KeyColumn,
        Operator, Sequences, StatementUndo, Template,
    },
};
use upshift_worker::unit::{Direction, FailureClass};

use crate::rig::{Rig, one, prove, statement, task};

const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, a integer, b text,
        double integer GENERATED ALWAYS AS (a * 2) STORED);
    INSERT INTO t (id, a, b) SELECT i, i % 7, 'b' || i FROM generate_series(1, 1000) i;";

fn key(name: &str, type_name: &str) -> Vec<KeyColumn> {
    vec![KeyColumn {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
    }]
}

fn kept(purpose: &str, columns: &str, table: &str) -> KeptTable {
    KeptTable {
        name: format!("{{run}}_t0_{purpose}"),
        table: table.to_owned(),
        columns: Some(columns.split(", ").map(str::to_owned).collect()),
    }
}

/// What stands before and after the name of the kept table.
fn template(before: impl Into<String>, after: &str) -> Template {
    Template(vec![
        Fragment::Text(before.into()),
        Fragment::Kept,
        Fragment::Text(after.to_owned()),
    ])
}

fn cut() -> Option<Cut> {
    Some(Cut {
        table: "public.t".to_owned(),
        key: key("id", "integer"),
    })
}

fn halves() -> Vec<Bounds> {
    let middle = Some(vec!["500".to_owned()]);
    vec![
        Bounds {
            lower: None,
            upper: middle.clone(),
        },
        Bounds {
            lower: middle,
            upper: None,
        },
    ]
}

const RANGE: &str = "($2::text IS NULL OR t.id > $2::text::integer) AND ($3::text IS NULL OR t.id <= $3::text::integer)";

fn update() -> Operator {
    Operator::InPlace(InPlace {
        table: "public.t".to_owned(),
        action: InPlaceAction::Update(vec!["a".to_owned(), "b".to_owned()]),
        sql: template(
            format!(
                "WITH c AS (UPDATE public.t SET a = a + 1, b = NULL WHERE a > 2 AND {RANGE} RETURNING t.id) INSERT INTO "
            ),
            " (upshift_unit, id, a, b) \
             SELECT $1::text::integer, o.id, o.a, o.b FROM public.t AS o JOIN c ON o.id = c.id",
        ),
        key: key("id", "integer"),
        before_images: kept("before", "id, a, b", "public.t"),
        spare: None,
        cut: cut(),
    })
}

#[tokio::test]
async fn in_place_updates_and_deletes() -> Result<()> {
    let psql = "UPDATE t SET a = a + 1, b = NULL WHERE a > 2";
    prove(TABLE, &[(task(0, update()), halves())], psql).await?;
    let delete = Operator::InPlace(InPlace {
        table: "public.t".to_owned(),
        action: InPlaceAction::Delete,
        sql: template(
            format!(
                "WITH c AS (DELETE FROM public.t WHERE a > 2 AND {RANGE} RETURNING t.id, t.a, t.b, t.double) INSERT INTO "
            ),
            " (upshift_unit, id, a, b, double) SELECT $1::text::integer, id, a, b, double FROM c",
        ),
        key: key("id", "integer"),
        before_images: kept("before", "id, a, b, double", "public.t"),
        spare: None,
        cut: cut(),
    });
    prove(
        TABLE,
        &[(task(0, delete), halves())],
        "DELETE FROM t WHERE a > 2",
    )
    .await
}

#[tokio::test]
async fn an_undo_that_finds_fewer_rows_says_so() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let task = task(0, update());
    let now = rig.prepare(&task).await?;
    let whole = Bounds::default();
    let report = rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    assert!(report.rows > 100);
    rig.database.psql("DELETE FROM t WHERE id = 3")?;
    let error = rig
        .unit(&task, (0, &whole), Direction::Undo, &now)
        .await
        .expect_err("a row is missing");
    assert_eq!(error.class, FailureClass::Operator);
    assert!(
        error.message.contains("an application has deleted"),
        "{error}"
    );
    rig.force = true;
    let report = rig.unit(&task, (0, &whole), Direction::Undo, &now).await?;
    assert!(!report.already_done);
    Ok(())
}

#[tokio::test]
async fn append_records_keys_and_gives_sequences_back() -> Result<()> {
    let setup = format!(
        "{TABLE} CREATE TABLE copy (id serial PRIMARY KEY, a integer, at timestamptz);
        INSERT INTO copy (a) VALUES (0), (1);"
    );
    let append = Operator::Append(Append {
        table: "public.copy".to_owned(),
        sql: template(
            "WITH i AS (INSERT INTO public.copy (a, at) SELECT a, $1::text::timestamptz - $1::text::timestamptz + '2020-01-01Z'::timestamptz FROM public.t ORDER BY id RETURNING id) INSERT INTO ",
            " (upshift_unit, id) SELECT $2::text::integer, id FROM i",
        ),
        key: key("id", "integer"),
        recorded: kept("new", "id", "public.copy"),
        spare: None,
        cut: None,
    });
    let mut inserted = one(0, append);
    inserted.0.pinned_now = true;
    inserted.0.sequences = Sequences::Named(vec![
        "public.copy_id_seq".to_owned(),
        "public.\"does not exist\"".to_owned(),
    ]);
    prove(
        &setup,
        &[inserted],
        "INSERT INTO copy (a, at) SELECT a, '2020-01-01Z' FROM t ORDER BY id",
    )
    .await
}

#[tokio::test]
async fn an_attempt_that_failed_gives_its_numbers_back() -> Result<()> {
    let mut rig = Rig::new("CREATE SEQUENCE q; CREATE TABLE t (id bigint, ok boolean); INSERT INTO t VALUES (0, false)").await?;
    let sql = "INSERT INTO public.t SELECT nextval('q') / (SELECT ok::integer FROM public.t WHERE id = 0), true FROM generate_series(1, 5)";
    let (mut drawn, _) = one(0, statement(sql, StatementUndo::Irreversible));
    drawn.sequences = Sequences::All;
    let error = rig
        .whole(&drawn, Direction::Do)
        .await
        .expect_err("division by zero");
    assert_eq!(
        (error.class, error.sqlstate.as_deref()),
        (FailureClass::Never, Some("22012"))
    );
    assert!(
        error
            .message
            .starts_with("base/migrations/1.0/pre-test.sql:1:1: test task 0"),
        "{error}"
    );
    rig.database.psql("UPDATE t SET ok = true")?;
    rig.whole(&drawn, Direction::Do).await?;
    assert_eq!(rig.database.psql("SELECT max(id) FROM t")?.trim(), "5");
    let error = rig
        .whole(&drawn, Direction::Undo)
        .await
        .expect_err("irreversible");
    assert!(error.message.contains("no way back"), "{error}");
    Ok(())
}

#[tokio::test]
async fn copies_bring_tables_back() -> Result<()> {
    let setup = "CREATE TABLE a (id integer PRIMARY KEY, code text UNIQUE, b_id integer);
        CREATE TABLE b (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a_id integer REFERENCES a ON DELETE CASCADE, j json, x xml);
        ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b_id) REFERENCES b ON DELETE SET NULL;
        CREATE TABLE log (what text, n numeric);
        CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END$$;
        CREATE TRIGGER g AFTER INSERT OR DELETE ON a FOR EACH ROW EXECUTE FUNCTION tf();
        ALTER TABLE a ENABLE ALWAYS TRIGGER g;
        INSERT INTO a SELECT i, 'c' || i FROM generate_series(1, 20) i;
        INSERT INTO b (a_id, j) SELECT i, '{\"a\": 1}' FROM generate_series(1, 20) i;
        UPDATE a SET b_id = id WHERE id < 10; INSERT INTO log VALUES ('n', 1.0), ('n', 1.00);";
    let sql = "DO $$BEGIN
        UPDATE a SET b_id = NULL; DELETE FROM a WHERE id < 5;
        INSERT INTO a SELECT i + 100, 'c' || i FROM generate_series(1, 4) i;
        UPDATE b SET a_id = 101, j = '{\"a\":1}' WHERE id > 12; DELETE FROM b WHERE id = 20;
        UPDATE a SET b_id = 13 WHERE id = 7; END$$";
    let copy = |table: &str, key: Vec<KeyColumn>, columns: &[&str]| CopiedTable {
        table: format!("\"public\".\"{table}\""),
        key,
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        kept: kept(
            &format!("copy_{table}"),
            &columns.join(", "),
            &format!("public.{table}"),
        ),
    };
    let undo = StatementUndo::Copy {
        tables: vec![
            copy("b", key("id", "integer"), &["id", "a_id", "j", "x"]),
            copy("a", key("id", "integer"), &["id", "code", "b_id"]),
            copy("log", Vec::new(), &["what", "n"]),
        ],
    };
    let changed = one(0, statement(sql, undo));
    let psql = sql.to_owned();
    prove(setup, &[changed], &psql).await
}

#[tokio::test]
async fn a_check_that_fails_shows_no_values() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let check = |query: &str| {
        one(
            0,
            Operator::Check(Check {
                query: query.to_owned(),
                message: "a is too large".to_owned(),
                lasting: false,
            }),
        )
        .0
    };
    let error = rig
        .whole(
            &check("SELECT b, b FROM t WHERE id <= 3; -- three"),
            Direction::Do,
        )
        .await
        .expect_err("a semicolon in the middle is not a query");
    assert_eq!(error.sqlstate.as_deref(), Some("42601"));
    let failing = check("SELECT b, b FROM t WHERE id <= 3 -- three");
    let error = rig
        .whole(&failing, Direction::Do)
        .await
        .expect_err("three rows");
    assert_eq!(
        error.message,
        "base/migrations/1.0/pre-test.sql:1:1: check failed: a is too large (3 rows); mend the data, then resume"
    );
    rig.database.psql("DELETE FROM t WHERE id <= 3")?;
    rig.whole(&failing, Direction::Do).await?;
    rig.whole(&failing, Direction::Undo).await?;
    let (cast, _) = one(
        1,
        statement("UPDATE t SET a = b::integer", StatementUndo::Irreversible),
    );
    let error = rig
        .whole(&cast, Direction::Do)
        .await
        .expect_err("b is not a number");
    let said = error.message.replace(&rig.holder.run.to_string(), "");
    assert!(
        said.contains("invalid input syntax") && !said.contains("b4"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn who_was_taken_over_writes_nothing() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let task = task(0, update());
    let now = rig.prepare(&task).await?;
    let current = rig.taken_over().await?;
    assert_eq!(current, Epoch(rig.holder.epoch.0 + 1));
    let before = rig.snapshot().await?;
    for direction in [Direction::Do, Direction::Undo, Direction::Commit] {
        let error = rig
            .unit(&task, (0, &Bounds::default()), direction, &now)
            .await
            .expect_err("the epoch was raised");
        assert_eq!(error.class, FailureClass::Fenced, "{error}");
    }
    assert!(rig.prepare(&task).await.is_err());
    before.expect_same(&rig.snapshot().await?, "a fenced holder wrote")
}

#[tokio::test]
async fn timeouts_are_told_from_locks() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    rig.timeouts.statement = Duration::from_millis(200);
    rig.timeouts.lock = Duration::from_millis(100);
    let (slow, _) = one(0, statement("SELECT pg_sleep(30)", StatementUndo::Nothing));
    let error = rig.whole(&slow, Direction::Do).await.expect_err("too slow");
    assert_eq!(error.class, FailureClass::TimedOut);
    let mut other = rig.database.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE t")
        .execute(&mut other)
        .await?;
    let (locked, _) = one(1, statement("UPDATE t SET a = 1", StatementUndo::Nothing));
    let error = rig.whole(&locked, Direction::Do).await.expect_err("locked");
    assert_eq!(
        (error.class, error.sqlstate.as_deref()),
        (FailureClass::Later, Some("55P03"))
    );
    Ok(())
}

#[tokio::test]
async fn taking_over_ends_what_an_older_holder_still_does() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let run = rig.holder.run;
    let mut taker = rig.database.connect().await?;
    let (slow, _) = one(0, statement("SELECT pg_sleep(300)", StatementUndo::Nothing));
    let work = rig.whole(&slow, Direction::Do);
    let take = async {
        // Until the unit holds the fence: its own session says so.
        let working = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'upshift % t0 u0' \
                       AND query LIKE '%pg_sleep(300)'";
        while sqlx::query_scalar::<_, i64>(working)
            .fetch_one(&mut taker)
            .await?
            == 0
        {
            tokio::task::yield_now().await;
        }
        let deadline = Duration::from_secs(30);
        anyhow::Ok(upshift_shared::ledger::fence::raise(&mut taker, run, deadline).await?)
    };
    let (worked, taken) = tokio::join!(work, take);
    assert_eq!(taken?, Epoch(2));
    assert_eq!(
        worked.expect_err("its session was ended").class,
        FailureClass::Later
    );
    Ok(())
}

/// A cancel that meets no statement ends the unit all the same; a statement of the search that takes too
/// long says so, though the one that failed was quick.
#[tokio::test]
async fn a_search_is_cancelled_and_timed_as_a_unit_is() -> Result<()> {
    let slow = format!(
        "{TABLE} CREATE FUNCTION slow(a integer) RETURNS integer LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_sleep(0.001); RETURN 1 / a; END $$; UPDATE t SET a = 0 WHERE id = 1"
    );
    let mut rig = Rig::new(&slow).await?;
    rig.options.on_bad_data = OnBadData::Quarantine;
    let mut operator = update();
    if let Operator::InPlace(op) = &mut operator
        && let Some(Fragment::Text(text)) = op.sql.0.first_mut()
    {
        *text = text
            .replace("a = a + 1", "a = slow(a)")
            .replace("a > 2 AND ", "");
    }
    rig.database.psql("UPDATE t SET a = 1 WHERE id > 1")?;
    let task = task(0, operator);
    let now = rig.prepare(&task).await?;
    let whole = Bounds::default();
    rig.timeouts.statement = Duration::from_millis(300);
    let unit = rig.unit(&task, (0, &whole), Direction::Do, &now).await;
    assert_eq!(unit.expect_err("too slow").class, FailureClass::TimedOut);

    rig.timeouts.statement = Duration::from_secs(60);
    rig.cancel.cancel();
    let before = rig.snapshot().await?;
    let unit = rig.unit(&task, (0, &whole), Direction::Do, &now).await;
    assert_eq!(unit.expect_err("cancelled").class, FailureClass::Later);
    before.expect_same(&rig.snapshot().await?, "a cancelled unit did something")
}
