//! libpq's password file (PostgreSQL documentation, section 34.16).

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::connection::Secret;

/// Whom a password is looked up for.
pub(super) struct Wanted<'a> {
    /// A host name, or `localhost` for the default socket directory.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that fits. A file that others may read is ignored, as libpq does,
/// and said so.
pub(super) fn find(path: &Path, wanted: &Wanted<'_>, warnings: &mut Vec<String>) -> Option<Secret> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        warnings.push(format!(
            "password file {} is not a plain file, and was ignored",
            path.display()
        ));
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        warnings.push(format!(
            "password file {0} may be read by others, and was ignored: chmod 0600 {0}",
            path.display()
        ));
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| matching(line, wanted))
}

fn matching(line: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for want in [wanted.host, &port, wanted.dbname, wanted.user] {
        let (field, behind, wild) = take_field(rest)?;
        if !wild && field != want {
            return None;
        }
        rest = behind;
    }
    // The last field ends with the line; colons in it are its own.
    Some(Secret::new(unescape(rest)))
}

/// A field up to its colon: its text, what is behind it, and whether it is `*`.
fn take_field(text: &str) -> Option<(String, &str, bool)> {
    let mut escaped = false;
    let end = text.char_indices().find_map(|(at, c)| {
        let is_end = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end.then_some(at)
    })?;
    let raw = &text[..end];
    Some((unescape(raw), &text[end + 1..], raw == "*"))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_as_in_libpq() {
        let wanted = Wanted {
            host: "h",
            port: 5432,
            dbname: "a:b",
            user: "u",
        };
        for (line, expected) in [
            (r"h:5432:a\:b:u:secret", Some("secret")),
            ("*:*:*:*:any", Some("any")),
            (r"*:*:*:u:with:colon\\", Some("with:colon\\")),
            ("h:5433:*:u:other", None),
            ("#*:*:*:*:comment", None),
            ("h:5432:*", None),
        ] {
            let found = matching(line, &wanted);
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "*:*:*:*:p\n").expect("it is ours");
        let wanted = Wanted {
            host: "h",
            port: 1,
            dbname: "d",
            user: "u",
        };
        let mut warnings = Vec::new();
        assert!(find(file.path(), &wanted, &mut warnings).is_some());
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert!(find(file.path(), &wanted, &mut warnings).is_none());
        assert_eq!(warnings.len(), 1);
    }
}
