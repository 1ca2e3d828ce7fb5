//! The files of a pack, as they travel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use upshift_proto::v1::PackFile;

use super::super::Failure;

/// Pieces that files travel in.
const PIECE_BYTES: usize = 256 * 1024;

/// All files below a folder, but for hidden ones, by their paths there.
pub(in crate::command) fn collect(root: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    descend(root, root, &mut files)?;
    Ok(files)
}

/// A file in pieces.
pub(in crate::command) fn pieces(path: &str, content: &[u8]) -> Vec<PackFile> {
    let mut pieces: Vec<&[u8]> = content.chunks(PIECE_BYTES).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let pieces = pieces.into_iter().map(|piece| PackFile {
        path: path.to_owned(),
        content: piece.to_vec(),
    });
    pieces.collect()
}

fn descend(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let cannot = |path: &Path, error: &std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()))
    };
    let entries = fs::read_dir(folder).map_err(|error| cannot(folder, &error))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| cannot(folder, &error))?.path());
    }
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            descend(root, &path, files)?;
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let Some(name) = relative.to_str() else {
            return Err(Failure::usage(format!(
                "the name of {} is not UTF-8: it cannot travel",
                path.display()
            )));
        };
        let content = fs::read(&path).map_err(|error| cannot(&path, &error))?;
        files.push((name.to_owned(), content));
    }
    Ok(())
}
