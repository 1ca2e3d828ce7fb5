//! Tests of `order`: single hazards by hand, and the whole against its definition on random uses.

use std::{collections::BTreeSet, path::PathBuf};

use proptest::{prelude::*, strategy::Strategy as _};
use upshift_shared::{
    ids::{ColId, RelId, StepId},
    pack::{Directives, Location, Phase, StepKind, Version},
    plan::{EdgeReason, Sequences, Strategy},
};

use super::order;
use crate::compile::model::{
    AnalysedStep, Analysis, Bound, Class, OrderEdge, Resolved, ResolvedModule, ResolvedStep,
    Resource, UserTypes,
};

/// What a step reads and writes; where it stands.
#[derive(Debug, Clone, Default)]
struct Step {
    reads: BTreeSet<Resource>,
    writes: BTreeSet<Resource>,
    shares: BTreeSet<Resource>,
    module: u32,
    end: bool,
}

fn column(table: u32, column: u16) -> Resource {
    Resource::Column(RelId(table), ColId(column))
}

fn step(reads: &[Resource], writes: &[Resource]) -> Step {
    Step {
        reads: reads.iter().cloned().collect(),
        writes: writes.iter().cloned().collect(),
        ..Step::default()
    }
}

fn version() -> Version {
    "1.0".parse().expect("a version")
}

fn analysed(place: usize, step: &Step) -> AnalysedStep {
    let everything = step.writes.contains(&Resource::Everything);
    let class = if everything {
        Class::Opaque {
            why: "a DO block may do anything".to_owned(),
            transactional: true,
            recovery: None,
            undo: None,
        }
    } else {
        Class::Query
    };
    AnalysedStep {
        step: ResolvedStep {
            id: StepId(u32::try_from(place).expect("few steps")),
            module: step.module,
            version: version(),
            phase: if step.end { Phase::End } else { Phase::Pre },
            location: Location {
                file: PathBuf::from("pre-a.sql"),
                line: 1,
                column: 1,
            },
            kind: StepKind::Sql(String::new()),
            directives: Directives::default(),
            settings: Vec::new(),
        },
        bound: Bound {
            class,
            reads: step.reads.clone(),
            writes: step.writes.clone(),
            names: vec![(column(1, 1), "account_move.state".to_owned())],
            tables: Vec::new(),
            sequences: Sequences::None,
            shares: step.shares.clone(),
            now_calls: Vec::new(),
            rows: 0,
            warnings: Vec::new(),
        },
        parsed: None,
        around: None,
    }
}

/// Orders steps of modules that depend on each other as `depends` says.
fn ordered(steps: &[Step], depends: &[Vec<u32>], strategy: Strategy) -> Vec<OrderEdge> {
    let analysis = Analysis {
        written: None,
        steps: (0..)
            .zip(steps)
            .map(|(place, step)| analysed(place, step))
            .collect(),
        skipped: Vec::new(),
        warnings: Vec::new(),
        types: UserTypes::default(),
    };
    let module = |(number, depends): (usize, &Vec<u32>)| ResolvedModule {
        name: format!("m{number}"),
        from: version(),
        to: version(),
        depends: depends.clone(),
    };
    let resolved = Resolved {
        modules: depends.iter().enumerate().map(module).collect(),
        steps: Vec::new(),
        skipped: Vec::new(),
        installed: BTreeSet::new(),
    };
    order(&analysis, &resolved, strategy).edges
}

fn dataflow(steps: &[Step]) -> Vec<OrderEdge> {
    ordered(steps, &[Vec::new()], Strategy::Dataflow)
}

fn pairs(edges: &[OrderEdge]) -> Vec<(u32, u32)> {
    edges.iter().map(|edge| (edge.from, edge.to)).collect()
}

#[test]
fn what_adds_side_by_side_waits_for_others_only() {
    let table = Resource::Table(RelId(1));
    let adds = || Step {
        shares: BTreeSet::from([table.clone()]),
        ..Step::default()
    };
    let reads = || step(std::slice::from_ref(&table), &[]);
    let writes = || step(&[], std::slice::from_ref(&table));
    // write, two that add, one that reads, one more that adds, write
    let edges = dataflow(&[writes(), adds(), adds(), reads(), adds(), writes()]);
    let mut found = pairs(&edges);
    found.sort_unstable();
    assert_eq!(found, [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 5)]);
}

