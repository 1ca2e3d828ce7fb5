//! What `run`, `resume`, `rollback` and `commit` share: the database's lock, limits, driving a run,
//! and what the user is told at its end.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use upshift_shared::{
    Error,
    config::{Config, parse_duration},
    ids::RunId,
    ledger::{
        self, Holder,
        control::{self, Change},
        event::Draft,
        fence,
        run::RunRow,
    },
    pg::{self, PgConnection},
    plan::Plan,
    telemetry::trace::{Key, Span, Stage},
};

use super::{
    Failure, bad_data,
    database::{Chosen, DatabaseArguments},
    group,
    host::Host,
    selection::select,
    snapshotting,
    steering::SteeringArguments,
};
use crate::{
    coordination::{Coordination, Held, Locked},
    driver::{Aim, Ended, Limits, Order, Rebuilt, commit, process},
    progress::{self, Ending, Progress, Silent},
};

/// A unit that waits longer for a lock gives way and is tried again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// A unit of a task that can be cut aims at seconds: one that takes this long is cut smaller.
const CUT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
const MAX_ATTEMPTS: u32 = 10;
/// How long sessions of an earlier attempt may take to end.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(60);

/// How a run is driven and shown.
#[derive(Debug, Clone, Args)]
pub(super) struct DrivingArguments {
    #[command(flatten)]
    pub(super) database: DatabaseArguments,
    #[command(flatten)]
    pub(super) steering: SteeringArguments,
    /// How long a statement waits for a lock before it gives way and is tried again [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lock_timeout: Option<Duration>,
    /// How long a statement may take; 0s for any time [default: 5min for what can be cut smaller,
    /// else any time]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    statement_timeout: Option<Duration>,
    /// Rows of the first units of each task that is cut; the right size is found from there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    unit_rows: Option<u32>,
    /// Where a snapshot needs the database to itself, end the sessions of others that do not leave it
    #[arg(long)]
    pub(super) end_sessions: bool,
    /// One line of JSON for every event, on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// Show no progress
    #[arg(long, short, conflicts_with = "json")]
    pub(super) quiet: bool,
    /// Move this database without the group that its run belongs to; the others have to be moved
    /// likewise, one by one
    #[arg(long)]
    force_single: bool,
    /// Where it is driven.
    #[arg(skip)]
    pub(super) host: Host,
}

impl DrivingArguments {
    pub(super) fn limits(&self, config: &Config) -> Limits {
        self.limits_of(None, config)
    }

    /// The same for the database of that name.
    fn limits_of(&self, name: Option<&str>, config: &Config) -> Limits {
        let defaults = &config.run;
        let processors = std::thread::available_parallelism().map_or(2, |n| n.get().min(8) as u32);
        let wanted = self.steering.change().workers;
        let of_host = self.host.units(name.unwrap_or_default(), config);
        let workers = wanted.or(of_host).unwrap_or(processors);
        let statement_timeout = self.statement_timeout.or(defaults.statement_timeout);
        Limits {
            workers,
            max_units: workers,
            max_units_per_task: workers,
            throttle: config.throttle.clone(),
            max_attempts: defaults.max_attempts.unwrap_or(MAX_ATTEMPTS),
            first_unit_rows: self.unit_rows.or(defaults.unit_rows).map(u64::from),
            lock_timeout: self
                .lock_timeout
                .or(defaults.lock_timeout)
                .unwrap_or(LOCK_TIMEOUT),
            statement_timeout: statement_timeout.unwrap_or(Duration::ZERO),
            cut_statement_timeout: statement_timeout.unwrap_or(CUT_STATEMENT_TIMEOUT),
            force: false,
        }
    }

    /// The coordinator of a cluster drives, on a database that it knows by name, and shows nothing.
    pub(super) fn of_coordinator(&mut self, database: &str, host: Host) -> Result<(), Failure> {
        if self.database.database.is_some() {
            return Err(Failure::usage(
                "a database of a cluster is named once, by an entry [databases.NAME] of the \
                 coordinator's configuration",
            ));
        }
        self.database.database = Some(database.to_owned());
        self.quiet = true;
        self.json = false;
        self.host = host;
        Ok(())
    }

