//! A scripted conductor for tests: a model of ledgers, hooks and runs around one fleet, with a clock that
//! moves only when told. What must always hold it checks at every command (`invariants`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use upshift_shared::fleet::{
    Caps, CommitPolicy, FleetFile, Hook, Hooks, Labels, MemberName, Order, Wave,
};

use super::{
    Fleet, FleetCommand, FleetEnd, FleetEvent, FleetOrder, FleetPlace, Found, HookKind, Member,
    MemberId,
    invariants::{Invariants, Look},
};

/// What is being done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Hook(HookKind),
    Upgrade {
        stopping: bool,
    },
    Commit,
    RollBack,
    /// What was to be done cannot be: its ledger says how it stands.
    Look,
}

/// What becomes of a member's jobs, however often they are begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    /// So many attempts to upgrade it fail first.
    pub(super) failures: u32,
    /// So many hooks of it fail first.
    pub(super) hook_failures: u32,
    /// Its first way back gets stuck.
    pub(super) stuck: bool,
    /// It turns out that it cannot be upgraded.
    pub(super) refused: bool,
}

/// What a ledger has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) found: Found,
    pub(super) wave: Option<u32>,
    /// The last failure of its run.
    pub(super) failure: Option<String>,
}

/// A fleet and all around it.
pub(super) struct Conductor {
    pub(super) order: FleetFile,
    pub(super) fleet: Fleet,
    members: Vec<Member>,
    pub(super) fates: BTreeMap<MemberName, Fate>,
    pub(super) ledgers: BTreeMap<MemberName, Row>,
    /// Members whose ledgers could not be asked when it was begun, and have not been since.
    unknown: BTreeSet<MemberId>,
    /// What is durable of the place.
    stored: FleetPlace,
    pub(super) jobs: Vec<(MemberId, Job)>,
    /// The last hook of each member that has ended well.
    pub(super) hooks: BTreeMap<MemberName, HookKind>,
    pub(super) now: Duration,
    pub(super) wake: Option<Duration>,
    pub(super) end: Option<FleetEnd>,
    pub(super) said: Vec<String>,
    invariants: Invariants,
}

impl Conductor {
    pub(super) fn new(order: FleetFile, members: Vec<Member>) -> Self {
        let now = Duration::from_secs(1_000_000);
        let place = FleetPlace::default();
        let fleet = Fleet::new(order.clone(), members.clone(), place.clone(), now);
        let row = |member: &Member| Row {
            found: member.found.clone(),
            wave: member.wave,
            failure: None,
        };
        Self {
            invariants: Invariants::new(&fleet),
            fleet,
            ledgers: members.iter().map(|m| (m.name.clone(), row(m))).collect(),
            fates: members
                .iter()
                .map(|m| (m.name.clone(), Fate::default()))
                .collect(),
            order,
            members,
            unknown: BTreeSet::new(),
            stored: place,
            jobs: Vec::new(),
            hooks: BTreeMap::new(),
            now,
            wake: None,
            end: None,
            said: Vec::new(),
        }
    }

    /// Sends an event and does what is commanded; what was said, in short words.
    pub(super) fn feed(&mut self, event: FleetEvent) -> Vec<String> {
        let commands = self.fleet.handle(event, self.now).expect("the event fits");
        self.carry_out(commands)
    }

    /// What an operator orders, as far as it is taken.
    pub(super) fn order(&mut self, order: FleetOrder) -> Result<Vec<String>, String> {
        let before = self.fleet.place().clone();
        match self
            .fleet
            .handle(FleetEvent::Ordered(order.clone()), self.now)
        {
            Ok(commands) => {
                self.invariants.ordered(&order, &self.fleet);
                Ok(self.carry_out(commands))
            }
            Err(refusal) => {
                assert_eq!(
                    *self.fleet.place(),
                    before,
                    "a refused order changed something"
                );
                Err(refusal.to_string())
            }
        }
    }

    pub(super) fn tick(&mut self) -> Vec<String> {
        self.feed(FleetEvent::Tick)
    }

