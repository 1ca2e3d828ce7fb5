//! One run's orders, done one after another by the same code that commands are made of.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use tokio::sync::Semaphore;
use upshift_shared::{
    config::{Config, Environment},
    ids::RunId,
    ledger::{self, run::RunState},
};

use super::{
    super::{
        Failure, commit,
        driving::DrivingArguments,
        host::{ClusterHost, Host},
        resume, rollback, run,
    },
    leader::Leading,
};
use crate::coordination::{RunEntry, RunOrder};

/// Between attempts while a database is away; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Arguments from words, as a shell would hand them over.
fn parsed<A: Args>(words: &[String]) -> Result<A, Failure> {
    let command = clap::Command::new("order")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true);
    let matches = A::augment_args(command).try_get_matches_from(words);
    let parsed = matches.and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| Failure::usage(error.render().to_string().trim_end().to_owned()))
}

/// The arguments of `upshift run` that an operator's options are, for a pack in that folder.
pub(super) fn run_arguments(
    options: &[String],
    pack: &std::path::Path,
    (database, host): (&str, Host),
) -> Result<run::Arguments, Failure> {
    let mut words = options.to_vec();
    words.push("--".to_owned());
    words.push(pack.display().to_string());
    parsed::<run::Arguments>(&words)?.of_operator(database, host)
}

/// What conducting a run takes.
pub(super) struct Conducting {
    pub(super) leading: Arc<Leading>,
    pub(super) config: Option<PathBuf>,
    pub(super) host: ClusterHost,
    pub(super) run: RunId,
    /// Runs at once, of all and of its server.
    pub(super) turns: Vec<Arc<Semaphore>>,
}

impl Conducting {
    /// Does what is ordered until nothing is.
    pub(super) async fn conduct(mut self) {
        let mut turns = Vec::new();
        for turn in &self.turns {
            // They are never closed.
            turns.extend(turn.acquire().await);
        }
        let mut pause = FIRST_PAUSE;
        while let Some((entry, order)) = self.ordered() {
            let done = Box::pin(self.carry_out(&entry, &order)).await;
            if self.leading.is_leaving() {
                return;
            }
            let next = match done {
                Err(failure) if failure.is_passing() => {
                    self.leading.index.remark(self.run, failure.message());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Ok(next) => self.ended(entry, &order, next, String::new()).await,
                Err(failure) => {
                    let message = failure.message().to_owned();
                    self.ended(entry, &order, None, message).await
                }
            };
            pause = FIRST_PAUSE;
            self.host.takes_over = false;
            if next.is_err() {
                // The store does not take it: the lead is lost, or will be.
                return;
            }
        }
        // Whoever cannot be told has ended.
        let _ended = self.host.hub.forget(self.run).await;
    }

    fn ordered(&self) -> Option<(RunEntry, RunOrder)> {
        let entry = self.leading.index.get(self.run)?;
        let order = entry.order.clone()?;
        Some((entry, order))
    }

    /// Writes what has become of an order, and what is to be done next, unless an operator has ordered
    /// something else meanwhile.
    async fn ended(
        &self,
        entry: RunEntry,
        done: &RunOrder,
        next: Option<RunOrder>,
        message: String,
    ) -> upshift_shared::Result<()> {
        let state = match self.state(&entry.database).await {
            Ok(Some(state)) => state.to_string(),
            Ok(None) | Err(_) => entry.state.clone(),
        };
        let current = self.leading.index.get(self.run);
        let order = match current.and_then(|current| current.order) {
            Some(other) if other != *done => Some(other),
            _ => next,
        };
        let entry = RunEntry {
            state,
            order,
            message,
            ..entry
        };
        self.leading.index.put(entry).await
    }

    async fn state(&self, database: &str) -> Result<Option<RunState>, Failure> {
        let environment = Environment::capture();
        let config = Config::load(self.config.as_deref(), &environment)?;
        let target = config.named(database, &environment)?.connection.target();
        let mut conn = upshift_shared::pg::connect(&target, "upshift coordinator").await?;
        let row = ledger::run::read(&mut conn, self.run).await?;
        Ok(row.map(|row| row.state))
    }

    /// Does one order; what follows from it.
    async fn carry_out(
        &self,
        entry: &RunEntry,
        order: &RunOrder,
    ) -> Result<Option<RunOrder>, Failure> {
        let config = self.config.as_deref();
        let host = Host::Cluster(Box::new(self.host.clone()));
        let place = (entry.database.as_str(), host);
        match order {
            RunOrder::Forward { commit, options } => {
                let pack = std::path::Path::new("pack");
                let arguments = run_arguments(options, pack, place)?;
                let (driving, _) = arguments.driven();
                let resume = resume::Arguments::of(self.run, driving.clone());
                Box::pin(resume::run(resume, config)).await?;
                Ok(commit.then_some(RunOrder::Commit))
            }
            RunOrder::Back { to, force } => {
                let driving = driving(place)?;
                let back = rollback::Arguments::of(self.run, (to.clone(), *force), driving);
                Box::pin(rollback::run(back, config)).await?;
                Ok(None)
            }
            RunOrder::Commit => {
                let driving = driving(place)?;
                Box::pin(commit::commit_run(&driving, config, self.run)).await?;
                Ok(None)
            }
        }
    }
}

fn driving((database, host): (&str, Host)) -> Result<DrivingArguments, Failure> {
    let mut driving: DrivingArguments = parsed(&[])?;
    driving.of_coordinator(database, host)?;
    Ok(driving)
}
