//! A pass carries over all that hangs on a table, or leaves the table alone and says why.

use anyhow::{Result, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::Snapshot,
    harness::{Database, Upshift, one_module},
};

/// Changes nothing, but every row is written.
const NOTHING: &str = "-- upshift: strategy = shadow\nUPDATE \"The Table\" SET x = x + 0;\n";

fn pack() -> Result<TempDir> {
    one_module(&[("pre-a.sql", NOTHING)])
}

/// Roles belong to the server: several tests may make them at once.
fn roles(database: &Database) -> Result<()> {
    for role in ["upshift_carry_group", "upshift_carry_reader"] {
        database.psql_as_superuser(&format!(
            "DO $$BEGIN CREATE ROLE {role}; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$"
        ))?;
    }
    database.psql_as_superuser(&format!(
        "SELECT pg_advisory_xact_lock(1); GRANT upshift_carry_group TO {}",
        database.owner()
    ))?;
    Ok(())
}

/// What a dump does not tell of a table's columns, constraints and parents.
fn inherited(database: &Database) -> Result<String> {
    database.psql(
        "SELECT attname, attislocal, attinhcount FROM pg_attribute \
         WHERE attrelid = '\"The Table\"'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum; \
         SELECT conname, conislocal, coninhcount, connoinherit FROM pg_constraint \
         WHERE conrelid = '\"The Table\"'::regclass AND contype IN ('c', 'n') ORDER BY 1; \
         SELECT inhparent::regclass FROM pg_inherits \
         WHERE inhrelid = '\"The Table\"'::regclass ORDER BY inhseqno",
    )
}

fn same_inherited(database: &Database, before: &str) -> Result<()> {
    let now = inherited(database)?;
    ensure!(now == before, "inherited was {before} and is {now}");
    Ok(())
}

/// There, kept, and back.
async fn carried(setup: &str) -> Result<()> {
    carried_with(setup, "0|0").await
}

/// `bounds`: how many bounds of kept partitions are validated, and how many there are.
async fn carried_with(setup: &str, bounds: &str) -> Result<()> {
    let database = Database::create()?;
    roles(&database)?;
    database.psql(setup)?;
    let before = Snapshot::take(&database).await?;
    let inherited = inherited(&database)?;
    let pack = pack()?;
    let plan = Upshift::on(&database, ["plan"])
        .argument(pack.path())
        .succeed()?;
    ensure!(plan.stdout.contains("swap"), "no pass: {}", plan.stdout);
    // The plan breaks lines.
    let told = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(
        told.contains("not sent to subscribers") == setup.contains("CREATE PUBLICATION"),
        "{told}"
    );
    let run = |more: &[&str]| {
        Upshift::on(&database, ["run"])
            .argument(pack.path())
            .arguments(&["--workers", "3"])
            .arguments(more)
            .succeed()
    };
    run(&[])?;
    let prepared = Snapshot::take(&database).await?;
    prepared.expect_same(&before, "prepared (left) and before (right)")?;
    // Of a kept partition: without it the way back would scan the table under a lock.
    let checked = "SELECT count(*) FILTER (WHERE convalidated), count(*) FROM pg_constraint
                    WHERE conname = 'upshift_bound'";
    ensure!(
        database.psql(checked)?.trim() == bounds,
        "the bound of a kept partition is not there, or not validated"
    );
    same_inherited(&database, &inherited)?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    let back = Snapshot::take(&database).await?;
    back.expect_same(&before, "rolled back (left) and before (right)")?;
    same_inherited(&database, &inherited)?;
    run(&["--commit"])?;
    same_inherited(&database, &inherited)?;
    let committed = Snapshot::take(&database).await?;
    committed.expect_same(&before, "committed (left) and before (right)")
}

#[tokio::test]
async fn everything_is_carried_over() -> Result<()> {
    carried(include_str!("carry_over/everything.sql")).await
}

#[tokio::test]
async fn a_table_of_another_owner_is_carried_over() -> Result<()> {
    carried(include_str!("carry_over/owned.sql")).await
}

#[tokio::test]
async fn rules_and_publications_are_carried_over() -> Result<()> {
    carried(include_str!("carry_over/ruled.sql")).await
}

