//! Preparing a task, once, before its first unit: its kept tables are created, its sequences and the
//! instant of its `now()` recorded. And clearing it away, once all its units are undone.

use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::QueryScalar};
use upshift_shared::{
    Error, Result,
    ids::RunId,
    ledger::{self, Holder, KEPT_SCHEMA, fence},
    pg::{
        execute_raw,
        ident::{QualifiedName, ident},
        transaction::{self, Spec},
    },
    plan::{Append, KeptTable, Operator, StatementUndo, Task},
};

use crate::failpoint;

/// Prepares a task, in one fenced transaction; again is fine. Returns the instant that `now()` is
/// for all its units.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over; what the database says otherwise.
pub async fn prepare(conn: &mut PgConnection, holder: Holder, task: &Task) -> Result<String> {
    let locks = [fence::LOCK.to_owned()];
    let name = format!("prepare {}", task.id);
    let mut spec = Spec::new(&name);
    spec.locks = &locks;
    let mut tx = transaction::begin(conn, &spec).await?;
    fence::check(&mut tx, holder).await?;
    match &task.operator {
        Operator::InPlace(op) => {
            create_kept(&mut tx, holder.run, &op.before_images, op.cut.is_some()).await?;
        }
        Operator::Transform(op) => {
            let cut = op.write.cut.is_some();
            create_kept(&mut tx, holder.run, &op.write.before_images, cut).await?;
        }
        Operator::Append(op) => {
            create_kept(&mut tx, holder.run, &op.recorded, op.cut.is_some()).await?;
            index_if_pointed_at(&mut tx, holder.run, op).await?;
        }
        // A statement's copies are made in its own transaction: they have to be of that instant.
        Operator::Metadata(_)
        | Operator::Statement(_)
        | Operator::Check(_)
        | Operator::Exec(_)
        | Operator::Shadow(_) => {}
    }
    ledger::sequence::record(&mut tx, holder.run, task.id, &task.sequences).await?;
    let pinned_now = ledger::task::prepare(&mut tx, holder.run, task.id).await?;
    failpoint::at(failpoint::DURING_PREPARE, task).await;
    tx.commit().await?;
    Ok(pinned_now)
}

/// Clears away what a task kept, once all its units are undone; again is fine.
///
/// # Errors
/// [`Error::Fenced`] when the run was taken over; what the database says otherwise.
pub async fn clear(conn: &mut PgConnection, holder: Holder, task: &Task) -> Result<()> {
    let locks = [fence::LOCK.to_owned()];
    let name = format!("clear {}", task.id);
    let mut spec = Spec::new(&name);
    spec.locks = &locks;
    let mut tx = transaction::begin(conn, &spec).await?;
    fence::check(&mut tx, holder).await?;
    clear_within(&mut tx, holder.run, task).await?;
    tx.commit().await
}

/// The same, within a transaction that is fenced already.
pub(crate) async fn clear_within(tx: &mut PgConnection, run: RunId, task: &Task) -> Result<()> {
    for kept in kept_tables(&task.operator) {
        drop_kept(tx, run, kept).await?;
    }
    ledger::sequence::forget(tx, run, task.id).await?;
    ledger::undo::take(tx, run, task.id).await?;
    Ok(())
}

/// Whether a task may have tables in the schema of kept objects.
#[must_use]
pub fn keeps_tables(task: &Task) -> bool {
    !kept_tables(&task.operator).is_empty()
}

/// The tables in the schema of kept objects that a task may have.
pub(crate) fn kept_tables(operator: &Operator) -> Vec<&KeptTable> {
    match operator {
        Operator::InPlace(op) => vec![&op.before_images],
        Operator::Transform(op) => vec![&op.write.before_images],
        Operator::Append(op) => vec![&op.recorded],
        Operator::Statement(op) => match &op.undo {
            StatementUndo::Copy { tables } => tables.iter().map(|table| &table.kept).collect(),
            _ => Vec::new(),
        },
        Operator::Metadata(_) | Operator::Check(_) | Operator::Exec(_) | Operator::Shadow(_) => {
            Vec::new()
        }
    }
}

