//! `upshift doctor`: looks at server and database for what would get in a run's way.

use std::path::Path;

use clap::Args;

use super::{
    Failure,
    database::{DatabaseArguments, print_json, print_line},
};
use crate::doctor::{self, Level};

/// `upshift doctor`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("doctor").await?;
    let findings = doctor::examine(&mut conn).await;
    let problems = findings
        .iter()
        .filter(|f| f.level == Level::Problem)
        .count();
    if arguments.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            print_line(&finding.to_string());
        }
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::refused("doctor found a problem: a run would fail")),
        n => Err(Failure::refused(format!(
            "doctor found {n} problems: a run would fail"
        ))),
    }
}
