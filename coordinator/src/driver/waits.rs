//! Waits with a reason: whatever has stood still for some seconds says why. What the driver knows by itself
//! (pauses between attempts, no workers, a lost connection) needs no question; who waits for whose lock is
//! asked of the server, in one query every other second, and only while something takes long.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use upshift_shared::ids::{TaskId, UnitId};

use super::{Driver, Operation};
use crate::{
    activity::{Activity, Blocker, UnitOf},
    progress::{ProgressEvent, Waiter},
};

/// What takes longer than this is looked into.
const LONG: Duration = Duration::from_secs(3);
/// How often it is considered whether something does.
const TICK: Duration = Duration::from_secs(1);
/// How often the server is asked.
const LOOK: Duration = Duration::from_secs(2);
/// A wait of a working session that is shorter is none to speak of, in seconds.
const SHORT: f64 = 1.0;

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    about: Waiter,
    task: Option<TaskId>,
    unit: Option<UnitId>,
}

impl Key {
    const WORKERS: Self = Self {
        about: Waiter::Workers,
        task: None,
        unit: None,
    };

    fn unit(task: TaskId, unit: UnitId) -> Self {
        Self {
            about: Waiter::Unit,
            task: Some(task),
            unit: Some(unit),
        }
    }

    fn driver(task: Option<TaskId>) -> Self {
        Self {
            about: Waiter::Driver,
            task,
            unit: None,
        }
    }
}

/// A wait that was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    since: Duration,
    /// The processes in the way: with others it is another wait.
    blockers: Vec<i32>,
}

/// One of the driver's operations, from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What the driver does.
#[derive(Debug, Clone, Copy)]
struct Doing {
    task: Option<TaskId>,
    is_cut: bool,
    since: Duration,
}

/// Something that rests before its next attempt.
#[derive(Debug, Clone, PartialEq)]
struct Rest {
    since: Duration,
    reason: String,
}

/// What waits, and what may come to.
#[derive(Debug, Default)]
pub(super) struct Waits {
    open: BTreeMap<Key, Open>,
    /// What the driver does, the oldest first.
    operations: BTreeMap<Ticket, Doing>,
    /// Tasks for which the driver does something again after a pause.
    resting_tasks: HashMap<TaskId, Rest>,
    /// Units that are tried again after a pause.
    resting_units: HashMap<(TaskId, UnitId), Rest>,
    no_worker_since: Option<Duration>,
    /// Whether checkpoints and the end wait for other databases.
    pub(super) in_group: bool,
    due: Duration,
    /// When the server was asked last.
    asked: Option<Duration>,
    asking: bool,
}