#[test]
fn each_hazard_has_its_reason() {
    let state = || column(1, 1);
    let table = Resource::Table(RelId(1));
    let edges = dataflow(&[
        step(std::slice::from_ref(&table), &[state()]),
        step(&[table.clone(), state()], &[]),
        step(&[table], &[state()]),
    ]);
    let what = "account_move.state".to_owned();
    assert_eq!(
        edges,
        [
            OrderEdge {
                from: 0,
                to: 1,
                reason: EdgeReason::ReadAfterWrite { what: what.clone() },
            },
            // 0 before 2 follows from the other two.
            OrderEdge {
                from: 1,
                to: 2,
                reason: EdgeReason::WriteAfterRead { what },
            },
        ]
    );
}

#[test]
fn the_most_telling_reason_stays() {
    let both = [Resource::Rows(RelId(1)), column(1, 1)];
    let edges = dataflow(&[step(&[], &both), step(&both, &both)]);
    assert_eq!(edges.len(), 1);
    assert_eq!(
        edges[0].reason,
        EdgeReason::ReadAfterWrite {
            what: "account_move.state".to_owned()
        }
    );
}

#[test]
fn readers_and_columns_of_their_own_are_free() {
    let table = || Resource::Table(RelId(1));
    let rows = || Resource::Rows(RelId(1));
    let edges = dataflow(&[
        step(&[table(), rows(), column(1, 1)], &[column(1, 2)]),
        step(&[table(), rows(), column(1, 1)], &[column(1, 3)]),
        step(&[table(), rows(), column(1, 1)], &[]),
    ]);
    assert_eq!(edges, []);
}

#[test]
fn barriers_take_only_loose_ends() {
    let all = [Resource::Everything];
    let edges = dataflow(&[
        step(&[], &[column(1, 1)]),
        step(&[column(1, 1)], &[]),
        step(&[], &[column(2, 1)]),
        step(&all, &all),
        step(&[column(1, 1)], &[column(2, 1)]),
        step(&[column(2, 1)], &[]),
        step(&all, &[]),
    ]);
    assert_eq!(
        pairs(&edges),
        [(0, 1), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6)]
    );
    assert_eq!(
        edges[1].reason,
        EdgeReason::Opaque {
            why: "a DO block may do anything".to_owned()
        }
    );
    assert_eq!(
        edges[5].reason,
        EdgeReason::Opaque {
            why: "it may read anything".to_owned()
        }
    );
}

#[test]
fn sequential_is_one_chain() {
    let steps = vec![Step::default(); 3];
    let edges = ordered(&steps, &[Vec::new()], Strategy::Sequential);
    assert_eq!(pairs(&edges), [(0, 1), (1, 2)]);
    assert!(edges.iter().all(|edge| edge.reason == EdgeReason::Sequence));
}

