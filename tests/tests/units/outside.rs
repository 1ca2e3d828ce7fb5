//! Work outside a transaction: CREATE INDEX CONCURRENTLY, external programs.

use anyhow::Result;
use upshift_shared::plan::{Exec, Operator, Statement, StatementUndo};
use upshift_worker::unit::{Direction, FailureClass};

use crate::rig::{Rig, one, prove};

#[tokio::test]
async fn an_index_is_built_concurrently() -> Result<()> {
    let setup = "CREATE TABLE t (a integer); INSERT INTO t SELECT 1 FROM generate_series(1, 2)";
    let index = |unique: &str| {
        one(
            0,
            Operator::Statement(Statement {
                sql: format!("CREATE {unique} INDEX CONCURRENTLY ti ON t (a)"),
                undo: StatementUndo::Sql {
                    statements: vec!["DROP INDEX CONCURRENTLY IF EXISTS public.ti".to_owned()],
                },
                transactional: false,
                recovery: Some("DROP INDEX CONCURRENTLY IF EXISTS public.ti".to_owned()),
            }),
        )
    };
    prove(setup, &[index("")], "CREATE INDEX ti ON t (a)").await?;
    // A broken first attempt leaves an invalid index behind, which the second one clears away.
    let mut rig = Rig::new(setup).await?;
    let unique = index("UNIQUE").0;
    let error = rig
        .whole(&unique, Direction::Do)
        .await
        .expect_err("not unique");
    assert_eq!(error.sqlstate.as_deref(), Some("23505"));
    assert!(!error.message.contains("(a)=(1)"), "{error}");
    rig.database.psql("DELETE FROM t")?;
    rig.whole(&unique, Direction::Do).await?;
    let valid = "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 't'::regclass";
    assert_eq!(rig.database.psql(valid)?.trim(), "t");
    Ok(())
}

fn shell(script: &str, undo: Option<&str>, timeout_seconds: u64) -> Operator {
    let words = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    Operator::Exec(Exec {
        command: words(script),
        undo: undo.map(words),
        timeout_seconds,
    })
}

#[tokio::test]
async fn a_program_reaches_the_database() -> Result<()> {
    let setup = "CREATE TABLE t (a text)";
    let program = one(
        0,
        shell(
            "test \"$PGDATABASE\" = '{database}' && psql -qc \"INSERT INTO t VALUES ('x')\"",
            Some("psql -qc 'DELETE FROM t'"),
            60,
        ),
    );
    prove(setup, &[program], "INSERT INTO t VALUES ('x')").await
}

#[tokio::test]
async fn a_program_that_fails_or_hangs_is_told() -> Result<()> {
    let mut rig = Rig::new("CREATE TABLE t (a text)").await?;
    let (failing, _) = one(0, shell("echo out; echo oops >&2; exit 7", None, 60));
    let error = rig
        .whole(&failing, Direction::Do)
        .await
        .expect_err("exit 7");
    assert_eq!(error.class, FailureClass::Operator);
    assert!(
        error.message.contains("exit status: 7") && error.message.ends_with("oops"),
        "{error}"
    );
    let (hanging, _) = one(1, shell("sleep 100 & sleep 100", None, 1));
    let error = rig
        .whole(&hanging, Direction::Do)
        .await
        .expect_err("a timeout");
    assert!(error.message.contains("did not end within 1s"), "{error}");
    let (missing, _) = one(
        2,
        Operator::Exec(Exec {
            command: vec!["no-such-program".to_owned()],
            undo: None,
            timeout_seconds: 1,
        }),
    );
    let error = rig
        .whole(&missing, Direction::Do)
        .await
        .expect_err("missing");
    assert!(error.message.contains("was not found"), "{error}");
    Ok(())
}
