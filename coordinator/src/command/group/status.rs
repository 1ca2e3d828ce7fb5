//! `upshift status --group FILE`: how the run of each database stands, and what a crash has left of a
//! cut. Reads only: commands that go on end what was left.

use std::path::Path;

use serde::Serialize;
use upshift_shared::{
    ids::GroupId,
    ledger::{self, group::Prepared},
    pg,
};

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
        status::{self, Status},
    },
    opening::Group,
};

/// How a group stands.
#[derive(Debug, Serialize)]
struct GroupStatus {
    group: GroupId,
    home: String,
    members: Vec<MemberStatus>,
}

#[derive(Debug, Serialize)]
struct MemberStatus {
    name: String,
    /// `None` where the run was not begun.
    run: Option<Status>,
    /// Transactions that a crash has left prepared.
    left: Vec<Prepared>,
}

pub(in super::super) async fn run(
    file: &Path,
    json: bool,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let group = Group::read(file, config)?;
    let mut found = None;
    let mut sessions = Vec::with_capacity(group.members.len());
    for member in &group.members {
        let of = |error: upshift_shared::Error| {
            Failure::from(error).within(&format!("database {}", member.name))
        };
        let mut conn = pg::connect(&member.target, "upshift status")
            .await
            .map_err(of)?;
        let exists = ledger::exists(&mut conn).await.map_err(of)?;
        if exists && member.name == group.home {
            found = ledger::group::newest(&mut conn).await.map_err(of)?;
        }
        sessions.push((conn, exists));
    }
    let Some((_, membership)) = found else {
        return match json {
            true => print_json(&serde_json::json!({"group": null})),
            false => {
                print_line(&format!(
                    "there is no run of a group in database {}",
                    group.home
                ));
                Ok(())
            }
        };
    };
    let mut members = Vec::with_capacity(sessions.len());
    for (member, (mut conn, exists)) in group.members.iter().zip(sessions) {
        let run = match exists {
            true => ledger::group::find(&mut conn, membership.id).await?,
            false => None,
        };
        let row = match run {
            Some((run, _)) => ledger::run::read(&mut conn, run).await?,
            None => None,
        };
        members.push(MemberStatus {
            name: member.name.clone(),
            run: match row {
                Some(row) => Some(status::read(&mut conn, row, "").await?),
                None => None,
            },
            left: ledger::group::prepared(&mut conn, membership.id).await?,
        });
    }
    let status = GroupStatus {
        group: membership.id,
        home: membership.home,
        members,
    };
    if json {
        return print_json(&status);
    }
    print_line(&text(&status, &group));
    Ok(())
}

fn text(status: &GroupStatus, group: &Group) -> String {
    let mut lines = vec![format!("group {} (home {})", status.group, status.home)];
    for member in &status.members {
        let text = match &member.run {
            Some(run) => status::text(run),
            None => "not begun".to_owned(),
        };
        let mut text = text.lines();
        lines.push(format!(
            "{}: {}",
            member.name,
            text.next().unwrap_or_default()
        ));
        lines.extend(text.map(|line| format!("  {line}")));
        for left in &member.left {
            lines.push(format!(
                "    left prepared at {}: {}; {} or {} ends it, as it is decided",
                left.prepared_at,
                left.gid,
                group.command("resume"),
                group.command("rollback")
            ));
        }
    }
    lines.join("\n")
}
