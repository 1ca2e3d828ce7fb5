//! How far a run goes before the next snapshot is due. A driver drives one segment of the plan; between
//! two of them no driver is at work and no session of the run is open, so that a snapshot can be taken.

use upshift_shared::{
    Result,
    ids::{RunId, TaskId},
    ledger,
    pg::PgConnection,
    plan::Plan,
};

/// The part of the plan that is driven now.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    /// The snapshot that is due when it is done, by its place in the plan; `None` for the last segment.
    pub(super) due: Option<u32>,
    /// Tasks that wait for that snapshot; empty where none is due.
    waiting: Vec<bool>,
    /// The first checkpoint that covers such a task: none from it on is complete yet.
    incomplete: Option<u32>,
}

impl Segment {
    /// Where the run stands: at the first snapshot that is not taken.
    pub(super) async fn current(conn: &mut PgConnection, run: RunId, plan: &Plan) -> Result<Self> {
        if plan.snapshots.is_empty() {
            return Ok(Self::default());
        }
        let taken = ledger::snapshot::load(conn, run).await?;
        let due = (0_u32..)
            .zip(&plan.snapshots)
            .map(|(place, _)| place)
            .find(|place| !taken.get(place).is_some_and(|row| row.done));
        Ok(due.map_or_else(Self::default, |due| Self::until(plan, due)))
    }

    fn until(plan: &Plan, due: u32) -> Self {
        let waiting: Vec<bool> = plan.segments().iter().map(|s| *s > due).collect();
        let left = plan.tasks.iter().filter(|t| waiting[t.id.0 as usize]);
        Self {
            due: Some(due),
            incomplete: left.map(|task| task.checkpoint).min(),
            waiting,
        }
    }

    /// Whether the task waits for the snapshot.
    pub(super) fn waits(&self, task: TaskId) -> bool {
        self.waiting.get(task.0 as usize).copied().unwrap_or(false)
    }

    /// Whether this checkpoint has to wait, however complete it looks to the engine, which
    /// sees this segment only.
    pub(super) fn holds_checkpoint(&self, place: u32) -> bool {
        self.incomplete.is_some_and(|first| place >= first)
    }
}
