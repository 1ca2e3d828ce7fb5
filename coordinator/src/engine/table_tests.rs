//! Tables of state and event, with the exact commands that follow. The state is what the events
//! before it made. What follows a failure is in `failure_tests.rs`.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Access, Command, Engine, Event, FailureClass, GraphTask, Labels, Outcome, StopReason,
    bench::{Bench, T0, T1, U0, U1, W1, W2, cuttable, stop_by},
    script::{failure, graph, task},
};

#[test]
fn two_tasks_one_after_the_other() {
    let run = RunId::generate();
    let mut bench = Bench {
        engine: Engine::new(),
        run,
        now: Duration::ZERO,
    };
    let tasks = vec![task(0, &[]), task(1, &[0])];
    let submitted = Event::RunSubmitted {
        run,
        graph: graph(tasks),
    };
    assert_eq!(bench.feed(submitted), [bench.prepare(T0)]);
    assert_eq!(bench.join(W1, 1), []);
    assert_eq!(bench.prepared(T0), [bench.lease(W1, T0, U0, 1)]);
    assert_eq!(bench.finished(W1, T0, U0), [bench.record(T0)]);
    assert_eq!(bench.recorded(T0), [bench.prepare(T1)]);
    assert_eq!(bench.prepared(T1), [], "no credit");
    let credit = Event::CreditGranted {
        worker: W1,
        units: 1,
    };
    assert_eq!(bench.feed(credit), [bench.lease(W1, T1, U0, 1)]);
    assert_eq!(bench.finished(W1, T1, U0), [bench.record(T1)]);
    let checkpoint = Command::RecordCheckpoint { run, module: 0 };
    assert_eq!(bench.recorded(T1), [checkpoint]);
    let recorded = Event::CheckpointRecorded { run, module: 0 };
    assert_eq!(bench.feed(recorded), [bench.end(Outcome::Finished)]);
}

#[test]
fn units_are_cut_in_batches_ahead_of_need() {
    let mut bench = Bench::new(graph(vec![cuttable(0)]));
    let run = bench.run;
    let cut = |rows, units| Command::CutTask {
        run,
        task: T0,
        rows,
        units,
    };
    assert_eq!(bench.join(W1, 1), []);
    assert_eq!(bench.prepared(T0), [cut(5_000, 4)]);
    assert_eq!(bench.cut(0, 4, false), [bench.lease(W1, T0, U0, 1)]);
    // The unit took a second, so the size fits.
    assert_eq!(bench.finished(W1, T0, U0), []);
    for unit in 1..4 {
        let credit = Event::CreditGranted {
            worker: W1,
            units: 1,
        };
        let lease = bench.lease(W1, T0, UnitId(unit), 1);
        let expected = if unit == 3 {
            vec![lease, cut(5_000, 8)]
        } else {
            vec![lease]
        };
        assert_eq!(bench.feed(credit), expected, "{unit}");
        assert_eq!(bench.finished(W1, T0, UnitId(unit)), []);
    }
    assert_eq!(bench.cut(4, 0, true), [bench.record(T0)]);
}

#[test]
fn a_task_with_nothing_to_cut_is_recorded() {
    let mut bench = Bench::new(graph(vec![cuttable(0)]));
    bench.prepared(T0);
    assert_eq!(bench.cut(0, 0, true), [bench.record(T0)]);
}

#[test]
fn a_stop_lets_units_in_flight_end() {
    let mut bench = Bench::new(graph(vec![cuttable(0)]));
    let run = bench.run;
    bench.join(W1, 2);
    bench.prepared(T0);
    bench.cut(0, 9, false);
    let stop = |reason| Event::StopRequested { run, reason };
    assert_eq!(bench.feed(stop(StopReason::Operator)), []);
    assert_eq!(bench.finished(W1, T0, U0), []);
    let credit = Event::CreditGranted {
        worker: W1,
        units: 1,
    };
    assert_eq!(bench.feed(credit), []);
    assert_eq!(
        bench.failed(W1, U1, FailureClass::Now),
        [bench.end(stop_by(StopReason::Operator))]
    );
}

