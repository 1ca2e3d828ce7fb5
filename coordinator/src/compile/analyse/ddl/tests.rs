//! Tables of statements: the actions that they come to, what they are ordered by, and what is refused.
//! That the evolved catalog is PostgreSQL's own, and that the way back is one, is tested on a server.

use upshift_shared::{
    catalog::Catalog,
    pack::Directives,
    plan::{Capture, DdlAction, DdlEffect},
};

use super::bind;
use crate::compile::{
    error::BindError,
    model::{Binding, Bound, Class, Resource},
};

const SETUP: &[&str] = &[
    "CREATE TABLE company (id serial PRIMARY KEY, name varchar(20) NOT NULL)",
    "CREATE TABLE partner (id integer PRIMARY KEY, name text, company_id integer REFERENCES company, \
     active boolean DEFAULT true)",
    "CREATE TABLE \"Od\"\"d\" (\"a b\" integer, \"select\" varchar(5))",
    "CREATE INDEX partner_name_idx ON partner (name)",
    "CREATE VIEW names AS SELECT name FROM partner",
    "CREATE FUNCTION f(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE mood AS ENUM ('ok')",
    "CREATE SEQUENCE counter",
];

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.server_version = 150_000;
    catalog.schemas = vec!["public".to_owned(), "other".to_owned()];
    for sql in SETUP {
        run(&mut catalog, sql, &Directives::default()).expect("the setup binds");
    }
    catalog
}

fn run(catalog: &mut Catalog, sql: &str, directives: &Directives) -> Result<Binding, BindError> {
    let parsed = pg_query::parse(sql, 0).expect("the test's statement parses");
    let statement = parsed.protobuf.stmts.into_iter().next();
    let node = statement.and_then(|raw| raw.stmt).expect("a statement");
    let path = ["pg_catalog".to_owned(), "public".to_owned()];
    bind(&node, sql, directives, catalog, &path)
}

fn bound(sql: &str, directives: &Directives) -> Bound {
    match run(&mut catalog(), sql, directives) {
        Ok(Binding::Bound(bound)) => *bound,
        other => panic!("{sql}: {other:?}"),
    }
}

fn actions(sql: &str, directives: &Directives) -> Vec<DdlAction> {
    match bound(sql, directives).class {
        Class::Ddl(ddl) => ddl.actions,
        other => panic!("{sql}: {other:?}"),
    }
}

/// An action in a line: what takes it back.
fn shown(action: &DdlAction) -> String {
    match &action.effect {
        DdlEffect::Invert { undo } => undo.join("; "),
        DdlEffect::Capture { objects } => {
            let objects: Vec<String> = objects.iter().map(captured).collect();
            format!("capture {}", objects.join(", "))
        }
        DdlEffect::KeepColumn { table, column } => format!("keep {table} {column}"),
        DdlEffect::Hide(hide) => format!("hide {hide:?}"),
        DdlEffect::Irreversible => "irreversible".to_owned(),
    }
}

fn captured(capture: &Capture) -> String {
    let text = format!("{capture:?}");
    text.split_once(' ')
        .map_or(text.clone(), |(kind, _)| kind.to_owned())
}

