//! `upshift cluster watch`: the events of runs as they happen. A coordinator that is lost is looked for
//! again.

use std::{path::Path, time::Duration};

use clap::Args;
use tokio::time::sleep;
use upshift_proto::v1::{RunStatus, StatusRequest, WatchRequest};
use upshift_shared::ids::RunId;

use super::{
    super::{Failure, database::print_line},
    OperatorArguments,
    client::{Client, soon},
};

/// Between two looks at how a run stands.
const LOOK: Duration = Duration::from_secs(1);

/// `upshift cluster watch [RUN]`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    /// The run's id [default: all runs, until Ctrl-C]
    #[arg(value_name = "RUN")]
    run: Option<RunId>,
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    match arguments.run {
        Some(run) => until_end(&client, run, arguments.operator.json).await,
        None => loop {
            follow(&client, None).await?;
        },
    }
}

/// Shows what happens to a run until nothing is to be done with it any more; fails where it has failed.
pub(super) async fn until_end(client: &Client, run: RunId, json: bool) -> Result<(), Failure> {
    let ended = async {
        loop {
            let status = standing(client, run).await?;
            if status.doing.is_empty() {
                return Ok::<_, Failure>(status);
            }
            sleep(LOOK).await;
        }
    };
    let following = async {
        loop {
            if let Err(failure) = follow(client, Some(run)).await {
                return failure;
            }
        }
    };
    let status = tokio::select! {
        status = ended => status?,
        failure = following => return Err(failure),
    };
    let text = format!("run {run} is {}", status.state);
    if !status.message.is_empty() {
        return Err(Failure::failed(format!("{text}: {}", status.message)));
    }
    if !json {
        print_line(&text);
    }
    Ok(())
}

async fn standing(client: &Client, run: RunId) -> Result<RunStatus, Failure> {
    let request = StatusRequest {
        run: run.to_string(),
    };
    let status = client
        .ask(async |mut operator| soon(operator.status(request.clone())).await)
        .await?;
    let mut runs = status.runs;
    runs.pop()
        .ok_or_else(|| Failure::refused(format!("the cluster knows no run {run}")))
}

/// Prints events until the stream ends.
async fn follow(client: &Client, run: Option<RunId>) -> Result<(), Failure> {
    let request = WatchRequest {
        run: run.map_or_else(String::new, |run| run.to_string()),
    };
    let mut events = client
        .ask(async |mut operator| soon(operator.watch(request.clone())).await)
        .await?;
    loop {
        match events.message().await {
            Ok(Some(event)) => match run {
                Some(_) => print_line(&event.json),
                None => print_line(&format!("{} {}", event.run, event.json)),
            },
            Ok(None) => break,
            Err(status) => {
                tracing::info!(%status, "the stream of events ended");
                break;
            }
        }
    }
    sleep(LOOK).await;
    Ok(())
}