#[test]
fn a_stop_waits_for_the_driver_unless_the_driver_asks_for_it() {
    let lost = StopReason::Driver(failure(FailureClass::Later));
    let mut bench = Bench::new(graph(vec![task(0, &[])]));
    let run = bench.run;
    let stop = |reason| Event::StopRequested { run, reason };
    assert_eq!(bench.feed(stop(StopReason::Operator)), [], "being prepared");
    assert_eq!(bench.feed(stop(lost.clone())), [bench.end(stop_by(lost))]);
    assert_eq!(bench.prepared(T0), [], "an answer after the end");
}

#[test]
fn pause_and_resume() {
    let mut bench = Bench::new(graph(vec![task(0, &[]), task(1, &[0])]));
    let run = bench.run;
    bench.join(W1, 1);
    assert_eq!(bench.feed(Event::PauseRequested { run }), []);
    assert_eq!(bench.prepared(T0), []);
    let resume = Event::ResumeRequested { run };
    assert_eq!(bench.feed(resume.clone()), [bench.lease(W1, T0, U0, 1)]);
    bench.feed(Event::PauseRequested { run });
    assert_eq!(
        bench.finished(W1, T0, U0),
        [bench.record(T0)],
        "recording goes on"
    );
    assert_eq!(bench.recorded(T0), []);
    assert_eq!(bench.feed(resume), [bench.prepare(T1)]);
}

#[test]
fn one_task_writes_a_table_at_a_time() {
    let writer = |id| GraphTask {
        tables: vec![(7, Access::Write)],
        ..task(id, &[])
    };
    let reader = GraphTask {
        tables: vec![(7, Access::Read)],
        ..task(2, &[])
    };
    let mut bench = Bench::new(graph(vec![writer(0), writer(1), reader]));
    bench.prepared(T0);
    bench.prepared(TaskId(2));
    let leases = [
        bench.lease(W1, T0, U0, 1),
        bench.lease(W1, TaskId(2), U0, 1),
    ];
    assert_eq!(bench.join(W1, 3), leases, "a reader may run beside");
    assert_eq!(bench.finished(W1, T0, U0), [bench.record(T0)]);
    assert_eq!(bench.recorded(T0), [bench.prepare(T1)]);
}

#[test]
fn the_longest_path_goes_first() {
    let seconds = |id, depends: &[u32], seconds| GraphTask {
        seconds,
        ..task(id, depends)
    };
    let tasks = vec![
        seconds(0, &[], 10.0),
        seconds(1, &[], 3.0),
        seconds(2, &[1], 9.0),
        seconds(3, &[], 11.0),
    ];
    let mut graph = graph(tasks);
    graph.max_units = 2;
    let run = RunId::generate();
    let mut engine = Engine::new();
    let commands = engine.handle(Event::RunSubmitted { run, graph }, Duration::ZERO);
    let first = [T1, TaskId(3)].map(|task| Command::PrepareTask { run, task });
    assert_eq!(commands, Ok(first.to_vec()));
}

