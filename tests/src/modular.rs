//! A small application of many modules, and a pack that upgrades each of them by two short scripts: what most
//! of a hoster's databases look like, with little data and many files.

use std::fmt::Write as _;

use anyhow::Result;
use tempfile::TempDir;

use crate::harness::{Database, Server, pack};

/// Rows of each module's table.
const ROWS: u32 = 200;

fn table(module: u32) -> String {
    format!("m{module:03}_document")
}

/// A database of so many modules on this server, not yet upgraded.
///
/// # Errors
/// Where the server says no.
pub fn database_on(server: &'static Server, modules: u32) -> Result<Database> {
    let database = Database::create_on(server)?;
    let mut schema = String::from(
        "CREATE TABLE module (name text PRIMARY KEY, version text NOT NULL);
         CREATE TABLE price (id integer PRIMARY KEY, price numeric);
         INSERT INTO price SELECT i, i / 3.0 FROM generate_series(1, 50) AS i;\n",
    );
    for module in 0..modules {
        let table = table(module);
        writeln!(
            schema,
            "INSERT INTO module VALUES ('m{module:03}', '1.0');
             CREATE TABLE {table} (
                 id serial PRIMARY KEY, name varchar, quantity integer, price_id integer, total numeric);
             INSERT INTO {table} (name, quantity, price_id)
             SELECT 'document ' || i, i % 7, 1 + i % 50 FROM generate_series(1, {ROWS}) AS i;
             CREATE INDEX ON {table} (price_id);"
        )?;
    }
    database.psql(&schema)?;
    Ok(database)
}

/// The pack: every fourth module depends on none, the others on the one before them.
///
/// # Errors
/// Where the file system says no.
pub fn pack_of(modules: u32) -> Result<TempDir> {
    let mut files = vec![(
        "pack.toml".to_owned(),
        "name = \"modular\"\n[installed]\nquery = \"SELECT name, version FROM module\"\n"
            .to_owned(),
    )];
    for module in 0..modules {
        let (name, table) = (format!("m{module:03}"), table(module));
        let depends = match module % 4 {
            0 => String::new(),
            _ => format!("depends = [\"m{:03}\"]\n", module - 1),
        };
        files.push((
            format!("{name}/module.toml"),
            format!("name = \"{name}\"\nversion = \"2.0\"\n{depends}"),
        ));
        files.push((
            format!("{name}/migrations/2.0/pre-label.sql"),
            format!(
                "ALTER TABLE {table} ADD COLUMN label varchar;\n\
                 UPDATE {table} SET label = upper(name) WHERE name IS NOT NULL;\n"
            ),
        ));
        files.push((
            format!("{name}/migrations/2.0/post-total.sql"),
            format!(
                "UPDATE {table} AS d SET total = d.quantity * p.price FROM price AS p WHERE p.id = d.price_id;\n\
                 ALTER TABLE {table} ALTER COLUMN quantity SET NOT NULL;\n"
            ),
        ));
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    pack(&files)
}
