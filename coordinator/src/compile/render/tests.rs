//! Snapshots of rendered text.

use std::collections::BTreeSet;

use upshift_shared::{
    ids::{ColId, RelId, StepId, TaskId},
    pack::{Directives, Location, Phase, StepKind, Version},
    pg::ident::QualifiedName,
    plan::{
        Check, Cut, DdlAction, DdlEffect, Edge, EdgeReason, Hide, InPlace, InPlaceAction,
        KeptTable, KeyColumn, Metadata, Operator, PLAN_FORMAT, Plan, PlannedModule, Sequences,
        SkippedStep, SnapshotKind, Statement, StatementUndo, Strategy, Task, UndoKind, Warning,
        WayBack,
    },
};

use super::{dot, stage_analysis, stage_ordered, stage_resolved, tree};
use crate::compile::{
    model::{
        AnalysedStep, Analysis, Bound, BoundDml, Chunk, Class, OrderEdge, Ordered, Resolved,
        ResolvedModule, ResolvedStep, Resource, SnapshotRequest, UserTypes,
    },
    snapshots,
};

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn location(file: &str, line: u32) -> Location {
    Location {
        file: file.into(),
        line,
        column: 1,
    }
}

fn key() -> Vec<KeyColumn> {
    vec![KeyColumn {
        name: "id".to_owned(),
        type_name: "integer".to_owned(),
    }]
}

fn in_place(cut: bool) -> Operator {
    Operator::InPlace(InPlace {
        table: "\"public\".\"account_move\"".to_owned(),
        action: InPlaceAction::Update(vec!["state".to_owned()]),
        sql: upshift_shared::plan::Template::default(),
        key: key(),
        before_images: KeptTable {
            name: String::new(),
            table: String::new(),
            columns: None,
        },
        spare: None,
        cut: cut.then(|| Cut {
            table: "\"public\".\"account_move\"".to_owned(),
            key: key(),
        }),
    })
}

fn metadata(effects: Vec<DdlEffect>) -> Operator {
    let action = |effect| DdlAction {
        sql: String::new(),
        effect,
    };
    Operator::Metadata(Metadata {
        actions: effects.into_iter().map(action).collect(),
    })
}

fn hide() -> DdlEffect {
    DdlEffect::Hide(Hide::Column {
        table: "\"public\".\"account_move\"".to_owned(),
        column: "old_state".to_owned(),
        cascade: false,
    })
}

fn task(id: u32, module: u32, label: &str, operator: Operator, undo: UndoKind) -> Task {
    Task {
        id: TaskId(id),
        module,
        version: version("18.0.1.0"),
        phase: Phase::Pre,
        steps: vec![StepId(id)],
        sources: vec![location(
            "account/migrations/18.0.1.0/pre-10-states.sql",
            3 + id,
        )],
        label: label.to_owned(),
        operator,
        why: "metadata only: PostgreSQL does not touch rows".to_owned(),
        rows: 0,
        seconds: 0.02,
        undo,
        tables: Vec::new(),
        settings: Vec::new(),
        sequences: Sequences::None,
        pinned_now: false,
        notes: Vec::new(),
        checkpoint: module,
        superseded: false,
    }
}

fn tasks() -> Vec<Task> {
    let update = Task {
        rows: 3_000_000,
        seconds: 61.0,
        why: "cut by id: of other rows it reads only columns that nobody writes, and the self-join is \
              on the primary key"
            .to_owned(),
        ..task(
            1,
            1,
            "UPDATE account_move SET state = CASE old_state WHEN 'open' THEN 'posted' ELSE old_state \
             END FROM res_partner",
            in_place(true),
            UndoKind::BeforeImages,
        )
    };
    let insert = Statement {
        sql: String::new(),
        undo: StatementUndo::Nothing,
        transactional: true,
        recovery: None,
    };
    vec![
        task(
            0,
            0,
            "ALTER TABLE res_partner ADD COLUMN ref varchar",
            metadata(vec![DdlEffect::Invert { undo: Vec::new() }]),
            UndoKind::InverseDdl,
        ),
        update,
        task(
            2,
            1,
            "ALTER TABLE account_move DROP COLUMN old_state",
            metadata(vec![hide(), hide()]),
            UndoKind::Hidden,
        ),
        Task {
            rows: 12_000,
            seconds: 0.4,
            why: "opaque: DO blocks are not looked into".to_owned(),
            ..task(
                3,
                1,
                "DO $$ … $$",
                Operator::Statement(insert),
                UndoKind::Irreversible,
            )
        },
        Task {
            why: "a check: it must return no row".to_owned(),
            ..task(
                4,
                2,
                "every move has a state",
                Operator::Check(Check {
                    query: String::new(),
                    message: String::new(),
                    lasting: false,
                }),
                UndoKind::Nothing,
            )
        },
    ]
}

