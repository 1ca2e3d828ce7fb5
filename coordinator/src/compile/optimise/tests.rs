//! Passes: statements in; which of them fuse, into what SELECT, and why others do not.

use std::{collections::BTreeSet, path::PathBuf};

use upshift_shared::{
    catalog::{Catalog, Domain, ForeignKeyAction, UserType},
    ids::StepId,
    pack::{Directives, Location, Phase, StepKind, TransformStep, Version},
    plan::{JoinedTransform, Operator, ShadowStage, Strategy},
    transform::Call,
};

use super::{Optimised, graph::Contracted, optimise};
use crate::compile::{
    analyse::{
        analyse,
        fixture::{Table, catalog},
    },
    model::{Analysis, Options, OrderEdge, Passes, Resolved, ResolvedModule, ResolvedStep},
    order::order,
    physical,
};

fn version() -> Version {
    "1.0".parse().expect("a version")
}

/// Statements of one module, one a line of its script.
fn resolved(statements: &[&str]) -> Resolved {
    let step = |(number, sql): (u32, &&str)| ResolvedStep {
        id: StepId(number),
        module: 0,
        version: version(),
        phase: Phase::Pre,
        location: Location {
            file: PathBuf::from("m/pre.sql"),
            line: number + 1,
            column: 1,
        },
        kind: StepKind::Sql((*sql).to_owned()),
        directives: Directives::default(),
        settings: Vec::new(),
    };
    Resolved {
        modules: vec![ResolvedModule {
            name: "m".to_owned(),
            from: version(),
            to: version(),
            depends: Vec::new(),
        }],
        steps: (0..).zip(statements).map(step).collect(),
        skipped: Vec::new(),
        installed: BTreeSet::new(),
    }
}

/// `entry` and `item`, which refers to it.
fn tables() -> Catalog {
    let mut catalog = catalog();
    catalog.types.push(UserType {
        schema: "public".to_owned(),
        name: "workday".to_owned(),
        kind: 'd',
        domain: Some(Domain {
            base: "date".to_owned(),
            has_default: false,
            calls_foreign: false,
            collation: None,
        }),
    });
    let entry = Table::new(
        "entry",
        "id integer!, state text, name character varying(8)",
    )
    .key("id")
    .add(&mut catalog);
    Table::new(
        "item",
        "id integer!, entry_id integer, number integer, amount numeric, state character \
         varying(8), gap boolean, day date",
    )
    .key("id")
    .refers("entry_id", entry, ForeignKeyAction::NoAction)
    .add(&mut catalog);
    catalog
}

fn optimised(statements: &[&str], passes: Passes) -> Optimised {
    chosen(&resolved(statements), passes)
}

fn chosen(resolved: &Resolved, passes: Passes) -> Optimised {
    analysed(resolved, passes).1
}

fn analysed(resolved: &Resolved, passes: Passes) -> (Analysis, Optimised) {
    let options = Options {
        passes,
        ..Options::from(Strategy::Dataflow)
    };
    let analysis = analyse(resolved, tables(), &options)
        .unwrap_or_else(|error| panic!("{:?}: {error}", resolved.steps));
    let ordered = order(&analysis, resolved, options.strategy);
    let optimised = optimise(&analysis, &ordered, &options);
    (analysis, optimised)
}

/// The steps of each pass, by their places.
fn fused(statements: &[&str]) -> Vec<Vec<u32>> {
    let optimised = optimised(statements, Passes::Shadow);
    optimised
        .passes
        .into_iter()
        .map(|pass| pass.steps)
        .collect()
}

/// Why the last statement is in no pass with the first.
fn why_not(statements: &[&str]) -> String {
    let optimised = optimised(statements, Passes::Shadow);
    let left = optimised.passes.iter().flat_map(|pass| &pass.left_out);
    let line = u32::try_from(statements.len()).expect("few statements");
    left.filter(|(location, _)| location.line == line)
        .map(|(_, why)| why.clone())
        .next()
        .unwrap_or_else(|| panic!("it is in a pass, or begins one: {:?}", optimised.passes))
}

const FILL: &str = "UPDATE item SET amount = amount * 2 WHERE state = 'open'";
const JOIN: &str = "UPDATE item i SET state = e.state FROM entry e WHERE e.id = i.entry_id";

