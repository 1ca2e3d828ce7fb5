//! Looks at what operators want of the run and at the health of its server, in one query every two
//! seconds on a session of its own, and tells the driver of what has changed. And the other way round: it
//! writes what is in force into the ledger, under the run's epoch, so that any process can see it.
//!
//! Nothing that goes wrong here stops the run: it is said, and looked again. Only while nothing can be
//! seen for long is a throttle let go, because its cause may be gone.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, Result, Retry,
    clock::Stopwatch,
    ledger::{
        Holder,
        control::{self, Control, InForce},
    },
    pg::{self, PgConnection, Target},
    throttle::ThrottleLimits,
};

use super::{drive, hub::Told};
use crate::health::{Governor, Outlook};

/// When it looks first: what was wanted is known when a run begins, and one that is over by then is spared
/// a session.
const FIRST: Duration = Duration::from_secs(1);
/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// An answer later than this is none.
const DEADLINE: Duration = Duration::from_secs(10);
/// A throttle holds so long while nothing can be seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the last word, that nothing is in force any more, may take.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What has changed.
#[derive(Debug)]
pub(super) enum Notice {
    /// Somebody wants something.
    Wanted(Box<Control>),
    /// The server's health, where it is not as it was.
    Health(Outlook),
    /// Neither can be seen at present, with why.
    Blind(String),
}

/// The version that the driver has seen, and what is in force.
pub(super) type Acknowledged = (i64, InForce);

/// What has to happen next.
enum Due {
    Look,
    Say,
    Stop,
}

/// The monitor of one run.
pub(super) struct Monitor {
    target: Target,
    holder: Holder,
    told: Told,
    in_force: watch::Receiver<Acknowledged>,
    watch: Stopwatch,
    session: Option<PgConnection>,
    version: i64,
    limits: ThrottleLimits,
    governor: Governor,
    outlook: Outlook,
    /// When something was last seen.
    seen: Duration,
    blind: bool,
    /// The server does not answer what signals ask: they are not asked again until they are others.
    no_health: bool,
    /// What is in force is not yet in the ledger.
    unsaid: bool,
}

impl Monitor {
    /// For a driver that begins with these thresholds and what was wanted in this version.
    pub(super) fn new(
        (target, holder): (Target, Holder),
        (version, limits): (i64, ThrottleLimits),
        told: Told,
        in_force: watch::Receiver<Acknowledged>,
    ) -> Self {
        Self {
            target,
            holder,
            told,
            in_force,
            watch: Stopwatch::start(),
            session: None,
            version,
            governor: Governor::new(&limits),
            limits,
            outlook: Outlook::default(),
            seen: Duration::ZERO,
            blind: false,
            no_health: false,
            unsaid: true,
        }
    }

    /// Monitors until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + FIRST, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => Due::Stop,
                changed = self.in_force.changed() => match changed {
                    Ok(()) => Due::Say,
                    // The driver has ended.
                    Err(_) => Due::Stop,
                },
                _ = ticks.tick() => Due::Look,
            };
            let told = match due {
                Due::Stop => break,
                Due::Say => {
                    self.unsaid = true;
                    Ok(())
                }
                Due::Look => self.look().await,
            };
            if told.is_err() {
                // Nobody listens any more.
                break;
            }
            if self.unsaid {
                self.say().await;
            }
        }
        if let Some(conn) = &mut self.session {
            let version = self.in_force.borrow().0;
            let silence = control::acknowledge(conn, self.holder, version, None);
            // What is left there says nothing where nobody drives the run.
            let _unsaid = timeout(LAST_WORD, silence).await;
        }
    }

    /// Looks once. `Err` when nobody listens any more.
    async fn look(&mut self) -> Result<(), Gone> {
        let failure = match timeout(DEADLINE, self.ask()).await {
            Ok(Ok((control, answer))) => return self.saw(control, answer).await,
            Ok(Err(error)) => error,
            Err(_) => {
                self.session = None;
                let seconds = DEADLINE.as_secs();
                return self.missed(format!("no answer within {seconds} s")).await;
            }
        };
        let of_the_question = matches!(failure.retry(), Retry::Operator | Retry::Never)
            && failure.sqlstate().is_some();
        if of_the_question && !self.no_health {
            self.no_health = true;
            self.governor.let_go();
            let outlook = Outlook {
                holds: Vec::new(),
                unknown: vec![("health of the server", failure.to_string())],
            };
            return self.tell_health(outlook).await;
        }
        self.session = None;
        self.missed(failure.to_string()).await
    }

    async fn ask(&mut self) -> Result<(Control, Option<serde_json::Value>)> {
        let session = open(&mut self.session, &self.target).await?;
        let version = session.server_version_num().unwrap_or_default();
        let question = match self.no_health {
            true => None,
            false => self.governor.question(version),
        };
        control::look(session, self.holder.run, question.as_deref()).await
    }

    async fn saw(
        &mut self,
        control: Control,
        answer: Option<serde_json::Value>,
    ) -> Result<(), Gone> {
        let at = self.watch.elapsed();
        self.seen = at;
        self.blind = false;
        let limits = control.throttle.clone().over(&self.limits);
        if control.version != self.version {
            self.version = control.version;
            self.tell(Notice::Wanted(Box::new(control))).await?;
        }
        if limits != self.limits {
            // Other questions: their answers come with the next look.
            self.governor = Governor::new(&limits);
            self.limits = limits;
            self.no_health = false;
            return self.tell_health(Outlook::default()).await;
        }
        let Some(answer) = answer else {
            return Ok(());
        };
        let outlook = self.governor.observe(&answer, at);
        self.tell_health(outlook).await
    }

    async fn missed(&mut self, why: String) -> Result<(), Gone> {
        tracing::warn!(why, "the run is not monitored");
        if !std::mem::replace(&mut self.blind, true) {
            self.tell(Notice::Blind(why)).await?;
        }
        if self.watch.elapsed().saturating_sub(self.seen) > PATIENCE {
            let outlook = self.governor.let_go();
            self.tell_health(outlook).await?;
        }
        Ok(())
    }

    async fn tell_health(&mut self, outlook: Outlook) -> Result<(), Gone> {
        if outlook == self.outlook {
            return Ok(());
        }
        self.outlook = outlook.clone();
        self.tell(Notice::Health(outlook)).await
    }

    async fn tell(&self, notice: Notice) -> Result<(), Gone> {
        let sent = self.told.send(drive::Notice::Monitored(notice)).await;
        sent.map_err(|_| Gone)
    }

    /// Writes what is in force; again with the next look where that fails.
    async fn say(&mut self) {
        let (version, in_force) = self.in_force.borrow_and_update().clone();
        let saying = async {
            let session = open(&mut self.session, &self.target).await?;
            control::acknowledge(session, self.holder, version, Some(&in_force)).await
        };
        match timeout(DEADLINE, saying).await {
            // Who has taken the run over says what is in force; the driver will learn of it.
            Ok(Ok(()) | Err(Error::Fenced { .. })) => self.unsaid = false,
            Ok(Err(error)) => {
                tracing::warn!(%error, "what is in force could not be written");
                self.session = None;
            }
            Err(_) => self.session = None,
        }
    }
}

/// The driver has ended.
#[derive(Debug)]
struct Gone;

async fn open<'s>(
    session: &'s mut Option<PgConnection>,
    target: &Target,
) -> Result<&'s mut PgConnection> {
    let open = match session.take() {
        Some(open) => open,
        None => pg::connect(target, "upshift monitor").await?,
    };
    Ok(session.insert(open))
}
