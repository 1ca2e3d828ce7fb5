//! Which points an undisturbed process passes: the lines that `UPSHIFT_FAILPOINT_TRACE` writes.

use std::{fmt, path::Path};

use anyhow::{Context, Result};

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To `prepared`.
    There,
    /// To `rolled_back`.
    Back,
    /// From `prepared` to `committed`.
    Commit,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::There, Self::Back, Self::Commit];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::There => "there",
            Self::Back => "back",
            Self::Commit => "commit",
        })
    }
}

/// A point that somebody passes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pass {
    /// One of the failpoints.
    pub point: String,
    /// The kind of operator; `None` where no task is concerned.
    pub kind: Option<String>,
}

impl fmt::Display for Pass {
    /// As `UPSHIFT_FAILPOINT` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{}@{kind}", self.point),
            None => f.write_str(&self.point),
        }
    }
}

/// What a trace says: each point and kind once, in the order in which they were first passed.
pub(super) fn read(file: &Path) -> Result<Vec<Pass>> {
    let text = std::fs::read_to_string(file).context("the trace of failpoints")?;
    let mut passes: Vec<Pass> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('\t');
        let point = words.next().context("a point")?.to_owned();
        let kind = words.nth(1).context("a kind")?;
        let kind = (kind != "-").then(|| kind.to_owned());
        let pass = Pass { point, kind };
        if !passes.contains(&pass) {
            passes.push(pass);
        }
    }
    Ok(passes)
}
