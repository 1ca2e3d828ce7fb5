//! Snapshots for what cannot be undone: taken on the way, restored by rollback, dropped by commit, killed at
//! every point; and the database's own properties with them.

use anyhow::{Result, ensure};
use tempfile::TempDir;
use upshift_coordinator::snapshot::{
    COPIED, DISCARDED, FAILPOINTS_OF_RESTORING, FAILPOINTS_OF_TAKING,
};
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Server, Upshift, pack},
};

const TABLES: &str = "
    CREATE TABLE t (id serial PRIMARY KEY, v integer, old text);
    INSERT INTO t (v, old) SELECT i, 'x' || i FROM generate_series(1, 200) i;
    CREATE TABLE gone (id integer PRIMARY KEY);
    INSERT INTO gone VALUES (1), (2);
    COMMENT ON TABLE gone IS 'of no use';";

/// What is about the database, not in it.
fn properties(database: &Database) -> String {
    let name = database.name();
    let owner = database.owner();
    format!(
        "GRANT SET ON PARAMETER \"upshift_test.note\" TO {owner};
         ALTER DATABASE {name} SET search_path TO \"$user\", public, \"odd \"\" one, two\";
         ALTER DATABASE {name} SET work_mem TO '1234kB';
         ALTER DATABASE {name} SET \"upshift_test.note\" TO 'it''s \\ here';
         ALTER ROLE {owner} IN DATABASE {name} SET lock_timeout TO '7s';
         ALTER DATABASE {name} CONNECTION LIMIT 77;
         REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;
         GRANT CREATE ON DATABASE {name} TO pg_monitor WITH GRANT OPTION;
         COMMENT ON DATABASE {name} IS 'the shop''s';"
    )
}

/// The same, read.
fn about(database: &Database) -> Result<String> {
    let name = database.name();
    database.psql_as_superuser(&format!(
        "SELECT datname, pg_get_userbyid(datdba), encoding, datcollate, datctype, dattablespace,
                datconnlimit, datistemplate, datallowconn, datacl, shobj_description(oid, 'pg_database')
           FROM pg_database WHERE datname = '{name}'
         UNION ALL
         SELECT s.setrole::text, s.setconfig::text, 0, '', '', 0, 0, false, false, NULL, NULL
           FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = '{name}'
         ORDER BY 1, 2"
    ))
}

