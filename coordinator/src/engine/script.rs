//! A scripted cluster for tests: a model of the driver, the ledger and the workers around one engine,
//! with a clock that moves only when told. It checks, at every command, what must always hold.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Access, Command, Direction, Engine, Event, Failure, FailureClass, GraphTask, IllegalTransition,
    Labels, Outcome, RunGraph,
};

/// A unit in a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) worker: WorkerId,
    pub(super) task: TaskId,
    pub(super) unit: UnitId,
    pub(super) attempt: u32,
}

/// The cluster: one run, any number of workers.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) engine: Engine,
    pub(super) run: RunId,
    pub(super) now: Duration,
    graph: BTreeMap<TaskId, GraphTask>,
    limits: RunGraph,
    /// Rows of cuttable tasks that were not cut.
    uncut: BTreeMap<TaskId, u64>,
    next_unit: BTreeMap<TaskId, u32>,
    /// Commands that the driver has not carried out.
    pub(super) todo: VecDeque<Command>,
    /// Units in the hands of workers, in the order of their leases.
    pub(super) leases: Vec<Leased>,
    /// Units in the hands of workers that the coordinator believes lost.
    pub(super) zombies: Vec<Leased>,
    credits: BTreeMap<WorkerId, u32>,
    draining: BTreeSet<WorkerId>,
    begun: BTreeSet<TaskId>,
    /// The ledger: commits of each unit that changed something. More than one is the end of it.
    pub(super) commits: BTreeMap<(TaskId, UnitId), u32>,
    cut: BTreeSet<(TaskId, UnitId)>,
    prepared: BTreeSet<TaskId>,
    /// Tasks of which the driver has cut something.
    cut_once: BTreeSet<TaskId>,
    /// Units that the engine was told are finished.
    reported: BTreeSet<(TaskId, UnitId)>,
    pub(super) recorded: BTreeSet<TaskId>,
    pub(super) checkpoints: Vec<u32>,
    pub(super) retries: Vec<(UnitId, u32, Duration)>,
    pub(super) cuts: Vec<(u64, u32)>,
    pub(super) outcome: Option<Outcome>,
    pub(super) timer: Option<Duration>,
    stopping: bool,
}

/// A task of no module but the first, without tables, of one unit.
pub(super) fn task(id: u32, depends: &[u32]) -> GraphTask {
    GraphTask {
        id: TaskId(id),
        depends: depends.iter().copied().map(TaskId).collect(),
        module: 0,
        seconds: 1.0,
        tables: Vec::new(),
        cuttable: false,
        patient: None,
        prepared: false,
        cut_exhausted: false,
        units: Vec::new(),
        done: false,
    }
}

/// A graph of one module with generous limits.
pub(super) fn graph(tasks: Vec<GraphTask>) -> RunGraph {
    RunGraph {
        direction: Direction::Do,
        modules: tasks.iter().map(|t| t.module + 1).max().unwrap_or(0),
        tasks,
        max_units: 8,
        max_units_per_task: 4,
        max_attempts: 3,
        first_unit_rows: None,
        server: None,
        paused: false,
        wants: Labels::new(),
    }
}

/// A failure of that class.
pub(super) fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        message: "as scripted".to_owned(),
        sqlstate: None,
    }
}

impl Cluster {
    /// Submits the run. `rows` are those of each cuttable task.
    pub(super) fn new(graph: RunGraph, rows: &[(u32, u64)]) -> Self {
        let run = RunId::generate();
        let of_graph = |f: fn(&GraphTask) -> bool| {
            let tasks = graph.tasks.iter().filter(move |t| f(t));
            tasks.map(|t| t.id).collect::<BTreeSet<_>>()
        };
        let units = || {
            graph
                .tasks
                .iter()
                .flat_map(|t| t.units.iter().map(|u| (t.id, *u)))
        };
        let mut cluster = Self {
            engine: Engine::new(),
            run,
            now: Duration::ZERO,
            graph: graph.tasks.iter().map(|t| (t.id, t.clone())).collect(),
            limits: RunGraph {
                tasks: Vec::new(),
                ..graph.clone()
            },
            uncut: rows.iter().map(|(t, rows)| (TaskId(*t), *rows)).collect(),
            next_unit: graph
                .tasks
                .iter()
                .map(|t| {
                    (
                        t.id,
                        t.units.iter().map(|(u, _)| u.0 + 1).max().unwrap_or(0),
                    )
                })
                .collect(),
            todo: VecDeque::new(),
            leases: Vec::new(),
            zombies: Vec::new(),
            credits: BTreeMap::new(),
            draining: BTreeSet::new(),
            begun: BTreeSet::new(),
            commits: units()
                .filter(|(_, (_, done))| *done)
                .map(|(t, (u, _))| ((t, u), 1))
                .collect(),
            cut: units().map(|(t, (u, _))| (t, u)).collect(),
            prepared: of_graph(|t| t.prepared),
            cut_once: BTreeSet::new(),
            reported: BTreeSet::new(),
            recorded: of_graph(|t| t.done),
            checkpoints: Vec::new(),
            retries: Vec::new(),
            cuts: Vec::new(),
            outcome: None,
            timer: None,
            stopping: false,
        };
        cluster.feed(Event::RunSubmitted { run, graph });
        cluster
    }

