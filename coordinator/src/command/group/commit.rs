//! `upshift commit --group FILE`: one cut makes all databases `committed`; what was kept is destroyed
//! after it, in each.

use std::path::Path;

use futures::future::join_all;
use upshift_shared::{
    Error,
    ledger::{group::Write, run::RunState as S},
};

use super::{
    super::{
        Failure,
        driving::{DrivingArguments, not_committed},
    },
    driving,
    opening::Group,
    resume::plans,
    shown,
};
use crate::driver::commit;

pub(in super::super) async fn run(
    file: &Path,
    arguments: &DrivingArguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let mut open = Group::read(file, config)?.open().await?;
    let known = open.known().await?;
    let prepared = known.all(&[S::Prepared]).is_some();
    let Some(rows) = known.all(&[S::Prepared, S::Committed]) else {
        let forward = [S::Planned, S::Running, S::Failed, S::RolledBack];
        return Err(match known.all(&forward) {
            Some(_) if !known.is_back() => Failure::refused(format!(
                "only a prepared group can be committed; first: {}",
                open.group.command("resume")
            )),
            _ => known.torn(&open),
        });
    };
    if !prepared {
        if known.all(&[S::Committed]).is_none() {
            return Err(known.torn(&open));
        }
        let mut pending = false;
        for (member, row) in open.members.iter_mut().zip(&rows) {
            pending |= commit::is_pending(&mut member.conn, row.run).await?;
        }
        if !pending {
            eprintln!("upshift: the group is committed already");
            open.close().await;
            return Ok(());
        }
    }
    let plans = plans(&mut open, &rows).await?;
    let holders = open.take_over(&rows).await?;
    if prepared {
        let versions = plans.iter().map(|plan| {
            let modules = plan.modules.iter();
            modules
                .map(|m| (m.name.clone(), m.to.to_string()))
                .collect()
        });
        let writes: Vec<_> = versions.map(Write::Committed).enumerate().collect();
        open.cuts(known.id, &holders)
            .make("committed", &writes)
            .await
            .map_err(Error::from)?;
    }
    let limits = driving::limits(&open.group.config, arguments, &plans);
    let parts = holders.iter().zip(&plans).zip(&limits);
    let members = open.members.iter_mut().zip(parts);
    let destructions = members.map(|(member, ((holder, plan), limits))| async move {
        let mut progress = shown::progress(arguments, &member.name);
        let (conn, target) = (&mut member.conn, &member.target);
        let done = commit::commit(conn, target, *holder, plan, limits, &mut *progress).await;
        let Err(error) = done else {
            return Ok(());
        };
        let failure = not_committed(conn, *holder, error).await;
        Err(member.failed(failure))
    });
    let done: Result<Vec<()>, Failure> = join_all(destructions).await.into_iter().collect();
    open.close().await;
    done.map(drop)
}
