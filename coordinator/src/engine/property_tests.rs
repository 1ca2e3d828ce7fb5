//! Random graphs and random accidents (`PROPTEST_CASES` says how many). The scripted cluster checks at every command what must always
//! hold; here is only what happens, and that every run comes to an end.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Access, Event, FailureClass, GraphTask, Outcome, RunGraph, StopReason,
    script::{Cluster, graph, task},
};

/// One thing that happens; numbers choose among what is there.
#[derive(Debug, Clone, Copy)]
enum Accident {
    Tick,
    FinishUnit(usize),
    FailUnit(usize, FailureClass),
    FailTask(FailureClass),
    LoseWorker(usize),
    FinishZombie(usize),
    Join(u32),
    Drain(usize),
    FireTimer,
    Pause,
    Resume,
    Limit(u32, u32),
    Crash,
    Stop,
}

fn accident() -> impl Strategy<Value = Accident> {
    use Accident as A;
    let passing = prop_oneof![
        Just(FailureClass::Now),
        Just(FailureClass::Later),
        Just(FailureClass::TimedOut),
    ];
    prop_oneof![
        30 => Just(A::Tick),
        30 => any::<usize>().prop_map(A::FinishUnit),
        6 => (any::<usize>(), passing).prop_map(|(unit, class)| A::FailUnit(unit, class)),
        2 => Just(A::FailTask(FailureClass::Later)),
        3 => any::<usize>().prop_map(A::LoseWorker),
        4 => any::<usize>().prop_map(A::FinishZombie),
        4 => (1..6_u32).prop_map(A::Join),
        1 => any::<usize>().prop_map(A::Drain),
        6 => Just(A::FireTimer),
        1 => Just(A::Pause),
        2 => Just(A::Resume),
        2 => (1..6_u32, 1..4_u32).prop_map(|(units, of_task)| A::Limit(units, of_task)),
        1 => Just(A::Crash),
    ]
}

/// Accidents after which a run may not finish.
fn fatal_accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        20 => accident(),
        1 => any::<usize>().prop_map(|unit| Accident::FailUnit(unit, FailureClass::Never)),
        1 => Just(Accident::FailTask(FailureClass::Fenced)),
        1 => Just(Accident::Stop),
    ]
}

/// What a random task is made of: dependencies as bits over the tasks before it, estimated seconds,
/// rows if it is cuttable, tables, and whether it begins the next module.
type Ingredients = (u32, f64, Option<u64>, Vec<(u32, Access)>, bool);

fn accesses() -> impl Strategy<Value = Access> {
    proptest::sample::select(vec![Access::Read, Access::Write, Access::Alone])
}

fn ingredients() -> impl Strategy<Value = Ingredients> {
    (
        any::<u32>(),
        0.0..100.0,
        proptest::option::weighted(0.4, 0..400_000_u64),
        proptest::collection::vec((0..4_u32, accesses()), 0..4),
        proptest::bool::weighted(0.3),
    )
}

fn random_graph() -> impl Strategy<Value = (RunGraph, Vec<(u32, u64)>)> {
    let tasks = proptest::collection::vec(ingredients(), 1..14);
    (tasks, 1..7_u32, 1..5_u32).prop_map(|(ingredients, max_units, per_task)| {
        let mut rows_of = Vec::new();
        let mut tasks: Vec<GraphTask> = Vec::new();
        for (id, (bits, seconds, rows, tables, next_module)) in (0_u32..).zip(ingredients) {
            let depends: Vec<u32> = (0..id).filter(|i| bits & bits >> 7 & 1 << i != 0).collect();
            let mut task = task(id, &depends);
            task.seconds = seconds;
            task.tables = tables;
            task.module = tasks
                .last()
                .map_or(0, |t| t.module + u32::from(next_module));
            if let Some(rows) = rows {
                task.cuttable = true;
                rows_of.push((id, rows));
            }
            tasks.push(task);
        }
        let mut graph = graph(tasks);
        graph.max_units = max_units;
        graph.max_units_per_task = per_task;
        (graph, rows_of)
    })
}

