//! One run: what each event means for it.
//!
//! Every method checks first and changes after: `Err` says how the run stands, and nothing has
//! happened.

mod attempt;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use upshift_shared::ids::{RunId, TaskId, UnitId};

use super::{
    Command, Direction, Failure, FailureClass, Outcome, RunGraph, StopReason,
    checkpoint::Checkpoints,
    retry::{Alarms, Verdict, verdict},
    runs::RunIndex,
    schedule::{Dependents, Place, Schedule, critical_paths},
    size::Cutter,
    task::{Task, TaskState},
    unit::{Operation, Split},
};

/// How a run stands, as far as the engine knows it.
///
/// ```text
///                      PauseRequested
///  RunSubmitted ──► Running ◄────────► Paused
///                    │   │ ResumeRequested │
///   all recorded     │   │ StopRequested, or a failure that cannot be tried again
///                    │   └──────► Ending ◄─┘
///                    ▼               │ nothing is in flight any more
///                 EndRun(Finished)   └──────► EndRun(Stopped | Failed)
/// ```
///
/// All of it is volatile; the driver makes the ledger's `running`, `prepared`, `failed`, … from the
/// commands.
#[derive(Debug)]
enum RunState {
    /// Set by `RunSubmitted` and `ResumeRequested`.
    Running,
    /// No unit begins; those in flight end and are recorded. Set by `PauseRequested`.
    Paused,
    /// Nothing begins any more. Set by `StopRequested`, and by failures.
    Ending(Box<Outcome>),
}

/// What a run may use beyond its own state.
pub(super) struct Context<'a> {
    pub(super) now: Duration,
    pub(super) out: &'a mut Vec<Command>,
    pub(super) alarms: &'a mut Alarms,
    /// Units that all workers together run at once.
    pub(super) capacity: u32,
    /// What the run is called by.
    pub(super) index: RunIndex,
}

/// How the run stands where an event does not fit.
pub(super) type Refusal = String;

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    id: RunId,
    direction: Direction,
    state: RunState,
    max_units: u32,
    max_units_per_task: u32,
    max_attempts: u32,
    first_unit_rows: Option<u64>,
    tasks: Vec<Task>,
    /// The places of tasks; empty where each task's number is its place.
    index: BTreeMap<TaskId, u32>,
    dependents: Dependents,
    schedule: Schedule,
    /// Tasks that are being prepared, or open.
    begun: BTreeSet<u32>,
    unrecorded: u32,
    checkpoints: Checkpoints,
    in_flight: u32,
    /// What the driver was asked and has not answered.
    asked: u32,
    /// The driver has lost the ledger, or the run: what it was asked it may never answer.
    abandoned: bool,
}

impl Run {
    pub(super) fn submit(
        id: RunId,
        graph: RunGraph,
        cx: &mut Context<'_>,
    ) -> Result<Self, Refusal> {
        let mut index = HashMap::with_capacity(graph.tasks.len());
        for (place, task) in (0_u32..).zip(&graph.tasks) {
            if index.insert(task.id, place).is_some() {
                return Err(format!("task {} is in the graph twice", task.id));
            }
            if graph.direction == Direction::Do && task.module >= graph.modules {
                return Err(format!(
                    "task {} is of a module that is not in the graph",
                    task.id
                ));
            }
        }
        let dependents = Dependents::new(&graph.tasks, &index)?;
        let paths = critical_paths(&graph.tasks, &dependents)?;
        let modules = match graph.direction {
            Direction::Do => graph.modules,
            Direction::Undo => 0,
        };
        let mut run = Self {
            id,
            direction: graph.direction,
            state: match graph.paused {
                true => RunState::Paused,
                false => RunState::Running,
            },
            max_units: graph.max_units.max(1),
            max_units_per_task: graph.max_units_per_task.max(1),
            max_attempts: graph.max_attempts,
            first_unit_rows: graph.first_unit_rows,
            tasks: (0_u32..)
                .zip(graph.tasks.into_iter().zip(paths))
                .map(|(place, (task, path))| Task::new(task, Place::new(path, place)))
                .collect(),
            index: match index.iter().all(|(task, place)| task.0 == *place) {
                true => BTreeMap::new(),
                false => index.into_iter().collect(),
            },
            dependents,
            schedule: Schedule::default(),
            begun: BTreeSet::new(),
            unrecorded: 0,
            checkpoints: Checkpoints::new(modules),
            in_flight: 0,
            asked: 0,
            abandoned: false,
        };
        run.begin(cx);
        Ok(run)
    }

