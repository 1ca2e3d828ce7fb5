//! Stage `resolve`: which modules to upgrade, in which order, by which steps.
//!
//! The order is Odoo's: modules by depth in the graph of dependencies, then by name; `pre` and `post` of a
//! module after those of all that it depends on; every `end` script after every module's `post`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use petgraph::{
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};
use upshift_shared::{
    ids::StepId,
    pack::{Migration, Module, Pack, Phase, Version},
};

use super::{
    error::CompileError,
    model::{Resolved, ResolvedModule, ResolvedStep},
};

/// Resolves a pack against what the database has installed.
///
/// # Errors
/// [`CompileError::Whole`] with everything that keeps pack and database from going together: cycles and
/// missing modules as paths, modules that are installed but not in the pack, or newer than in it.
pub fn resolve(
    pack: &Pack,
    installed: &BTreeMap<String, Version>,
) -> Result<Resolved, CompileError> {
    let mut faults = cycles(pack);
    let start = Start::of(pack, installed, &mut faults);
    faults.extend(missing(pack, |name| start.versions.contains_key(name)));
    faults.extend(start.newer(pack));
    if !faults.is_empty() {
        return Err(CompileError::Whole(faults.join("\n")));
    }
    let order = order(pack);
    let skipped = start.skipped(pack);
    let modules = modules(pack, &start, &order);
    let steps = steps(pack, &modules);
    Ok(Resolved {
        steps,
        modules,
        skipped,
        installed: start.known,
    })
}

/// What is wrong with a pack's graph by itself, whatever is installed: cycles, and dependencies that are
/// not in the pack.
#[must_use]
pub fn graph_faults(pack: &Pack) -> Vec<String> {
    let mut faults = cycles(pack);
    faults.extend(missing(pack, |_| true));
    faults
}

/// Where the database stands.
struct Start<'a> {
    /// The version that each installed module of the pack starts from, by its name in the pack.
    versions: BTreeMap<&'a str, Version>,
    /// Names that count as installed: the database's, and the pack's for those renamed since.
    known: BTreeSet<String>,
}

impl<'a> Start<'a> {
    fn of(pack: &'a Pack, installed: &BTreeMap<String, Version>, faults: &mut Vec<String>) -> Self {
        let mut versions = BTreeMap::new();
        let mut known: BTreeSet<String> = installed.keys().cloned().collect();
        let mut accounted: BTreeSet<&str> = BTreeSet::new();
        for module in pack.modules.values() {
            let names: Vec<&str> = std::iter::once(&module.name)
                .chain(&module.renamed_from)
                .map(String::as_str)
                .filter(|name| {
                    installed.contains_key(*name)
                        // An old name that the pack itself uses is another module.
                        && (*name == module.name || !pack.modules.contains_key(*name))
                })
                .collect();
            accounted.extend(names.iter().copied());
            let merged: Vec<&str> = module
                .merged
                .iter()
                .map(String::as_str)
                .filter(|name| installed.contains_key(*name))
                .collect();
            accounted.extend(merged.iter().copied());
            let version = match names.as_slice() {
                [name] => installed.get(*name),
                // Nothing but modules merged into this one: it starts from the oldest of them.
                [] => merged.iter().filter_map(|name| installed.get(*name)).min(),
                several => {
                    faults.push(format!(
                        "{} are one module, renamed, and are all installed: uninstall the superfluous",
                        several.join(", ")
                    ));
                    None
                }
            };
            if let Some(version) = version {
                versions.insert(module.name.as_str(), version.clone());
                known.insert(module.name.clone());
            }
        }
        let unknown: Vec<&str> = installed
            .keys()
            .map(String::as_str)
            .filter(|name| !accounted.contains(name) && !pack.modules.contains_key(*name))
            .collect();
        if !unknown.is_empty() {
            faults.push(format!(
                "installed in the database, but not in the pack: {}: add them to the pack, or uninstall them first",
                unknown.join(", ")
            ));
        }
        Self { versions, known }
    }

    /// Modules that the database has in a newer version than the pack.
    fn newer(&self, pack: &Pack) -> Option<String> {
        let newer: Vec<String> = self
            .versions
            .iter()
            .filter(|(name, version)| **version > pack.modules[**name].version)
            .map(|(name, version)| {
                format!("{name} {version} (pack: {})", pack.modules[*name].version)
            })
            .collect();
        (!newer.is_empty()).then(|| {
            format!(
                "newer in the database than in the pack: {}: use a newer pack",
                newer.join(", ")
            )
        })
    }

