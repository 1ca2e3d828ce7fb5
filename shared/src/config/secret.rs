//! Where a secret comes from that does not stand in the configuration: a variable, a file, or a program's
//! output.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{connection::Secret, environment::Environment};
use crate::{Error, Result};

/// The variable in which systemd tells a service the folder of its credentials (systemd.exec(5),
/// `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where container engines put secrets, by default with mode 0444: nobody but the container sees them.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// `…_env`, `…_file` and `…_command` of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSource {
    /// The variable that holds it.
    pub env: Option<String>,
    /// The file whose first line it is: an absolute path, or the name of a credential that systemd gives
    /// to the service.
    pub file: Option<PathBuf>,
    /// The program that prints it, with its arguments.
    pub command: Option<Vec<String>>,
}

impl SecretSource {
    /// The secret; `None` where none is configured. `table` and `what` are for messages: `[cluster]`,
    /// `etcd_password`.
    ///
    /// # Errors
    /// Where it is not to be had. What the program printed is in no message.
    pub fn read(
        &self,
        table: &str,
        what: &str,
        environment: &Environment,
    ) -> Result<Option<Secret>> {
        if let Some(variable) = &self.env {
            return match environment.variable(variable) {
                Some(value) => Ok(Some(Secret::new(value.to_owned()))),
                None => Err(Error::Config(format!(
                    "{table} takes its {what} from ${variable}, which is not set"
                ))),
            };
        }
        if let Some(file) = &self.file {
            return of_file(file, &format!("{table} {what}_file"), environment).map(Some);
        }
        let Some((program, arguments)) = self.command.as_ref().and_then(|c| c.split_first()) else {
            return Ok(None);
        };
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|source| Error::Io {
            context: format!("{table} {what}_command: cannot run {program}"),
            source,
        })?;
        // Neither its output nor its complaints: they may hold what it was to find.
        let text = String::from_utf8(output.stdout).unwrap_or_default();
        match first_line(&text) {
            Some(secret) if output.status.success() => Ok(Some(secret)),
            _ => Err(Error::Config(format!(
                "{table} {what}_command: {program} gave no {what} ({})",
                output.status
            ))),
        }
    }
}

fn of_file(path: &Path, key: &str, environment: &Environment) -> Result<Secret> {
    let path = if path.is_absolute() {
        path.to_owned()
    } else if let Some(folder) = environment.variable(CREDENTIALS) {
        Path::new(folder).join(path)
    } else {
        return Err(Error::Config(format!(
            "{key}: {} is not an absolute path, and there are no credentials of a systemd service \
             (${CREDENTIALS}) among which it would be looked for",
            path.display()
        )));
    };
    let unreadable = |source| Error::Io {
        context: format!("{key}: cannot read {}", path.display()),
        source,
    };
    let mode = fs::metadata(&path)
        .map_err(unreadable)?
        .permissions()
        .mode();
    // Its group may read it: volumes of Kubernetes and credentials of systemd are handed over so.
    if mode & 0o037 != 0 && !path.starts_with(CONTAINER_SECRETS) {
        return Err(Error::Config(format!(
            "{key}: others may read or change {0}: chmod 0400 {0}",
            path.display()
        )));
    }
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    first_line(&text).ok_or_else(|| {
        Error::Config(format!(
            "{key}: the first line of {} is empty: write the secret there",
            path.display()
        ))
    })
}

fn first_line(text: &str) -> Option<Secret> {
    let line = text.lines().next().filter(|line| !line.is_empty());
    line.map(|line| Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a source gives, with the folder it lies in as `DIR`.
    fn read(source: &SecretSource, folder: &Path, credentials: bool) -> String {
        let folder = folder.display().to_string();
        let variables = [(CREDENTIALS, folder.as_str())];
        let variables = if credentials { &variables[..] } else { &[] };
        let environment = Environment::of(None, "me", variables);
        let said = match source.read("[databases.erp]", "password", &environment) {
            Ok(secret) => secret.expect("a source is named").reveal().to_owned(),
            Err(error) => format!("error: {error}"),
        };
        said.replace(&folder, "DIR")
    }

    fn file(path: impl Into<PathBuf>) -> SecretSource {
        SecretSource {
            file: Some(path.into()),
            ..SecretSource::default()
        }
    }

    #[test]
    fn a_file_tells_its_first_line_where_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, mode) in [
            ("good", "s3cr:t\\ \nrest\n", 0o400),
            ("group", "grouped", 0o440),
            ("open", "s3cret", 0o444),
            ("changed", "s3cret", 0o660),
            ("empty", "\ns3cret\n", 0o400),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let key = "error: [databases.erp] password_file:";
        let refused = format!("{key} others may read or change");
        for (name, credentials, expected) in [
            ("good", true, "s3cr:t\\ ".to_owned()),
            ("group", true, "grouped".to_owned()),
            (
                "open",
                true,
                format!("{refused} DIR/open: chmod 0400 DIR/open"),
            ),
            (
                "changed",
                true,
                format!("{refused} DIR/changed: chmod 0400 DIR/changed"),
            ),
            (
                "empty",
                true,
                format!("{key} the first line of DIR/empty is empty: write the secret there"),
            ),
            ("absent", true, format!("{key} cannot read DIR/absent")),
            (
                "good",
                false,
                format!(
                    "{key} good is not an absolute path, and there are no credentials of a systemd \
                     service ($CREDENTIALS_DIRECTORY) among which it would be looked for"
                ),
            ),
        ] {
            let said = read(&file(name), folder.path(), credentials);
            assert!(said.starts_with(&expected), "{name}: {said}");
        }
        let absolute = file(folder.path().join("good"));
        assert_eq!(read(&absolute, folder.path(), false), "s3cr:t\\ ");
    }

    #[test]
    fn a_program_tells_the_first_line_that_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        let failed = "error: [databases.erp] password_command: sh gave no password";
        for (script, expected) in [
            ("printf 'one\\ntwo\\n'", "one".to_owned()),
            ("echo one; exit 3", format!("{failed} (exit status: 3)")),
            ("echo s3cret >&2", format!("{failed} (exit status: 0)")),
        ] {
            let source = SecretSource {
                command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
                ..SecretSource::default()
            };
            assert_eq!(read(&source, folder.path(), false), expected, "{script}");
        }
    }
}
