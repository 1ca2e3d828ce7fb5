//! Which databases of a fleet share a plan: a plan is compiled once for all databases that are the same
//! to the compiler, and then only bears another database's name.
//!
//! The same to the compiler are two databases with the same catalog (in the order in which its relations
//! were made), the same steps to take (so the same versions of the modules that the pack has), the same
//! PostgreSQL major version and the same options. What differs between any two databases and decides no
//! more than what is *cheapest* (rows, bytes, what PostgreSQL's planner expects, measured rates) is told
//! to the compiler as a class, see `classes.rs`, and only of tables that the plan touches. So a plan is
//! a function of its variant's fingerprint: who happened to be compiled first does not matter, and what
//! each database ends as is what its own plan would have made of it.

mod classes;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use upshift_shared::{
    catalog::{Catalog, ConstraintKind},
    ids::RelId,
    pack::{Pack, Version},
    pg::PgConnection,
    plan::{Plan, PlannedModule, UndoKind, Warning},
};

use self::{
    classes::Sizes,
    weights::{Weight, Weights},
};
use super::super::{
    Failure,
    compiling::{Read, stored},
};
use crate::compile::{self, Options, SnapshotRequest, model::Resolved};

/// Plans that are kept for databases still to come. One that is needed again later is compiled again.
const KEPT_PLANS: usize = 64;

/// What a plan, or a catalog without its sizes, is known by.
type Digest = [u8; 32];

/// Compiles at most once, whoever asks, and lets the others wait for it.
type Once<T> = Arc<OnceCell<Result<T, Failure>>>;

/// The plans of a fleet.
pub(in crate::command) struct Variants {
    pack: Pack,
    /// What all databases have in common.
    options: Options,
    /// What the options have to say in each plan.
    remark: Option<Warning>,
    /// Whether plans are kept, or only what they cost.
    keep_plans: bool,
    structures: Mutex<HashMap<Digest, Once<Arc<Structure>>>>,
    variants: Mutex<HashMap<Digest, Once<Arc<Variant>>>>,
    /// Whose plans are kept, the oldest first.
    kept: Mutex<VecDeque<Digest>>,
    compilations: AtomicU64,
}

/// What is known of databases with the same catalog once one of them was compiled.
struct Structure {
    /// Relations whose sizes decide something.
    touched: BTreeSet<RelId>,
    /// The tables with foreign keys that point at each of these: they are validated anew where it is
    /// built anew.
    children: BTreeMap<RelId, BTreeSet<RelId>>,
}

/// A plan that databases share.
pub(in crate::command) struct Variant {
    digest: Digest,
    /// Modules that have work.
    pub(in crate::command) modules: Vec<PlannedModule>,
    /// Tasks of the plan: none where a database is where the pack leads to.
    pub(in crate::command) tasks: usize,
    /// Tasks that cannot be taken back.
    pub(in crate::command) irreversible: usize,
    /// Warnings of the plan.
    pub(in crate::command) warnings: Vec<Warning>,
    weights: Weights,
    plan: Option<Arc<Plan>>,
}

impl Variant {
    /// For people and programs: the same for the same plan, whatever the order of databases.
    pub(in crate::command) fn fingerprint(&self) -> String {
        self.digest[..6]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}

/// A database with the plan that it gets.
pub(in crate::command) struct Compiled {
    pub(in crate::command) variant: Arc<Variant>,
    /// Rows that its tasks are expected to touch, and seconds of one worker.
    pub(in crate::command) weight: Weight,
    database: String,
    server_version: u32,
    /// What the compiler had.
    canonical: Canonical,
}

/// What the compiler is told of a database.
struct Canonical {
    installed: BTreeMap<String, Version>,
    catalog: Catalog,
    options: Options,
}

/// What a run is begun with.
pub(in crate::command) struct Begun {
    pub(in crate::command) plan: Plan,
    /// For `ledger::source`: what an edited pack is compiled from.
    pub(in crate::command) stored: String,
}

impl Variants {
    /// For runs: plans are kept.
    pub(in crate::command) fn new(pack: Pack, options: Options, remark: Option<Warning>) -> Self {
        Self {
            pack,
            options: Options {
                snapshot: None,
                ..options
            },
            remark,
            keep_plans: true,
            structures: Mutex::default(),
            variants: Mutex::default(),
            kept: Mutex::default(),
            compilations: AtomicU64::new(0),
        }
    }

