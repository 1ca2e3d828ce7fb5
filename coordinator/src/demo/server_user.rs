//! Who a throwaway server runs as: PostgreSQL refuses root, so root's servers belong to `postgres`,
//! else `nobody`; everybody else's belong to themselves.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use nix::unistd::{User, geteuid};
use upshift_shared::{Error, Result};

/// The system user that owns a throwaway cluster's files and processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerUser {
    /// Set when this process is root and has to become somebody else.
    switch: Option<(u32, u32)>,
}

impl ServerUser {
    /// Finds out who a server started by this process runs as.
    pub(super) fn find() -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self { switch: None });
        }
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .ok_or_else(|| {
                Error::Config(
                    "PostgreSQL does not run as root, and there is neither a user \"postgres\" nor \
                     \"nobody\" to run it as: create one, or run this command as an ordinary user"
                        .to_owned(),
                )
            })?;
        Ok(Self {
            switch: Some((user.uid.as_raw(), user.gid.as_raw())),
        })
    }

    /// Makes the command run as this user. (As root, the standard library also drops supplementary
    /// groups when a uid is set.)
    pub(super) fn apply(self, command: &mut Command) {
        if let Some((uid, gid)) = self.switch {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or directory to this user.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.switch else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|source| Error::Io {
            context: format!("giving {} to the server's user", path.display()),
            source,
        })
    }
}
