//! Tables of state and event, with the exact commands that follow. The state is what the events
//! before it made.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Command, Direction, Engine, Event, Failure, FailureClass, GraphTask, Outcome, RunGraph,
    StopReason,
    retry::poison,
    script::{failure, graph, task},
};

const T0: TaskId = TaskId(0);
const T1: TaskId = TaskId(1);
const U0: UnitId = UnitId(0);
const U1: UnitId = UnitId(1);
const W1: WorkerId = WorkerId(1);
const W2: WorkerId = WorkerId(2);

/// An engine, its run, and the time.
struct Bench {
    engine: Engine,
    run: RunId,
    now: Duration,
}

impl Bench {
    fn new(graph: RunGraph) -> Self {
        let run = RunId::generate();
        let mut bench = Self {
            engine: Engine::new(),
            run,
            now: Duration::ZERO,
        };
        bench.feed(Event::RunSubmitted { run, graph });
        bench
    }

    fn feed(&mut self, event: Event) -> Vec<Command> {
        self.engine.handle(event, self.now).expect("the event fits")
    }

    /// What the engine says of an event that does not fit.
    fn refused(&mut self, event: Event) -> String {
        let refusal = self
            .engine
            .handle(event, self.now)
            .expect_err("the event does not fit");
        refusal.to_string().replace(&self.run.short(), "RUN")
    }

    fn join(&mut self, worker: WorkerId, units: u32) -> Vec<Command> {
        assert_eq!(self.feed(Event::WorkerJoined { worker }), []);
        self.feed(Event::CreditGranted { worker, units })
    }

    fn prepared(&mut self, task: TaskId) -> Vec<Command> {
        let run = self.run;
        self.feed(Event::TaskPrepared { run, task })
    }

    fn finished(&mut self, worker: WorkerId, task: TaskId, unit: UnitId) -> Vec<Command> {
        let event = self.finish(worker, task, unit);
        self.feed(event)
    }

    fn finish(&self, worker: WorkerId, task: TaskId, unit: UnitId) -> Event {
        Event::UnitFinished {
            run: self.run,
            worker,
            task,
            unit,
            rows: 1,
            elapsed: Duration::from_secs(1),
        }
    }

    fn failed(&mut self, worker: WorkerId, unit: UnitId, class: FailureClass) -> Vec<Command> {
        self.feed(Event::UnitFailed {
            run: self.run,
            worker,
            task: T0,
            unit,
            failure: failure(class),
        })
    }

    fn recorded(&mut self, task: TaskId) -> Vec<Command> {
        let run = self.run;
        self.feed(Event::TaskRecorded { run, task })
    }

    fn cut(&mut self, first: u32, count: u32, exhausted: bool) -> Vec<Command> {
        self.feed(Event::UnitsCut {
            run: self.run,
            task: T0,
            first: UnitId(first),
            count,
            exhausted,
        })
    }

    fn lease(&self, worker: WorkerId, task: TaskId, unit: UnitId, attempt: u32) -> Command {
        Command::LeaseUnit {
            worker,
            run: self.run,
            task,
            unit,
            direction: Direction::Do,
            attempt,
        }
    }

    fn prepare(&self, task: TaskId) -> Command {
        let run = self.run;
        Command::PrepareTask { run, task }
    }

    fn record(&self, task: TaskId) -> Command {
        let run = self.run;
        Command::RecordTask { run, task }
    }

    fn end(&self, outcome: Outcome) -> Command {
        let run = self.run;
        Command::EndRun { run, outcome }
    }

    fn retry(&self, unit: UnitId, attempt: u32, delay: u64, class: FailureClass) -> Command {
        Command::ReportRetry {
            run: self.run,
            task: T0,
            unit,
            attempt,
            delay: Duration::from_millis(delay),
            failure: failure(class),
        }
    }
}

fn cuttable(id: u32) -> GraphTask {
    GraphTask {
        cuttable: true,
        ..task(id, &[])
    }
}