/// Databases on the server that belong to this one, and are not it.
fn others(database: &Database) -> Result<Vec<String>> {
    let name = database.name();
    let found = database.server().psql(
        "postgres",
        "postgres",
        &format!(
            "SELECT datname FROM pg_database WHERE starts_with(datname, '{name}_') ORDER BY 1"
        ),
    )?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// `a` and `d` are ordinary, `b` runs a program, `c` a statement that nobody understands.
fn folder() -> Result<TempDir> {
    let program = "
        [[exec]]
        command = [\"psql\", \"-X\", \"-q\", \"-v\", \"ON_ERROR_STOP=1\", \"-c\", \"UPDATE public.t SET v = v * 2; CREATE TABLE public.by_program AS SELECT 1 AS one\"]
        irreversible = true
        ";
    let odd = "
        -- upshift: irreversible
        DO $$ BEGIN UPDATE public.t SET v = v + 1000; DROP TABLE public.gone; END $$;
        -- upshift: irreversible
        DO $$ BEGIN DELETE FROM public.t WHERE id % 7 = 0; END $$;";
    pack(&[
        (
            "pack.toml",
            "name = \"test\"\n[installed]\nquery = \"VALUES ('a', '1.0'), ('b', '1.0'), ('c', '1.0'), ('d', '1.0')\"\n",
        ),
        ("a/module.toml", "name = \"a\"\nversion = \"2.0\"\n"),
        (
            "a/migrations/2.0/pre-a.sql",
            "UPDATE public.t SET v = v + 1; ALTER TABLE public.t DROP COLUMN old;",
        ),
        (
            "b/module.toml",
            "name = \"b\"\nversion = \"2.0\"\ndepends = [\"a\"]\n",
        ),
        ("b/migrations/2.0/pre-b.toml", program),
        (
            "b/migrations/2.0/post-b.sql",
            "UPDATE public.t SET v = -v WHERE id < 50;",
        ),
        (
            "c/module.toml",
            "name = \"c\"\nversion = \"2.0\"\ndepends = [\"b\"]\n",
        ),
        ("c/migrations/2.0/pre-c.sql", odd),
        (
            "d/module.toml",
            "name = \"d\"\nversion = \"2.0\"\ndepends = [\"c\"]\n",
        ),
        (
            "d/migrations/2.0/pre-d.sql",
            "ALTER TABLE public.t ADD COLUMN note text DEFAULT 'n'; INSERT INTO public.t (v) SELECT v FROM public.t WHERE id < 20 ORDER BY id;",
        ),
    ])
}

/// A server where the owner may create databases.
fn server() -> Result<&'static Server> {
    let server = Server::own()?;
    server.psql(
        "postgres",
        "postgres",
        "ALTER ROLE upshift_test_owner CREATEDB",
    )?;
    Ok(server)
}

fn database(server: &'static Server) -> Result<Database> {
    let database = Database::create_on(server)?;
    database.psql(TABLES)?;
    database.psql_as_superuser(&properties(&database))?;
    Ok(database)
}

/// `upshift`, with the server's programs at hand.
fn upshift(database: &Database, arguments: &[&str]) -> Upshift {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", database.server().binaries().display());
    Upshift::on(database, arguments).variable("PATH", &path)
}

fn run(database: &Database, folder: &TempDir, kind: &str) -> Upshift {
    upshift(database, &["run", "--workers", "2", "--snapshot", kind]).argument(folder.path())
}

/// Where the run is: what `v` of the first row is, and whether each part of it is in effect.
const SUM: &str =
    "SELECT v, to_regclass('gone') IS NULL, to_regclass('by_program') IS NULL FROM t WHERE id = 1";
const AFTER_A: &str = "2|f|t";
const AFTER_B: &str = "-4|f|f";
const AFTER_C: &str = "996|t|f";

fn expect(database: &Database, expected: &str) -> Result<()> {
    let found = database.psql(SUM)?;
    ensure!(
        found.trim() == expected,
        "{} instead of {expected}",
        found.trim()
    );
    Ok(())
}

async fn expect_untouched(
    database: &Database,
    before: &(Snapshot, String),
    what: &str,
) -> Result<()> {
    before
        .0
        .expect_same(&Snapshot::take(database).await?, what)?;
    let about = about(database)?;
    ensure!(
        about == before.1,
        "{what}: the database's properties: {about}\ninstead of {}",
        before.1
    );
    let others = others(database)?;
    ensure!(others.is_empty(), "{what}: left over: {others:?}");
    Ok(())
}

#[tokio::test]
async fn a_copy_brings_back_what_cannot_be_undone() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    let plan = upshift(&shop, &["plan", "--snapshot", "template"])
        .argument(folder.path())
        .succeed()?;
    for said in [
        "a snapshot for",
        "can be taken back until commit",
        "nobody else connected",
    ] {
        ensure!(plan.stdout.contains(said), "{said}: {}", plan.stdout);
    }
    run(&shop, &folder, "template").succeed()?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    expect(&shop, AFTER_C)?;
    // No snapshot is needed for what came after all of it.
    upshift(&shop, &["rollback", "--to", "c"]).succeed()?;
    expect(&shop, AFTER_C)?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    upshift(&shop, &["resume"]).succeed()?;
    upshift(&shop, &["rollback", "--to", "b"]).succeed()?;
    expect(&shop, AFTER_B)?;
    ensure!(others(&shop)?.len() == 1, "{:?}", others(&shop)?);
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    upshift(&shop, &["resume"]).succeed()?;
    expect(&shop, AFTER_C)?;
    upshift(&shop, &["rollback", "--to", "a"]).succeed()?;
    expect(&shop, AFTER_A)?;
    upshift(&shop, &["resume"]).succeed()?;
    upshift(&shop, &["rollback"]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await?;

    run(&shop, &folder, "template").succeed()?;
    let copies = others(&shop)?;
    let drop = format!("DROP DATABASE \"{}\"", copies[0]);
    server.psql("postgres", "postgres", &drop)?;
    let refused = upshift(&shop, &["rollback"]).run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("the snapshot is gone"),
        "{}",
        refused.stderr
    );
    upshift(&shop, &["status"]).succeed()?;
    upshift(&shop, &["commit"]).succeed()?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);

    let other = shop.copy()?;
    run(&other, &folder, "none").succeed()?;
    upshift(&other, &["commit"]).succeed()?;
    run(&shop, &folder, "template").succeed()?;
    upshift(&shop, &["commit"]).dies_at(DISCARDED)?;
    upshift(&shop, &["commit"]).succeed()?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    compare::expect_same(&other, &shop, "with and without snapshots").await
}