#[test]
fn statements_on_a_table_fuse() {
    let table: &[(&[&str], &[&[u32]])] = &[
        (&[FILL, JOIN], &[&[0, 1]]),
        // Another table's statement is not in the way.
        (
            &[FILL, "UPDATE entry SET name = 'x'", JOIN],
            &[&[0, 2], &[1]],
        ),
        // The two shapes of real ERP migrations: the row at hand with outer joins, the previous row.
        (
            &[
                FILL,
                "UPDATE item a SET state = e.state FROM item b LEFT JOIN entry e ON e.id = b.entry_id \
                 WHERE a.id = b.id",
                "UPDATE item a SET gap = false FROM item b WHERE a.entry_id = b.entry_id AND a.id = b.id \
                 + 0",
            ],
            &[&[0, 1, 2]],
        ),
        (
            &[
                "ALTER TABLE item ADD COLUMN note text",
                "UPDATE item SET note = state || 'x'",
                "ALTER TABLE item RENAME COLUMN note TO remark",
                "CREATE INDEX item_remark ON item (remark)",
                "DELETE FROM item WHERE remark = 'x'",
                "ALTER TABLE item DROP COLUMN gap",
            ],
            &[&[0, 1, 2, 3, 4, 5]],
        ),
        // DDL alone is no reason to build a table anew.
        (&["ALTER TABLE item ADD COLUMN note text"], &[]),
        // What must come between keeps two apart.
        (
            &[
                FILL,
                "UPDATE entry e SET state = i.state FROM item i WHERE i.id = e.id AND i.amount > 1",
                JOIN,
            ],
            &[&[0], &[1], &[2]],
        ),
    ];
    for (statements, expected) in table {
        assert_eq!(fused(statements), *expected, "{statements:?}");
    }
}

