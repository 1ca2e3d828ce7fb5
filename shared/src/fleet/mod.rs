//! `fleet.toml`: many databases upgraded by one order, in waves. Here it is data; who finds the
//! databases and who conducts them is the coordinator's business.

mod files;
mod parse;
mod pattern;
mod policy;
#[cfg(test)]
mod tests;
mod value;
mod wave;
mod window;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use parse::parse_members_file;
pub use pattern::Pattern;
pub use policy::{OnFailure, StopAfter, Then};
pub use wave::{Share, Wave};
pub use window::{AtEnd, Weekday, Window};

/// The labels of a database.
pub type Labels = BTreeMap<String, String>;

/// What `fleet.toml` says: the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFile {
    /// `name`: letters, digits, `-` and `_`; the state of the fleet is kept under it.
    pub name: String,
    /// `pack`: its folder, beside the file where it is relative.
    pub pack: PathBuf,
    /// `[[members]]`: where databases are found.
    pub members: Vec<Members>,
    /// `exclude`: databases that are left alone though `members` finds them.
    pub exclude: Vec<Pattern>,
    /// `[[labels]]`: labels for databases by their names.
    pub labels: Vec<LabelRule>,
    /// `[[waves]]`; one of all databases where the file has none. The last one takes the rest.
    pub waves: Vec<Wave>,
    /// `[caps]`
    pub caps: Caps,
    /// `order`: which database of a wave begins first.
    pub order: Order,
    /// `[window]`
    pub window: Option<Window>,
    /// `commit`: when runs are committed.
    pub commit: CommitPolicy,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `patience`: a database that is away for so long has failed, and keeps no place among those that
    /// are worked on.
    pub patience: Duration,
}

impl FleetFile {
    /// How long a database may be away where the file does not say: about as long as a server takes to
    /// start again, or a standby to be promoted.
    pub const PATIENCE: Duration = Duration::from_secs(90);
}

/// `[[members]]`: databases, and the labels that all of them have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Where they are found.
    pub source: MembersSource,
    /// `labels`
    pub labels: Labels,
}

/// Where members are found. A server is an entry `[databases.NAME]` of `upshift.toml`: its connection
/// settings and credentials reach every database of that server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembersSource {
    /// `databases = ["a", "b"]` with `server = "db1"`: databases of a server; without `server`:
    /// members by their whole names ([`MemberName`]).
    Listed(Vec<MemberName>),
    /// `servers = ["db1", "db2"]` and `like = ["tenant_*"]`: all databases of these servers that fit
    /// one of the patterns and accept connections, templates excepted.
    Like {
        /// Entries of `upshift.toml`.
        servers: Vec<String>,
        /// Patterns of database names.
        like: Vec<Pattern>,
    },
    /// `server = "registry"` and `query = "SELECT …"`: a column `database`; optional ones are
    /// `server` (an entry; else the databases are on the server that is asked) and `label_…`,
    /// labels by these names.
    Query {
        /// The entry that is asked.
        server: String,
        /// What it is asked.
        query: String,
    },
    /// `file = "tenants.txt"`, beside `fleet.toml` where it is relative: see [`parse_members_file`].
    File {
        /// The file.
        path: PathBuf,
        /// `server`: where lines that name a database alone find it.
        server: Option<String>,
    },
}

/// How a member is called, everywhere: `ENTRY` for the database of an entry `[databases.ENTRY]` of
/// `upshift.toml`, `ENTRY/DATABASE` for another database reached by the settings of that entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct MemberName {
    /// The entry.
    pub entry: String,
    /// The database, where it is not the entry's own.
    pub database: Option<String>,
}

impl MemberName {
    /// A database that is reached by the settings of an entry.
    #[must_use]
    pub fn on(entry: &str, database: &str) -> Self {
        Self {
            entry: entry.to_owned(),
            database: Some(database.to_owned()),
        }
    }

