//! `--database`, and what every command does with it; and printing.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    config::{Config, Environment, ResolvedDatabase},
    pg::{self, PgConnection, Target},
};

use super::Failure;

/// Which database.
#[derive(Debug, Clone, Args)]
pub(super) struct DatabaseArguments {
    /// A libpq URL (postgresql://…), a string such as "host=… dbname=…", or the name of an entry of
    /// upshift.toml [default: what PGDATABASE and the like say]
    #[arg(long, short, value_name = "DATABASE")]
    pub(super) database: Option<String>,
    /// Where it is resolved already: one of many, for which the configuration is read once.
    #[arg(skip)]
    pub(super) chosen: Option<Box<Chosen>>,
}

/// A database and the configuration that it was found by.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) config: Arc<Config>,
    pub(super) name: String,
    pub(super) target: Target,
    /// ` --database …`, for commands that the user is told to say next; without a password.
    pub(super) hint: String,
}

impl DatabaseArguments {
    /// Reads the configuration and resolves the database; warnings go to standard error.
    pub(super) fn resolve(&self, config: Option<&Path>) -> Result<Chosen, Failure> {
        if let Some(chosen) = &self.chosen {
            return Ok((**chosen).clone());
        }
        let environment = Environment::capture();
        let config = Config::load(config, &environment).map_err(misconfigured)?;
        let ResolvedDatabase {
            name,
            connection,
            password_given,
            warnings,
        } = config
            .database(self.database.as_deref(), &environment)
            .map_err(misconfigured)?;
        let hint = match &self.database {
            None => String::new(),
            Some(_) if password_given => " --database …".to_owned(),
            Some(text) => format!(" --database {}", shell_quoted(text)),
        };
        for warning in warnings {
            eprintln!("upshift: warning: {warning}");
        }
        Ok(Chosen {
            config: Arc::new(config),
            name,
            target: connection.target(),
            hint,
        })
    }
}

/// Whatever is wrong with the configuration, a file that cannot be read included, is the user's to mend
/// before anything is touched.
fn misconfigured(error: upshift_shared::Error) -> Failure {
    Failure::usage(error.to_string())
}

impl Chosen {
    /// Opens a session.
    pub(super) async fn connect(&self, purpose: &str) -> Result<PgConnection, Failure> {
        let name = format!("upshift {purpose}");
        Ok(pg::connect(&self.target, &name).await?)
    }
}

/// As a shell takes it for one word.
pub(super) fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%=,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Prints a line to standard output. A reader that has gone away (`| head`) is no error of ours.
pub(super) fn print_line(line: &str) {
    let _gone = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a value as indented JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))?;
    print_line(&text);
    Ok(())
}