#[tokio::test]
async fn killed_while_a_copy_is_made_or_restored() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    for (nth, restoring) in FAILPOINTS_OF_RESTORING.into_iter().enumerate() {
        match FAILPOINTS_OF_TAKING.get(nth) {
            // The last one is not killed on its way there.
            None => drop(run(&shop, &folder, "template").succeed()?),
            Some(taking) => {
                run(&shop, &folder, "template").dies_at(&format!("{taking}:{}", nth % 2 + 1))?;
                if *taking == COPIED {
                    // Straight back: the second copy, which is half made, goes too.
                    upshift(&shop, &["rollback"]).succeed()?;
                    expect_untouched(&shop, &before, taking).await?;
                    run(&shop, &folder, "template").succeed()?;
                } else {
                    upshift(&shop, &["resume"]).succeed()?;
                }
            }
        }
        expect(&shop, AFTER_C)?;
        upshift(&shop, &["rollback"]).dies_at(restoring)?;
        // Either command goes on.
        let verb = if nth % 2 == 0 { "rollback" } else { "resume" };
        if nth == 0 {
            upshift(&shop, &[verb]).dies_at(DISCARDED)?;
        }
        upshift(&shop, &[verb]).succeed()?;
        expect_untouched(&shop, &before, restoring).await?;
    }
    Ok(())
}

#[tokio::test]
async fn others_who_are_connected_are_named_and_left_alone() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    let config = folder.path().join("upshift.toml");
    std::fs::write(&config, "[snapshot]\nkind = \"template\"\nwait = \"1s\"\n")?;
    let config = config.display().to_string();
    let mut application = shop.connect().await?;
    let named = "SELECT set_config('application_name', 'till', false)";
    sqlx::query(named).execute(&mut application).await?;
    let refused = upshift(&shop, &["run", "--config", &config])
        .argument(folder.path())
        .run()?;
    let refused = refused.expect_code(1)?;
    for said in [
        "(till, as upshift_test_owner)",
        "upshift resume",
        "--end-sessions",
    ] {
        ensure!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    expect(&shop, AFTER_A)?;
    sqlx::query("SELECT 1").execute(&mut application).await?;
    upshift(&shop, &["resume", "--end-sessions", "--config", &config]).succeed()?;
    ensure!(
        sqlx::query("SELECT 1")
            .execute(&mut application)
            .await
            .is_err(),
        "it was not ended"
    );
    expect(&shop, AFTER_C)?;

    let mut application = shop.connect().await?;
    let refused = upshift(&shop, &["rollback", "--config", &config])
        .run()?
        .expect_code(1)?;
    ensure!(
        refused.stderr.contains("upshift rollback"),
        "{}",
        refused.stderr
    );
    expect(&shop, AFTER_C)?;
    sqlx::query("SELECT 1").execute(&mut application).await?;
    // Elsewhere instead, where no copy is needed.
    upshift(&shop, &["rollback", "--to", "c", "--config", &config]).succeed()?;
    ensure!(about(&shop)? == before.1, "{}", about(&shop)?);
    sqlx::Connection::close(application).await?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await
}

