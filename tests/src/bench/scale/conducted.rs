//! A fleet through the real state machine of fleets and the real engine, in virtual time: databases of very
//! different sizes, whose runs wait for the fleet, and whose units wait for workers.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use upshift_coordinator::{
    engine::{Access, Command, Direction, Engine, Event, GraphTask, Labels, Outcome, RunGraph},
    fleet::{
        Fleet, FleetCommand, FleetEnd, FleetEvent, FleetPlace, Found, Member, MemberId,
        MemberState, Reason, room,
    },
};
use upshift_shared::{
    clock::Stopwatch,
    fleet::{Caps, CommitPolicy, FleetFile, Hooks, MemberName, Order, Wave},
    ids::{RunId, TaskId, UnitId, WorkerId},
};

/// Units at once of one database.
const RUN_LIMIT: u32 = 4;
/// The longest database has so many units.
const MOST_UNITS: u64 = 400;
/// How often the fleet hears how much the workers have to do.
const BEAT: Duration = Duration::from_millis(250);
/// After so many events of the fleet all of its members are looked at.
const LOOK: u64 = 2_000;

/// How much there is of everything.
#[derive(Debug, Clone)]
pub struct FleetWorld {
    /// Databases.
    pub databases: u32,
    /// Workers, of one slot each.
    pub workers: u32,
    /// Servers.
    pub servers: u32,
    /// Which databases begin first.
    pub order: Order,
    /// What is random follows from it.
    pub seed: u64,
}

impl FleetWorld {
    fn random(&self, database: u32, what: u64) -> u64 {
        let mut z =
            self.seed ^ (u64::from(database) << 24) ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..2 {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
        }
        z
    }

    /// Units of a database: few of most, very many of some.
    fn units(&self, database: u32) -> u32 {
        let part = 1 + self.random(database, 1) % 1_000;
        (3_000 / part).clamp(2, MOST_UNITS) as u32
    }

    fn duration(&self, database: u32, unit: u32) -> Duration {
        Duration::from_millis(500 + self.random(database, 100 + u64::from(unit)) % 3_000)
    }

    /// What the driver does for a task takes so long.
    fn operation(&self, database: u32, what: u64) -> Duration {
        Duration::from_millis(5 + self.random(database, 10 + what) % 95)
    }

    fn work(&self, database: u32) -> Duration {
        (0..self.units(database))
            .map(|unit| self.duration(database, unit))
            .sum()
    }

    /// Never more databases than slots; how many really, `room` says.
    fn file(&self) -> FleetFile {
        FleetFile {
            patience: FleetFile::PATIENCE,
            name: "scale".to_owned(),
            pack: PathBuf::from("pack"),
            members: Vec::new(),
            exclude: Vec::new(),
            labels: Vec::new(),
            waves: vec![Wave::rest("all")],
            caps: Caps {
                max_databases: Some(self.workers),
                ..Caps::default()
            },
            order: self.order,
            window: None,
            commit: CommitPolicy::ByHand,
            hooks: Hooks::default(),
        }
    }

    fn member(&self, database: u32) -> Member {
        let server = format!("server{}", database % self.servers.max(1));
        Member {
            name: MemberName::on(&server, &format!("tenant_{database}")),
            server,
            labels: upshift_shared::fleet::Labels::new(),
            bytes: u64::from(self.units(database)) << 20,
            seconds: self.work(database).as_secs_f64(),
            found: Found::Untouched,
            wave: None,
        }
    }

    fn graph(&self, database: u32) -> RunGraph {
        RunGraph {
            paused: false,
            direction: Direction::Do,
            tasks: vec![GraphTask {
                id: TaskId(0),
                depends: Vec::new(),
                module: 0,
                seconds: f64::from(self.units(database)),
                tables: vec![(0, Access::Write)],
                cuttable: true,
                patient: None,
                prepared: false,
                cut_exhausted: false,
                units: Vec::new(),
                done: false,
            }],
            modules: 1,
            max_units: RUN_LIMIT,
            max_units_per_task: RUN_LIMIT,
            max_attempts: 3,
            first_unit_rows: None,
            server: None,
            wants: Labels::new(),
        }
    }

    /// What no schedule takes less than: the longest database with all the slots that it may have, and
    /// all work on all slots.
    fn bound(&self) -> Duration {
        let work = (0..self.databases).map(|database| self.work(database));
        let longest = work.clone().max().unwrap_or_default() / RUN_LIMIT;
        longest.max(work.sum::<Duration>() / self.workers)
    }
}