    /// What patterns without a slash are compared with: the database, or the entry that stands for it.
    #[must_use]
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.entry)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Some(database) => write!(f, "{}/{database}", self.entry),
            None => f.write_str(&self.entry),
        }
    }
}

/// The first slash parts entry and database: databases may have slashes in their names.
impl From<String> for MemberName {
    fn from(name: String) -> Self {
        match name.split_once('/') {
            Some((entry, database)) => Self::on(entry, database),
            None => Self {
                entry: name,
                database: None,
            },
        }
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> Self {
        name.to_string()
    }
}

/// `[[labels]]`: labels for the members that fit one of the patterns. A later rule overrides an
/// earlier one, and any rule overrides what the source of a member says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRule {
    /// `match`
    pub patterns: Vec<Pattern>,
    /// `set`
    pub set: Labels,
}

/// `[caps]`: databases that are worked on at once, their hooks, commits and ways back included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// `max_databases`: in all; [`Caps::DATABASES`] where the file does not say.
    pub max_databases: Option<u32>,
    /// `max_databases_per_server`
    pub per_server: Option<u32>,
    /// `[caps.servers]`: of single servers, by entry, or as `HOST:PORT`.
    pub servers: BTreeMap<String, u32>,
    /// `connections`: sessions on a server that look at its databases at once, to plan or to see
    /// how they stand; those of runs are not among them.
    pub connections: Option<u32>,
}

impl Caps {
    /// Databases at once where the file does not say: what a coordinator drives by default.
    pub const DATABASES: u32 = 100;
    /// Sessions that look at databases of a server at once, where the file does not say.
    pub const CONNECTIONS: u32 = 4;

    /// Sessions that look at databases of a server at once.
    #[must_use]
    pub fn looking(&self) -> u32 {
        self.connections.unwrap_or(Self::CONNECTIONS)
    }

    /// Databases at once on all servers.
    #[must_use]
    pub fn in_all(&self) -> u32 {
        self.max_databases.unwrap_or(Self::DATABASES)
    }

    /// Databases at once on a server, where a member of it is reached by that entry.
    #[must_use]
    pub fn of_server(&self, server: &str, entry: &str) -> u32 {
        let own = [server, entry]
            .into_iter()
            .filter_map(|name| self.servers.get(name));
        let own = own.min().copied();
        own.or(self.per_server).unwrap_or(u32::MAX)
    }
}

/// `order`: which database of a wave begins first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Those that are expected to take longest: a long one that begins last makes everybody wait.
    #[default]
    LargeFirst,
    /// Those that are expected to take shortest: most of them are through early.
    SmallFirst,
    /// By name.
    ByName,
}

/// `commit`: when runs are committed, which closes the way back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitPolicy {
    /// Each as soon as it is prepared.
    AfterRun,
    /// All of a wave when it has ended within its policy and, where it asks for that, was approved.
    AfterWave,
    /// By `upshift fleet commit`.
    #[default]
    ByHand,
}

/// `[hooks]`: programs that run on the machine of the coordinator, around what is done to each
/// database. They have to be repeatable: who was killed meanwhile runs them again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the first thing is done to a database; where it fails nothing is.
    pub before: Option<Hook>,
    /// After the last, however that ended.
    pub after: Option<Hook>,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments. `{fleet}`, `{wave}`, `{member}`, `{server}`, `{database}` and
    /// `{outcome}` in them stand for what they say; the program finds the same in its environment, as
    /// `UPSHIFT_FLEET` and so on, beside libpq's variables. In the script of a shell (`sh -c`) they may
    /// not stand: a database's name would be run.
    pub command: Vec<String>,
    /// It is killed after so long, and has failed.
    pub timeout: Duration,
}

impl Hook {
    /// What may stand between braces in a command.
    pub const WORDS: [&'static str; 6] =
        ["fleet", "wave", "member", "server", "database", "outcome"];
}