    /// Finds out what the ledger has already, and what may begin.
    fn begin(&mut self, cx: &mut Context<'_>) {
        for task in &self.tasks {
            if !matches!(task.state, TaskState::Done) {
                self.unrecorded += 1;
                self.checkpoints.wait_for(task.module);
            }
        }
        for t in 0..self.tasks.len() as u32 {
            if matches!(self.tasks[t as usize].state, TaskState::Done) {
                self.unblock_dependents(t);
            }
        }
        for t in 0..self.tasks.len() as u32 {
            self.ready_if_unblocked(t);
        }
        self.ask_checkpoints(cx);
    }

    fn unblock_dependents(&mut self, t: u32) {
        for dependent in self.dependents.of(t) {
            if let TaskState::Blocked(waits) = &mut self.tasks[*dependent as usize].state {
                *waits -= 1;
            }
        }
    }

    fn ready_if_unblocked(&mut self, t: u32) {
        let task = &mut self.tasks[t as usize];
        if matches!(task.state, TaskState::Blocked(0)) {
            task.state = TaskState::Ready;
            self.schedule.ready(task.place);
        }
    }

    /// How the run stands, for messages.
    pub(super) fn describe(&self) -> String {
        let standing = match &self.state {
            RunState::Running => "is running",
            RunState::Paused => "is paused",
            RunState::Ending(outcome) => match **outcome {
                Outcome::Finished => "is finished",
                Outcome::Stopped(_) => "is stopping",
                Outcome::Failed { .. } => "has failed",
            },
        };
        format!("the run {standing}")
    }

    /// The place of a task.
    pub(super) fn place(&self, task: TaskId) -> Result<u32, Refusal> {
        let place = match self.index.is_empty() {
            true => Some(task.0).filter(|place| (*place as usize) < self.tasks.len()),
            false => self.index.get(&task).copied(),
        };
        place.ok_or_else(|| format!("the run has no task {task}"))
    }

    pub(super) fn id(&self) -> RunId {
        self.id
    }

    fn is_running(&self) -> bool {
        matches!(self.state, RunState::Running)
    }

    // What the driver did.

    pub(super) fn task_prepared(&mut self, t: u32, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let task = &mut self.tasks[t as usize];
        if !matches!(task.state, TaskState::Preparing) || !task.asked {
            return Err(task_stands(task));
        }
        task.answered();
        self.asked -= 1;
        self.schedule.coming(false);
        self.open(t, cx);
        Ok(())
    }

    pub(super) fn units_cut(
        &mut self,
        t: u32,
        units: (UnitId, u32, bool),
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let task = &mut self.tasks[t as usize];
        let (UnitId(first), count, exhausted) = units;
        match &mut task.state {
            TaskState::Open(units) if task.asked => units.cut(first, count, exhausted)?,
            _ => return Err(task_stands(task)),
        }
        task.answered();
        self.asked -= 1;
        self.schedule.coming(false);
        self.refresh(t, cx);
        Ok(())
    }

    pub(super) fn unit_split(
        &mut self,
        t: u32,
        unit: UnitId,
        new: Option<UnitId>,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let task = &mut self.tasks[t as usize];
        let split = match &mut task.state {
            TaskState::Open(units) if task.asked => units.split(unit.0, new.map(|new| new.0))?,
            _ => return Err(task_stands(task)),
        };
        task.answered();
        self.asked -= 1;
        self.schedule.coming(false);
        if split == Split::Refused {
            let failure = Failure {
                class: FailureClass::TimedOut,
                message: "the statement timeout ended it, and it cannot be cut any smaller; allow \
                          it more time, then resume"
                    .to_owned(),
                sqlstate: Some("57014".to_owned()),
            };
            self.try_again(t, unit.0, failure, false, cx);
        }
        self.refresh(t, cx);
        Ok(())
    }

    pub(super) fn task_recorded(&mut self, t: u32, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let task = &mut self.tasks[t as usize];
        if !matches!(task.state, TaskState::Recording) || !task.asked {
            return Err(task_stands(task));
        }
        task.answered();
        task.state = TaskState::Done;
        self.asked -= 1;
        self.unrecorded -= 1;
        self.schedule.release(t, &task.uses);
        self.checkpoints.task_recorded(task.module);
        self.unblock_dependents(t);
        for i in 0..self.dependents.of(t).len() {
            self.ready_if_unblocked(self.dependents.of(t)[i]);
        }
        if !matches!(self.state, RunState::Ending(_)) {
            self.ask_checkpoints(cx);
        }
        Ok(())
    }