    /// Whether a module has an upgrade before it, and from which version.
    fn upgrades<'s>(&'s self, module: &Module) -> Option<&'s Version> {
        self.versions
            .get(module.name.as_str())
            .filter(|version| **version < module.version)
    }

    /// The modules that are left alone, with the reason.
    fn skipped(&self, pack: &Pack) -> Vec<(String, String)> {
        let mut dependents: BTreeMap<&str, &str> = BTreeMap::new();
        for name in self.versions.keys() {
            for dependency in &pack.modules[*name].depends {
                dependents.entry(dependency).or_insert(name);
            }
        }
        pack.modules
            .values()
            .filter(|module| self.upgrades(module).is_none())
            .map(|module| {
                let name = module.name.as_str();
                let why = match (self.versions.get(name), dependents.get(name)) {
                    (Some(version), _) => format!("already at {version}"),
                    (None, Some(dependent)) => format!(
                        "not installed, although {dependent} depends on it: its migrations do not run"
                    ),
                    (None, None) => "not installed".to_owned(),
                };
                (module.name.clone(), why)
            })
            .collect()
    }
}

/// The graph of the pack: an edge from each module to each that it depends on.
fn graph(pack: &Pack) -> (DiGraph<&str, ()>, BTreeMap<&str, NodeIndex>) {
    let mut graph = DiGraph::with_capacity(pack.modules.len(), pack.modules.len() * 4);
    let nodes: BTreeMap<&str, NodeIndex> = pack
        .modules
        .keys()
        .map(|name| (name.as_str(), graph.add_node(name.as_str())))
        .collect();
    for module in pack.modules.values() {
        for dependency in &module.depends {
            if let Some(to) = nodes.get(dependency.as_str()) {
                graph.add_edge(nodes[module.name.as_str()], *to, ());
            }
        }
    }
    (graph, nodes)
}

/// One message for each knot of modules that depend on each other, with a shortest way around from its
/// first module by name.
fn cycles(pack: &Pack) -> Vec<String> {
    let (graph, nodes) = graph(pack);
    let mut found: Vec<Vec<&str>> = tarjan_scc(&graph)
        .into_iter()
        .filter_map(|knot| {
            let start = knot.iter().copied().min_by_key(|node| graph[*node])?;
            let looped = knot.len() > 1 || graph.contains_edge(start, start);
            looped.then(|| {
                let inside: BTreeSet<NodeIndex> = knot.into_iter().collect();
                way_around(&graph, &nodes, start, &inside)
            })
        })
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .map(|path| {
            format!(
                "modules depend on each other: {}: remove one of these dependencies",
                path.join(" → ")
            )
        })
        .collect()
}

/// A shortest path from `start` back to itself.
fn way_around<'a>(
    graph: &DiGraph<&'a str, ()>,
    nodes: &BTreeMap<&'a str, NodeIndex>,
    start: NodeIndex,
    inside: &BTreeSet<NodeIndex>,
) -> Vec<&'a str> {
    let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut level = vec![start];
    while !level.is_empty() && !came_from.contains_key(&start) {
        let mut next: Vec<&str> = Vec::new();
        for node in level {
            for edge in graph.edges(node) {
                let target = edge.target();
                if inside.contains(&target) && !came_from.contains_key(&target) {
                    came_from.insert(target, node);
                    next.push(graph[target]);
                }
            }
        }
        next.sort_unstable();
        level = next.into_iter().map(|name| nodes[name]).collect();
    }
    let mut path = vec![graph[start]];
    let mut node = start;
    while let Some(before) = came_from.get(&node) {
        path.push(graph[*before]);
        node = *before;
        if node == start {
            break;
        }
    }
    path.reverse();
    path
}

/// One message for each module that is needed and not in the pack, with the shortest path to it from a
/// module that nobody depends on.
fn missing(pack: &Pack, counts: impl Fn(&str) -> bool) -> Option<String> {
    let mut needed_by: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in pack.modules.values().filter(|module| counts(&module.name)) {
        for dependency in &module.depends {
            needed_by
                .entry(dependency.as_str())
                .or_default()
                .insert(module.name.as_str());
        }
    }
    let lacking: Vec<&str> = needed_by
        .keys()
        .copied()
        .filter(|name| !pack.modules.contains_key(*name))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    let mut text = "needed by modules of the pack, but not in it:".to_owned();
    for name in lacking {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {}", path_to(name, &needed_by).join(" → "));
    }
    text.push_str("\nadd them to the pack, or remove the dependency");
    Some(text)
}

