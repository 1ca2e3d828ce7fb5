//! What `pause`, `resume`, `workers` and `set` share: what is wanted of a run is written into the ledger,
//! from where its driver, in whatever process on whatever machine, takes it within seconds; the command
//! waits until it has.

use std::{path::Path, time::Duration};

use clap::Args;
use serde::Serialize;
use upshift_shared::{
    clock::Stopwatch,
    config::parse_duration,
    ids::RunId,
    ledger::{
        self,
        control::{self, Change, Control, InForce, Pause},
        run::RunRow,
    },
    pg::PgConnection,
    throttle::{self, Lag, Threshold, ThrottleLimits, parse_lag, parse_most, parse_wal_budget},
};

use super::{
    Failure,
    database::{Chosen, DatabaseArguments, print_json, print_line},
    driving::After,
    selection::select,
};
use crate::{coordination, figures, progress::units_at_once};

/// How long a driver may take to heed what is wanted: it looks every two seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the ledger is asked meanwhile.
const EVERY: Duration = Duration::from_millis(200);

/// What a run may take: options of everything that drives one, and of `set`.
#[derive(Debug, Clone, Args)]
pub(super) struct SteeringArguments {
    /// Workers [default: as many as processors, at most 8]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
    /// Units at once [default: as many as workers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_units: Option<u32>,
    /// Units of one task at once [default: as many as units]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_units_per_task: Option<u32>,
    /// Slow down where a standby or slot is further behind, such as 64MB, 10s or 64MB,10s [default: off]
    #[arg(long, value_name = "LAG", value_parser = parse_lag)]
    max_replication_lag: Option<Threshold<Lag>>,
    /// Slow down where the server writes more WAL, such as 50MB/s [default: off]
    #[arg(long, value_name = "RATE", value_parser = parse_wal_budget)]
    wal_budget: Option<Threshold<u64>>,
    /// Slow down where more sessions of others wait for locks of the run; off for never [default: 0]
    #[arg(long, value_name = "N", value_parser = parse_most)]
    max_lock_waits: Option<Threshold<u32>>,
    /// From when on such a wait counts [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lock_wait: Option<Duration>,
    /// Slow down where more sessions of others are active on the server [default: off]
    #[arg(long, value_name = "N", value_parser = parse_most)]
    max_active_sessions: Option<Threshold<u32>>,
    /// Slow down where WAL has forced more checkpoints within five minutes [default: off]
    #[arg(long, value_name = "N", value_parser = parse_most)]
    max_requested_checkpoints: Option<Threshold<u32>>,
}

impl SteeringArguments {
    /// What they want; nothing of what they leave out.
    pub(super) fn change(&self) -> Change {
        Change {
            paused: None,
            workers: self.workers,
            max_units: self.max_units,
            max_units_per_task: self.max_units_per_task,
            throttle: ThrottleLimits {
                max_replication_lag: self.max_replication_lag,
                wal_budget: self.wal_budget,
                max_lock_waits: self.max_lock_waits,
                lock_wait_millis: self.lock_wait.map(throttle::millis),
                max_active_sessions: self.max_active_sessions,
                max_requested_checkpoints: self.max_requested_checkpoints,
            },
        }
    }
}

/// Which run, and how the answer is printed.
#[derive(Debug, Args)]
pub(super) struct SteeredRun {
    /// The run's id, or the end of it [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    database: DatabaseArguments,
    /// Print as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A run that is to be steered.
pub(super) struct Steered {
    conn: PgConnection,
    pub(super) row: RunRow,
    pub(super) after: After,
}

/// What has become of what was wanted.
#[derive(Debug, Serialize)]
pub(super) struct Heeded {
    run: RunId,
    /// The number of what was wanted.
    #[serde(skip)]
    version: i64,
    /// Whether the run's driver has seen it.
    acknowledged: bool,
    /// Who drives a run in this database, if anybody does.
    driven_by: Option<String>,
    /// What is wanted, and what is in force.
    control: Control,
}

impl Heeded {
    /// Whether a driver has seen it, even if it has ended since: what came of it, it has said itself.
    fn was_seen(&self) -> bool {
        self.control.acknowledged >= self.version
    }

    /// What the driver does now, if there is one.
    pub(super) fn in_force(&self) -> Option<&InForce> {
        self.control.in_force.as_ref().filter(|_| self.acknowledged)
    }
}

impl Steered {
    pub(super) async fn open(which: &SteeredRun, config: Option<&Path>) -> Result<Self, Failure> {
        let chosen = which.database.resolve(config)?;
        Self::of(&chosen, which.run.as_deref()).await
    }

    pub(super) async fn of(chosen: &Chosen, wanted: Option<&str>) -> Result<Self, Failure> {
        let conn = chosen.connect("steering").await?;
        Self::on(conn, wanted, chosen.hint.clone()).await
    }

