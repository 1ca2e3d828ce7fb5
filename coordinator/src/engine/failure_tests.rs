//! What follows a failure, of a unit, a worker or the driver: tables of event and exact commands.

use std::time::Duration;

use upshift_shared::ids::WorkerId;

use super::{
    Command, Event, FailureClass, Outcome,
    bench::{Bench, T0, U0, U1, W1, W2, cuttable, failed_with},
    retry::poison,
    script::{failure, graph, task},
};

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
