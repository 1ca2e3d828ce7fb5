//! Snapshots on the way of a run: what `run`, `resume`, `rollback` and `commit` have to do about them
//! between the times that the run is driven.

use std::{future::Future, path::Path, sync::Arc};

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use upshift_shared::{
    Error,
    config::SnapshotSettings,
    ids::RunId,
    ledger::{
        self, Holder, fence,
        run::{Change, RunError, RunRow, RunState},
        snapshot::SnapshotRow,
    },
    pg::{PgConnection, Target},
    plan::{Plan, SnapshotKind},
};
use upshift_worker::failpoint;

use super::{
    Failure,
    driving::{Driving, DrivingArguments},
};
use crate::{
    compile::SnapshotRequest,
    driver::{self, Aim, Ended, rollback},
    figures,
    progress::Ending,
    snapshot::{
        self, Maintenance, Snapshot, dump, marker,
        template::{self, Restore, Restored},
    },
};

/// `--snapshot`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SnapshotArgument {
    /// Nothing: there is no way back before what cannot be undone
    None,
    /// A copy of the database on the same server
    Template,
    /// By the commands of [snapshot] in upshift.toml
    Command,
    /// By pg_dump into the directory of [snapshot] in upshift.toml, once, before the first task: the way
    /// back past what cannot be undone leads to the start
    Dump,
}

/// What the compiler is asked for: the option, else what the configuration says.
pub(super) async fn request(
    conn: &mut PgConnection,
    argument: Option<SnapshotArgument>,
    settings: &SnapshotSettings,
) -> Result<Option<SnapshotRequest>, Failure> {
    let kind = match argument {
        Some(SnapshotArgument::None) => None,
        Some(SnapshotArgument::Template) => Some(SnapshotKind::Template),
        Some(SnapshotArgument::Command) => Some(SnapshotKind::Command),
        Some(SnapshotArgument::Dump) => Some(SnapshotKind::Dump),
        None => settings.kind,
    };
    let Some(kind) = kind else {
        return Ok(None);
    };
    let bytes: i64 = sqlx::query_scalar(
        "-- upshift: how large is the database
         SELECT pg_database_size(current_database())",
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("asking how large the database is"))?;
    let bytes = u64::try_from(bytes).unwrap_or_default();
    Ok(Some(SnapshotRequest { kind, bytes }))
}

/// Why the snapshots of the plan cannot be taken here; `None` where they can, or there are none.
pub(super) async fn obstacle(
    conn: &mut PgConnection,
    target: &Target,
    (plan, settings): (&Plan, &SnapshotSettings),
) -> Result<Option<String>, Failure> {
    match plan.snapshots.first() {
        None => Ok(None),
        Some(first) => Ok(snapshot::obstacle(conn, target, (first.kind, settings)).await?),
    }
}

/// Refuses a plan whose snapshots cannot be taken here, before anything is touched.
pub(super) async fn refuse_impossible(driving: &mut Driving, plan: &Plan) -> Result<(), Failure> {
    let settings = &driving.chosen.config.snapshot;
    let target = &driving.chosen.target;
    match obstacle(&mut driving.conn, target, (plan, settings)).await? {
        None => Ok(()),
        Some(why) => Err(Failure::refused(format!(
            "the snapshot that was asked for cannot be taken here: {why}; nothing was touched"
        ))),
    }
}

/// How a driving command was called.
pub(super) type Called<'a> = (&'a DrivingArguments, Option<&'a Path>);

/// Drives a run forward, and takes the snapshots that become due on the way.
pub(super) async fn forward(
    mut driving: Driving,
    called: Called<'_>,
    (mut holder, plan): (Holder, Arc<Plan>),
    mut resumed: bool,
) -> Result<Ended, Failure> {
    loop {
        let run = holder.run;
        let rebuilt = driver::forward(&mut driving.conn, run, &plan, &driving.limits).await?;
        let due = rebuilt.snapshot_due();
        let job = (holder, Arc::clone(&plan));
        let progress = called.0.progress();
        let ended = driving
            .drive(job, (Aim::Forward, rebuilt, resumed), progress)
            .await?;
        match due {
            Some(due) if ended.ending == Ending::SnapshotDue => {
                (driving, holder) = Box::pin(take(called, (holder, &plan), due)).await?;
                resumed = true;
            }
            _ => return Ok(ended),
        }
    }
}

