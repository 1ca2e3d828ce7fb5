//! Snapshots by commands of the configuration: of a file system or storage, of a backup tool, of a cloud.

use tokio_util::sync::CancellationToken;
use upshift_shared::{Error, Result};
use upshift_worker::program::Program;

use super::Snapshot;
use crate::placeholders::filled;

/// Takes it; `again` where somebody has begun to already.
pub(super) async fn make(snapshot: &Snapshot, again: bool) -> Result<()> {
    if again && let Err(error) = discard(snapshot).await {
        // There may be nothing to drop; where there is, taking it anew says so.
        tracing::warn!(%error, "what is left of an earlier attempt at a snapshot could not be dropped");
    }
    run(snapshot, "create", snapshot.settings.create.as_deref()).await
}

/// Brings the database back to it. Nobody of ours is connected meanwhile.
///
/// # Errors
/// [`Error::Refused`] when the command fails or does not end in time.
pub async fn restore(snapshot: &Snapshot) -> Result<()> {
    run(snapshot, "restore", snapshot.settings.restore.as_deref()).await
}

/// Throws it away; nothing to do where no command is configured.
pub(super) async fn discard(snapshot: &Snapshot) -> Result<()> {
    match snapshot.settings.drop.as_deref() {
        Some(command) => run(snapshot, "drop", Some(command)).await,
        None => Ok(()),
    }
}

async fn run(snapshot: &Snapshot, key: &str, command: Option<&[String]>) -> Result<()> {
    let command = command.ok_or_else(|| {
        Error::Refused(format!(
            "[snapshot] of upshift.toml has no \"{key}\" command"
        ))
    })?;
    let values = values(snapshot);
    let program = Program {
        words: command.iter().map(|word| filled(word, &values)).collect(),
        target: &snapshot.target,
        application_name: "upshift snapshot".to_owned(),
        timeout: snapshot.settings.timeout,
        environment: Vec::new(),
        leaves_others: false,
    };
    // A process that is interrupted drops this, and the program ends with it.
    program
        .run(&CancellationToken::new())
        .await
        .map_err(|error| match error {
            Error::Refused(message) => Error::Refused(format!("[snapshot] {key}: {message}")),
            other => other,
        })
}

/// What stands for what in their words.
fn values(snapshot: &Snapshot) -> [(&'static str, String); 5] {
    let environment = snapshot.target.environment();
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    [
        ("database", snapshot.target.database().to_owned()),
        ("host", variable("PGHOST")),
        ("port", variable("PGPORT")),
        ("run", snapshot.run.to_string()),
        ("task", snapshot.task.0.to_string()),
    ]
}