    /// For `fleet plan`: what plans cost is kept, not they.
    pub(in crate::command) fn for_planning(
        pack: Pack,
        options: Options,
        remark: Option<Warning>,
    ) -> Self {
        Self {
            keep_plans: false,
            ..Self::new(pack, options, remark)
        }
    }

    /// The pack that all databases are upgraded by.
    pub(in crate::command) fn pack(&self) -> &Pack {
        &self.pack
    }

    /// What the compiler needs of a database.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(in crate::command) async fn read(&self, conn: &mut PgConnection) -> Result<Read, Failure> {
        Read::of(conn, &self.pack, &self.options).await
    }

    /// How often the compiler ran.
    pub(in crate::command) fn compilations(&self) -> u64 {
        self.compilations.load(Ordering::Relaxed)
    }

    /// The plan that a database gets; `None` where there are no steps to take.
    ///
    /// # Errors
    /// Why it cannot be upgraded.
    pub(in crate::command) async fn compiled(
        &self,
        read: Read,
    ) -> Result<Option<Compiled>, Failure> {
        let Read {
            installed,
            mut catalog,
            estimates,
            rates,
        } = read;
        let resolved = compile::resolve::resolve(&self.pack, &installed)?;
        if resolved.steps.is_empty() {
            return Ok(None);
        }
        let database = std::mem::take(&mut catalog.database);
        let server_version = catalog.server_version;
        catalog.server_version = server_version / 10_000 * 10_000;
        let sizes = Sizes::take(&mut catalog, &self.options);
        let structure = self.structure(&catalog, &resolved);
        let mut options = Options {
            rates: classes::rates(rates),
            ..self.options.clone()
        };
        let known = cell(&self.structures, structure);
        let mut canonical = Canonical {
            installed,
            catalog,
            options: options.clone(),
        };
        let first = async {
            sizes.tell(&mut canonical.catalog, |_| true);
            canonical.options.estimates = sizes.estimates(&estimates);
            let plan = self.compile(&canonical)?;
            let found = Structure::of(&plan, &canonical.catalog);
            let digest = sizes.digest(structure, &found.sized(&sizes), &canonical.options);
            let variant = self.variant(digest, plan, &canonical.catalog);
            // Whoever else has the same waits for this structure first.
            let _set = cell(&self.variants, digest).set(Ok(Arc::new(variant)));
            Ok(Arc::new(found))
        };
        let found = known.get_or_init(|| first).await.clone()?;
        let sized = found.sized(&sizes);
        options.estimates = sizes.estimates(&estimates);
        let digest = sizes.digest(structure, &sized, &options);
        sizes.tell(&mut canonical.catalog, |id| sized.contains(&id));
        canonical.options = options;
        let once = cell(&self.variants, digest);
        let compiled = async {
            let plan = self.compile(&canonical)?;
            Ok(Arc::new(self.variant(digest, plan, &canonical.catalog)))
        };
        let variant = once.get_or_init(|| compiled).await.clone()?;
        Ok(Some(Compiled {
            weight: variant.weights.weigh(&sizes),
            variant,
            database,
            server_version,
            canonical,
        }))
    }

