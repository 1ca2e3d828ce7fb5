//! The transform operator: values out, changed, and in again, whatever the key and the width of a row.

use anyhow::Result;
use upshift_shared::{
    ledger::Bounds,
    plan::{
        Cut, Fragment, InPlace, InPlaceAction, KeptTable, KeyColumn, Operator, Template, Transform,
    },
    transform::{Call, Value},
};
use upshift_worker::unit::{Direction, FailureClass};

use crate::rig::{Rig, prove, task};

const TABLE: &str = "CREATE TABLE t (at timestamptz, n numeric(6, 2), body text, note varchar(12), PRIMARY KEY (at, n));
    INSERT INTO t SELECT '2020-01-01Z'::timestamptz + i * interval '1.000001 s', i / 4.0,
        CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN 'plain ' || i ELSE 'a < b' || E'\\n' || i END, 'n' || i
    FROM generate_series(1, 400) AS i;";

const RANGE: &str = "($2::text IS NULL OR ROW(t.at, t.n) > ROW(CAST($2::text AS timestamptz), CAST($3::text AS numeric))) \
    AND ($4::text IS NULL OR ROW(t.at, t.n) <= ROW(CAST($4::text AS timestamptz), CAST($5::text AS numeric)))";

fn key() -> Vec<KeyColumn> {
    [("at", "timestamp with time zone"), ("n", "numeric(6,2)")]
        .map(|(name, type_name)| KeyColumn {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
        })
        .to_vec()
}

fn call(function: &str, arguments: &[(&str, &str)]) -> Call {
    let value =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Value::Text((*value).to_owned()));
    Call {
        function: function.to_owned(),
        arguments: arguments.iter().map(value).collect(),
    }
}

/// `source` into `target`, which takes so many characters.
fn transform(source: &str, target: &str, call: Call, longest: Option<u32>) -> Operator {
    let text = |text: String| Fragment::Text(text);
    let sql = Template(vec![
        text(format!(
            "WITH c AS (UPDATE public.t AS t SET {target} = r.value FROM pg_temp.upshift_rows AS r \
             WHERE t.at = r.k1 AND t.n = r.k2 AND {RANGE} RETURNING t.at, t.n) INSERT INTO "
        )),
        Fragment::Kept,
        text(format!(
            " (upshift_unit, at, n, {target}) SELECT $1::text::integer, o.at, o.n, o.{target} \
             FROM public.t AS o JOIN c ON o.at = c.at AND o.n = c.n"
        )),
    ]);
    Operator::Transform(Transform {
        rows: format!(
            "SELECT at AS k1, n AS k2, {source}::text AS source, {target}::text AS target FROM public.t"
        ),
        compares: true,
        source: source.to_owned(),
        target: target.to_owned(),
        longest,
        translated: false,
        call,
        write: InPlace {
            table: "public.t".to_owned(),
            action: InPlaceAction::Update(vec![target.to_owned()]),
            sql,
            key: key(),
            before_images: KeptTable {
                name: "{run}_t0_before".to_owned(),
                table: "public.t".to_owned(),
                columns: Some(["at", "n", target].map(str::to_owned).to_vec()),
            },
            spare: None,
            cut: Some(Cut {
                table: "public.t".to_owned(),
                key: key(),
            }),
        },
    })
}

fn html(longest: Option<u32>) -> Operator {
    let call = call("text_to_html", &[("line_break", "<br>")]);
    transform("body", "note", call, longest)
}

fn thirds() -> Vec<Bounds> {
    let bound = |at: &str, n: &str| Some(vec![at.to_owned(), n.to_owned()]);
    let first = bound("2020-01-01 00:01:00+00", "15");
    let second = bound("2020-01-01 00:04:30.00027+00", "67.50");
    [
        (None, first.clone()),
        (first, second.clone()),
        (second, None),
    ]
    .map(|(lower, upper)| Bounds { lower, upper })
    .to_vec()
}

#[tokio::test]
async fn values_are_transformed_and_come_back() -> Result<()> {
    let setup = TABLE.replace("varchar(12)", "text");
    let psql = "UPDATE t SET note = '<p>' || replace(replace(body, '<', '&lt;'), E'\\n', '<br>') || '</p>'";
    prove(&setup, &[(task(0, html(None)), thirds())], psql).await?;
    // In a session that writes dates in another way, the key still comes back as it went.
    let mut styled = task(0, html(None));
    styled.settings = vec![("datestyle".to_owned(), "'SQL, DMY'".to_owned())];
    prove(&setup, &[(styled, vec![Bounds::default()])], psql).await
}

#[tokio::test]
async fn only_what_changes_is_written() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let call = call("email_normalise", &[("local", "keep"), ("invalid", "keep")]);
    let task = task(0, transform("note", "note", call, None));
    let now = rig.prepare(&task).await?;
    rig.database
        .psql("UPDATE t SET note = 'a@B.c' WHERE n IN (1, 2)")?;
    let whole = Bounds::default();
    let report = rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    assert_eq!(report.rows, 2);
    let written = rig
        .database
        .psql("SELECT count(DISTINCT xmin::text), count(*) FILTER (WHERE note = 'a@b.c') FROM t")?;
    assert_eq!(written.trim(), "2|2");
    Ok(())
}