/// Takes the snapshot that is due. No session of ours is open when this is called, and none is open
/// while it is made.
async fn take(
    called: Called<'_>,
    (holder, plan): (Holder, &Plan),
    due: u32,
) -> Result<(Driving, Holder), Failure> {
    let mut driving = Driving::open(called.0, called.1).await?;
    // The lock was given back when the segment ended: somebody may have taken the run over since.
    fence::check(&mut driving.conn, holder).await?;
    let holder = driving.take_over(holder.run).await?;
    let snapshot = of_plan(&driving, called.0, (holder.run, plan), due)?;
    let of_plan = (plan, snapshot.kind);
    rollback::refuse_midway(&mut driving.conn, holder.run, of_plan).await?;
    let entry = (snapshot.kind, snapshot.held_as());
    let begun = ledger::snapshot::load(&mut driving.conn, holder.run).await?;
    ledger::snapshot::start(&mut driving.conn, holder, due, (entry.0, &entry.1)).await?;
    failpoint::reach(snapshot::STARTED);
    if !called.0.json {
        let size = figures::size(snapshot.bytes);
        eprintln!(
            "upshift: taking a snapshot ({}) of database {}, {size} when it was planned",
            snapshot.kind.as_str(),
            snapshot.target.database()
        );
    }
    driving.close().await;
    let made = interruptible(snapshot.make(begun.contains_key(&due))).await;
    let mut driving = Driving::open(called.0, called.1).await?;
    fence::check(&mut driving.conn, holder).await?;
    if let Err(error) = made {
        let failure = record_failure(&mut driving, holder, &error).await;
        driving.close().await;
        return Err(failure?);
    }
    failpoint::reach(snapshot::MADE);
    ledger::snapshot::finish(&mut driving.conn, holder, due).await?;
    failpoint::reach(snapshot::RECORDED);
    driving.has_driven();
    let holder = driving.take_over(holder.run).await?;
    Ok((driving, holder))
}

async fn record_failure(
    driving: &mut Driving,
    holder: Holder,
    error: &Error,
) -> Result<Failure, Failure> {
    let stored = RunError {
        message: format!("taking a snapshot: {error}"),
        source: None,
        sqlstate: error.sqlstate(),
    };
    let change = Change {
        error: Some(&stored),
        ..Change::default()
    };
    ledger::run::change_state(&mut driving.conn, holder, RunState::Failed, change).await?;
    let after = driving.after(holder.run);
    Ok(Failure::failed(format!(
        "{}\nwhen the cause is mended, go on with: {}\nor take it back with: {}",
        stored.message,
        after.command("resume"),
        after.command("rollback")
    )))
}

fn of_plan(
    driving: &Driving,
    arguments: &DrivingArguments,
    (run, plan): (RunId, &Plan),
    seq: u32,
) -> Result<Snapshot, Failure> {
    let planned = plan
        .snapshots
        .get(seq as usize)
        .ok_or_else(|| Failure::refused(format!("the plan of run {run} has no snapshot {seq}")))?;
    let chosen = &driving.chosen;
    Ok(Snapshot::new(
        (&chosen.target, run),
        (seq, planned),
        (&chosen.config.snapshot, arguments.end_sessions),
    ))
}