    pub(super) fn checkpoint_recorded(&mut self, module: u32) -> Result<(), Refusal> {
        if self.checkpoints.recorded(module) {
            Ok(())
        } else {
            Err(format!("no checkpoint of module {module} was asked for"))
        }
    }

    pub(super) fn task_failed(
        &mut self,
        t: u32,
        failure: Failure,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let task = &mut self.tasks[t as usize];
        if !task.asked {
            return Err(task_stands(task));
        }
        task.asked = false;
        task.failures += 1;
        self.asked -= 1;
        if !matches!(task.state, TaskState::Recording) {
            self.schedule.coming(false);
        }
        match verdict(failure.class, task.failures, self.max_attempts, false) {
            Verdict::Again(pause) => {
                task.resting = true;
                cx.wake_after(pause, t, None);
            }
            Verdict::Split | Verdict::Fail => self.fail(t, None, failure),
        }
        Ok(())
    }

    // What operators want.

    pub(super) fn pause(&mut self) -> Result<(), Refusal> {
        if !self.is_running() {
            return Err(self.describe());
        }
        self.state = RunState::Paused;
        Ok(())
    }

    pub(super) fn resume(&mut self, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if !matches!(self.state, RunState::Paused) {
            return Err(self.describe());
        }
        self.state = RunState::Running;
        for t in self.begun.clone() {
            self.refresh(t, cx);
        }
        Ok(())
    }