/// The shortest path to `name` from a module that nobody needs; its direct dependent where a cycle leaves
/// no such module.
fn path_to<'a>(name: &'a str, needed_by: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut goes_to: BTreeMap<&str, &str> = BTreeMap::new();
    let mut level = vec![name];
    let mut top = None;
    while top.is_none() && !level.is_empty() {
        let mut next = Vec::new();
        for node in level {
            for dependent in needed_by.get(node).into_iter().flatten() {
                if *dependent != name && !goes_to.contains_key(dependent) {
                    goes_to.insert(dependent, node);
                    next.push(*dependent);
                }
            }
        }
        top = next
            .iter()
            .copied()
            .find(|dependent| !needed_by.contains_key(dependent));
        level = next;
    }
    let direct = || needed_by.get(name).and_then(|set| set.first().copied());
    let mut path: Vec<&str> = top.or_else(direct).into_iter().collect();
    while let Some(node) = path.last().and_then(|last| goes_to.get(last)) {
        path.push(node);
    }
    path
}

/// All modules of the pack by depth, then name: Odoo's order. The graph has no cycle.
fn order(pack: &Pack) -> Vec<&Module> {
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    // An explicit stack: dependencies may be thousands deep.
    for module in pack.modules.values() {
        let mut stack = vec![(module, 0_usize)];
        while let Some((module, next)) = stack.pop() {
            if depths.contains_key(module.name.as_str()) {
                continue;
            }
            let pending = module.depends[next..].iter().position(|dependency| {
                pack.modules.contains_key(dependency) && !depths.contains_key(dependency.as_str())
            });
            if let Some(offset) = pending {
                let at = next + offset;
                stack.push((module, at + 1));
                stack.push((&pack.modules[&module.depends[at]], 0));
            } else {
                let deepest = module
                    .depends
                    .iter()
                    .filter_map(|dependency| depths.get(dependency.as_str()))
                    .max();
                depths.insert(&module.name, deepest.map_or(0, |depth| depth + 1));
            }
        }
    }
    let mut modules: Vec<&Module> = pack.modules.values().collect();
    modules.sort_by_key(|module| (depths[module.name.as_str()], module.name.as_str()));
    modules
}

/// The modules to upgrade. A dependency that has nothing to do hands on its own dependencies, so that the
/// order holds through it.
fn modules(pack: &Pack, start: &Start<'_>, order: &[&Module]) -> Vec<ResolvedModule> {
    let mut resolved: Vec<ResolvedModule> = Vec::new();
    let mut stands_for: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for module in order {
        let mut depends: Vec<u32> = module
            .depends
            .iter()
            .filter_map(|dependency| stands_for.get(dependency.as_str()))
            .flatten()
            .copied()
            .collect();
        depends.sort_unstable();
        depends.dedup();
        let places = match start.upgrades(module) {
            Some(from) => {
                let place = u32::try_from(resolved.len()).unwrap_or(u32::MAX);
                resolved.push(ResolvedModule {
                    name: module.name.clone(),
                    from: from.clone(),
                    to: pack.modules[&module.name].version.clone(),
                    depends,
                });
                vec![place]
            }
            None => depends,
        };
        stands_for.insert(&module.name, places);
    }
    resolved
}

/// Whether a migration lies on the way from one version to the other (Odoo's `MigrationManager`).
fn runs(migration: &Migration, from: &Version, to: &Version) -> bool {
    let version = &migration.version;
    if version.is_always() {
        true
    } else if migration.short {
        version.own_cmp(from).is_gt() && version.own_cmp(to).is_le()
    } else {
        version > from && version <= to
    }
}

/// The steps in sequential order: `pre` and `post` of module after module, by version, phase and file;
/// then all `end` scripts in the same order.
fn steps(pack: &Pack, modules: &[ResolvedModule]) -> Vec<ResolvedStep> {
    let mut steps = Vec::new();
    for ending in [false, true] {
        for (place, resolved) in modules.iter().enumerate() {
            let module = &pack.modules[&resolved.name];
            let migrations = module
                .migrations
                .iter()
                .filter(|migration| runs(migration, &resolved.from, &resolved.to));
            for migration in migrations {
                for script in &migration.scripts {
                    if (script.phase == Phase::End) != ending {
                        continue;
                    }
                    for step in &script.steps {
                        steps.push(ResolvedStep {
                            id: StepId(u32::try_from(steps.len()).unwrap_or(u32::MAX)),
                            module: u32::try_from(place).unwrap_or(u32::MAX),
                            version: migration.version.clone(),
                            phase: script.phase,
                            location: step.location.clone(),
                            kind: step.kind.clone(),
                            directives: step.directives.clone(),
                            settings: step.settings.clone(),
                        });
                    }
                }
            }
        }
    }
    steps
}
