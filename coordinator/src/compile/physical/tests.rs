//! Statement → operator: the exact templates.

use std::{collections::BTreeSet, sync::Arc};

use upshift_shared::{
    ids::{RelId, StepId},
    pack::{Directives, Location, Phase, StepKind, TransformStep},
    pg::ident::QualifiedName,
    plan::{
        KeptTable, KeyColumn, Operator, Sequences, StatementUndo, Strategy, Template, UndoKind,
    },
    transform::Call,
};

use super::choose;
use crate::compile::model::{
    AnalysedStep, Bound, BoundDml, BoundInsert, BoundTransform, Chunk, Class, Driving, NowCall,
    ResolvedStep,
};

fn column(name: &str, type_name: &str) -> KeyColumn {
    KeyColumn {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
    }
}

fn step(sql: &str, class: Class) -> AnalysedStep {
    let parsed = pg_query::parse(sql, 0)
        .expect("the test's SQL parses")
        .protobuf
        .stmts
        .remove(0)
        .stmt;
    AnalysedStep {
        step: ResolvedStep {
            id: StepId(0),
            module: 0,
            version: "1.0".parse().expect("a version"),
            phase: Phase::Pre,
            location: Location {
                file: "m/migrations/1.0/pre-a.sql".into(),
                line: 1,
                column: 1,
            },
            kind: StepKind::Sql(sql.to_owned()),
            directives: Directives::default(),
            settings: Vec::new(),
        },
        bound: Bound {
            class,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            names: Vec::new(),
            tables: Vec::new(),
            sequences: Sequences::None,
            shares: BTreeSet::new(),
            now_calls: Vec::new(),
            rows: 1_000_000,
            warnings: Vec::new(),
        },
        parsed: parsed.map(|node| Arc::new(*node)),
        around: None,
    }
}

fn dml(alias: &str, assigned: &[&str], chunk: Chunk) -> BoundDml {
    BoundDml {
        relation: RelId(1),
        table: QualifiedName::new("public", "move line"),
        alias: alias.to_owned(),
        assigned: assigned.iter().map(|&name| name.to_owned()).collect(),
        columns: vec![column("id", "integer"), column("state", "text")],
        key: Some(vec![column("id", "integer")]),
        chunk,
        joins: crate::compile::model::Joins::default(),
    }
}

/// As it runs.
fn rendered(template: &Template, kept: &KeptTable) -> String {
    let name = QualifiedName::new("upshift_kept", kept.name.replace("{run}", "r"));
    template.render(&name)
}

fn by_key() -> Chunk {
    Chunk::ByKey("it reads only the row at hand".to_owned())
}

#[test]
fn an_update_keeps_before_images_of_its_own_range() {
    let sql =
        "UPDATE \"move line\" l SET state = p.state FROM p WHERE p.id = l.p_id OR now() < l.d";
    let mut step = step(sql, Class::Update(dml("l", &["state"], by_key())));
    let start = sql.find("now()").expect("it is there");
    let replacement = "($1::text::timestamptz)".to_owned();
    step.bound.now_calls = vec![NowCall {
        start,
        end: start + 5,
        replacement,
    }];
    let chosen = choose(&step, 7, Strategy::Dataflow).expect("it is chosen");
    let Operator::InPlace(op) = chosen.operator else {
        panic!("in-place is expected")
    };
    assert!(chosen.pinned_now);
    assert_eq!(chosen.undo, UndoKind::BeforeImages);
    assert_eq!(chosen.why, "cut by id: it reads only the row at hand");
    assert_eq!(
        rendered(&op.sql, &op.before_images),
        "WITH upshift_changed AS (UPDATE \"move line\" l SET state = p.state FROM p WHERE (p.id = l.p_id \
         OR $1::text::timestamptz < l.d) AND (($3::text IS NULL OR l.id > $3::text::int) AND \
         ($4::text IS NULL OR l.id <= $4::text::int)) RETURNING l.id) INSERT INTO \
         \"upshift_kept\".\"r_t7_before\" (upshift_unit, \"id\", \"state\") SELECT $2::text::integer, \
         o.\"id\", o.\"state\" FROM \"public\".\"move line\" AS o JOIN upshift_changed AS c ON \
         o.\"id\" = c.\"id\" WHERE ($3::text IS NULL OR \"o\".\"id\" > CAST($3::text AS integer)) AND \
         ($4::text IS NULL OR \"o\".\"id\" <= CAST($4::text AS integer))"
    );
    let kept = Some(vec!["id".to_owned(), "state".to_owned()]);
    assert_eq!(op.before_images.columns, kept);
}

#[test]
fn a_delete_returns_what_it_deletes() {
    let sql = "DELETE FROM \"move line\" WHERE state = 'x'";
    let whole = Chunk::Whole("a foreign key of the table points at itself".to_owned());
    let step = step(sql, Class::Delete(dml("move line", &[], whole)));
    let chosen = choose(&step, 0, Strategy::Dataflow).expect("it is chosen");
    let Operator::InPlace(op) = chosen.operator else {
        panic!("in-place is expected")
    };
    assert_eq!(
        chosen.why,
        "in one unit: a foreign key of the table points at itself"
    );
    assert_eq!(
        rendered(&op.sql, &op.before_images),
        "WITH upshift_changed AS (DELETE FROM \"move line\" WHERE state = 'x' RETURNING \"move line\".*) \
         INSERT INTO \"upshift_kept\".\"r_t0_before\" SELECT $1::text::integer, c.* FROM \
         upshift_changed AS c"
    );
    assert_eq!(op.before_images.columns, None);
    assert!(op.cut.is_none());
}

