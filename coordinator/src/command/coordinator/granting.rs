//! What operators wish of a run, as far as it fits how the run stands.

use std::sync::Arc;

use upshift_shared::{
    ids::RunId,
    ledger::{
        self,
        control::{self, Change, Pause},
        run::{RunRow, RunState},
    },
    pg::PgConnection,
};

use super::{super::Failure, audit::Action, leader::Leading};
use crate::{coordination::RunOrder, driver::commit::is_pending, server::Wish};

/// A run of which something is wished.
struct Wished<'a> {
    leading: &'a Arc<Leading>,
    /// Who wishes it.
    by: &'a str,
    conn: &'a mut PgConnection,
    row: RunRow,
    /// Options that it was submitted with.
    options: Vec<String>,
    /// Whether it is driven, or about to be.
    busy: bool,
}

impl Leading {
    /// Sees to a wish; what the operator is told.
    pub(super) async fn grant(
        self: &Arc<Self>,
        action: &Action<'_>,
        run: RunId,
        wish: &Wish,
    ) -> Result<String, Failure> {
        let entry = self.entry(run)?;
        let mut conn = self.connect(&entry.database).await?;
        let row = match ledger::exists(&mut conn).await? {
            true => ledger::run::read(&mut conn, run).await?,
            false => None,
        };
        let Some(row) = row else {
            return Err(Failure::refused(format!(
                "the ledger of database {} knows no run {run}",
                entry.database
            )));
        };
        self.refresh(&entry, &row).await?;
        let driven = !self.hub.status(Some(run)).await?.is_empty();
        let wished = Wished {
            leading: self,
            by: &action.by.name,
            conn: &mut conn,
            row,
            options: entry.options,
            busy: driven || entry.order.is_some(),
        };
        let granted = match wish {
            Wish::Pause { reason } => wished.pause(reason.clone()).await,
            Wish::Resume => wished.resume().await,
            Wish::Rollback { to, force } => wished.back(to.clone(), *force).await,
            Wish::Commit => wished.commit().await,
        }?;
        action.record(&mut conn).await?;
        Ok(granted)
    }
}

/// What was ordered before, and is not done yet.
fn in_the_way(run: RunId, order: &RunOrder) -> Failure {
    let doing = match order {
        RunOrder::Forward { .. } => "goes forward",
        RunOrder::Back { .. } => "is being taken back",
        RunOrder::Commit => "is being committed",
    };
    Failure::refused(format!("run {run} {doing}: wait until it has ended"))
}

impl Wished<'_> {
    fn refuse(&self, why: &str) -> Failure {
        let (run, state) = (self.row.run, self.row.state);
        Failure::refused(format!("run {run} is {state}: {why}"))
    }

    /// Writes what is wanted into the ledger, from where the run's driver takes it within seconds.
    async fn steer(&mut self, pause: Pause) -> Result<(), Failure> {
        let change = Change {
            paused: Some(pause),
            ..Change::default()
        };
        control::change(self.conn, self.row.run, &change, self.by).await?;
        Ok(())
    }

    async fn pause(mut self, reason: Option<String>) -> Result<String, Failure> {
        if !self.busy {
            return Err(self.refuse("nothing of it runs that could pause"));
        }
        self.steer(Pause::Begin(reason)).await?;
        Ok(format!("run {} pauses: units in flight end", self.row.run))
    }

    async fn resume(mut self) -> Result<String, Failure> {
        let run = self.row.run;
        if self.busy {
            self.steer(Pause::End).await?;
            // What has just come to its end is done anew: whoever asks has seen it fail, perhaps.
            self.leading.order_again(run).await?;
            return Ok(format!("run {run} goes on"));
        }
        match self.row.state {
            RunState::RollingBack | RunState::Stuck => {
                let to = self.row.rollback_to.clone();
                return self.back(to, false).await;
            }
            RunState::RolledBack if self.row.rollback_to.is_some() => {}
            RunState::Planned | RunState::Running | RunState::Failed => {}
            // An answer may have been lost.
            RunState::Prepared => return Ok(format!("run {run} is prepared already")),
            RunState::Committed | RunState::RolledBack => {
                return Err(self.refuse("there is nothing to go on with"));
            }
        }
        self.steer(Pause::End).await?;
        let options = self.options;
        let forward = |current: Option<&RunOrder>| match current {
            // Of two that were given at the same time, the second finds what the first has made.
            Some(RunOrder::Forward { .. }) => Ok(None),
            Some(other) => Err(in_the_way(run, other)),
            None => Ok(Some(RunOrder::Forward {
                commit: false,
                options,
            })),
        };
        self.leading.order(run, forward).await?;
        Ok(format!("run {run} goes on"))
    }

    async fn back(mut self, to: Option<String>, force: bool) -> Result<String, Failure> {
        if self.row.state == RunState::Committed {
            return Err(self.refuse("there is no way back"));
        }
        let run = self.row.run;
        self.steer(Pause::End).await?;
        let back = RunOrder::Back { to, force };
        // Where it goes forward, or back to somewhere else, that ends first.
        let ending = self.leading.is_ending(run);
        let back = |current: Option<&RunOrder>| match current {
            Some(same) if *same == back && !ending => Ok(None),
            Some(other @ RunOrder::Commit) => Err(in_the_way(run, other)),
            _ => Ok(Some(back)),
        };
        match self.leading.order(run, back).await? {
            true => Ok(format!("run {run} is taken back")),
            false => Ok(format!("run {run} is being taken back already")),
        }
    }

    async fn commit(self) -> Result<String, Failure> {
        let run = self.row.run;
        let pending = match self.row.state {
            RunState::Prepared => true,
            RunState::Committed if is_pending(self.conn, run).await? => true,
            RunState::Committed => return Ok(format!("run {run} is committed already")),
            _ => false,
        };
        if !pending {
            return Err(self.refuse("only a prepared run can be committed"));
        }
        let ending = self.leading.is_ending(run);
        let commit = |current: Option<&RunOrder>| match current {
            Some(RunOrder::Commit) if !ending => Ok(None),
            Some(other @ RunOrder::Back { .. }) => Err(in_the_way(run, other)),
            // It is prepared: what is left of its way forward is to say so.
            Some(RunOrder::Forward { .. } | RunOrder::Commit) | None => Ok(Some(RunOrder::Commit)),
        };
        self.leading.order(run, commit).await?;
        Ok(format!("run {run} is committed"))
    }
}