fn module(name: &str, depends: &[&str]) -> PlannedModule {
    PlannedModule {
        name: name.to_owned(),
        from: version("17.0.1.3"),
        to: version("18.0.1.0"),
        depends: depends.iter().map(|d| (*d).to_owned()).collect(),
        joined_with: None,
    }
}

fn edge(from: u32, to: u32, reason: EdgeReason) -> Edge {
    Edge {
        from: TaskId(from),
        to: TaskId(to),
        reason,
    }
}

fn plan() -> Plan {
    let what = || "account_move.old_state".to_owned();
    Plan {
        written: None,
        format: PLAN_FORMAT,
        pack: "erp".to_owned(),
        target_version: Some(version("18.0")),
        database: "shop".to_owned(),
        server_version: 150_018,
        strategy: Strategy::Dataflow,
        modules: vec![
            module("base", &[]),
            module("account", &["base"]),
            module("sale", &["account"]),
        ],
        checkpoints: Vec::new(),
        tasks: tasks(),
        edges: vec![
            edge(1, 2, EdgeReason::WriteAfterRead { what: what() }),
            edge(
                2,
                3,
                EdgeReason::Opaque {
                    why: "a DO block may say \"anything\" \\ at all".to_owned(),
                },
            ),
            edge(0, 3, EdgeReason::Sequence),
            edge(3, 4, EdgeReason::Sequence),
        ],
        skipped: vec![SkippedStep {
            step: StepId(9),
            source: location("sale/migrations/18.0.1.0/post-20.sql", 14),
            why: "when = column_exists(sale_order.note_old): there is no such column".to_owned(),
        }],
        warnings: vec![Warning {
            source: Some(location("account/migrations/18.0.1.0/pre-10-states.sql", 4)),
            message: "account_move was never analysed, so its rows are a guess: run ANALYZE first"
                .to_owned(),
        }],
        snapshots: Vec::new(),
        way_back: WayBack::After {
            module: "account".to_owned(),
            tasks: vec![TaskId(3)],
        },
    }
}

#[test]
fn the_tree_of_a_plan() {
    insta::assert_snapshot!(tree(&plan(), 100));
}

