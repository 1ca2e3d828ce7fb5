//! From a pack on disk and a live database to a plan: the part that `plan` and `run` share.

mod estimates;
pub(super) mod stored;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use upshift_shared::{
    catalog::{self, Catalog},
    ids::StepId,
    ledger,
    pack::{self, Pack, Version},
    pg::PgConnection,
    plan::{Plan, Rates, Strategy},
};

use super::{Failure, snapshotting::SnapshotArgument};
use crate::compile::{self, Options, Passes};
pub(super) use estimates::Estimate;

/// Which pack, and how it is ordered.
#[derive(Debug, Clone, Args)]
pub(super) struct PackArguments {
    /// The pack's folder: the one that holds pack.toml
    #[arg(value_name = "PACK")]
    pub(super) pack: PathBuf,
    /// How steps are ordered
    #[arg(long, value_enum, default_value_t = StrategyArgument::Dataflow)]
    pub(super) strategy: StrategyArgument,
    /// Whether statements on a table become one pass that builds it anew
    #[arg(long, value_enum, default_value_t = PassesArgument::ByCost)]
    pub(super) passes: PassesArgument,
    /// Megabytes of disk that tables built anew may take beside the old ones; where they would take
    /// more, rows are changed in place [default: any]
    #[arg(long, value_name = "MB")]
    pub(super) disk_budget: Option<u64>,
    /// Before what cannot be undone, a snapshot of the whole database, which rollback restores
    /// [default: kind of [snapshot] in upshift.toml, else none]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) snapshot: Option<SnapshotArgument>,
}

impl PackArguments {
    /// What the compiler is asked for.
    pub(super) fn options(&self) -> Options {
        Options {
            passes: match self.passes {
                PassesArgument::ByCost => Passes::ByCost,
                PassesArgument::Shadow => Passes::Shadow,
                PassesArgument::InPlace => Passes::InPlace,
            },
            disk_budget: self
                .disk_budget
                .map(|megabytes| megabytes.saturating_mul(1 << 20)),
            ..Options::from(Strategy::from(self.strategy))
        }
    }
}

/// `--passes`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PassesArgument {
    /// Where that is cheaper than changing rows in place
    ByCost,
    /// Wherever it can be done
    Shadow,
    /// Nowhere
    InPlace,
}

/// `--strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StrategyArgument {
    /// In parallel wherever statements do not depend on each other
    Dataflow,
    /// As dataflow, and the module rules' order as well
    Strict,
    /// As psql would: one statement after another, nothing kept for a way back
    Sequential,
}

impl From<StrategyArgument> for Strategy {
    fn from(argument: StrategyArgument) -> Self {
        match argument {
            StrategyArgument::Dataflow => Self::Dataflow,
            StrategyArgument::Strict => Self::Strict,
            StrategyArgument::Sequential => Self::Sequential,
        }
    }
}

/// What the compiler's stages begin with.
pub(super) struct Sources {
    pub(super) pack: Pack,
    pub(super) installed: BTreeMap<String, Version>,
    pub(super) catalog: Catalog,
    /// Rows that statements on large tables touch, as PostgreSQL's planner has it.
    pub(super) estimates: BTreeMap<StepId, u64>,
    /// What work costs on the server.
    pub(super) rates: Rates,
}

impl Sources {
    /// What the compiler is asked for.
    pub(super) fn options(&self, arguments: &PackArguments) -> Options {
        Options {
            estimates: self.estimates.clone(),
            rates: self.rates,
            ..arguments.options()
        }
    }
}

/// Reads the pack; nothing else is touched when it is wrong.
pub(super) fn load(path: &Path) -> Result<Pack, Failure> {
    Ok(pack::load(path)?)
}

/// What the compiler needs from one database, beside the pack.
pub(super) struct Read {
    pub(super) installed: BTreeMap<String, Version>,
    pub(super) catalog: Catalog,
    /// As PostgreSQL's planner has it, for statements on large tables.
    pub(super) estimates: BTreeMap<StepId, Estimate>,
    pub(super) rates: Rates,
}

impl Read {
    /// Asks the database for what compiling with these options needs.
    pub(super) async fn of(
        conn: &mut PgConnection,
        pack: &Pack,
        options: &Options,
    ) -> Result<Self, Failure> {
        let passes = |catalog: &Catalog| compile::analyse::may_build_anew(pack, catalog, options);
        let catalog = catalog::snapshot::read_for(conn, passes).await?;
        let installed =
            catalog::installed::installed(conn, &catalog, pack.installed.as_ref()).await?;
        // What is wrong with the pack, the compiler says.
        let estimates = match compile::resolve::resolve(pack, &installed) {
            Ok(resolved) => estimates::ask(conn, &catalog, &resolved).await,
            Err(_) => BTreeMap::new(),
        };
        let measured = ledger::rates::load(conn).await?;
        Ok(Self {
            rates: measured.map(|(rates, _)| rates).unwrap_or_default(),
            installed,
            catalog,
            estimates,
        })
    }
}

/// Reads what the compiler needs from the database.
pub(super) async fn read(
    conn: &mut PgConnection,
    pack: Pack,
    arguments: &PackArguments,
) -> Result<Sources, Failure> {
    let Read {
        installed,
        catalog,
        estimates,
        rates,
    } = Read::of(conn, &pack, &arguments.options()).await?;
    let rows = |(step, estimate): (StepId, Estimate)| (step, estimate.rows);
    Ok(Sources {
        pack,
        installed,
        catalog,
        estimates: estimates.into_iter().map(rows).collect(),
        rates,
    })
}

/// All stages.
pub(super) fn compile(sources: Sources, options: &Options) -> Result<Plan, Failure> {
    let Sources {
        pack,
        installed,
        catalog,
        ..
    } = sources;
    Ok(compile::compile(&pack, &installed, catalog, options)?)
}
