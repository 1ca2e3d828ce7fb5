//! A Unix socket in a directory that only this user may enter: no other local user can speak to the
//! coordinator or listen to its workers.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::net::UnixListener;

/// `sockaddr_un` holds 108 bytes, the closing zero included.
const LONGEST_PATH: usize = 107;
const NAME: &str = "session";

/// The directory goes with its value.
#[derive(Debug)]
pub struct PrivateSocket {
    directory: TempDir,
}

impl PrivateSocket {
    /// Makes the directory, where temporary files go; in `/tmp` where that is too long for a socket.
    ///
    /// # Errors
    /// When no directory can be made.
    pub fn create() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        // mkdtemp makes it 0700 at once; being explicit costs nothing.
        builder
            .prefix("upshift-")
            .permissions(PermissionsExt::from_mode(0o700));
        let mut directory = builder.tempdir()?;
        if directory.path().join(NAME).as_os_str().len() > LONGEST_PATH {
            directory = builder.tempdir_in(Path::new("/tmp"))?;
        }
        Ok(Self { directory })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(&self) -> io::Result<UnixListener> {
        UnixListener::bind(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_enter() {
        let socket = PrivateSocket::create().expect("a directory");
        let _listener = socket.listen().expect("a socket");
        let directory = socket.path().parent().expect("it has one").to_owned();
        let mode = std::fs::metadata(&directory).expect("it is there");
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        drop(socket);
        assert!(!directory.exists());
    }
}
