//! The demonstration itself: plan, run, rollback, run, commit, and the naive run to compare with. Every
//! step is the command that a user would type, run as a process of its own.

use std::{ffi::OsStr, path::Path, process::Command, str::FromStr};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tempfile::TempDir;
use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    digest::{self, Digest},
    pg::{self, PgConnection, ident::ident},
};

use super::{
    cluster::{Cluster, ClusterOptions},
    database, pack, schema,
};
use crate::figures;

/// The role that owns the demo's databases: an ordinary one, as Upshift needs no more.
const OWNER: &str = "erp_owner";

/// The database that is upgraded, and its copy for the naive run.
const DATABASE: &str = "erp";
const NAIVE_DATABASE: &str = "erp_one_after_another";

/// What to show.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Rows of the largest table.
    pub rows: u32,
    /// Workers of the parallel run.
    pub workers: u32,
    /// Whether the server stays until Ctrl-C, to look around in.
    pub keep: bool,
}

/// A database as the demo compares it.
#[derive(Debug, PartialEq, Eq)]
struct State {
    content: Digest,
    schema: String,
}

/// How long things took, in seconds.
#[derive(Debug, Default)]
struct Times {
    run: f64,
    rollback: f64,
    commit: f64,
    naive: f64,
}

/// Runs the demonstration.
///
/// # Errors
/// Where there is no PostgreSQL server to start, a step fails, or a database is not what it has to be.
pub async fn show(options: &DemoOptions) -> Result<()> {
    let stage = Stage::set(options).await?;
    stage.upshift("plan", &[stage.pack.path()], &[])?;

    let before = stage.state(DATABASE).await?;
    let workers = options.workers.to_string();
    let mut times = Times {
        run: stage.upshift("run", &[stage.pack.path()], &["--workers", &workers])?,
        ..Times::default()
    };
    times.rollback = stage.upshift("rollback", &[], &[])?;
    let back = stage.state(DATABASE).await?;
    expect_same(
        &before,
        &back,
        "the database after the rollback is not what it was",
    )?;
    let rows: i64 = back.content.tables.values().map(|table| table.rows).sum();
    say(&format!(
        "rolled back: {} of {} tables, {} sequences and the schema are what they were",
        figures::counted(u64::try_from(rows).unwrap_or_default(), "row"),
        back.content.tables.len(),
        back.content.sequences.len()
    ));

    stage.upshift("run", &[stage.pack.path()], &["--workers", &workers])?;
    times.commit = stage.upshift("commit", &[], &[])?;

    say("the same pack on a copy of the database, one statement after another");
    let naive = [
        "--strategy",
        "sequential",
        "--commit",
        "--yes",
        "--database",
        &stage.url(NAIVE_DATABASE),
    ];
    times.naive = stage.upshift("run", &[stage.pack.path()], &naive)?;
    let (compiled, naive) = (
        stage.state(DATABASE).await?,
        stage.state(NAIVE_DATABASE).await?,
    );
    expect_same(
        &naive,
        &compiled,
        "the compiled run and the naive one differ",
    )?;
    say("both databases are the same: data, sequences, schema, privileges");
    summary(&times, options.workers);
    if options.keep {
        stage.keep().await?;
    }
    Ok(())
}

/// A cluster with the databases of the demo, and the pack in a folder.
struct Stage {
    cluster: Cluster,
    pack: TempDir,
}

impl Stage {
    async fn set(options: &DemoOptions) -> Result<Self> {
        let cluster = Cluster::start(&ClusterOptions::default())?;
        say(&format!(
            "a throwaway PostgreSQL server in {}, port {}",
            cluster.socket_directory().display(),
            cluster.port()
        ));
        let mut admin = connect(&cluster.url("postgres")).await?;
        let role = format!("CREATE ROLE {} LOGIN", ident(OWNER));
        execute(&mut admin, role, "creating the demo's role").await?;
        create_database(&mut admin, DATABASE, "template0").await?;
        let mut owner = connect(&cluster.url_of(OWNER, DATABASE)).await?;
        let watch = Stopwatch::start();
        database::generate(&mut owner, options.rows, |module| {
            eprintln!("generating module {module}");
        })
        .await?;
        drop(owner);
        create_database(&mut admin, NAIVE_DATABASE, DATABASE).await?;
        say(&format!(
            "a generated ERP database in {}",
            figures::seconds(watch.elapsed().as_secs_f64())
        ));
        let pack = TempDir::new().map_err(|source| Error::Io {
            context: "making a folder for the pack".to_owned(),
            source,
        })?;
        pack::write(pack.path())?;
        Ok(Self { cluster, pack })
    }

