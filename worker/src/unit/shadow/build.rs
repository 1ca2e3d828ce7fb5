//! Build: the new table, empty and in its final shape.
//!
//! Advances its unit to `done`. Tried again when the old table's lock is not granted in time; aborted
//! by whatever PostgreSQL says to the pack's statements, which it says here as it would say it to the
//! statement itself. Undone by dropping the new table.
//!
//! The table is made like the old one with all that hangs on it, and the pack's DDL runs against it
//! while it is empty, so PostgreSQL itself brings it into its final shape. Then its indexes are
//! recorded and dropped, to be built when it is full.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::shadow::{self, IndexStatement, Kind},
    pg::{execute_raw, ident::ident, sql},
    plan::Shadow,
};

use super::{
    super::{UnitContext, metadata::capture, reparse},
    heir,
};
use crate::failpoint;

/// The trigger that lets nobody write the old table.
const GUARD: &str = "upshift_guard";

/// The same for one with a parent: what writes it through that fires no trigger of statements on it.
const ROW_GUARD: &str = "-- guard the rows of a table with a parent
SELECT format('CREATE TRIGGER upshift_guard_rows BEFORE INSERT OR UPDATE OR DELETE ON %1$s '
              'FOR EACH ROW EXECUTE FUNCTION upshift.refuse_write(); '
              'ALTER TABLE %1$s ENABLE ALWAYS TRIGGER upshift_guard_rows', $1::text)
WHERE EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1))";

/// Who is given a table must be allowed to make one where it is (PostgreSQL, ALTER TABLE).
const HOME_OF_OWNERS: &str =
    "-- owners of a table and of its statistics may use the new table's schema
SELECT DISTINCT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', $2::text, pg_get_userbyid(o.owner))
FROM (SELECT relowner AS owner FROM pg_class WHERE oid = to_regclass($1)
      UNION SELECT stxowner FROM pg_statistic_ext WHERE stxrelid = to_regclass($1)) o
WHERE pg_get_userbyid(o.owner) <> current_user";

pub(super) async fn run(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    evolve: &[String],
) -> Result<u64> {
    guard(tx, op).await?;
    let path = capture::enter_qualified(tx).await?;
    refuse_obstacles(tx, op).await?;
    create(tx, unit, op).await?;
    capture::leave_qualified(tx, &path).await?;
    failpoint::at(failpoint::DURING_BUILD, unit.task).await;
    self::evolve(tx, unit, op, &path, evolve).await?;
    let path = capture::enter_qualified(tx).await?;
    record_indexes(tx, unit, op).await?;
    capture::leave_qualified(tx, &path).await?;
    Ok(0)
}

/// From here to the swap nobody can write the old table: what was written would be lost. Its lock
/// waits for whoever is writing it.
async fn guard(tx: &mut PgConnection, op: &Shadow) -> Result<()> {
    let table = &op.table;
    execute_raw(
        tx,
        format!(
            "CREATE TRIGGER {GUARD} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
             FOR EACH STATEMENT EXECUTE FUNCTION upshift.refuse_write(); \
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER {GUARD}"
        ),
    )
    .await
    .map_err(Error::database(format!(
        "standing guard over {}",
        table.plain()
    )))?;
    for statement in capture::texts(tx, ROW_GUARD, &[Some(&table.to_string())]).await? {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(format!(
                "standing guard over {}",
                table.plain()
            )))?;
    }
    Ok(())
}

/// Takes the guard away.
pub(super) async fn unguard(tx: &mut PgConnection, op: &Shadow) -> Result<()> {
    let table = &op.table;
    let drop = format!(
        "DROP TRIGGER IF EXISTS {GUARD} ON {table}; DROP TRIGGER IF EXISTS {GUARD}_rows ON {table}"
    );
    execute_raw(tx, drop)
        .await
        .map_err(Error::database(format!(
            "ending the guard over {}",
            table.plain()
        )))?;
    Ok(())
}

/// What was hung on the table since the plan was made.
async fn refuse_obstacles(tx: &mut PgConnection, op: &Shadow) -> Result<()> {
    let failed = || Error::database("reading what hangs on a table");
    let rows = sqlx::query(sql(upshift_shared::catalog::snapshot::obstacles_of_one()))
        .bind(op.table.to_string())
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed())?;
    for row in rows {
        let obstacle: String = row.try_get("obstacle").map_err(failed())?;
        // The guard is on the table too, and goes before the swap.
        if !obstacle.contains(GUARD) {
            return Err(Error::Refused(format!(
                "{} cannot be built anew: {obstacle} could not be carried over; give its statements \
                 -- upshift: strategy = in_place",
                op.table.plain()
            )));
        }
    }
    Ok(())
}

