//! A run given to the loop: its sessions, its monitor and its lock live as long as it is driven.

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Duration, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Result,
    ledger::{Holder, control::Control, options::RunOptions},
    pg::{PgConnection, Target},
    plan::Plan,
    telemetry::trace::Parent,
};

use super::{
    Aim, Ended, Limits, Rebuilt,
    drive::{Job, Notice},
    group,
    hub::{Hub, Input, Told, ended as ended_before},
    monitor::Monitor,
    operation::Scene,
    process::member,
    sessions::{Backoff, Sessions, is_connection_lost},
    steering::Steering,
};
use crate::{
    coordination::{Coordination, Held, Locked},
    engine::{Labels, ServerId},
    group::Seat,
    progress::Progress,
};

/// How long what works beside a run may take to end.
const DISMISSAL: Duration = Duration::from_secs(15);

/// What is to be driven, and what it takes.
pub struct Order {
    /// The database.
    pub target: Target,
    /// Its name, as configuration knows it.
    pub database: String,
    /// The run, taken over.
    pub holder: Holder,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// What its operator asked for.
    pub options: RunOptions,
    /// Which way.
    pub aim: Aim,
    /// How it stands.
    pub rebuilt: Rebuilt,
    /// What it may take.
    pub limits: Limits,
    /// Where it runs.
    pub place: Place,
    /// What was wanted of it before it began; `limits` heed it.
    pub control: Control,
    /// Whether an earlier attempt began it.
    pub resumed: bool,
    /// The `seq` of its last event.
    pub last_event: i64,
    /// Who is shown what happens.
    pub progress: Box<dyn Progress>,
    /// A session that is open already, and is called what those of the run are.
    pub session: Option<PgConnection>,
    /// What holds the lock.
    pub coordination: Arc<dyn Coordination>,
    /// The database's lock.
    pub lock: Box<dyn Held>,
    /// Where the run belongs to a group.
    pub seat: Option<Seat>,
    /// What its spans belong to.
    pub trace: Parent,
}

/// Where a run is among those of a cluster; for a process with one run, nothing of it is said.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The server of its database, where that has limits of its own.
    pub server: Option<ServerId>,
    /// Where workers should be.
    pub wants: Labels,
    /// Whether the server allows no more connections than units.
    pub close_connections: bool,
}

impl Hub {
    /// Drives a run to its end, or to where it has to stop. `last_words` makes, from how it ended, what
    /// the user is shown last.
    ///
    /// # Errors
    /// When the loop has ended before it began.
    pub async fn drive(
        &self,
        order: Order,
        last_words: impl FnOnce(&Ended) -> String + Send + 'static,
    ) -> Result<Conducted> {
        let run = order.holder.run;
        let told = self.told(run);
        let release = CancellationToken::new();
        let mut beside = JoinSet::new();
        let short = run.short();
        let units = order.limits.max_units;
        let sessions =
            |target, purpose| Sessions::new(target, format!("upshift {short} {purpose}"), units);
        let (steering, in_force) = Steering::begin(&order.control, &order.limits);
        let monitor = Monitor::new(
            (order.target.clone(), order.holder),
            (order.control.version, order.limits.throttle.clone()),
            told.clone(),
            in_force,
        );
        let (lock, seat) = ((order.coordination, order.lock), order.seat.clone());
        let database = order.database.clone();
        let (ended, end) = oneshot::channel();
        let job = Job {
            scene: Arc::new(Scene {
                holder: order.holder,
                plan: order.plan,
                options: order.options,
                sessions: sessions(order.target.clone(), "coordinator").with(order.session),
                aside: sessions(order.target, "events"),
                told: told.clone(),
                seat: order.seat,
            }),
            database: order.database,
            aim: order.aim,
            rebuilt: order.rebuilt,
            limits: order.limits,
            server: order.place.server,
            wants: order.place.wants,
            close_connections: order.place.close_connections,
            resumed: order.resumed,
            last_event: order.last_event,
            steering,
            progress: order.progress,
            trace: order.trace,
            last_words: Box::new(last_words),
            ended,
        };
        // Before what works beside the run, whose notices would find nobody.
        self.send(Input::Begin(Box::new(job))).await?;
        beside.spawn(monitor.run(release.clone()));
        if let Some(seat) = seat {
            beside.spawn(group::listen(seat, told.clone(), release.clone()));
        }
        beside.spawn(keep_lock(lock, database, told, release.clone()));
        let ended = end.await.map_err(|_| ended_before());
        Ok(Conducted {
            ended,
            release,
            beside,
        })
    }
}

/// A run that is driven no more; its database's lock is still held.
pub struct Conducted {
    ended: Result<Ended>,
    release: CancellationToken,
    beside: JoinSet<()>,
}

impl Conducted {
    /// Gives the lock back; how the run ended.
    ///
    /// # Errors
    /// When the loop has ended before the run.
    pub async fn release(mut self) -> Result<Ended> {
        self.release.cancel();
        let all = async { while self.beside.join_next().await.is_some() {} };
        if timeout(DISMISSAL, all).await.is_err() {
            tracing::warn!("what worked beside the run did not end in time");
        }
        self.ended
    }
}

/// Holds the database's lock until `release`; takes it again where the connection was lost.
async fn keep_lock(
    (coordination, mut lock): (Arc<dyn Coordination>, Box<dyn Held>),
    database: String,
    told: Told,
    release: CancellationToken,
) {
    loop {
        let why = tokio::select! {
            () = release.cancelled() => None,
            why = lock.lost() => Some(why),
        };
        let Some(why) = why else {
            lock.release().await;
            return;
        };
        tracing::warn!(why, "the database's lock was lost");
        drop(lock);
        match lock_again(&*coordination, &database).await {
            Ok(again) => lock = again,
            Err(more) => {
                // Nobody listens when the run has just ended.
                let _ended = told.send(Notice::LockLost(format!("{why}; {more}"))).await;
                return;
            }
        }
        if told.send(Notice::LockBack).await.is_err() {
            return;
        }
    }
}

async fn lock_again(
    coordination: &dyn Coordination,
    database: &str,
) -> Result<Box<dyn Held>, String> {
    let mut backoff = Backoff::default();
    loop {
        match coordination.lock_database(database, &member()).await {
            Ok(Locked::Granted(lock)) => return Ok(lock),
            Ok(Locked::Taken { by }) => return Err(format!("now {by} holds it")),
            Err(error) if is_connection_lost(&error) => match backoff.next() {
                Some(pause) => sleep(pause).await,
                None => return Err(error.to_string()),
            },
            Err(error) => return Err(error.to_string()),
        }
    }
}
