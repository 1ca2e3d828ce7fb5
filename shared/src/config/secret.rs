//! Where a secret comes from that does not stand in the configuration: a variable, or a program's output.

use std::process::Command;

use super::{connection::Secret, environment::Environment};
use crate::{Error, Result};

/// `…_env` and `…_command` of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSource {
    /// The variable that holds it.
    pub env: Option<String>,
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
        let Some((program, arguments)) = self.command.as_ref().and_then(|c| c.split_first()) else {
            return Ok(None);
        };
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|source| Error::Io {
            context: format!("{table} {what}_command: cannot run {program}"),
            source,
        })?;
        // Neither its output nor its complaints: they may hold what it was to find.
        let line = String::from_utf8(output.stdout).ok();
        let line = line.as_deref().and_then(|text| text.lines().next());
        match line {
            Some(line) if output.status.success() && !line.is_empty() => {
                Ok(Some(Secret::new(line.to_owned())))
            }
            _ => Err(Error::Config(format!(
                "{table} {what}_command: {program} gave no {what} ({})",
                output.status
            ))),
        }
    }
}