#[tokio::test]
async fn a_row_that_is_refused_is_named_by_its_key() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let task = task(0, html(Some(12)));
    let now = rig.prepare(&task).await?;
    let before = rig.snapshot().await?;
    let whole = Bounds::default();
    let error = rig.unit(&task, (0, &whole), Direction::Do, &now).await;
    let error = error.expect_err("<p>plain 1</p> has 14 characters");
    assert_eq!(error.class, FailureClass::Operator);
    for part in [
        "base/migrations/1.0/pre-test.sql:1:1: text_to_html of public.t.\"body\": a row cannot be changed: its",
        "new value has 14 characters, and the column takes 12; mend it",
        "bad rows: column \"body\" of",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(!error.message.contains("plain"), "{error}");
    assert!(!error.message.contains("0.25"), "{error}");
    let first = "SELECT key ->> 'at', key ->> 'n' FROM upshift.bad_row WHERE seq = 0";
    let first = rig.database.psql(first)?;
    assert_eq!(first.trim(), "2020-01-01 00:00:01.000001+00|0.25");
    before.expect_same(&rig.snapshot().await?, "a unit that failed left something")?;
    // The same connection goes on.
    rig.database
        .psql("UPDATE t SET body = 'x' WHERE body IS NOT NULL")?;
    let report = rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    assert_eq!(report.rows, 400);
    Ok(())
}

#[tokio::test]
async fn rows_that_are_wider_than_a_batch_go_through() -> Result<()> {
    let setup = TABLE.replace("varchar(12)", "text");
    let mut rig = Rig::new(&setup).await?;
    rig.database
        .psql("UPDATE t SET body = repeat('0123456789', 2000000) WHERE n IN (1, 50)")?;
    let before = rig.snapshot().await?;
    let task = task(0, html(None));
    let now = rig.prepare(&task).await?;
    let whole = Bounds::default();
    let report = rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    assert_eq!(report.rows, 400);
    let lengths = rig
        .database
        .psql("SELECT min(length(note)), max(length(note)) FROM t WHERE n IN (1, 50)")?;
    assert_eq!(lengths.trim(), "20000007|20000007");
    rig.unit(&task, (0, &whole), Direction::Undo, &now).await?;
    before.expect_same(&rig.snapshot().await?, "undone")
}

#[tokio::test]
async fn a_lock_on_the_table_is_waited_for_later() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let task = task(0, html(None));
    let now = rig.prepare(&task).await?;
    rig.timeouts.lock = std::time::Duration::from_millis(50);
    let mut other = rig.database.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE t")
        .execute(&mut other)
        .await?;
    let whole = Bounds::default();
    let error = rig.unit(&task, (0, &whole), Direction::Do, &now).await;
    let error = error.expect_err("it is locked");
    assert_eq!(
        (error.class, error.sqlstate.as_deref()),
        (FailureClass::Later, Some("55P03"))
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
    rig.database
        .psql("ALTER TABLE t ALTER COLUMN note TYPE text")?;
    rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    Ok(())
}

#[tokio::test]
async fn a_row_that_an_application_changes_meanwhile_is_not_overwritten() -> Result<()> {
    let mut rig = Rig::new(TABLE).await?;
    let call = call(
        "email_normalise",
        &[("local", "lower"), ("invalid", "keep")],
    );
    let task = task(0, transform("note", "note", call, None));
    rig.database
        .psql("UPDATE t SET note = 'A@B.c' WHERE n IN (1, 2)")?;
    let now = rig.prepare(&task).await?;
    let mut other = rig.database.connect().await?;
    sqlx::raw_sql("BEGIN; UPDATE t SET note = 'X@Y.z' WHERE n = 1")
        .execute(&mut other)
        .await?;
    let whole = Bounds::default();
    let mut watcher = rig.database.connect().await?;
    let (done, committed) = tokio::join!(
        rig.unit(&task, (0, &whole), Direction::Do, &now),
        async {
            // Until the unit, which has read the old value, waits for the row.
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                           AND wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(waiting)
                .fetch_one(&mut watcher)
                .await?
                == 0
            {
                tokio::task::yield_now().await;
            }
            sqlx::raw_sql("COMMIT").execute(&mut other).await?;
            anyhow::Ok(())
        }
    );
    committed?;
    let error = done.expect_err("the row was changed");
    assert_eq!(
        (error.class, error.sqlstate.as_deref()),
        (FailureClass::Now, Some("40001"))
    );
    let report = rig.unit(&task, (0, &whole), Direction::Do, &now).await?;
    assert_eq!(report.rows, 2);
    let notes = rig
        .database
        .psql("SELECT note FROM t WHERE n IN (1, 2) ORDER BY n")?;
    assert_eq!(notes.trim(), "x@y.z\na@b.c");
    Ok(())
}
