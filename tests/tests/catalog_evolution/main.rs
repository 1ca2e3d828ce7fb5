//! The catalog that the compiler evolves without a database must be the one that PostgreSQL comes to by
//! the same statements: columns, types, constraints, and every name that PostgreSQL makes up.

mod describe;

use anyhow::{Context, Result, bail};
use upshift_coordinator::compile::{analyse::ddl, model::Binding};
use upshift_shared::{
    catalog::{Catalog, snapshot},
    pack::Directives,
};
use upshift_tests::harness::Database;

/// Every statement by itself, told apart by PostgreSQL's own parser.
fn statements(sql: &str) -> Result<Vec<(pg_query::protobuf::Node, &str)>> {
    let parsed = pg_query::parse(sql, 0)?;
    let statements = parsed.protobuf.stmts.into_iter().map(|raw| {
        let start = usize::try_from(raw.stmt_location)?;
        let length = usize::try_from(raw.stmt_len)?;
        let end = if length == 0 {
            sql.len()
        } else {
            start + length
        };
        let node = raw.stmt.context("a statement")?;
        Ok((*node, sql[start..end].trim()))
    });
    statements.collect()
}

/// Binds a statement as the compiler would; what it says where it refuses.
fn bind(catalog: &mut Catalog, node: &pg_query::protobuf::Node, sql: &str) -> Result<Binding> {
    // What has no inverse evolves the catalog all the same.
    let directives = Directives {
        irreversible: true,
        ..Directives::default()
    };
    let path = catalog.search_path.clone();
    ddl::bind(node, sql, &directives, catalog, &path).with_context(|| format!("binding {sql}"))
}

/// Runs statements on a database and binds them against its snapshot; after each, both must agree.
async fn expect_the_same(setup: &str, sql: &str) -> Result<()> {
    let database = Database::create()?;
    database.psql_as_superuser("CREATE EXTENSION IF NOT EXISTS btree_gist")?;
    database.psql(setup)?;
    let mut connection = database.connect().await?;
    let mut catalog = snapshot::read(&mut connection).await?;
    let mut failures = Vec::new();
    for (node, text) in statements(sql)? {
        bind(&mut catalog, &node, text)?;
        database.psql(text)?;
        let real = snapshot::read(&mut connection).await?;
        let differences = describe::differences(&describe::all(&catalog), &describe::all(&real));
        if !differences.is_empty() {
            failures.push(format!("{text}\n{}", differences.join("\n")));
            // What follows is judged by itself.
            catalog = real;
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} statements evolve the catalog otherwise than PostgreSQL:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    )
}

#[tokio::test]
async fn tables_columns_and_constraints() -> Result<()> {
    expect_the_same(include_str!("setup.sql"), include_str!("tables.sql")).await
}

#[tokio::test]
async fn names_that_postgresql_makes_up() -> Result<()> {
    expect_the_same(include_str!("setup.sql"), include_str!("names.sql")).await
}

#[tokio::test]
async fn drops_renames_and_moves() -> Result<()> {
    expect_the_same(include_str!("setup.sql"), include_str!("drops.sql")).await
}

#[tokio::test]
async fn views_types_functions_and_triggers() -> Result<()> {
    expect_the_same(include_str!("setup.sql"), include_str!("objects.sql")).await
}

#[tokio::test]
async fn partitions_and_inheritance() -> Result<()> {
    expect_the_same(include_str!("setup.sql"), include_str!("partitions.sql")).await
}
