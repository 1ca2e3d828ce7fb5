//! How long planning takes: thousands of modules with many statements each, read from disk, against the
//! catalog of a live database.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use upshift_coordinator::{
    compile::{self, analyse, optimise, order, physical, resolve},
    demo::cluster::{Cluster, ClusterOptions},
};
use upshift_shared::{
    catalog,
    clock::Stopwatch,
    pack::{self, Version},
    pg,
    plan::Strategy,
};

/// Tables that the modules share, as the modules of an ERP do.
const TABLES: u32 = 1000;

/// Columns of each.
const COLUMNS: u32 = 20;

/// Prints the seconds of each stage.
///
/// # Errors
/// Where the throwaway server does not start, or the generated pack does not compile.
pub async fn run(modules: u32, statements: u32) -> Result<()> {
    let each = (statements / modules).max(1);
    let folder = tempfile::tempdir()?;
    write_pack(folder.path(), modules, each)?;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut connection = connect(&cluster).await?;
    for some in (0..TABLES).collect::<Vec<u32>>().chunks(100) {
        let sql: Vec<String> = some.iter().map(|table| create_table(*table)).collect();
        pg::execute_raw(&mut connection, sql.join(";\n")).await?;
    }
    println!(
        "{modules} modules, {} statements, {TABLES} tables",
        modules * each
    );
    let mut total = 0.0;
    let mut took = |stage: &str, watch: Stopwatch| {
        let seconds = watch.elapsed().as_secs_f64();
        total += seconds;
        println!("{stage:<28} {seconds:>8.2} s");
    };
    let watch = Stopwatch::start();
    let pack = pack::load(folder.path())?;
    took("load", watch);
    let watch = Stopwatch::start();
    let catalog = catalog::snapshot::read(&mut connection).await?;
    took("catalog of the database", watch);
    let installed: BTreeMap<String, Version> = pack
        .modules
        .keys()
        .map(|name| Ok((name.clone(), "1.0".parse()?)))
        .collect::<Result<_, String>>()
        .map_err(anyhow::Error::msg)?;
    let heading = compile::heading(&pack, &catalog);
    let watch = Stopwatch::start();
    let options = compile::Options::from(Strategy::Dataflow);
    let resolved = resolve::resolve(&pack, &installed)?;
    took("resolve", watch);
    let watch = Stopwatch::start();
    let analysis = analyse::analyse(&resolved, catalog, &options)?;
    took("analyse", watch);
    let watch = Stopwatch::start();
    let ordered = order::order(&analysis, &resolved, Strategy::Dataflow);
    took("order", watch);
    let watch = Stopwatch::start();
    let optimised = optimise::optimise(&analysis, &ordered, &options);
    took("optimise", watch);
    let watch = Stopwatch::start();
    let plan = physical::plan(heading, &resolved, analysis, &optimised, Strategy::Dataflow)?;
    took("physical plan", watch);
    println!("{:<28} {total:>8.2} s", "in all");
    println!("{} tasks, {} edges", plan.tasks.len(), plan.edges.len());
    Ok(())
}

async fn connect(cluster: &Cluster) -> Result<pg::PgConnection> {
    use sqlx::Connection;
    Ok(pg::PgConnection::connect(&cluster.url("postgres")).await?)
}

fn create_table(table: u32) -> String {
    let columns: Vec<String> = (0..COLUMNS)
        .map(|column| {
            let kind = ["integer", "text", "numeric", "boolean"][column as usize % 4];
            format!("c{column} {kind}")
        })
        .collect();
    format!(
        "CREATE TABLE t{table} (id serial PRIMARY KEY, parent_id integer, {})",
        columns.join(", ")
    )
}

fn write_pack(folder: &Path, modules: u32, statements: u32) -> Result<()> {
    fs::write(folder.join("pack.toml"), "name = \"large\"\n")?;
    for module in 0..modules {
        let name = format!("m{module:05}");
        let scripts = folder.join(&name).join("migrations/2.0");
        fs::create_dir_all(&scripts).context("making the pack")?;
        // A tree about seven deep, as those of real applications are.
        let depends = if module == 0 {
            String::new()
        } else {
            format!("\"m{:05}\"", module / 4)
        };
        fs::write(
            folder.join(&name).join("module.toml"),
            format!("version = \"2.0\"\ndepends = [{depends}]\n"),
        )?;
        let half = statements / 2;
        fs::write(scripts.join("pre-work.sql"), script(module, 0, half))?;
        fs::write(
            scripts.join("post-work.sql"),
            script(module, half, statements),
        )?;
    }
    Ok(())
}

/// Statements as people write them, on one of the tables, with columns of the module's own.
fn script(module: u32, from: u32, to: u32) -> String {
    let table = module % TABLES;
    let other = (module * 7 + 1) % TABLES;
    let mut text = String::new();
    for number in from..to {
        let column = format!("m{module}_{}", number - number % 5);
        let statement = match number % 5 {
            0 => format!("ALTER TABLE t{table} ADD COLUMN {column} integer"),
            1 => format!("UPDATE t{table} SET {column} = coalesce(c0, 0) + 1 WHERE c3 IS NOT TRUE"),
            2 => format!(
                "UPDATE t{table} AS a SET {column} = b.c0 FROM t{other} AS b WHERE b.id = a.parent_id"
            ),
            3 => format!("CREATE INDEX {column}_idx ON t{table} ({column})"),
            _ => format!(
                "DELETE FROM t{table} WHERE c{} IS NULL AND {column} > 100",
                number % COLUMNS
            ),
        };
        let _ = writeln!(text, "-- step {number} of this module\n{statement};\n");
    }
    text
}
