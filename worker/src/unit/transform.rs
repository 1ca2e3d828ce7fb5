//! Transform: values of a key range out by binary COPY, changed by a Rust function on all cores, and in
//! again by COPY into a temporary table and one UPDATE, which keeps before-images as in-place does.
//!
//! Advances its unit to `done`. Tried again on a serialisation failure, split on the statement timeout,
//! aborted by a value that the function or the column refuses. Undone by its before-images, as in-place.
//!
//! Memory is bounded: values are read and changed a batch at a time, and what changed waits in a file
//! once there is much of it, because a connection cannot copy both ways at once.

mod passed;

use std::io;

use futures::TryStreamExt;
use sqlx::PgConnection;
use upshift_shared::{
    Error, Result,
    pg::{execute_raw, ident::ident},
    plan::{TRANSFORMED_ROWS, Transform},
};

pub(super) use passed::{Passed, Way};

use super::{
    UnitContext, in_place,
    verified::{self, Part},
};
use crate::transform::{
    batch::Shape,
    binary::{self, Decoder},
};

/// Runs the unit; returns the rows that it changed.
pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
) -> Result<u64> {
    match rows_in(tx, unit, op, false).await? {
        0 => Ok(0),
        rows => verified::change(tx, unit, &op.write, Some(rows)).await,
    }
}

/// Makes the table of changed rows, once for all pieces of a unit: the locks of one that is dropped stay
/// to the end of its transaction.
pub(super) async fn begin_parts(tx: &mut PgConnection, op: &Transform) -> Result<()> {
    let way = way(op);
    execute_raw(tx, way.create_rows(&op.rows))
        .await
        .map_err(way.making_rows())?;
    Ok(())
}

/// Runs a piece of the unit; the table of changed rows is there, and empty. `columns` as in
/// [`verified::change_part`].
pub(super) async fn part(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (op, columns): (&Transform, Option<&[String]>),
) -> Result<Part> {
    match rows_in(tx, unit, op, true).await? {
        0 => Ok(Part::NOTHING),
        rows => verified::change_part(tx, unit, (&op.write, columns), Some(rows)).await,
    }
}

/// Brings the unit's changed rows into their table; returns how many there are. `made`: the table is
/// there.
async fn rows_in(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
    made: bool,
) -> Result<u64> {
    let way = way(op);
    let mut passed = Passed::new(&way)?;
    copy_out(tx, unit, (op, &way), &mut passed).await?;
    unit.refuse_cancelled()?;
    let finished = passed.finish().await?;
    if !made && !matches!(finished, Ok((_, 0))) {
        begin_parts(tx, op).await?;
    }
    match finished {
        Ok((_, 0)) => Ok(0),
        Ok((spool, rows)) => {
            way.copy_in(tx, spool).await?;
            Ok(rows)
        }
        Err(failure) => Err(way.refusal(tx, failure).await?),
    }
}

fn way(op: &Transform) -> Way<'_> {
    Way {
        what: format!(
            "{} of {}.{}",
            op.call.function,
            op.write.table,
            ident(&op.source)
        ),
        advice: "mend it, or leave it out with the step's where, then resume",
        key: &op.write.key,
        shape: Shape {
            key: op.write.key.len(),
            compares: op.compares,
            longest: op.longest,
        },
        call: &op.call,
        translated: op.translated,
        rows: TRANSFORMED_ROWS.to_owned(),
    }
}

/// Puts the unit's before-images back.
pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Transform,
    touched: u64,
) -> Result<u64> {
    in_place::undo(tx, unit, &op.write, touched).await
}

/// Reads the unit's rows.
async fn copy_out(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    (op, way): (&Transform, &Way<'_>),
    passed: &mut Passed,
) -> Result<()> {
    let what = &way.what;
    let query = format!(
        "SELECT * FROM ({}) AS upshift_source WHERE {}",
        op.rows,
        range(unit, op)
    );
    // What could be refused is refused here: it takes the locks and looks at names and privileges.
    // After a COPY that the server would not begin, the driver and the server would disagree about
    // what was answered.
    execute_raw(
        tx,
        format!("/* upshift: look at rows */ SELECT FROM ({query}) AS r LIMIT 0"),
    )
    .await
    .map_err(Error::database(format!("{what}: reading its values")))?;
    let copy = format!("/* upshift: rows out */ COPY ({query}) TO STDOUT (FORMAT binary)");
    let begun = tx.copy_out_raw(&copy).await;
    let mut stream = begun.map_err(|source| Error::Io {
        // An error of this kind makes the worker leave the connection.
        context: format!("{what}: beginning to copy"),
        source: io::Error::other(source.to_string()),
    })?;
    let mut decoder = Decoder::new(way.shape.columns());
    let malformed = |e: binary::Malformed| Error::Format(format!("{what}: {e}"));
    // Read to its end in any case, or the rest would be taken for the next statement's answer.
    let mut outcome = Ok(());
    while let Some(bytes) = stream
        .try_next()
        .await
        .map_err(Error::database(format!("{what}: reading its values")))?
    {
        if outcome.is_err() {
            continue;
        }
        decoder.push(&bytes);
        outcome = loop {
            match decoder.next_row().map_err(malformed) {
                Ok(Some(row)) => {
                    if let Err(error) = passed.push(row).await {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
    }
    outcome?;
    decoder.finish().map_err(malformed)
}

/// The unit's range. COPY takes no parameters, so that the bounds are quoted.
fn range(unit: &UnitContext<'_>, op: &Transform) -> String {
    // A task that is not cut has no bounds, except where it is searched for bad rows.
    let key = &op.write.key;
    let names: Vec<String> = (1..=key.len()).map(|n| format!("k{n}")).collect();
    verified::quoted_range(&names, key, unit.bounds)
}