/// What it came to.
#[derive(Debug)]
pub struct FleetReport {
    /// Virtual time from the beginning to the end.
    pub makespan: Duration,
    /// No schedule takes less.
    pub bound: Duration,
    /// Units that were done.
    pub units: u64,
    /// Real time within the state machine of the fleet, from its members to its end.
    pub fleet: Duration,
    /// The same of the engine.
    pub engine: Duration,
}

enum Happening {
    Beat,
    Engine(Event),
    Fleet(FleetEvent),
}

/// Everything but engine and fleet.
pub struct Conducted {
    world: FleetWorld,
    engine: Engine,
    fleet: Fleet,
    /// The database of each member.
    databases: Vec<u32>,
    runs: HashMap<RunId, MemberId>,
    cut: HashMap<RunId, u32>,
    calendar: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: HashMap<u64, Happening>,
    order: u64,
    now: Duration,
    looks: u64,
    end: Option<FleetEnd>,
    report: FleetReport,
}

impl Conducted {
    /// Nothing has begun.
    ///
    /// # Errors
    /// Never, with names of this world.
    pub fn new(world: FleetWorld) -> Result<Self> {
        let members = (0..world.databases)
            .map(|database| world.member(database))
            .collect();
        let bound = world.bound();
        let watch = Stopwatch::start();
        let fleet = Fleet::new(world.file(), members, FleetPlace::default(), Duration::ZERO);
        let took = watch.elapsed();
        let number = |member| -> Result<u32> {
            let name = fleet.name(member).to_string();
            let (_, number) = name.rsplit_once('_').context("tenant_NUMBER")?;
            Ok(number.parse()?)
        };
        Ok(Self {
            databases: fleet.members().map(number).collect::<Result<_>>()?,
            engine: Engine::new(),
            fleet,
            runs: HashMap::new(),
            cut: HashMap::new(),
            calendar: BinaryHeap::new(),
            happenings: HashMap::new(),
            order: 0,
            now: Duration::ZERO,
            looks: 0,
            end: None,
            report: FleetReport {
                makespan: Duration::ZERO,
                bound,
                units: 0,
                fleet: took,
                engine: Duration::ZERO,
            },
            world,
        })
    }

    /// Goes to its end.
    ///
    /// # Errors
    /// When something is refused, waits without a reason, or does not end: a defect.
    pub fn run(mut self) -> Result<FleetReport> {
        for number in 0..self.world.workers {
            let (worker, labels) = (WorkerId(number), Labels::new());
            self.after(
                Duration::ZERO,
                Happening::Engine(Event::WorkerJoined { worker, labels }),
            );
            let units = 1;
            self.after(
                Duration::ZERO,
                Happening::Engine(Event::CreditGranted { worker, units }),
            );
        }
        self.after(Duration::ZERO, Happening::Beat);
        while self.end.is_none() {
            let Some(Reverse((at, number))) = self.calendar.pop() else {
                bail!("nothing happens any more: {:?}", self.fleet.standing());
            };
            self.now = at;
            match self.happenings.remove(&number).context("it is there")? {
                Happening::Beat => {
                    let watch = Stopwatch::start();
                    let load = self.engine.load();
                    self.report.engine += watch.elapsed();
                    let active = self.fleet.tally(None).active();
                    let max_databases = Some(room(&load, active));
                    self.fleet(FleetEvent::Limited { max_databases })?;
                    self.after(BEAT, Happening::Beat);
                }
                Happening::Engine(event) => self.engine(event)?,
                Happening::Fleet(event) => self.fleet(event)?,
            }
        }
        ensure!(
            self.end == Some(FleetEnd::Done),
            "it ended as {:?}",
            self.end
        );
        let prepared = self.fleet.tally(None).of(MemberState::Prepared);
        ensure!(prepared == self.world.databases, "{prepared} are prepared");
        self.report.makespan = self.now;
        Ok(self.report)
    }

    fn after(&mut self, pause: Duration, happening: Happening) {
        self.calendar.push(Reverse((self.now + pause, self.order)));
        self.happenings.insert(self.order, happening);
        self.order += 1;
    }