    fn url(&self, database: &str) -> String {
        self.cluster.url_of(OWNER, database)
    }

    /// Runs `upshift VERB PATHS OPTIONS`, on the demo's database unless the options name another, and
    /// gives the seconds that it took.
    fn upshift(&self, verb: &str, paths: &[&Path], options: &[&str]) -> Result<f64> {
        let program = std::env::current_exe().map_err(|source| Error::Io {
            context: "finding the path of upshift itself".to_owned(),
            source,
        })?;
        let mut arguments: Vec<&OsStr> = vec![verb.as_ref()];
        arguments.extend(paths.iter().map(|path| path.as_os_str()));
        arguments.extend(options.iter().map(OsStr::new));
        let url = self.url(DATABASE);
        if !options.contains(&"--database") {
            arguments.extend(["--database".as_ref(), OsStr::new(&url)]);
        }
        let shown: Vec<_> = arguments
            .iter()
            .map(|a| quoted(&a.to_string_lossy()))
            .collect();
        say(&format!("$ upshift {}", shown.join(" ")));
        let watch = Stopwatch::start();
        let status = Command::new(program)
            .args(&arguments)
            .status()
            .map_err(|source| Error::Io {
                context: format!("starting upshift {verb}"),
                source,
            })?;
        if !status.success() {
            return Err(Error::Io {
                context: format!("upshift {verb}"),
                source: std::io::Error::other(status.to_string()),
            });
        }
        Ok(watch.elapsed().as_secs_f64())
    }

    async fn state(&self, database: &str) -> Result<State> {
        let url = self.url(database);
        let mut connection = connect(&url).await?;
        Ok(State {
            content: digest::digest(&mut connection).await?,
            schema: schema::dump(self.cluster.binaries(), &url)?,
        })
    }

    async fn keep(&self) -> Result<()> {
        say(&format!(
            "the server stays until you press Ctrl-C:\n  psql '{}'\n  psql '{}'",
            self.url(DATABASE),
            self.url(NAIVE_DATABASE)
        ));
        tokio::signal::ctrl_c().await.map_err(|source| Error::Io {
            context: "waiting for Ctrl-C".to_owned(),
            source,
        })
    }
}

/// As one would write it in a shell.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

fn say(what: &str) {
    println!("\n== {what}");
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)
        .map_err(Error::database("reading the throwaway server's URL"))?;
    options
        .connect()
        .await
        .map_err(Error::database("connecting to the throwaway server"))
}

async fn create_database(admin: &mut PgConnection, name: &str, template: &str) -> Result<()> {
    let sql = format!(
        "CREATE DATABASE {} TEMPLATE {} OWNER {}",
        ident(name),
        ident(template),
        ident(OWNER)
    );
    execute(admin, sql, &format!("creating database {name}")).await
}

async fn execute(connection: &mut PgConnection, sql: String, context: &str) -> Result<()> {
    pg::execute_raw(connection, sql)
        .await
        .map_err(Error::database(context))?;
    Ok(())
}

fn expect_same(expected: &State, found: &State, what: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let differing: Vec<&str> = expected
        .content
        .tables
        .iter()
        .filter(|(name, table)| found.content.tables.get(*name) != Some(table))
        .map(|(name, _)| name.as_str())
        .collect();
    let part = if differing.is_empty() {
        "the schema or a sequence".to_owned()
    } else {
        format!("tables {}", differing.join(", "))
    };
    Err(Error::Refused(format!(
        "{what}: {part}; this is a defect of Upshift, please report it"
    )))
}

fn summary(times: &Times, workers: u32) {
    let line = |what: &str, seconds: f64, remark: String| {
        println!("  {what:<34} {:>10}   {remark}", figures::seconds(seconds));
    };
    say("what was gained");
    line(
        "one statement after another",
        times.naive,
        "no way back".to_owned(),
    );
    line(
        &format!("upshift run, {workers} workers"),
        times.run,
        format!(
            "{:.1} times as fast, every row of it can be taken back",
            times.naive / times.run
        ),
    );
    line(
        "upshift rollback, all of it",
        times.rollback,
        "proven identical".to_owned(),
    );
    line(
        "upshift commit",
        times.commit,
        "the way back is closed".to_owned(),
    );
}