    pub(super) fn progress(&self) -> Box<dyn Progress> {
        if self.quiet {
            Box::new(Silent)
        } else {
            progress::for_output(self.json)
        }
    }
}

/// A database that this process has locked.
pub(super) struct Driving {
    pub(super) chosen: Chosen,
    pub(super) conn: PgConnection,
    pub(super) limits: Limits,
    /// What this command wants of the run; `None` once it has said so.
    wanted: Option<Change>,
    host: Host,
    coordination: Arc<dyn Coordination>,
    lock: Box<dyn Held>,
}

impl Driving {
    /// Takes the database's lock and opens a session.
    pub(super) async fn open(
        arguments: &DrivingArguments,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        Self::on(arguments.database.resolve(config)?, arguments).await
    }

    /// The same where the database is resolved already.
    async fn on(chosen: Chosen, arguments: &DrivingArguments) -> Result<Self, Failure> {
        let limits = arguments.limits_of(Some(&chosen.name), &chosen.config);
        let host = arguments.host.clone();
        let coordination = host.coordination(&chosen.name, &chosen.target);
        let lock = match coordination
            .lock_database(&chosen.name, &process::member())
            .await?
        {
            Locked::Granted(lock) => lock,
            Locked::Taken { by } => {
                let taken = Failure::refused(format!(
                    "another upshift is at work on this database: {by}; wait for it, or see `upshift \
                     status`"
                ));
                // An order of a cluster stands until it can be done: the lock of a leader that was lost
                // may outlive it for a while.
                return Err(match host {
                    Host::Process => taken,
                    Host::Cluster(_) => taken.passing(),
                });
            }
        };
        let mut conn = chosen.connect("coordinator").await?;
        snapshotting::settle(&mut conn, &chosen.target).await?;
        Ok(Self {
            chosen,
            conn,
            limits,
            wanted: host.wanted(arguments.steering.change()),
            host,
            coordination,
            lock,
        })
    }

    /// The same for the run that `wanted` names, with the commands that come after this one.
    pub(super) async fn open_run(
        arguments: &DrivingArguments,
        config: Option<&Path>,
        wanted: Option<&str>,
    ) -> Result<(Self, RunRow, After), Failure> {
        Self::on_run(arguments.database.resolve(config)?, arguments, wanted).await
    }

    /// The same where the database is resolved already.
    pub(super) async fn on_run(
        chosen: Chosen,
        arguments: &DrivingArguments,
        wanted: Option<&str>,
    ) -> Result<(Self, RunRow, After), Failure> {
        let mut driving = Self::on(chosen, arguments).await?;
        let (row, after) = driving.select(arguments, wanted).await?;
        Ok((driving, row, after))
    }

    /// The run that `wanted` names, with the commands that come after this one.
    pub(super) async fn select(
        &mut self,
        arguments: &DrivingArguments,
        wanted: Option<&str>,
    ) -> Result<(RunRow, After), Failure> {
        if ledger::exists(&mut self.conn).await? {
            // An older program may have begun the run: its ledger gets what it lacks.
            ledger::create(&mut self.conn).await?;
        }
        let row = select(&mut self.conn, wanted).await?;
        let force = arguments.force_single;
        group::refuse_member(&mut self.conn, row.run, force).await?;
        let after = self.after(row.run);
        Ok((row, after))
    }

    /// The commands that come next for a run.
    pub(super) fn after(&self, run: RunId) -> After {
        After {
            run,
            hint: self.chosen.hint.clone(),
        }
    }

    /// Takes a run over: nobody who drove it before can write for it any more.
    pub(super) async fn take_over(&mut self, run: RunId) -> Result<Holder, Failure> {
        Ok(take_over(&mut self.conn, run).await?)
    }

    /// An earlier drive of the same command has said what it wants of the run: what somebody wanted since
    /// then holds.
    pub(super) fn has_driven(&mut self) {
        self.wanted = None;
    }

