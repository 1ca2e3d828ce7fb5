//! Newtype ids. Numbers are small and dense where the engine indexes by them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number_id!(
    /// A statement or typed operation of a migration: its position in the pack's sequential order
    /// (what `psql` would run first is 0).
    StepId(u32), "s"
);
number_id!(
    /// A node of the plan. Dense, in an order in which every task comes after what it depends on.
    TaskId(u32), "t"
);
number_id!(
    /// A unit of a task. Dense within its task, in the order in which units were cut.
    UnitId(u32), "u"
);
number_id!(
    /// The fencing number of a run: whoever takes a run over raises it first, and a worker that
    /// holds an older one can no longer write.
    Epoch(i64), "e"
);
number_id!(
    /// A relation within one [`crate::catalog::Catalog`], stable across renames.
    RelId(u32), "r"
);
number_id!(
    /// A column within its relation, stable across renames; `pg_attribute.attnum` for a column that
    /// the live database has.
    ColId(u16), "c"
);
number_id!(
    /// A worker session, as the coordinator numbers them.
    WorkerId(u32), "w"
);

/// A group of databases that one run moves together: a UUID of version 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(uuid::Uuid);

impl GroupId {
    /// A fresh id.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Its 32 hexadecimal digits, for names of prepared transactions.
    #[must_use]
    pub fn simple(&self) -> String {
        self.0.simple().to_string()
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One execution of a plan on one database: a UUID of version 7, so that runs sort by their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// A fresh id.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// The last 12 hexadecimal digits: enough to tell runs apart in names of kept objects and in
    /// `application_name`, which PostgreSQL cuts at 63 bytes.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.0.simple().to_string();
        text[text.len() - 12..].to_owned()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> std::result::Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}