    /// Gives the engine an event that must fit, and obeys.
    pub(super) fn feed(&mut self, event: Event) {
        self.try_feed(event).expect("the event fits");
    }

    /// Gives the engine an event, and obeys. An event that does not fit must change nothing.
    pub(super) fn try_feed(&mut self, event: Event) -> Result<(), IllegalTransition> {
        let stops = matches!(event, Event::StopRequested { .. });
        let commands = self.engine.handle(event, self.now)?;
        self.stopping |= stops;
        for command in commands {
            self.obey(command);
        }
        Ok(())
    }

    /// Other limits from now on, if the run still takes them.
    pub(super) fn limit(&mut self, max_units: u32, max_units_per_task: u32) {
        let before = self.limits.clone();
        (self.limits.max_units, self.limits.max_units_per_task) = (max_units, max_units_per_task);
        let run = self.run;
        let changed = self.try_feed(Event::LimitsChanged {
            run,
            max_units,
            max_units_per_task,
        });
        if changed.is_err() {
            self.limits = before;
        }
    }

    fn obey(&mut self, command: Command) {
        assert!(self.outcome.is_none(), "after the end: {command:?}");
        match command {
            Command::LeaseUnit {
                worker,
                task,
                unit,
                attempt,
                ..
            } => self.lease(Leased {
                worker,
                task,
                unit,
                attempt,
            }),
            Command::PrepareTask { task, .. } => {
                assert!(!self.stopping, "{task} prepared after a stop");
                self.assert_may_begin(task);
                self.todo.push_back(command);
            }
            Command::EndRun { outcome, .. } => {
                assert!(self.leases.is_empty(), "ended with units in flight");
                if outcome == Outcome::Finished {
                    self.assert_finished();
                }
                self.outcome = Some(outcome);
            }
            Command::SetTimer { at } => {
                assert!(at > self.now, "a timer in the past");
                self.timer = Some(at);
            }
            Command::ReportRetry {
                unit,
                attempt,
                delay,
                ..
            } => self.retries.push((unit, attempt, delay)),
            Command::CutTask { rows, units, .. } => {
                assert!(!self.stopping, "cut after a stop");
                self.cuts.push((rows, units));
                self.todo.push_back(command);
            }
            _ => self.todo.push_back(command),
        }
    }

    fn lease(&mut self, lease: Leased) {
        assert!(!self.stopping, "leased after a stop: {lease:?}");
        self.assert_may_begin(lease.task);
        assert!(
            !self.draining.contains(&lease.worker),
            "to one that drains: {lease:?}"
        );
        let credits = self
            .credits
            .get_mut(&lease.worker)
            .expect("the worker has a session");
        assert!(*credits > 0, "no credit: {lease:?}");
        *credits -= 1;
        let same = |l: &&Leased| l.task == lease.task && l.unit == lease.unit;
        assert_eq!(self.leases.iter().find(same), None, "leased twice");
        self.leases.push(lease);
        let of_task = self.leases.iter().filter(|l| l.task == lease.task).count();
        assert!(
            of_task <= self.limits.max_units_per_task as usize,
            "cap of the task"
        );
        assert!(
            self.leases.len() <= self.limits.max_units as usize,
            "cap of the run"
        );
        if !self.graph[&lease.task].cuttable && self.graph[&lease.task].units.is_empty() {
            assert_eq!(lease.unit, UnitId(0));
            self.cut.insert((lease.task, lease.unit));
        }
        let unit = (lease.task, lease.unit);
        assert!(self.cut.contains(&unit), "never cut: {lease:?}");
        assert!(!self.reported.contains(&unit), "finished: {lease:?}");
    }