    fn fleet(&mut self, event: FleetEvent) -> Result<()> {
        let watch = Stopwatch::start();
        let commands = self.fleet.handle(event, self.now);
        self.report.fleet += watch.elapsed();
        for command in commands? {
            match command {
                FleetCommand::Begin { member, .. } => {
                    let run = RunId::generate();
                    self.runs.insert(run, member);
                    let database = self.database(run)?;
                    let graph = self.world.graph(database);
                    let pause = self.world.operation(database, 0);
                    self.after(pause, Happening::Engine(Event::RunSubmitted { run, graph }));
                }
                FleetCommand::Ended(end) => self.end = Some(end),
                FleetCommand::Record | FleetCommand::WaveEnded { .. } => {}
                other => bail!("{other:?} was not to be expected"),
            }
        }
        self.looks += 1;
        if self.looks.is_multiple_of(LOOK) {
            self.all_know_why_they_wait()?;
        }
        Ok(())
    }

    fn all_know_why_they_wait(&self) -> Result<()> {
        for member in self.fleet.members() {
            let reason = self.fleet.reason(member);
            let waits = self.fleet.state(member).waits();
            let known = reason.is_some_and(|reason| !matches!(reason, Reason::UnderWay(_)));
            ensure!(
                !waits || known,
                "{} waits, and nobody knows why",
                self.fleet.name(member)
            );
        }
        Ok(())
    }

    fn database(&self, run: RunId) -> Result<u32> {
        let member = self.runs.get(&run).context("a run of this fleet")?;
        Ok(self.databases[member.0 as usize])
    }

    fn engine(&mut self, event: Event) -> Result<()> {
        self.report.units += u64::from(matches!(event, Event::UnitFinished { .. }));
        let watch = Stopwatch::start();
        let commands = self.engine.handle(event, self.now);
        self.report.engine += watch.elapsed();
        for command in commands? {
            self.execute(command)?;
        }
        Ok(())
    }

    fn execute(&mut self, command: Command) -> Result<()> {
        let (pause, event) = match command {
            Command::PrepareTask { run, task } => (1, Event::TaskPrepared { run, task }),
            Command::RecordTask { run, task } => (2, Event::TaskRecorded { run, task }),
            Command::RecordCheckpoint { run, module } => {
                (3, Event::CheckpointRecorded { run, module })
            }
            Command::CutTask {
                run, task, units, ..
            } => (4, self.cut(run, task, units)?),
            Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                ..
            } => {
                return self.lease(worker, (run, task, unit));
            }
            Command::SetTimer { at } => {
                let pause = at.saturating_sub(self.now);
                self.after(pause, Happening::Engine(Event::TimerFired));
                return Ok(());
            }
            Command::EndRun { run, outcome } => {
                ensure!(outcome == Outcome::Finished, "a run ended as {outcome:?}");
                let pause = self.world.operation(self.database(run)?, 5);
                let member = self.runs.remove(&run).context("a run of this fleet")?;
                let found = Found::Prepared;
                self.after(pause, Happening::Fleet(FleetEvent::Ended { member, found }));
                return Ok(());
            }
            other => bail!("{other:?} was not to be expected"),
        };
        let run = run_of(&event).context("an event of a run")?;
        let pause = self.world.operation(self.database(run)?, pause);
        self.after(pause, Happening::Engine(event));
        Ok(())
    }

    fn cut(&mut self, run: RunId, task: TaskId, units: u32) -> Result<Event> {
        let all = self.world.units(self.database(run)?);
        let cut = self.cut.entry(run).or_default();
        let (first, count) = (UnitId(*cut), units.min(all - *cut));
        *cut += count;
        let exhausted = *cut == all;
        if exhausted {
            self.cut.remove(&run);
        }
        Ok(Event::UnitsCut {
            run,
            task,
            first,
            count,
            exhausted,
        })
    }

    fn lease(
        &mut self,
        worker: WorkerId,
        (run, task, unit): (RunId, TaskId, UnitId),
    ) -> Result<()> {
        let elapsed = self.world.duration(self.database(run)?, unit.0);
        let rows = 1;
        let finished = Event::UnitFinished {
            run,
            worker,
            task,
            unit,
            rows,
            elapsed,
        };
        self.after(elapsed, Happening::Engine(finished));
        let units = 1;
        self.after(
            elapsed,
            Happening::Engine(Event::CreditGranted { worker, units }),
        );
        Ok(())
    }
}

fn run_of(event: &Event) -> Option<RunId> {
    match event {
        Event::TaskPrepared { run, .. }
        | Event::TaskRecorded { run, .. }
        | Event::CheckpointRecorded { run, .. }
        | Event::UnitsCut { run, .. } => Some(*run),
        _ => None,
    }
}