    fn carry_out(&mut self, commands: Vec<FleetCommand>) -> Vec<String> {
        let mut said = Vec::new();
        for command in commands {
            said.push(self.describe(&command));
            match command {
                FleetCommand::Record => self.stored = self.fleet.place().clone(),
                FleetCommand::Hook { member, hook, .. } => {
                    self.jobs.push((member, Job::Hook(hook)))
                }
                FleetCommand::Begin { member, unasked } => self.begins(member, unasked),
                FleetCommand::Stop { member } => {
                    let job = self.jobs.iter_mut().find(|(own, _)| *own == member);
                    let (_, job) = job.expect("it is being upgraded");
                    if *job != Job::Look {
                        assert_eq!(*job, Job::Upgrade { stopping: false }, "it is stopped once");
                        *job = Job::Upgrade { stopping: true };
                    }
                }
                FleetCommand::Commit { member } => {
                    self.invariants.commits(&self.look(), member);
                    if self.row(member).found == Found::Prepared {
                        self.jobs.push((member, Job::Commit));
                    } else {
                        assert!(self.unknown.contains(&member), "it is not prepared");
                        self.jobs.push((member, Job::Look));
                    }
                }
                FleetCommand::RollBack { member, .. } => {
                    let is_unknown = self.unknown.contains(&member);
                    let row = self.row(member);
                    if matches!(
                        row.found,
                        Found::Committed
                            | Found::Untouched
                            | Found::Current
                            | Found::Refused(_)
                            | Found::RolledBack(_)
                    ) {
                        assert!(is_unknown, "{row:?} is to be brought back");
                        self.jobs.push((member, Job::Look));
                    } else {
                        row.found = Found::RollingBack;
                        self.jobs.push((member, Job::RollBack));
                    }
                }
                FleetCommand::Wake { at } => {
                    assert!(at > self.now, "it is to be woken in the past");
                    self.wake = Some(at);
                }
                FleetCommand::Ended(end) => self.end = Some(end),
                FleetCommand::WaveEnded { .. } | FleetCommand::AwaitApproval { .. } => {}
            }
        }
        assert_eq!(
            self.stored,
            *self.fleet.place(),
            "the place was not recorded"
        );
        self.invariants.handled(&Look {
            fleet: &self.fleet,
            order: &self.order,
            jobs: &self.jobs,
            ledgers: &self.ledgers,
        });
        self.said.extend(said.iter().cloned());
        said
    }

    fn begins(&mut self, member: MemberId, unasked: bool) {
        self.invariants.begins(&self.look(), member);
        let is_unknown = self.unknown.contains(&member);
        let wave = self.fleet.wave(member);
        let row = self.row(member);
        let is_over = matches!(
            row.found,
            Found::Prepared | Found::Committed | Found::RollingBack | Found::Current
        );
        assert!(is_unknown || !unasked);
        let is_left = unasked && matches!(row.found, Found::RolledBack(_) | Found::Failed(_));
        // Whoever names one that was refused has it tried.
        let is_refused = is_unknown && matches!(row.found, Found::Refused(_));
        if is_over || is_refused || is_left {
            assert!(is_unknown, "{row:?} was begun");
            return self.jobs.push((member, Job::Look));
        }
        row.found = Found::Running;
        row.wave = row.wave.or(wave);
        self.jobs.push((member, Job::Upgrade { stopping: false }));
    }

