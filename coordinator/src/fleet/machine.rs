//! A fleet under way: what it knows, and how an event leads to commands.
//!
//! ```text
//!            ┌──────────── HookBefore ◄─────────────┐
//!            ▼                                      │ its wave is open, caps, window, policy
//!   Running ──► Committing ──► HookAfter ──► at rest ├── Waiting
//!      │  failed, or ordered       ▲     (Prepared,  ├── WaitsForCommit, WaitsForRollback,
//!      └────► RollingBack ─────────┘      Failed, …) ┘   WaitsForHook   (by order, by policy)
//! ```
//!
//! How a member comes from one state to the next is in `step`, which members begin when in `dispatch`,
//! what operators order in `orders`.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use upshift_shared::fleet::{CommitPolicy, FleetFile, Then};

use super::{
    event::{FleetCommand, FleetEnd, FleetEvent, Which},
    lines::{Kind, Lines},
    member::{Found, Member, MemberId, MemberState},
    place::FleetPlace,
    roster::{Ledger, NO_WAVE, Roster, number},
    step::HAD_FAILED,
    tally::{Tally, WaveSide},
};

/// What does not fit: nothing has changed. Either an order came too late, or whoever conducts the fleet
/// has a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What is being done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Upgrade,
    Commit,
    RollBack,
    /// What is left to do after something: commit where that is due, and the hook after.
    Settle,
}

/// What has come in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// An operator wants it back.
    Back,
    /// The window has ended.
    Window,
    /// The fleet was aborted.
    Abort,
}

/// A member that something is being done to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    pub(super) goal: Goal,
    pub(super) turn: Option<Turn>,
    /// Its hook after was owed before it began.
    pub(super) owed: bool,
}

/// A fleet under way.
#[derive(Debug)]
pub struct Fleet {
    pub(super) order: FleetFile,
    pub(super) roster: Roster,
    pub(super) place: FleetPlace,
    pub(super) waves: Vec<WaveSide>,
    /// Of members that are left alone.
    pub(super) apart: Tally,
    pub(super) lines: Lines,
    /// Members whose turn came, and that would not have been through by the end of the window.
    pub(super) parked: BTreeSet<MemberId>,
    pub(super) active: HashMap<MemberId, Activity>,
    /// Waves of which so many have failed that nothing begins.
    pub(super) stopped: BTreeSet<u32>,
    /// Waves, the first so many, that have ended, were approved, and whose commits may be made.
    pub(super) passed: u32,
    /// Members with orders that are not done yet.
    pub(super) ordered: u32,
    /// Nothing is done but what is ordered.
    pub(super) only_orders: bool,
    /// Members may be missing that were there before.
    pub(super) incomplete: bool,
    pub(super) limit: Option<u32>,
    pub(super) now: Duration,
    /// When the window that is open ends.
    pub(super) open_until: Option<Duration>,
    pub(super) end: Option<FleetEnd>,
    wake: Option<Duration>,
    pub(super) dirty: bool,
    pub(super) out: Vec<FleetCommand>,
}

impl Fleet {
    /// A fleet that begins, or goes on from its place and the ledgers of its members. Nothing is
    /// commanded before the first event: send [`FleetEvent::Tick`]. `now` is the time since 1970.
    ///
    /// Of members of the same name the first counts.
    #[must_use]
    pub fn new(
        order: FleetFile,
        members: Vec<Member>,
        mut place: FleetPlace,
        now: Duration,
    ) -> Self {
        let (roster, found) = Roster::new(&order, members);
        let mut waves = Vec::new();
        let mut first = 0;
        for wave in 0..number(order.waves.len()) {
            let own = roster.entries.iter().skip(first as usize);
            let count = number(own.take_while(|entry| entry.wave == wave).count());
            waves.push(WaveSide::new(first..first + count));
            first += count;
        }
        place.opened = place.opened.min(number(waves.len()));
        let wanted = place.wanted.clone();
        let mut fleet = Self {
            passed: place.opened.saturating_sub(1),
            roster,
            place,
            waves,
            apart: Tally::default(),
            lines: Lines::default(),
            parked: BTreeSet::new(),
            active: HashMap::new(),
            stopped: BTreeSet::new(),
            ordered: 0,
            only_orders: false,
            incomplete: false,
            limit: None,
            now,
            open_until: None,
            end: None,
            wake: None,
            dirty: false,
            out: Vec::new(),
            order,
        };
        fleet.look_at_window();
        for (member, found) in (0..).map(MemberId).zip(found) {
            fleet.enter(member, MemberState::Waiting);
            fleet.adopt(member, found);
        }
        fleet.forgive_no_more();
        if std::mem::take(&mut fleet.place.resumed) {
            fleet.forgive();
        }
        for order in &wanted {
            fleet.want_again(order);
        }
        fleet
    }