    fn assert_may_begin(&mut self, id: TaskId) {
        let task = &self.graph[&id];
        assert!(!self.recorded.contains(&id), "{id} is recorded");
        for dependency in &task.depends {
            assert!(
                self.recorded.contains(dependency),
                "{id} before {dependency}"
            );
        }
        let apart = |how: Access, other: Access| match (how, other) {
            (Access::Alone, _) | (_, Access::Alone) => true,
            (how, other) => how == Access::Write && other == Access::Write,
        };
        for (relation, how) in &task.tables {
            let in_the_way = |other: &GraphTask| {
                let mut uses = other.tables.iter();
                uses.any(|(used, other)| used == relation && apart(*how, *other))
            };
            let other = self
                .begun
                .iter()
                .find(|b| **b != id && !self.recorded.contains(b) && in_the_way(&self.graph[b]));
            assert_eq!(other, None, "{relation} is not free");
        }
        self.begun.insert(id);
    }

    fn assert_finished(&self) {
        for (id, task) in &self.graph {
            assert!(self.recorded.contains(id), "{id} was not recorded");
            let rows = self.uncut.get(id).copied().unwrap_or(0);
            assert!(!task.cuttable || task.cut_exhausted || task.done || rows == 0);
        }
        for unit in &self.cut {
            let task_done = self.graph[&unit.0].done;
            assert!(
                task_done || self.commits.get(unit) == Some(&1),
                "{unit:?} not done once"
            );
        }
    }

    // What happens to workers.

    /// The coordinator is killed: what it was asked is lost, every session ends, and a new one reads
    /// the ledger. Units in the hands of workers may still commit.
    pub(super) fn crash(&mut self) {
        let lost = std::mem::take(&mut self.leases);
        self.zombies.extend(lost);
        self.todo.clear();
        self.credits.clear();
        self.begun.clear();
        self.reported.clear();
        self.timer = None;
        self.stopping = false;
        self.outcome = None;
        self.checkpoints.clear();
        self.engine = Engine::new();
        let tasks = self.graph.values().map(|t| self.as_recorded(t)).collect();
        let run = self.run;
        let graph = RunGraph {
            tasks,
            ..self.limits.clone()
        };
        self.feed(Event::RunSubmitted { run, graph });
    }

    /// A task as the ledger has it.
    fn as_recorded(&self, task: &GraphTask) -> GraphTask {
        let id = task.id;
        let cut = self.cut.iter().filter(|(t, _)| *t == id);
        let exhausted = self.uncut.get(&id).is_none_or(|rows| *rows == 0);
        GraphTask {
            prepared: self.prepared.contains(&id),
            cut_exhausted: task.cut_exhausted || self.cut_once.contains(&id) && exhausted,
            units: cut
                .map(|(t, u)| (*u, self.commits.contains_key(&(*t, *u))))
                .collect(),
            done: self.recorded.contains(&id),
            ..task.clone()
        }
    }

    /// A worker joins with so many credits.
    pub(super) fn join(&mut self, worker: u32, credits: u32) {
        let worker = WorkerId(worker);
        self.credits.insert(worker, 0);
        self.feed(Event::WorkerJoined {
            worker,
            labels: Labels::new(),
        });
        self.grant(worker, credits);
    }

    pub(super) fn grant(&mut self, worker: WorkerId, units: u32) {
        if let Some(credits) = self.credits.get_mut(&worker) {
            *credits += units;
            self.feed(Event::CreditGranted { worker, units });
        }
    }

    /// Workers that have a session.
    pub(super) fn workers(&self) -> Vec<WorkerId> {
        self.credits.keys().copied().collect()
    }

    /// A worker's session ends; it may still commit what it holds.
    pub(super) fn lose_worker(&mut self, worker: WorkerId) {
        self.credits.remove(&worker);
        let (lost, kept) = self.leases.iter().partition(|l| l.worker == worker);
        self.leases = kept;
        self.zombies.extend::<Vec<_>>(lost);
        self.feed(Event::WorkerLost { worker });
    }

    /// A worker takes no more units.
    pub(super) fn drain(&mut self, worker: WorkerId) {
        if self.draining.insert(worker) {
            self.feed(Event::WorkerDraining { worker });
        }
    }

    /// The unit of that lease commits (or finds that it had), and the worker takes another.
    pub(super) fn finish_unit(&mut self, lease: usize, elapsed: Duration) {
        let lease = self.leases.remove(lease);
        self.commit(lease, elapsed);
        self.grant(lease.worker, 1);
    }

    /// A worker that was believed lost commits after all, and its report comes through.
    pub(super) fn finish_zombie(&mut self, zombie: usize) {
        let lease = self.zombies.remove(zombie);
        self.commit(lease, Duration::from_secs(1));
    }

