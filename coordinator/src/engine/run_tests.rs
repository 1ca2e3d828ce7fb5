//! Whole runs through the scripted cluster.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Command, Direction, Engine, Event, Labels, Outcome, RunGraph, StopReason,
    script::{Cluster, graph, task},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_run_goes_forward_to_its_end() {
    let mut tasks = vec![task(0, &[]), task(1, &[0]), task(2, &[0]), task(3, &[1, 2])];
    tasks[1].cuttable = true;
    tasks[3].module = 1;
    let mut cluster = Cluster::new(graph(tasks), &[(1, 1_000_000)]);
    cluster.join(1, 4);
    cluster.run_to_end(SECOND);
    assert_eq!(cluster.outcome, Some(Outcome::Finished));
    assert_eq!(cluster.checkpoints, [0, 1]);
}

#[test]
fn a_run_goes_back_to_its_start() {
    let mut tasks = vec![task(7, &[]), task(2, &[7])];
    for task in &mut tasks {
        task.prepared = true;
        task.cut_exhausted = true;
    }
    tasks[0].cuttable = true;
    tasks[0].units = vec![(UnitId(0), true), (UnitId(2), false), (UnitId(5), false)];
    let mut back = graph(tasks);
    back.direction = Direction::Undo;
    let mut cluster = Cluster::new(back, &[]);
    cluster.join(1, 1);
    cluster.run_to_end(SECOND);
    assert_eq!(cluster.outcome, Some(Outcome::Finished));
    assert!(cluster.checkpoints.is_empty());
    assert_eq!(cluster.commits.len(), 4);
    assert!(cluster.commits.contains_key(&(TaskId(7), UnitId(5))));
}

#[test]
fn a_run_without_tasks_is_finished_at_once() {
    let cluster = Cluster::new(graph(Vec::new()), &[]);
    assert_eq!(cluster.outcome, Some(Outcome::Finished));
}

/// Found by the simulation (`upshift_tests::simulation`): the place of the run that ended stayed in the queue,
/// and was the run's again beside its new one.
#[test]
fn a_run_that_is_submitted_again_has_one_turn() {
    let mut engine = Engine::new();
    let now = Duration::ZERO;
    let mut feed = |event| engine.handle(event, now).expect("the event fits");
    let [first, second] = [RunId::generate(), RunId::generate()];
    let of_units = || -> RunGraph {
        let mut only = task(0, &[]);
        only.prepared = true;
        only.cut_exhausted = true;
        only.cuttable = true;
        only.units = (0..8).map(|unit| (UnitId(unit), false)).collect();
        graph(vec![only])
    };
    for run in [first, second] {
        let graph = of_units();
        feed(Event::RunSubmitted { run, graph });
    }
    let (run, reason) = (first, StopReason::Operator);
    let ended = feed(Event::StopRequested { run, reason });
    assert!(matches!(ended.as_slice(), [Command::EndRun { .. }]));
    let graph = of_units();
    feed(Event::RunSubmitted { run, graph });
    let worker = WorkerId(0);
    let labels = Labels::new();
    feed(Event::WorkerJoined { worker, labels });
    let leased = feed(Event::CreditGranted { worker, units: 6 });
    let leased = leased.into_iter().filter_map(|command| match command {
        Command::LeaseUnit { run, .. } => Some(run == first),
        _ => None,
    });
    let of_first = leased.collect::<Vec<_>>();
    assert_eq!(of_first, [false, true, false, true, false, true]);
}