    /// Failures that no ledger knows of, or that cannot be asked, are forgotten, and so is that they were
    /// forgiven: if they come again they are not.
    fn forgive_no_more(&mut self) {
        let roster = &self.roster;
        for (wave, forgiven) in &mut self.place.forgiven {
            let before = forgiven.len();
            forgiven.retain(|name| {
                let member = roster.find(name);
                let entry = member.map(|member| roster.entry(member));
                entry.is_some_and(|entry| entry.failed && entry.wave == *wave)
            });
            self.dirty |= forgiven.len() != before;
        }
        for wave in 0..number(self.waves.len()) {
            self.look_at_policy(wave);
        }
    }

    /// From now on nothing is done but what is ordered, paused or not: for a process that carries out an
    /// order while nobody drives the fleet. [`FleetEnd::Ordered`] comes when it is done.
    pub fn only_orders(&mut self) {
        self.only_orders = true;
        self.lines = Lines::default();
        for member in self.members() {
            self.wait_for(member, self.state(member));
        }
    }

    /// Some of those that were members when its waves were opened may be missing: whoever would take their
    /// places in a wave does not begin, and what comes after it does not come. What has begun goes on.
    pub fn miss_members(&mut self) {
        self.incomplete = (1..self.waves.len()).contains(&(self.place.opened as usize));
    }

    /// Takes an event and says what is to be done. `now` is the time since 1970.
    ///
    /// # Errors
    /// When the event does not fit; nothing has changed then.
    pub fn handle(
        &mut self,
        event: FleetEvent,
        now: Duration,
    ) -> Result<Vec<FleetCommand>, Refusal> {
        self.now = self.now.max(now);
        self.look_at_window();
        self.apply(event)?;
        self.go_on();
        if self.dirty {
            self.dirty = false;
            self.out.insert(0, FleetCommand::Record);
        }
        Ok(std::mem::take(&mut self.out))
    }

    /// Finds out how it stands where nobody conducts it, and commands nothing.
    pub fn look(&mut self) {
        self.advance();
        self.conclude();
        self.out.clear();
    }

    fn apply(&mut self, event: FleetEvent) -> Result<(), Refusal> {
        match event {
            FleetEvent::HookEnded { member, result } => self.hook_ended(member, result),
            FleetEvent::Ended { member, found } => self.ended(member, found),
            FleetEvent::Found { member, found } => {
                self.known(member)?;
                if !self.active.contains_key(&member) {
                    self.take_out_of_line(member);
                    self.adopt(member, found);
                }
                Ok(())
            }
            FleetEvent::Ordered(order) => self.ordered(order),
            FleetEvent::Limited { max_databases } => {
                self.limit = max_databases;
                Ok(())
            }
            FleetEvent::ServerLimited {
                server,
                max_databases,
            } => {
                self.limit_server(&server, max_databases);
                Ok(())
            }
            FleetEvent::Tick => {
                // Too early by its clock: it is asked for again.
                self.wake = self.wake.filter(|at| *at <= self.now);
                Ok(())
            }
        }
    }

    /// What follows from any event.
    fn go_on(&mut self) {
        loop {
            let opened = (self.place.opened, self.passed);
            self.advance();
            self.dispatch();
            if opened == (self.place.opened, self.passed) {
                break;
            }
        }
        if self.ordered == 0 && !self.place.wanted.is_empty() {
            self.orders_are_done();
        }
        self.conclude();
        self.set_timer();
    }

