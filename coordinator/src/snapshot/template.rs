//! Snapshots as copies of the database on the same server: CREATE DATABASE … TEMPLATE, and back by a swap
//! of names in one transaction.
//!
//! CREATE DATABASE fails while anybody is connected to the template, and keeps others out until it is done;
//! ALTER DATABASE … RENAME fails likewise, and may be part of a transaction (PostgreSQL manual, CREATE
//! DATABASE and ALTER DATABASE). Both need the database's owner with CREATEDB.

use std::time::Duration;

use upshift_shared::{
    Error, Result,
    ids::{Epoch, RunId},
    ledger::{
        self, Holder, fence,
        run::{Change, RunState},
    },
    pg::{PgConnection, Target, execute_raw, ident::ident},
};
use upshift_worker::failpoint;

use super::{
    COPIED, RESTORE_DROPPED, RESTORE_RECORDED, Snapshot, carry,
    maintenance::Maintenance,
    marker::{self, Marker, State},
    replaced_name, sweep,
};

/// From this size on the files are copied, with a checkpoint before and after, instead of being logged
/// page by page (STRATEGY of CREATE DATABASE, from PostgreSQL 15 on): WAL of the size of a large database
/// would cost more than two checkpoints do.
const COPY_FILES_FROM: u64 = 1 << 30;
/// The first version with a choice.
const STRATEGY_FROM: u32 = 150_000;

/// How long sessions of an earlier attempt may take to end.
const TAKE_OVER_DEADLINE: Duration = Duration::from_secs(60);

/// Makes the copy, marked `ready`.
pub(super) async fn make(snapshot: &Snapshot) -> Result<()> {
    let mut maintenance = Maintenance::open(&snapshot.target).await?;
    let made = make_within(&mut maintenance, snapshot).await;
    maintenance.close().await;
    made
}

async fn make_within(maintenance: &mut Maintenance, snapshot: &Snapshot) -> Result<()> {
    let (database, copy) = (snapshot.target.database(), snapshot.name());
    maintenance.lock().await?;
    drop_own(&mut maintenance.conn, &copy, snapshot.run).await?;
    let owner = owner(&mut maintenance.conn, database).await?;
    let version = maintenance.conn.server_version_num().unwrap_or_default();
    let strategy = match snapshot.bytes >= COPY_FILES_FROM && version >= STRATEGY_FROM {
        true => " STRATEGY file_copy",
        false => "",
    };
    let statement = format!(
        "-- upshift: take a snapshot\nCREATE DATABASE {} TEMPLATE {} OWNER {}{strategy}",
        ident(&copy),
        ident(database),
        ident(&owner)
    );
    let context = format!("copying database {database}");
    let patience = (snapshot.settings.wait, snapshot.end_sessions);
    maintenance.alone(patience, (&context, &statement)).await?;
    failpoint::reach(COPIED);
    let comment = marker::own_comment(&mut maintenance.conn, database).await?;
    let mut mark = Marker {
        state: State::Taking,
        run: snapshot.run,
        database: database.to_owned(),
        epoch: 0,
        to: None,
        comment,
    };
    mark.write(&mut maintenance.conn, &copy).await?;
    carry::carry(&mut maintenance.conn, database, &copy).await?;
    mark.state = State::Ready;
    mark.write(&mut maintenance.conn, &copy).await
}

/// The database's owner.
async fn owner(conn: &mut PgConnection, database: &str) -> Result<String> {
    sqlx::query_scalar(
        "-- upshift: the database's owner
         SELECT pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database WHERE datname = $1",
    )
    .bind(database)
    .fetch_one(conn)
    .await
    .map_err(Error::database("asking for the database's owner"))
}

/// Drops a database of ours: one that is marked so, or not marked yet. Not there is fine.
pub(super) async fn drop_own(conn: &mut PgConnection, name: &str, run: RunId) -> Result<()> {
    if let Some(comment) = marker::comment(conn, name).await? {
        let ours = Marker::parse(&comment).is_some_and(|marker| marker.run == run);
        if !ours {
            return Err(Error::Refused(format!(
                "database {name} is in the way of a snapshot, and is none: rename it"
            )));
        }
    }
    let statement = format!(
        "-- upshift: drop a snapshot\nDROP DATABASE IF EXISTS {}",
        ident(name)
    );
    execute_raw(conn, statement)
        .await
        .map_err(Error::database(format!("dropping database {name}")))?;
    Ok(())
}

