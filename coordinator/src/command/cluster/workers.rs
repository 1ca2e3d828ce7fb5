//! `upshift cluster workers` and `drain`.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use serde::Serialize;
use upshift_proto::v1::{DrainRequest, WorkerStatus, WorkersRequest};

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    OperatorArguments,
    client::{Client, soon},
    wish::print_accepted,
};
use crate::figures;

/// `upshift cluster workers`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

/// `upshift cluster drain WORKER`
#[derive(Debug, Args)]
pub(in crate::command) struct DrainArguments {
    /// The worker's number, as `workers` shows it
    #[arg(value_name = "WORKER", value_parser = number)]
    worker: u32,
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

/// `w3`, or 3.
fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('w').unwrap_or(text);
    digits
        .parse()
        .map_err(|_| "expected the number of a worker, such as w3".to_owned())
}

#[derive(Serialize)]
struct Shown<'a> {
    worker: u32,
    name: &'a str,
    known_as: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    slots: u32,
    units_in_flight: u32,
    draining: bool,
    version: &'a str,
}

impl<'a> Shown<'a> {
    fn of(worker: &'a WorkerStatus) -> Self {
        let labels = worker.labels.iter();
        Self {
            worker: worker.worker,
            name: &worker.name,
            known_as: &worker.known_as,
            labels: labels.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            slots: worker.slots,
            units_in_flight: worker.units_in_flight,
            draining: worker.draining,
            version: &worker.version,
        }
    }

    fn line(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(k, v)| format!(" {k}={v}"))
            .collect();
        format!(
            "w{} {} ({}){}: {} of {} in use{}",
            self.worker,
            self.name,
            self.known_as,
            labels.concat(),
            figures::count(u64::from(self.units_in_flight)),
            figures::counted(u64::from(self.slots), "slot"),
            if self.draining { ", leaving" } else { "" }
        )
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    let answer = client
        .ask(async |mut operator| soon(operator.workers(WorkersRequest {})).await)
        .await?;
    let workers: Vec<Shown<'_>> = answer.workers.iter().map(Shown::of).collect();
    if arguments.operator.json {
        return print_json(&workers);
    }
    workers.iter().for_each(|worker| print_line(&worker.line()));
    Ok(())
}

pub(super) async fn drain(arguments: DrainArguments, config: Option<&Path>) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    let request = DrainRequest {
        worker: arguments.worker,
    };
    let accepted = client
        .ask(async |mut operator| soon(operator.drain(request)).await)
        .await?;
    print_accepted(&accepted, arguments.operator.json)
}