/// A snapshot takes as long as it takes: Ctrl-C and SIGTERM end it, and leave what can be resumed.
async fn interruptible<T>(
    work: impl Future<Output = upshift_shared::Result<T>>,
) -> upshift_shared::Result<T> {
    let io = |source| Error::Io {
        context: "listening to signals".to_owned(),
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    tokio::select! {
        done = work => return done,
        Some(()) = interrupt.recv() => {}
        Some(()) = terminate.recv() => {}
    }
    Err(Error::Refused("stopped on request".to_owned()))
}

/// Restores the snapshot that the way back needs, where it needs one. Gives back the run as its ledger has
/// it then.
pub(super) async fn restore(
    mut driving: Driving,
    called: Called<'_>,
    row: RunRow,
    (plan, to, place): (&Plan, Option<&str>, Option<u32>),
) -> Result<(Driving, RunRow), Failure> {
    let run = row.run;
    let needed = rollback::to_restore(&mut driving.conn, run, plan, place).await?;
    let Some(seq) = needed else {
        abandon(&mut driving).await?;
        return Ok((driving, row));
    };
    let snapshot = of_plan(&driving, called.0, (run, plan), seq)?;
    // The restored ledger will not know of those that came later.
    let taken = ledger::snapshot::load(&mut driving.conn, run).await?;
    refuse_moved(&snapshot, taken.get(&seq))?;
    let later: Vec<(u32, bool)> = taken
        .into_iter()
        .filter(|(place, _)| *place > seq)
        .map(|(place, row)| (place, row.done))
        .collect();
    if snapshot.kind == SnapshotKind::Template {
        // One that was half made when its process was killed has no mark to be found by.
        for (place, _) in later.iter().filter(|(_, done)| !done) {
            snapshot::discard(&of_plan(&driving, called.0, (run, plan), *place)?).await?;
        }
    }
    let again = driving.after(run).command("rollback");
    let failed = |error: Error| Failure::failed(format!("{error}\ngo on with: {again}"));
    let holder = match snapshot.kind {
        SnapshotKind::Template | SnapshotKind::Dump => {
            by_copy(driving, (&snapshot, to), failed).await?
        }
        SnapshotKind::Command => {
            let holder = set_out(&mut driving, run, to).await?;
            driving.close().await;
            let restored = interruptible(snapshot::restore_by_command(&snapshot)).await;
            restored.map_err(failed)?;
            holder
        }
    };
    failpoint::reach(snapshot::RESTORE_SWAPPED);
    // After a copy this finishes what the swap began.
    let mut driving = Driving::open(called.0, called.1).await?;
    let row = ledger::run::read(&mut driving.conn, run).await?;
    let Some(mut row) = row else {
        return Err(Failure::refused(format!(
            "the restored database does not know run {run}: what was restored is no snapshot of it"
        )));
    };
    if snapshot.kind == SnapshotKind::Command {
        refuse_logical(&mut driving, (run, plan), seq).await?;
        template::take_back(&mut driving.conn, holder, to).await?;
        for (place, _) in &later {
            snapshot::discard(&of_plan(&driving, called.0, (run, plan), *place)?).await?;
        }
        row.state = RunState::RollingBack;
        row.rollback_to = to.map(str::to_owned);
    }
    Ok((driving, row))
}

/// The run is on its way back, and nobody else drives it.
async fn set_out(driving: &mut Driving, run: RunId, to: Option<&str>) -> Result<Holder, Failure> {
    let holder = driving.take_over(run).await?;
    let change = Change {
        rollback_to: to,
        ..Change::default()
    };
    ledger::run::change_state(&mut driving.conn, holder, RunState::RollingBack, change).await?;
    failpoint::reach(snapshot::RESTORE_BEGUN);
    eprintln!(
        "upshift: database {} becomes what it was when its snapshot was taken: what was written after \
         that is lost",
        driving.chosen.target.database()
    );
    Ok(holder)
}

/// Restores a copy, or a dump by way of one. Where it is gone, or others stay connected, the database is as
/// it was.
async fn by_copy(
    mut driving: Driving,
    (snapshot, to): (&Snapshot, Option<&str>),
    failed: impl Fn(Error) -> Failure,
) -> Result<Holder, Failure> {
    let mut maintenance = Maintenance::open(&snapshot.target).await?;
    maintenance.lock().await?;
    if snapshot.kind == SnapshotKind::Dump {
        dump::refuse_gone(snapshot)?;
        let copied = interruptible(dump::copy(&mut maintenance, snapshot)).await;
        copied.map_err(&failed)?;
    }
    template::refuse_gone(&mut maintenance, snapshot).await?;
    let holder = set_out(&mut driving, snapshot.run, to).await?;
    let restore = Restore {
        snapshot,
        holder,
        to,
    };
    restore.decide(&mut maintenance).await?;
    failpoint::reach(snapshot::RESTORE_DECIDED);
    driving.close().await;
    let swapped = interruptible(restore.swap(&mut maintenance)).await;
    maintenance.close().await;
    swapped.map_err(failed)?;
    Ok(holder)
}

/// What is hidden and kept is found by oid, which a logical dump does not bring back.
async fn refuse_logical(
    driving: &mut Driving,
    (run, plan): (RunId, &Plan),
    seq: u32,
) -> Result<(), Failure> {
    let begun = ledger::task::load(&mut driving.conn, run).await?;
    if begun.is_empty() || ledger::snapshot::has_its_oids(&mut driving.conn, run, seq).await? {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the command of [snapshot] restore has restored a logical dump: database {} is as it was before {}, \
         but what upshift keeps in it cannot be found any more, so that there is no way further back; use a \
         physical snapshot there",
        driving.chosen.target.database(),
        plan.snapshots[seq as usize]
            .before
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    )))
}