    /// The same over a session of the caller's.
    pub(super) async fn on(
        mut conn: PgConnection,
        wanted: Option<&str>,
        hint: String,
    ) -> Result<Self, Failure> {
        let row = select(&mut conn, wanted).await?;
        let after = After { run: row.run, hint };
        Ok(Self { conn, row, after })
    }

    /// Asks for a change, and waits until the driver has seen it, or it is certain that there is none.
    ///
    /// # Errors
    /// When somebody works on the database who takes no notice.
    pub(super) async fn ask(&mut self, change: &Change) -> Result<Heeded, Failure> {
        // An older program may have begun the run: its ledger gets what it lacks.
        ledger::create(&mut self.conn).await?;
        let run = self.row.run;
        let version = control::change(&mut self.conn, run, change, &operator()).await?;
        let watch = Stopwatch::start();
        loop {
            // In this order: who has just ended may have seen it before.
            let driven_by = coordination::database_lock_holder(&mut self.conn).await?;
            let control = control::read(&mut self.conn, run).await?;
            let acknowledged = control.acknowledged >= version && control.in_force.is_some();
            match driven_by {
                Some(by) if !acknowledged && watch.elapsed() > PATIENCE => {
                    return Err(Failure::failed(format!(
                        "{by} is at work on this database and has taken no notice within {}; what \
                         was asked is recorded, and heeded once it looks again: see `upshift status`",
                        figures::seconds(PATIENCE.as_secs_f64())
                    )));
                }
                Some(_) if !acknowledged => tokio::time::sleep(EVERY).await,
                driven_by => {
                    return Ok(Heeded {
                        run,
                        version,
                        acknowledged: acknowledged && driven_by.is_some(),
                        driven_by,
                        control,
                    });
                }
            }
        }
    }
}

/// Prints what has become of it, in words or as JSON.
pub(super) fn print(
    heeded: &Heeded,
    json: bool,
    words: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if json {
        return print_json(heeded);
    }
    print_line(&words());
    Ok(())
}

/// Asks for other limits and says what is in force then.
pub(super) async fn change_limits(
    which: &SteeredRun,
    change: &Change,
    config: Option<&Path>,
) -> Result<(), Failure> {
    use upshift_shared::ledger::run::RunState as S;
    let mut steered = Steered::open(which, config).await?;
    match steered.row.state {
        S::Committed => return Err(steered.has_ended()),
        S::RolledBack if steered.row.rollback_to.is_none() => return Err(steered.has_ended()),
        _ => {}
    }
    let heeded = steered.ask(change).await?;
    let (run, after) = (steered.row.run, &steered.after);
    print(&heeded, which.json, || match heeded.in_force() {
        Some(in_force) => format!("run {run}: {}", limits(in_force)),
        None => format!(
            "nobody drives run {run}: this holds when it goes on with: {}",
            after.command("resume")
        ),
    })
}

impl Steered {
    /// There is nothing to steer any more.
    pub(super) fn has_ended(&self) -> Failure {
        Failure::refused(format!(
            "run {} is {}: it has ended",
            self.row.run, self.row.state
        ))
    }
}

/// Ends the pause of a run that somebody drives. `false` where there is none: then the run is to be
/// resumed.
///
/// # Errors
/// When its driver takes no notice.
pub(super) async fn unpaused(
    mut steered: Steered,
    change: Change,
    json: bool,
) -> Result<bool, Failure> {
    let control = control::read(&mut steered.conn, steered.row.run).await?;
    let paused = control.paused || control.in_force.is_some_and(|now| now.paused);
    let driven = coordination::database_lock_holder(&mut steered.conn).await?;
    if !paused || driven.is_none() {
        return Ok(false);
    }
    let change = Change {
        paused: Some(Pause::End),
        ..change
    };
    let heeded = steered.ask(&change).await?;
    // A driver that is gone by now may be about to go on: before a snapshot it ends, and another follows.
    if !heeded.was_seen() {
        return Ok(false);
    }
    let (run, limits) = (steered.row.run, heeded.in_force().map(limits));
    let limits = limits.unwrap_or_else(|| "and has come to the end of its part".to_owned());
    print(&heeded, json, || {
        format!("run {run} is no longer paused: its driver goes on, {limits}")
    })?;
    Ok(true)
}

/// `2 workers, 2 units at once, 2 of them of one task`, and what holds them back.
pub(super) fn limits(in_force: &InForce) -> String {
    let mut text = format!(
        "{}, {}, {} of them of one task",
        figures::counted(u64::from(in_force.workers), "worker"),
        units_at_once(in_force.max_units),
        figures::count(u64::from(in_force.max_units_per_task))
    );
    for throttled in &in_force.throttled {
        text.push_str(&format!(
            "; throttled by {}, {}: {}",
            throttled.signal,
            units_at_once(throttled.units),
            throttled.reason
        ));
    }
    text
}

/// Who asks, for people.
fn operator() -> String {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|host| host.into_string().ok());
    let user = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map_or_else(|| "somebody".to_owned(), |user| user.name);
    format!("{user} on {}", host.as_deref().unwrap_or("localhost"))
}
