//! A real Odoo 17 database with demo data, restored from its dump, and inflated where a test or benchmark
//! wants more rows than a demo has. Both files are at hand only where somebody put them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::harness::{Database, repository};

/// Where the dump is, if not beside the repository. The script that inflates lies beside it.
pub const DUMP_VARIABLE: &str = "UPSHIFT_ODOO_DUMP";

/// The name of the script that inflates.
const INFLATE: &str = "odoo17_inflate.sql";

/// A copy of the restored dump; `None`, with a line that says so, where there is no dump.
///
/// # Errors
/// Where it cannot be restored.
pub async fn restored() -> Result<Option<Database>> {
    let Some(dump) = present(dump()) else {
        return Ok(None);
    };
    Database::of_template("odoo17", |database| restore(database, &dump))
        .await
        .map(Some)
}

/// A copy of the restored dump with `scale` hundredths of 3 million journal items and what goes with
/// them; `None`, with a line that says so, where there is no dump or no script.
///
/// # Errors
/// Where it cannot be restored or inflated.
pub async fn inflated(scale: u32) -> Result<Option<Database>> {
    let dump = dump();
    let script = dump.with_file_name(INFLATE);
    let (Some(dump), Some(script)) = (present(dump), present(script)) else {
        return Ok(None);
    };
    let name = format!("odoo17_scale_{scale}");
    Database::of_template(&name, |database| {
        restore(database, &dump)?;
        inflate(database, &script, scale)
    })
    .await
    .map(Some)
}

fn dump() -> PathBuf {
    std::env::var_os(DUMP_VARIABLE).map_or_else(
        || repository().join("../shared/odoo17_demo.dump"),
        PathBuf::from,
    )
}

fn present(file: PathBuf) -> Option<PathBuf> {
    if file.is_file() {
        return Some(file);
    }
    println!("skipped: there is no {} ({DUMP_VARIABLE})", file.display());
    None
}

/// As the role that will own the objects, which is no superuser.
fn restore(database: &Database, dump: &Path) -> Result<()> {
    let mut command = database.server().program("pg_restore");
    command
        .args(["--no-owner", "--exit-on-error", "-d"])
        .arg(database.url())
        .arg(dump);
    succeed(&mut command)
}

/// As the superuser: the script spares itself the foreign keys' triggers.
fn inflate(database: &Database, script: &Path, scale: u32) -> Result<()> {
    let mut command = database.server().program("psql");
    command
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-v"])
        .arg(format!("S={scale}"))
        .arg("-d")
        .arg(database.server().url("postgres", database.name()))
        .args([OsStr::new("-f"), script.as_os_str()]);
    succeed(&mut command)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
