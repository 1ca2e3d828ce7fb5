//! Every family of DDL there and back: the statements that `catalog_evolution` binds are run as a pack,
//! whose result equals `psql`'s, and whose way back leaves the database as it was: `pg_dump`, contents,
//! sequences.

use anyhow::{Context, Result};
use tempfile::TempDir;
use upshift_coordinator::compile::analyse::ddl;
use upshift_shared::{catalog::snapshot, pack::Directives};
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module},
};

const SETUP: &str = include_str!("catalog_evolution/setup.sql");

/// Rows for the setup's tables, so that what is kept has something to keep.
const ROWS: &str = "
INSERT INTO company (name, code) VALUES ('First', 'a'), ('Second', NULL);
INSERT INTO partner (name, company_id, \"Straße\", parent_id)
    SELECT 'partner ' || i, 1 + i % 2, repeat('ß', i), NULLIF(i - 1, 0) FROM generate_series(1, 20) AS i;
INSERT INTO \"Order Line\" (partner_id, price, quantity, mood)
    SELECT 1 + i % 20, i / 4.0, i, 'ok' FROM generate_series(1, 50) AS i;
COMMENT ON COLUMN partner.name IS 'it''s a name';
COMMENT ON CONSTRAINT partner_pkey ON partner IS 'the key';
COMMENT ON INDEX partner_name_index IS 'an index';
GRANT SELECT ON partner, active_partner TO PUBLIC;
GRANT UPDATE (name) ON partner TO PUBLIC;
ALTER TABLE partner ALTER COLUMN name SET STATISTICS 200, ALTER COLUMN \"Straße\" SET STORAGE EXTERNAL;
CLUSTER partner USING partner_name_index;
";

/// What can be taken back of a file of statements.
async fn reversible(database: &Database, sql: &str) -> Result<Vec<String>> {
    let mut connection = database.connect().await?;
    let mut catalog = snapshot::read(&mut connection).await?;
    let path = catalog.search_path.clone();
    let mut statements = Vec::new();
    for raw in pg_query::parse(sql, 0)?.protobuf.stmts {
        let start = usize::try_from(raw.stmt_location)?;
        let end = match usize::try_from(raw.stmt_len)? {
            0 => sql.len(),
            length => start + length,
        };
        let text = sql[start..end].trim();
        let node = raw.stmt.context("a statement")?;
        let bound = ddl::bind(&node, text, &Directives::default(), &mut catalog, &path);
        match bound {
            Ok(_) => statements.push(text.to_owned()),
            Err(error) if error.message.contains("has no inverse") => {}
            Err(error) => return Err(error).context(text.to_owned()),
        }
    }
    Ok(statements)
}

fn pack(statements: &[String]) -> Result<TempDir> {
    one_module(&[("pre-ddl.sql", &(statements.join(";\n") + ";\n"))])
}

async fn there_and_back(sql: &str) -> Result<()> {
    // What differs from run to run cannot be compared.
    let sql = &sql
        .replace(
            "gen_random_uuid()",
            "'00000000-0000-0000-0000-000000000000'::uuid",
        )
        .replace("now() AS at", "'epoch'::timestamptz AS at");
    let database = Database::create()?;
    database.psql_as_superuser("CREATE EXTENSION btree_gist")?;
    database.psql(SETUP)?;
    database.psql(ROWS)?;
    let statements = reversible(&database, sql).await?;
    let pack = pack(&statements)?;
    let oracle = database.copy()?;
    for statement in &statements {
        oracle.psql(statement)?;
    }
    let before = Snapshot::take(&database).await?;
    let run = ["run", "--workers", "2"];
    Upshift::on(&database, run)
        .argument(pack.path())
        .succeed()?;
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "the way back")?;
    Upshift::on(&database, run)
        .argument(pack.path())
        .argument("--commit")
        .succeed()?;
    compare::expect_same(&oracle, &database, "psql and the committed run").await
}

#[tokio::test]
async fn tables_columns_and_constraints() -> Result<()> {
    there_and_back(include_str!("catalog_evolution/tables.sql")).await
}

#[tokio::test]
async fn names_that_postgresql_makes_up() -> Result<()> {
    there_and_back(include_str!("catalog_evolution/names.sql")).await
}

#[tokio::test]
async fn drops_renames_and_moves() -> Result<()> {
    there_and_back(include_str!("catalog_evolution/drops.sql")).await
}

#[tokio::test]
async fn views_types_functions_and_triggers() -> Result<()> {
    there_and_back(include_str!("catalog_evolution/objects.sql")).await
}

#[tokio::test]
async fn partitions_and_inheritance() -> Result<()> {
    there_and_back(include_str!("catalog_evolution/partitions.sql")).await
}
