//! `upshift doctor`: looks at server and database for what would get in a run's way.

use std::path::Path;

use clap::Args;
use upshift_shared::ledger;

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
    /// First measure what work costs on this server, and keep it in the ledger: plans choose by it.
    /// Takes seconds, and writes about 100 MB that are rolled back
    #[arg(long)]
    measure: bool,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let chosen = arguments.database.resolve(config)?;
    let mut conn = chosen.connect("doctor").await?;
    if arguments.measure {
        let rates = doctor::measure(&mut conn).await?;
        ledger::create(&mut conn).await?;
        ledger::rates::store(&mut conn, &rates).await?;
    }
    let settings = &chosen.config.snapshot;
    let findings = doctor::examine(&mut conn, &chosen.target, settings).await;
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