#[test]
fn strict_keeps_the_module_rules() {
    let of = |module, end| Step {
        module,
        end,
        ..Step::default()
    };
    // base; account on base; hr (without steps) on base; payroll on hr.
    let depends = [vec![], vec![0], vec![0], vec![2]];
    let steps = [
        of(0, false),
        of(0, false),
        of(1, false),
        of(3, false),
        of(1, true),
        of(3, true),
    ];
    let edges = ordered(&steps, &depends, Strategy::Strict);
    assert_eq!(
        pairs(&edges),
        [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]
    );
    let rules: BTreeSet<String> = edges
        .iter()
        .map(|edge| match &edge.reason {
            EdgeReason::ModuleOrder { rule } => rule.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rules.len(), 3);
    assert_eq!(ordered(&steps, &depends, Strategy::Dataflow), []);
}

/// Which steps come before which, by any path: for each step, those before it.
fn closure(steps: usize, before: impl Fn(usize, usize) -> bool) -> Vec<BTreeSet<usize>> {
    let mut reach: Vec<BTreeSet<usize>> = Vec::new();
    for to in 0..steps {
        let direct = (0..to).filter(|from| before(*from, to));
        let all = direct.flat_map(|from| reach[from].iter().copied().chain([from]));
        let all = all.collect();
        reach.push(all);
    }
    reach
}

/// The definition: two steps are ordered where one writes what the other reads or writes.
fn hazard(a: &Step, b: &Step) -> bool {
    let everything = |step: &Step| {
        step.reads.contains(&Resource::Everything) || step.writes.contains(&Resource::Everything)
    };
    everything(a)
        || everything(b)
        || !a.writes.is_disjoint(&b.writes)
        || !a.writes.is_disjoint(&b.reads)
        || !a.reads.is_disjoint(&b.writes)
}

fn resource() -> impl proptest::strategy::Strategy<Value = Resource> {
    prop_oneof![
        20 => (0..3_u32, 0..3_u16).prop_map(|(table, number)| column(table, number)),
        6 => (0..3_u32).prop_map(|table| Resource::Rows(RelId(table))),
        3 => (0..3_u32).prop_map(|table| Resource::Table(RelId(table))),
        3 => (0..2_u32).prop_map(|sequence| Resource::Sequence(RelId(sequence))),
        1 => Just(Resource::Object("type".to_owned(), "mood".to_owned())),
        1 => Just(Resource::Everything),
    ]
}

fn random_step() -> impl proptest::strategy::Strategy<Value = Step> {
    let resources = |most| proptest::collection::btree_set(resource(), 0..most);
    (resources(4), resources(3), 0..4_u32, any::<bool>()).prop_map(
        |(reads, writes, module, end)| Step {
            reads,
            writes,
            shares: BTreeSet::new(),
            module,
            end,
        },
    )
}

proptest! {
    #[test]
    fn edges_mean_what_hazards_mean(steps in proptest::collection::vec(random_step(), 0..40)) {
        let edges = dataflow(&steps);
        let set: BTreeSet<(usize, usize)> =
            edges.iter().map(|e| (e.from as usize, e.to as usize)).collect();
        prop_assert_eq!(set.len(), edges.len(), "one edge for a pair");
        prop_assert!(edges.iter().all(|edge| edge.from < edge.to));
        let by_edges = closure(steps.len(), |from, to| set.contains(&(from, to)));
        let by_hazards = closure(steps.len(), |from, to| hazard(&steps[from], &steps[to]));
        prop_assert_eq!(by_edges, by_hazards);
    }

    #[test]
    fn strict_is_dataflow_and_more(mut steps in proptest::collection::vec(random_step(), 0..30)) {
        // Sequential order: modules one after another, then all end steps.
        steps.sort_by_key(|step| (step.end, step.module));
        let depends = [vec![], vec![0], vec![0], vec![1, 2]];
        let reach = |strategy| {
            let edges = ordered(&steps, &depends, strategy);
            let set: BTreeSet<(usize, usize)> =
                edges.iter().map(|e| (e.from as usize, e.to as usize)).collect();
            closure(steps.len(), |from, to| set.contains(&(from, to)))
        };
        let (loose, strict) = (reach(Strategy::Dataflow), reach(Strategy::Strict));
        for from in 0..steps.len() {
            for to in from + 1..steps.len() {
                let (a, b) = (&steps[from], &steps[to]);
                prop_assert!(!loose[to].contains(&from) || strict[to].contains(&from));
                let ruled = b.end || a.module == b.module || a.module == 0 || b.module == 3;
                prop_assert!(!ruled || strict[to].contains(&from), "{from} before {to}");
            }
        }
    }
}

/// A long pack: linear, so the time is not asserted; the number of edges is.
#[test]
fn many_steps_make_few_edges() {
    let all = [Resource::Everything];
    let steps: Vec<Step> = (0..100_000_u32)
        .map(|number| {
            let (table, written) = (number % 500, u16::try_from(number % 7).expect("small"));
            match number % 10_000 {
                9_999 => step(&all, &all),
                _ => step(
                    &[
                        Resource::Table(RelId(table)),
                        Resource::Rows(RelId(table)),
                        column(table, 8),
                    ],
                    &[column(table, written)],
                ),
            }
        })
        .collect();
    let edges = dataflow(&steps);
    assert!(edges.len() < 2 * steps.len(), "{} edges", edges.len());
}