/// A restore that was decided and not done, and is not wanted any more: the way back goes elsewhere.
async fn abandon(driving: &mut Driving) -> Result<(), Failure> {
    let database = driving.chosen.target.database().to_owned();
    if let Some(found) = marker::read(&mut driving.conn, &database).await?
        && found.state == marker::State::Restoring
    {
        let comment = found.comment.as_deref();
        marker::write_comment(&mut driving.conn, &database, comment).await?;
    }
    Ok(())
}

/// Whoever has just locked a database looks whether it was restored, or is about to be.
pub(super) async fn settle(conn: &mut PgConnection, target: &Target) -> Result<(), Failure> {
    let Some(found) = marker::read(conn, target.database()).await? else {
        return Ok(());
    };
    match found.state {
        marker::State::Restored => Ok(Restored(found).finish(conn, target).await?),
        marker::State::Restoring => {
            // Whoever restores holds this lock; one that was killed does not.
            let mut maintenance = Maintenance::open(target).await?;
            let free = maintenance.lock().await;
            maintenance.close().await;
            Ok(free?)
        }
        marker::State::Taking | marker::State::Ready | marker::State::Replaced => {
            Err(Failure::refused(format!(
                "database {} is part of a snapshot of database {}, taken by run {}: it is not to be upgraded",
                target.database(),
                found.database,
                found.run
            )))
        }
    }
}

/// Drops the snapshots that are of no more use after a way back.
pub(super) async fn tidy(
    driving: &mut Driving,
    called: Called<'_>,
    (holder, plan): (Holder, &Plan),
) -> Result<(), Failure> {
    let of_no_use = rollback::of_no_use(&mut driving.conn, holder.run, plan).await?;
    let mut taken = ledger::snapshot::load(&mut driving.conn, holder.run).await?;
    for seq in of_no_use {
        discard(driving, called.0, (holder, plan), (seq, taken.remove(&seq))).await?;
    }
    Ok(())
}

/// The same when the way back has just ended and nothing is open.
pub(super) async fn tidy_up(called: Called<'_>, run: RunId) -> Result<(), Failure> {
    let mut driving = Driving::open(called.0, called.1).await?;
    let taken = ledger::snapshot::load(&mut driving.conn, run).await?;
    if taken.is_empty() {
        driving.close().await;
        return Ok(());
    }
    let plan = ledger::run::plan(&mut driving.conn, run).await?;
    let holder = driving.take_over(run).await?;
    let tidied = tidy(&mut driving, called, (holder, &plan)).await;
    driving.close().await;
    tidied
}

/// Drops all snapshots of a run: its way back is closed.
pub(super) async fn discard_all(
    driving: &mut Driving,
    arguments: &DrivingArguments,
    (holder, plan): (Holder, &Plan),
) -> Result<(), Failure> {
    let taken = ledger::snapshot::load(&mut driving.conn, holder.run).await?;
    for (seq, row) in taken {
        discard(driving, arguments, (holder, plan), (seq, Some(row))).await?;
    }
    Ok(())
}

/// A dump is looked for, and removed, where the configuration says: the ledger may be written by others.
fn refuse_moved(snapshot: &Snapshot, row: Option<&SnapshotRow>) -> Result<(), Failure> {
    match row {
        Some(row) if row.kind == SnapshotKind::Dump && row.name != snapshot.held_as() => {
            Err(Failure::refused(format!(
                "the dump of run {} was made as {}: let directory of [snapshot] in upshift.toml say so again",
                snapshot.run, row.name
            )))
        }
        _ => Ok(()),
    }
}

async fn discard(
    driving: &mut Driving,
    arguments: &DrivingArguments,
    (holder, plan): (Holder, &Plan),
    (seq, taken): (u32, Option<SnapshotRow>),
) -> Result<(), Failure> {
    let snapshot = of_plan(driving, arguments, (holder.run, plan), seq)?;
    refuse_moved(&snapshot, taken.as_ref())?;
    snapshot::discard(&snapshot).await?;
    failpoint::reach(snapshot::DISCARDED);
    Ok(ledger::snapshot::forget(&mut driving.conn, holder, seq).await?)
}
