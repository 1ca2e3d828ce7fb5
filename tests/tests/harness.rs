//! The harness itself: databases come and go, and the comparison finds what differs.

use anyhow::Result;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::Database,
};

const SCHEMA: &str = "
CREATE TABLE t (id bigserial PRIMARY KEY, a text, b numeric, upshift_kept_x_9 text);
INSERT INTO t (a, b) SELECT 'row ' || i, i / 7.0 FROM generate_series(1, 1000) AS i;
CREATE SEQUENCE s;
COMMENT ON TABLE t IS 'it''s';
GRANT SELECT (a) ON t TO PUBLIC";

#[tokio::test]
async fn copies_are_the_same_and_row_order_does_not_matter() -> Result<()> {
    let one = Database::create()?;
    one.psql(SCHEMA)?;
    let two = one.copy()?;
    two.psql("CREATE TABLE u AS SELECT * FROM t ORDER BY b DESC; TRUNCATE t; INSERT INTO t SELECT * FROM u; DROP TABLE u")?;
    compare::expect_same(&one, &two, "a copy differs").await
}

#[tokio::test]
async fn every_kind_of_difference_is_reported() -> Result<()> {
    let one = Database::create()?;
    one.psql(SCHEMA)?;
    let before = Snapshot::take(&one).await?;
    for (change, expected) in [
        ("UPDATE t SET a = 'other' WHERE id = 7", "column a differs"),
        (
            "UPDATE t SET a = NULL WHERE id = 7",
            "left only  | (7,\"row 7\"",
        ),
        (
            "UPDATE t SET b = round(b, 30) WHERE id = 7",
            "column b differs",
        ),
        ("DELETE FROM t WHERE id = 7", "table t: "),
        ("INSERT INTO t (id) VALUES (0)", "right only | (0,,)"),
        ("SELECT nextval('s')", "sequence s: "),
        ("CREATE TABLE more ()", "table more is only on the right"),
        ("REVOKE SELECT (a) ON t FROM PUBLIC", "GRANT SELECT(a)"),
        ("COMMENT ON TABLE t IS 'else'", "COMMENT ON TABLE public.t"),
        ("ALTER TABLE t ALTER a SET NOT NULL", "a text NOT NULL"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX i"),
    ] {
        let two = one.copy()?;
        two.psql(change)?;
        let report = compare::expect_same(&one, &two, "differs").await;
        let report = report.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(report.contains(expected), "{change}: {report}");
        let found = before.differences(&Snapshot::take(&two).await?);
        assert!(!found.is_empty(), "{change}");
    }
    let same = one.copy()?;
    same.psql("UPDATE t SET upshift_kept_x_9 = 'hidden'; CREATE SCHEMA upshift; CREATE TABLE upshift.t ()")?;
    let report = compare::expect_same(&one, &same, "differs").await;
    assert!(report.is_ok(), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn scram_with_tls_works_over_loopback() -> Result<()> {
    use std::str::FromStr;

    use sqlx::{ConnectOptions, postgres::PgConnectOptions};
    let database = Database::create()?;
    let options = PgConnectOptions::from_str(&database.loopback_url())?;
    assert!(
        options.clone().connect().await.is_err(),
        "no password, no entry"
    );
    let mut connection = options.password(database.password()).connect().await?;
    let tls: bool = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(&mut connection)
        .await?;
    assert_eq!(
        tls,
        database.server().certificate().is_some(),
        "TLS wherever the server has it"
    );
    Ok(())
}
