//! libpq's connection service file (PostgreSQL documentation, section 34.17).

use std::{fs, io, path::Path};

use super::{
    environment::Environment,
    keyword::{self, Settings},
};
use crate::{Error, Result, suggest::did_you_mean};

/// The settings of a service: from PGSERVICEFILE or `~/.pg_service.conf`, else from the system's
/// file in PGSYSCONFDIR.
pub(super) fn read(
    service: &str,
    file: Option<&str>,
    environment: &Environment,
) -> Result<Settings> {
    let user = match file {
        Some(file) => Some((file.into(), true)),
        None => environment
            .home_file(".pg_service.conf")
            .map(|path| (path, false)),
    };
    let system = environment
        .variable("PGSYSCONFDIR")
        .map(|directory| (Path::new(directory).join("pg_service.conf"), false));
    for (path, required) in [user, system].into_iter().flatten() {
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(settings) = find(&text, service, &path)? {
                    return Ok(settings);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && !required => {}
            Err(source) => {
                return Err(Error::Io {
                    context: format!("cannot read the service file {}", path.display()),
                    source,
                });
            }
        }
    }
    Err(Error::Config(format!(
        "the service \"{service}\" is defined neither in ~/.pg_service.conf nor in PGSERVICEFILE or \
         PGSYSCONFDIR"
    )))
}

fn find(text: &str, service: &str, path: &Path) -> Result<Option<Settings>> {
    let mut found = None;
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if inside {
                break;
            }
            inside = header.trim_end_matches(']') == service;
            if inside {
                found = Some(Settings::new());
            }
            continue;
        }
        let Some(settings) = found.as_mut() else {
            continue;
        };
        let (name, value) = line.split_once('=').ok_or_else(|| {
            Error::Config(format!("{}:{number}: write name=value", path.display()))
        })?;
        let keyword = keyword::find(name.trim()).filter(|name| !name.starts_with("service"));
        let keyword = keyword.ok_or_else(|| {
            Error::Config(format!(
                "{}:{number}: unknown connection parameter \"{}\"{}",
                path.display(),
                name.trim(),
                did_you_mean(name.trim(), keyword::names())
            ))
        })?;
        settings.insert(keyword, value.trim().to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_ends_where_the_next_begins() {
        let text = "# comment\n[a]\nhost=x\n\n[b]\nhost = y\ndbname=z\n[c]\nhost=q\n";
        let path = Path::new("services");
        let found = find(text, "b", path)
            .expect("it parses")
            .expect("it is there");
        assert_eq!(found.get("host").map(String::as_str), Some("y"));
        assert_eq!(found.get("dbname").map(String::as_str), Some("z"));
        assert_eq!(find(text, "d", path).expect("it parses"), None);
        let error = find("[a]\nhots=x\n", "a", path).expect_err("hots is unknown");
        assert_eq!(
            error.to_string(),
            "services:2: unknown connection parameter \"hots\" (did you mean \"host\"?)"
        );
    }
}
