//! `order`: which step must come before which, and why.
//!
//! Edges come from hazards on [`Resource`]s. For each resource the last writer and the readers since
//! then are kept, so the work and the number of edges are linear in the number of resource uses. A step
//! that reads or writes [`Resource::Everything`] is a *barrier*: it waits for the steps that nothing
//! waits for yet, and what comes after it waits for it, directly or through others. (Two steps that
//! merely read everything could overlap; as barriers they do not, which keeps the graph small.)

use std::collections::{BTreeMap, HashMap};

use upshift_shared::plan::{EdgeReason, Strategy};

use super::model::{Analysis, Bound, Class, OrderEdge, Ordered, Resolved, Resource};

mod module_rules;

/// Orders the analysed steps.
#[must_use]
pub fn order(analysis: &Analysis, resolved: &Resolved, strategy: Strategy) -> Ordered {
    if strategy == Strategy::Sequential {
        return Ordered {
            edges: chain(analysis.steps.len()),
        };
    }
    let bounds: Vec<&Bound> = analysis.steps.iter().map(|step| &step.bound).collect();
    let mut causes = hazards(&bounds);
    if strategy == Strategy::Strict {
        module_rules::add(&mut causes, analysis, resolved);
    }
    Ordered {
        edges: edges(&bounds, &causes),
    }
}

fn chain(steps: usize) -> Vec<OrderEdge> {
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    (1..steps)
        .map(|to| OrderEdge {
            from: to - 1,
            to,
            reason: EdgeReason::Sequence,
        })
        .collect()
}

/// Why a step waits for an earlier one. Sorted by how much it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause<'a> {
    ReadAfterWrite(Telling<'a>),
    WriteAfterWrite(Telling<'a>),
    WriteAfterRead(Telling<'a>),
    /// One of the two is a barrier.
    Barrier,
    Module(module_rules::Rule),
}

/// A resource, sorted by how much its name tells: a column more than rows, rows more than a table.
type Telling<'a> = (u8, &'a Resource);

fn telling(resource: &Resource) -> Telling<'_> {
    let rank = match resource {
        Resource::Column(..) => 0,
        Resource::Sequence(_) => 1,
        Resource::Rows(_) => 2,
        Resource::Object(..) => 3,
        Resource::Table(_) => 4,
        Resource::Everything => 5,
    };
    (rank, resource)
}

/// For each step, the earlier steps that it waits for, each with the most telling cause.
type Causes<'a> = Vec<BTreeMap<u32, Cause<'a>>>;

fn note<'a>(causes: &mut BTreeMap<u32, Cause<'a>>, from: u32, cause: Cause<'a>) {
    causes
        .entry(from)
        .and_modify(|known| *known = cause.min(*known))
        .or_insert(cause);
}

/// What happened to a resource since the last barrier.
#[derive(Default)]
struct Use {
    last_writer: Option<u32>,
    /// Those that added to it since, side by side.
    sharers: Vec<u32>,
    readers: Vec<u32>,
}

fn hazards<'a>(bounds: &[&'a Bound]) -> Causes<'a> {
    let mut causes: Causes<'a> = Vec::with_capacity(bounds.len());
    let mut uses: HashMap<&Resource, Use> = HashMap::new();
    let mut waited_for = vec![false; bounds.len()];
    let mut last_barrier: Option<u32> = None;
    for (to, bound) in (0_u32..).zip(bounds) {
        let mut mine = BTreeMap::new();
        if is_barrier(bound) {
            uses.clear();
            for from in last_barrier.unwrap_or(0)..to {
                if !waited_for[from as usize] {
                    mine.insert(from, Cause::Barrier);
                }
            }
            last_barrier = Some(to);
        } else {
            read(&mut uses, &mut mine, bound, to);
            share(&mut uses, &mut mine, bound, to);
            write(&mut uses, &mut mine, bound, to);
            if let (true, Some(barrier)) = (mine.is_empty(), last_barrier) {
                mine.insert(barrier, Cause::Barrier);
            }
        }
        for from in mine.keys() {
            waited_for[*from as usize] = true;
        }
        causes.push(mine);
    }
    causes
}

fn is_barrier(bound: &Bound) -> bool {
    matches!(bound.class, Class::Opaque { .. } | Class::Exec)
        || bound.reads.contains(&Resource::Everything)
        || bound.writes.contains(&Resource::Everything)
}