#[test]
fn a_snapshot_goes_before_what_is_irreversible_and_after_all_that_does_not_depend_on_it() {
    let mut plan = plan();
    let request = SnapshotRequest {
        kind: SnapshotKind::Template,
        bytes: 3 << 30,
    };
    snapshots::place(&mut plan, request);
    assert_eq!(plan.snapshots[0].before, [TaskId(3)]);
    assert_eq!(plan.segments(), [0, 0, 0, 1, 1]);
    let text = tree(&plan, 100);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "after 3 tasks, with nothing else under way, a snapshot for t3: a copy of the database, which reads \
         and writes 3 GB",
        "past what is irreversible by 1 snapshot",
        "can be taken back until commit",
    ] {
        assert!(words.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_dump_goes_before_everything_and_takes_back_to_the_start() {
    let mut plan = plan();
    let request = SnapshotRequest {
        kind: SnapshotKind::Dump,
        bytes: 3 << 30,
    };
    plan.tasks[1].undo = UndoKind::Irreversible;
    snapshots::place(&mut plan, request);
    assert_eq!(plan.snapshots.len(), 1);
    assert_eq!(plan.snapshots[0].before, [TaskId(1), TaskId(3)]);
    assert_eq!(plan.segments(), [1, 1, 1, 1, 1]);
    let text = tree(&plan, 100);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "at the start, with nothing else under way, a snapshot for t1 and t3: a dump by pg_dump of a database \
         of 3 GB",
        "by 1 snapshot, each the whole database as of then, the start of the run, and to no checkpoint",
        "can be taken back until commit",
    ] {
        assert!(words.contains(said), "{said}: {text}");
    }
}

#[test]
fn the_tree_on_a_narrow_terminal() {
    insta::assert_snapshot!(tree(&plan(), 64));
}

#[test]
fn the_tree_of_a_plan_with_a_whole_way_back() {
    let mut plan = plan();
    plan.way_back = WayBack::Whole;
    plan.tasks.truncate(3);
    plan.edges.truncate(1);
    plan.skipped.clear();
    plan.warnings.clear();
    insta::assert_snapshot!(tree(&plan, 100));
}

#[test]
fn the_tree_of_a_sequential_plan() {
    let mut plan = plan();
    plan.way_back = WayBack::None;
    plan.strategy = Strategy::Sequential;
    plan.modules.truncate(1);
    plan.tasks.truncate(1);
    plan.edges.clear();
    plan.skipped.clear();
    plan.warnings.clear();
    insta::assert_snapshot!(tree(&plan, 100));
}

#[test]
fn names_can_neither_break_the_layout_nor_speak_to_the_terminal() {
    let mut plan = plan();
    plan.database = "shop\n\u{1b}[2J".to_owned();
    plan.tasks[0].label = "UPDATE \"a\nb\" SET c = '\u{1b}]0;owned\u{7}'".to_owned();
    plan.modules[0].name = "ba\\se\"".to_owned();
    for text in [tree(&plan, 100), dot(&plan)] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
    assert!(dot(&plan).contains(r#"label = "ba\\se\" 17.0.1.3 → 18.0.1.0";"#));
}

#[test]
fn the_graph_of_a_plan() {
    insta::assert_snapshot!(dot(&plan()));
}

fn step(id: u32, sql: &str) -> ResolvedStep {
    ResolvedStep {
        id: StepId(id),
        module: id,
        version: version("18.0.1.0"),
        phase: Phase::Pre,
        location: location("base/migrations/18.0.1.0/pre-10.sql", 1 + id),
        kind: StepKind::Sql(sql.to_owned()),
        directives: Directives::default(),
        settings: Vec::new(),
    }
}

fn steps() -> Vec<ResolvedStep> {
    vec![
        step(0, "UPDATE res_partner\n   SET ref = 'P' || id"),
        step(1, "VACUUM FULL"),
    ]
}

fn bound(class: Class) -> Bound {
    Bound {
        class,
        reads: [Resource::Everything].into(),
        writes: [Resource::Everything].into(),
        names: Vec::new(),
        tables: Vec::new(),
        sequences: Sequences::None,
        shares: BTreeSet::new(),
        now_calls: Vec::new(),
        rows: 0,
        warnings: Vec::new(),
    }
}

fn analysis() -> Analysis {
    let (table, column) = (RelId(1), ColId(4));
    let partner = || QualifiedName::new("public", "res_partner");
    let update = BoundDml {
        relation: table,
        table: partner(),
        alias: "res_partner".to_owned(),
        assigned: vec!["ref".to_owned()],
        columns: Vec::new(),
        key: Some(key()),
        chunk: Chunk::ByKey("it reads only the row at hand".to_owned()),
        joins: crate::compile::model::Joins::default(),
    };
    let opaque = Class::Opaque {
        why: "VACUUM is not looked into".to_owned(),
        transactional: false,
        recovery: None,
        undo: None,
    };
    let updating = Bound {
        reads: [
            Resource::Table(table),
            Resource::Rows(table),
            Resource::Column(table, ColId(1)),
        ]
        .into(),
        writes: [Resource::Column(table, column)].into(),
        names: vec![
            (
                Resource::Table(table),
                "definition of res_partner".to_owned(),
            ),
            (Resource::Rows(table), "rows of res_partner".to_owned()),
            (
                Resource::Column(table, column),
                "res_partner.ref".to_owned(),
            ),
        ],
        rows: 12_345,
        ..bound(Class::Update(update))
    };
    let bounds = [updating, bound(opaque)];
    Analysis {
        written: None,
        steps: steps()
            .into_iter()
            .zip(bounds)
            .map(|(step, bound)| AnalysedStep {
                step,
                bound,
                parsed: None,
                around: None,
            })
            .collect(),
        skipped: Vec::new(),
        types: UserTypes::default(),
        warnings: vec![Warning {
            source: None,
            message: "statistics are older than a month".to_owned(),
        }],
    }
}

#[test]
fn what_resolve_found() {
    let resolved = Resolved {
        modules: vec![
            ResolvedModule {
                name: "base".to_owned(),
                from: version("17.0.1.3"),
                to: version("18.0.1.0"),
                depends: Vec::new(),
            },
            ResolvedModule {
                name: "account".to_owned(),
                from: version("17.0.1.2"),
                to: version("18.0.1.0"),
                depends: vec![0],
            },
        ],
        steps: steps(),
        skipped: vec![("crm".to_owned(), "not installed".to_owned())],
        installed: ["base".to_owned(), "account".to_owned()].into(),
    };
    insta::assert_snapshot!(stage_resolved(&resolved));
}

#[test]
fn what_analyse_found() {
    insta::assert_snapshot!(stage_analysis(&analysis()));
}

#[test]
fn what_order_found() {
    let ordered = Ordered {
        edges: vec![OrderEdge {
            from: 0,
            to: 1,
            reason: EdgeReason::Opaque {
                why: "VACUUM is not looked into".to_owned(),
            },
        }],
    };
    insta::assert_snapshot!(stage_ordered(&ordered, &analysis()));
}