    fn look(&self) -> Look<'_> {
        Look {
            fleet: &self.fleet,
            order: &self.order,
            jobs: &self.jobs,
            ledgers: &self.ledgers,
        }
    }

    pub(super) fn row(&mut self, member: MemberId) -> &mut Row {
        let name = self.fleet.name(member);
        self.ledgers.get_mut(&name).expect("it has a ledger")
    }

    /// A job ends as its member's fate says.
    pub(super) fn finish(&mut self, place: usize) -> Vec<String> {
        let (member, job) = self.jobs.remove(place);
        let name = self.fleet.name(member);
        let fate = self.fates.get_mut(&name).expect("it has a fate");
        let found = match job {
            Job::Hook(hook) => {
                let result = match fate.hook_failures.checked_sub(1) {
                    Some(left) => {
                        fate.hook_failures = left;
                        Err("exit status 1".to_owned())
                    }
                    None => {
                        self.hooks.insert(name, hook);
                        Ok(())
                    }
                };
                if result.is_err() {
                    self.invariants.failed(member);
                }
                return self.feed(FleetEvent::HookEnded { member, result });
            }
            Job::Upgrade { stopping: true } => Found::Running,
            Job::Upgrade { stopping: false } if fate.refused => {
                Found::Refused("too old".to_owned())
            }
            Job::Upgrade { stopping: false } => match fate.failures.checked_sub(1) {
                Some(left) => {
                    fate.failures = left;
                    self.invariants.failed(member);
                    Found::Failed("a check fails".to_owned())
                }
                None => Found::Prepared,
            },
            Job::Commit => Found::Committed,
            Job::Look => return self.looked(member),
            Job::RollBack if fate.stuck => {
                fate.stuck = false;
                self.invariants.failed(member);
                Found::Stuck("an undo fails".to_owned())
            }
            Job::RollBack => {
                let why = self.row(member).failure.clone();
                if why.is_some() && self.unknown.contains(&member) {
                    self.invariants.failed(member);
                }
                Found::RolledBack(why)
            }
        };
        self.unknown.remove(&member);
        let row = self.row(member);
        if let Found::Failed(why) = &found {
            row.failure = Some(why.clone());
        }
        row.found = match &found {
            Found::Refused(_) => Found::Untouched,
            found => found.clone(),
        };
        self.feed(FleetEvent::Ended { member, found })
    }

    /// A ledger that could not be asked has been.
    fn looked(&mut self, member: MemberId) -> Vec<String> {
        self.unknown.remove(&member);
        let found = self.row(member).found.clone();
        // Nobody knew that any more.
        if matches!(
            found,
            Found::Failed(_) | Found::RolledBack(Some(_)) | Found::Stuck(_)
        ) {
            self.invariants.failed(member);
        }
        let said = self.feed(FleetEvent::Ended { member, found });
        if self.fleet.has_failed(member) {
            self.invariants.failed(member);
        }
        said
    }

    /// All jobs end, one after the other, until there are none.
    pub(super) fn finish_all(&mut self) {
        let mut left = 20_000;
        while !self.jobs.is_empty() {
            self.finish(0);
            left -= 1;
            assert!(left > 0, "it does not come to an end: {:?}", self.jobs);
        }
    }

    /// Everything dies, and goes on from the ledgers, and from the place unless that is lost.
    pub(super) fn crash(&mut self, lost: bool) {
        self.crash_and_miss(lost, &|_| false);
    }

    /// The same; members that `missing` names cannot be looked at then.
    pub(super) fn crash_and_miss(&mut self, lost: bool, missing: &dyn Fn(&MemberName) -> bool) {
        self.restart(lost, missing);
        self.tick();
    }

    /// The same, before anything is begun again.
    pub(super) fn restart(&mut self, lost: bool, missing: &dyn Fn(&MemberName) -> bool) {
        if lost {
            self.stored = FleetPlace::default();
        }
        self.jobs.clear();
        let found = self.members.iter().map(|member| {
            let row = &self.ledgers[&member.name];
            // Those that are left alone would be counted among the others.
            let is_missing =
                missing(&member.name) && (row.wave.is_some() || row.found == Found::Untouched);
            Member {
                found: match is_missing {
                    true => Found::Unknown("no answer".to_owned()),
                    false => row.found.clone(),
                },
                wave: row.wave,
                ..member.clone()
            }
        });
        self.fleet = Fleet::new(
            self.order.clone(),
            found.collect(),
            self.stored.clone(),
            self.now,
        );
        (self.wake, self.end) = (None, None);
        let members = self.fleet.members();
        self.unknown = members
            .filter(|member| missing(&self.fleet.name(*member)))
            .collect();
        self.invariants.crashed(&self.fleet, lost);
    }

    /// The time at which it wants to be woken comes.
    pub(super) fn pass_time(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.tick();
    }

    /// A command in short words.
    fn describe(&self, command: &FleetCommand) -> String {
        let name = |member: &MemberId| self.fleet.name(*member).to_string();
        match command {
            FleetCommand::Record => "record".to_owned(),
            FleetCommand::Hook {
                member,
                hook,
                outcome,
            } => {
                format!("{hook:?} {} {outcome}", name(member))
            }
            FleetCommand::Begin {
                member,
                unasked: true,
            } => format!("ask and begin {}", name(member)),
            FleetCommand::Begin { member, .. } => format!("begin {}", name(member)),
            FleetCommand::Stop { member } => format!("stop {}", name(member)),
            FleetCommand::Commit { member } => format!("commit {}", name(member)),
            FleetCommand::RollBack {
                member,
                force: true,
            } => format!("roll back {} by force", name(member)),
            FleetCommand::RollBack { member, .. } => format!("roll back {}", name(member)),
            FleetCommand::WaveEnded { wave } => format!("wave {wave} ended"),
            FleetCommand::AwaitApproval { wave } => format!("wave {wave} awaits approval"),
            FleetCommand::Ended(end) => format!("{end:?}"),
            FleetCommand::Wake { .. } => "wake".to_owned(),
        }
    }
}

/// A member `SERVER/NAME` that nobody has touched.
pub(super) fn member(server: &str, name: &str, seconds: f64) -> Member {
    Member {
        name: MemberName::on(server, name),
        server: server.to_owned(),
        labels: Labels::new(),
        bytes: (seconds * 1e6) as u64,
        seconds,
        found: Found::Untouched,
        wave: None,
    }
}

/// An order with these waves.
pub(super) fn order(waves: Vec<Wave>) -> FleetFile {
    FleetFile {
        patience: FleetFile::PATIENCE,
        name: "night".to_owned(),
        pack: PathBuf::from("pack"),
        members: Vec::new(),
        exclude: Vec::new(),
        labels: Vec::new(),
        waves,
        caps: Caps::default(),
        order: Order::ByName,
        window: None,
        commit: CommitPolicy::ByHand,
        hooks: Hooks::default(),
    }
}

pub(super) fn hooks() -> Hooks {
    let hook = |name: &str| Hook {
        command: vec![name.to_owned()],
        timeout: Duration::from_secs(60),
    };
    Hooks {
        before: Some(hook("stop")),
        after: Some(hook("start")),
    }
}