    /// What a run of that database is begun with: the plan under its own name, with its own snapshots.
    ///
    /// # Errors
    /// Where the plan is not at hand any more and cannot be compiled, which it could.
    pub(in crate::command) fn begin(
        &self,
        compiled: Compiled,
        snapshot: Option<SnapshotRequest>,
    ) -> Result<Begun, Failure> {
        let Compiled {
            variant,
            database,
            server_version,
            mut canonical,
            ..
        } = compiled;
        let mut plan = match &variant.plan {
            Some(plan) => Plan::clone(plan),
            None => self.compile(&canonical)?,
        };
        plan.database.clone_from(&database);
        plan.server_version = server_version;
        if let Some(request) = snapshot {
            compile::place_snapshots(&mut plan, request);
        }
        plan.warnings.extend(self.remark.clone());
        canonical.catalog.database = database;
        canonical.catalog.server_version = server_version;
        let from = (&self.pack, &canonical.installed, &canonical.catalog);
        let stored = stored::of(from, &canonical.options)?;
        Ok(Begun { plan, stored })
    }

    fn compile(&self, from: &Canonical) -> Result<Plan, Failure> {
        self.compilations.fetch_add(1, Ordering::Relaxed);
        let Canonical {
            installed,
            catalog,
            options,
        } = from;
        // It may take seconds, and others work in the same process.
        let plan = tokio::task::block_in_place(|| {
            compile::compile(&self.pack, installed, catalog.clone(), options)
        })?;
        tracing::info!(
            tasks = plan.tasks.len(),
            "a plan was compiled for databases of a fleet"
        );
        Ok(plan)
    }

    fn variant(&self, digest: Digest, plan: Plan, catalog: &Catalog) -> Variant {
        if self.keep_plans {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(digest);
            if kept.len() > KEPT_PLANS
                && let Some(oldest) = kept.pop_front()
            {
                let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
                variants.remove(&oldest);
            }
        }
        let irreversible = plan.tasks.iter();
        let irreversible = irreversible.filter(|task| task.undo == UndoKind::Irreversible);
        Variant {
            digest,
            modules: plan.modules.clone(),
            tasks: plan.tasks.len(),
            irreversible: irreversible.count(),
            warnings: plan.warnings.clone(),
            weights: Weights::of(&plan, catalog),
            plan: self.keep_plans.then(|| Arc::new(plan)),
        }
    }

    /// What a catalog without sizes is known by, together with the steps and options.
    fn structure(&self, catalog: &Catalog, resolved: &Resolved) -> Digest {
        let options = Options {
            estimates: BTreeMap::new(),
            ..self.options.clone()
        };
        digest(&(catalog, resolved, format!("{options:?}")))
    }
}

impl Structure {
    /// What a plan tells of databases with this catalog.
    fn of(plan: &Plan, catalog: &Catalog) -> Self {
        let used = plan.tasks.iter().flat_map(|task| &task.tables);
        let touched: BTreeSet<RelId> = used.map(|used| RelId(used.relation)).collect();
        let mut children = BTreeMap::<RelId, BTreeSet<RelId>>::new();
        for relation in catalog.relations() {
            for constraint in &relation.constraints {
                if let ConstraintKind::ForeignKey { table, .. } = &constraint.kind
                    && touched.contains(table)
                {
                    children.entry(*table).or_default().insert(relation.id);
                }
            }
        }
        Self { touched, children }
    }

    /// Relations whose sizes decide something in a database of these sizes.
    fn sized(&self, sizes: &Sizes) -> BTreeSet<RelId> {
        let large = self
            .touched
            .iter()
            .filter(|id| sizes.may_be_built_anew(**id));
        let children = large.filter_map(|id| self.children.get(id)).flatten();
        self.touched.iter().chain(children).copied().collect()
    }
}

fn cell<T>(of: &Mutex<HashMap<Digest, Once<T>>>, digest: Digest) -> Once<T> {
    let mut cells = of.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(cells.entry(digest).or_default())
}

/// Of a value as it is written out, without keeping that.
fn digest(value: &impl Serialize) -> Digest {
    struct Hashing(Sha256);
    impl Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = io::BufWriter::with_capacity(1 << 16, Hashing(Sha256::new()));
    serde_json::to_writer(&mut hashing, value).expect("it is plain data with string keys");
    let hashing = hashing.into_inner().map_err(io::IntoInnerError::into_error);
    hashing
        .expect("hashing takes any bytes")
        .0
        .finalize()
        .into()
}
