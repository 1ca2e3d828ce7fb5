//! Several runs, workers in several places, servers with limits: who gets what.

use std::{collections::BTreeMap, time::Duration};

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Command, Engine, Event, GraphTask, Labels, RunGraph, ServerId,
    bench::{W1, W2, cuttable},
    script::graph,
};

/// A unit in a worker's hands.
type Leased = (WorkerId, RunId, TaskId, UnitId);

/// An engine with runs that all have more units than anybody needs.
struct Stage {
    engine: Engine,
    runs: Vec<RunId>,
    leases: Vec<Leased>,
}

fn many_units() -> RunGraph {
    graph(vec![GraphTask {
        prepared: true,
        cut_exhausted: true,
        units: (0..500).map(|unit| (UnitId(unit), false)).collect(),
        ..cuttable(0)
    }])
}

fn label(name: &str, value: &str) -> Labels {
    Labels::from([(name.to_owned(), value.to_owned())])
}

impl Stage {
    fn new() -> Self {
        Self {
            engine: Engine::new(),
            runs: Vec::new(),
            leases: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event) {
        let commands = self.engine.handle(event, Duration::ZERO);
        for command in commands.expect("the event fits") {
            if let Command::LeaseUnit {
                worker,
                run,
                task,
                unit,
                ..
            } = command
            {
                self.leases.push((worker, run, task, unit));
            }
        }
    }

    fn submit(&mut self, server: Option<u32>, wants: Labels) {
        let run = RunId::generate();
        self.runs.push(run);
        let graph = RunGraph {
            server: server.map(ServerId),
            wants,
            max_units: 100,
            max_units_per_task: 100,
            ..many_units()
        };
        self.feed(Event::RunSubmitted { run, graph });
    }

    fn join(&mut self, worker: WorkerId, units: u32, labels: Labels) {
        self.feed(Event::WorkerJoined { worker, labels });
        self.feed(Event::CreditGranted { worker, units });
    }

    /// The oldest unit in a worker's hands ends, and its worker takes another one.
    fn finish_one(&mut self) {
        let (worker, run, task, unit) = self.leases.remove(0);
        self.feed(Event::UnitFinished {
            run,
            worker,
            task,
            unit,
            rows: 1,
            elapsed: Duration::from_millis(1),
        });
        self.feed(Event::CreditGranted { worker, units: 1 });
    }

    /// Units in flight of each run, by its place.
    fn in_flight(&self) -> Vec<usize> {
        let mut count: BTreeMap<RunId, usize> = BTreeMap::new();
        for (_, run, ..) in &self.leases {
            *count.entry(*run).or_default() += 1;
        }
        let of = |run| count.get(run).copied().unwrap_or(0);
        self.runs.iter().map(of).collect()
    }
}

#[test]
fn runs_share_workers_evenly() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.submit(None, Labels::new());
    }
    stage.join(W1, 6, Labels::new());
    assert_eq!(stage.in_flight(), [2, 2, 2]);
    stage.submit(None, Labels::new());
    for _ in 0..40 {
        stage.finish_one();
        let in_flight = stage.in_flight();
        assert_eq!(in_flight.iter().sum::<usize>(), 6);
        assert!(in_flight.iter().all(|units| (1..=3).contains(units)) || in_flight[3] == 0);
    }
    assert!(stage.in_flight()[3] > 0, "who came late has its share");
}

#[test]
fn limits_of_servers_and_of_all_hold() {
    let mut stage = Stage::new();
    for server in [1, 1, 2] {
        stage.submit(Some(server), Labels::new());
    }
    stage.feed(Event::ServerLimited {
        server: ServerId(1),
        max_units: 3,
    });
    stage.join(W1, 10, Labels::new());
    let expect = |stage: &Stage, one: usize, all: usize| {
        let units = stage.in_flight();
        assert!(units[0] + units[1] <= one, "{units:?}");
        assert_eq!(units.iter().sum::<usize>(), all, "{units:?}");
    };
    expect(&stage, 3, 10);
    for _ in 0..30 {
        stage.finish_one();
        expect(&stage, 3, 10);
        let units = stage.in_flight();
        assert!(units[0] + units[1] >= 2, "{units:?}: what ends is replaced");
    }
    let max_units = Some(4);
    stage.feed(Event::UnitsLimited { max_units });
    for _ in 0..6 {
        stage.finish_one();
    }
    expect(&stage, 3, 4);
    stage.feed(Event::UnitsLimited { max_units: None });
    stage.feed(Event::ServerLimited {
        server: ServerId(1),
        max_units: 9,
    });
    expect(&stage, 9, 10);
    let load = stage.engine.load();
    assert_eq!(
        (load.runs, load.units_in_flight, load.capacity),
        (3, 10, 10)
    );
    assert_eq!(load.units_ready, 290, "each may have a hundred");
}

#[test]
fn workers_elsewhere_help_only_where_nobody_is_near() {
    let mut stage = Stage::new();
    stage.submit(None, label("region", "eu"));
    stage.join(W1, 2, label("region", "us"));
    assert_eq!(stage.leases.len(), 2, "nobody is near");
    stage.join(W2, 2, label("region", "eu"));
    assert_eq!(stage.leases.len(), 4);
    for _ in 0..10 {
        stage.finish_one();
    }
    let near = |(worker, ..): &Leased| *worker == W2;
    assert!(stage.leases.iter().all(near), "{:?}", stage.leases);
    stage.feed(Event::WorkerDraining { worker: W2 });
    assert!(!stage.leases.iter().all(near), "the near one is leaving");
}
