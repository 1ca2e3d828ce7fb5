//! Conducts a fleet: the one loop that hands what happens to its state machine and does what that says.
//!
//! Order of shutdown: no member begins any more, runs end when their units have and stay as they stand,
//! the loop that drives them ends, its workers do, the folder is given back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error,
    clock::{self, Stopwatch},
    config::{Config, Environment},
    fleet::{FleetFile, MemberName},
    pack::Pack,
    telemetry::trace::Parent,
};

use super::{
    super::{
        Failure, bad_data, compiling,
        host::{ClusterHost, Host},
        signals,
    },
    budget,
    conducting::{Away, Conductor, RunLimits, Work, run_arguments},
    doing::{self, Ended, HookCall},
    finding::{Entries, Own, pack_in_words},
    home::Home,
    hooks::Told,
    loads::Loads,
    members::{Chosen, For, Surveyed, survey},
    shown::Shown,
    telling::Telling,
    variants::Variants,
};
use crate::{
    coordination::Embedded,
    driver::process::Crew,
    engine::Load,
    fleet::{
        Fleet, FleetCommand, FleetEvent, FleetOrder, FleetPlace, HookKind, MemberId, Standing, room,
    },
};

/// How often it is looked for orders that were left.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is told how the fleet stands, where that has changed; with many members less often.
const TELL: Duration = Duration::from_secs(1);
/// So many members are written out in a second at most.
const TOLD_IN_A_SECOND: u32 = 1000;
/// How long units in flight, and hooks, may take when the process is to end.
const LEAVE: Duration = Duration::from_secs(120);
/// Databases that are worked on at once at the most, for each worker, where the file does not say less:
/// while one is begun or ends its workers are another's.
const PER_WORKER: u32 = 2;
/// Units of one database at once, where nobody says: others want workers too.
pub(in crate::command) const UNITS: u32 = 4;

/// What a process is to do with a fleet.
pub(in crate::command) struct Asked {
    /// Workers that there are.
    pub(in crate::command) workers: u32,
    /// What is ordered first.
    pub(in crate::command) orders: Vec<FleetOrder>,
    /// Whether nothing is done but that.
    pub(in crate::command) only_orders: bool,
}

/// What is said of a fleet when it is begun, or gone on with.
#[derive(Debug, Default)]
pub(in crate::command) struct Given {
    /// Options of `upshift run`; where there are none, those that the order was begun with.
    pub(in crate::command) options: Vec<String>,
    /// Whether it begins once more.
    pub(in crate::command) anew: bool,
}

impl Given {
    pub(in crate::command) fn heed(&self, place: &mut FleetPlace) {
        if self.anew {
            place.begin_anew();
        }
        if self.anew || !self.options.is_empty() {
            place.options.clone_from(&self.options);
        }
    }
}

/// A fleet that is at hand: its order, and where it is at home.
pub(in crate::command) struct AtHand {
    pub(in crate::command) order: FleetFile,
    pub(in crate::command) place: FleetPlace,
    /// Whether that is not what is kept.
    pub(in crate::command) changed: bool,
    pub(in crate::command) home: Arc<dyn Home>,
    pub(in crate::command) config: Arc<Config>,
    pub(in crate::command) telling: Telling,
}

/// A fleet whose members were looked at.
pub(in crate::command) struct LookedAt {
    fleet: AtHand,
    pack: Pack,
    surveyed: Surveyed,
}

/// A fleet that this process conducts.
struct Running {
    fleet: Fleet,
    home: Arc<dyn Home>,
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
    ToldToStop,
}

/// Conducts a fleet with workers of this process until there is nothing more to do, or it is told to stop.
pub(super) async fn conduct(
    chosen: &Chosen,
    (asked, given): (Asked, Given),
    (config, telling): (Arc<Config>, Telling),
) -> Result<Shown, Failure> {
    let _lock = chosen.folder.lock().await?;
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    signals::cancel_on_signal(&mut background, stop.clone())?;
    let stored = chosen.folder.place()?;
    let mut place = stored.clone();
    given.heed(&mut place);
    if !asked.only_orders {
        let fits = place.fits(&chosen.order);
        fits.map_err(|refusal| Failure::refused(refusal.to_string()))?;
    }
    chosen.folder.take_over()?;
    let at_hand = AtHand {
        order: chosen.order.clone(),
        changed: place != stored,
        place,
        home: Arc::new(chosen.folder.clone()),
        config,
        telling,
    };
    let looked_at = stop.run_until_cancelled(Box::pin(at_hand.look())).await;
    let looked_at = looked_at.unwrap_or_else(|| Err(Failure::failed("stopped")))?;
    let resolver = Arc::clone(&looked_at.surveyed.entries);
    let resolve = move |name: &str| {
        let found = resolver.target(&MemberName::from(name.to_owned()));
        found.map_err(|failure| Error::Config(failure.message().to_owned()))
    };
    let (crew, hub) = Crew::assemble(Arc::new(resolve), asked.workers)?;
    let host = ClusterHost {
        hub,
        coordination: Arc::new(Embedded::default()),
        servers: Arc::default(),
        takes_over: false,
        trace: Parent::of_environment(&Environment::capture()),
        units: UNITS,
    };
    let limits = RunLimits::default();
    let conducted = Box::pin(looked_at.conduct((host, limits), asked, &stop)).await;
    crew.dismiss().await;
    background.abort_all();
    conducted
}