fn stop_by(reason: StopReason) -> Outcome {
    Outcome::Stopped(reason)
}

fn failed_with(unit: Option<UnitId>, failure: Failure) -> Outcome {
    Outcome::Failed {
        task: T0,
        unit,
        failure,
    }
}

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
fn what_follows_a_failed_unit() {
    use FailureClass::{Fenced, Later, Never, Now, Operator, TimedOut};
    type Expected = fn(&Bench) -> Vec<Command>;
    let cases: [(FailureClass, Expected); 6] = [
        (Now, |b| {
            vec![b.retry(U0, 2, 0, Now), b.lease(W1, T0, U0, 2)]
        }),
        (Later, |b| {
            let at = Duration::from_millis(1_500);
            let timer = Command::SetTimer { at };
            vec![b.retry(U0, 2, 500, Later), b.lease(W1, T0, U1, 1), timer]
        }),
        (TimedOut, |b| {
            let (run, task, unit) = (b.run, T0, U0);
            let split = Command::SplitUnit { run, task, unit };
            vec![split, b.lease(W1, T0, U1, 1)]
        }),
        (Operator, |b| {
            vec![b.end(failed_with(Some(U0), failure(Operator)))]
        }),
        (Never, |b| {
            vec![b.end(failed_with(Some(U0), failure(Never)))]
        }),
        (Fenced, |b| {
            vec![b.end(failed_with(Some(U0), failure(Fenced)))]
        }),
    ];
    for (class, expected) in cases {
        let mut graph = graph(vec![cuttable(0)]);
        // One slot, so that the credit left over goes to what follows the failure.
        graph.max_units_per_task = 1;
        let mut bench = Bench::new(graph);
        bench.join(W1, 2);
        bench.prepared(T0);
        bench.now = Duration::from_secs(1);
        assert_eq!(bench.cut(0, 2, true), [bench.lease(W1, T0, U0, 1)]);
        let commands = bench.failed(W1, U0, class);
        assert_eq!(commands, expected(&bench), "{class:?}");
    }
}

#[test]
fn a_unit_that_cannot_be_split_is_tried_again_and_then_fails() {
    let mut bench = Bench::new(graph(vec![cuttable(0)]));
    bench.join(W1, 9);
    bench.prepared(T0);
    bench.cut(0, 1, true);
    let unsplit = Event::UnitSplit {
        run: bench.run,
        task: T0,
        unit: U0,
        new: None,
    };
    for (attempt, delay) in [(2, 500), (3, 1_000), (4, 2_000)] {
        bench.failed(W1, U0, FailureClass::TimedOut);
        let commands = bench.feed(unsplit.clone());
        let at = bench.now + Duration::from_millis(delay);
        let Command::ReportRetry {
            attempt: reported,
            delay: pause,
            ..
        } = &commands[0]
        else {
            panic!("{commands:?}");
        };
        assert_eq!((*reported, pause.as_millis()), (attempt, u128::from(delay)));
        assert_eq!(commands[1..], [Command::SetTimer { at }]);
        bench.now = at;
        assert_eq!(
            bench.feed(Event::TimerFired),
            [bench.lease(W1, T0, U0, attempt)]
        );
    }
    bench.failed(W1, U0, FailureClass::TimedOut);
    let commands = bench.feed(unsplit);
    let Some(Command::EndRun {
        outcome: Outcome::Failed { failure, .. },
        ..
    }) = commands.first()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(
        failure.message,
        "the statement timeout ended it, and it cannot be cut any smaller; allow it more time, \
         then resume"
    );
}

#[test]
fn halves_of_a_split_unit_are_units() {
    let mut bench = Bench::new(graph(vec![cuttable(0)]));
    bench.join(W1, 3);
    bench.prepared(T0);
    bench.cut(0, 1, true);
    bench.failed(W1, U0, FailureClass::TimedOut);
    let split = Event::UnitSplit {
        run: bench.run,
        task: T0,
        unit: U0,
        new: Some(U1),
    };
    let leases = [bench.lease(W1, T0, U1, 1), bench.lease(W1, T0, U0, 1)];
    assert_eq!(bench.feed(split), leases);
    assert_eq!(bench.finished(W1, T0, U0), []);
    assert_eq!(bench.finished(W1, T0, U1), [bench.record(T0)]);
}

