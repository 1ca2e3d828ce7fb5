//! `upshift rollback --group FILE`: takes all databases back, to the start or to a checkpoint that all
//! of them have.

use std::{path::Path, sync::Arc};

use upshift_shared::{
    ids::GroupId,
    ledger::{
        self,
        group::Write,
        run::{Change, RunRow, RunState as S},
    },
    plan::Plan,
};

use super::{
    super::{
        Failure,
        driving::{DrivingArguments, take_over},
    },
    driving::{self, How, Job},
    opening::{Group, Known, Open, is_at_start},
    resume::plans,
};
use crate::driver::{self, Aim, quarantine, rollback};

pub(in super::super) async fn run(
    file: &Path,
    to: Option<&str>,
    force: bool,
    arguments: &DrivingArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let mut open = Group::read(file, config)?.open().await?;
    let known = open.known().await?;
    if known.any(&[S::Committed]) {
        return Err(Failure::refused(
            "the group is committed: there is no way back; restore backups",
        ));
    }
    let unbegun = known.never_ran();
    if (unbegun || known.is_back()) && to.is_some() {
        return Err(Failure::refused(
            "the group is at the start: there is no checkpoint to go to",
        ));
    }
    if unbegun && known.any(&[S::Planned]) {
        return end_unbegun(open, &known).await;
    }
    if unbegun || known.is_back() {
        eprintln!("upshift: the group is rolled back already");
        open.close().await;
        return Ok(());
    }
    let begun = [
        S::Running,
        S::Failed,
        S::Prepared,
        S::RollingBack,
        S::Stuck,
        S::RolledBack,
    ];
    match known.all(&begun) {
        Some(rows) if !rows.iter().any(is_at_start) => {
            go_back(open, (known.id, rows), to, force, arguments).await
        }
        _ => Err(known.torn(&open)),
    }
}

/// In no database has anything run, and in some the run was not even stored.
async fn end_unbegun(mut open: Open, known: &Known) -> Result<(), Failure> {
    for (member, row) in open.members.iter_mut().zip(&known.runs) {
        let Some(row) = row.as_ref().filter(|row| row.state == S::Planned) else {
            continue;
        };
        let ended = async {
            let holder = take_over(&mut member.conn, row.run).await?;
            let change = Change::default();
            ledger::run::change_state(&mut member.conn, holder, S::RolledBack, change).await
        }
        .await;
        ended.map_err(|error| member.failed(error))?;
    }
    eprintln!("upshift: nothing had run in any database of the group; it is rolled back");
    open.close().await;
    Ok(())
}

/// Takes all runs back, or goes on doing so.
pub(super) async fn go_back(
    mut open: Open,
    (id, rows): (GroupId, Vec<RunRow>),
    to: Option<&str>,
    force: bool,
    arguments: &DrivingArguments,
) -> Result<(), Failure> {
    let plans = plans(&mut open, &rows).await?;
    if let Some(to) = to {
        refuse_not_shared(&open, &plans, to)?;
    }
    let mut limits = driving::limits(&open.group.config, arguments, &plans);
    limits.iter_mut().for_each(|limits| limits.force = force);
    // What has no way back is refused before anybody is disturbed.
    let mut rebuilt = Vec::with_capacity(rows.len());
    let parts = rows.iter().zip(&plans).zip(&limits);
    for (member, ((row, plan), limits)) in open.members.iter_mut().zip(parts) {
        let looked = async {
            let conn = &mut member.conn;
            let place = rollback::destination(conn, row, plan, to).await?;
            rollback::refuse_lost_writes(conn, row, plan, place, limits).await?;
            driver::back(conn, row.run, plan, place, limits).await?;
            Ok::<_, upshift_shared::Error>(place)
        }
        .await;
        rebuilt.push(looked.map_err(|error| member.failed(error))?);
    }
    let places = rebuilt;
    let holders = open.take_over(&rows).await?;
    let cuts = open.cuts(id, &holders);
    let mut jobs = Vec::with_capacity(rows.len());
    let mut writes = Vec::with_capacity(rows.len());
    let parts = holders.iter().zip(&plans).zip(places.iter().zip(&limits));
    for (member, ((holder, plan), (place, limits))) in open.members.iter_mut().zip(parts) {
        let retries = async {
            let (conn, target) = (&mut member.conn, &member.target);
            ledger::bad_row::forget_found(conn, *holder).await?;
            quarantine::take_retries_back(conn, target, (*holder, plan, limits)).await
        };
        retries.await.map_err(|error| member.failed(error))?;
        // Again: until the run was taken over, somebody may have worked on it.
        let rebuilt = driver::back(&mut member.conn, holder.run, plan, *place, limits).await;
        let rebuilt = rebuilt.map_err(|error| member.failed(error))?;
        let write = Write::RollingBack {
            to: to.map(str::to_owned),
            left: rebuilt.left().to_vec(),
        };
        writes.push((writes.len(), write));
        jobs.push(Job {
            holder: *holder,
            plan: Arc::clone(plan),
            rebuilt,
        });
    }
    let cut = cuts.make("rolling_back", &writes).await;
    cut.map_err(upshift_shared::Error::from)?;
    for (member, job) in open.members.iter_mut().zip(&jobs) {
        let (holder, plan) = (job.holder, &job.plan);
        let done = rollback::without_effect(&mut member.conn, holder, plan, &job.rebuilt).await;
        done.map_err(|error| member.failed(error))?;
    }
    let how = How {
        aim: Aim::Back {
            to: to.map(str::to_owned),
        },
        resumed: rows.iter().all(|row| row.state == S::RollingBack),
        end: "rolled_back",
    };
    Box::pin(driving::drive(open, cuts, (jobs, limits), how, arguments)).await
}

/// A group goes back to a checkpoint that all of its databases have: what the others should do is
/// anybody's guess.
fn refuse_not_shared(open: &Open, plans: &[Arc<Plan>], to: &str) -> Result<(), Failure> {
    let has = |plan: &Plan, name: &str| own_checkpoints(plan).any(|own| own == name);
    let without: Vec<&str> = open
        .members
        .iter()
        .zip(plans)
        .filter(|(_, plan)| !has(plan, to))
        .map(|(member, _)| member.name.as_str())
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    let first = plans.first().map(|plan| own_checkpoints(plan));
    let shared: Vec<&str> = first
        .into_iter()
        .flatten()
        .filter(|name| plans.iter().all(|plan| has(plan, name)))
        .collect();
    let shared = match shared.as_slice() {
        [] => "they share none, so only the start is left".to_owned(),
        some => format!("they share {}", some.join(", ")),
    };
    Err(Failure::refused(format!(
        "a group goes back to a checkpoint that all of its databases have, and {} has no checkpoint {to} of \
         its own: {shared}",
        without.join(", ")
    )))
}

/// The checkpoints that one can go back to, once they are prepared.
fn own_checkpoints(plan: &Plan) -> impl Iterator<Item = &str> {
    let own = plan.checkpoints.iter();
    own.filter(|one| one.joined_with.is_none())
        .map(|one| one.name.as_str())
}
