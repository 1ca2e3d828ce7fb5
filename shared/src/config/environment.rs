//! What the process's environment says: PG* variables, the home directory, the user's name. Captured
//! once, so that tests can give another one.

use std::{collections::HashMap, path::PathBuf};

use super::keyword::{self, Settings};

/// The environment, as far as configuration asks for it.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
    /// Where `~` is.
    pub(super) home: Option<PathBuf>,
    /// The operating system's name of the user.
    pub(super) user: Option<String>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn capture() -> Self {
        Self {
            // Variables that are not UTF-8 cannot be one of ours.
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            home: std::env::home_dir(),
            // The driver asks the operating system; PGUSER, which it prefers, is equal by then.
            user: Some(
                sqlx::postgres::PgConnectOptions::new_without_pgpass()
                    .get_username()
                    .to_owned(),
            ),
        }
    }

    /// An environment for tests.
    #[must_use]
    pub fn of(home: Option<PathBuf>, user: &str, variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            variables: variables.iter().map(own).collect(),
            home,
            user: Some(user.to_owned()),
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The PG* variables that are set.
    pub(super) fn settings(&self) -> Settings {
        keyword::variables()
            .filter_map(|(name, variable)| Some((name, self.variable(variable)?.to_owned())))
            .collect()
    }

    /// A file below the home directory.
    pub(super) fn home_file(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path))
    }
}

/// Without values: some of them are secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("home", &self.home)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
