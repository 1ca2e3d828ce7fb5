//! The engine alone: a million units of one task, and a run of a hundred thousand tasks. Driver and
//! workers are played by a loop that answers every command at once.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, bail};
use upshift_coordinator::engine::{
    Access, Command, Direction, Engine, Event, GraphTask, Labels, Outcome, RunGraph,
};
use upshift_shared::{
    clock::Stopwatch,
    ids::{RunId, TaskId, UnitId, WorkerId},
};

use crate::harness::Usage;

/// Slots of each worker.
const SLOTS: u32 = 4;

/// Prints units a second and the peak of memory.
///
/// # Errors
/// When the engine refuses an event, which would be a defect.
pub fn run(units: u32, tasks: u32, workers: u32) -> anyhow::Result<()> {
    println!(
        "{:<40} {:>10} {:>12} {:>8} {:>12}",
        "engine alone", "seconds", "units/s", "cuts", "peak memory"
    );
    // The one that needs less goes first: the peak never falls.
    let name = format!("{units} units of one task");
    measure(
        &name,
        u64::from(units),
        one_task(),
        Play::new(units, workers),
    )?;
    let name = format!("{tasks} tasks of one unit, 3 edges each");
    measure(
        &name,
        u64::from(tasks),
        many_tasks(tasks),
        Play::new(0, workers),
    )
}

fn measure(name: &str, units: u64, graph: RunGraph, mut play: Play) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    play.play(graph)?;
    let seconds = watch.elapsed().as_secs_f64();
    if play.finished != units {
        bail!("{} units were finished, not {units}", play.finished);
    }
    println!(
        "{name:<40} {seconds:>10.2} {:>12.0} {:>8} {:>9} MB",
        units as f64 / seconds,
        play.cuts,
        Usage::own().peak()? / 1_000_000,
    );
    Ok(())
}

fn one_task() -> RunGraph {
    graph(vec![task(0, Vec::new(), true)])
}

/// Three edges each: to the task before, and to two at growing distances.
fn many_tasks(count: u32) -> RunGraph {
    let before = |id: u32| {
        let distances = [16, 97, 1_009].into_iter();
        distances
            .filter_map(move |d| id.checked_sub(d))
            .map(TaskId)
            .collect()
    };
    graph((0..count).map(|id| task(id, before(id), false)).collect())
}

fn graph(tasks: Vec<GraphTask>) -> RunGraph {
    RunGraph {
        direction: Direction::Do,
        tasks,
        modules: 1,
        max_units: u32::MAX,
        max_units_per_task: u32::MAX,
        max_attempts: 3,
        first_unit_rows: None,
        server: None,
        paused: false,
        wants: Labels::new(),
    }
}

fn task(id: u32, depends: Vec<TaskId>, cuttable: bool) -> GraphTask {
    GraphTask {
        id: TaskId(id),
        depends,
        module: 0,
        seconds: f64::from(id % 7),
        tables: vec![(id, Access::Write)],
        cuttable,
        patient: None,
        prepared: false,
        cut_exhausted: false,
        units: Vec::new(),
        done: false,
    }
}

/// Driver and workers.
struct Play {
    /// Units that have not been cut.
    uncut: u32,
    workers: u32,
    next_unit: u32,
    cuts: u64,
    finished: u64,
}

impl Play {
    fn new(units: u32, workers: u32) -> Self {
        Self {
            uncut: units,
            workers,
            next_unit: 0,
            cuts: 0,
            finished: 0,
        }
    }

    fn play(&mut self, graph: RunGraph) -> anyhow::Result<()> {
        let run = RunId::generate();
        let mut engine = Engine::new();
        let mut events = VecDeque::from([Event::RunSubmitted { run, graph }]);
        for worker in (0..self.workers).map(WorkerId) {
            events.push_back(Event::WorkerJoined {
                worker,
                labels: Labels::new(),
            });
            let units = SLOTS;
            events.push_back(Event::CreditGranted { worker, units });
        }
        // Each event a microsecond after the last.
        for micros in 1.. {
            let event = events.pop_front().context("nothing happens any more")?;
            for command in engine.handle(event, Duration::from_micros(micros))? {
                if let Command::EndRun { outcome, .. } = command {
                    return match outcome {
                        Outcome::Finished => Ok(()),
                        other => bail!("the run ended as {other:?}"),
                    };
                }
                self.answer(command, &mut events)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, command: Command, events: &mut VecDeque<Event>) -> anyhow::Result<()> {
        let event = match command {
            Command::PrepareTask { run, task } => Event::TaskPrepared { run, task },
            Command::CutTask {
                run, task, units, ..
            } => {
                let first = UnitId(self.next_unit);
                let count = units.min(self.uncut);
                self.cuts += 1;
                self.uncut -= count;
                self.next_unit += count;
                let exhausted = self.uncut == 0;
                Event::UnitsCut {
                    run,
                    task,
                    first,
                    count,
                    exhausted,
                }
            }
            Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                ..
            } => {
                self.finished += 1;
                events.push_back(Event::UnitFinished {
                    run,
                    worker,
                    task,
                    unit,
                    rows: 1,
                    elapsed: Duration::from_secs(2),
                });
                Event::CreditGranted { worker, units: 1 }
            }
            Command::RecordTask { run, task } => Event::TaskRecorded { run, task },
            Command::RecordCheckpoint { run, module } => Event::CheckpointRecorded { run, module },
            other => bail!("an engine without trouble asked for {other:?}"),
        };
        events.push_back(event);
        Ok(())
    }
}
