//! `upshift cluster fleets`

use std::path::Path;

use clap::Args;
use upshift_proto::v1::{FleetSummary, ListFleetsRequest};

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
        fleet::in_words,
    },
    OperatorArguments,
    client::{Client, soon},
};

/// `upshift cluster fleets`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    pub(super) operator: OperatorArguments,
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let client = Client::new(&arguments.operator, config)?;
    let list = async |mut operator: super::client::Operator| {
        soon(operator.list_fleets(ListFleetsRequest {})).await
    };
    let fleets = client.ask(list).await?.fleets;
    if arguments.operator.json {
        let shown: Vec<_> = fleets.iter().map(shown).collect();
        return print_json(&shown);
    }
    fleets.iter().for_each(|fleet| print_line(&line(fleet)));
    Ok(())
}

fn shown(fleet: &FleetSummary) -> serde_json::Value {
    serde_json::json!({
        "fleet": fleet.fleet,
        "under_way": fleet.under_way,
        "standing": fleet.standing,
        "states": fleet.states,
        "failed": fleet.failed,
        "message": fleet.message,
        "by": fleet.by,
        "at": fleet.at,
    })
}

fn line(fleet: &FleetSummary) -> String {
    let states = fleet
        .states
        .iter()
        .map(|(state, count)| (state.clone(), *count));
    let mut text = format!("fleet {}: {}", fleet.fleet, fleet.standing);
    let states = in_words(&states.collect());
    if !states.is_empty() {
        text.push_str(&format!("; {states}"));
    }
    if !fleet.message.is_empty() {
        text.push_str(&format!("\n  {}", fleet.message.replace('\n', "\n  ")));
    }
    text
}
