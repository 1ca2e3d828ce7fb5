//! Packs that a test writes itself.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder with these files, each by its path within it; it goes with the value.
///
/// # Errors
/// When the file system says no.
pub fn pack(files: &[(&str, &str)]) -> Result<TempDir> {
    let folder = TempDir::new()?;
    for (path, text) in files {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(file, text)?;
    }
    Ok(folder)
}
