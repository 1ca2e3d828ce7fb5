//! What a case is, and how its pack is written to disk and read.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a fault of its own set-up may panic"
)]

use std::{fs, path::Path};

use tempfile::TempDir;
use upshift_shared::{Error, pack};

/// A bad pack.
pub(crate) struct Case {
    /// What is bad about it.
    pub(crate) name: &'static str,
    /// Path and content. `pack.toml` and `a/module.toml` are there unless a case has its own.
    pub(crate) files: &'static [(&'static str, &'static [u8])],
    /// `file:line:column: message`, by place.
    pub(crate) expected: &'static [&'static str],
}

/// The script that most cases are about.
pub(crate) const SCRIPT: &str = "a/migrations/1.1/pre-a.sql";

/// Writes a pack into a new folder.
pub(crate) fn write(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("pack.toml", b"name = \"p\"\n");
    put("a/module.toml", b"version = \"1.1\"\n");
    for (path, content) in files {
        put(path, content);
    }
    folder
}

/// What is complained of.
pub(crate) fn complaints(files: &[(&str, &[u8])]) -> Vec<String> {
    complaints_in(write(files).path())
}

/// What is complained of in a folder.
pub(crate) fn complaints_in(root: &Path) -> Vec<String> {
    match pack::load(root) {
        Ok(_) => Vec::new(),
        Err(Error::Pack(complaints)) => complaints
            .into_iter()
            .map(|c| format!("{}: {}", c.location, c.message))
            .collect(),
        Err(other) => vec![other.to_string()],
    }
}
