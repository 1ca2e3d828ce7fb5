//! One member's way: what is to be done to it is done by the code that commands are made of, among the
//! others and by one engine; how it stands then, its ledger says.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    clock::Stopwatch,
    config::Config,
    fleet::{Caps, MemberName},
    ids::RunId,
    ledger::{
        self, audit,
        options::{OfFleet, RunOptions},
    },
    pg::{self, PgConnection},
};

use super::{
    super::{
        Failure, commit,
        database::{Chosen, shell_quoted},
        driving::{Driving, DrivingArguments},
        resume, rollback, run, snapshotting,
    },
    finding::{Entries, Looked, Own, look},
    home::Audit,
    pace::Pace,
    variants::Variants,
};
use crate::{driver::hub::Hub, fleet::Found};

/// Between attempts while a database is away; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a run that is to stop is told so, until it drives no more.
const TELL: Duration = Duration::from_millis(250);

/// One worker takes no longer than this for a database that has only that one.
const SECONDS_OF_A_WORKER: f64 = 5.0;

/// What is to be done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Upgrade it: begin, or go on.
    Upgrade {
        /// The wave that its run is begun in; none where it was left alone until an operator named it.
        wave: Option<u32>,
        /// Its ledger could not be asked before: if it has failed or is rolled back it stays so.
        unasked: bool,
        /// When it has to be through, where it has to be and has not begun.
        until: Option<Duration>,
    },
    /// Close its way back.
    Commit,
    /// Bring it back.
    RollBack {
        /// Whatever is lost with that.
        force: bool,
    },
}

impl Work {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Upgrade { .. } => "upgrade",
            Self::Commit => "commit",
            Self::RollBack { .. } => "roll_back",
        }
    }

    /// By what order of an operator it is done, where it is by one.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Upgrade { .. } => "retry",
            Self::Commit => "commit",
            Self::RollBack { .. } => "rollback",
        }
    }
}

/// What conducting the members of a fleet takes; all of them share it.
pub(super) struct Conductor {
    pub(super) own: Own,
    /// A member that is away for so long has failed, and keeps no place among those that are worked on.
    pub(super) patience: Duration,
    pub(super) away: Away,
    pub(super) config: Arc<Config>,
    pub(super) entries: Arc<Entries>,
    pub(super) variants: Variants,
    pub(super) pace: Pace,
    /// How runs are driven.
    pub(super) arguments: run::Arguments,
    /// What runs keep.
    pub(super) options: RunOptions,
    pub(super) hub: Hub,
    pub(super) limits: RunLimits,
}

/// Runs at once, whoever ordered them: limits of a cluster.
#[derive(Clone, Default)]
pub(in crate::command) struct RunLimits {
    /// Of all, with how many that are.
    pub(in crate::command) all: Option<(u32, Arc<Semaphore>)>,
    /// Of servers, by `host:port`.
    pub(in crate::command) servers: BTreeMap<String, (u32, Arc<Semaphore>)>,
}

impl RunLimits {
    /// A fleet begins no more at once than there are turns.
    pub(super) fn heed(&self, caps: &mut Caps) {
        if let Some((many, _)) = &self.all {
            caps.max_databases = Some(caps.in_all().min(*many));
        }
        for (server, (many, _)) in &self.servers {
            let cap = caps.servers.entry(server.clone()).or_insert(*many);
            *cap = (*cap).min(*many);
        }
    }

    /// Waits for a turn on that server.
    async fn turn(&self, server: &str) -> Vec<OwnedSemaphorePermit> {
        let of_server = self.servers.get(server);
        let mut turn = Vec::new();
        for (_, permits) in of_server.into_iter().chain(&self.all) {
            // They are never closed.
            turn.extend(Arc::clone(permits).acquire_owned().await.ok());
        }
        turn
    }
}

/// Servers that do not answer, and since when: each is waited for once, and not once for each of its
/// databases.
#[derive(Default)]
pub(super) struct Away(Mutex<HashMap<Arc<str>, Stopwatch>>);

