//! Runs, workers and driver around the real engine, in virtual time: an event queue in which everything
//! takes as long as the [`World`] says. What the engine does is counted, and, for tests, checked after
//! every event.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use upshift_coordinator::engine::{Command, Engine, Event, Failure, FailureClass, Outcome};
use upshift_shared::{
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId, WorkerId},
};

use super::{
    rules::Rules,
    side::RunSide,
    world::{Fate, World},
};

/// What a simulation came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Units that have committed.
    pub units: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Events that the engine was given.
    pub events: u64,
    /// Entries of queues that the engine looked at to find whose turn it is.
    pub looks: u64,
    /// Real time, of everything, …
    pub real: Duration,
    /// … and within the engine.
    pub engine: Duration,
    /// Virtual time from the first event to the last.
    pub makespan: Duration,
    /// No schedule takes less: …
    pub bound: Duration,
    /// … and what makes it so.
    pub bound_by: &'static str,
    /// The longest that a run which had a unit to offer, and might have run it, waited for its turn: for a
    /// slot, or for its server.
    pub longest_wait: Duration,
    /// The mean of these.
    pub mean_wait: Duration,
}

/// A report of somebody, on its way to the engine: when, in which order, what.
type Due = Reverse<(Duration, u64, u32)>;

/// Everything but the engine.
pub struct Simulation {
    world: World,
    engine: Engine,
    now: Duration,
    /// Events wait in `slots`, by number.
    calendar: BinaryHeap<Due>,
    slots: Vec<Option<Event>>,
    unused: Vec<u32>,
    /// Units that are tried again at these times: their runs and tasks.
    resting: BinaryHeap<Reverse<(Duration, u32, u32)>>,
    order: u64,
    runs: Vec<RunSide>,
    index: HashMap<RunId, u32>,
    live: u32,
    rules: Option<Rules>,
    report: Report,
    waited: Duration,
    waits: u64,
}

impl Simulation {
    /// Nothing has happened yet. `checked`: the rules are looked after at every event, which takes time.
    #[must_use]
    pub fn new(world: World, checked: bool) -> Self {
        let runs: Vec<RunSide> = (0..world.databases)
            .map(|database| RunSide::new(&world, database))
            .collect();
        Self {
            index: (0..).zip(&runs).map(|(n, run)| (run.id, n)).collect(),
            engine: Engine::new(),
            now: Duration::ZERO,
            calendar: BinaryHeap::new(),
            slots: Vec::new(),
            unused: Vec::new(),
            resting: BinaryHeap::new(),
            order: 0,
            live: world.databases,
            rules: checked.then(|| Rules::new(&world)),
            runs,
            world,
            report: Report::default(),
            waited: Duration::ZERO,
            waits: 0,
        }
    }

    /// Lets all runs go to their end.
    ///
    /// # Errors
    /// When the engine refuses an event, forgets a run, or breaks a rule: a defect.
    pub fn run(mut self) -> Result<Report> {
        let watch = Stopwatch::start();
        self.begin();
        while self.live > 0 {
            let Some(Reverse((at, _, slot))) = self.calendar.pop() else {
                bail!(
                    "{} runs have not ended, and nothing happens any more",
                    self.live
                );
            };
            self.now = at;
            self.rested();
            let event = self.slots[slot as usize].take().context("it is there")?;
            self.unused.push(slot);
            self.handle(event)?;
        }
        let (bound, bound_by) = bound(&self.world, &self.runs);
        let mut report = self.report;
        report.real = watch.elapsed();
        report.looks = self.engine.looks();
        report.makespan = self.now;
        report.mean_wait = self.waited / u32::try_from(self.waits.max(1)).unwrap_or(u32::MAX);
        (report.bound, report.bound_by) = (bound, bound_by);
        let expected: u64 = (self.runs.iter())
            .flat_map(|run| run.tasks.iter().map(|task| u64::from(task.units)))
            .sum();
        ensure!(report.units == expected, "{} of {expected}", report.units);
        Ok(report)
    }

