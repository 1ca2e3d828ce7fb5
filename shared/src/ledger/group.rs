//! Groups of databases that one run moves together: which group a run belongs to, and the
//! transactions that a cut of the group prepares for two-phase commit.
//!
//! PostgreSQL keeps a prepared transaction, with its locks, across crashes and restarts; whoever owns
//! it may end it from any session of the same database (PostgreSQL manual, PREPARE TRANSACTION). It
//! holds `upshift.fence` in ACCESS SHARE mode meanwhile, so that nobody takes the run over before it
//! has ended one way or the other.

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    checkpoint,
    fence::{self, Holder},
    run::{self, RunState},
};
use crate::{
    Error, Result,
    ids::{GroupId, RunId},
    pg::{
        execute_raw,
        ident::literal,
        transaction::{self, Spec},
    },
};

/// What a run says of the group that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group's id, the same in all its databases.
    pub id: GroupId,
    /// What the group calls this database.
    pub member: String,
    /// What it calls all of them.
    pub members: Vec<String>,
    /// The one whose ledger keeps the decisions.
    pub home: String,
    /// The file that named them, as it was written on the command line.
    pub file: String,
}

impl Membership {
    /// The command that does something with the whole group.
    #[must_use]
    pub fn command(&self, verb: &str) -> String {
        format!("upshift {verb} --group {}", self.file)
    }
}

/// What a cut writes into the ledger of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The run's new state, where nothing goes with it.
    State(RunState),
    /// The way back begins: to this checkpoint, or to the start; these checkpoints hold no
    /// more.
    RollingBack {
        /// The checkpoint's name.
        to: Option<String>,
        /// Their places in the plan.
        left: Vec<u32>,
    },
    /// The way back has come to its end.
    RolledBack {
        /// The checkpoint's name; `None` for the start.
        to: Option<String>,
    },
    /// A module's checkpoint.
    Checkpoint {
        /// The module's place in the plan.
        module: u32,
        /// Its name.
        name: String,
    },
    /// There is no way back any more; modules and their versions.
    Committed(Vec<(String, String)>),
}

/// Writes it as the run's holder, in a transaction that is then prepared under this name.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run; what the server says otherwise. Where the
/// connection is lost, nobody knows whether the transaction is prepared: [`prepared`] tells.
pub async fn prepare(
    conn: &mut PgConnection,
    holder: Holder,
    gid: &str,
    write: &Write,
) -> Result<()> {
    let locks = [fence::LOCK.to_owned()];
    let mut spec = Spec::new("prepare a cut of a group");
    spec.locks = &locks;
    transaction::prepare(conn, &spec, gid, |tx, _scope| {
        Box::pin(write_within(tx, holder, write))
    })
    .await
}

/// Writes it as the run's holder, at once: what concerns one database alone needs no second phase.
/// Again is fine.
///
/// # Errors
/// [`Error::Fenced`] when somebody else drives the run; what the server says otherwise.
pub async fn write(conn: &mut PgConnection, holder: Holder, write: &Write) -> Result<()> {
    fence::run(
        conn,
        "write what a group has come to",
        holder,
        |tx, _scope| {
            let write = write.clone();
            Box::pin(async move { write_within(tx, holder, &write).await })
        },
    )
    .await
}

async fn write_within(tx: &mut PgConnection, holder: Holder, write: &Write) -> Result<()> {
    fence::check(tx, holder).await?;
    let run = holder.run;
    match write {
        Write::State(to) => run::change_within(tx, run, *to, None, None).await.map(drop),
        Write::RollingBack { to, left } => {
            run::change_within(tx, run, RunState::RollingBack, None, to.clone()).await?;
            checkpoint::forget_within(tx, run, left.clone()).await
        }
        Write::RolledBack { to } => {
            run::change_within(tx, run, RunState::RolledBack, None, to.clone())
                .await
                .map(drop)
        }
        Write::Checkpoint { module, name } => {
            checkpoint::insert_within(tx, run, *module, name).await
        }
        Write::Committed(modules) => run::commit_within(tx, run, modules.clone()).await,
    }
}