#[tokio::test]
async fn commands_of_the_configuration_take_and_restore_snapshots() -> Result<()> {
    let server = server()?;
    let folder = folder()?;
    let shop = database(server)?;
    let before = Snapshot::take(&shop).await?;
    let config = folder.path().join("upshift.toml");
    std::fs::write(
        &config,
        "[snapshot]
         create = [\"createdb\", \"-T\", \"{database}\", \"{database}_c{task}\"]
         restore = [\"sh\", \"-c\", \"dropdb \\\"$1\\\" && createdb -T \\\"$1_c$2\\\" \\\"$1\\\"\", \"sh\", \"{database}\", \"{task}\"]
         drop = [\"dropdb\", \"--if-exists\", \"{database}_c{task}\"]
         timeout = \"1min\"\n",
    )?;
    let config = config.display().to_string();
    run(&shop, &folder, "command")
        .arguments(&["--config", &config])
        .succeed()?;
    ensure!(others(&shop)?.len() == 2, "{:?}", others(&shop)?);
    upshift(&shop, &["rollback", "--to", "b", "--config", &config]).succeed()?;
    expect(&shop, AFTER_B)?;
    upshift(&shop, &["resume", "--config", &config]).succeed()?;
    expect(&shop, AFTER_C)?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    before.expect_same(&Snapshot::take(&shop).await?, "rolled back")?;
    ensure!(others(&shop)?.is_empty(), "{:?}", others(&shop)?);

    std::fs::write(
        &config,
        "[snapshot]\ncreate = [\"false\"]\nrestore = [\"true\"]\n",
    )?;
    let failed = run(&shop, &folder, "command")
        .arguments(&["--config", &config])
        .run()?;
    let failed = failed.expect_code(1)?;
    ensure!(
        failed.stderr.contains("[snapshot] create: false failed"),
        "{}",
        failed.stderr
    );
    expect(&shop, AFTER_A)?;
    upshift(&shop, &["rollback", "--config", &config]).succeed()?;
    before.expect_same(&Snapshot::take(&shop).await?, "rolled back")
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_anything_is_touched() -> Result<()> {
    let folder = folder()?;
    let shop = Database::create_on(Server::own()?)?;
    shop.psql(TABLES)?;
    for (kind, said) in [
        (
            "template",
            "may not create databases: ALTER ROLE upshift_test_owner CREATEDB",
        ),
        (
            "command",
            "[snapshot] of upshift.toml has no \"create\" command",
        ),
    ] {
        let refused = run(&shop, &folder, kind).run()?.expect_code(3)?;
        ensure!(refused.stderr.contains(said), "{}", refused.stderr);
        let plan = upshift(&shop, &["plan", "--snapshot", kind])
            .argument(folder.path())
            .succeed()?;
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(words(&plan.stdout).contains(said), "{}", plan.stdout);
    }
    shop.psql_as_superuser(&format!(
        "ALTER ROLE {} CREATEDB; ALTER DATABASE {} SET upshift_test.rare TO 'x'",
        shop.owner(),
        shop.name()
    ))?;
    let refused = run(&shop, &folder, "template").run()?.expect_code(3)?;
    ensure!(
        refused.stderr.contains("(upshift_test.rare)"),
        "{}",
        refused.stderr
    );
    shop.psql_as_superuser(&format!("ALTER ROLE {} NOCREATEDB", shop.owner()))?;
    let ledger = shop.psql("SELECT to_regnamespace('upshift') IS NULL")?;
    ensure!(ledger.trim() == "t", "the ledger was made");
    let doctor = upshift(&shop, &["doctor"]).run()?;
    ensure!(
        doctor.stdout.contains(
            "snapshots by template: not possible: upshift_test_owner may not create databases"
        ),
        "{}",
        doctor.stdout
    );
    Ok(())
}

#[tokio::test]
async fn one_statement_after_another_goes_back_to_the_start() -> Result<()> {
    let folder = folder()?;
    let shop = database(server()?)?;
    let before = (Snapshot::take(&shop).await?, about(&shop)?);
    run(&shop, &folder, "template")
        .arguments(&["--strategy", "sequential"])
        .succeed()?;
    expect(&shop, AFTER_C)?;
    ensure!(others(&shop)?.len() == 1, "{:?}", others(&shop)?);
    let refused = upshift(&shop, &["rollback", "--to", "b"])
        .run()?
        .expect_code(3)?;
    ensure!(
        refused.stderr.contains("or to the start"),
        "{}",
        refused.stderr
    );
    upshift(&shop, &["rollback"]).succeed()?;
    expect_untouched(&shop, &before, "rolled back").await
}