fn read<'a>(
    uses: &mut HashMap<&'a Resource, Use>,
    mine: &mut BTreeMap<u32, Cause<'a>>,
    bound: &'a Bound,
    to: u32,
) {
    for resource in &bound.reads {
        let used = uses.entry(resource).or_default();
        for writer in used.last_writer.iter().chain(&used.sharers) {
            note(mine, *writer, Cause::ReadAfterWrite(telling(resource)));
        }
        if !bound.writes.contains(resource) {
            used.readers.push(to);
        }
    }
}

fn share<'a>(
    uses: &mut HashMap<&'a Resource, Use>,
    mine: &mut BTreeMap<u32, Cause<'a>>,
    bound: &'a Bound,
    to: u32,
) {
    for resource in &bound.shares {
        let used = uses.entry(resource).or_default();
        if let Some(writer) = used.last_writer {
            note(mine, writer, Cause::WriteAfterWrite(telling(resource)));
        }
        for reader in &used.readers {
            note(mine, *reader, Cause::WriteAfterRead(telling(resource)));
        }
        used.sharers.push(to);
    }
}

fn write<'a>(
    uses: &mut HashMap<&'a Resource, Use>,
    mine: &mut BTreeMap<u32, Cause<'a>>,
    bound: &'a Bound,
    to: u32,
) {
    for resource in &bound.writes {
        let used = uses.entry(resource).or_default();
        for writer in used
            .last_writer
            .replace(to)
            .into_iter()
            .chain(used.sharers.drain(..))
        {
            note(mine, writer, Cause::WriteAfterWrite(telling(resource)));
        }
        for reader in used.readers.drain(..) {
            note(mine, reader, Cause::WriteAfterRead(telling(resource)));
        }
    }
}

/// Predecessors looked at by the reduction: more than this and it is left out for that step.
const REDUCED_PREDECESSORS: usize = 32;

/// The causes as edges, without those that a path of two others makes superfluous.
fn edges(bounds: &[&Bound], causes: &Causes<'_>) -> Vec<OrderEdge> {
    let mut edges = Vec::new();
    for (to, mine) in (0_u32..).zip(causes) {
        let implied = |from: &u32| {
            mine.len() <= REDUCED_PREDECESSORS
                && mine
                    .range(from + 1..)
                    .any(|(middle, _)| causes[*middle as usize].contains_key(from))
        };
        for (from, cause) in mine {
            if !implied(from) {
                let reason = reason(*cause, bounds[*from as usize], bounds[to as usize]);
                edges.push(OrderEdge {
                    from: *from,
                    to,
                    reason,
                });
            }
        }
    }
    edges
}

fn reason(cause: Cause<'_>, from: &Bound, to: &Bound) -> EdgeReason {
    // The later step's name for it, which is the newer one; a DROP has no later name.
    let what = |(_, resource): Telling<'_>| {
        [to, from]
            .iter()
            .find_map(|bound| name(bound, resource))
            .unwrap_or_else(|| describe(resource))
    };
    match cause {
        Cause::ReadAfterWrite(resource) => EdgeReason::ReadAfterWrite {
            what: what(resource),
        },
        Cause::WriteAfterWrite(resource) => EdgeReason::WriteAfterWrite {
            what: what(resource),
        },
        Cause::WriteAfterRead(resource) => EdgeReason::WriteAfterRead {
            what: what(resource),
        },
        Cause::Barrier => EdgeReason::Opaque {
            why: why_barrier(to)
                .or_else(|| why_barrier(from))
                .unwrap_or_default(),
        },
        Cause::Module(rule) => EdgeReason::ModuleOrder {
            rule: rule.to_string(),
        },
    }
}

fn why_barrier(bound: &Bound) -> Option<String> {
    match &bound.class {
        Class::Opaque { why, .. } => Some(why.clone()),
        Class::Exec => Some("an external program may read and write anything".to_owned()),
        _ if is_barrier(bound) => Some(
            name(bound, &Resource::Everything).unwrap_or_else(|| "it may read anything".to_owned()),
        ),
        _ => None,
    }
}

fn name(bound: &Bound, resource: &Resource) -> Option<String> {
    bound
        .names
        .iter()
        .find(|(named, _)| named == resource)
        .map(|(_, name)| name.clone())
}

/// For a resource that no step named.
fn describe(resource: &Resource) -> String {
    match resource {
        Resource::Table(table) => format!("relation {table}"),
        Resource::Column(table, column) => format!("column {column} of relation {table}"),
        Resource::Rows(table) => format!("rows of relation {table}"),
        Resource::Sequence(sequence) => format!("sequence {sequence}"),
        Resource::Object(class, name) => format!("{class} {name}"),
        Resource::Everything => "everything".to_owned(),
    }
}

#[cfg(test)]
mod tests;
