//! Good packs: what is read from disk, and the order in which it runs.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a fault of its own set-up may panic"
)]

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;
use upshift_coordinator::{
    compile::{error::CompileError, model::Resolved, resolve::resolve},
    lint::lint,
};
use upshift_shared::pack::{
    self, ChunkDirective, Condition, InstalledSource, Pack, Step, StepKind, StrategyDirective,
    Version,
};

fn write(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Pack {
    let mut all = vec![("pack.toml", "name = \"p\"\n")];
    all.retain(|(path, _)| !files.iter().any(|(own, _)| own == path));
    all.extend(files);
    pack::load(write(&all).path()).unwrap_or_else(|e| panic!("{e}"))
}

/// The steps of one script of module `a`.
fn steps(sql: &str) -> Vec<Step> {
    let pack = load(&[
        ("a/module.toml", "version = \"1\""),
        ("a/migrations/1/pre-a.sql", sql),
    ]);
    pack.modules["a"].migrations[0].scripts[0].steps.clone()
}

fn sql(step: &Step) -> &str {
    match &step.kind {
        StepKind::Sql(sql) => sql,
        other => panic!("{other:?} is no SQL"),
    }
}

fn versions(installed: &[(&str, &str)]) -> BTreeMap<String, Version> {
    installed
        .iter()
        .map(|(name, version)| ((*name).to_owned(), version.parse().unwrap()))
        .collect()
}

fn resolved(pack: &Pack, installed: &[(&str, &str)]) -> Resolved {
    resolve(pack, &versions(installed)).unwrap_or_else(|e| panic!("{e}"))
}

/// The labels that the packs of these tests select: `SELECT 'label'`.
fn order(resolved: &Resolved) -> Vec<String> {
    resolved
        .steps
        .iter()
        .map(|step| match &step.kind {
            StepKind::Sql(sql) => sql
                .trim_start_matches("SELECT ")
                .trim_matches('\'')
                .to_owned(),
            _ => "typed".to_owned(),
        })
        .collect()
}

fn refusal(pack: &Pack, installed: &[(&str, &str)]) -> String {
    match resolve(pack, &versions(installed)) {
        Err(CompileError::Whole(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn statements_are_cut_where_psql_cuts_them() {
    let found = steps(
        "-- a comment; with a semicolon\n\
         SELECT ';' /* ; /* ; */ */ , $x$ ; $x$;;\n\
         ;CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\n\
         CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; DELETE FROM v);\n\
         SELECT 1 -- no semicolon at the end",
    );
    let texts: Vec<&str> = found.iter().map(sql).collect();
    assert_eq!(
        texts,
        [
            "SELECT ';' /* ; /* ; */ */ , $x$ ; $x$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; DELETE FROM v)",
            "SELECT 1",
        ]
    );
    let places: Vec<(u32, u32)> = found
        .iter()
        .map(|step| (step.location.line, step.location.column))
        .collect();
    assert_eq!(places, [(2, 1), (3, 2), (4, 1), (5, 1)]);
}

#[test]
fn files_without_statements_are_empty() {
    for text in [
        "",
        "\u{feff}",
        "\n\n",
        "-- nothing\n",
        "/* nothing */ ;;",
        "\r\n",
    ] {
        assert_eq!(steps(text), [], "{text:?}");
    }
}

#[test]
fn settings_hold_to_the_end_of_the_file() {
    let found = steps(
        "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSELECT 1;\n\
         SELECT pg_catalog.set_config('search_path', 'Sales, \"My Schema\"', false);\n\
         SET SESSION Work_Mem TO '1GB';\nSELECT 2;\n\
         SET search_path = a, \"B\";\nSET my.\"own\" = 'x; y';\nSELECT 3;\n\
         RESET work_mem;\nSET TIME ZONE 'UTC';\nSELECT 4;\nRESET ALL;\nSELECT 5;\n\
         SELECT pg_catalog.set_config('search_path', '', false);\nSET SCHEMA 'x';\nSELECT 6;",
    );
    let settings: Vec<Vec<(&str, &str)>> = found
        .iter()
        .map(|step| {
            step.settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        })
        .collect();
    assert_eq!(
        settings,
        [
            vec![],
            vec![
                ("search_path", "'sales', 'My Schema'"),
                ("work_mem", "'1GB'")
            ],
            vec![
                ("work_mem", "'1GB'"),
                ("search_path", "a, \"B\""),
                ("my.own", "'x; y'")
            ],
            vec![
                ("search_path", "a, \"B\""),
                ("my.own", "'x; y'"),
                ("timezone", "'UTC'")
            ],
            vec![],
            vec![("search_path", "'x'")],
        ]
    );
}

#[test]
fn directives_are_read() {
    let found = steps(
        "-- a plain comment\n\
         -- upshift: label = \"it's \\\"so\\\"\", chunk = by(\"Id\")\n\
         /* upshift: when = not column_exists(s.t.\"C d\"),\n strategy = in_place */\n\
         -- upshift: undo = \"UPDATE t SET a = 'x'; SELECT 1\"\r\n\
         UPDATE t SET a = 1;\n\
         -- upshift: irreversible, when = module_installed(sale_stock)\n\
         DO $$ BEGIN NULL; END $$;\n\
         UPDATE t SET a = '{{}}' WHERE {parallel_filter} AND b;\n\
         UPDATE t SET a = '{{}}';",
    );
    let first = &found[0].directives;
    assert_eq!(first.label.as_deref(), Some("it's \"so\""));
    assert_eq!(first.chunk, Some(ChunkDirective::By("Id".into())));
    assert_eq!(first.strategy, Some(StrategyDirective::InPlace));
    assert_eq!(
        first.undo.as_deref(),
        Some("UPDATE t SET a = 'x'; SELECT 1")
    );
    let when = first.when.as_ref().unwrap();
    assert!(when.negated);
    assert_eq!(
        when.condition,
        Condition::ColumnExists {
            table: vec!["s".into(), "t".into()],
            column: "C d".into()
        }
    );
    assert!(found[1].directives.irreversible);
    assert!(matches!(
        &found[1].directives.when.as_ref().unwrap().condition,
        Condition::ModuleInstalled { module } if module == "sale_stock"
    ));
    assert_eq!(sql(&found[2]), "UPDATE t SET a = '{}' WHERE true AND b");
    assert!(found[2].directives.parallel_filter);
    assert_eq!(
        sql(&found[3]),
        "UPDATE t SET a = '{{}}'",
        "no marker: as it stands"
    );
    assert!(!found[3].directives.parallel_filter);
}

#[test]
fn typed_steps_are_read_in_the_order_of_the_file() {
    let pack = load(&[
        ("a/module.toml", "version = \"1\""),
        (
            "a/migrations/1/post-a.toml",
            "[[exec]]\ncommand = [\"odoo-bin\", \"-d\", \"{database}\"]\ntimeout = \"2h\"\nirreversible = true\n\
             [[check]]\nquery = \"SELECT 1 FROM t;\"\nmessage = \"rows are left\"\nwhen = \"table_exists(t)\"\n\
             [[exec]]\ncommand = [\"true\"]\nundo = [\"false\"]\nlabel = \"l\"\n",
        ),
    ]);
    let steps = &pack.modules["a"].migrations[0].scripts[0].steps;
    let lines: Vec<u32> = steps.iter().map(|step| step.location.line).collect();
    assert_eq!(lines, [1, 5, 9]);
    let StepKind::Exec(first) = &steps[0].kind else {
        panic!("{:?}", steps[0]);
    };
    assert_eq!(first.timeout.as_secs(), 7_200);
    assert!(steps[0].directives.irreversible);
    let StepKind::Check(check) = &steps[1].kind else {
        panic!("{:?}", steps[1]);
    };
    assert_eq!(check.query, "SELECT 1 FROM t");
    assert!(steps[1].directives.when.is_some());
    let StepKind::Exec(last) = &steps[2].kind else {
        panic!("{:?}", steps[2]);
    };
    assert_eq!(last.undo.as_deref(), Some(&["false".to_owned()][..]));
    assert_eq!(last.timeout.as_secs(), 86_400);
}

#[test]
fn pack_and_modules_are_declared() {
    let pack = load(&[
        (
            "pack.toml",
            "name = \"erp\"\ntarget_version = \"18.0\"\n[installed]\nquery = \"SELECT name, version FROM m\"\n",
        ),
        (
            "a/__manifest__.py",
            "{'name': 'A', 'version': '1.2', 'depends': ['b', \"c\"]}",
        ),
        ("a/module.toml", "renamed_from = [\"old_a\"]"),
        ("a/migrations/1.1/pre-a.sql", "SELECT 1"),
        ("a/migrations/17.0.9.0/pre-a.sql", "SELECT 1"),
        ("a/migrations/tests/x.py", ""),
        (
            "b/__manifest__.py",
            "{'installable': False, 'version': 'none'}",
        ),
        ("c/__manifest__.py", "{}"),
        ("doc/readme.md", "nothing"),
        (".git/module.toml", "nothing"),
    ]);
    assert_eq!(
        pack.installed,
        Some(InstalledSource::Query("SELECT name, version FROM m".into()))
    );
    assert_eq!(pack.modules.keys().collect::<Vec<_>>(), ["a", "c"]);
    let a = &pack.modules["a"];
    assert_eq!(a.version.to_string(), "18.0.1.2");
    assert_eq!(a.depends, ["b", "c"]);
    assert_eq!(a.renamed_from, ["old_a"]);
    let folders: Vec<(String, bool)> = a
        .migrations
        .iter()
        .map(|m| (m.version.to_string(), m.short))
        .collect();
    assert_eq!(
        folders,
        [("17.0.9.0".into(), false), ("18.0.1.1".into(), true)]
    );
    assert_eq!(pack.modules["c"].version.to_string(), "18.0.1.0");
}

/// Modules a ← b ← d, a ← c; names against the order of dependencies.
fn four_modules() -> Pack {
    load(&[
        ("z/module.toml", "version = \"2.0\""),
        ("y/module.toml", "version = \"2.0\"\ndepends = [\"z\"]"),
        ("x/module.toml", "version = \"2.0\"\ndepends = [\"z\"]"),
        (
            "b/module.toml",
            "version = \"2.0\"\ndepends = [\"y\", \"x\"]",
        ),
        ("b/migrations/2.0/pre-1.sql", "SELECT 'b pre'"),
        ("b/migrations/2.0/end-1.sql", "SELECT 'b end'"),
        ("x/migrations/2.0/post-1.sql", "SELECT 'x post'"),
        ("y/migrations/2.0/pre-1.sql", "SELECT 'y pre'"),
        ("y/migrations/0.0.0/pre-0.sql", "SELECT 'y always'"),
        ("z/migrations/1.0/pre-1.sql", "SELECT 'z 1.0'"),
        ("z/migrations/1.5/pre-2.sql", "SELECT 'z 1.5 pre 2'"),
        ("z/migrations/1.5/pre-10.sql", "SELECT 'z 1.5 pre 10'"),
        ("z/migrations/1.5/post-1.sql", "SELECT 'z 1.5 post'"),
        ("z/migrations/1.10/end-1.sql", "SELECT 'z 1.10 end'"),
        (
            "z/migrations/2.0/pre-1.sql",
            "SELECT 'z 2.0 pre'; SELECT 'z 2.0 pre, second'",
        ),
    ])
}

#[test]
fn steps_come_in_odoo_s_order() {
    let pack = four_modules();
    let found = resolved(
        &pack,
        &[("z", "1.0"), ("y", "1.0"), ("x", "1.0"), ("b", "1.0")],
    );
    assert_eq!(
        order(&found),
        [
            "z 1.5 pre 10",
            "z 1.5 pre 2",
            "z 1.5 post",
            "z 2.0 pre",
            "z 2.0 pre, second",
            "x post",
            "y always",
            "y pre",
            "b pre",
            "z 1.10 end",
            "b end",
        ]
    );
    assert!(
        found
            .steps
            .iter()
            .enumerate()
            .all(|(i, step)| step.id.0 as usize == i)
    );
    let modules: Vec<(&str, &[u32])> = found
        .modules
        .iter()
        .map(|m| (m.name.as_str(), m.depends.as_slice()))
        .collect();
    assert_eq!(
        modules,
        [
            ("z", &[][..]),
            ("x", &[0][..]),
            ("y", &[0][..]),
            ("b", &[1, 2][..])
        ]
    );
    assert_eq!(found.skipped, []);
}

#[test]
fn modules_with_nothing_to_do_are_skipped_and_keep_the_order() {
    let pack = four_modules();
    let found = resolved(&pack, &[("z", "1.10"), ("y", "2.0"), ("b", "1.9")]);
    assert_eq!(
        order(&found),
        ["z 2.0 pre", "z 2.0 pre, second", "b pre", "b end"]
    );
    assert_eq!(found.modules[1].depends, [0], "through y and x");
    assert_eq!(
        found.skipped,
        [
            (
                "x".to_owned(),
                "not installed, although b depends on it: its migrations do not run".to_owned()
            ),
            ("y".to_owned(), "already at 2.0".to_owned()),
        ]
    );
    let nothing = resolved(&pack, &[]);
    assert!(nothing.modules.is_empty() && nothing.steps.is_empty());
    assert_eq!(
        nothing.skipped[0],
        ("b".to_owned(), "not installed".to_owned())
    );
}

#[test]
fn renamed_and_merged_modules_are_found() {
    let pack = load(&[
        (
            "a/module.toml",
            "version = \"2.0\"\nrenamed_from = [\"old_a\"]",
        ),
        ("a/migrations/1.5/pre-a.sql", "SELECT 'a'"),
        (
            "b/module.toml",
            "version = \"2.0\"\nmerged = [\"b1\", \"b2\"]",
        ),
        ("b/migrations/1.5/pre-b.sql", "SELECT 'b'"),
    ]);
    let found = resolved(&pack, &[("old_a", "1.0"), ("b1", "1.6"), ("b2", "1.4")]);
    assert_eq!(order(&found), ["a", "b"]);
    assert_eq!(found.modules[1].from.to_string(), "1.4");
    assert_eq!(
        found.installed.iter().collect::<Vec<_>>(),
        ["a", "b", "b1", "b2", "old_a"]
    );
    let found = resolved(&pack, &[("a", "1.0"), ("b", "1.6"), ("b1", "1.0")]);
    assert_eq!(order(&found), ["a"]);
    assert_eq!(
        refusal(&pack, &[("a", "1.0"), ("old_a", "1.0")]),
        "a, old_a are one module, renamed, and are all installed: uninstall the superfluous"
    );
}

#[test]
fn a_short_version_is_compared_without_the_series() {
    let pack = load(&[
        ("pack.toml", "name = \"p\"\ntarget_version = \"10.0\""),
        ("a/module.toml", "version = \"10.0.2.1\""),
        ("a/migrations/2.0/pre-a.sql", "SELECT 'short 2.0'"),
        ("a/migrations/2.1/pre-a.sql", "SELECT 'short 2.1'"),
        ("a/migrations/10.0.1.0/pre-a.sql", "SELECT 'long'"),
    ]);
    let found = resolved(&pack, &[("a", "9.0.2.0")]);
    assert_eq!(order(&found), ["long", "short 2.1"]);
}

#[test]
fn what_does_not_go_together_is_told_at_once() {
    let pack = load(&[
        ("a/module.toml", "version = \"2.0\"\ndepends = [\"b\"]"),
        (
            "b/module.toml",
            "version = \"2.0\"\ndepends = [\"c\", \"gone\"]",
        ),
        (
            "c/module.toml",
            "version = \"2.0\"\ndepends = [\"a\", \"b\"]",
        ),
        ("d/module.toml", "version = \"2.0\"\ndepends = [\"c\"]"),
        ("e/module.toml", "version = \"2.0\"\ndepends = [\"lost\"]"),
    ]);
    assert_eq!(
        refusal(
            &pack,
            &[
                ("d", "3.0"),
                ("c", "1"),
                ("b", "2.0.1"),
                ("y", "1"),
                ("x", "1")
            ]
        ),
        "modules depend on each other: a → b → c → a: remove one of these dependencies\n\
         installed in the database, but not in the pack: x, y: add them to the pack, or uninstall them first\n\
         needed by modules of the pack, but not in it:\n  d → c → b → gone\nadd them to the pack, or remove the dependency\n\
         newer in the database than in the pack: b 2.0.1 (pack: 2.0), d 3.0 (pack: 2.0): use a newer pack"
    );
}

#[test]
fn lint_tells_errors_and_surprises() {
    let folder = write(&[
        ("pack.toml", "name = \"p\""),
        ("a/module.toml", "version = \"1\"\ndepends = [\"b\"]"),
        (
            "a/migrations/1/pre-a.sql",
            "SET lock_timeout = 0;\nDO $$ BEGIN NULL; END $$;\nINSERT INTO t (name) SELECT name FROM u;\n\
             INSERT INTO t (id, name) SELECT id, name FROM u;\nINSERT INTO t (a) VALUES (1);\n\
             SELECT setval('s', 5);\nSELECT currval('s');\n",
        ),
    ]);
    let (text, ok) = lint(folder.path(), false);
    assert!(!ok);
    assert!(text.starts_with(
        "error: needed by modules of the pack, but not in it:\n  a → b\nadd them to the pack, or remove the dependency\n\
         warning: lock_timeout is left out: Upshift sets it for every unit\n  --> a/migrations/1/pre-a.sql:1:1\n1 | SET lock_timeout = 0;\n"
    ), "{text}");
    assert!(
        text.ends_with("pack p: 1 module, 6 steps: 1 error, 4 warnings\n"),
        "{text}"
    );
    let (json, _) = lint(folder.path(), true);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let lines: Vec<i64> = value["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|warning| warning["location"]["line"].as_i64())
        .collect();
    assert_eq!(lines, [1, 2, 3, 7]);
    let (_, ok) = lint(Path::new("/nowhere/at/all"), true);
    assert!(!ok);
}

#[test]
fn the_packs_of_the_tests_are_good() {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/packs");
    for name in ["small_erp", "odoo18"] {
        let (text, ok) = lint(&packs.join(name), false);
        assert!(ok, "{text}");
    }
}

/// Statements that hold everything that a splitter may stumble on.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT ';', E'\\';', $$ ; $$, $a$ $$ ; $b$ $a$, \"co;l\" FROM t",
    "UPDATE t SET a = /* ; /* nested ; */ ' */ 1 WHERE b",
    "UPDATE t SET a = 1 -- it's ; here\n WHERE b",
    "DO $do$ BEGIN PERFORM 1; END; $do$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; END",
    "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM t; END",
    "CREATE RULE r AS ON DELETE TO t DO INSTEAD (SELECT 1; SELECT 2)",
    "INSERT INTO \"Größe\" VALUES (U&'\\00e9;', B'1', X'1f', 'ä;€')",
    "CREATE INDEX ON t ((a || ';'))",
];

const BETWEEN: &[&str] = &[
    ";",
    " ; ",
    ";\r\n",
    ";;\n;",
    "; -- a comment; it's one\n",
    ";/* ; /* ; */ $$ */",
    "\n;\n\n-- /* \n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_stands_between_statements_they_are_cut_alike(
        chosen in prop::collection::vec((0..STATEMENTS.len(), 0..BETWEEN.len()), 0..12),
    ) {
        let text: String = chosen
            .iter()
            .map(|(statement, between)| format!("{}{}", STATEMENTS[*statement], BETWEEN[*between]))
            .collect();
        let found = steps(&text);
        let found: Vec<&str> = found.iter().map(sql).collect();
        let expected: Vec<&str> = chosen.iter().map(|(statement, _)| STATEMENTS[*statement]).collect();
        prop_assert_eq!(found, expected);
    }
}
