//! Conducts a fleet: the one loop that hands what happens to its state machine and does what that says.
//!
//! Order of shutdown: no member begins any more, runs end when their units have and stay as they stand,
//! the loop that drives them ends, its workers do, the folder is given back.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    clock::{self, Stopwatch},
    fleet::MemberName,
};

use super::{
    super::Failure,
    beginning::Asked,
    budget::{Asking, Budget, Said},
    conducting::{Conductor, Work},
    doing::{self, Ended, HookCall},
    finding::Entries,
    home::Home,
    hooks::Told,
    loads::Loads,
    shown::Shown,
    telling::Telling,
};
use crate::{
    engine::Load,
    fleet::{
        Fleet, FleetCommand, FleetEvent, FleetOrder, HookKind, MemberId, MemberState, Standing,
        room,
    },
};

/// How often it is looked for orders that were left.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is told how the fleet stands, where that has changed; with many members less often.
const TELL: Duration = Duration::from_secs(1);
/// So many members are written out in a second at most.
const TOLD_IN_A_SECOND: u32 = 1000;
/// How long units in flight, and hooks, may take when the process is to end. What follows may take 40 seconds,
/// and systemd kills after 90.
const LEAVE: Duration = Duration::from_secs(45);
/// How the message begins with which a process ends that was told to stop.
pub(super) const STOPPED: &str = "stopped";
/// Databases that are worked on at once at the most, for each worker, where the file does not say less:
/// while one is begun or ends its workers are another's.
const PER_WORKER: u32 = 2;
/// Units of one database at once, where nobody says: others want workers too.
pub(in crate::command) const UNITS: u32 = 4;

/// A fleet that this process conducts.
pub(super) struct Running {
    pub(super) fleet: Fleet,
    pub(super) home: Arc<dyn Home>,
    conductor: Arc<Conductor>,
    entries: Arc<Entries>,
    work: JoinSet<Ended>,
    /// How to stop what is being done to each member.
    stops: HashMap<MemberId, CancellationToken>,
    leaving: CancellationToken,
    wake: Option<Duration>,
    telling: Telling,
    looks: Interval,
    loads: Loads,
    connections: Asking,
    /// Databases at once, by what the workers had to do when that was asked last.
    limit: Option<u32>,
    /// Whether there is no worker.
    unserved: bool,
    /// When it was last told how the fleet stands; and whether that has changed since.
    told: (Stopwatch, bool),
}

/// What can happen.
enum Happened {
    Ended(Box<Ended>),
    Broken(String),
    Due,
    Look,
    Load(Load),
    Connections(Said),
    ToldToStop,
}

