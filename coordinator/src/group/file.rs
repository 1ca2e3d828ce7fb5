//! The file that names the databases of a group: TOML, one `[[member]]` each.
//!
//! ```toml
//! home = "main"               # whose ledger keeps the decisions [default: the first]
//!
//! [[member]]
//! name = "main"               # an entry of upshift.toml, unless `database` says otherwise
//!
//! [[member]]
//! name = "archive"
//! database = "host=db2 dbname=archive"   # or a URL, or another entry's name; no password here
//! pack = "packs/archive"      # beside this file [default: the pack of the command line]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use upshift_shared::{Error, Result, suggest::did_you_mean};

/// The file, read and checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupFile {
    /// The database whose ledger keeps the decisions.
    #[serde(default)]
    pub home: String,
    /// The databases.
    #[serde(rename = "member", default)]
    pub members: Vec<Entry>,
}

/// A database of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What the group calls it.
    pub name: String,
    /// What `--database` would say.
    pub database: Option<String>,
    /// The pack's folder, where it is not that of the command line.
    pub pack: Option<PathBuf>,
}

impl GroupFile {
    /// Reads it; folders of packs are then found from where the file lies.
    ///
    /// # Errors
    /// [`Error::Config`] with file, line and what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |message: String| Error::Config(format!("{}: {message}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut file = Self::parse(&text).map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for entry in &mut file.members {
            entry.pack = entry.pack.as_ref().map(|pack| folder.join(pack));
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut file: Self =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let names = || file.members.iter().map(|entry| entry.name.as_str());
        let (Some(first), true) = (names().next(), file.members.len() > 1) else {
            return Err(
                "a group has two databases or more: write a [[member]] with a name for each"
                    .to_owned(),
            );
        };
        for (place, name) in names().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
                return Err(format!(
                    "\"{name}\" is no name for a member: use up to 63 letters, digits, - _ and ."
                ));
            }
            if names().take(place).any(|other| other == name) {
                return Err(format!("two members are called \"{name}\""));
            }
        }
        if file.home.is_empty() {
            file.home = first.to_owned();
        } else if !names().any(|name| name == file.home) {
            let near = did_you_mean(&file.home, names());
            return Err(format!("home = \"{}\" is no member{near}", file.home));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let two = "[[member]]\nname = \"a\"\n[[member]]\nname = \"b\"\npack = \"p\"\n";
        let file = GroupFile::parse(two).expect("it is right");
        assert_eq!(file.home, "a");
        assert_eq!(file.members[1].pack.as_deref(), Some(Path::new("p")));
        for (text, said) in [
            ("[[member]]\nname = \"a\"\n", "two databases or more"),
            ("", "two databases or more"),
            (
                "[[member]]\nname = \"a\"\n[[member]]\nname = \"a\"\n",
                "two members",
            ),
            (
                "[[member]]\nname = \"a b\"\n[[member]]\nname = \"c\"\n",
                "is no name",
            ),
            ("[[member]]\nnam = \"a\"\n", "line 2"),
        ] {
            let error = GroupFile::parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        let error = GroupFile::parse(&format!("home = \"bb\"\n{two}")).expect_err("no such member");
        assert!(error.contains("did you mean \"b\""), "{error}");
    }
}
