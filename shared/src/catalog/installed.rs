//! Which modules are installed, and in which versions: asked from what `pack.toml` names, from Odoo's
//! own tables, and from the ledger.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, postgres::PgRow};

use super::{
    Catalog,
    snapshot::{fetch, get},
};
use crate::{
    Error, Result,
    pack::{InstalledSource, Version},
    pg,
};

/// The installed modules and their versions: what `pack.toml` names (`source`), else Odoo's
/// `ir_module_module`; over it the ledger, which wins where it is newer.
///
/// # Errors
/// When neither exists (the message says what to put into `pack.toml`), the query does not fit, or a
/// version is not one.
pub async fn installed(
    conn: &mut PgConnection,
    catalog: &Catalog,
    source: Option<&InstalledSource>,
) -> Result<BTreeMap<String, Version>> {
    let ledger = from_ledger(conn).await?;
    let mut modules = match source {
        Some(source) => from_source(conn, source).await?,
        None if has_odoo_modules(catalog) => {
            let rows = fetch(
                conn,
                include_str!("sql/odoo_modules.sql"),
                "ir_module_module",
            )
            .await?;
            versions(&rows, "ir_module_module")?
        }
        None if ledger.is_empty() => return Err(nowhere(catalog)),
        None => BTreeMap::new(),
    };
    for (name, version) in ledger {
        match modules.get(&name) {
            Some(base) if *base >= version => {}
            _ => {
                modules.insert(name, version);
            }
        }
    }
    Ok(modules)
}

/// Which modules depend on which, as Odoo's `ir_module_module_dependency` has it; empty where there
/// is no such table.
///
/// # Errors
/// When the database cannot be asked.
pub async fn module_dependencies(
    conn: &mut PgConnection,
    catalog: &Catalog,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut dependencies = BTreeMap::<String, BTreeSet<String>>::new();
    let path = &catalog.search_path;
    if !has_odoo_modules(catalog)
        || catalog
            .find(None, "ir_module_module_dependency", path)
            .is_none()
    {
        return Ok(dependencies);
    }
    let sql = include_str!("sql/dependencies.sql");
    for row in fetch(conn, sql, "ir_module_module_dependency").await? {
        dependencies
            .entry(get(&row, "module")?)
            .or_default()
            .insert(get(&row, "depends")?);
    }
    Ok(dependencies)
}

fn has_odoo_modules(catalog: &Catalog) -> bool {
    let table = catalog.find(None, "ir_module_module", &catalog.search_path);
    table.is_some_and(|t| {
        ["id", "name", "state", "latest_version"]
            .iter()
            .all(|column| t.column(column).is_some())
    })
}

fn nowhere(catalog: &Catalog) -> Error {
    Error::Config(format!(
        "database {:?} does not say which modules are installed: it has neither Odoo's \
         ir_module_module nor a committed run of upshift. Name a table with columns name and version \
         in pack.toml (installed.table = \"my_modules\"), or a query that returns both \
         (installed.query = \"SELECT name, version FROM …\")",
        catalog.database
    ))
}

async fn from_ledger(conn: &mut PgConnection) -> Result<BTreeMap<String, Version>> {
    let sql = "-- upshift: is there a ledger\n\
               SELECT to_regclass('upshift.module') IS NOT NULL AS there";
    let there = match fetch(conn, sql, "the ledger").await?.first() {
        Some(row) => get(row, "there")?,
        None => false,
    };
    if !there {
        return Ok(BTreeMap::new());
    }
    let rows = fetch(
        conn,
        include_str!("sql/ledger_modules.sql"),
        "upshift.module",
    )
    .await?;
    versions(&rows, "upshift.module")
}

async fn from_source(
    conn: &mut PgConnection,
    source: &InstalledSource,
) -> Result<BTreeMap<String, Version>> {
    let (query, what) = match source {
        InstalledSource::Table(table) => {
            let sql = "-- upshift: find the table of installed modules\n\
                       SELECT pg_catalog.format('SELECT name::text, version::text FROM %I.%I', \
                              n.nspname, c.relname) AS query \
                       FROM pg_catalog.pg_class AS c \
                       JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                       WHERE c.oid = pg_catalog.to_regclass($1)";
            let row = sqlx::query(sql)
                .bind(table)
                .persistent(false)
                .fetch_optional(&mut *conn)
                .await
                .map_err(Error::database(format!("looking for table {table}")))?;
            let Some(row) = row else {
                return Err(Error::Config(format!(
                    "installed.table in pack.toml names {table}, which this database does not have"
                )));
            };
            (get::<String>(&row, "query")?, format!("table {table}"))
        }
        InstalledSource::Query(query) => {
            let query = query.trim().trim_end_matches(';');
            // The line break ends a comment that the query may close with.
            let sql = format!(
                "SELECT name::text, version::text FROM (\n{query}\n) AS installed(name, version)"
            );
            (sql, "installed.query of pack.toml".to_owned())
        }
    };
    let rows = sqlx::query(pg::sql(format!(
        "-- upshift: read installed modules\n{query}"
    )))
    .persistent(false)
    .fetch_all(conn)
    .await
    .map_err(Error::database(format!(
        "reading installed modules from {what}"
    )))?;
    versions(&rows, &what)
}

fn versions(rows: &[PgRow], what: &str) -> Result<BTreeMap<String, Version>> {
    let mut modules = BTreeMap::<String, Version>::new();
    for row in rows {
        let Some(name) = get::<Option<String>>(row, "name")? else {
            return Err(Error::Config(format!("{what} has a module without a name")));
        };
        let Some(text) = get::<Option<String>>(row, "version")? else {
            return Err(Error::Config(format!(
                "{what} has no version for module {name}: give it the version that is installed, or \
                 leave the module out"
            )));
        };
        let version = text
            .trim()
            .parse()
            .map_err(|message| Error::Config(format!("{what}, module {name}: {message}")))?;
        if modules.insert(name.clone(), version).is_some() {
            return Err(Error::Config(format!("{what} lists module {name} twice")));
        }
    }
    Ok(modules)
}