fn happens(cluster: &mut Cluster, accident: Accident, workers: &mut u32) {
    let one_of = |n: usize, of: usize| n.checked_rem(of);
    let run = cluster.run;
    match accident {
        Accident::Tick => drop(cluster.tick()),
        Accident::FinishUnit(n) => {
            if let Some(lease) = one_of(n, cluster.leases.len()) {
                let elapsed = Duration::from_millis(n as u64 % 9_000);
                cluster.now += elapsed;
                cluster.finish_unit(lease, elapsed);
            }
        }
        Accident::FailUnit(n, class) => {
            if let Some(lease) = one_of(n, cluster.leases.len()) {
                cluster.fail_unit(lease, class);
            }
        }
        Accident::FailTask(class) => cluster.fail_task(class),
        Accident::LoseWorker(n) => {
            let ids = cluster.workers();
            if let Some(worker) = one_of(n, ids.len()) {
                cluster.lose_worker(ids[worker]);
            }
        }
        Accident::FinishZombie(n) => {
            if let Some(zombie) = one_of(n, cluster.zombies.len()) {
                cluster.finish_zombie(zombie);
            }
        }
        Accident::Join(credits) => {
            *workers += 1;
            cluster.join(*workers, credits);
        }
        Accident::Drain(n) => {
            let ids = cluster.workers();
            if let Some(worker) = one_of(n, ids.len()) {
                cluster.drain(ids[worker]);
            }
        }
        Accident::FireTimer => drop(cluster.fire_timer()),
        Accident::Pause => drop(cluster.try_feed(Event::PauseRequested { run })),
        Accident::Resume => drop(cluster.try_feed(Event::ResumeRequested { run })),
        Accident::Limit(units, per_task) => cluster.limit(units, per_task),
        Accident::Crash => cluster.crash(),
        Accident::Stop => {
            let reason = StopReason::Operator;
            drop(cluster.try_feed(Event::StopRequested { run, reason }));
        }
    }
}

/// Lets everything heal, and the run end.
fn heal(cluster: &mut Cluster) {
    if cluster.outcome.is_none() {
        let run = cluster.run;
        drop(cluster.try_feed(Event::ResumeRequested { run }));
        cluster.join(1_000_000, 3);
        cluster.run_to_end(Duration::from_secs(1));
    }
}

proptest! {
    /// Whatever passing trouble there is, every unit is finished exactly once and the run ends; when
    /// it failed for too many losses or attempts, a resumed one ends it.
    #[test]
    fn every_run_ends_with_every_unit_done_once(
        (graph, rows) in random_graph(),
        accidents in proptest::collection::vec(accident(), 0..300),
    ) {
        let mut cluster = Cluster::new(graph, &rows);
        let mut workers = 0;
        for accident in accidents {
            if cluster.outcome.is_some() {
                break;
            }
            happens(&mut cluster, accident, &mut workers);
        }
        heal(&mut cluster);
        while cluster.outcome != Some(Outcome::Finished) {
            cluster.crash();
            heal(&mut cluster);
        }
    }

    /// A stop, or a failure that cannot be mended by trying again, ends the run with nothing in
    /// flight and nothing new begun; a resumed one does the rest.
    #[test]
    fn a_run_that_was_stopped_can_be_resumed(
        (graph, rows) in random_graph(),
        accidents in proptest::collection::vec(fatal_accident(), 0..200),
    ) {
        let mut cluster = Cluster::new(graph, &rows);
        let mut workers = 0;
        for accident in accidents {
            if cluster.outcome.is_some() {
                break;
            }
            happens(&mut cluster, accident, &mut workers);
        }
        heal(&mut cluster);
        while cluster.outcome != Some(Outcome::Finished) {
            cluster.crash();
            heal(&mut cluster);
        }
    }
}
