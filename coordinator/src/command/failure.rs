//! Failures of a command, and the exit codes that they become.

use upshift_shared::{Error, Retry};

use crate::compile::CompileError;

/// Characters of a message that says what somebody else has sent.
const TAME: usize = 2_000;

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
    /// Whether doing it again later may help, with nobody mending anything.
    passing: bool,
}

impl Failure {
    /// Exit code 1: it failed, or was stopped, and can be resumed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// Exit code 2: usage, configuration, or a bad pack.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// Exit code 3: the state of the database or run does not allow it.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(3, message)
    }

    /// Exit code 1, for a command whose output has said it all.
    #[must_use]
    pub fn silent_failure() -> Self {
        Self::new(1, "")
    }

    /// Exit code 2, for a command whose output has said it all.
    #[must_use]
    pub fn silent_usage() -> Self {
        Self::new(2, "")
    }

    /// Exit code 3, for a command whose output has said it all.
    #[must_use]
    pub fn silent_refusal() -> Self {
        Self::new(3, "")
    }

    /// The same, with what it happened to.
    #[must_use]
    pub(super) fn within(self, what: &str) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            passing: false,
        }
    }

    /// What is said of it.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether doing it again later may help, with nobody mending anything: a server that is away.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    /// The same, where doing it again later may help.
    #[must_use]
    pub(super) fn passing(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    /// The same in a message that fits an answer and a terminal, whatever stands in what it is about.
    #[must_use]
    pub(super) fn tamed(self) -> Self {
        let tame = |c: char| match c {
            '\n' => c,
            '\u{2028}' | '\u{2029}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        let message = self.message.chars().take(TAME).map(tame).collect();
        Self { message, ..self }
    }

    /// As a status of gRPC.
    pub(super) fn status(&self) -> tonic::Status {
        let code = match self.code {
            2 => tonic::Code::InvalidArgument,
            3 => tonic::Code::FailedPrecondition,
            _ if self.passing => tonic::Code::Unavailable,
            _ => tonic::Code::Aborted,
        };
        tonic::Status::new(code, self.message.clone())
    }

    /// Tells the user (and, with `json`, the program that reads standard output), and gives the exit
    /// code.
    #[must_use]
    pub fn report(&self, json: bool) -> u8 {
        if self.message.is_empty() {
            return self.code;
        }
        if json {
            let error = serde_json::json!({"error": self.message, "code": self.code});
            super::database::print_line(&error.to_string());
        }
        eprintln!("upshift: {}", self.message);
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Pack(_) | Error::Config(_) => 2,
            Error::Refused(_)
            | Error::BadValue { .. }
            | Error::Format(_)
            | Error::Fenced { .. } => 3,
            Error::Database { .. } | Error::Io { .. } | Error::NotLeading => 1,
        };
        // Whoever leads now can do it.
        let of_another = matches!(error, Error::NotLeading);
        Self {
            passing: of_another || matches!(error.retry(), Retry::Now | Retry::Later),
            ..Self::new(code, error.to_string())
        }
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_help() {
        for (failure, code) in [
            (Failure::from(Error::Config("x".into())), 2),
            (Failure::from(Error::Refused("x".into())), 3),
            (
                Failure::from(Error::Fenced {
                    held: 1,
                    current: 2,
                }),
                3,
            ),
            (Failure::from(CompileError::Whole("x".into())), 2),
            (Failure::failed("x"), 1),
        ] {
            assert_eq!(failure.code, code);
        }
    }
}
