//! A retry of quarantined rows: the statement once more, on exactly these rows of one unit, after their
//! data was mended. A unit of its own, with before-images of its own: its undo comes before every other
//! one, because it was done last.
//!
//! Advances its unit to `done` where a row of it could be done; rows that still cannot stay quarantined.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    ledger::{
        self,
        bad_row::StoredRow,
        unit::{Claim, UnitState},
    },
};

use super::{UnitContext, begin, bisect, error::described, verified::Part};
use crate::failpoint;

/// One row may take so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// Rows that the statement touched; none where its condition does not meet the row any more.
    pub rows: u64,
    /// Why it is still quarantined, without values.
    pub failure: Option<String>,
}

/// Works on quarantined rows of one unit; one answer for each, in order. `unit` is the retry's own.
///
/// # Errors
/// When something else than the data stands in the way; nothing is changed then.
pub async fn retry(
    conn: &mut PgConnection,
    unit: &UnitContext<'_>,
    rows: &[StoredRow],
) -> Result<Vec<Retried>> {
    failpoint::at(failpoint::BEFORE_LOCK, unit.task).await;
    let mut tx = begin(conn, unit).await?;
    failpoint::at(failpoint::AFTER_LOCK, unit.task).await;
    if ledger::unit::claim(&mut tx, unit.key(), UnitState::Done, None).await? == Claim::Already {
        tx.rollback().await?;
        return Err(Error::Refused(format!(
            "{} of {} is done already",
            unit.unit, unit.task.id
        )));
    }
    failpoint::at(failpoint::AFTER_LEDGER_ROW, unit.task).await;
    let subject = match bisect::Subject::of(&mut tx, unit).await? {
        Ok(subject) if subject.whole.is_none() => subject,
        Ok(_) | Err(_) => {
            return Err(Error::Refused(format!(
                "{} has no rows that can be done by themselves: please report this",
                unit.task.id
            )));
        }
    };
    let mut retried = Vec::with_capacity(rows.len());
    let mut done = Part::NOTHING;
    for row in rows {
        let key = key(&subject, row)?;
        let bounds = bisect::only(&mut tx, &subject, &key).await?;
        let one = match bisect::attempt(&mut tx, unit, &subject, &bounds, PATIENCE).await {
            Ok(part) => {
                ledger::bad_row::retried(&mut tx, unit.key(), row).await?;
                done.add(part);
                Retried {
                    rows: part.rows,
                    failure: None,
                }
            }
            Err(error) if bisect::is_of_data(&error) => {
                let now = subject.row(&mut tx, &bounds).await?;
                Retried {
                    rows: 0,
                    failure: Some(described(&error, &now.iter().collect::<Vec<_>>())),
                }
            }
            Err(error) => return Err(error),
        };
        retried.push(one);
    }
    if retried.iter().all(|row| row.failure.is_some()) {
        tx.rollback().await?;
        return Ok(retried);
    }
    subject.verify(&mut tx, unit, done).await?;
    failpoint::at(failpoint::AFTER_WORK, unit.task).await;
    ledger::unit::finish(&mut tx, unit.key(), done.rows).await?;
    failpoint::at(failpoint::BEFORE_COMMIT, unit.task).await;
    tx.commit().await?;
    failpoint::at(failpoint::AFTER_COMMIT, unit.task).await;
    Ok(retried)
}

/// The texts of a row's key, in the order of its columns.
fn key(subject: &bisect::Subject<'_>, row: &StoredRow) -> Result<Vec<String>> {
    let of = |name: &str| match row.bad.key.as_ref().and_then(|key| key.get(name)) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let key: Option<Vec<String>> = subject.key.iter().map(|column| of(&column.name)).collect();
    key.ok_or_else(|| Error::Format("a quarantined row has no key: please report this".to_owned()))
}