    /// Drives a run to its end. Gives back what another step needs (`commit` after `run`).
    pub(super) async fn drive(
        mut self,
        (holder, plan): (Holder, Arc<Plan>),
        (aim, mut rebuilt, resumed): (Aim, Rebuilt, bool),
        progress: Box<dyn Progress>,
    ) -> Result<Ended, Failure> {
        let after = self.after(holder.run);
        let checkpoint = match &aim {
            Aim::Back { to } => to.clone(),
            Aim::Forward | Aim::TakeBack => None,
        };
        let partly = aim == Aim::TakeBack;
        let options = ledger::options::load(&mut self.conn, holder.run).await?;
        let last_event = ledger::event::last(&mut self.conn, holder.run).await?;
        if let Some(wanted) = &self.wanted {
            let by = process::member().name;
            control::change(&mut self.conn, holder.run, wanted, &by).await?;
        }
        // Other limits that somebody wanted of it hold.
        let control = control::read(&mut self.conn, holder.run).await?;
        self.limits.steer(&control);
        rebuilt.limit(&self.limits);
        // The driver finds it open, by the name of its own.
        let name = format!("upshift {} coordinator", holder.run.short());
        let session = pg::rename(self.conn, &name).await;
        let (target, asked) = (self.chosen.target.clone(), options.clone());
        let chosen = &self.chosen;
        let place = self
            .host
            .place(&chosen.name, &chosen.target, &chosen.config);
        let words = after.clone();
        let order = Order {
            target: self.chosen.target,
            database: self.chosen.name,
            holder,
            plan,
            options,
            aim,
            rebuilt,
            limits: self.limits,
            place,
            control,
            resumed,
            last_event,
            progress,
            session,
            coordination: self.coordination,
            lock: self.lock,
            seat: None,
            trace: self.host.trace(),
        };
        let drive = self.host.drive(order, move |ended| match ended.ending {
            Ending::RolledBack if partly => "what was edited is taken back".to_owned(),
            _ => words.last_words(ended, checkpoint.as_deref()),
        });
        let mut ended = Box::pin(drive).await?;
        bad_data::tell(&target, (&asked, &after), &mut ended).await;
        Ok(ended)
    }

    /// Closes the way back.
    pub(super) async fn commit(
        mut self,
        holder: Holder,
        plan: &Plan,
        arguments: &DrivingArguments,
    ) -> Result<(), Failure> {
        let mut span = Span::begin(Stage::Run, &self.host.trace());
        span.text(Key::Run, &holder.run.to_string());
        span.text(Key::Database, &self.chosen.name);
        span.text(Key::Direction, "commit");
        let mut progress = arguments.progress();
        let target = &self.chosen.target;
        self.limits.workers = self.host.commit_sessions(self.limits.workers);
        let limits = &self.limits;
        let done =
            commit::commit(&mut self.conn, target, holder, plan, limits, &mut *progress).await;
        let done = match done {
            Ok(()) => snapshotting::discard_all(&mut self, arguments, (holder, plan)).await,
            Err(error) => Err(not_committed(&mut self.conn, holder, error).await),
        };
        self.close().await;
        match &done {
            Ok(()) => span.end("committed", false),
            Err(_) => span.end("failed", true),
        }
        done
    }

    /// Gives the lock back, where there was nothing to drive.
    pub(super) async fn close(self) {
        drop(self.conn);
        self.lock.release().await;
    }
}

/// Takes a run over, and says so in its log.
pub(super) async fn take_over(
    conn: &mut PgConnection,
    run: RunId,
) -> upshift_shared::Result<Holder> {
    let epoch = fence::raise(conn, run, TAKE_OVER_DEADLINE).await?;
    let holder = Holder { run, epoch };
    let by = process::member().name;
    let taken = Draft::new("taken_over", serde_json::json!({"epoch": epoch, "by": by}));
    ledger::event::append(conn, holder, &taken).await?;
    Ok(holder)
}

/// A commit that did not come to its end, which the log is told; what is left of it can be done later.
pub(super) async fn not_committed(
    conn: &mut PgConnection,
    holder: Holder,
    error: Error,
) -> Failure {
    // What stood in the way is what the user is told.
    let _unwritten = ledger::event::append(conn, holder, &commit::stopped(&error)).await;
    match error {
        Error::Fenced { .. } => error.into(),
        error => Failure::failed(error.to_string()),
    }
}