    fn commit(&mut self, lease: Leased, elapsed: Duration) {
        // The ledger's unique row: the second commit of a unit does nothing.
        self.commits.entry((lease.task, lease.unit)).or_insert(1);
        self.reported.insert((lease.task, lease.unit));
        self.feed(Event::UnitFinished {
            run: self.run,
            worker: lease.worker,
            task: lease.task,
            unit: lease.unit,
            rows: 1,
            elapsed,
        });
    }

    /// The unit of that lease fails.
    pub(super) fn fail_unit(&mut self, lease: usize, class: FailureClass) {
        let lease = self.leases.remove(lease);
        self.feed(Event::UnitFailed {
            run: self.run,
            worker: lease.worker,
            task: lease.task,
            unit: lease.unit,
            failure: failure(class),
        });
        self.grant(lease.worker, 1);
    }

    // What the driver does.

    /// The driver carries out the first of its commands. `false` when there is none.
    pub(super) fn tick(&mut self) -> bool {
        let Some(command) = self.todo.pop_front() else {
            return false;
        };
        let run = self.run;
        let event = match command {
            Command::PrepareTask { task, .. } => {
                assert!(self.prepared.insert(task), "{task} prepared twice");
                Event::TaskPrepared { run, task }
            }
            Command::CutTask {
                task, rows, units, ..
            } => self.cut(task, rows, units),
            Command::SplitUnit { task, unit, .. } => self.split(task, unit),
            Command::RecordTask { task, .. } => {
                assert!(self.recorded.insert(task), "{task} recorded twice");
                Event::TaskRecorded { run, task }
            }
            Command::RecordCheckpoint { module, .. } => {
                assert_eq!(
                    module,
                    self.checkpoints.len() as u32,
                    "checkpoints in order"
                );
                self.checkpoints.push(module);
                Event::CheckpointRecorded { run, module }
            }
            other => panic!("not the driver's: {other:?}"),
        };
        self.feed(event);
        true
    }

    /// The driver fails in the first of its commands. Checkpoints cannot fail: that stops the run.
    pub(super) fn fail_task(&mut self, class: FailureClass) {
        let task = match self.todo.front() {
            Some(
                Command::PrepareTask { task, .. }
                | Command::CutTask { task, .. }
                | Command::SplitUnit { task, .. }
                | Command::RecordTask { task, .. },
            ) => *task,
            _ => return,
        };
        self.todo.pop_front();
        self.feed(Event::TaskFailed {
            run: self.run,
            task,
            failure: failure(class),
        });
    }

    fn cut(&mut self, task: TaskId, rows: u64, units: u32) -> Event {
        let uncut = self.uncut.entry(task).or_default();
        let count = uncut.div_ceil(rows).min(u64::from(units)) as u32;
        *uncut = uncut.saturating_sub(rows * u64::from(count));
        let exhausted = *uncut == 0;
        self.cut_once.insert(task);
        let next = self.next_unit.entry(task).or_default();
        let first = *next;
        *next += count;
        self.cut
            .extend((first..first + count).map(|u| (task, UnitId(u))));
        Event::UnitsCut {
            run: self.run,
            task,
            first: UnitId(first),
            count,
            exhausted,
        }
    }

    fn split(&mut self, task: TaskId, unit: UnitId) -> Event {
        let done = self.commits.contains_key(&(task, unit));
        let next = self.next_unit.entry(task).or_default();
        let new = (!done && *next < 40).then_some(UnitId(*next));
        if let Some(new) = new {
            *next += 1;
            self.cut.insert((task, new));
            // Bounds that are no longer those of the ledger find no row to insert.
            self.zombies.retain(|z| (z.task, z.unit) != (task, unit));
        }
        Event::UnitSplit {
            run: self.run,
            task,
            unit,
            new,
        }
    }

    /// Time passes until the timer fires. `false` when none is set.
    pub(super) fn fire_timer(&mut self) -> bool {
        let Some(at) = self.timer.take() else {
            return false;
        };
        self.now = self.now.max(at);
        self.feed(Event::TimerFired);
        true
    }

    /// Everything goes well until nothing more happens.
    pub(super) fn run_to_end(&mut self, elapsed: Duration) {
        while self.outcome.is_none() {
            let happened = if self.tick() {
                true
            } else if self.leases.is_empty() {
                self.fire_timer()
            } else {
                self.now += elapsed;
                self.finish_unit(0, elapsed);
                true
            };
            assert!(happened, "nothing more happens, and the run has not ended");
        }
    }
}