/// Refuses where there is no whole copy to restore, before anything is said or done.
///
/// # Errors
/// [`Error::Refused`]
pub async fn refuse_gone(maintenance: &mut Maintenance, snapshot: &Snapshot) -> Result<()> {
    let copy = snapshot.name();
    let found = marker::read(&mut maintenance.conn, &copy).await?;
    if found.is_some_and(|m| m.state == State::Ready && m.run == snapshot.run) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the snapshot is gone: there is no database {copy} that is a whole copy; one can go back to a \
         later checkpoint, or restore a backup"
    )))
}

/// A restore that is under way.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// Who takes the run back.
    pub holder: Holder,
    /// To which checkpoint; `None` for the start.
    pub to: Option<&'a str>,
}

impl Restore<'_> {
    fn marker(&self, state: State, comment: Option<String>) -> Marker {
        Marker {
            state,
            run: self.holder.run,
            database: self.snapshot.target.database().to_owned(),
            epoch: self.holder.epoch.0,
            to: self.to.map(str::to_owned),
            comment,
        }
    }

    /// Says that the database is about to be replaced. To be called with the lock of the database and
    /// that of [`Maintenance::lock`].
    ///
    /// # Errors
    /// When the role does not own the database.
    pub async fn decide(&self, maintenance: &mut Maintenance) -> Result<()> {
        let database = self.snapshot.target.database();
        // It may have been decided before, by a process that was killed.
        let comment = marker::own_comment(&mut maintenance.conn, database).await?;
        let mark = self.marker(State::Restoring, comment);
        mark.write(&mut maintenance.conn, database).await
    }

    /// Swaps the names, once nobody is connected: all or nothing, because statements that are sent together
    /// are one transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] when others stay connected.
    pub async fn swap(&self, maintenance: &mut Maintenance) -> Result<()> {
        let (database, copy) = (self.snapshot.target.database(), self.snapshot.name());
        let replaced = replaced_name(database, self.holder.run);
        drop_own(&mut maintenance.conn, &replaced, self.holder.run).await?;
        let of_copy = marker::read(&mut maintenance.conn, &copy).await?;
        let comment = of_copy.and_then(|marker| marker.comment);
        let statement = format!(
            "-- upshift: a snapshot takes the place of the database\n\
             ALTER DATABASE {database} RENAME TO {};\nALTER DATABASE {} RENAME TO {database};\n{};\n{}",
            ident(&replaced),
            ident(&copy),
            self.marker(State::Replaced, None).statement(&replaced),
            self.marker(State::Restored, comment)
                .statement(self.snapshot.target.database()),
            database = ident(database),
        );
        let context = format!("putting the snapshot in the place of database {database}");
        let patience = (self.snapshot.settings.wait, self.snapshot.end_sessions);
        maintenance.alone(patience, (&context, &statement)).await
    }
}

/// A database that was restored, and does not know it: what is left to do.
#[derive(Debug)]
pub struct Restored(pub Marker);

impl Restored {
    /// Goes on from the swap; to be called with the lock of the database. Again is fine.
    ///
    /// # Errors
    /// When the ledger cannot be written or what was replaced cannot be dropped: the next process that
    /// locks the database goes on.
    pub async fn finish(&self, conn: &mut PgConnection, target: &Target) -> Result<()> {
        let Marker {
            run,
            epoch,
            to,
            comment,
            ..
        } = &self.0;
        take_back(
            conn,
            Holder {
                run: *run,
                epoch: Epoch(*epoch),
            },
            to.as_deref(),
        )
        .await?;
        failpoint::reach(RESTORE_RECORDED);
        // What was replaced, and copies that were made after this one was: its ledger does not know them.
        let kept = ledger::snapshot::load(conn, *run).await?;
        let kept = kept.into_values().filter(|row| row.done);
        let keep: Vec<String> = kept.map(|row| row.name).collect();
        sweep::leftovers(target, *run, &keep).await?;
        failpoint::reach(RESTORE_DROPPED);
        marker::write_comment(conn, target.database(), comment.as_deref()).await
    }
}

/// The ledger of a restored database: no holder of an epoch up to `older`'s can write, and the run is on
/// its way back.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn take_back(conn: &mut PgConnection, older: Holder, to: Option<&str>) -> Result<Holder> {
    let run = older.run;
    fence::raise_above(conn, older).await?;
    let epoch = fence::raise(conn, run, TAKE_OVER_DEADLINE).await?;
    let holder = Holder { run, epoch };
    let change = Change {
        rollback_to: to,
        ..Change::default()
    };
    ledger::run::change_state(conn, holder, RunState::RollingBack, change).await?;
    Ok(holder)
}