impl Waits {
    /// When [`Driver::consider_waits`] has to be called.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Takes in what has happened; what has ended by it.
    pub(super) fn follow(&mut self, at: Duration, event: &ProgressEvent) -> Vec<ProgressEvent> {
        match event {
            ProgressEvent::UnitDone { task, unit, .. }
            | ProgressEvent::UnitSplit { task, unit } => {
                self.resting_units.remove(&(*task, *unit));
                self.end(at, Key::unit(*task, *unit)).into_iter().collect()
            }
            ProgressEvent::Retry {
                task,
                unit,
                attempt,
                reason,
                ..
            } => {
                let reason = format!("rests before attempt {attempt}: {reason}");
                let rest = Rest { since: at, reason };
                self.resting_units.insert((*task, *unit), rest);
                Vec::new()
            }
            ProgressEvent::OperationFailed {
                task,
                operation,
                reason,
            } => {
                let reason = format!("rests before it tries again to {operation}: {reason}");
                self.resting_tasks.insert(*task, Rest { since: at, reason });
                Vec::new()
            }
            ProgressEvent::OperationRetry { task, reason, .. } => {
                let since = self.doing(*task).map_or(at, |doing| doing.since);
                let reason = format!("waits for the database: {reason}");
                self.begin(at, Key::driver(*task), since, reason, Vec::new())
            }
            ProgressEvent::TaskDone { task } => {
                self.resting_tasks.remove(task);
                self.resting_units.retain(|(of, _), _| of != task);
                let ended = |key: &&Key| key.task == Some(*task);
                let keys: Vec<Key> = self.open.keys().filter(ended).copied().collect();
                keys.into_iter()
                    .filter_map(|key| self.end(at, key))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The driver has begun to do something.
    pub(super) fn operation_began(&mut self, at: Duration, operation: &Operation) -> Ticket {
        let task = operation.task();
        if let Some(task) = task {
            self.resting_tasks.remove(&task);
        }
        let last = self.operations.keys().next_back();
        let ticket = Ticket(last.map_or(0, |last| last.0 + 1));
        let doing = Doing {
            task,
            is_cut: operation.is_cut(),
            since: at,
        };
        self.operations.insert(ticket, doing);
        ticket
    }

    /// It is done with it; the wait that has ended by that, unless something else of the same task goes on.
    pub(super) fn operation_ended(&mut self, at: Duration, of: Ticket) -> Option<ProgressEvent> {
        let task = self.operations.remove(&of)?.task;
        let alone = self.doing(task).is_none();
        alone.then(|| self.end(at, Key::driver(task))).flatten()
    }

    /// The oldest that the driver does for a task, or for none.
    fn doing(&self, task: Option<TaskId>) -> Option<&Doing> {
        self.operations.values().find(|doing| doing.task == task)
    }

    /// The server could not be asked.
    pub(super) fn saw_nothing(&mut self) {
        self.asking = false;
    }

    /// All that waits does so no more: the run has ended.
    pub(super) fn end_all(&mut self, at: Duration) -> Vec<ProgressEvent> {
        let keys: Vec<Key> = self.open.keys().copied().collect();
        keys.into_iter()
            .filter_map(|key| self.end(at, key))
            .collect()
    }

    /// What begins and ends to wait, as far as the driver knows by itself; and whether to ask the server.
    /// `holds` tells whether a worker has a unit, `long` whether one has had its unit for [`LONG`].
    fn consider(
        &mut self,
        at: Duration,
        (holds, long): (impl Fn(TaskId, UnitId) -> bool, bool),
        workers: usize,
    ) -> (Vec<ProgressEvent>, bool) {
        let mut told = Vec::new();
        if workers > 0 {
            self.no_worker_since = None;
            told.extend(self.end(at, Key::WORKERS));
        } else {
            let since = *self.no_worker_since.get_or_insert(at);
            let reason = "waits for a worker: none is connected".to_owned();
            told.extend(self.begin(at, Key::WORKERS, since, reason, Vec::new()));
        }
        self.resting_units
            .retain(|(task, unit), _| !holds(*task, *unit));
        let units = self.resting_units.iter();
        let units = units.map(|((task, unit), rest)| (Key::unit(*task, *unit), rest.clone()));
        let tasks = self.resting_tasks.iter();
        let tasks = tasks.map(|(task, rest)| (Key::driver(Some(*task)), rest.clone()));
        let resting: Vec<(Key, Rest)> = units.chain(tasks).collect();
        for (key, rest) in resting {
            // One that waits for a lock, attempt after attempt, was told of already.
            if !self.open.contains_key(&key) {
                told.extend(self.begin(at, key, rest.since, rest.reason, Vec::new()));
            }
        }
        let long = long || self.slow_operations(at).next().is_some();
        let rested = self.asked.is_none_or(|asked| at >= asked + LOOK);
        let ask = long && rested && !self.asking;
        if ask {
            self.asking = true;
            self.asked = Some(at);
        }
        (told, ask)
    }

    fn slow_operations(&self, at: Duration) -> impl Iterator<Item = Option<TaskId>> {
        self.operations
            .values()
            .filter(move |doing| at.saturating_sub(doing.since) >= LONG)
            .map(|doing| doing.task)
    }

    /// Since when a cut of the group is waited for, if that takes long.
    fn cut_since(&self, at: Duration) -> Option<Duration> {
        let cut = self.operations.values().find(|doing| doing.is_cut)?;
        (self.in_group && at.saturating_sub(cut.since) >= LONG).then_some(cut.since)
    }

    /// What the server says of those that take long.
    fn saw(
        &mut self,
        at: Duration,
        long: &[(TaskId, UnitId)],
        sessions: &[Activity],
    ) -> Vec<ProgressEvent> {
        self.asking = false;
        let mut told = Vec::new();
        for (task, unit) in long.iter().copied() {
            let key = Key::unit(task, unit);
            let of = UnitOf { task, unit };
            let mut own = sessions.iter().filter(|session| session.unit == Some(of));
            // One without a session is between two transactions: that says nothing.
            if own.clone().next().is_some() {
                let waiting = own.find(|session| session.wait.is_some());
                told.extend(self.saw_one(at, key, waiting));
            }
        }
        let slow: Vec<Option<TaskId>> = self.slow_operations(at).collect();
        let mut own = sessions.iter().filter(|session| session.unit.is_none());
        let waiting = own.find(|session| session.wait.is_some());
        match slow.as_slice() {
            [] => {}
            // Nothing in this database is in its way.
            _ if waiting.is_none() && self.cut_since(at).is_some() => {
                let since = self.cut_since(at).unwrap_or(at);
                let reason = "waits for the other databases of its group".to_owned();
                told.extend(self.begin(at, Key::driver(None), since, reason, Vec::new()));
            }
            [task] => told.extend(self.saw_one(at, Key::driver(*task), waiting)),
            // Which of them it is, the session does not tell.
            _ => told.extend(self.saw_one(at, Key::driver(None), waiting)),
        }
        told
    }

    fn saw_one(
        &mut self,
        at: Duration,
        key: Key,
        session: Option<&Activity>,
    ) -> Vec<ProgressEvent> {
        let Some(wait) = session.and_then(|session| session.wait.as_ref()) else {
            return self.end(at, key).into_iter().collect();
        };
        if wait.seconds < SHORT {
            return Vec::new();
        }
        let since = at.saturating_sub(Duration::try_from_secs_f64(wait.seconds).unwrap_or(LONG));
        let pids: Vec<i32> = wait.blockers.iter().map(|blocker| blocker.pid).collect();
        let mut told = Vec::new();
        if self
            .open
            .get(&key)
            .is_some_and(|open| open.blockers != pids)
        {
            told.extend(self.end(at, key));
        }
        told.extend(self.tell(at, key, since, wait.reason.clone(), wait.blockers.clone()));
        told
    }

    /// Tells of a wait, once it is long.
    fn begin(
        &mut self,
        at: Duration,
        key: Key,
        since: Duration,
        reason: String,
        blockers: Vec<Blocker>,
    ) -> Vec<ProgressEvent> {
        if at.saturating_sub(since) < LONG {
            return Vec::new();
        }
        self.tell(at, key, since, reason, blockers)
            .into_iter()
            .collect()
    }

    fn tell(
        &mut self,
        at: Duration,
        key: Key,
        since: Duration,
        reason: String,
        blockers: Vec<Blocker>,
    ) -> Option<ProgressEvent> {
        if self.open.contains_key(&key) {
            return None;
        }
        let pids = blockers.iter().map(|blocker| blocker.pid).collect();
        let open = Open {
            since,
            blockers: pids,
        };
        self.open.insert(key, open);
        Some(ProgressEvent::Waiting {
            about: key.about,
            task: key.task,
            unit: key.unit,
            seconds: rounded(at.saturating_sub(since)),
            reason,
            blockers,
        })
    }

    fn end(&mut self, at: Duration, key: Key) -> Option<ProgressEvent> {
        let open = self.open.remove(&key)?;
        Some(ProgressEvent::WaitEnded {
            about: key.about,
            task: key.task,
            unit: key.unit,
            seconds: rounded(at.saturating_sub(open.since)),
        })
    }
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

impl Driver {
    /// Looks for what has come to wait.
    pub(super) fn consider_waits(&mut self, now: Duration) {
        if now < self.report.waits.due {
            return;
        }
        self.report.waits.due = now + TICK;
        if self.ending.is_some() {
            return;
        }
        let leases = &self.leases;
        let held = (
            |task, unit| leases.holds(task, unit),
            leases.any_longer_than(LONG),
        );
        let (told, ask) = self.report.waits.consider(now, held, self.workers.len());
        for event in told {
            self.show(&event);
        }
        if ask {
            self.operate(Operation::Look);
        }
    }

    /// The server has said what the run's sessions are at.
    pub(super) fn looked(&mut self, now: Duration, sessions: &[Activity]) {
        if self.ending.is_some() {
            return;
        }
        let long = self.leases.longer_than(LONG);
        for event in self.report.waits.saw(now, &long, sessions) {
            self.show(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::Wait;

    const UNIT: (TaskId, UnitId) = (TaskId(3), UnitId(7));

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn blocked_by(pid: i32, seconds: f64) -> Activity {
        let blocker = Blocker {
            pid,
            application: Some("psql".to_owned()),
            user: None,
            state: None,
            since: None,
        };
        let wait = Wait {
            seconds,
            reason: format!("waits for a row held by {blocker}"),
            blockers: vec![blocker],
        };
        let (task, unit) = UNIT;
        Activity {
            pid: 1,
            unit: Some(UnitOf { task, unit }),
            seconds,
            wait: Some(wait),
        }
    }

    fn names(told: &[ProgressEvent]) -> Vec<&'static str> {
        let name = |event: &ProgressEvent| match event {
            ProgressEvent::Waiting { .. } => "waiting",
            ProgressEvent::WaitEnded { .. } => "ended",
            _ => "other",
        };
        told.iter().map(name).collect()
    }

    #[test]
    fn a_wait_is_told_once_and_again_when_somebody_else_is_in_the_way() {
        let (mut waits, key) = (Waits::default(), Key::unit(UNIT.0, UNIT.1));
        let mut see = |at, session: Option<Activity>| {
            let told = waits.saw_one(second(at), key, session.as_ref());
            names(&told)
        };
        assert_eq!(see(10, Some(blocked_by(17, 0.2))), [""; 0], "hardly a wait");
        assert_eq!(see(14, Some(blocked_by(17, 4.2))), ["waiting"]);
        assert_eq!(see(16, Some(blocked_by(17, 6.2))), [""; 0]);
        assert_eq!(see(18, Some(blocked_by(18, 8.2))), ["ended", "waiting"]);
        assert_eq!(see(20, None), ["ended"]);
        assert_eq!(see(22, None), [""; 0]);
    }

    #[test]
    fn pauses_and_missing_workers_are_known_without_a_question() {
        let mut waits = Waits::default();
        let retry = ProgressEvent::Retry {
            task: UNIT.0,
            unit: UNIT.1,
            attempt: 5,
            delay: 8.0,
            reason: "lock timeout".to_owned(),
        };
        assert_eq!(names(&waits.follow(second(0), &retry)), [""; 0]);
        let mut consider = |at, held: bool, workers| {
            let (told, ask) = waits.consider(second(at), (|_, _| held, false), workers);
            assert!(!ask, "nothing is in flight");
            told
        };
        assert_eq!(names(&consider(2, false, 1)), [""; 0], "not yet long");
        let told = consider(3, false, 0);
        let [ProgressEvent::Waiting { unit, reason, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(*unit, Some(UNIT.1));
        assert_eq!(reason, "rests before attempt 5: lock timeout");
        let told = consider(6, true, 0);
        let [ProgressEvent::Waiting { about, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(*about, Waiter::Workers);
        assert_eq!(names(&consider(7, true, 1)), ["ended"], "a worker came");
        let own = Activity {
            wait: None,
            ..blocked_by(17, 4.0)
        };
        let told = waits.saw(second(11), &[UNIT], &[own]);
        assert_eq!(names(&told), ["ended"], "the unit works again");
    }

    #[test]
    fn a_member_of_a_group_says_that_it_waits_for_the_others() {
        let mut waits = Waits {
            in_group: true,
            ..Waits::default()
        };
        let cut = waits.operation_began(second(0), &Operation::RecordCheckpoint(0));
        assert_eq!(waits.saw(second(2), &[], &[]), []);
        let told = waits.saw(second(4), &[], &[]);
        let [ProgressEvent::Waiting { reason, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(reason, "waits for the other databases of its group");
        assert_eq!(waits.saw(second(6), &[], &[]), [], "it is told once");
        let ended = waits.operation_ended(second(7), cut);
        assert!(matches!(ended, Some(ProgressEvent::WaitEnded { .. })));
    }

    #[test]
    fn the_server_is_asked_every_other_second_while_something_takes_long() {
        let mut waits = Waits::default();
        waits.operation_began(second(0), &Operation::RecordDone(UNIT.0));
        let mut asks = |at| waits.consider(second(at), (|_, _| false, false), 1).1;
        let asked: Vec<u64> = (0..10).filter(|at| asks(*at)).collect();
        assert_eq!(asked, [3], "and not again before it has answered");
        let blocked = Activity {
            unit: None,
            ..blocked_by(17, 4.0)
        };
        let told = waits.saw(second(10), &[], &[blocked]);
        let [ProgressEvent::Waiting { about, task, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!((*about, *task), (Waiter::Driver, Some(UNIT.0)));
        let mut asked = Vec::new();
        for at in 10..16 {
            if waits.consider(second(at), (|_, _| false, false), 1).1 {
                asked.push(at);
                waits.saw_nothing();
            }
        }
        assert_eq!(asked, [10, 12, 14]);
    }

    #[test]
    fn a_unit_that_is_done_waits_no_more() {
        let (mut waits, key) = (Waits::default(), Key::unit(UNIT.0, UNIT.1));
        let told = waits.saw_one(second(4), key, Some(&blocked_by(17, 4.0)));
        assert_eq!(names(&told), ["waiting"]);
        let done = ProgressEvent::UnitDone {
            task: UNIT.0,
            unit: UNIT.1,
            worker: upshift_shared::ids::WorkerId(1),
            rows: 1,
            seconds: 9.0,
        };
        let told = waits.follow(second(9), &done);
        let [ProgressEvent::WaitEnded { seconds, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!((seconds - 9.0).abs() < 0.01, "{seconds}");
    }

    #[test]
    fn what_the_driver_cannot_do_for_lack_of_a_connection_waits() {
        let mut waits = Waits::default();
        let operation = Operation::RecordDone(UNIT.0);
        let ticket = waits.operation_began(second(10), &operation);
        let other = waits.operation_began(second(10), &operation);
        let lost = |attempt| ProgressEvent::OperationRetry {
            task: Some(UNIT.0),
            operation: operation.what().to_owned(),
            attempt,
            delay: 0.1,
            reason: "connection refused".to_owned(),
        };
        assert_eq!(
            names(&waits.follow(second(11), &lost(2))),
            [""; 0],
            "not yet long"
        );
        assert_eq!(names(&waits.follow(second(14), &lost(3))), ["waiting"]);
        assert_eq!(names(&waits.follow(second(18), &lost(4))), [""; 0]);
        assert_eq!(
            waits.operation_ended(second(19), other),
            None,
            "one goes on"
        );
        let ended = waits.operation_ended(second(20), ticket);
        assert_eq!(names(&Vec::from_iter(ended)), ["ended"]);
        assert_eq!(waits.end_all(second(21)), []);
    }
}
