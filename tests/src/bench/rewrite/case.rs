//! The cases: which database, which pack, which ways, and what is wanted of them.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use tempfile::TempDir;

use super::{Options, by_hand::Script, folder, journal};
use crate::{
    harness::{Database, repository},
    odoo,
};

/// One case, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Three UPDATEs of a journal's lines, one of which joins the entries.
    Base,
    /// One UPDATE of a tenth of the lines: the right choice is in place.
    TenPercent,
    /// As base, with twenty tables that have a foreign key to the lines.
    Incoming,
    /// As base, with 4 kB of text in a fifth of the lines.
    Toast,
    /// Eight UPDATEs of four large tables of a real Odoo database (where its dump is at hand).
    Odoo,
    /// All of them.
    All,
}

/// One way to do the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// The files by `psql`, one statement after another.
    Sequential,
    /// Upshift, each statement in place in a pass of its own.
    Chunked,
    /// The expert's script.
    ByHand,
    /// Upshift, each statement forced into a shadow pass: shows whether not choosing it was right.
    Shadow,
    /// Upshift as it chooses.
    Upshift,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Chunked => "chunked in place",
            Self::ByHand => "hand-tuned",
            Self::Shadow => "shadow, forced",
            Self::Upshift => "upshift",
        }
    }
}

/// The ratios that are wanted, where a case has any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// Upshift takes at most so many times what the expert's script takes.
    pub(super) by_hand: Option<f64>,
    /// One statement after another takes at least so many times what Upshift takes.
    pub(super) sequential: Option<f64>,
    /// Chunks in place take at least so many times what Upshift takes.
    pub(super) chunked: Option<f64>,
    /// Rollback takes less than so many seconds.
    pub(super) rollback: Option<f64>,
}

/// A case that is ready to be measured.
#[derive(Debug)]
pub(super) struct Prepared {
    /// As the command line names it.
    pub(super) name: &'static str,
    /// What it is, with its size.
    pub(super) title: String,
    /// The database before the upgrade; what is measured runs on copies.
    pub(super) start: Database,
    /// The pack as it was written.
    pub(super) pack: PathBuf,
    /// The same with `strategy = in_place` on each UPDATE.
    pub(super) chunked: PathBuf,
    /// The same with `strategy = shadow` on each UPDATE.
    pub(super) shadow: PathBuf,
    /// The expert's script, where somebody wrote one.
    pub(super) script: Option<Script>,
    pub(super) ways: Vec<Way>,
    pub(super) wanted: Wanted,
    /// Holds the packs that were written for this.
    _folder: TempDir,
}

const WHOLE_TABLE: Wanted = Wanted {
    by_hand: Some(1.15),
    sequential: Some(16.0),
    chunked: Some(11.0),
    rollback: Some(1.0),
};

const BY_HAND: &[Way] = &[Way::Sequential, Way::Chunked, Way::ByHand, Way::Upshift];

impl Case {
    /// These cases, `all` unfolded.
    pub(super) fn several(cases: &[Self]) -> Vec<Self> {
        if cases.contains(&Self::All) {
            return vec![
                Self::Base,
                Self::TenPercent,
                Self::Incoming,
                Self::Toast,
                Self::Odoo,
            ];
        }
        cases.to_vec()
    }

    /// Makes its database and packs; `None` where what it needs is not at hand.
    pub(super) async fn prepare(self, options: &Options) -> Result<Option<Prepared>> {
        let rows = options.rows.unwrap_or(match self {
            Self::Toast => 600_000,
            _ => 3_000_000,
        });
        let size = journal::Size {
            rows,
            wide: if self == Self::Toast { 20 } else { 0 },
            linked: if self == Self::Incoming { 20 } else { 0 },
        };
        let (name, what, wanted) = match self {
            Self::Base | Self::All => ("base", "three UPDATEs of every row", WHOLE_TABLE),
            Self::TenPercent => (
                "ten-percent",
                "one UPDATE of a tenth of the rows",
                Wanted::default(),
            ),
            Self::Incoming => (
                "incoming",
                "three UPDATEs of every row, 20 foreign keys to it",
                Wanted::default(),
            ),
            Self::Toast => (
                "toast",
                "three UPDATEs of every row, 4 kB of text in a fifth of them",
                Wanted::default(),
            ),
            Self::Odoo => return prepare_odoo(options.scale).await,
        };
        let folder = tempfile::tempdir()?;
        let one = self == Self::TenPercent;
        let pack = journal::write_pack(folder.path(), one)?;
        let mut ways = BY_HAND.to_vec();
        if one {
            ways.insert(3, Way::Shadow);
        }
        Ok(Some(Prepared {
            name,
            title: format!("{what} ({} rows)", grouped(rows)),
            start: journal::create(size)?,
            chunked: folder::with_directive(&pack, &folder.path().join("chunked"), "in_place")?,
            shadow: folder::with_directive(&pack, &folder.path().join("shadow"), "shadow")?,
            pack,
            script: Some(if one {
                Script::one_update(rows)
            } else {
                Script::whole_table(size.linked)
            }),
            ways,
            wanted,
            _folder: folder,
        }))
    }
}

async fn prepare_odoo(scale: u32) -> Result<Option<Prepared>> {
    let Some(start) = odoo::inflated(scale).await? else {
        return Ok(None);
    };
    // As a database in use is: autovacuum would come to it in the middle of a measurement.
    start.psql_as_superuser("VACUUM ANALYZE")?;
    let folder = tempfile::tempdir()?;
    let pack = repository().join("tests/packs/odoo_rewrite");
    let items = start.psql("SELECT count(*) FROM account_move_line")?;
    Ok(Some(Prepared {
        name: "odoo",
        title: format!(
            "Odoo 17, eight UPDATEs of four tables ({} journal items)",
            grouped(items.trim().parse()?)
        ),
        start,
        chunked: folder::with_directive(&pack, &folder.path().join("chunked"), "in_place")?,
        shadow: folder::with_directive(&pack, &folder.path().join("shadow"), "shadow")?,
        pack,
        script: None,
        ways: vec![Way::Sequential, Way::Chunked, Way::Upshift],
        wanted: Wanted::default(),
        _folder: folder,
    }))
}

/// `3 000 000`
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