impl Running {
    pub(super) fn new(
        fleet: Fleet,
        home: Arc<dyn Home>,
        (conductor, entries, budget): (Conductor, Arc<Entries>, Budget),
        telling: Telling,
    ) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let loads = Loads::of(conductor.hub.clone());
        Self {
            fleet,
            home,
            conductor: Arc::new(conductor),
            entries,
            work: JoinSet::new(),
            stops: HashMap::new(),
            leaving: CancellationToken::new(),
            wake: None,
            telling,
            looks,
            loads,
            connections: budget.watch(),
            limit: None,
            unserved: false,
            told: (Stopwatch::start(), true),
        }
    }

    /// Members that an order did not bring where it was to.
    pub(super) fn missed(&self, order: &FleetOrder) -> Vec<String> {
        let missed = self.fleet.missed(order).into_iter();
        let names = missed.map(|member| self.fleet.name(member).to_string());
        names.collect()
    }

    pub(super) fn shown(&self, conducted: bool) -> Shown {
        let shown = Shown::of(&self.fleet, clock::since_epoch(), conducted);
        match conducted && self.unserved && self.fleet.standing() == Standing::Going {
            true => shown.without_workers(),
            false => shown,
        }
    }

    /// Until there is nothing more to do, or it is told to stop.
    pub(super) async fn run(
        &mut self,
        asked: Asked,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if asked.only_orders {
            self.fleet.only_orders();
        }
        let capacity = u64::from(asked.workers);
        let load = Load {
            capacity,
            ..Load::default()
        };
        // Nothing is begun before what was ordered: an earlier order may be overruled by that.
        let limit = room(&load, 0);
        self.limit = Some(limit);
        self.fleet.limit(limit);
        for line in self.fleet.short_waves() {
            self.telling.warn(&line);
        }
        for order in asked.orders {
            if let Some(why) = self.feed(FleetEvent::Ordered(order)).await? {
                return Err(Failure::refused(why));
            }
        }
        self.feed(FleetEvent::Tick).await?;
        self.tell(true);
        loop {
            if self.work.is_empty() && matches!(self.fleet.standing(), Standing::Ended(_)) {
                // One that was left in the last moment is not left behind.
                if !self.take_orders().await? {
                    return Ok(());
                }
                continue;
            }
            match self.next(stop).await {
                Happened::Ended(ended) => self.ended(*ended).await?,
                Happened::Broken(what) => return Err(Failure::failed(what)),
                Happened::Due => self.feed(FleetEvent::Tick).await.map(drop)?,
                Happened::Look => {
                    // A clock may have been set, or a machine have slept, while it was waited for.
                    if self.wake.is_some_and(|at| at <= clock::since_epoch()) {
                        self.feed(FleetEvent::Tick).await?;
                    }
                    self.take_orders().await?;
                    self.tell(false);
                }
                Happened::Load(load) => self.make_room(&load).await?,
                Happened::Connections(said) => self.heed_connections(said).await?,
                Happened::ToldToStop => {
                    let owed = self.leave().await;
                    return Err(Failure::failed(format!("{STOPPED}{owed}")));
                }
            }
        }
    }

    /// As many databases at once as keep the workers busy.
    async fn make_room(&mut self, load: &Load) -> Result<(), Failure> {
        let unserved = load.capacity == 0;
        self.told.1 |= std::mem::replace(&mut self.unserved, unserved) != unserved;
        let active = self.fleet.tally(None).active();
        let workers = u32::try_from(load.capacity).unwrap_or(u32::MAX);
        let most = workers.saturating_mul(PER_WORKER).max(2);
        let max_databases = Some(room(load, active).min(most));
        if max_databases == self.limit {
            return Ok(());
        }
        self.limit = max_databases;
        let event = FleetEvent::Limited { max_databases };
        self.feed(event).await.map(drop)
    }

    /// As many databases of each server at once as its connections allow now.
    async fn heed_connections(&mut self, said: Said) -> Result<(), Failure> {
        for (server, connections) in said {
            let max_databases = connections.with(self.fleet.active_on(&server));
            tracing::debug!(%server, max_databases, "a server was asked for its connections");
            let server = server.to_string();
            let event = FleetEvent::ServerLimited {
                server,
                max_databases,
            };
            self.feed(event).await?;
        }
        Ok(())
    }

    async fn next(&mut self, stop: &CancellationToken) -> Happened {
        let due = self.wake.map(|at| at.saturating_sub(clock::since_epoch()));
        tokio::select! {
            Some(ended) = self.work.join_next() => match ended {
                Ok(ended) => Happened::Ended(Box::new(ended)),
                Err(error) => Happened::Broken(format!("a defect in what conducts a fleet: {error}")),
            },
            () = sleep(due.unwrap_or_default()), if due.is_some() => Happened::Due,
            _ = self.looks.tick() => Happened::Look,
            load = self.loads.next() => Happened::Load(load),
            said = self.connections.next() => Happened::Connections(said),
            () = stop.cancelled() => Happened::ToldToStop,
        }
    }

    /// Nothing begins any more, and what is being done ends, or is left to be gone on with. What is owed to
    /// members then, in words.
    async fn leave(&mut self) -> String {
        self.telling
            .say("stops when the units in flight have ended");
        self.leaving.cancel();
        let mut owed: BTreeSet<MemberName> = match self.fleet.order().hooks.after {
            Some(_) => self.fleet.place().attended.keys().cloned().collect(),
            None => BTreeSet::new(),
        };
        let ended = async {
            while let Some(ended) = self.work.join_next().await {
                if let Ok(Ended {
                    event,
                    member,
                    done,
                }) = ended
                {
                    let is_first = self.fleet.state(member) == MemberState::HookBefore;
                    let is_done = match event {
                        // Nobody was disturbed.
                        FleetEvent::Ended { .. } => is_first,
                        FleetEvent::HookEnded { result, .. } => !is_first && result.is_ok(),
                        _ => false,
                    };
                    if is_done {
                        owed.remove(&done.member);
                    }
                    self.home.note(&done).await;
                }
            }
        };
        // What takes longer is found in the ledgers, as all of it is: the state machine hears no more.
        let _late = timeout(LEAVE, ended).await;
        match (owed.len(), &self.fleet.order().hooks.before) {
            (0, _) => String::new(),
            (1, Some(_)) => "; 1 database has had its hook before and not the one after".to_owned(),
            (many, Some(_)) => {
                format!("; {many} databases have had their hook before and not the one after")
            }
            (1, None) => "; 1 database waits for its hook after".to_owned(),
            (many, None) => format!("; {many} databases wait for their hook after"),
        }
    }

    /// Takes up what operators have left; whether there was anything.
    async fn take_orders(&mut self) -> Result<bool, Failure> {
        let left = self.home.left();
        for left in &left {
            self.telling.ordered(&left.order);
            let event = FleetEvent::Ordered(left.order.clone());
            let (commands, refused) = match self.fleet.handle(event, clock::since_epoch()) {
                Ok(commands) => (commands, None),
                Err(refusal) => (Vec::new(), Some(refusal.to_string())),
            };
            let changed = commands.contains(&FleetCommand::Record);
            let place = changed.then(|| self.fleet.place());
            self.home.taken(left, refused, place).await?;
            self.told.1 = true;
            for command in commands {
                if command != FleetCommand::Record {
                    self.execute(command).await?;
                }
            }
        }
        Ok(!left.is_empty())
    }

    async fn ended(&mut self, ended: Ended) -> Result<(), Failure> {
        self.stops.remove(&ended.member);
        self.home.note(&ended.done).await;
        self.telling.ended(&ended.done);
        if let Some(why) = self.feed(ended.event).await? {
            tracing::warn!(why, "what a member came to was not expected");
        }
        Ok(())
    }

    /// Tells the state machine of something and does what it says; why it refused, where it did.
    async fn feed(&mut self, event: FleetEvent) -> Result<Option<String>, Failure> {
        if event == FleetEvent::Tick {
            self.wake = None;
        }
        let commands = match self.fleet.handle(event, clock::since_epoch()) {
            Ok(commands) => commands,
            Err(refusal) => return Ok(Some(refusal.to_string())),
        };
        self.told.1 = true;
        for command in commands {
            self.execute(command).await?;
        }
        Ok(None)
    }

    async fn execute(&mut self, command: FleetCommand) -> Result<(), Failure> {
        match command {
            FleetCommand::Record => return self.home.record(self.fleet.place()).await,
            FleetCommand::Wake { at } => self.wake = Some(at),
            FleetCommand::WaveEnded { wave } => {
                let tally = self.fleet.tally(Some(wave));
                self.telling.wave_ended(&self.wave_name(wave), &tally);
            }
            FleetCommand::AwaitApproval { wave } => {
                self.telling.awaits_approval(&self.wave_name(wave));
            }
            FleetCommand::Ended(_) => {}
            FleetCommand::Stop { member } => {
                if let Some(stop) = self.stops.get(&member) {
                    stop.cancel();
                }
            }
            FleetCommand::Begin { member, unasked } => {
                let work = Work::Upgrade {
                    wave: self.fleet.wave(member),
                    unasked,
                    until: self.fleet.is_to_end_by(member),
                };
                self.work_on(member, work);
            }
            FleetCommand::Commit { member } => self.work_on(member, Work::Commit),
            FleetCommand::RollBack { member, force } => {
                self.work_on(member, Work::RollBack { force });
            }
            FleetCommand::Hook {
                member,
                hook,
                outcome,
            } => self.hook(member, hook, outcome),
        }
        Ok(())
    }

    fn wave_name(&self, wave: u32) -> String {
        let wave = self.fleet.order().waves.get(wave as usize);
        wave.map(|wave| wave.name.clone()).unwrap_or_default()
    }

    fn work_on(&mut self, member: MemberId, work: Work) {
        let stop = self.leaving.child_token();
        self.stops.insert(member, stop.clone());
        let (name, conductor) = (self.fleet.name(member), Arc::clone(&self.conductor));
        let ordered = self.fleet.is_ordered(member).then(|| work.verb());
        let audit = self.home.audit(ordered, &name, self.fleet.wave(member));
        self.work.spawn(doing::work(
            (member, name),
            (work, audit),
            (conductor, stop),
        ));
    }

    fn hook(&mut self, member: MemberId, kind: HookKind, outcome: &'static str) {
        let hooks = &self.fleet.order().hooks;
        let hook = match kind {
            HookKind::Before => hooks.before.clone(),
            HookKind::After => hooks.after.clone(),
        };
        let wave = self.fleet.wave(member).map(|wave| self.wave_name(wave));
        let told = Told {
            fleet: self.fleet.order().name.clone(),
            wave: wave.unwrap_or_default(),
            server: self.fleet.server(member).to_owned(),
            member: self.fleet.name(member),
            outcome,
        };
        let call = HookCall {
            member,
            kind,
            hook,
            target: self.entries.target(&told.member),
            until: self.fleet.is_to_end_by(member),
            told,
        };
        self.work
            .spawn(doing::hook(call, Arc::clone(&self.conductor)));
    }

    /// Tells how the fleet stands: whoever asks for it in other processes, and on the terminal.
    fn tell(&mut self, first: bool) {
        let members = u32::try_from(self.fleet.members().count()).unwrap_or(u32::MAX);
        let every = TELL * (members / TOLD_IN_A_SECOND).max(1);
        if !first && (!self.told.1 || self.told.0.elapsed() < every) {
            return;
        }
        self.told = (Stopwatch::start(), false);
        let shown = self.shown(true);
        let waits = matches!(
            self.fleet.standing(),
            Standing::Paused | Standing::OutsideWindow { .. }
        );
        self.telling.stands(&shown.standing, waits);
        self.telling.progress(&self.fleet.tally(None));
        self.home.tell(shown);
    }
}