impl Away {
    /// One that was asked answers, or does not.
    fn answers(&self, server: Arc<str>, answers: bool) {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answers {
            true => drop(away.remove(&server)),
            false => {
                away.entry(server).or_insert_with(Stopwatch::start);
            }
        }
    }

    /// How long it has been away.
    fn time(&self, server: &str) -> Duration {
        let away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        away.get(server).map(Stopwatch::elapsed).unwrap_or_default()
    }
}

/// The run that a member is at, if it has come to that.
#[derive(Default)]
struct AtWork(Mutex<Option<RunId>>);

impl AtWork {
    fn set(&self, run: RunId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    fn run(&self) -> Option<RunId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conductor {
    /// Does it; how the member stands then. With `stop` cancelled its run ends when its units have, and is
    /// left as it stands.
    pub(super) async fn conduct(
        &self,
        name: &MemberName,
        work: (Work, &Audit),
        stop: &CancellationToken,
    ) -> Found {
        let at = AtWork::default();
        let done =
            AssertUnwindSafe(Box::pin(self.patiently(name, work, (stop, &at)))).catch_unwind();
        let done = tokio::select! {
            done = done => done,
            never = self.stop_in_time(stop, &at) => match never {},
        };
        done.unwrap_or_else(|_| {
            Found::Failed(
                "upshift has a defect, please report it with what it has logged".to_owned(),
            )
        })
    }

    /// Tells a run to stop for as long as it is driven: it may begin to be only later.
    async fn stop_in_time(&self, stop: &CancellationToken, at: &AtWork) -> Infallible {
        stop.cancelled().await;
        loop {
            if let Some(run) = at.run() {
                // Where the loop has ended, so has the run.
                let _ended = self.hub.hand_over_run(run).await;
            }
            tokio::time::sleep(TELL).await;
        }
    }

    /// Does it, again where that may help.
    async fn patiently(
        &self,
        name: &MemberName,
        (work, audit): (Work, &Audit),
        (stop, at): (&CancellationToken, &AtWork),
    ) -> Found {
        let server = self.entries.server(name).unwrap_or_default();
        let turn = stop.run_until_cancelled(self.limits.turn(&server)).await;
        let Some(_turn) = turn else {
            let stopped = Failure::failed("stopped");
            return self.stands(name, work, (stopped, true)).await;
        };
        let watch = Stopwatch::start();
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.attempt(name, (work, audit), at).await {
                Ok(found) => return found,
                Err(failure) => failure,
            };
            let server = self.entries.server(name);
            let away = server.map(|server| self.away.time(&server));
            let waited = watch.elapsed().max(away.unwrap_or_default());
            let again = failure.is_passing() && waited < self.patience && !stop.is_cancelled();
            if !again {
                return self
                    .stands(name, work, (failure, stop.is_cancelled()))
                    .await;
            }
            tracing::info!(member = %name, why = failure.message(), "a member is tried again");
            let rest = tokio::time::sleep(pause);
            // Told to stop, it is looked once more how it stands.
            let _stopped = stop.run_until_cancelled(rest).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How a member stands that could not be brought where it was to be.
    async fn stands(
        &self,
        name: &MemberName,
        work: Work,
        (failure, stopped): (Failure, bool),
    ) -> Found {
        let why = first_lines(failure.message());
        let Ok(looked) = self.look(name).await else {
            return Found::Unknown(why);
        };
        match (looked.found, work) {
            (Some(found @ (Found::Running | Found::RollingBack)), _) if stopped => found,
            (None, _) if stopped => Found::Untouched,
            // Whoever tried has given up.
            (Some(Found::RollingBack | Found::Stuck(_)), _) => Found::Stuck(why),
            (None, _) => Found::NotBegun(why),
            // Its way back was refused, and has not begun.
            (_, Work::RollBack { .. }) => Found::Failed(why),
            (Some(Found::Running | Found::Untouched | Found::RolledBack(_)), _) => {
                Found::Failed(why)
            }
            // What could not be committed is still prepared.
            (Some(Found::Prepared), Work::Commit) => Found::Failed(why),
            (Some(found), _) => found,
        }
    }

    async fn look(&self, name: &MemberName) -> Result<Looked, Failure> {
        let target = self.entries.target(name)?;
        let mut conn = pg::connect(&target, "upshift fleet").await?;
        look(&mut conn, &self.own, &name.to_string()).await
    }

    /// Looks whether there is anything to do: at the target already, or with something in its way, it is left
    /// alone, and its hooks with it, as where it would not be through by `until`. `None`: it is to be upgraded, or
    /// that nobody knows.
    pub(super) async fn is_left_alone(
        &self,
        name: &MemberName,
        until: Option<Duration>,
    ) -> Option<Found> {
        let target = self.entries.target(name).ok()?;
        let mut conn = pg::connect(&target, "upshift fleet").await.ok()?;
        let looked = look(&mut conn, &self.own, &name.to_string()).await;
        match looked.ok()?.found {
            None => {}
            found => return found.filter(|found| matches!(found, Found::Refused(_))),
        }
        let read = self.variants.read(&mut conn).await.ok()?;
        match self.variants.compiled(read).await {
            Ok(None) => Some(Found::Current),
            Ok(Some(compiled)) => self.pace.is_too_long(compiled.weight.seconds, until),
            // What is wrong is said by whoever tries it.
            Err(_) => None,
        }
    }

    /// How the runs of a member are driven.
    fn driving(&self, name: &MemberName) -> Result<DrivingArguments, Failure> {
        let (driving, _) = self.arguments.driven();
        let mut driving = driving.clone();
        driving.database.chosen = Some(Box::new(Chosen {
            config: Arc::clone(&self.config),
            name: name.to_string(),
            target: self.entries.target(name)?,
            hint: format!(" --database {}", shell_quoted(&name.to_string())),
        }));
        Ok(driving)
    }

    /// Does it once.
    async fn attempt(
        &self,
        name: &MemberName,
        (work, audit): (Work, &Audit),
        at: &AtWork,
    ) -> Result<Found, Failure> {
        let arguments = self.driving(name)?;
        let opened = Driving::open(&arguments, None).await;
        let is_away = opened.as_ref().is_err_and(Failure::is_passing);
        if let Ok(server) = self.entries.server(name) {
            self.away.answers(server, !is_away);
        }
        let mut driving = opened?;
        let Looked { found, run, .. } =
            look(&mut driving.conn, &self.own, &name.to_string()).await?;
        let run = run.map(|row| row.run);
        if let Some(run) = run {
            at.set(run);
        }
        match (work, found, run) {
            // That it is tried again has to be ordered.
            (
                Work::Upgrade { unasked: true, .. },
                Some(found @ (Found::RolledBack(_) | Found::Failed(_))),
                _,
            ) => {
                driving.close().await;
                Ok(found)
            }
            (
                Work::Upgrade { wave, until, .. },
                None | Some(Found::Untouched | Found::RolledBack(_)),
                _,
            ) => Box::pin(self.begin(driving, &arguments, (wave, until, at, audit))).await,
            (Work::Upgrade { .. }, Some(Found::Running | Found::Failed(_)), Some(run)) => {
                // Whoever began it may have died before it was written who had wanted it.
                let wanted = [&audit.submitted, &audit.ordered];
                record(&mut driving.conn, (run, false), wanted).await?;
                driving.close().await;
                let resume = resume::Arguments::of(run, arguments);
                Box::pin(resume::run(resume, None)).await?;
                Ok(Found::Prepared)
            }
            (Work::Commit, Some(Found::Prepared), Some(run)) => {
                record(&mut driving.conn, (run, false), [&audit.ordered]).await?;
                let wanted = run.to_string();
                Box::pin(commit::commit_of(driving, &arguments, Some(&wanted))).await?;
                Ok(Found::Committed)
            }
            (
                Work::RollBack { force },
                Some(
                    found @ (Found::Running
                    | Found::Failed(_)
                    | Found::Prepared
                    | Found::RollingBack
                    | Found::Stuck(_)),
                ),
                Some(run),
            ) => {
                record(&mut driving.conn, (run, false), [&audit.ordered]).await?;
                driving.close().await;
                let back = rollback::Arguments::of(run, (None, force), arguments);
                Box::pin(rollback::run(back, None)).await?;
                let why = match found {
                    Found::Failed(why) | Found::Stuck(why) => Some(why),
                    _ => None,
                };
                Ok(Found::RolledBack(why))
            }
            // It is there already, or nothing can be done about it.
            (_, found, _) => {
                driving.close().await;
                Ok(found.unwrap_or(Found::Untouched))
            }
        }
    }

    /// Begins a run, and drives it to `prepared`.
    async fn begin(
        &self,
        mut driving: Driving,
        arguments: &DrivingArguments,
        (wave, until, at, audit): (Option<u32>, Option<Duration>, &AtWork, &Audit),
    ) -> Result<Found, Failure> {
        let hint = driving.chosen.hint.clone();
        run::refuse_unfinished(&mut driving.conn, &hint).await?;
        let read = self.variants.read(&mut driving.conn).await?;
        let Some(compiled) = self.variants.compiled(read).await? else {
            driving.close().await;
            return Ok(Found::Current);
        };
        let expected = compiled.weight.seconds;
        if let Some(found) = self.pace.is_too_long(expected, until) {
            driving.close().await;
            return Ok(found);
        }
        let watch = Stopwatch::start();
        let limits = &mut driving.limits;
        limits.workers = limits.workers.min(units(expected));
        let wanted = self.arguments.pack().snapshot;
        let settings = &self.config.snapshot;
        let snapshot = snapshotting::request(&mut driving.conn, wanted, settings).await?;
        let begun = tokio::task::block_in_place(|| self.variants.begin(compiled, snapshot))?;
        if begun.plan.tasks.is_empty() {
            driving.close().await;
            return Ok(Found::Current);
        }
        let options = RunOptions {
            fleet: Some(OfFleet {
                name: self.own.fleet.to_string(),
                wave,
                round: self.own.round,
            }),
            ..self.options.clone()
        };
        let run = RunId::generate();
        let after = driving.after(run);
        let kept = (&options, begun.stored.as_str(), false);
        let mut begun = run::begin_with(driving, begun.plan, run, kept).await?;
        at.set(run);
        let wanted = [&audit.submitted, &audit.ordered];
        record(begun.conn(), (run, true), wanted).await?;
        let ended = Box::pin(begun.drive((arguments, None))).await?;
        after.outcome(&ended)?;
        self.pace.learn(expected, watch.elapsed());
        Ok(Found::Prepared)
    }
}

/// Writes into a member's ledger who wanted what is done to it.
async fn record<const N: usize>(
    conn: &mut PgConnection,
    (run, is_new): (RunId, bool),
    entries: [&Option<audit::Entry>; N],
) -> Result<(), Failure> {
    if !is_new && entries.iter().any(|entry| entry.is_some()) {
        // An older program may have begun the run: its ledger gets what it lacks.
        ledger::create(conn).await?;
    }
    for entry in entries.into_iter().flatten() {
        audit::insert_once(conn, run, entry).await?;
    }
    Ok(())
}

/// Units at once of a database whose tasks are expected to take so many seconds of one worker: of a small one
/// more units would only take more sessions, and others have work for the workers meanwhile.
fn units(seconds: f64) -> u32 {
    1 + (seconds / SECONDS_OF_A_WORKER) as u32
}

/// What failed, without what to do about it: that is a fleet's business here.
fn first_lines(message: &str) -> String {
    let told = |line: &&str| {
        [
            "when the cause",
            "when it is mended",
            "or take it back",
            "stopped; resume",
        ]
        .iter()
        .all(|advice| !line.starts_with(advice))
    };
    let lines: Vec<&str> = message.lines().take_while(told).collect();
    lines.join("\n")
}