    /// Opens waves, one after the other.
    fn advance(&mut self) {
        if self.only_orders || self.incomplete {
            return;
        }
        if self.place.opened == 0 {
            self.open_next();
        }
        while self.passed < self.place.opened {
            let front = self.passed;
            let side = &mut self.waves[front as usize];
            if !side.has_ended() {
                return;
            }
            let is_empty = side.members.is_empty();
            if !side.end_told && !is_empty {
                side.end_told = true;
                self.out.push(FleetCommand::WaveEnded { wave: front });
            }
            if !self.has_something_behind(front) {
                self.passed += 1;
                return;
            }
            if self.place.aborted || self.stopped.contains(&front) {
                return;
            }
            if self.waits_for_approval(front) {
                let side = &mut self.waves[front as usize];
                if !std::mem::replace(&mut side.approval_told, true) {
                    self.out.push(FleetCommand::AwaitApproval { wave: front });
                }
                return;
            }
            if self.commits_are_due_in(front) {
                return;
            }
            self.passed += 1;
            self.open_next();
        }
    }

    /// Whether anything follows a wave: another one, or commits.
    fn has_something_behind(&self, wave: u32) -> bool {
        let is_last = wave as usize + 1 == self.waves.len();
        !is_last || self.order.commit == CommitPolicy::AfterWave
    }

    /// Whether a wave that has ended waits to be approved.
    pub(super) fn waits_for_approval(&self, wave: u32) -> bool {
        let side = &self.waves[wave as usize];
        self.order.waves[wave as usize].approval
            && !self.place.is_approved(wave)
            // One that finds nobody whom it fits may have been meant otherwise.
            && (!side.members.is_empty() || !self.order.waves[wave as usize].fits_all())
            && self.has_something_behind(wave)
    }

    /// Puts those of a wave that has ended, and that are to be committed, into a line.
    fn commits_are_due_in(&mut self, wave: u32) -> bool {
        if self.order.commit != CommitPolicy::AfterWave {
            return false;
        }
        let side = &self.waves[wave as usize];
        if side.tally.of(MemberState::Prepared) == 0 {
            return false;
        }
        for member in side.members.clone().map(MemberId) {
            if self.state(member) == MemberState::Prepared {
                self.wait_for(member, MemberState::WaitsForCommit);
            }
        }
        true
    }

    /// Whether what the policy says is done: not while an operator has said that nothing begins.
    pub(super) fn is_held(&self) -> bool {
        self.place.paused || self.place.aborted
    }

    fn open_next(&mut self) {
        let wave = self.place.opened;
        let Some(side) = self.waves.get(wave as usize) else {
            return;
        };
        self.place.opened += 1;
        let waves = self.order.waves.iter().take(self.place.opened as usize);
        self.place.waves = waves.map(|wave| wave.name.clone()).collect();
        self.dirty = true;
        for member in side.members.clone().map(MemberId) {
            if self.state(member) == MemberState::Waiting {
                self.wait_for(member, MemberState::Waiting);
            }
        }
    }

    /// Says so when there is nothing more to do.
    fn conclude(&mut self) {
        let end = self.find_end();
        if end != self.end {
            self.end = end;
            self.out.extend(end.map(FleetCommand::Ended));
        }
    }

    fn find_end(&self) -> Option<FleetEnd> {
        if !self.active.is_empty() || !self.lines.is_empty(Kind::Orders) {
            return None;
        }
        // Those that an operator wants again, and commits, go on after the window opens, or a pause.
        let stands = |kind: Kind| !self.lines.is_empty(kind);
        let left = stands(Kind::Going) || stands(Kind::Commits);
        let goes_on = left && !self.place.aborted;
        if self.only_orders {
            return (!goes_on).then_some(FleetEnd::Ordered);
        }
        if goes_on {
            return None;
        }
        let passed = self.passed as usize == self.waves.len();
        if passed && !left && self.waves.iter().all(WaveSide::has_ended) {
            return Some(FleetEnd::Done);
        }
        if self.place.aborted {
            return Some(FleetEnd::Aborted);
        }
        match self.stopped.first() {
            Some(&wave) => Some(FleetEnd::Stopped { wave }),
            None => self.incomplete.then_some(FleetEnd::Incomplete),
        }
    }

    fn set_timer(&mut self) {
        let at = self.next_change_of_window();
        if at != self.wake {
            self.wake = at;
            self.out.extend(at.map(|at| FleetCommand::Wake { at }));
        }
    }

