//! Orders for new runs: a pack is compiled, the run stored in the ledger of its database and written into the
//! index, from where it is carried out.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use upshift_proto::v1::{SubmitAnswer, SubmitOrder};
use upshift_shared::{
    Error,
    ids::RunId,
    ledger::{self, run::RunState},
    pg::PgConnection,
    telemetry::trace::{Key, Parent, Span, Stage},
};
use upshift_worker::failpoint;

use super::{
    super::{Failure, host::Host, run},
    audit::Action,
    conducting::run_arguments,
    leader::Leading,
};
use crate::{
    coordination::{RunEntry, RunOrder},
    server::{Identity, Upload},
};

/// The state of a run that the ledger does not have yet.
pub(super) const SUBMITTED: &str = "submitted";

impl Leading {
    /// Compiles a pack, stores the run and has it driven, as a part of the trace that the order is part of.
    pub(super) async fn submitted(
        self: &Arc<Self>,
        (by, order): (&Identity, &SubmitOrder),
        (run, pack): (RunId, &Upload),
        trace: &Parent,
    ) -> Result<SubmitAnswer, Failure> {
        let mut span = Span::begin(Stage::Accept, trace);
        span.text(Key::Run, &run.to_string());
        let trace = span.context().traceparent();
        let accepted = Box::pin(self.accept((by, order), (run, pack), trace)).await;
        match &accepted {
            Ok(_) => {
                span.text(Key::Database, &order.database);
                span.end("accepted", false);
            }
            Err(_) => span.end("refused", true),
        }
        accepted
    }

    async fn accept(
        self: &Arc<Self>,
        (by, order): (&Identity, &SubmitOrder),
        (run, pack): (RunId, &Upload),
        traceparent: Option<String>,
    ) -> Result<SubmitAnswer, Failure> {
        let Some(_submission) = Submission::begin(self, run) else {
            return Err(Failure::from(Error::Io {
                context: format!("submitting run {run}"),
                source: io::Error::other("its pack is being compiled: ask again"),
            }));
        };
        let answer = |run: &str, summary: String| SubmitAnswer {
            run: run.to_owned(),
            summary,
        };
        if order.options.iter().any(|option| option.contains("://")) {
            return Err(Failure::usage(
                "an option holds a URL: a database of a cluster is named by an entry [databases.NAME] of \
                 the coordinator's configuration",
            ));
        }
        let host = Host::Cluster(Box::new(self.host(false)));
        let place = (order.database.as_str(), host);
        let arguments = run_arguments(&order.options, pack.folder(), place)?;
        // So that a connection string does not pass for a name.
        tokio::task::block_in_place(|| self.target(&order.database))?;
        let (_, commit) = arguments.driven();
        let mut conn = self.connect(&order.database).await?;
        let stored =
            ledger::exists(&mut conn).await? && ledger::run::read(&mut conn, run).await?.is_some();
        let known = self.index.get(run);
        let is_another = |entry: &RunEntry| {
            entry.database != order.database || (!stored && entry.order.is_some())
        };
        if known.as_ref().is_some_and(is_another) {
            return Err(Failure::refused(format!(
                "run {run} is one of another database: submit anew"
            )));
        }
        if stored && known.is_some_and(|entry| entry.state != SUBMITTED) {
            let known = format!("run {run} was submitted before");
            return Ok(answer(&order.run, known));
        }
        let mut summary = String::new();
        if !stored {
            let begun = self.begun(&arguments, (run, order), &mut conn).await?;
            let (is_anything, told) = begun;
            if !is_anything {
                return Ok(answer("", told));
            }
            failpoint::reach(failpoint::AFTER_SUBMIT);
            summary = told;
        }
        let action = Action {
            by,
            verb: "submit",
            run: Some(run),
            detail: order.options.join(" "),
        };
        action.record(&mut conn).await?;
        let entry = RunEntry {
            state: RunState::Running.to_string(),
            order: Some(RunOrder::Forward {
                commit,
                options: order.options.clone(),
            }),
            orders: 1,
            message: String::new(),
            traceparent,
            ..submitted(run, order)
        };
        self.index.change(run, |_| Ok::<_, Error>(entry)).await?;
        self.conduct_on(run, &order.database);
        Ok(answer(&order.run, summary))
    }

    /// Compiles the pack and stores the run: whether there is anything to do, and what its operator is told.
    async fn begun(
        &self,
        arguments: &run::Arguments,
        (run, order): (RunId, &SubmitOrder),
        conn: &mut PgConnection,
    ) -> Result<(bool, String), Failure> {
        let lines = Mutex::new(Vec::new());
        let told = |text: &str| {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(text.to_owned());
        };
        // First: what is in the ledger has to be in the index, whenever this process dies.
        self.index
            .change(run, |_| Ok::<_, Error>(submitted(run, order)))
            .await?;
        let config = self.config.as_deref();
        let begun = Box::pin(run::begin(arguments, config, run, told)).await;
        if !matches!(begun, Ok(Some(_))) && !is_stored(conn, run).await {
            self.index.forget(run).await?;
        }
        let is_anything = match begun? {
            Some(begun) => {
                begun.leave().await;
                true
            }
            None => false,
        };
        let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((is_anything, lines.join("\n")))
    }
}

/// A run whose pack is being compiled; another order for the same one has to wait.
struct Submission<'a> {
    leading: &'a Leading,
    run: RunId,
}

impl<'a> Submission<'a> {
    fn begin(leading: &'a Leading, run: RunId) -> Option<Self> {
        let first = leading.conductors().submitted.insert(run);
        first.then_some(Self { leading, run })
    }
}

impl Drop for Submission<'_> {
    fn drop(&mut self) {
        self.leading.conductors().submitted.remove(&self.run);
    }
}

/// What the index says of a run whose pack is being compiled.
fn submitted(run: RunId, order: &SubmitOrder) -> RunEntry {
    RunEntry {
        run,
        database: order.database.clone(),
        state: SUBMITTED.to_owned(),
        order: None,
        orders: 0,
        options: order.options.clone(),
        closed: false,
        traceparent: None,
        message: "its submission has not come to its end: submit it again, or resume it".to_owned(),
    }
}

/// Whether the ledger has a run; where it does not say, it may.
async fn is_stored(conn: &mut PgConnection, run: RunId) -> bool {
    match ledger::exists(conn).await {
        Ok(true) => !matches!(ledger::run::read(conn, run).await, Ok(None)),
        Ok(false) => false,
        Err(_) => true,
    }
}
