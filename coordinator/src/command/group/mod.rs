//! `--group FILE`: the subcommands on a group of databases, one file each as they have without it; and
//! what a command on one database says when that belongs to a group.

pub(super) mod commit;
mod driving;
mod opening;
pub(super) mod plan;
pub(super) mod resume;
pub(super) mod rollback;
pub(super) mod run;
mod shown;
pub(super) mod status;

use std::path::PathBuf;

use clap::Args;
use upshift_shared::{
    ids::RunId,
    ledger::{self, group::Membership},
    pg::PgConnection,
};

use super::Failure;

/// Which databases, where it is more than one.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct GroupArguments {
    /// Work on all databases that this file names, together: all come to a checkpoint, to `prepared`
    /// and to `committed`, or none does
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    pub(super) group: Option<PathBuf>,
}

/// The group of a run, if it belongs to one.
pub(super) async fn membership(
    conn: &mut PgConnection,
    run: RunId,
) -> Result<Option<Membership>, Failure> {
    Ok(ledger::options::load(conn, run).await?.group)
}

/// A command on one database alone would tear its group apart: it is refused, unless `force`d. What a
/// crash has left of a cut only the group can end, forced or not.
pub(super) async fn refuse_member(
    conn: &mut PgConnection,
    run: RunId,
    force: bool,
) -> Result<(), Failure> {
    let Some(membership) = membership(conn, run).await? else {
        return Ok(());
    };
    let Membership {
        id,
        member,
        members,
        file,
        ..
    } = membership;
    let all = members.join(", ");
    let left = ledger::group::prepared(conn, id).await?;
    if let Some(left) = left.first() {
        return Err(Failure::refused(format!(
            "database {member} has a prepared transaction of its group ({all}), {}: only the group knows \
             how it ends; say this with --group {file} in place of --database",
            left.gid
        )));
    }
    if force {
        eprintln!(
            "upshift: warning: database {member} is moved without its group ({all}): the others have to \
             be moved likewise"
        );
        return Ok(());
    }
    Err(Failure::refused(format!(
        "run {run} belongs to a group of databases that move together ({all}): say this with --group \
         {file} in place of --database (with --force-single this database is moved alone)"
    )))
}