    /// Makes a member what its ledger says, and puts it where it belongs.
    fn adopt(&mut self, member: MemberId, found: Found) {
        let then = self.policy_of(member).then;
        let goes_back = found == Found::RollingBack;
        let (ledger, why, failed) = match found {
            Found::Untouched => (Ledger::Untouched, None, false),
            Found::TooLong(takes) => {
                self.roster.entry_mut(member).seconds = takes.as_secs_f32();
                (Ledger::Untouched, None, false)
            }
            Found::Unknown(_) => (Ledger::Unknown, None, false),
            Found::Lost(why) => (Ledger::Unknown, Some(why), true),
            Found::Current => (Ledger::Current, None, false),
            Found::Refused(why) => (Ledger::Refused, Some(why), false),
            Found::Running if self.place.aborted => {
                let why = "the fleet was aborted".to_owned();
                (Ledger::Begun, Some(why), true)
            }
            Found::Running => (Ledger::Begun, None, false),
            Found::NotBegun(why) => (Ledger::Untouched, Some(why), true),
            Found::Failed(why) => (Ledger::Begun, Some(why), true),
            Found::Prepared => (Ledger::Prepared, None, false),
            Found::Committed => (Ledger::Committed, None, false),
            Found::RollingBack if self.goes_back_unordered(member) => {
                (Ledger::RollingBack, Some(HAD_FAILED.to_owned()), true)
            }
            Found::RollingBack => (Ledger::RollingBack, None, false),
            Found::RolledBack(why) => {
                let failed = why.is_some();
                (Ledger::RolledBack, why, failed)
            }
            Found::Stuck(why) => (Ledger::RollingBack, Some(why), true),
        };
        let entry = self.roster.entry_mut(member);
        entry.ledger = ledger;
        entry.hook_failed = false;
        self.set_failed(member, failed);
        match why {
            Some(why) => self.roster.reasons.insert(member.0, why.into()),
            None => self.roster.reasons.remove(&member.0),
        };
        let name = self.name(member);
        let attended = self.place.attended.contains_key(&name);
        let state = match (ledger, failed) {
            (Ledger::Untouched, _) if attended => MemberState::WaitsForHook,
            (Ledger::Untouched | Ledger::Unknown, _) if self.place.left_out.contains(&name) => {
                MemberState::RolledBack
            }
            (Ledger::Untouched | Ledger::Unknown | Ledger::Begun, false) => MemberState::Waiting,
            // Its hook after is owed until somebody knows how it stands.
            (Ledger::Unknown, true) => MemberState::Failed,
            (Ledger::Begun, true) if then == Then::RollBack => MemberState::WaitsForRollback,
            (Ledger::RollingBack, _) if goes_back => MemberState::WaitsForRollback,
            _ if attended => MemberState::WaitsForHook,
            (Ledger::Prepared, _) if self.commit_is_due(member) => MemberState::WaitsForCommit,
            _ => self.roster.entry(member).at_rest(),
        };
        let entry = self.roster.entry_mut(member);
        let is_left_alone = entry.wave == NO_WAVE && entry.ledger == Ledger::Untouched;
        if is_left_alone && state == MemberState::Waiting && !entry.ordered {
            entry.ledger = Ledger::Refused;
            let why = "it was left alone when the fleet began, and can be upgraded now: `upshift fleet \
                       retry` with its name";
            self.roster.reasons.insert(member.0, why.into());
            return self.wait_for(member, MemberState::Refused);
        }
        self.wait_for(member, state);
    }

    /// Whether an order that is not done yet wants it back.
    pub(super) fn is_wanted_back(&self, member: MemberId) -> bool {
        let wave = self.roster.entry(member).wave;
        self.place.wanted.iter().any(|order| match order {
            order if !order.goes_back() => false,
            order => match order.which() {
                Some(Which::All) => true,
                Some(Which::Wave(wanted)) => *wanted == wave,
                Some(Which::These(names)) => names.contains(&self.name(member)),
                None => false,
            },
        })
    }