async fn create(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<()> {
    let home = op.new_home(unit.holder.run);
    let table = op.table.to_string();
    let context = || format!("making a new {}", op.table.plain());
    execute_raw(tx, format!("CREATE SCHEMA {}", ident(&home)))
        .await
        .map_err(Error::database(context()))?;
    let both = [Some(table.as_str()), Some(home.as_str())];
    for statement in capture::texts(tx, HOME_OF_OWNERS, &both).await? {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(context()))?;
    }
    let stand_in = heir::stand_in(&home, &op.table.name);
    let with_parent = [both[0], both[1], Some(stand_in.as_str())];
    let mut statements = capture::texts(tx, include_str!("heir.sql"), &with_parent).await?;
    statements.extend(capture::texts(tx, include_str!("carry.sql"), &both).await?);
    if statements.is_empty() {
        return Err(Error::Refused(format!(
            "there is no table {}",
            op.table.plain()
        )));
    }
    let create = statements.remove(0);
    execute_raw(tx, create)
        .await
        .map_err(Error::database(context()))?;
    // Its identity columns have sequences with names that were made up. What inherits has none.
    statements.extend(capture::texts(tx, include_str!("identity.sql"), &both).await?);
    for statement in statements {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(context()))?;
    }
    for statement in capture::texts(tx, include_str!("own.sql"), &both).await? {
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(context()))?;
    }
    Ok(())
}

/// What the pack does to the table. Its name, not qualified, means the new one.
async fn evolve(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
    path: &str,
    statements: &[String],
) -> Result<()> {
    let home = ident(&op.new_home(unit.holder.run));
    let new_path = if path.is_empty() {
        home
    } else {
        format!("{home}, {path}")
    };
    capture::leave_qualified(tx, &new_path).await?;
    for statement in statements {
        execute_raw(tx, statement.as_str())
            .await
            .map_err(Error::database(unit.task.label.clone()))?;
    }
    capture::leave_qualified(tx, path).await
}

/// Records how each index is built, and drops it.
async fn record_indexes(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<()> {
    let run = unit.holder.run;
    let table = op.new_table(run).to_string();
    let failed = || Error::database("reading the indexes of a new table");
    let rows = sqlx::query(include_str!("indexes.sql"))
        .bind(&table)
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed())?;
    let mut statements = Vec::new();
    let mut drops = Vec::new();
    let home = ident(&op.new_home(run));
    for row in rows {
        let kind = match row.try_get::<&str, _>("kind").map_err(failed())? {
            "index" => Kind::Index,
            _ => Kind::Attach,
        };
        let name: String = row.try_get("name").map_err(failed())?;
        if kind == Kind::Index {
            let index = format!("{home}.{}", ident(&name));
            for statement in capture::index_marks(tx, &index).await? {
                statements.push(IndexStatement {
                    kind: Kind::Mark,
                    name: name.clone(),
                    statement,
                });
            }
        }
        statements.push(IndexStatement {
            kind,
            name,
            statement: row
                .try_get("statement")
                .map(reparse::exactly)
                .map_err(failed())?,
        });
    }
    // Constraints go with their indexes.
    for one in statements.iter().filter(|one| one.kind == Kind::Attach) {
        if one.statement.starts_with("ALTER TABLE") {
            drops.push(format!(
                "ALTER TABLE {table} DROP CONSTRAINT {}",
                ident(&one.name)
            ));
        }
    }
    for one in statements.iter().filter(|one| one.kind == Kind::Index) {
        drops.push(format!("DROP INDEX IF EXISTS {home}.{}", ident(&one.name)));
    }
    for drop in drops {
        execute_raw(tx, drop).await.map_err(failed())?;
    }
    shadow::record(tx, run, op.pass, &statements).await
}

pub(super) async fn undo(
    tx: &mut PgConnection,
    unit: &UnitContext<'_>,
    op: &Shadow,
) -> Result<u64> {
    let run = unit.holder.run;
    unguard(tx, op).await?;
    let stand_in = heir::stand_in(&op.new_home(run), &op.table.name);
    let home = ident(&op.new_home(run));
    let table = op.new_table(run);
    execute_raw(
        tx,
        format!(
            "DROP TABLE IF EXISTS {table}; DROP TABLE IF EXISTS {stand_in}; \
             DROP SCHEMA IF EXISTS {home}"
        ),
    )
    .await
    .map_err(Error::database(format!(
        "dropping the new {}",
        op.table.plain()
    )))?;
    shadow::forget(tx, run, op.pass).await?;
    Ok(0)
}
