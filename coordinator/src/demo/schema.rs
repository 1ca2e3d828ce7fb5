//! The schema of a database as text: what `pg_dump --schema-only` says, with owners and privileges.

use std::{path::Path, process::Command};

use upshift_shared::{Error, Result};

use super::cluster::find_client;

/// Dumps the schema of the database at a URL, without Upshift's own schemas and without what differs
/// from dump to dump.
///
/// # Errors
/// With what `pg_dump` says.
pub fn dump(binaries: &Path, url: &str) -> Result<String> {
    let mut command = Command::new(find_client(binaries, "pg_dump"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    let output = command
        .args(["--schema-only", "--no-password"])
        .args(["-N", "upshift", "-N", "upshift_kept*", "-d", url])
        .output()
        .map_err(|source| Error::Io {
            context: "starting pg_dump".to_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Config(format!(
            "pg_dump failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        // \restrict and \unrestrict carry a random key.
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
