//! A run that belongs to a group of databases: its checkpoints and its end are cuts of the group, and
//! it stops when another one of the group does.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Result,
    ledger::{
        event::Batch as Events,
        group::Write,
        run::{RunError, RunState},
    },
};

use super::{
    Driver, Input,
    operation::{Answer, Operation, Scene},
};
use crate::{
    engine::StopReason,
    group::{Seat, Waited},
};

impl Scene {
    /// What the group does in place of this run alone; `None` for what a run does by itself.
    pub(super) async fn with_group(&self, operation: &Operation) -> Option<Result<Answer>> {
        let seat = self.seat.as_ref()?;
        match operation {
            Operation::RecordCheckpoint(place) => {
                let planned = &self.plan.checkpoints[*place as usize];
                if planned.joined_with.is_some() || seat.has_alone(&planned.name) {
                    return None;
                }
                let waited = seat.checkpoint(*place, &planned.name).await;
                Some(waited.map(|waited| match waited {
                    Waited::Cut => Answer::Done,
                    Waited::Stopped(_) => Answer::Stopped(String::new()),
                }))
            }
            Operation::End {
                state,
                rollback_to,
                events,
                ..
            } => {
                let write = match state {
                    Some(RunState::Prepared) => Write::State(RunState::Prepared),
                    Some(RunState::RolledBack) => Write::RolledBack {
                        to: rollback_to.clone(),
                    },
                    _ => return None,
                };
                Some(self.end_with_group(seat, write, events).await)
            }
            _ => None,
        }
    }

    async fn end_with_group(&self, seat: &Seat, write: Write, events: &Events) -> Result<Answer> {
        let forward = write == Write::State(RunState::Prepared);
        if forward {
            Box::pin(self.execute(&Operation::RecordLeft)).await?;
        }
        // The last one tells of the end, which only the cut brings.
        let mut before = events.clone();
        let end = before.events.pop();
        let before = Operation::WriteEvents(before);
        Box::pin(self.execute(&before)).await?;
        let why = match seat.end(write).await? {
            Waited::Cut => {
                if let (Some(end), Answer::LastEvent(last)) =
                    (end, Box::pin(self.execute(&Operation::LastEvent)).await?)
                {
                    // With its place: written again, it is one all the same.
                    let end = Operation::WriteEvents(Events {
                        first: last + 1,
                        events: vec![end],
                        watch: events.watch,
                    });
                    Box::pin(self.execute(&end)).await?;
                }
                return Ok(Answer::Done);
            }
            Waited::Stopped(why) => why,
        };
        if forward {
            let failed = Operation::End {
                state: Some(RunState::Failed),
                error: Some(RunError {
                    message: why.clone(),
                    source: None,
                    sqlstate: None,
                }),
                rollback_to: None,
                events: Events {
                    events: Vec::new(),
                    ..events.clone()
                },
            };
            Box::pin(self.execute(&failed)).await?;
        }
        Ok(Answer::Stopped(why))
    }

    /// Why a run is stopped that nothing is wrong with.
    pub(super) fn why_stopped(&self) -> Option<String> {
        self.seat.as_ref()?.stopped_by_another()
    }
}

impl Driver {
    /// Another member has stopped: so does this one.
    pub(super) fn group_stopped(&mut self) {
        if !self.stopping {
            self.stopped_by_group = true;
            self.stop(StopReason::Operator);
        }
    }

    /// The others need not wait for this run.
    pub(super) fn tell_group(&self, why: &str) {
        if let Some(seat) = &self.scene.seat {
            seat.stop(why);
        }
    }

    /// Ctrl-C while the run is stopping. The first one reaches all members at once, and this one may
    /// have heard of it from another before.
    pub(super) fn interrupted_again(&mut self) {
        if !std::mem::take(&mut self.stopped_by_group) {
            self.cancel_units();
        }
    }
}

/// Tells the driver when another member stops, until `end`.
pub(super) async fn listen(seat: Seat, inputs: mpsc::Sender<Input>, end: CancellationToken) {
    tokio::select! {
        () = seat.stopped() => {}
        () = end.cancelled() => return,
    }
    // Nobody listens when the run has just ended.
    let _ended = inputs.send(Input::GroupStopped).await;
}
