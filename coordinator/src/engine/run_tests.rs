//! Whole runs through the scripted cluster.

use std::time::Duration;

use upshift_shared::ids::{TaskId, UnitId};

use super::{
    Direction, Outcome,
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
