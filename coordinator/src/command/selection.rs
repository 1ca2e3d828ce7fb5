//! Which run is meant: by its id, by a part of it, or the one that there is.

use upshift_shared::{
    ledger::{self, run::RunRow},
    pg::PgConnection,
};

use super::Failure;

/// The run that `wanted` names: an id, or the beginning or end of one; the newest where none is named.
pub(super) async fn select(
    conn: &mut PgConnection,
    wanted: Option<&str>,
) -> Result<RunRow, Failure> {
    if !ledger::exists(conn).await? {
        return Err(Failure::refused("upshift has never run in this database"));
    }
    let rows = ledger::run::list(conn).await?;
    match wanted {
        None => {
            let newest = rows.into_iter().next();
            newest.ok_or_else(|| Failure::refused("there is no run in this database"))
        }
        Some(wanted) => by_name(rows, wanted),
    }
}

fn by_name(rows: Vec<RunRow>, wanted: &str) -> Result<RunRow, Failure> {
    let wanted = wanted.to_lowercase();
    let mut found = rows.into_iter().filter(|row| {
        let id = row.run.to_string();
        id.starts_with(&wanted) || id.ends_with(&wanted)
    });
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several runs fit \"{wanted}\": write more of the id"
        ))),
        (None, _) => Err(Failure::usage(format!(
            "there is no run \"{wanted}\" in this database: see `upshift status`"
        ))),
    }
}
