//! A pack on its way: files in pieces become a folder of this process's own, which goes when it was read.
//! Paths are of somebody else's making: they are taken apart, and what would lead out of the folder, or
//! onto something that is there, is refused.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Component, Path, PathBuf},
};

use tempfile::TempDir;
use tonic::Status;
use upshift_proto::v1::PackFile;

use super::identity::shown;

/// A path may be so long, in bytes.
const PATH_BYTES: usize = 1024;
/// And lie so deep.
const DEPTH: usize = 16;
/// Files of a pack, each with the folders that its path names: what an upload can cost in inodes.
const ENTRIES: usize = 200_000;

/// A pack that is being received.
#[derive(Debug)]
pub struct Upload {
    folder: TempDir,
    open: Option<(String, File)>,
    entries: usize,
    bytes: u64,
    max_bytes: u64,
}

impl Upload {
    /// An empty one, which may become so large.
    ///
    /// # Errors
    /// `INTERNAL` where no folder can be made.
    pub fn begin(max_bytes: u64) -> Result<Self, Status> {
        let folder = tempfile::Builder::new().prefix("upshift-pack-").tempdir();
        Ok(Self {
            folder: folder.map_err(|error| disk(&error))?,
            open: None,
            entries: 0,
            bytes: 0,
            max_bytes,
        })
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes a piece of a file.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a path that is not one of a pack, `RESOURCE_EXHAUSTED` for a pack that is
    /// too large.
    pub fn take(&mut self, piece: &PackFile) -> Result<(), Status> {
        // The path counts: pieces without content would never come to an end.
        let size = piece.content.len() + piece.path.len();
        self.bytes = self.bytes.saturating_add(size as u64);
        if self.bytes > self.max_bytes {
            return Err(Status::resource_exhausted(format!(
                "the pack is larger than {} bytes: max_pack of [cluster] says how large one may be",
                self.max_bytes
            )));
        }
        let goes_on = self
            .open
            .as_ref()
            .is_some_and(|(path, _)| *path == piece.path);
        if !goes_on {
            let relative = relative(&piece.path)?;
            self.entries += relative.components().count();
            if self.entries > ENTRIES {
                let message = format!("the pack has more than {ENTRIES} files and folders");
                return Err(Status::resource_exhausted(message));
            }
            let place = self.folder.path().join(relative);
            self.open = Some((piece.path.clone(), create(&piece.path, &place)?));
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(&piece.content)
                .map_err(|error| disk(&error))?;
        }
        Ok(())
    }
}

fn create(path: &str, place: &Path) -> Result<File, Status> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(|_| in_the_way(path))?;
    }
    let created = OpenOptions::new().write(true).create_new(true).open(place);
    created.map_err(|_| in_the_way(path))
}

/// The path, if it stays within its folder.
fn relative(path: &str) -> Result<PathBuf, Status> {
    let refuse = |why: &str| {
        let shown = shown(path, 200);
        Err(Status::invalid_argument(format!(
            "\"{shown}\" is no path of a pack: {why}"
        )))
    };
    if path.len() > PATH_BYTES {
        return refuse("it is too long");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("it has characters that no path of a pack has");
    }
    if path
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return refuse("it has to be relative, without empty parts, . and ..");
    }
    let parsed = PathBuf::from(path);
    let plain = parsed
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if !plain || parsed.components().count() > DEPTH {
        return refuse("it leads out of the pack, or too deep");
    }
    Ok(parsed)
}

fn in_the_way(path: &str) -> Status {
    let path = shown(path, 200);
    Status::invalid_argument(format!(
        "\"{path}\" comes twice, or is both a file and a folder, or cannot be made here"
    ))
}

fn disk(error: &std::io::Error) -> Status {
    tracing::error!(%error, "a pack cannot be written to disk");
    Status::internal("the coordinator cannot write the pack to its disk: see its log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(path: &str, content: &str) -> PackFile {
        PackFile {
            path: path.to_owned(),
            content: content.as_bytes().to_vec(),
        }
    }

    #[test]
    fn pieces_become_files() {
        let mut upload = Upload::begin(1000).expect("a folder");
        for (path, content) in [
            ("pack.toml", "name = "),
            ("pack.toml", "\"x\""),
            ("base/migrations/2.0/pre-a.sql", "SELECT 1;"),
        ] {
            upload.take(&piece(path, content)).expect("it is in order");
        }
        let read =
            |path: &str| fs::read_to_string(upload.folder().join(path)).expect("it is there");
        assert_eq!(read("pack.toml"), "name = \"x\"");
        assert_eq!(read("base/migrations/2.0/pre-a.sql"), "SELECT 1;");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(PATH_BYTES + 1);
        let deep = "x/".repeat(DEPTH) + "x";
        let bad = [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/.",
            "a\0b",
            "a\nb",
            "..\\x",
            "a/",
            &long,
            &deep,
        ];
        for path in bad {
            let mut upload = Upload::begin(10_000).expect("a folder");
            let refused = upload.take(&piece(path, "x")).expect_err(path);
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{path}");
            let left = fs::read_dir(upload.folder()).expect("it is there").count();
            assert_eq!(left, 0, "{path}");
        }
    }

    #[test]
    fn what_comes_twice_and_what_is_too_large_is_refused() {
        let mut upload = Upload::begin(16).expect("a folder");
        upload.take(&piece("a", "12345")).expect("it is in order");
        upload.take(&piece("b", "1")).expect("it is in order");
        assert!(upload.take(&piece("a", "1")).is_err(), "it comes twice");
        assert!(upload.take(&piece("b/c", "1")).is_err(), "b is a file");
        let refused = upload
            .take(&piece("d", "12345678"))
            .expect_err("it is too large");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }
}