#[test]
fn an_insert_is_cut_by_what_drives_it() {
    let sql = "INSERT INTO tag (id, name) SELECT s.id, s.name FROM source s WHERE s.ok OR s.maybe";
    let class = Class::Insert(BoundInsert {
        relation: RelId(1),
        table: QualifiedName::new("public", "tag"),
        columns: vec![column("id", "integer"), column("name", "text")],
        key: Some(vec![column("id", "integer")]),
        driving: Some(Driving {
            relation: RelId(2),
            table: QualifiedName::new("public", "source"),
            alias: "s".to_owned(),
            key: vec![column("id", "bigint")],
        }),
        chunk: by_key(),
    });
    let chosen = choose(&step(sql, class), 3, Strategy::Dataflow).expect("it is chosen");
    let Operator::Append(op) = chosen.operator else {
        panic!("append is expected")
    };
    assert_eq!(
        rendered(&op.sql, &op.recorded),
        "WITH upshift_inserted AS (INSERT INTO tag (id, name) SELECT s.id, s.name FROM source s WHERE \
         (s.ok OR s.maybe) AND (($2::text IS NULL OR s.id > $2::text::bigint) AND ($3::text IS NULL OR \
         s.id <= $3::text::bigint)) RETURNING id) INSERT INTO \"upshift_kept\".\"r_t3_new\" \
         (upshift_unit, \"id\") SELECT $1::text::integer, \"id\" FROM upshift_inserted"
    );
}

/// A transform of `body` into `html`, which is of the type `jsonb`.
fn transform() -> AnalysedStep {
    let sql = "UPDATE \"move line\" l SET html = body WHERE l.state = 'x' OR maybe";
    let transform = BoundTransform {
        dml: dml("l", &["html"], by_key()),
        cast: Some("jsonb".to_owned()),
        longest: None,
        distinct: true,
        translated: false,
    };
    let mut step = step(sql, Class::Transform(transform));
    step.step.kind = StepKind::Transform(TransformStep {
        statement: sql.to_owned(),
        source: "body".to_owned(),
        target: "html".to_owned(),
        call: Call {
            function: "json_path_map".to_owned(),
            arguments: std::collections::BTreeMap::new(),
        },
    });
    step
}

#[test]
fn a_transform_reads_rows_and_updates_by_key() {
    let chosen = choose(&transform(), 4, Strategy::Dataflow).expect("it is chosen");
    assert_eq!(chosen.undo, UndoKind::BeforeImages);
    let Operator::Transform(op) = chosen.operator else {
        panic!("transform is expected")
    };
    assert_eq!(
        op.rows,
        "SELECT l.id AS k1, l.body::text AS source, l.html::text AS target FROM public.\"move line\" l \
         WHERE l.state = 'x' OR maybe"
    );
    let range = |alias: &str| {
        format!(
            "($2::text IS NULL OR \"{alias}\".\"id\" > CAST($2::text AS integer)) AND ($3::text IS NULL OR \
             \"{alias}\".\"id\" <= CAST($3::text AS integer))"
        )
    };
    assert_eq!(
        rendered(&op.write.sql, &op.write.before_images),
        format!(
            "WITH upshift_changed AS (UPDATE \"public\".\"move line\" AS t SET \"html\" = CAST(r.value AS \
             jsonb) FROM pg_temp.upshift_rows AS r WHERE t.\"id\" = r.k1 AND {} AND t.\"html\" IS DISTINCT \
             FROM CAST(r.value AS jsonb) RETURNING t.\"id\") INSERT INTO \"upshift_kept\".\"r_t4_before\" \
             (upshift_unit, \"id\", \"html\") SELECT $1::text::integer, o.\"id\", o.\"html\" FROM \
             \"public\".\"move line\" AS o JOIN upshift_changed AS c ON o.\"id\" = c.\"id\" WHERE {}",
            range("t"),
            range("o"),
        )
    );
    let naive = choose(&transform(), 4, Strategy::Sequential).expect("it is chosen");
    assert_eq!(naive.undo, UndoKind::Irreversible);
    assert!(naive.operator.cut().is_none());
}

#[test]
fn the_naive_run_keeps_nothing() {
    let sql = "UPDATE \"move line\" SET state = 'x'";
    let step = step(sql, Class::Update(dml("move line", &["state"], by_key())));
    let chosen = choose(&step, 0, Strategy::Sequential).expect("it is chosen");
    let Operator::Statement(op) = chosen.operator else {
        panic!("statement is expected")
    };
    assert_eq!(
        (op.sql.as_str(), op.undo),
        (sql, StatementUndo::Irreversible)
    );
}

#[test]
fn what_has_no_way_back_is_refused_with_its_place() {
    let sql = "DO $$ BEGIN PERFORM 1; END $$";
    let opaque = |irreversible| {
        let class = Class::Opaque {
            why: "DO blocks are not looked into".to_owned(),
            transactional: true,
            recovery: None,
            undo: None,
        };
        let mut step = step(sql, class);
        step.step.directives.irreversible = irreversible;
        choose(&step, 0, Strategy::Dataflow)
    };
    let complaint = opaque(false).err().expect("it is refused");
    assert_eq!(
        complaint.message,
        "this statement has no way back: DO blocks are not looked into; give it -- upshift: undo = \
         \"SQL\", or mark it -- upshift: irreversible"
    );
    assert_eq!(
        complaint.location.to_string(),
        "m/migrations/1.0/pre-a.sql:1:1"
    );
    assert_eq!(
        opaque(true).expect("it is chosen").undo,
        UndoKind::Irreversible
    );
}