#[tokio::test]
async fn functions_of_its_row_type_are_carried_over() -> Result<()> {
    carried(include_str!("carry_over/functions.sql")).await
}

#[tokio::test]
async fn a_partition_keeps_its_place() -> Result<()> {
    carried_with(include_str!("carry_over/partition.sql"), "1|1").await?;
    carried_with(include_str!("carry_over/attached.sql"), "1|1").await
}

#[tokio::test]
async fn a_table_that_inherits_keeps_its_parents() -> Result<()> {
    carried(include_str!("carry_over/inherits.sql")).await?;
    carried(include_str!("carry_over/inherits_alone.sql")).await
}

/// What no pass carries, and what the plan has to say of it.
const UNKNOWN: &[(&str, &str)] = &[
    (
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM \"The Table\"",
        "materialized view public.seen, which reads the table without a view between",
    ),
    (
        "CREATE FUNCTION f(r \"The Table\") RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
         CREATE INDEX by_f ON \"The Table\" (f(\"The Table\".*))",
        "function public.f(public.\"The Table\"), which is used by index public.by_f",
    ),
    (
        "CREATE FUNCTION f() RETURNS SETOF \"The Table\" LANGUAGE sql AS 'SELECT * FROM \"The Table\"'; \
         CREATE VIEW v AS SELECT id FROM f()",
        "function public.f(), which is used by rule _RETURN on view public.v",
    ),
    (
        "CREATE FUNCTION f(r \"The Table\") RETURNS integer LANGUAGE sql AS 'SELECT 1'; \
         CREATE FUNCTION g() RETURNS bigint LANGUAGE sql \
         BEGIN ATOMIC SELECT sum(f(t.*)) FROM \"The Table\" t; END",
        "function public.f(public.\"The Table\"), which is used by function public.g()",
    ),
    (
        "CREATE FUNCTION f(n integer, r \"The Table\") RETURNS integer LANGUAGE sql AS 'SELECT 1'; \
         CREATE AGGREGATE many(\"The Table\") (SFUNC = f, STYPE = integer)",
        "function public.f(integer,public.\"The Table\"), which is used by function public.many",
    ),
    (
        "CREATE TABLE tree (id integer NOT NULL, x integer) PARTITION BY RANGE (x); \
         ALTER TABLE tree ATTACH PARTITION \"The Table\" FOR VALUES FROM (0) TO (100); \
         CREATE TABLE rest PARTITION OF tree DEFAULT",
        "its place as a partition of table public.tree, which has a default partition",
    ),
    (
        "CREATE TABLE tree (id integer NOT NULL, x integer REFERENCES parent) PARTITION BY RANGE (id); \
         INSERT INTO parent SELECT generate_series(1, 100); \
         ALTER TABLE tree ATTACH PARTITION \"The Table\" FOR VALUES FROM (0) TO (100)",
        "its place as a partition of table public.tree, which has foreign keys",
    ),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TABLE tree (id integer NOT NULL, x integer) PARTITION BY RANGE (id); \
         CREATE TRIGGER g BEFORE INSERT ON tree FOR EACH ROW EXECUTE FUNCTION f(); \
         ALTER TABLE tree ATTACH PARTITION \"The Table\" FOR VALUES FROM (0) TO (100)",
        "its place as a partition of table public.tree, which has triggers",
    ),
    (
        "CREATE TABLE base (x integer); ALTER TABLE \"The Table\" INHERIT base; \
         ALTER TABLE \"The Table\" ADD y integer GENERATED ALWAYS AS (x + 1) STORED",
        "it inherits from table public.base, together with an identity or generated column",
    ),
    (
        "CREATE TABLE tree (id integer NOT NULL GENERATED ALWAYS AS IDENTITY, x integer) \
         PARTITION BY RANGE (id); \
         ALTER TABLE tree ATTACH PARTITION \"The Table\" FOR VALUES FROM (0) TO (100)",
        "its place as a partition of table public.tree, together with an identity column",
    ),
    (
        "CREATE DOMAIN rows AS \"The Table\" CHECK (value IS NOT NULL)",
        "type public.rows",
    ),
    (
        "CREATE TABLE other (r \"The Table\")",
        "column r of table public.other",
    ),
    (
        "CREATE RULE r AS ON UPDATE TO \"The Table\" WHERE new.x > 7 DO ALSO NOTHING",
        "rules on The Table",
    ),
    (
        "CREATE TABLE child () INHERITS (\"The Table\")",
        "other tables inherit from The Table",
    ),
    (
        "CREATE POLICY p ON parent USING (EXISTS (SELECT FROM \"The Table\"))",
        "policy p on table public.parent",
    ),
    (
        "ALTER TABLE \"The Table\" ADD CHECK (x > -9) NOT VALID",
        "NOT VALID",
    ),
    (
        "GRANT SELECT ON \"The Table\" TO upshift_carry_group WITH GRANT OPTION; \
         SET ROLE upshift_carry_group; GRANT SELECT ON \"The Table\" TO upshift_carry_reader",
        "privileges that upshift_carry_group granted",
    ),
];

