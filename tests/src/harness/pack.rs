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

/// A pack of one module, `m`, that brings it from 1.0 to 2.0 by these scripts.
///
/// # Errors
/// When the file system says no.
pub fn one_module(scripts: &[(&str, &str)]) -> Result<TempDir> {
    let paths: Vec<String> = scripts
        .iter()
        .map(|(name, _)| format!("m/migrations/2.0/{name}"))
        .collect();
    let mut files = vec![
        (
            "pack.toml",
            "name = \"test\"\n[installed]\nquery = \"SELECT 'm', '1.0'\"\n",
        ),
        ("m/module.toml", "name = \"m\"\nversion = \"2.0\"\n"),
    ];
    let scripts = paths.iter().zip(scripts);
    files.extend(scripts.map(|(path, (_, text))| (path.as_str(), *text)));
    pack(&files)
}