    /// Whether a prepared member is to be committed now, by the order's policy.
    pub(super) fn commit_is_due(&self, member: MemberId) -> bool {
        let entry = self.roster.entry(member);
        entry.ledger == Ledger::Prepared
            && match self.order.commit {
                CommitPolicy::AfterRun => true,
                CommitPolicy::AfterWave => entry.wave < self.passed,
                CommitPolicy::ByHand => false,
            }
    }

    /// Gives a member a state in which nothing is being done to it, and its place in a line.
    pub(super) fn wait_for(&mut self, member: MemberId, state: MemberState) {
        self.set_state(member, state);
        let opened = self.place.opened;
        let entry = self.roster.entry(member);
        let kind = match state {
            state if state.waits() && self.only_orders && !entry.ordered => return,
            // Whoever does nothing but what is ordered opens no waves.
            MemberState::Waiting if self.only_orders => Kind::Going,
            MemberState::Waiting if entry.wave >= opened && entry.wave != NO_WAVE => return,
            MemberState::Waiting if self.is_going(member) => Kind::Going,
            MemberState::Waiting => Kind::Forward,
            MemberState::WaitsForCommit if !entry.ordered => Kind::Commits,
            state if state.waits() => Kind::Orders,
            _ => return,
        };
        self.lines.push(kind, entry.wave, entry.server, member.0);
    }

    /// Whether it goes on whatever the policies say: it has begun, or is wanted again.
    pub(super) fn is_going(&self, member: MemberId) -> bool {
        let entry = self.roster.entry(member);
        entry.ordered || entry.ledger == Ledger::Begun
    }

    pub(super) fn take_out_of_line(&mut self, member: MemberId) {
        let entry = self.roster.entry(member);
        for kind in Kind::ALL {
            self.lines.remove(kind, entry.wave, entry.server, member.0);
        }
        self.parked.remove(&member);
    }

    /// Counts a member that has no state yet.
    fn enter(&mut self, member: MemberId, state: MemberState) {
        let entry = self.roster.entry_mut(member);
        entry.state = state;
        match self.waves.get_mut(entry.wave as usize) {
            Some(wave) => wave.enter(state),
            None => self.apart.enter(state),
        }
    }

    pub(super) fn set_state(&mut self, member: MemberId, state: MemberState) {
        let entry = self.roster.entry(member);
        match self.waves.get_mut(entry.wave as usize) {
            Some(wave) => wave.leave(entry.state),
            None => self.apart.leave(entry.state),
        }
        self.enter(member, state);
    }

    /// Whether it counts as failed, and what that means for its wave.
    pub(super) fn set_failed(&mut self, member: MemberId, failed: bool) {
        let entry = self.roster.entry_mut(member);
        let before = std::mem::replace(&mut entry.failed, failed);
        let wave = entry.wave;
        let Some(side) = self.waves.get_mut(wave as usize) else {
            return;
        };
        side.tally.failed += u32::from(failed);
        side.tally.failed -= u32::from(before);
        if before
            && !failed
            && let Some(forgiven) = self.place.forgiven.get_mut(&wave)
        {
            // If it fails again that is not forgiven.
            self.dirty |= forgiven.remove(&self.roster.name(member));
        }
        self.look_at_policy(wave);
    }

    pub(super) fn look_at_policy(&mut self, wave: u32) {
        let Some(side) = self.waves.get(wave as usize) else {
            return;
        };
        let forgiven = self.place.forgiven.get(&wave).map_or(0, BTreeSet::len);
        let failed = side.tally.failed.saturating_sub(number(forgiven));
        let policy = self.order.waves[wave as usize].on_failure.stop_after;
        match policy.stops(side.tally.members(), failed) {
            true => self.stopped.insert(wave),
            false => self.stopped.remove(&wave),
        };
    }

    pub(super) fn policy_of(&self, member: MemberId) -> upshift_shared::fleet::OnFailure {
        let wave = self.roster.entry(member).wave;
        let wave = self.order.waves.get(wave as usize);
        wave.map(|wave| wave.on_failure).unwrap_or_default()
    }

    pub(super) fn known(&self, member: MemberId) -> Result<(), Refusal> {
        match (member.0 as usize) < self.roster.entries.len() {
            true => Ok(()),
            false => Err(Refusal(format!("there is no member {}", member.0))),
        }
    }
}
