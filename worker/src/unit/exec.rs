//! Exec: an external program with the database as its argument.
//!
//! Advances its unit to `started` before and `done` after; it has to be repeatable, because nobody
//! knows how far an attempt came that was killed. Aborted by an exit code other than 0 and by its
//! timeout. Undone by its own undo command, or by a snapshot of the database that was taken before it.

use std::time::Duration;

use upshift_shared::{Error, Result, plan::Exec};

use super::UnitContext;
use crate::program::Program;

/// Runs a command to its end.
pub(super) async fn run(unit: &UnitContext<'_>, op: &Exec, command: &[String]) -> Result<u64> {
    let database = unit.target.database();
    let words = command
        .iter()
        .map(|word| word.replace("{database}", database))
        .collect::<Vec<_>>();
    if words.is_empty() {
        return Err(Error::Refused(
            "exec has no command: give it a program".into(),
        ));
    }
    let program = Program {
        words,
        target: unit.target,
        application_name: unit.application_name(),
        timeout: Duration::from_secs(op.timeout_seconds),
        environment: Vec::new(),
        leaves_others: false,
    };
    program.run(unit.cancel).await.map(|()| 0)
}