/// A kept table's qualified name.
pub(crate) fn kept_name(run: RunId, kept: &KeptTable) -> QualifiedName {
    QualifiedName::new(KEPT_SCHEMA, ledger::substitute(&kept.name, run))
}

async fn create_kept(
    tx: &mut PgConnection,
    run: RunId,
    kept: &KeptTable,
    indexed: bool,
) -> Result<()> {
    let name = kept_name(run, kept);
    let failed = || Error::database(format!("creating {}", name.plain()));
    let there: bool = sqlx::query("-- is it there\nSELECT to_regclass($1) IS NOT NULL")
        .bind(name.to_string())
        .fetch_one(&mut *tx)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed())?;
    if there {
        return Ok(());
    }
    create_empty(tx, &name, kept).await?;
    if indexed {
        // Undo goes unit by unit.
        execute_raw(tx, format!("CREATE INDEX ON {name} (upshift_unit)"))
            .await
            .map_err(failed())?;
    }
    Ok(())
}

/// Whether rows of a table are deleted or changed when others of it are deleted.
const POINTS_AT_ITSELF: &str = "-- upshift: does a foreign key of the table reach itself
SELECT EXISTS (SELECT FROM pg_constraint
               WHERE contype = 'f' AND conrelid = to_regclass($1) AND confrelid = conrelid
                 AND confdeltype IN ('c', 'n', 'd')) AS so";

/// Undo then asks of each row that points at a new one whether it is new itself.
async fn index_if_pointed_at(tx: &mut PgConnection, run: RunId, op: &Append) -> Result<()> {
    let name = kept_name(run, &op.recorded);
    let failed = || Error::database(format!("indexing {}", name.plain()));
    let so: bool = sqlx::query(POINTS_AT_ITSELF)
        .bind(&op.table)
        .fetch_one(&mut *tx)
        .await
        .and_then(|row| row.try_get("so"))
        .map_err(failed())?;
    if so {
        let columns: Vec<String> = op.key.iter().map(|column| ident(&column.name)).collect();
        // By name: a task that is prepared again finds it there.
        let index = ident(&format!("{}_key", name.name));
        let columns = columns.join(", ");
        execute_raw(
            tx,
            format!("CREATE INDEX IF NOT EXISTS {index} ON {name} ({columns})"),
        )
        .await
        .map_err(failed())?;
    }
    Ok(())
}

/// Creates a kept table with the types of its columns and nothing else: it must be inert.
pub(crate) async fn create_empty(
    tx: &mut PgConnection,
    name: &QualifiedName,
    kept: &KeptTable,
) -> Result<()> {
    let columns: String = match &kept.columns {
        None => ", o.*".to_owned(),
        Some(columns) => columns
            .iter()
            .map(|column| format!(", o.{}", ident(column)))
            .collect(),
    };
    let create = format!(
        "CREATE TABLE {name} AS SELECT 0::integer AS upshift_unit{columns} FROM {} AS o WITH NO DATA",
        kept.table
    );
    execute_raw(tx, create)
        .await
        .map_err(Error::database(format!("creating {}", name.plain())))?;
    Ok(())
}

/// The columns that are hidden in a table until commit. Whatever keeps a whole row keeps them too.
pub(crate) async fn hidden_columns(tx: &mut PgConnection, table: &str) -> Result<Vec<String>> {
    let query = sqlx::query_scalar(
        "-- hidden columns of a table
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
          AND attname ~ '^upshift_kept_' AND attgenerated = ''
        ORDER BY attnum",
    );
    columns(tx, query.bind(table), table).await
}

/// The names that a query finds of columns of a table.
pub(crate) async fn columns(
    tx: &mut PgConnection,
    query: QueryScalar<'_, Postgres, String, PgArguments>,
    table: &str,
) -> Result<Vec<String>> {
    query
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(Error::database(format!("reading the columns of {table}")))
}

pub(crate) async fn drop_kept(tx: &mut PgConnection, run: RunId, kept: &KeptTable) -> Result<()> {
    let name = kept_name(run, kept);
    execute_raw(tx, format!("DROP TABLE IF EXISTS {name}"))
        .await
        .map_err(Error::database(format!("dropping {}", name.plain())))?;
    Ok(())
}
