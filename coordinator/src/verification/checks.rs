//! Checks that hold after the whole run (`lasting = true`): asked again before a run is prepared, and by
//! `upshift verify`.

use std::time::Duration;

use serde::Serialize;
use upshift_shared::{
    Result,
    pg::{
        PgConnection,
        transaction::{self, Isolation, Spec},
    },
    plan::{Check, Operator, Plan, Task},
};

/// A check that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    /// What the author said it means, and how many rows there are.
    pub(crate) message: String,
    /// Where it stands.
    pub(crate) source: String,
}

/// The plan's lasting checks.
pub(crate) fn lasting(plan: &Plan) -> impl Iterator<Item = (&Task, &Check)> {
    plan.tasks.iter().filter_map(|task| match &task.operator {
        Operator::Check(check) if check.lasting => Some((task, check)),
        _ => None,
    })
}

/// Asks them, each in a transaction of its own with the settings of its script.
pub(crate) async fn ask(conn: &mut PgConnection, plan: &Plan) -> Result<Vec<Failed>> {
    let mut failed = Vec::new();
    for (task, check) in lasting(plan) {
        let mut spec = Spec::new("lasting check");
        spec.isolation = Isolation::RepeatableRead;
        spec.read_only = true;
        spec.statement_timeout = Duration::ZERO;
        spec.settings = &task.settings;
        let mut tx = transaction::begin(conn, &spec).await?;
        let found = upshift_worker::unit::ask_check(&mut tx, &task.label, check).await;
        tx.rollback().await?;
        let source = task.sources.first();
        failed.extend(found?.map(|message| Failed {
            message,
            source: source.map(ToString::to_string).unwrap_or_default(),
        }));
    }
    Ok(failed)
}