/// The statement, and a line for each action.
const INVERSES: &[(&str, &[&str])] = &[
    ("CREATE TABLE t (id int)", &["DROP TABLE \"public\".\"t\""]),
    (
        "ALTER TABLE partner ADD COLUMN a int, ADD b text UNIQUE",
        &["ALTER TABLE \"public\".\"partner\" DROP COLUMN \"b\"; \
           ALTER TABLE \"public\".\"partner\" DROP COLUMN \"a\""],
    ),
    (
        "ALTER TABLE \"Od\"\"d\" RENAME \"a b\" TO \"c\"\"d\"",
        &["ALTER TABLE \"public\".\"Od\"\"d\" RENAME COLUMN \"c\"\"d\" TO \"a b\""],
    ),
    (
        "ALTER TABLE \"Od\"\"d\" RENAME TO plain",
        &["ALTER TABLE \"public\".\"plain\" RENAME TO \"Od\"\"d\""],
    ),
    (
        "ALTER TABLE \"Od\"\"d\" ADD PRIMARY KEY (\"a b\")",
        &[
            "ALTER TABLE \"public\".\"Od\"\"d\" DROP CONSTRAINT \"Od\"\"d_pkey\"; \
           ALTER TABLE \"public\".\"Od\"\"d\" ALTER COLUMN \"a b\" DROP NOT NULL",
        ],
    ),
    (
        "CREATE INDEX ON partner (name)",
        &["DROP INDEX \"public\".\"partner_name_idx1\""],
    ),
    (
        "ALTER TABLE partner ADD FOREIGN KEY (company_id) REFERENCES company",
        &["ALTER TABLE \"public\".\"partner\" DROP CONSTRAINT \"partner_company_id_fkey1\""],
    ),
    (
        "ALTER TABLE partner ALTER active SET DEFAULT false, ALTER name SET NOT NULL",
        &["capture NotNull, Default"],
    ),
    (
        "ALTER TABLE company ALTER name TYPE varchar(30)",
        &["capture Type, Default"],
    ),
    (
        "ALTER TABLE company ALTER name TYPE varchar(10)",
        &["keep \"public\".\"company\" name"],
    ),
    (
        "ALTER TABLE company ALTER name TYPE text USING upper(name)",
        &["keep \"public\".\"company\" name"],
    ),
    (
        "ALTER TABLE partner ALTER active DROP DEFAULT, DROP COLUMN company_id, ALTER id TYPE bigint",
        &[
            "capture Default",
            "hide Column { table: \"\\\"public\\\".\\\"partner\\\"\", column: \"company_id\", cascade: false }",
            "capture Type, Default",
        ],
    ),
    ("DROP INDEX partner_name_idx", &["capture Index"]),
    ("DROP VIEW names", &["capture View"]),
    (
        "CREATE OR REPLACE VIEW names AS SELECT name, id FROM partner",
        &["capture View"],
    ),
    (
        "COMMENT ON COLUMN partner.name IS 'x'",
        &["capture Comment"],
    ),
    (
        "GRANT SELECT ON partner, names TO PUBLIC",
        &["capture Privileges, Privileges"],
    ),
    (
        "ALTER FUNCTION f(int) RENAME TO g",
        &["ALTER FUNCTION \"public\".\"g\"(integer) RENAME TO \"f\""],
    ),
    (
        "ALTER TYPE mood RENAME VALUE 'ok' TO 'it''s'",
        &["ALTER TYPE \"public\".\"mood\" RENAME VALUE 'it''s' TO 'ok'"],
    ),
    (
        "ALTER SEQUENCE counter SET SCHEMA other",
        &["ALTER SEQUENCE \"other\".\"counter\" SET SCHEMA \"public\""],
    ),
];

#[test]
fn every_statement_has_its_inverse() {
    for (sql, expected) in INVERSES {
        let actions = actions(sql, &Directives::default());
        let found: Vec<String> = actions.iter().map(shown).collect();
        assert_eq!(found, *expected, "{sql}");
    }
}

/// The statement, and a part of what is said about it.
const REFUSED: &[(&str, &str)] = &[
    (
        "ALTER TABLE partnr ADD c int",
        "(did you mean \"partner\"?)",
    ),
    ("ALTER TABLE partner DROP nam", "(did you mean \"name\"?)"),
    ("ALTER TABLE partner ADD name int", "already exists"),
    ("CREATE TABLE partner (id int)", "already exists"),
    ("CREATE TABLE partner_name_idx (id int)", "already exists"),
    ("CREATE TEMP TABLE t (id int)", "temporary table"),
    (
        "CREATE TABLE t (id int PRIMARY KEY, a int PRIMARY KEY)",
        "multiple primary keys",
    ),
    (
        "CREATE TABLE nowhere.t (id int)",
        "schema \"nowhere\" does not exist",
    ),
    (
        "DROP TABLE company",
        "constraint \"partner_company_id_fkey\"",
    ),
    ("DROP TABLE names", "use DROP VIEW"),
    ("DROP TABLE partner", "view \"names\""),
    ("DROP INDEX partner_pkey", "DROP CONSTRAINT"),
    (
        "ALTER TABLE company DROP CONSTRAINT company_pkey",
        "depends on it",
    ),
    (
        "ALTER TABLE partner ADD FOREIGN KEY (id) REFERENCES company (name)",
        "no unique constraint",
    ),
    ("ALTER TABLE partner ALTER id DROP NOT NULL", "primary key"),
    ("DROP SEQUENCE company_id_seq", "column \"id\""),
    ("ALTER TYPE mood ADD VALUE 'bad'", "has no inverse"),
    (
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "has no inverse",
    ),
    ("REFRESH MATERIALIZED VIEW names", "has no inverse"),
    ("BEGIN", "BEGIN"),
    (
        "ALTER TABLE partner ALTER id TYPE text USING name, ALTER name TYPE int USING id",
        "has no inverse",
    ),
];

