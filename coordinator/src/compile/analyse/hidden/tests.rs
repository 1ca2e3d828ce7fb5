//! Statements against a small catalog in which `move` and `base` have lost a column.

use std::path::PathBuf;

use upshift_shared::pack::Location;

use super::Hidden;
use crate::compile::analyse::fixture::{catalog, path};

fn hidden() -> Hidden {
    let mut hidden = Hidden::default();
    let catalog = catalog();
    for name in ["rel", "base", "tree"] {
        let relation = catalog.find(None, name, &path()).expect("it is there");
        let at = Location {
            file: PathBuf::from("pre-a.sql"),
            line: 3,
            column: 1,
        };
        hidden.places.insert(relation.id, at);
    }
    hidden
}

/// The new text, `-` where it stays, or what is wrong.
fn expanded(sql: &str) -> String {
    let parsed = pg_query::parse(sql, 0).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let node = parsed.protobuf.stmts[0].stmt.as_ref().expect("a statement");
    match hidden().expand(node, sql, &catalog(), &path()) {
        Ok(Some((_, text))) => text.replace('"', ""),
        Ok(None) => "-".to_owned(),
        Err(error) => error
            .message
            .split(", and of")
            .next()
            .unwrap_or("")
            .to_owned(),
    }
}

/// `tree` has id, parent_id, name; `rel` has move_id, tag_id, note; `base` and its child `heir` have
/// id, a.
const CASES: &[(&str, &str)] = &[
    (
        "SELECT * FROM tree",
        "SELECT tree.id, tree.parent_id, tree.name FROM tree",
    ),
    (
        "SELECT * FROM public.tree AS t /* * */",
        "SELECT t.id, t.parent_id, t.name FROM public.tree AS t /* * */",
    ),
    (
        "SELECT 1, t . * FROM tree t",
        "SELECT 1, t . id, t . parent_id, t . name FROM tree t",
    ),
    (
        "SELECT public.tree.* FROM tree",
        "SELECT public.tree.id, public.tree.parent_id, public.tree.name FROM tree",
    ),
    ("SELECT id FROM tree", "-"),
    ("SELECT count(*), count(t) FROM tree t", "-"),
    ("SELECT 1 FROM city WHERE EXISTS (SELECT * FROM tree)", "-"),
    ("SELECT c.* FROM city c, tree t", "-"),
    (
        "SELECT * FROM city c, tree t, generate_series(1, 2) AS g",
        "SELECT c.*, t.id, t.parent_id, t.name, g.* FROM city c, tree t, generate_series(1, 2) AS g",
    ),
    (
        "SELECT * FROM (SELECT * FROM tree) AS x",
        "SELECT * FROM (SELECT tree.id, tree.parent_id, tree.name FROM tree) AS x",
    ),
    (
        "WITH x AS (SELECT * FROM base) SELECT * FROM x JOIN city USING (id)",
        "WITH x AS (SELECT base.id, base.a FROM base) SELECT * FROM x JOIN city USING (id)",
    ),
    ("WITH tree AS (SELECT 1) SELECT * FROM tree", "-"),
    (
        "SELECT * FROM base JOIN city USING (id)",
        "SELECT base.id, base.a, city.country, city.name FROM base JOIN city USING (id)",
    ),
    (
        "SELECT * FROM base FULL JOIN city USING (id)",
        "SELECT COALESCE(base.id, city.id) AS id, base.a, city.country, city.name FROM base FULL JOIN city USING (id)",
    ),
    (
        "SELECT * FROM base NATURAL JOIN city",
        "SELECT base.id, base.a, city.country, city.name FROM base NATURAL JOIN city",
    ),
    (
        "SELECT base.id FROM base NATURAL JOIN tree",
        "a NATURAL JOIN compares all columns",
    ),
    (
        "SELECT * FROM base JOIN unnest(ARRAY[1]) AS u (id) USING (id)",
        "what this star covers cannot be told",
    ),
    (
        "SELECT * FROM heir",
        "SELECT heir.id, heir.a, heir.b FROM heir",
    ),
    (
        "SELECT x.p FROM base AS x (p, q)",
        "columns are renamed here by their place",
    ),
    (
        "SELECT 1 WHERE 1 IN (SELECT x.id FROM city x, LATERAL (SELECT x.*, t.* FROM base t) y)",
        "SELECT 1 WHERE 1 IN (SELECT x.id FROM city x, LATERAL (SELECT x.*, t.id, t.a FROM base t) y)",
    ),
    (
        "SELECT * FROM base UNION ALL TABLE base",
        "SELECT base.id, base.a FROM base UNION ALL SELECT base.id, base.a FROM base",
    ),
    ("TABLE ONLY base", "SELECT base.id, base.a FROM ONLY base"),
    (
        "SELECT to_jsonb(b) FROM base b",
        "SELECT to_jsonb((SELECT upshift_row FROM (SELECT b.id, b.a) AS upshift_row)) FROM base b",
    ),
    (
        "SELECT b::text FROM base b",
        "SELECT (SELECT upshift_row FROM (SELECT b.id, b.a) AS upshift_row)::text FROM base b",
    ),
    (
        "SELECT to_jsonb(b) FROM city LEFT JOIN base b ON true",
        "this is a whole row of a table",
    ),
    ("SELECT b FROM base b", "this is a whole row of a table"),
    (
        "SELECT 1 FROM base b WHERE b.* IS NULL",
        "this is a whole row of a table",
    ),
    ("SELECT f(base) FROM base", "this is a whole row of a table"),
    (
        "SELECT (b).a, ROW(b.*) FROM base b",
        "SELECT (b).a, ROW(b.id, b.a) FROM base b",
    ),
    (
        "SELECT name FROM tree, (SELECT 1 AS base) x, base WHERE base = 1",
        "-",
    ),
    (
        "INSERT INTO base VALUES (1, 'a')",
        "INSERT INTO base (id, a) VALUES (1, 'a')",
    ),
    (
        "INSERT INTO base AS b VALUES (1) RETURNING *",
        "INSERT INTO base AS b (id) VALUES (1) RETURNING b.id, b.a",
    ),
    ("INSERT INTO base DEFAULT VALUES", "-"),
    ("INSERT INTO base (a) VALUES ('a')", "-"),
    (
        "INSERT INTO base SELECT * FROM base ON CONFLICT (id) DO UPDATE SET a = excluded.a",
        "INSERT INTO base (id, a) SELECT base.id, base.a FROM base ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    ),
    (
        "INSERT INTO base SELECT * FROM f()",
        "this INSERT has no list of columns",
    ),
    (
        "INSERT INTO base SELECT c.id FROM city c",
        "INSERT INTO base (id) SELECT c.id FROM city c",
    ),
    (
        "UPDATE city c SET name = b.a FROM base b RETURNING *",
        "UPDATE city c SET name = b.a FROM base b RETURNING c.*, b.id, b.a",
    ),
    (
        "DELETE FROM base USING city c RETURNING base.*",
        "DELETE FROM base USING city c RETURNING base.id, base.a",
    ),
    (
        "MERGE INTO base b USING city c ON b.id = c.id WHEN NOT MATCHED THEN INSERT VALUES (c.id)",
        "the INSERT of this MERGE has no list of columns",
    ),
    (
        "MERGE INTO base b USING city c ON b.id = c.id WHEN NOT MATCHED THEN INSERT (id) VALUES (c.id)",
        "-",
    ),
    (
        "CREATE TABLE x AS SELECT * FROM base",
        "CREATE TABLE x AS SELECT base.id, base.a FROM base",
    ),
    (
        "SELECT * INTO x FROM base",
        "SELECT base.id, base.a INTO x FROM base",
    ),
    (
        "WITH x AS (DELETE FROM base RETURNING *) INSERT INTO city SELECT *, '' FROM x",
        "WITH x AS (DELETE FROM base RETURNING base.id, base.a) INSERT INTO city SELECT *, '' FROM x",
    ),
    (
        "INSERT INTO base SELECT * FROM (SELECT 1, 'x') s",
        "INSERT INTO base (id, a) SELECT * FROM (SELECT 1, 'x') s",
    ),
    (
        "CREATE VIEW x AS SELECT b.* FROM base b",
        "CREATE VIEW x AS SELECT b.id, b.a FROM base b",
    ),
    (
        "CREATE MATERIALIZED VIEW x AS TABLE base",
        "CREATE MATERIALIZED VIEW x AS SELECT base.id, base.a FROM base",
    ),
    ("CREATE TABLE x (LIKE base)", "LIKE takes over all columns"),
    ("CREATE TABLE x () INHERITS (base)", "-"),
    (
        "ALTER TABLE city INHERIT base",
        "parents and children have all columns in common",
    ),
    ("COPY base TO '/tmp/x'", "COPY base (id, a) TO '/tmp/x'"),
    (
        "COPY (SELECT * FROM base) TO '/tmp/x'",
        "COPY (SELECT base.id, base.a FROM base) TO '/tmp/x'",
    ),
    (
        "CREATE RULE r AS ON INSERT TO base DO ALSO INSERT INTO city SELECT new.*",
        "CREATE RULE r AS ON INSERT TO base DO ALSO INSERT INTO city SELECT new.id, new.a",
    ),
    (
        "CREATE FUNCTION g() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM (SELECT * FROM base) x; END",
        "CREATE FUNCTION g() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM (SELECT base.id, base.a FROM base) x; END",
    ),
];

#[test]
fn what_covers_hidden_columns_is_written_out() {
    let wrong: Vec<String> = CASES
        .iter()
        .map(|(sql, wanted)| (sql, wanted, expanded(sql)))
        .filter(|(_, wanted, found)| found != *wanted)
        .map(|(sql, wanted, found)| format!("{sql}\n  wanted {wanted}\n  found  {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_looked_into_gets_a_warning() {
    let catalog = catalog();
    let warning = |text: &str| hidden().warning(text, &catalog).is_some();
    assert!(warning("DO $$ BEGIN INSERT INTO Base VALUES (1); END $$"));
    assert!(!warning("DO $$ BEGIN DELETE FROM database; END $$"));
    assert!(!warning("DO $$ BEGIN DELETE FROM base_; END $$"));
}
