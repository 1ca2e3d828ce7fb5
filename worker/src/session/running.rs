//! Units that run right now: each on a connection from the pool, and each can be cancelled from the
//! side.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use upshift_proto::v1::Unit;
use upshift_shared::{
    ids::{Epoch, UnitId},
    ledger::Holder,
    pg::{self, Target},
};

use super::message::{self, Spec, UnitRef};
use crate::{
    pool::Pool,
    unit::{FailureClass, Timeouts, UnitContext, UnitError, UnitReport, execute},
};

/// Where a unit runs, for cancelling it.
#[derive(Clone)]
struct Place {
    target: Target,
    process: i32,
    application_name: String,
    cancel: CancellationToken,
}

/// Units that run right now, and the connections of the worker.
pub(super) struct Running {
    pool: Arc<Pool>,
    places: Mutex<HashMap<(String, u32, u32), Place>>,
}

impl Running {
    /// None yet.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            places: Mutex::default(),
        }
    }

    /// Closes connections that nobody has wanted for long.
    pub(super) fn sweep(&self) {
        self.pool.sweep();
    }

    /// Closes those of a database that is of no more use.
    pub(super) fn forget(&self, database: &str) {
        self.pool.forget(database);
    }

    pub(super) async fn run(&self, spec: &Spec, unit: &Unit) -> Result<UnitReport, UnitError> {
        let Some(direction) = message::direction(unit) else {
            return Err(UnitError {
                class: FailureClass::Never,
                message: "the unit says neither do nor undo: the coordinator is another version"
                    .to_owned(),
                sqlstate: None,
            });
        };
        // Another worker's configuration may know it, or this one's when it is tried again.
        let elsewhere = |error: upshift_shared::Error| UnitError {
            class: FailureClass::Later,
            message: format!("on this worker: {error}"),
            sqlstate: None,
        };
        let target = spec.target().await.map_err(elsewhere)?;
        let taken = self.pool.take(&spec.database, target).await;
        let mut connection = taken.map_err(|error| UnitError::before(&error))?;
        let bounds = message::bounds(unit);
        let cancel = CancellationToken::new();
        let context = UnitContext {
            holder: Holder {
                run: spec.run,
                epoch: Epoch(unit.epoch),
            },
            task: &spec.task,
            unit: UnitId(unit.unit),
            direction,
            bounds: &bounds,
            pinned_now: &spec.pinned_now,
            timeouts: Timeouts {
                lock: Duration::from_millis(u64::from(unit.lock_timeout_millis)),
                statement: Duration::from_millis(u64::from(unit.statement_timeout_millis)),
            },
            attempt: unit.attempt,
            target,
            cancel: &cancel,
            force: unit.force,
            units_at_once: unit.units_at_once,
            options: &spec.options,
        };
        let place = Place {
            target: target.clone(),
            process: connection.process,
            application_name: context.application_name(),
            cancel: cancel.clone(),
        };
        let key = UnitRef::of(unit).key();
        self.places().insert(key.clone(), place);
        let outcome = execute(&mut connection.conn, &context).await;
        self.places().remove(&key);
        match &outcome {
            Err(error) if is_broken(error) => self.pool.forget(&spec.database),
            _ if unit.close_connection => connection.close().await,
            _ => self.pool.give_back(&spec.database, connection),
        }
        outcome
    }

    /// Cancels a unit, if it is still running: what it does in the database by a side connection,
    /// what it does outside by ending the program.
    pub(super) async fn cancel(&self, unit: &UnitRef) {
        let place = self.places().get(&unit.key()).cloned();
        let Some(place) = place else {
            return;
        };
        place.cancel.cancel();
        if let Err(error) = cancel_statement(&place).await {
            tracing::warn!(?unit, %error, "a unit could not be cancelled: it ends by its timeout");
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u32, u32), Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process may work on another unit by now: its application_name tells.
async fn cancel_statement(place: &Place) -> upshift_shared::Result<()> {
    let mut conn = pg::connect(&place.target, "upshift cancel").await?;
    sqlx::query(
        "-- cancel a unit
        SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2",
    )
    .bind(place.process)
    .bind(&place.application_name)
    .persistent(false)
    .execute(&mut conn)
    .await
    .map_err(upshift_shared::Error::database("cancelling a unit"))?;
    Ok(())
}

/// Whether the connection is of no more use: the server went away, or ended the session.
fn is_broken(error: &UnitError) -> bool {
    match error.sqlstate.as_deref() {
        Some(code) => code.starts_with("08") || code.starts_with("57P"),
        None => error.class == FailureClass::Later,
    }
}