/// Names the commands that come next.
#[derive(Debug, Clone)]
pub(super) struct After {
    pub(super) run: RunId,
    /// ` --database …`
    pub(super) hint: String,
}

impl After {
    /// `upshift VERB RUN --database …`
    pub(super) fn command(&self, verb: &str) -> String {
        format!("upshift {verb} {}{}", self.run, self.hint)
    }

    /// What the progress shows last. A failure is told in full behind it.
    fn last_words(&self, ended: &Ended, checkpoint: Option<&str>) -> String {
        match (ended.ending, checkpoint) {
            (Ending::Prepared, _) => format!(
                "keep it with: {}\ntake it back with: {}",
                self.command("commit"),
                self.command("rollback")
            ),
            (Ending::SnapshotDue, _) => {
                "a snapshot of the database is taken before it goes on".to_owned()
            }
            (Ending::Committed, _) => "there is no way back now".to_owned(),
            (Ending::RolledBack, None) => "everything is as it was".to_owned(),
            (Ending::RolledBack, Some(checkpoint)) => format!(
                "this is checkpoint {checkpoint}\ngo forward again with: {}\ngo further back with: {}",
                self.command("resume"),
                self.command("rollback")
            ),
            _ => ended.message.lines().next().unwrap_or_default().to_owned(),
        }
    }

    fn failure_text(&self, ended: &Ended) -> String {
        let message = &ended.message;
        if ended.fenced {
            return format!(
                "{message}\nanother process drives this run now: upshift status{}",
                self.hint
            );
        }
        match ended.ending {
            Ending::Stuck => format!(
                "{message}\nan undo failed; when the cause is mended: {}",
                self.command("rollback")
            ),
            Ending::Failed => format!(
                "{message}\nwhen the cause is mended in the database, go on with: {}\nwhen it is mended \
                 in the pack: {} --pack DIR\nor take it back with: {}, to a checkpoint (upshift \
                 checkpoints lists them) with --to",
                self.command("resume"),
                self.command("resume"),
                self.command("rollback")
            ),
            _ => format!(
                "{message}\nstopped; resume with: {}",
                self.command("resume")
            ),
        }
    }

    /// The exit code of an ending, with what is said about it.
    pub(super) fn outcome(&self, ended: &Ended) -> Result<(), Failure> {
        match ended.ending {
            Ending::Prepared | Ending::Committed | Ending::RolledBack => Ok(()),
            // A coordinator that still leads takes it over again, unless somebody else has the database.
            _ if ended.fenced => Err(Failure::refused(self.failure_text(ended)).passing()),
            _ => Err(Failure::failed(self.failure_text(ended))),
        }
    }
}

/// What stands in the way of a new run, if this run does: the commands that deal with it.
pub(super) async fn in_the_way(
    conn: &mut PgConnection,
    row: &RunRow,
    hint: &str,
) -> Result<Option<String>, Failure> {
    use upshift_shared::ledger::run::RunState as S;
    let after = After {
        run: row.run,
        hint: hint.to_owned(),
    };
    let verbs: &[&str] = match row.state {
        S::RolledBack if row.rollback_to.is_none() => {
            // Killed before it could drop its snapshots.
            if ledger::snapshot::load(conn, row.run).await?.is_empty() {
                return Ok(None);
            }
            &["rollback"]
        }
        S::Committed if !commit::is_pending(conn, row.run).await? => return Ok(None),
        S::Committed => &["commit"],
        S::Prepared => &["commit", "rollback"],
        S::RollingBack | S::Stuck => &["rollback"],
        S::Planned | S::Running | S::Failed | S::RolledBack => &["resume", "rollback"],
    };
    let group = group::membership(conn, row.run).await?;
    let command = |verb: &&str| match &group {
        Some(group) => group.command(verb),
        None => after.command(verb),
    };
    let commands: Vec<String> = verbs.iter().map(|v| format!("  {}", command(v))).collect();
    Ok(Some(format!(
        "run {} of pack {} in this database is {} and not finished; first:\n{}",
        row.run,
        row.pack,
        row.state,
        commands.join("\n")
    )))
}