impl AtHand {
    /// Looks at its members.
    pub(in crate::command) async fn look(mut self) -> Result<LookedAt, Failure> {
        // What is wrong with the pack is said before anything is looked at.
        let pack = tokio::task::block_in_place(|| compiling::load(&self.order.pack))?;
        let named = pack_in_words(&pack);
        let before = self.place.pack.get_or_insert_with(|| {
            self.changed = true;
            named.clone()
        });
        if *before != named {
            return Err(Failure::refused(format!(
                "the fleet was begun with pack {before}, and this is {named}: give the order another name, or begin \
                 it once more with --anew"
            )));
        }
        let of = (&self.order, &*self.home);
        let why = (&self.place, For::Run);
        let surveyed = Box::pin(survey(of, Arc::clone(&self.config), why)).await?;
        for unasked in &surveyed.unasked {
            self.telling.warn(&format!(
                "{} cannot be had: {}",
                unasked.source, unasked.why
            ));
        }
        Ok(LookedAt {
            fleet: self,
            pack,
            surveyed,
        })
    }
}

impl LookedAt {
    /// Conducts it until there is nothing more to do, or it is told to stop; `host` drives its runs.
    pub(in crate::command) async fn conduct(
        self,
        (host, limits): (ClusterHost, RunLimits),
        asked: Asked,
        stop: &CancellationToken,
    ) -> Result<Shown, Failure> {
        let Self {
            fleet,
            pack,
            surveyed,
        } = self;
        let AtHand {
            mut order,
            place,
            changed,
            home,
            config,
            telling,
        } = fleet;
        let Surveyed {
            members,
            entries,
            unasked,
            ..
        } = surveyed;
        let told = budget::heed(&mut order, (&members, &entries)).await;
        told.iter().for_each(|line| telling.say(line));
        limits.heed(&mut order.caps);
        let with = (config, Arc::clone(&entries));
        let conductor = conductor(&place, (&order, pack), with, (host, limits))?;
        if changed {
            home.record(&place).await?;
        }
        let fleet = Fleet::new(order, members, place, clock::since_epoch());
        let ordered = asked.orders.first().cloned();
        let mut running = Running::new(fleet, home, (conductor, entries), telling);
        let run = Box::pin(running.run(asked, stop)).await;
        running.home.tell(running.shown(false));
        run?;
        match unasked.is_empty() {
            true => Ok(Shown {
                missed: ordered.map_or_else(Vec::new, |order| running.missed(&order)),
                ..running.shown(false)
            }),
            false => Err(Failure::failed(
                "not all that [[members]] names could be asked: what is there was not upgraded",
            )),
        }
    }
}

/// What conducts its members, by options of `upshift run`.
fn conductor(
    place: &FleetPlace,
    (order, pack): (&FleetFile, Pack),
    (config, entries): (Arc<Config>, Arc<Entries>),
    (host, limits): (ClusterHost, RunLimits),
) -> Result<Conductor, Failure> {
    let hub = host.hub.clone();
    let host = Host::Cluster(Box::new(host));
    let arguments = run_arguments(&place.options, &order.pack, host)?;
    let options = arguments.ordering().options(&config.run);
    let mut compiled = arguments.pack().options();
    let remark = bad_data::heed(&options, &mut compiled)?;
    Ok(Conductor {
        own: Own::of(order, place),
        patience: order.patience,
        away: Away::default(),
        variants: Variants::new(pack, compiled, remark),
        config,
        entries,
        arguments,
        options,
        hub,
        limits,
    })
}

impl Running {
    fn new(
        fleet: Fleet,
        home: Arc<dyn Home>,
        (conductor, entries): (Conductor, Arc<Entries>),
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
            limit: None,
            unserved: false,
            told: (Stopwatch::start(), true),
        }
    }

    /// Members that an order did not bring where it was to.
    fn missed(&self, order: &FleetOrder) -> Vec<String> {
        let missed = self.fleet.missed(order).into_iter();
        let names = missed.map(|member| self.fleet.name(member).to_string());
        names.collect()
    }

    fn shown(&self, conducted: bool) -> Shown {
        let shown = Shown::of(&self.fleet, clock::since_epoch(), conducted);
        match conducted && self.unserved && self.fleet.standing() == Standing::Going {
            true => shown.without_workers(),
            false => shown,
        }
    }

    /// Until there is nothing more to do, or it is told to stop.
    async fn run(&mut self, asked: Asked, stop: &CancellationToken) -> Result<(), Failure> {
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
                Happened::ToldToStop => {
                    self.leave().await;
                    return Err(Failure::failed("stopped"));
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
            () = stop.cancelled() => Happened::ToldToStop,
        }
    }

    /// Nothing begins any more, and what is being done ends, or is left to be gone on with.
    async fn leave(&mut self) {
        self.telling
            .say("stops when the units in flight have ended");
        self.leaving.cancel();
        let ended = async {
            while let Some(ended) = self.work.join_next().await {
                if let Ok(ended) = ended {
                    self.home.note(&ended.done).await;
                }
            }
        };
        // What takes longer is found in the ledgers, as all of it is: the state machine hears no more.
        let _late = timeout(LEAVE, ended).await;
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
                let wave = self.fleet.wave(member);
                self.work_on(member, Work::Upgrade { wave, unasked });
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