#[test]
fn what_psql_would_stop_at_is_refused() {
    for (sql, part) in REFUSED {
        match run(&mut catalog(), sql, &Directives::default()) {
            Err(error) => assert!(error.message.contains(part), "{sql}: {}", error.message),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn what_has_no_effect_is_skipped() {
    for sql in [
        "CREATE TABLE IF NOT EXISTS partner (id int)",
        "DROP TABLE IF EXISTS nothing",
        "DROP VIEW IF EXISTS nothing, nothing_else",
        "ALTER TABLE IF EXISTS nothing ADD c int",
        "ALTER TABLE partner ADD COLUMN IF NOT EXISTS name text",
        "ALTER TABLE partner DROP COLUMN IF EXISTS nothing",
        "CREATE INDEX IF NOT EXISTS partner_name_idx ON partner (id)",
        "CREATE SCHEMA IF NOT EXISTS other",
        "LOCK TABLE partner",
    ] {
        let binding = run(&mut catalog(), sql, &Directives::default());
        assert!(
            matches!(binding, Ok(Binding::Skipped(_))),
            "{sql}: {binding:?}"
        );
    }
}

#[test]
fn the_author_has_the_last_word() {
    let undo = Directives {
        undo: Some("SELECT 1".to_owned()),
        ..Directives::default()
    };
    let irreversible = Directives {
        irreversible: true,
        ..Directives::default()
    };
    for sql in [
        "DROP TABLE partner CASCADE",
        "ALTER TYPE mood ADD VALUE 'bad'",
    ] {
        let directed = actions(sql, &undo);
        assert_eq!(directed.len(), 1, "{sql}");
        assert_eq!(shown(&directed[0]), "SELECT 1", "{sql}");
        assert_eq!(
            shown(&actions(sql, &irreversible)[0]),
            "irreversible",
            "{sql}"
        );
    }
}

/// Two statements in order; the second must come after the first.
const ORDERED: &[(&str, &str)] = &[
    (
        "CREATE TABLE t_pkey (a int)",
        "CREATE TABLE t (id int PRIMARY KEY)",
    ),
    (
        "CREATE INDEX ON company (name)",
        "ALTER INDEX company_name_idx RENAME TO x",
    ),
    (
        "ALTER TABLE partner DROP COLUMN company_id",
        "DROP TABLE company CASCADE",
    ),
    ("DROP TABLE partner CASCADE", "DROP FUNCTION f(int)"),
    (
        "CREATE TABLE t (m mood)",
        "ALTER TYPE mood RENAME TO feeling",
    ),
    (
        "ALTER TABLE partner RENAME TO contact",
        "CREATE TABLE partner (id int)",
    ),
    (
        "ALTER TABLE partner ADD CONSTRAINT t_a_check CHECK (true)",
        "CREATE TABLE t (a int CHECK (a > 0))",
    ),
    (
        "CREATE SEQUENCE s",
        "ALTER TABLE company ALTER id SET DEFAULT nextval('s')",
    ),
    (
        "CREATE TABLE t (a int REFERENCES company)",
        "ALTER TABLE company ADD c int",
    ),
];

#[test]
fn hazards_are_seen() {
    for (first, second) in ORDERED {
        let mut catalog = catalog();
        let mut uses = Vec::new();
        for sql in [first, second] {
            match run(&mut catalog, sql, &Directives::default()) {
                Ok(Binding::Bound(bound)) => uses.push(*bound),
                other => panic!("{sql}: {other:?}"),
            }
        }
        let (first_use, second_use) = (&uses[0], &uses[1]);
        let overlap = |a: &std::collections::BTreeSet<Resource>,
                       b: &std::collections::BTreeSet<Resource>| {
            a.intersection(b).next().is_some()
        };
        assert!(
            overlap(&first_use.writes, &second_use.writes)
                || overlap(&first_use.writes, &second_use.reads)
                || overlap(&first_use.reads, &second_use.writes),
            "{first} → {second}"
        );
    }
}

#[test]
fn statements_outside_a_transaction_are_opaque_and_repeatable() {
    let bound = bound(
        "CREATE INDEX CONCURRENTLY ON partner (active)",
        &Directives::default(),
    );
    match bound.class {
        Class::Opaque {
            transactional,
            recovery,
            undo,
            ..
        } => {
            let drop = "DROP INDEX IF EXISTS \"public\".\"partner_active_idx\"".to_owned();
            assert!(!transactional);
            assert_eq!(recovery, Some(drop.clone()));
            assert_eq!(undo, Some(vec![drop]));
        }
        other => panic!("{other:?}"),
    }
}