    /// A task that has more units in flight than it may have now offers none until they have ended.
    pub(super) fn limits_changed(
        &mut self,
        max_units: u32,
        max_units_per_task: u32,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if matches!(self.state, RunState::Ending(_)) {
            return Err(self.describe());
        }
        self.max_units = max_units.max(1);
        self.max_units_per_task = max_units_per_task.max(1);
        for t in self.begun.clone() {
            self.refresh(t, cx);
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, reason: StopReason) -> Result<(), Refusal> {
        if matches!(self.state, RunState::Ending(_)) && reason == StopReason::Operator {
            return Err(self.describe());
        }
        self.abandoned |= reason != StopReason::Operator;
        // A failure says more than the stop that comes after it.
        if !self.has_failed() {
            self.state = RunState::Ending(Box::new(Outcome::Stopped(reason)));
        }
        Ok(())
    }

    /// The first failure that cannot be mended by trying again ends the run.
    fn fail(&mut self, t: u32, unit: Option<u32>, failure: Failure) {
        if self.has_failed() {
            return;
        }
        self.abandoned |= failure.class == FailureClass::Fenced;
        self.state = RunState::Ending(Box::new(Outcome::Failed {
            task: self.tasks[t as usize].id,
            unit: unit.map(UnitId),
            failure,
        }));
    }

    fn has_failed(&self) -> bool {
        matches!(&self.state, RunState::Ending(outcome) if matches!(**outcome, Outcome::Failed { .. }))
    }

    // What follows.

    /// Begins what may begin, and ends the run where nothing is left to do. To be called after every
    /// event of the run. `true` when it has ended.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_running() {
            while self.schedule.supply() < self.max_units as usize {
                let tasks = &self.tasks;
                let Some(t) = self.schedule.admit(|t| tasks[t as usize].wants()) else {
                    break;
                };
                self.start(t, cx);
            }
        }
        let Some(outcome) = self.outcome() else {
            return false;
        };
        cx.out.push(Command::EndRun {
            run: self.id,
            outcome,
        });
        true
    }

    fn outcome(&self) -> Option<Outcome> {
        if self.in_flight > 0 {
            return None;
        }
        match &self.state {
            RunState::Running | RunState::Paused => {
                let all = self.unrecorded == 0 && self.checkpoints.complete();
                all.then_some(Outcome::Finished)
            }
            RunState::Ending(outcome) => {
                (self.asked == 0 || self.abandoned).then(|| (**outcome).clone())
            }
        }
    }

    fn start(&mut self, t: u32, cx: &mut Context<'_>) {
        self.begun.insert(t);
        let task = &mut self.tasks[t as usize];
        if task.prepared {
            self.open(t, cx);
        } else {
            task.state = TaskState::Preparing;
            self.refresh(t, cx);
        }
    }

    fn open(&mut self, t: u32, cx: &mut Context<'_>) {
        let task = &mut self.tasks[t as usize];
        let cutter = Cutter::new(self.first_unit_rows, task.patient);
        task.state = TaskState::Open(Box::new(task.take_units(cutter)));
        self.refresh(t, cx);
    }

    /// Asks the driver for what a task needs next, and offers its units. To be called after every
    /// change of a task.
    fn refresh(&mut self, t: u32, cx: &mut Context<'_>) {
        let running = self.is_running();
        let ending = matches!(self.state, RunState::Ending(_));
        let slots = self.slots(cx);
        let task = &mut self.tasks[t as usize];
        if let TaskState::Open(units) = &task.state
            && units.complete()
            && !ending
        {
            task.state = TaskState::Recording;
            self.begun.remove(&t);
        }
        let below_cap = task.in_flight < self.max_units_per_task;
        let offers = match &task.state {
            TaskState::Open(units) => running && below_cap && units.has_offer(),
            _ => false,
        };
        if offers != task.offering {
            task.offering = offers;
            self.schedule.offer(task.place, offers);
        }
        let idle = !task.asked && !task.resting;
        let command = match &mut task.state {
            TaskState::Preparing if running && idle => Some(Command::PrepareTask {
                run: self.id,
                task: task.id,
            }),
            TaskState::Recording if !ending && idle => Some(Command::RecordTask {
                run: self.id,
                task: task.id,
            }),
            TaskState::Open(units) => {
                let operation = (running && idle).then(|| units.next_operation(slots));
                operation.flatten().map(|o| operate(self.id, task.id, o))
            }
            _ => None,
        };
        if let Some(command) = command {
            task.asked = true;
            self.asked += 1;
            if !matches!(task.state, TaskState::Recording) {
                self.schedule.coming(true);
            }
            cx.out.push(command);
        }
    }

    /// Units that it could give to workers now.
    pub(super) fn ready(&self) -> u64 {
        if !self.is_running() {
            return 0;
        }
        let left = u64::from(self.max_units.saturating_sub(self.in_flight));
        let offers = self.schedule.offering().map(|t| {
            let task = &self.tasks[t as usize];
            let left = self.max_units_per_task.saturating_sub(task.in_flight);
            match &task.state {
                TaskState::Open(units) => u64::from(units.offers().min(left)),
                _ => 0,
            }
        });
        offers.sum::<u64>().min(left)
    }

    /// Slots that a task may use.
    fn slots(&self, cx: &Context<'_>) -> u32 {
        let limit = self.max_units.min(self.max_units_per_task);
        cx.capacity.clamp(1, limit)
    }

    /// Asks for the checkpoints of all modules that have become complete, in their order.
    fn ask_checkpoints(&mut self, cx: &mut Context<'_>) {
        while let Some(module) = self.checkpoints.ask() {
            cx.out.push(Command::RecordCheckpoint {
                run: self.id,
                module,
            });
        }
    }

    /// Takes the next unit to lease: place of its task, the task, unit, attempt. `None` when there is
    /// none, or the run is at its cap.
    pub(super) fn lease(&mut self, cx: &mut Context<'_>) -> Option<Lease> {
        if !self.is_running() || self.in_flight >= self.max_units {
            return None;
        }
        let t = self.schedule.next_offer()?;
        let task = &mut self.tasks[t as usize];
        let TaskState::Open(units) = &mut task.state else {
            return None;
        };
        let (unit, attempt) = units.lease()?;
        task.in_flight += 1;
        self.in_flight += 1;
        let lease = Lease {
            place: t,
            task: task.id,
            unit: UnitId(unit),
            direction: self.direction,
            attempt,
        };
        self.refresh(t, cx);
        // Leased units are no longer supply: others may begin.
        self.settle(cx);
        Some(lease)
    }
}

/// A unit to be leased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) place: u32,
    pub(super) task: TaskId,
    pub(super) unit: UnitId,
    pub(super) direction: Direction,
    pub(super) attempt: u32,
}

fn operate(run: RunId, task: TaskId, operation: Operation) -> Command {
    match operation {
        Operation::Cut { rows, units } => Command::CutTask {
            run,
            task,
            rows,
            units,
        },
        Operation::Split(unit) => Command::SplitUnit {
            run,
            task,
            unit: UnitId(unit),
        },
    }
}

fn task_stands(task: &Task) -> Refusal {
    format!("task {} is {}", task.id, task.state.name())
}
