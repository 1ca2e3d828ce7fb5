//! Limits that change while a run goes on: exact commands.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Command, Engine, Event, GraphTask, Labels, RunGraph, StopReason,
    bench::{Bench, T0, T1, U0, U1, W1, W2, cuttable, stop_by},
    script::{graph, task},
};

/// Two tasks of many units, all of them cut.
fn two_of_many(max_units: u32, max_units_per_task: u32) -> RunGraph {
    let many = |id| GraphTask {
        prepared: true,
        cut_exhausted: true,
        units: (0..9).map(|u| (UnitId(u), false)).collect(),
        ..cuttable(id)
    };
    let mut graph = graph(vec![many(0), many(1)]);
    graph.max_units = max_units;
    graph.max_units_per_task = max_units_per_task;
    graph
}

fn limits(bench: &Bench, max_units: u32, max_units_per_task: u32) -> Event {
    Event::LimitsChanged {
        run: bench.run,
        max_units,
        max_units_per_task,
    }
}

fn leased(commands: &[Command]) -> Vec<(WorkerId, TaskId, UnitId)> {
    commands
        .iter()
        .map(|command| match command {
            Command::LeaseUnit {
                worker, task, unit, ..
            } => (*worker, *task, *unit),
            other => panic!("not a lease: {other:?}"),
        })
        .collect()
}

#[test]
fn a_higher_limit_is_used_at_once() {
    let mut bench = Bench::new(two_of_many(1, 1));
    assert_eq!(leased(&bench.join(W1, 4)), [(W1, T0, U0)]);
    let raised = limits(&bench, 3, 2);
    let commands = bench.feed(raised);
    assert_eq!(leased(&commands), [(W1, T0, U1), (W1, T1, U0)]);
    let again = limits(&bench, 3, 2);
    assert_eq!(bench.feed(again), [], "nothing has changed");
}

#[test]
fn a_lower_limit_lets_units_in_flight_end() {
    let mut bench = Bench::new(two_of_many(4, 4));
    assert_eq!(bench.join(W1, 2).len(), 2);
    assert_eq!(bench.join(W2, 2).len(), 2);
    let lowered = limits(&bench, 1, 1);
    assert_eq!(bench.feed(lowered), []);
    let credit = |worker| Event::CreditGranted { worker, units: 1 };
    for (worker, unit) in [(W1, 0), (W1, 1), (W2, 2)] {
        assert_eq!(bench.finished(worker, T0, UnitId(unit)), [], "{unit}");
        assert_eq!(bench.feed(credit(worker)), [], "{unit}");
    }
    let next = bench.finished(W2, T0, UnitId(3));
    assert_eq!(leased(&next), [(W1, T0, UnitId(4))], "the last has ended");
}

#[test]
fn a_limit_of_one_task_leaves_others_alone() {
    let mut bench = Bench::new(two_of_many(4, 4));
    let lowered = limits(&bench, 4, 1);
    assert_eq!(bench.feed(lowered), []);
    let commands = bench.join(W1, 4);
    assert_eq!(leased(&commands), [(W1, T0, U0), (W1, T1, U0)]);
}

#[test]
fn zero_is_one_and_a_pause_holds_whatever_the_limits() {
    let mut bench = Bench::new(two_of_many(2, 2));
    let run = bench.run;
    let none = limits(&bench, 0, 0);
    assert_eq!(bench.feed(none), []);
    assert_eq!(leased(&bench.join(W1, 4)), [(W1, T0, U0)]);
    assert_eq!(bench.feed(Event::PauseRequested { run }), []);
    let raised = limits(&bench, 3, 3);
    assert_eq!(bench.feed(raised), []);
    let resumed = bench.feed(Event::ResumeRequested { run });
    assert_eq!(
        leased(&resumed),
        [(W1, T0, U1), (W1, T0, UnitId(2))],
        "the limit from during the pause"
    );
}

#[test]
fn a_run_that_begins_paused_begins_nothing() {
    let mut engine = Engine::new();
    let mut feed = |event| engine.handle(event, Duration::ZERO).expect("it fits");
    feed(Event::WorkerJoined {
        worker: W1,
        labels: Labels::new(),
    });
    feed(Event::CreditGranted {
        worker: W1,
        units: 4,
    });
    let run = RunId::generate();
    let graph = RunGraph {
        paused: true,
        ..two_of_many(2, 2)
    };
    assert_eq!(feed(Event::RunSubmitted { run, graph }), []);
    let resumed = feed(Event::ResumeRequested { run });
    assert_eq!(leased(&resumed), [(W1, T0, U0), (W1, T0, U1)]);
}

#[test]
fn more_tasks_begin_where_more_units_may() {
    let tasks = vec![task(0, &[]), task(1, &[])];
    let mut graph = graph(tasks);
    graph.max_units = 1;
    let mut bench = Bench::new(graph);
    let raised = limits(&bench, 2, 2);
    let prepare = bench.prepare(T1);
    assert_eq!(bench.feed(raised), [prepare]);
}

#[test]
fn a_run_that_ends_is_past_limits() {
    let mut bench = Bench::new(two_of_many(1, 1));
    bench.join(W1, 1);
    let (run, reason) = (bench.run, StopReason::Operator);
    assert_eq!(bench.feed(Event::StopRequested { run, reason }), []);
    let raised = limits(&bench, 2, 2);
    assert_eq!(
        bench.refused(raised.clone()),
        "LimitsChanged of run RUN does not fit: the run is stopping"
    );
    let end = bench.end(stop_by(StopReason::Operator));
    assert_eq!(bench.finished(W1, T0, U0), [end]);
    assert!(bench.refused(raised).contains("the run has ended"));
}
