//! `upshift resume --group FILE`: all databases go on, in the direction that they had.

use std::{path::Path, sync::Arc};

use upshift_shared::{
    Error,
    ledger::{
        self,
        control::Change,
        run::{RunRow, RunState as S},
    },
    pg,
    plan::Plan,
};

use super::{
    super::{
        Failure,
        bad_data::ShowArguments,
        driving::DrivingArguments,
        steering::{self, Steered},
    },
    driving,
    opening::{Group, Open},
    rollback,
};

pub(in super::super) async fn run(
    file: &Path,
    (arguments, show): (&DrivingArguments, &ShowArguments),
    config: Option<&Path>,
) -> Result<(), Failure> {
    let group = Group::read(file, config)?;
    if unpaused(&group, arguments).await? {
        return Ok(());
    }
    let mut open = group.open().await?;
    let known = open.known().await?;
    if known.all(&[S::Prepared]).is_some() {
        eprintln!(
            "upshift: the group is prepared already; keep it with: {}",
            open.group.command("commit")
        );
        open.close().await;
        return Ok(());
    }
    if known.all(&[S::Committed]).is_some() || known.is_back() {
        return Err(Failure::refused(
            "the group is committed or rolled back: it has ended",
        ));
    }
    if known.any(&[S::Stuck]) {
        return Err(Failure::refused(format!(
            "the group is stuck on its way back; go on with: {}",
            open.group.command("rollback")
        )));
    }
    if let Some(rows) = known.all(&[S::RollingBack]) {
        let to = rows.first().and_then(|row| row.rollback_to.clone());
        return rollback::go_back(open, (known.id, rows), to.as_deref(), false, arguments).await;
    }
    let forward = [S::Planned, S::Running, S::Failed, S::RolledBack];
    let Some(rows) = known.all(&forward) else {
        return Err(known.torn(&open));
    };
    let back = rows.iter().filter(|row| row.state == S::RolledBack);
    if back.clone().any(|row| row.rollback_to.is_none()) {
        return Err(known.torn(&open));
    }
    let plans = plans(&mut open, &rows).await?;
    let holders = open.take_over(&rows).await?;
    for (member, holder) in open.members.iter_mut().zip(&holders) {
        let gone_on = show.go_on(&mut member.conn, *holder).await;
        gone_on.map_err(|error| member.failed(error))?;
    }
    driving::forward(open, known.id, (holders, plans), true, arguments).await
}

/// Ends the pause of a group that somebody drives. `false` where nobody does, or it is not paused.
async fn unpaused(group: &Group, arguments: &DrivingArguments) -> Result<bool, Failure> {
    let (mut sessions, mut found) = (Vec::with_capacity(group.members.len()), None);
    for member in &group.members {
        let of = |error: Error| Failure::from(error).within(&format!("database {}", member.name));
        let conn = pg::connect(&member.target, "upshift steering").await;
        let mut conn = conn.map_err(of)?;
        if !ledger::exists(&mut conn).await.map_err(of)? {
            return Ok(false);
        }
        if member.name == group.home {
            found = ledger::group::newest(&mut conn).await.map_err(of)?;
        }
        sessions.push((member, conn));
    }
    let Some((_, membership)) = found else {
        return Ok(false);
    };
    let (mut steered, mut plans) = (Vec::new(), Vec::new());
    for (member, mut conn) in sessions {
        let Some((run, _)) = ledger::group::find(&mut conn, membership.id).await? else {
            return Ok(false);
        };
        plans.push(Arc::new(ledger::run::plan(&mut conn, run).await?));
        let hint = format!(" --database {}", member.name);
        steered.push(Steered::on(conn, Some(&run.to_string()), hint).await?);
    }
    let wanted = arguments.steering.change();
    let shares = driving::limits(&group.config, arguments, &plans);
    let mut any = false;
    for (steered, limits) in steered.into_iter().zip(shares) {
        let change = Change {
            workers: wanted.workers.map(|_| limits.workers),
            max_units: wanted.max_units.map(|_| limits.max_units),
            ..wanted.clone()
        };
        any |= steering::unpaused(steered, change, arguments.json).await?;
    }
    Ok(any)
}

/// The plans of these runs.
pub(super) async fn plans(open: &mut Open, rows: &[RunRow]) -> Result<Vec<Arc<Plan>>, Failure> {
    let mut plans = Vec::with_capacity(rows.len());
    for (member, row) in open.members.iter_mut().zip(rows) {
        let plan = ledger::run::plan(&mut member.conn, row.run).await;
        plans.push(Arc::new(plan.map_err(|error| member.failed(error))?));
    }
    Ok(plans)
}