#[test]
fn runs_and_workers_take_turns() {
    let many = || {
        let mut graph = graph(vec![cuttable(0)]);
        graph.tasks[0].prepared = true;
        graph.tasks[0].cut_exhausted = true;
        graph.tasks[0].units = (0..9).map(|u| (UnitId(u), false)).collect();
        graph
    };
    let mut bench = Bench::new(many());
    let other = RunId::generate();
    bench.feed(Event::RunSubmitted {
        run: other,
        graph: many(),
    });
    bench.feed(Event::WorkerJoined {
        worker: W1,
        labels: Labels::new(),
    });
    bench.feed(Event::WorkerJoined {
        worker: W2,
        labels: Labels::new(),
    });
    bench.feed(Event::PauseRequested { run: bench.run });
    bench.feed(Event::PauseRequested { run: other });
    for worker in [W1, W2] {
        bench.feed(Event::CreditGranted { worker, units: 2 });
    }
    let turns = |commands: Vec<Command>| -> Vec<(WorkerId, bool)> {
        let leases = commands.into_iter().filter_map(|command| match command {
            Command::LeaseUnit { worker, run, .. } => Some((worker, run == other)),
            _ => None,
        });
        leases.collect()
    };
    let run = bench.run;
    let commands = bench.feed(Event::ResumeRequested { run });
    assert_eq!(
        turns(commands),
        [(W1, false), (W2, false), (W1, false), (W2, false)]
    );
    bench.feed(Event::ResumeRequested { run: other });
    let commands = bench.feed(Event::CreditGranted {
        worker: W1,
        units: 4,
    });
    let turns = turns(commands);
    assert_eq!(
        turns.iter().filter(|(_, other)| *other).count(),
        4,
        "the first is at its cap"
    );
}

#[test]
fn events_that_do_not_fit_are_named() {
    let mut bench = Bench::new(graph(vec![task(0, &[]), task(1, &[0])]));
    let run = bench.run;
    bench.join(W1, 1);
    let cases = [
        (
            Event::RunSubmitted {
                run,
                graph: graph(Vec::new()),
            },
            "RunSubmitted of run RUN does not fit: the run is running",
        ),
        (
            Event::WorkerJoined {
                worker: W1,
                labels: Labels::new(),
            },
            "WorkerJoined of w1 does not fit: w1 has 1 credits",
        ),
        (
            Event::WorkerLost { worker: W2 },
            "WorkerLost of w2 does not fit: w2 has no session",
        ),
        (
            Event::TaskPrepared { run, task: T1 },
            "TaskPrepared of run RUN for t1 does not fit: task t1 is blocked",
        ),
        (
            Event::TaskRecorded { run, task: T0 },
            "TaskRecorded of run RUN for t0 does not fit: task t0 is being prepared",
        ),
        (
            Event::TaskRecorded {
                run,
                task: TaskId(9),
            },
            "TaskRecorded of run RUN for t9 does not fit: the run has no task t9",
        ),
        (
            bench.finish(W1, T1, U0),
            "UnitFinished of run RUN for t1 u0 does not fit: task t1 is blocked",
        ),
        (
            Event::CheckpointRecorded { run, module: 0 },
            "CheckpointRecorded of run RUN does not fit: no checkpoint of module 0 was asked for",
        ),
        (
            Event::ResumeRequested { run },
            "ResumeRequested of run RUN does not fit: the run is running",
        ),
    ];
    for (event, message) in cases {
        assert_eq!(bench.refused(event), message);
    }
    let stop = Event::StopRequested {
        run,
        reason: StopReason::Operator,
    };
    bench.feed(stop.clone());
    let message = "StopRequested of run RUN does not fit: the run is stopping";
    assert_eq!(bench.refused(stop.clone()), message);
    bench.prepared(T0);
    let message = "StopRequested of run RUN does not fit: the run has ended";
    assert_eq!(bench.refused(stop), message);
}

#[test]
fn graphs_that_make_no_sense_are_refused() {
    let cases = [
        (
            vec![task(0, &[1]), task(1, &[0])],
            "task t0 depends on itself through others",
        ),
        (
            vec![task(0, &[4])],
            "task t0 depends on t4, which is not in the graph",
        ),
        (
            vec![task(0, &[]), task(0, &[])],
            "task t0 is in the graph twice",
        ),
    ];
    for (tasks, message) in cases {
        let event = Event::RunSubmitted {
            run: RunId::generate(),
            graph: graph(tasks),
        };
        let refusal = Engine::new()
            .handle(event, Duration::ZERO)
            .expect_err("no sense");
        assert_eq!(refusal.state, message);
    }
}
