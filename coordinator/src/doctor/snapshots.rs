//! Which kinds of snapshots (`--snapshot`) are possible here.

use upshift_shared::{
    config::SnapshotSettings,
    pg::{PgConnection, Target},
    plan::SnapshotKind,
};

use super::Finding;
use crate::snapshot;

/// A finding for each kind. Nothing needs them unless they are asked for, so none is a problem.
pub(super) async fn examine(
    conn: &mut PgConnection,
    target: &Target,
    settings: &SnapshotSettings,
) -> Vec<Finding> {
    let template = snapshot::obstacle(conn, target, (SnapshotKind::Template, settings)).await;
    let check = "snapshots by template";
    let template = match template {
        Ok(None) => Finding::ok(
            check,
            "possible, while nobody else is connected; each takes as much disk as the database",
        ),
        Ok(Some(why)) => Finding::ok(check, format!("not possible: {why}")),
        Err(error) => Finding::warn(check, error.to_string(), "ask whoever runs the server"),
    };
    let check = "snapshots by command";
    let command = match snapshot::not_configured(settings) {
        None => Finding::ok(check, "configured"),
        Some(why) => Finding::ok(check, format!("not configured: {why}")),
    };
    let dump = snapshot::obstacle(conn, target, (SnapshotKind::Dump, settings)).await;
    let check = "snapshots by dump";
    let dump = match dump {
        Ok(None) => Finding::ok(
            check,
            "possible: one before the run, for the way to its start",
        ),
        Ok(Some(why)) => Finding::ok(check, format!("not possible: {why}")),
        Err(error) => Finding::warn(check, error.to_string(), "ask whoever runs the server"),
    };
    vec![template, command, dump]
}