/// Ends a prepared transaction. One that is gone has been ended by somebody else, as was decided.
///
/// # Errors
/// When the server says no: it belongs to another role, or the connection is lost.
pub async fn finish(conn: &mut PgConnection, gid: &str, commit: bool) -> Result<()> {
    let verb = if commit { "COMMIT" } else { "ROLLBACK" };
    let text = format!(
        "-- upshift: end a prepared transaction\n{verb} PREPARED {}",
        literal(gid)
    );
    let context = format!("{verb} PREPARED {gid}");
    match execute_raw(conn, text)
        .await
        .map_err(Error::database(context))
    {
        // undefined_object
        Err(error) if error.sqlstate().as_deref() == Some("42704") => Ok(()),
        done => done.map(drop),
    }
}

/// A prepared transaction of a group in this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// Its name.
    pub gid: String,
    /// RFC 3339, UTC.
    pub prepared_at: String,
}

/// The group's transactions that are prepared in this database and not ended.
///
/// # Errors
/// When the server cannot be asked.
pub async fn prepared(conn: &mut PgConnection, group: GroupId) -> Result<Vec<Prepared>> {
    let rows = sqlx::query(
        "-- upshift: prepared transactions of a group
        SELECT gid, to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS prepared_at
        FROM pg_catalog.pg_prepared_xacts
        WHERE database = current_database() AND starts_with(gid, $1)
        ORDER BY gid",
    )
    .bind(format!("{}_", prefix(group)))
    .fetch_all(conn)
    .await
    .map_err(Error::database("looking for prepared transactions"))?;
    rows.iter()
        .map(|row| {
            Ok(Prepared {
                gid: row.try_get("gid")?,
                prepared_at: row.try_get("prepared_at")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("looking for prepared transactions"))
}

/// How the names of all prepared transactions of a group begin, and the questions that are decided
/// about them. PostgreSQL allows 199 bytes; this takes 40.
#[must_use]
pub fn prefix(group: GroupId) -> String {
    format!("upshift_{}", group.simple())
}

/// How many transactions the server lets be prepared (`max_prepared_transactions`), and how many are.
///
/// # Errors
/// When the server cannot be asked.
pub async fn room(conn: &mut PgConnection) -> Result<(i64, i64)> {
    sqlx::query(
        "-- upshift: room for prepared transactions
        SELECT current_setting('max_prepared_transactions')::bigint AS most,
               (SELECT count(*) FROM pg_catalog.pg_prepared_xacts) AS taken",
    )
    .fetch_one(conn)
    .await
    .and_then(|row| Ok((row.try_get("most")?, row.try_get("taken")?)))
    .map_err(Error::database("asking for max_prepared_transactions"))
}

/// The newest run in this database that belongs to a group, with its group.
///
/// # Errors
/// When the ledger cannot be read, or a newer program wrote it.
pub async fn newest(conn: &mut PgConnection) -> Result<Option<(RunId, Membership)>> {
    let row = sqlx::query(
        "-- upshift: the newest run of a group
        SELECT run::text, (options -> 'group')::text AS membership
        FROM upshift.run
        WHERE options ? 'group' AND jsonb_typeof(options -> 'group') = 'object'
        ORDER BY created_at DESC, run DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await
    .map_err(Error::database("reading the run's group"));
    optional(row)
}

/// The run of this group in this database.
///
/// # Errors
/// As [`newest`].
pub async fn find(conn: &mut PgConnection, group: GroupId) -> Result<Option<(RunId, Membership)>> {
    let row = sqlx::query(
        "-- upshift: the run of a group
        SELECT run::text, (options -> 'group')::text AS membership
        FROM upshift.run WHERE options -> 'group' ->> 'id' = $1",
    )
    .bind(group.to_string())
    .fetch_optional(conn)
    .await
    .map_err(Error::database("reading the run's group"));
    optional(row)
}

fn optional(row: Result<Option<PgRow>>) -> Result<Option<(RunId, Membership)>> {
    match row {
        Ok(row) => row.map(|row| decode(&row)).transpose(),
        // undefined_column: an older ledger, and so no group.
        Err(error) if error.sqlstate().as_deref() == Some("42703") => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(row: &PgRow) -> Result<(RunId, Membership)> {
    let text = |name: &str| {
        row.try_get::<String, _>(name)
            .map_err(Error::database("reading the run's group"))
    };
    let run = text("run")?
        .parse()
        .map_err(|_| Error::Format("the ledger has a run whose id is no UUID".to_owned()))?;
    let membership = serde_json::from_str(&text("membership")?).map_err(|error| {
        Error::Format(format!("the group of run {run} cannot be read: {error}"))
    })?;
    Ok((run, membership))
}