    /// Servers, workers, runs, in this order, all at the beginning.
    fn begin(&mut self) {
        let world = self.world.clone();
        for server in 0..world.used_servers() {
            let server = upshift_coordinator::engine::ServerId(server);
            let max_units = world.server_limit();
            self.after(Duration::ZERO, Event::ServerLimited { server, max_units });
        }
        for number in 0..world.workers {
            let (worker, labels) = (WorkerId(number), world.labels(number));
            self.after(Duration::ZERO, Event::WorkerJoined { worker, labels });
            let units = world.slots;
            self.after(Duration::ZERO, Event::CreditGranted { worker, units });
        }
        for database in 0..world.databases {
            let run = self.runs[database as usize].id;
            // Not all at the very same time.
            let pause = world.operation(database, 0, 9);
            let graph = world.graph(database);
            self.after(pause, Event::RunSubmitted { run, graph });
        }
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    fn at(&mut self, at: Duration, event: Event) {
        let slot = self.unused.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(event);
        self.calendar.push(Reverse((at, self.order, slot)));
        self.order += 1;
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        self.observe(&event)?;
        let watch = Stopwatch::start();
        let commands = self.engine.handle(event, self.now);
        self.report.engine += watch.elapsed();
        self.report.events += 1;
        for command in commands? {
            self.execute(command)?;
        }
        if let Some(rules) = &self.rules {
            rules.nobody_idles(&self.runs, self.now)?;
        }
        Ok(())
    }

    /// What an event means for those who look on.
    fn observe(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::WorkerJoined { worker, .. } => {
                if let Some(rules) = &mut self.rules {
                    rules.joined(*worker);
                }
            }
            Event::CreditGranted { worker, units } => {
                if let Some(rules) = &mut self.rules {
                    rules.granted(*worker, *units);
                }
            }
            Event::TaskPrepared { run, task } => {
                let (run, now) = (self.number(*run)?, self.now);
                let side = &mut self.runs[run as usize];
                side.opened(task.0);
                self.offers(run, now);
            }
            Event::UnitsCut {
                run, task, count, ..
            } => {
                let (run, now) = (self.number(*run)?, self.now);
                self.runs[run as usize].tasks[task.0 as usize].offered += count;
                self.offers(run, now);
            }
            Event::UnitFinished { run, task, .. } => {
                self.report.units += 1;
                self.ended(*run, task.0)?;
            }
            Event::UnitFailed { run, task, .. } => {
                self.report.failures += 1;
                self.ended(*run, task.0)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Units whose pauses are over are offered again, whichever event tells the engine what time it is.
    fn rested(&mut self) {
        while let Some(Reverse((at, run, task))) = self.resting.peek().copied()
            && at <= self.now
        {
            self.resting.pop();
            self.runs[run as usize].tasks[task as usize].offered += 1;
            self.offers(run, self.now);
        }
    }

    /// A unit is no longer in a worker's hands.
    fn ended(&mut self, run: RunId, task: u32) -> Result<()> {
        let (run, now) = (self.number(run)?, self.now);
        let side = &mut self.runs[run as usize];
        side.in_flight -= 1;
        side.tasks[task as usize].in_flight -= 1;
        if let Some(rules) = &mut self.rules {
            rules.ended(side.server);
        }
        self.offers(run, now);
        Ok(())
    }

    /// The run may have begun to wait for its turn.
    fn offers(&mut self, run: u32, now: Duration) {
        let side = &mut self.runs[run as usize];
        if side.waits_since.is_none() && side.is_ready(&self.world) {
            side.waits_since = Some(now);
            if let Some(rules) = &mut self.rules {
                side.waits_number = rules.number();
            }
        }
    }

    fn number(&self, run: RunId) -> Result<u32> {
        self.index.get(&run).copied().context("a run of this world")
    }

    fn execute(&mut self, command: Command) -> Result<()> {
        match command {
            Command::PrepareTask { run, task } => {
                let pause = self.operation(run, task, 0)?;
                self.after(pause, Event::TaskPrepared { run, task });
            }
            Command::RecordTask { run, task } => {
                let pause = self.operation(run, task, 1)?;
                self.after(pause, Event::TaskRecorded { run, task });
            }
            Command::RecordCheckpoint { run, module } => {
                let pause = self.operation(run, TaskId(0), 2)?;
                self.after(pause, Event::CheckpointRecorded { run, module });
            }
            Command::CutTask {
                run, task, units, ..
            } => self.cut(run, task, units)?,
            Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                attempt,
                ..
            } => self.lease(worker, (run, task, unit), attempt)?,
            Command::ReportRetry {
                run, task, delay, ..
            } => {
                let (run, now) = (self.number(run)?, self.now);
                self.resting.push(Reverse((now + delay, run, task.0)));
                self.rested();
            }
            Command::SetTimer { at } => self.at(at, Event::TimerFired),
            Command::EndRun { outcome, .. } => {
                ensure!(outcome == Outcome::Finished, "a run ended as {outcome:?}");
                self.live -= 1;
            }
            Command::SplitUnit { .. } => bail!("nothing has timed out"),
        }
        Ok(())
    }

    fn operation(&self, run: RunId, task: TaskId, what: u32) -> Result<Duration> {
        let run = self.number(run)?;
        Ok(self.world.operation(run, task.0, what))
    }

    fn cut(&mut self, run: RunId, task: TaskId, units: u32) -> Result<()> {
        let number = self.number(run)?;
        let side = &mut self.runs[number as usize].tasks[task.0 as usize];
        let first = UnitId(side.cut);
        let count = units.min(side.units - side.cut);
        side.cut += count;
        let exhausted = side.cut == side.units;
        let pause = self.world.operation(number, task.0, 16 + first.0);
        let event = Event::UnitsCut {
            run,
            task,
            first,
            count,
            exhausted,
        };
        self.after(pause, event);
        Ok(())
    }

    fn lease(
        &mut self,
        worker: WorkerId,
        (run, task, unit): (RunId, TaskId, UnitId),
        attempt: u32,
    ) -> Result<()> {
        let (number, now) = (self.number(run)?, self.now);
        let side = &mut self.runs[number as usize];
        ensure!(
            side.leased(task.0),
            "{task} {unit} was leased, and is none of those that are ready"
        );
        let waited = side.waits_since.take().map(|since| now - since);
        let waited = waited.context("a run was served that was not ready")?;
        self.waited += waited;
        self.waits += 1;
        self.report.longest_wait = self.report.longest_wait.max(waited);
        if let Some(rules) = &mut self.rules {
            rules.leased(worker, number, &mut self.runs)?;
        }
        self.offers(number, now);
        let elapsed = self.world.duration(number, task.0, unit.0);
        let class = match self.world.fate(number, task.0, unit.0) {
            Fate::FailsNow if attempt == 1 => Some(FailureClass::Now),
            Fate::FailsLater if attempt == 1 => Some(FailureClass::Later),
            _ => None,
        };
        let event = match class {
            None => Event::UnitFinished {
                run,
                worker,
                task,
                unit,
                rows: 1,
                elapsed,
            },
            Some(class) => Event::UnitFailed {
                run,
                worker,
                task,
                unit,
                failure: Failure {
                    class,
                    message: "it happens".to_owned(),
                    sqlstate: None,
                },
            },
        };
        self.runs[number as usize].worked += elapsed;
        self.after(elapsed, event);
        let units = 1;
        self.after(elapsed, Event::CreditGranted { worker, units });
        Ok(())
    }
}

/// What no schedule can take less than, and why: all work on all slots, the work of one server on what it
/// bears, the work of one run on what it may have, the longest way through one run.
fn bound(world: &World, runs: &[RunSide]) -> (Duration, &'static str) {
    let all: Duration = runs.iter().map(|run| run.worked).sum();
    let mut servers = vec![Duration::ZERO; world.used_servers() as usize];
    for run in runs {
        servers[run.server as usize] += run.worked;
    }
    let server = servers.into_iter().max().unwrap_or_default() / world.server_limit();
    let own = runs.iter().map(|run| run.worked / world.run_limit()).max();
    let way = (0..).zip(runs).map(|(n, run)| run.longest_way(world, n));
    [
        (all / world.capacity(), "all work on all slots"),
        (server, "one server's work on its limit"),
        (own.unwrap_or_default(), "one run's work on its limit"),
        (
            way.max().unwrap_or_default(),
            "the longest way through a run",
        ),
    ]
    .into_iter()
    .max()
    .unwrap_or_default()
}
