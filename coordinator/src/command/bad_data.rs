//! Rows that statements cannot work on, as `run`, `resume` and `status` deal with them: the options, what
//! they mean for the plan, and what is told at the end.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use upshift_shared::{
    config::{RunDefaults, parse_duration},
    ledger::{
        self, Holder,
        bad_row::{BadRow, BadRowState, Counts},
        options::{OnBadData, RunOptions},
    },
    pg::{self, PgConnection, Target},
    plan::Warning,
};

use super::{Failure, driving::After};
use crate::{
    compile::{Options, Passes},
    driver::Ended,
    figures,
    progress::Ending,
};

/// So many rows are shown with their values; the rest by `quarantine list --values`.
const SHOWN: usize = 100;

/// What becomes of bad data.
#[derive(Debug, Clone, Args)]
pub(super) struct BadDataArguments {
    /// What becomes of rows that a statement cannot work on [default: stop]
    #[arg(long, value_enum, value_name = "POLICY")]
    on_bad_data: Option<Policy>,
    /// So many rows are quarantined at most; then the run stops [default: 1000]
    #[arg(long, value_name = "N")]
    max_bad_rows: Option<u32>,
    /// How long the rows of one unit may be searched for bad ones; 0s for not at all [default: 2min]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    search_time: Option<Duration>,
    #[command(flatten)]
    show: ShowArguments,
}

/// `--on-bad-data`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// The run fails and names them
    Stop,
    /// They are left out and recorded, the rest goes on; tables are not built anew then
    Quarantine,
}

/// Whether values are shown.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ShowArguments {
    /// Show keys and values of rows that a statement cannot work on
    #[arg(long)]
    show_values: bool,
}

impl BadDataArguments {
    /// Whether rows' keys and values are asked for.
    pub(super) fn shows_values(&self) -> bool {
        self.show.show_values
    }

    /// As the run keeps them.
    pub(super) fn fill(&self, options: &mut RunOptions, defaults: &RunDefaults) {
        let policy = self.on_bad_data.map(|policy| match policy {
            Policy::Stop => OnBadData::Stop,
            Policy::Quarantine => OnBadData::Quarantine,
        });
        options.on_bad_data = policy.or(defaults.on_bad_data).unwrap_or_default();
        options.max_bad_rows = self.max_bad_rows;
        let millis = self.search_time.map(|time| time.as_millis());
        options.search_millis = millis.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX));
        options.show_values = self.show.show_values;
    }
}

impl ShowArguments {
    /// A run goes on forward: what is still bad is found again, and shown as is asked for now.
    pub(super) async fn go_on(
        &self,
        conn: &mut PgConnection,
        holder: Holder,
    ) -> upshift_shared::Result<()> {
        ledger::bad_row::forget_found(conn, holder).await?;
        let mut options = ledger::options::load(conn, holder.run).await?;
        if options.show_values != self.show_values {
            options.show_values = self.show_values;
            ledger::options::store(conn, holder.run, &options).await?;
        }
        Ok(())
    }
}

/// Under `quarantine` tables are changed in place: a row that a pass left out would be lost, and with it
/// what foreign keys point at.
pub(super) fn heed(
    ordered: &RunOptions,
    options: &mut Options,
) -> Result<Option<Warning>, Failure> {
    if ordered.on_bad_data == OnBadData::Stop || options.passes == Passes::InPlace {
        return Ok(None);
    }
    if options.passes == Passes::Shadow {
        return Err(Failure::usage(
            "--passes shadow and --on-bad-data quarantine exclude each other: a row that is left out of \
             a table built anew would be lost",
        ));
    }
    options.passes = Passes::InPlace;
    Ok(Some(Warning {
        source: None,
        message:
            "on bad data: quarantine; no table is built anew in a pass, because a row that it left \
                  out would be lost"
                .to_owned(),
    }))
}

/// One line about bad rows, if there are any.
pub(super) fn line(counts: Counts) -> Option<String> {
    let parts = [
        (counts.quarantined, "quarantined"),
        (counts.retried, "quarantined once, done since"),
        (counts.found, "that stopped the run"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", figures::counted(*count, "row")))
        .collect();
    (!parts.is_empty()).then(|| format!("bad data: {}", parts.join(", ")))
}

/// At the end of a run: how many rows are quarantined; and, where that was asked for, the keys and values
/// that a failure is about. Where the database cannot be asked, it is the run's end that matters.
pub(super) async fn tell(
    target: &Target,
    (options, after): (&RunOptions, &After),
    ended: &mut Ended,
) {
    let failed = ended.ending == Ending::Failed;
    let quarantines = options.on_bad_data == OnBadData::Quarantine;
    let shows = failed && options.show_values;
    if !(quarantines || shows) {
        return;
    }
    if let Err(error) = told(target, (options, after), ended).await {
        eprintln!("upshift: warning: bad rows cannot be listed: {error}");
    }
}

async fn told(
    target: &Target,
    (options, after): (&RunOptions, &After),
    ended: &mut Ended,
) -> upshift_shared::Result<()> {
    let mut conn = pg::connect(target, "upshift report").await?;
    let counts = ledger::bad_row::counts(&mut conn, after.run).await?;
    if counts.quarantined > 0 {
        let rows = figures::counted(counts.quarantined, "row");
        eprintln!(
            "upshift: {rows} quarantined; see {}",
            after.command("quarantine list")
        );
    }
    if ended.ending != Ending::Failed || !options.show_values || counts.found == 0 {
        return Ok(());
    }
    let rows = ledger::bad_row::load(&mut conn, after.run).await?;
    let found = rows.iter().filter(|row| row.state == BadRowState::Found);
    for row in found.take(SHOWN) {
        ended
            .message
            .push_str(&format!("\n  {}", with_values(&row.bad)));
    }
    Ok(())
}

/// A row with its key, the value at fault, and all that the server said.
pub(super) fn with_values(bad: &BadRow) -> String {
    let mut text = format!("{}: {}", bad.source, bad.table);
    if let Some(key) = bad.key.as_ref().and_then(Value::as_object) {
        let pairs: Vec<String> = key
            .iter()
            .map(|(column, value)| format!("{column} = {}", plain(value)))
            .collect();
        text.push_str(&format!(": {}", pairs.join(", ")));
    }
    if let Some(column) = &bad.column {
        text.push_str(&format!(": column {column}"));
        if let Some(value) = &bad.value {
            text.push_str(&format!(" would be {value}"));
        }
    }
    text.push_str(&format!(": {}", bad.message));
    if let Some(detail) = &bad.detail {
        text.push_str(&format!(": {detail}"));
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