#[test]
fn a_lost_workers_unit_goes_to_another_and_the_first_commit_wins() {
    let mut bench = Bench::new(graph(vec![task(0, &[])]));
    bench.join(W1, 1);
    bench.prepared(T0);
    bench.join(W2, 1);
    let lost = Event::WorkerLost { worker: W1 };
    assert_eq!(bench.feed(lost), [bench.lease(W2, T0, U0, 2)]);
    let late_failure = bench.failed(W1, U0, FailureClass::Never);
    assert_eq!(late_failure, [], "somebody else has the unit now");
    assert_eq!(
        bench.finished(W1, T0, U0),
        [bench.record(T0)],
        "a zombie's commit"
    );
    assert_eq!(bench.finished(W2, T0, U0), [], "the second is ignored");
    assert_eq!(bench.finished(W1, T0, U0), [], "and so is the third");
}

#[test]
fn a_run_does_not_end_before_its_last_lease() {
    let mut bench = Bench::new(graph(vec![task(0, &[])]));
    let run = bench.run;
    bench.join(W1, 1);
    bench.prepared(T0);
    bench.join(W2, 1);
    bench.feed(Event::WorkerLost { worker: W1 });
    bench.finished(W1, T0, U0);
    bench.recorded(T0);
    let recorded = Event::CheckpointRecorded { run, module: 0 };
    assert_eq!(bench.feed(recorded), []);
    assert_eq!(bench.finished(W2, T0, U0), [bench.end(Outcome::Finished)]);
    assert_eq!(
        bench.finished(W1, T0, U0),
        [],
        "a late report after the end"
    );
}

#[test]
fn a_unit_that_kills_its_workers_fails_the_run() {
    let mut bench = Bench::new(graph(vec![task(0, &[])]));
    bench.prepared(T0);
    for n in 1..=4 {
        let worker = WorkerId(n);
        assert_eq!(bench.join(worker, 1), [bench.lease(worker, T0, U0, n)]);
        assert_eq!(bench.feed(Event::WorkerLost { worker }), []);
    }
    bench.join(WorkerId(5), 1);
    let lost = Event::WorkerLost {
        worker: WorkerId(5),
    };
    assert_eq!(
        bench.feed(lost),
        [bench.end(failed_with(Some(U0), poison(5)))]
    );
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
fn what_the_driver_fails_in_is_asked_again() {
    let mut bench = Bench::new(graph(vec![task(0, &[])]));
    let failed = |bench: &Bench, class| Event::TaskFailed {
        run: bench.run,
        task: T0,
        failure: failure(class),
    };
    for delay in [500, 1_000, 2_000] {
        let at = bench.now + Duration::from_millis(delay);
        let event = failed(&bench, FailureClass::Later);
        assert_eq!(bench.feed(event), [Command::SetTimer { at }]);
        bench.now = at;
        assert_eq!(bench.feed(Event::TimerFired), [bench.prepare(T0)]);
    }
    let event = failed(&bench, FailureClass::Later);
    let outcome = failed_with(None, failure(FailureClass::Later));
    assert_eq!(bench.feed(event), [bench.end(outcome)]);
}

#[test]
fn one_task_writes_a_table_at_a_time() {
    let writer = |id| GraphTask {
        tables: vec![(7, true)],
        ..task(id, &[])
    };
    let reader = GraphTask {
        tables: vec![(7, false)],
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
    bench.feed(Event::WorkerJoined { worker: W1 });
    bench.feed(Event::WorkerJoined { worker: W2 });
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
            Event::WorkerJoined { worker: W1 },
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