/// What hangs on the table and is another role's, whom the one that connects is no member of.
const OF_OTHERS: &[(&str, &str)] = &[
    (
        "CREATE TABLE base (x integer); ALTER TABLE \"The Table\" INHERIT base",
        "it inherits from table public.base, which belongs to postgres",
    ),
    (
        "CREATE PUBLICATION p FOR TABLE \"The Table\"",
        "in publication p, which belongs to postgres",
    ),
    (
        "CREATE VIEW v AS SELECT * FROM \"The Table\"",
        "view public.v, which belongs to postgres",
    ),
    (
        "CREATE TABLE other (x integer); \
         CREATE RULE r AS ON DELETE TO other DO ALSO DELETE FROM \"The Table\"",
        "rule r on table public.other, which belongs to postgres",
    ),
    (
        "CREATE FUNCTION f(r \"The Table\") RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function public.f(public.\"The Table\"), which belongs to postgres",
    ),
    (
        "CREATE FUNCTION f(r \"The Table\") RETURNS integer LANGUAGE sql LEAKPROOF AS 'SELECT 1'; \
         ALTER FUNCTION f OWNER TO upshift_test_owner",
        "function public.f(public.\"The Table\"), which only a superuser could make",
    ),
    (
        "CREATE TABLE other (x integer REFERENCES \"The Table\")",
        "on table public.other, which belongs to postgres",
    ),
];

#[tokio::test]
async fn what_is_not_known_is_named() -> Result<()> {
    let mut failures = Vec::new();
    let unknown = UNKNOWN.iter().map(|case| (case, false));
    for ((object, named), of_others) in unknown.chain(OF_OTHERS.iter().map(|case| (case, true))) {
        let database = Database::create()?;
        roles(&database)?;
        database.psql(
            "CREATE TABLE parent (id integer PRIMARY KEY); \
             CREATE TABLE \"The Table\" (id serial PRIMARY KEY, x integer); \
             INSERT INTO \"The Table\" (x) SELECT i FROM generate_series(1, 50) i",
        )?;
        if of_others {
            database.psql_as_superuser(object)?;
            database.psql_as_superuser(&format!(
                "GRANT ALL ON ALL TABLES IN SCHEMA public TO {}",
                database.owner()
            ))?;
        } else {
            database.psql(object)?;
        }
        let before = Snapshot::take(&database).await?;
        let pack = pack()?;
        let plan = Upshift::on(&database, ["plan"])
            .argument(pack.path())
            .run()?;
        let said = format!("{}{}", plan.stdout, plan.stderr);
        let said: Vec<&str> = said.split_whitespace().collect();
        let said = said.join(" ");
        if said.contains("swap") || !said.contains(named) {
            failures.push(format!("== {object}: {named} is not said:\n{said}"));
        }
        // What rules do has no way back, so there is no plan at all.
        if plan.code == Some(2) {
            continue;
        }
        Upshift::on(&database, ["run"])
            .argument(pack.path())
            .succeed()?;
        Upshift::on(&database, ["rollback"]).succeed()?;
        let back = Snapshot::take(&database).await?;
        back.expect_same(&before, object)?;
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
