//! `upshift cluster submit`: the pack travels to the coordinator, is compiled there and stored with the run.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::time::timeout;
use tokio_stream::iter;
use tonic::Status;
use upshift_proto::v1::{SubmitOrder, SubmitPart, submit_part::Part};
use upshift_shared::{
    config::Environment,
    ids::RunId,
    telemetry::trace::{Key, Parent, Span, Stage},
};

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    OperatorArguments,
    client::Client,
    files, watch,
};

/// How long a coordinator may take for a pack: it lets one travel for 15 minutes, and compiles it then.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// `upshift cluster submit PACK --database NAME`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    /// The pack's folder: the one that holds pack.toml
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    /// The database, by the name that the coordinator's and the workers' configurations have for it
    #[arg(long, short, value_name = "NAME")]
    database: String,
    /// Show what happens until the run has come to its end
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
    /// Options of `upshift run`, such as --passes shadow --verify full --commit
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    // What is wrong with the pack is said before anything travels.
    upshift_shared::pack::load(&arguments.pack)?;
    let run = RunId::generate();
    let mut span = Span::begin(
        Stage::Submit,
        &Parent::of_environment(&Environment::capture()),
    );
    span.text(Key::Run, &run.to_string());
    let client = Client::new(&arguments.operator, config)?.within(span.context());
    let order = SubmitOrder {
        run: run.to_string(),
        database: arguments.database.clone(),
        options: arguments.options.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut parts = vec![part(Part::Order(order))];
    for (path, content) in files::collect(&arguments.pack)? {
        let pieces = files::pieces(&path, &content).into_iter();
        parts.extend(pieces.map(|piece| part(Part::File(piece))));
    }
    // The same order again is one order: its run has its number.
    let answer = client
        .ask(async |mut operator| {
            let answer = timeout(DEADLINE, operator.submit(iter(parts.clone()))).await;
            let late = |_| Status::unavailable("the coordinator does not answer");
            Ok(answer.map_err(late)??.into_inner())
        })
        .await;
    match &answer {
        Ok(_) => {
            // Not before: it might have been a connection string.
            span.text(Key::Database, &arguments.database);
            span.end("accepted", false);
        }
        Err(_) => span.end("refused", true),
    }
    let answer = answer?;
    if arguments.operator.json {
        print_json(&serde_json::json!({"run": answer.run, "summary": answer.summary}))?;
    } else {
        print_line(&answer.summary);
        if !answer.run.is_empty() {
            print_line(&format!(
                "run {run} is under way; how it goes: upshift cluster watch {run}"
            ));
        }
    }
    if arguments.watch && !answer.run.is_empty() {
        return watch::until_end(&client, run, arguments.operator.json).await;
    }
    Ok(())
}

fn part(part: Part) -> SubmitPart {
    SubmitPart { part: Some(part) }
}
