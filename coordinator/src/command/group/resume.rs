//! `upshift resume --group FILE`: all databases go on, in the direction that they had.

use std::{path::Path, sync::Arc};

use upshift_shared::ledger::{
    self,
    run::{RunRow, RunState as S},
};

use super::{
    super::{Failure, driving::DrivingArguments},
    driving,
    opening::{Group, Open},
    rollback,
};
use upshift_shared::plan::Plan;

pub(in super::super) async fn run(
    file: &Path,
    arguments: &DrivingArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let mut open = Group::read(file, config)?.open().await?;
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
    driving::forward(open, known.id, (holders, plans), true, arguments).await
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
