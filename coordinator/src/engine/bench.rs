//! What the tests with tables of events and commands share: an engine with one run, and the events and
//! commands that they speak of by short names.

use std::time::Duration;

use upshift_shared::ids::{RunId, TaskId, UnitId, WorkerId};

use super::{
    Command, Direction, Engine, Event, Failure, FailureClass, GraphTask, Labels, Outcome, RunGraph,
    StopReason,
    script::{failure, task},
};

pub(super) const T0: TaskId = TaskId(0);
pub(super) const T1: TaskId = TaskId(1);
pub(super) const U0: UnitId = UnitId(0);
pub(super) const U1: UnitId = UnitId(1);
pub(super) const W1: WorkerId = WorkerId(1);
pub(super) const W2: WorkerId = WorkerId(2);

/// An engine, its run, and the time.
pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) run: RunId,
    pub(super) now: Duration,
}

impl Bench {
    pub(super) fn new(graph: RunGraph) -> Self {
        let run = RunId::generate();
        let mut bench = Self {
            engine: Engine::new(),
            run,
            now: Duration::ZERO,
        };
        bench.feed(Event::RunSubmitted { run, graph });
        bench
    }

    pub(super) fn feed(&mut self, event: Event) -> Vec<Command> {
        self.engine.handle(event, self.now).expect("the event fits")
    }

    /// What the engine says of an event that does not fit.
    pub(super) fn refused(&mut self, event: Event) -> String {
        let refusal = self
            .engine
            .handle(event, self.now)
            .expect_err("the event does not fit");
        refusal.to_string().replace(&self.run.short(), "RUN")
    }

    pub(super) fn join(&mut self, worker: WorkerId, units: u32) -> Vec<Command> {
        assert_eq!(
            self.feed(Event::WorkerJoined {
                worker,
                labels: Labels::new()
            }),
            []
        );
        self.feed(Event::CreditGranted { worker, units })
    }

    pub(super) fn prepared(&mut self, task: TaskId) -> Vec<Command> {
        let run = self.run;
        self.feed(Event::TaskPrepared { run, task })
    }

    pub(super) fn finished(
        &mut self,
        worker: WorkerId,
        task: TaskId,
        unit: UnitId,
    ) -> Vec<Command> {
        let event = self.finish(worker, task, unit);
        self.feed(event)
    }

    pub(super) fn finish(&self, worker: WorkerId, task: TaskId, unit: UnitId) -> Event {
        Event::UnitFinished {
            run: self.run,
            worker,
            task,
            unit,
            rows: 1,
            elapsed: Duration::from_secs(1),
        }
    }

    pub(super) fn failed(
        &mut self,
        worker: WorkerId,
        unit: UnitId,
        class: FailureClass,
    ) -> Vec<Command> {
        self.feed(Event::UnitFailed {
            run: self.run,
            worker,
            task: T0,
            unit,
            failure: failure(class),
        })
    }

    pub(super) fn recorded(&mut self, task: TaskId) -> Vec<Command> {
        let run = self.run;
        self.feed(Event::TaskRecorded { run, task })
    }

    pub(super) fn cut(&mut self, first: u32, count: u32, exhausted: bool) -> Vec<Command> {
        self.feed(Event::UnitsCut {
            run: self.run,
            task: T0,
            first: UnitId(first),
            count,
            exhausted,
        })
    }

    pub(super) fn lease(
        &self,
        worker: WorkerId,
        task: TaskId,
        unit: UnitId,
        attempt: u32,
    ) -> Command {
        Command::LeaseUnit {
            worker,
            run: self.run,
            task,
            unit,
            direction: Direction::Do,
            attempt,
        }
    }

    pub(super) fn prepare(&self, task: TaskId) -> Command {
        let run = self.run;
        Command::PrepareTask { run, task }
    }

    pub(super) fn record(&self, task: TaskId) -> Command {
        let run = self.run;
        Command::RecordTask { run, task }
    }

    pub(super) fn end(&self, outcome: Outcome) -> Command {
        let run = self.run;
        Command::EndRun { run, outcome }
    }

    pub(super) fn retry(
        &self,
        unit: UnitId,
        attempt: u32,
        delay: u64,
        class: FailureClass,
    ) -> Command {
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

pub(super) fn cuttable(id: u32) -> GraphTask {
    GraphTask {
        cuttable: true,
        ..task(id, &[])
    }
}

pub(super) fn stop_by(reason: StopReason) -> Outcome {
    Outcome::Stopped(reason)
}

pub(super) fn failed_with(unit: Option<UnitId>, failure: Failure) -> Outcome {
    Outcome::Failed {
        task: T0,
        unit,
        failure,
    }
}
