//! The files of a dump, for nobody but their owner: begun under a name of their own, whole under the
//! dump's, removed.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use upshift_shared::{Error, Result};

/// How the name of a half ends.
const HALF: &str = ".part";
/// A pg_dump whose parent was killed may put a file into what is being removed, once for each of its jobs.
const REMOVE_ATTEMPTS: u32 = 5;

/// Where pg_dump writes to.
pub(super) fn data(place: &Path) -> PathBuf {
    place.join("data")
}

/// A new half, removed when dropped.
pub(super) fn begin(place: &Path) -> Result<TempDir> {
    let (directory, name) = parts(place);
    tempfile::Builder::new()
        .prefix(&format!("{name}."))
        .suffix(HALF)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(directory)
        .map_err(at("making a directory in", directory))
}

/// Makes the half the dump. (pg_dump has seen to it that what it wrote is on disk.)
pub(super) fn finish(half: TempDir, place: &Path) -> Result<()> {
    let (directory, _) = parts(place);
    let data = data(half.path());
    let written = || -> io::Result<()> {
        for entry in fs::read_dir(&data)? {
            fs::set_permissions(entry?.path(), Permissions::from_mode(0o600))?;
        }
        File::open(half.path())?.sync_all()
    };
    written().map_err(at("completing the dump in", &data))?;
    fs::rename(half.path(), place).map_err(at("giving the dump its name,", place))?;
    // It has another name now: there is nothing to remove.
    let _renamed = half.keep();
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(at("writing", directory))
}

/// Removes the dump, and halves of it. Not there is fine.
pub(super) fn remove(place: &Path) -> Result<()> {
    let (directory, name) = parts(place);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at("looking for dumps in", directory))?,
    };
    for entry in entries {
        let entry = entry.map_err(at("looking for dumps in", directory))?;
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let half = found
            .strip_prefix(&name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && rest.ends_with(HALF));
        if half {
            remove_tree(&entry.path()).map_err(at("removing", &entry.path()))?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let mut removed = fs::remove_dir_all(path);
    for _ in 1..REMOVE_ATTEMPTS {
        match &removed {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                removed = fs::remove_dir_all(path);
            }
            _ => break,
        }
    }
    removed
}

/// The configured directory, and the dump's name in it.
fn parts(place: &Path) -> (&Path, String) {
    let name = place.file_name().unwrap_or_default();
    let directory = place.parent().unwrap_or(place);
    (directory, name.to_string_lossy().into_owned())
}

pub(super) fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let context = format!("{doing} {}", path.display());
    move |source| Error::Io { context, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_and_its_halves_are_removed_and_nothing_else() {
        let directory = TempDir::new().unwrap();
        let place = directory.path().join("shop_1");
        let half = begin(&place).unwrap();
        fs::create_dir(data(half.path())).unwrap();
        fs::write(data(half.path()).join("toc.dat"), "x").unwrap();
        finish(half, &place).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&data(&place).join("toc.dat")), 0o600);
        let _left = begin(&place).unwrap().keep();
        fs::create_dir(directory.path().join("shop_12")).unwrap();
        remove(&place).unwrap();
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().file_name(), "shop_12");
    }
}