#[test]
fn what_cannot_fuse_says_why() {
    let table = [
        (
            "UPDATE item SET (state, amount) = (SELECT state, random() FROM entry WHERE entry.id = \
             item.entry_id)",
            "it sets several columns from a query that calls random(), which is volatile",
        ),
        (
            "WITH entry AS (SELECT id FROM entry) UPDATE item SET gap = true FROM item b, entry WHERE \
             b.id = item.id AND entry.id = item.number",
            "its WITH query entry is called like a table that an earlier statement of the pass mentions",
        ),
        (
            "WITH x AS MATERIALIZED (SELECT id FROM item) UPDATE item SET gap = true WHERE number IN \
             (SELECT id FROM x)",
            "each unit would compute its WITH query x anew, which reads about 1000000 rows",
        ),
        (
            "WITH RECURSIVE x AS (SELECT 1 AS id) UPDATE item SET gap = true FROM x WHERE x.id = item.id",
            "its WITH is RECURSIVE",
        ),
        (
            "UPDATE item SET gap = true FROM entry e WHERE e.name < item.state",
            "a row may meet several rows of its FROM",
        ),
        // By which equality is not plain to see.
        (
            "UPDATE item SET gap = true FROM entry e WHERE e.name = item.number::text",
            "a row may meet several rows of its FROM",
        ),
        (
            "UPDATE item SET gap = true FROM entry e WHERE e.name = item.state AND random() < 0.5",
            "a row may meet several rows of its FROM",
        ),
        ("DELETE FROM item", "it deletes every row"),
        (
            "UPDATE item SET state = item::text WHERE id = 1",
            "it mentions a whole row, whose type is the table's own",
        ),
        (
            "UPDATE item a SET gap = true FROM item b WHERE b.id = a.number AND b.state > 'a'",
            "it reads state of other rows, which an earlier statement of the pass writes",
        ),
        (
            "ALTER TABLE item ADD COLUMN s serial",
            "s draws from a sequence",
        ),
        (
            "UPDATE item SET (state, gap) = (SELECT e.state, true FROM (SELECT * FROM entry f WHERE f.id = \
             entry_id LIMIT 1) e)",
            "it sets several columns from any one of several rows",
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(why_not(&[JOIN, sql]), expected, "{sql}");
    }
}

#[test]
fn what_is_read_from_the_clock_cannot_fuse() {
    assert_eq!(
        why_not(&[
            JOIN,
            "ALTER TABLE item ADD COLUMN made timestamptz DEFAULT now()"
        ]),
        "the default of made is no constant"
    );
    let defaults = [
        "timestamptz DEFAULT 'Now'",
        "date DEFAULT 'tomorrow'::text::date",
        "text DEFAULT 'today'::timestamp",
        "timestamp DEFAULT 'today 10:00'",
        "date[] DEFAULT '{now}'",
        "workday DEFAULT 'today'",
        "text DEFAULT 'tomorrow'::workday",
    ];
    for default in defaults {
        let sql = format!("ALTER TABLE item ADD COLUMN made {default}");
        assert_eq!(
            why_not(&[JOIN, &sql]),
            "the default of made is read from the clock",
            "{sql}"
        );
    }
    for using in ["day + ('now'::workday - day)", "day + (day - 'today')"] {
        let sql = format!("ALTER TABLE item ALTER COLUMN day TYPE timestamp USING {using}");
        assert_eq!(
            why_not(&[JOIN, &sql]),
            "its USING calls functions or has a subquery",
            "{sql}"
        );
    }
}

#[test]
fn assignments_see_earlier_ones_and_conditions_become_case() {
    let optimised = optimised(&[FILL, JOIN], Passes::Shadow);
    let (insert, select) = &optimised.passes[0].composed.fill;
    assert_eq!(insert, "INSERT INTO ");
    for part in [
        "CASE WHEN (state = 'open') THEN CAST(amount * 2 AS numeric) ELSE \
         \"item\".\"amount\" END AS \"amount\"",
        "FROM ONLY \"public\".\"item\" AS o WHERE ($1::text IS NULL OR \"o\".\"ctid\" > CAST($1::text AS \
         tid))",
        // The length of a varchar is left to the INSERT.
        "CASE WHEN \"e\".ctid IS NOT NULL THEN CAST(e.state AS character varying) ELSE \"i\".\"state\" END",
        "LEFT JOIN entry e ON (e.id = i.entry_id)",
    ] {
        assert!(select.contains(part), "no {part} in {select}");
    }
}

/// The SELECT of the only pass.
fn composed(statements: &[&str]) -> String {
    let optimised = optimised(statements, Passes::Shadow);
    let [pass] = optimised.passes.as_slice() else {
        panic!("{statements:?} become {:?}", optimised.passes);
    };
    assert_eq!(pass.left_out, [], "{statements:?}");
    pass.composed.fill.1.clone()
}

#[test]
fn forms_of_set_and_with_are_composed() {
    let table = [
        (
            "UPDATE item SET state = DEFAULT WHERE id = 1",
            "THEN CAST(NULL AS character varying) ELSE \"item\".\"state\" END COLLATE \"default\"",
        ),
        (
            "UPDATE item SET (number, gap) = (number + 1, DEFAULT)",
            "CAST(number + 1 AS integer) AS \"number\"",
        ),
        (
            "UPDATE item SET (state, gap) = (SELECT state, true FROM entry e WHERE e.id = entry_id)",
            "CAST((SELECT upshift_row.\"c2\" FROM (SELECT state, true FROM entry e WHERE e.id = entry_id) \
             AS upshift_row (\"c1\", \"c2\")) AS boolean) AS \"gap\"",
        ),
        (
            "WITH x AS (SELECT id FROM entry) UPDATE item SET gap = true FROM x WHERE x.id = entry_id",
            "(WITH x AS (SELECT id FROM entry) SELECT \"item\".\"id\"",
        ),
        (
            "WITH x AS (SELECT id FROM entry) UPDATE item SET gap = true FROM x WHERE x.id = entry_id",
            "LEFT JOIN (SELECT *, true AS upshift_hit FROM x) x ON (x.id = entry_id)",
        ),
    ];
    for (sql, expected) in table {
        let select = composed(&[FILL, sql]);
        assert!(select.contains(expected), "no {expected} in {select}");
    }
}

#[test]
fn the_row_at_hand_is_not_read_again() {
    let self_join = "UPDATE item a SET state = e.state FROM item b LEFT JOIN entry e ON e.id = b.entry_id \
                     WHERE a.id = b.id";
    let optimised = optimised(&[FILL, self_join], Passes::Shadow);
    let (_, select) = &optimised.passes[0].composed.fill;
    assert_eq!(select.matches("FROM ONLY").count(), 1, "{select}");
    assert!(!select.contains("item b"), "{select}");
    assert!(select.contains("LATERAL (SELECT a.id AS id"), "{select}");
}

#[test]
fn rows_that_are_only_looked_for_are_joined_once() {
    let by_name = "UPDATE item SET gap = false FROM entry e WHERE e.name = item.state AND e.state = 'x' \
                   AND number > 1";
    let by_key = "UPDATE item i SET gap = true FROM item b WHERE b.id = i.number - 1 AND i.entry_id = \
                  b.entry_id";
    let optimised = optimised(&[FILL, by_name, by_key], Passes::Shadow);
    let (_, select) = &optimised.passes[0].composed.fill;
    for part in [
        "LEFT JOIN (SELECT DISTINCT (e.name) AS upshift_key_1, true AS upshift_hit FROM entry e WHERE \
         (e.state = 'x')) AS upshift_found ON ((item.state) = upshift_found.upshift_key_1 AND (number > 1))",
        "CASE WHEN upshift_found.upshift_hit IS NOT NULL THEN",
        // At most one row has an id.
        "LEFT JOIN item b ON (i.entry_id = b.entry_id AND b.id = i.number - 1)",
    ] {
        assert!(select.contains(part), "no {part} in {select}");
    }
}

#[test]
fn an_index_finds_rows_that_are_only_looked_for() {
    let add = "CREATE INDEX entry_name ON entry (name, (n + 1))";
    let look = "UPDATE item SET gap = false FROM entry e WHERE item.number = e.n + 1 AND \
                item.state = e.name";
    let column = "ALTER TABLE entry ADD COLUMN n integer";
    let optimised = optimised(&[column, add, FILL, look], Passes::Shadow);
    let (_, select) = &optimised.passes[0].composed.fill;
    let part = "LEFT JOIN LATERAL (SELECT true AS upshift_hit FROM entry e WHERE item.state = e.name AND \
                item.number = e.n + 1 LIMIT 1) AS upshift_found ON (true)";
    assert!(select.contains(part), "no {part} in {select}");
}

#[test]
fn a_pass_is_chosen_where_it_is_cheaper() {
    // A million rows, one index: three statements that write all of them are dearer than one pass.
    let all = ["UPDATE item SET gap = true", FILL, JOIN];
    assert_eq!(optimised(&all, Passes::ByCost).passes.len(), 1);
    assert_eq!(optimised(&all, Passes::InPlace).passes.len(), 0);
    let few = Options {
        estimates: [(StepId(0), 1000)].into(),
        ..Options::from(Strategy::Dataflow)
    };
    let resolved = resolved(&[FILL]);
    let analysis = analyse(&resolved, tables(), &few).expect("it is bound");
    let ordered = order(&analysis, &resolved, few.strategy);
    assert!(optimise(&analysis, &ordered, &few).passes.is_empty());
}

#[test]
fn a_disk_budget_keeps_passes_away() {
    let options = Options {
        passes: Passes::Shadow,
        disk_budget: Some(1 << 20),
        ..Options::from(Strategy::Dataflow)
    };
    let resolved = resolved(&[FILL, JOIN]);
    let analysis = analyse(&resolved, tables(), &options).expect("it is bound");
    let ordered = order(&analysis, &resolved, options.strategy);
    assert!(optimise(&analysis, &ordered, &options).passes.is_empty());
}

/// The transforms of the only pass, where `UPDATE … SET target = source` are transforms.
fn transforms(statements: &[&str]) -> (Vec<u32>, Vec<JoinedTransform>) {
    let mut resolved = resolved(statements);
    for step in &mut resolved.steps {
        let StepKind::Sql(statement) = &step.kind else {
            continue;
        };
        let Some((target, source)) = [("name", "state"), ("state", "state")]
            .into_iter()
            .find(|(target, source)| statement.contains(&format!("SET {target} = {source}")))
        else {
            continue;
        };
        step.kind = StepKind::Transform(TransformStep {
            statement: statement.clone(),
            source: source.to_owned(),
            target: target.to_owned(),
            call: Call {
                function: "html_to_text".to_owned(),
                arguments: std::collections::BTreeMap::new(),
            },
        });
    }
    let mut passes = chosen(&resolved, Passes::Shadow).passes;
    assert_eq!(passes.len(), 1, "{passes:?}");
    let pass = passes.remove(0);
    (pass.steps, pass.composed.transforms)
}

#[test]
fn a_transform_keeps_rows_behind_what_computes_them() {
    let own = "UPDATE entry SET state = state WHERE id > 3";
    let other = "UPDATE entry SET name = state";
    let update = "UPDATE entry SET state = upper(state)";
    let kept = |statements: &[&str]| {
        let (steps, transforms) = transforms(statements);
        assert_eq!(steps.len(), statements.len());
        let kept = transforms.iter().map(|t| (t.keep.is_some(), t.compares));
        kept.collect::<Vec<_>>()
    };
    assert_eq!(kept(&[own]), [(false, false)]);
    assert_eq!(kept(&[own, other]), [(false, false), (false, true)]);
    assert_eq!(kept(&[update, own, other]), [(true, false), (false, true)]);
    assert_eq!(kept(&[own, update, other]), [(false, false), (true, true)]);
    let (_, transforms) = transforms(&[own]);
    let rows = &transforms[0].rows;
    for part in [
        "SELECT \"entry\".\"id\" AS k1, \"entry\".\"state\"::text AS source FROM (SELECT",
        // Its condition is asked of columns.
        " OFFSET 0) AS \"entry\" WHERE id > 3",
    ] {
        assert!(rows.contains(part), "{rows}");
    }
}

#[test]
fn a_fresh_column_with_one_value_is_metadata() {
    let fills = |statements: &[&str]| {
        let fills = optimised(statements, Passes::ByCost).fills;
        fills
            .into_iter()
            .map(|fill| (fill.add, fill.update))
            .collect::<Vec<_>>()
    };
    let add = "ALTER TABLE item ADD COLUMN kind text";
    let set = "UPDATE item SET kind = 'plain'";
    assert_eq!(fills(&[add, set]), [(0, 1)]);
    assert_eq!(
        fills(&[add, "UPDATE entry SET name = 'x' WHERE id = 1", set]),
        [(0, 2)]
    );
    // What the type alone does not say would be lost.
    for definition in [
        "kind serial",
        "kind text COLLATE \"C\"",
        "kind text NOT NULL",
    ] {
        let add = format!("ALTER TABLE item ADD COLUMN {definition}");
        assert_eq!(
            fills(&[&add, "UPDATE item SET kind = 1"]),
            [],
            "{definition}"
        );
    }
    // Rows that come in between have no value until the UPDATE gives them one.
    assert_eq!(fills(&[add, "INSERT INTO item (id) VALUES (-1)", set]), []);
    assert_eq!(
        fills(&[add, "UPDATE item SET kind = 'plain' WHERE id = 1"]),
        []
    );
    assert_eq!(fills(&[set.replace("kind", "state").as_str()]), []);
}

#[test]
fn contraction_keeps_the_order_acyclic() {
    let edge = |from, to| OrderEdge {
        from,
        to,
        reason: upshift_shared::plan::EdgeReason::Sequence,
    };
    // 0 → 1 → 2, and 3 by itself.
    let mut graph = Contracted::new(4, &[edge(0, 1), edge(1, 2)]);
    assert!(!graph.can_join(0, 2), "1 comes between");
    assert!(graph.can_join(0, 1) && graph.can_join(0, 3));
    graph.join(0, 3);
    assert_eq!(graph.node(3), 0);
    assert!(!graph.can_join(3, 2), "1 still comes between");
    graph.join(0, 1);
    assert!(graph.can_join(1, 2) && graph.is_acyclic());
    let edges: Vec<(u32, u32)> = graph.edges().map(|(from, to, _)| (from, to)).collect();
    assert_eq!(edges, [(0, 2)]);
}

#[test]
fn a_fill_knows_what_assigns_a_column_whatever_it_was_called_then() {
    let resolved = resolved(&[
        "UPDATE item SET amount = 1, number = 1 WHERE gap",
        "ALTER TABLE item RENAME COLUMN amount TO spare",
        "ALTER TABLE item RENAME COLUMN number TO amount",
        "UPDATE item SET amount = 2 WHERE gap",
        "ALTER TABLE item RENAME COLUMN spare TO rest",
    ]);
    let (analysis, optimised) = analysed(&resolved, Passes::Shadow);
    assert_eq!(optimised.passes.len(), 1, "{:?}", optimised.passes);
    let heading = physical::Heading {
        pack: String::new(),
        target_version: None,
        database: String::new(),
        server_version: 150_000,
    };
    let plan = physical::plan(heading, &resolved, analysis, &optimised, Strategy::Dataflow);
    let plan = plan.expect("all of it has a way back");
    let fills = plan.tasks.iter().filter_map(|task| match &task.operator {
        Operator::Shadow(shadow) => match &shadow.stage {
            ShadowStage::Fill { assigned, .. } => Some(assigned),
            _ => None,
        },
        _ => None,
    });
    let assigned: Vec<(&str, Vec<u32>)> = fills
        .flatten()
        .map(|column| {
            let lines = column.locations.iter().map(|location| location.line);
            (column.name.as_str(), lines.collect())
        })
        .collect();
    assert_eq!(assigned, [("amount", vec![1, 4]), ("rest", vec![1])]);
}
