//! What tests of snapshots look at: what is about a database, not in it, and what is left beside it.

use anyhow::{Result, ensure};

use tempfile::TempDir;

use super::{Database, Server, Upshift, pack};
use crate::compare::Snapshot;

/// A shop.
pub const TABLES: &str = "
    CREATE TABLE t (id serial PRIMARY KEY, v integer, old text);
    INSERT INTO t (v, old) SELECT i, 'x' || i FROM generate_series(1, 200) i;
    CREATE TABLE gone (id integer PRIMARY KEY);
    INSERT INTO gone VALUES (1), (2);
    COMMENT ON TABLE gone IS 'of no use';";

/// `a` and `d` are ordinary, `b` runs a program, `c` a statement that nobody understands.
///
/// # Errors
/// When it cannot be written.
pub fn folder() -> Result<TempDir> {
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

/// A shop of its own, owned by who may create databases.
///
/// # Errors
/// When it cannot be made.
pub fn database(server: &'static Server) -> Result<Database> {
    let database = Database::create_on(server)?;
    database.psql(TABLES)?;
    database.psql_as_superuser(&properties(&database))?;
    Ok(database)
}

/// Where the run is: what `v` of the first row is, and whether each part of it is in effect.
pub const SUM: &str =
    "SELECT v, to_regclass('gone') IS NULL, to_regclass('by_program') IS NULL FROM t WHERE id = 1";
/// The same with the first module done.
pub const AFTER_A: &str = "2|f|t";
/// The same with the second one.
pub const AFTER_B: &str = "-4|f|f";
/// The same with the third one, or all.
pub const AFTER_C: &str = "996|t|f";

/// Whether the run is there.
///
/// # Errors
/// Where it is elsewhere.
pub fn expect(database: &Database, expected: &str) -> Result<()> {
    let found = database.psql(SUM)?;
    ensure!(
        found.trim() == expected,
        "{} instead of {expected}",
        found.trim()
    );
    Ok(())
}

/// What is about the database, not in it.
#[must_use]
pub fn properties(database: &Database) -> String {
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
///
/// # Errors
/// When the server cannot be asked.
pub fn about(database: &Database) -> Result<String> {
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
///
/// # Errors
/// When the server cannot be asked.
pub fn others(database: &Database) -> Result<Vec<String>> {
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

/// A server where the owner may create databases.
///
/// # Errors
/// When the server cannot be asked.
pub fn server() -> Result<&'static Server> {
    let server = Server::own()?;
    server.psql(
        "postgres",
        "postgres",
        "ALTER ROLE upshift_test_owner CREATEDB",
    )?;
    Ok(server)
}

/// `upshift`, with the server's programs at hand.
#[must_use]
pub fn upshift(database: &Database, arguments: &[&str]) -> Upshift {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", database.server().binaries().display());
    Upshift::on(database, arguments).variable("PATH", &path)
}

/// Nothing differs from what was taken before, in the database and about it, and nothing is beside it.
///
/// # Errors
/// With what differs.
pub async fn expect_untouched(
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
