//! A small file system with a tablespace on it, which a test can fill. Needs the rights to mount one.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::harness::{Database, Server};

/// Room for two databases of a case and not much more.
const SIZE: &str = "size=48m";

/// A mounted file system, and the tablespace.
#[derive(Debug)]
pub struct SmallDisk {
    server: &'static Server,
    folder: TempDir,
    tablespace: String,
}

impl SmallDisk {
    /// Mounts it; `None`, with a line that says why, where that is not possible.
    ///
    /// # Errors
    /// Where the server does not take it.
    pub fn mount(server: &'static Server) -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                println!(
                    "skipped: no file system can be mounted here: {}",
                    why.trim()
                );
                return Ok(None);
            }
            Err(error) => {
                println!("skipped: no file system can be mounted here: {error}");
                return Ok(None);
            }
        }
        let tablespace = format!("small_{:016x}", rand::random::<u64>());
        let this = Self {
            server,
            folder,
            tablespace,
        };
        let place = this.folder.path().join("space");
        fs::create_dir(&place)?;
        // The server runs as another user, who has to reach it.
        for path in [this.folder.path(), &place] {
            open_to_all(path)?;
        }
        let owner = server.psql("postgres", "postgres", "SHOW data_directory")?;
        let owner = fs::metadata(owner.trim()).context("the server's own folder")?;
        use std::os::unix::fs::MetadataExt as _;
        std::os::unix::fs::chown(&place, Some(owner.uid()), Some(owner.gid()))?;
        let (name, place) = (&this.tablespace, place.display());
        server.psql(
            "postgres",
            "postgres",
            &format!("CREATE TABLESPACE {name} LOCATION '{place}'"),
        )?;
        Ok(Some(this))
    }

    /// A copy of a database on it.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn copy(&self, database: &Database) -> Result<Database> {
        database.copy_to(&self.tablespace)
    }

    /// Leaves no room at all.
    ///
    /// # Errors
    /// Where the file system says something else than that it is full.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        // Down to the last page.
        for piece in [1 << 20, 4096] {
            let piece = vec![1_u8; piece];
            let full = loop {
                if let Err(error) = ballast.write_all(&piece) {
                    break error;
                }
            };
            ensure!(
                full.kind() == std::io::ErrorKind::StorageFull,
                "not full: {full}"
            );
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// Where the ballast cannot be deleted.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    /// Its databases are gone by then.
    fn drop(&mut self) {
        let drop = format!("DROP TABLESPACE IF EXISTS {}", self.tablespace);
        if let Err(error) = self.server.psql("postgres", "postgres", &drop) {
            eprintln!("{error}");
        }
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}

fn open_to_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}
