//! `upshift cluster pause`, `resume`, `rollback` and `commit`.

use std::path::Path;

use clap::Args;
use tonic::Status;
use upshift_proto::v1::{
    Accepted, CommitRequest, PauseRequest, ResumeRequest, RollbackRequest,
    operator_client::OperatorClient,
};
use upshift_shared::ids::RunId;
use upshift_worker::link::Line;

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    OperatorArguments,
    client::{Client, soon},
};

/// Which run.
#[derive(Debug, Args)]
pub(in crate::command) struct RunArguments {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: RunId,
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

/// `upshift cluster pause RUN`
#[derive(Debug, Args)]
pub(in crate::command) struct PauseArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    /// Why, for whoever asks how it stands
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// `upshift cluster rollback RUN`
#[derive(Debug, Args)]
pub(in crate::command) struct RollbackArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    /// Go back to this checkpoint [default: to the start]
    #[arg(long, value_name = "CHECKPOINT")]
    to: Option<String>,
    /// As `upshift rollback --force`
    #[arg(long)]
    force: bool,
}

pub(super) async fn pause(arguments: PauseArguments, config: Option<&Path>) -> Result<(), Failure> {
    let request = PauseRequest {
        run: arguments.run.run.to_string(),
        reason: arguments.reason.unwrap_or_default(),
    };
    let pause =
        async |mut operator: OperatorClient<Line>| soon(operator.pause(request.clone())).await;
    wish(&arguments.run, config, pause).await
}

pub(super) async fn resume(arguments: RunArguments, config: Option<&Path>) -> Result<(), Failure> {
    let run = arguments.run.to_string();
    let resume = async |mut operator: OperatorClient<Line>| {
        soon(operator.resume(ResumeRequest { run: run.clone() })).await
    };
    wish(&arguments, config, resume).await
}

pub(super) async fn rollback(
    arguments: RollbackArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let request = RollbackRequest {
        run: arguments.run.run.to_string(),
        to: arguments.to.unwrap_or_default(),
        force: arguments.force,
    };
    let rollback =
        async |mut operator: OperatorClient<Line>| soon(operator.rollback(request.clone())).await;
    wish(&arguments.run, config, rollback).await
}

pub(super) async fn commit(arguments: RunArguments, config: Option<&Path>) -> Result<(), Failure> {
    let run = arguments.run.to_string();
    let commit = async |mut operator: OperatorClient<Line>| {
        soon(operator.commit(CommitRequest { run: run.clone() })).await
    };
    wish(&arguments, config, commit).await
}

async fn wish(
    arguments: &RunArguments,
    config: Option<&Path>,
    wish: impl AsyncFn(OperatorClient<Line>) -> Result<Accepted, Status>,
) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    let accepted = client.ask(wish).await?;
    print_accepted(&accepted, arguments.operator.json)
}

pub(super) fn print_accepted(accepted: &Accepted, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&serde_json::json!({"message": accepted.message}));
    }
    print_line(&accepted.message);
    Ok(())
}
