//! Statement by statement: class and verdict, what is read and written. The tables are in `tests/`:
//! a statement, then `=>` what it is, `R` what it reads, `W` what it writes; an error with its place.

use std::{collections::BTreeSet, fmt::Write as _};

use upshift_shared::{
    pack::{ChunkDirective, Directives},
    plan::Sequences,
};

use super::bind;
use crate::compile::{
    analyse::fixture::{catalog, path},
    error::BindError,
    model::{Bound, Chunk, Class, Resource},
};

fn try_bound(sql: &str, directives: &Directives) -> Result<Bound, BindError> {
    let parsed = pg_query::parse(sql, 0)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .protobuf;
    let node = parsed.stmts[0].stmt.as_ref().expect("a statement");
    bind(node, sql, directives, &catalog(), &path())
}

fn bound(sql: &str) -> Bound {
    try_bound(sql, &Directives::default()).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The class and the verdict in one line.
fn verdict(bound: &Bound) -> String {
    let chunk = |chunk: &Chunk| match chunk {
        Chunk::ByKey(why) => format!("by key: {why}"),
        Chunk::Whole(why) => format!("whole: {why}"),
    };
    match &bound.class {
        Class::Update(dml) => format!("update {}", chunk(&dml.chunk)),
        Class::Delete(dml) => format!("delete {}", chunk(&dml.chunk)),
        Class::Insert(insert) => format!("insert {}", chunk(&insert.chunk)),
        Class::Copying { tables, why } => {
            let tables: Vec<&str> = tables.iter().map(|t| t.table.as_str()).collect();
            format!("copying {}: {why}", tables.join(" "))
        }
        Class::Opaque {
            why,
            transactional: true,
            ..
        } => format!("opaque: {why}"),
        Class::Opaque { why, .. } => format!("opaque, by itself: {why}"),
        Class::Query => "query".to_owned(),
        other => format!("{other:?}"),
    }
}

fn names(bound: &Bound, resources: &BTreeSet<Resource>) -> String {
    let named = bound.names.iter().filter(|(r, _)| resources.contains(r));
    let names: BTreeSet<&str> = named
        .map(|(resource, name)| match resource {
            // Its name is why.
            Resource::Everything => "everything",
            _ => name.as_str(),
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn rendered(sql: &str) -> String {
    let mut text = format!("{sql}\n");
    match try_bound(sql, &Directives::default()) {
        Ok(bound) => {
            let (reads, writes) = (names(&bound, &bound.reads), names(&bound, &bound.writes));
            write!(
                text,
                "  => {}\n  R  {reads}\n  W  {writes}\n",
                verdict(&bound)
            )
        }
        Err(BindError { position, message }) => match position {
            Some(position) => writeln!(text, "  at {position}: {message}"),
            None => writeln!(text, "  {message}"),
        },
    }
    .expect("a string takes what is written");
    text
}

/// Compares a table with what the binder says. `UPSHIFT_BLESS` prints the table as it is now.
fn assert_table(table: &str, least: usize) {
    let statements: Vec<&str> = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect();
    assert!(statements.len() >= least, "cases were lost");
    let now: String = statements.iter().map(|sql| rendered(sql)).collect();
    if std::env::var_os("UPSHIFT_BLESS").is_some() {
        println!("{now}");
        return;
    }
    let expected: Vec<&str> = table.lines().map(str::trim_end).collect();
    let now: Vec<&str> = now.lines().map(str::trim_end).collect();
    for (expected, now) in expected.iter().zip(&now) {
        assert_eq!(expected, now);
    }
    assert_eq!(expected.len(), now.len());
}

#[test]
fn updates() {
    assert_table(include_str!("tests/update.txt"), 90);
}

#[test]
fn deletes() {
    assert_table(include_str!("tests/delete.txt"), 12);
}

#[test]
fn inserts() {
    assert_table(include_str!("tests/insert.txt"), 30);
}

#[test]
fn other_statements() {
    assert_table(include_str!("tests/other.txt"), 20);
}

#[test]
fn refused_statements() {
    assert_table(include_str!("tests/refused.txt"), 25);
}

#[test]
fn forms_of_queries() {
    assert_table(include_str!("tests/forms.txt"), 25);
}

fn chunked(sql: &str, directives: &Directives) -> String {
    match try_bound(sql, directives) {
        Ok(bound) => verdict(&bound),
        Err(error) => error.message,
    }
}

#[test]
fn directives_narrow_or_vouch() {
    let chunk = |chunk| Directives {
        chunk: Some(chunk),
        ..Directives::default()
    };
    let by = |column: &str| chunk(ChunkDirective::By(column.to_owned()));
    let vouched = Directives {
        parallel_filter: true,
        ..Directives::default()
    };
    let simple = "UPDATE country SET name = lower(name)";
    assert_eq!(
        chunked(simple, &chunk(ChunkDirective::None)),
        "update whole: the author said chunk = none"
    );
    assert!(chunked(simple, &by("old_code")).starts_with("chunk = by(old_code) needs a unique"));
    assert!(chunked(simple, &by("cod")).contains("did you mean \"code\""));
    assert!(chunked(simple, &by("code")).starts_with("update by key"));
    // The author's word stands against what the compiler cannot prove…
    let several = "UPDATE move m SET name = l.name FROM line l WHERE l.move_id = m.id";
    assert_eq!(
        chunked(several, &vouched),
        "update by key: the author vouches for it with {parallel_filter}"
    );
    // … and not against what cannot be.
    let key = "UPDATE partner SET id = id + 1";
    assert!(chunked(key, &vouched).starts_with("copying"));
    let drawn = "UPDATE partner SET parent_id = nextval('partner_id_seq')";
    assert!(chunked(drawn, &vouched).starts_with("update whole: nextval()"));
    let idle = try_bound(key, &vouched).expect("bound");
    assert_eq!(
        idle.warnings,
        ["{parallel_filter} has no effect here: it assigns id, which is the key"]
    );
    let insert = "INSERT INTO line (id) SELECT m.id FROM move m, rel r WHERE r.move_id = m.id";
    let driving = |directives: &Directives| match try_bound(insert, directives).map(|b| b.class) {
        Ok(Class::Insert(insert)) => insert.driving.map(|driving| driving.alias),
        _ => None,
    };
    assert_eq!(driving(&Directives::default()).as_deref(), Some("m"));
    assert_eq!(driving(&by("move_id")).as_deref(), Some("r"));
    assert!(chunked(insert, &by("note")).starts_with("chunk = by(note): none of the tables"));
}

#[test]
fn calls_of_now_are_found_in_the_text() {
    let sql = "UPDATE partner SET name = 'ü', write_date = pg_catalog . now ( ), email = \
        to_char(CURRENT_TIMESTAMP ( 3 ), 'now()') WHERE LOCALTIMESTAMP > write_date AND 1 < (SELECT \
        count(*) FROM (SELECT now(), CURRENT_DATE, now() AS n) s WHERE s.now > s.current_date)";
    let found = bound(sql).now_calls;
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|call| (&sql[call.start..call.end], call.replacement.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("pg_catalog . now ( )", "(($1)::text::timestamptz)"),
            (
                "CURRENT_TIMESTAMP ( 3 )",
                "((($1)::text::timestamptz)::timestamptz(3))"
            ),
            ("LOCALTIMESTAMP", "((($1)::text::timestamptz)::timestamp)"),
            ("now()", "(SELECT (($1)::text::timestamptz) AS now)"),
            (
                "CURRENT_DATE",
                "(SELECT ((($1)::text::timestamptz)::date) AS current_date)"
            ),
            ("now()", "(($1)::text::timestamptz)"),
        ]
    );
}

#[test]
fn copies_name_their_place() {
    let bound = bound("DELETE FROM move");
    let Class::Copying { tables, .. } = bound.class else {
        panic!("a cascading DELETE is copied");
    };
    let first = &tables[0];
    assert_eq!(first.table, "\"public\".\"move\"");
    assert_eq!(first.kept.name, "{run}_t{task}_copy1");
    assert_eq!(first.kept.table, first.table);
    assert_eq!(
        first.kept.columns, None,
        "what is hidden in a deleted row must come back with it"
    );
    assert_eq!(first.key[0].name, "id");
    assert!(!first.columns.contains(&"total".to_owned()), "generated");
    assert_eq!(tables[1].kept.name, "{run}_t{task}_copy2");
}

#[test]
fn sequences_rows_and_tables() {
    let drawn = bound("INSERT INTO partner (name) SELECT name FROM move");
    assert_eq!(
        drawn.sequences,
        Sequences::Named(vec!["\"public\".\"partner_id_seq\"".to_owned()])
    );
    assert_eq!(drawn.warnings.len(), 1, "the ids come in any order");
    assert_eq!(drawn.rows, 1_000_000);
    let tables: Vec<(String, bool)> = drawn
        .tables
        .iter()
        .map(|(_, name, written)| (name.plain(), *written))
        .collect();
    assert!(tables.contains(&("partner".to_owned(), true)));
    assert!(tables.contains(&("move".to_owned(), false)));
    assert_eq!(bound("INSERT INTO partner (id) VALUES (1), (2)").rows, 2);
    assert_eq!(bound("DO $$ BEGIN END $$").sequences, Sequences::All);
    let sorted = bound("INSERT INTO partner (name) SELECT name FROM move ORDER BY id");
    assert_eq!(sorted.warnings, Vec::<String>::new());
}

#[test]
fn bound_dml_says_what_the_physical_stage_needs() {
    let bound = bound("UPDATE move AS m SET state = 'x', name = 'y' WHERE m.id > 3");
    let Class::Update(dml) = bound.class else {
        panic!("an UPDATE");
    };
    assert_eq!(dml.alias, "m");
    assert_eq!(dml.table.to_string(), "\"public\".\"move\"");
    assert_eq!(dml.assigned, ["state", "name"]);
    let key = dml.key.expect("a key");
    assert_eq!(
        (key[0].name.as_str(), key[0].type_name.as_str()),
        ("id", "integer")
    );
    assert!(dml.columns.iter().all(|column| column.name != "total"));
}
