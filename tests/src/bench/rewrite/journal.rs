//! The database and the pack of the cases that need no application: the journal of an ERP.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::harness::Database;

const TABLES: &str = include_str!("journal/tables.sql");
const LINKED: &str = include_str!("journal/linked.sql");
const THREE_UPDATES: &str = include_str!("journal/three_updates.sql");
const ONE_UPDATE: &str = include_str!("journal/one_update.sql");

/// What the database is to be like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Lines of the journal.
    pub(super) rows: u32,
    /// So many in a hundred of them have a long text.
    pub(super) wide: u32,
    /// So many tables have a foreign key to them.
    pub(super) linked: u32,
}

/// The names of the tables with a foreign key to the lines.
pub(super) fn linked_tables(count: u32) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("linked_{number:02}"))
}

/// Makes the database, with statistics and visibility map as one in use has them.
pub(super) fn create(size: Size) -> Result<Database> {
    let rows = size.rows.to_string();
    let database = Database::create()?;
    let tables = TABLES.replace("{rows}", &rows);
    database.psql(&tables.replace("{wide}", &size.wide.to_string()))?;
    for (number, table) in (1_u64..).zip(linked_tables(size.linked)) {
        // From very small to a thirtieth of the lines.
        let linked = 1 + u64::from(size.rows) * number * number / 12_000;
        let sql = LINKED
            .replace("{table}", &table)
            .replace("{rows}", &rows)
            .replace("{linked}", &linked.to_string());
        database.psql(&sql)?;
    }
    database.psql_as_superuser("VACUUM ANALYZE")?;
    Ok(database)
}

/// Writes the pack below this folder: one UPDATE of a tenth of the rows, or three of all; returns its own
/// folder.
pub(super) fn write_pack(folder: &Path, one: bool) -> Result<PathBuf> {
    let pack = folder.join("pack");
    let script = if one { ONE_UPDATE } else { THREE_UPDATES };
    for (path, text) in [
        (
            "pack.toml",
            "name = \"journal\"\n[installed]\ntable = \"installed_module\"\n",
        ),
        ("account/module.toml", "version = \"2.0\"\n"),
        ("account/migrations/2.0/pre-10-lines.sql", script),
    ] {
        let file = pack.join(path);
        std::fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        std::fs::write(file, text)?;
    }
    Ok(pack)
}
