//! Bad packs and directives.

use anyhow::Result;
use upshift_tests::harness::Upshift;

use super::{File, World, pack_with, report};

/// Name of the case, files that spoil the good pack, what the message has to say.
type Case = (&'static str, &'static [File], &'static [&'static str]);

/// Wrong whatever the database.
const PACKS: &[Case] = &[
    (
        "pack.toml is not TOML",
        &[("pack.toml", b"name = \"app\nx")],
        &["this is not TOML", "pack.toml:2:"],
    ),
    (
        "unknown key of pack.toml",
        &[("pack.toml", b"name = \"app\"\ncolour = 1\n")],
        &["pack.toml:2:1", "colour"],
    ),
    (
        "empty name of the pack",
        &[("pack.toml", b"name = \"\"\n")],
        &["the pack's name is empty", "pack.toml:1:"],
    ),
    (
        "table and query",
        &[(
            "pack.toml",
            b"name = \"a\"\n[installed]\ntable = \"t\"\nquery = \"SELECT 1\"\n",
        )],
        &["takes table or query, not both"],
    ),
    (
        "neither table nor query",
        &[("pack.toml", b"name = \"a\"\n[installed]\n")],
        &["[installed] needs table"],
    ),
    (
        "no version of a module",
        &[("base/module.toml", b"name = \"base\"\n")],
        &["base/module.toml", "version"],
    ),
    (
        "a version that is none",
        &[("base/module.toml", b"name = \"base\"\nversion = \"two\"\n")],
        &["\"two\" is not a version", "base/module.toml:2:"],
    ),
    (
        "another name than the folder's",
        &[("base/module.toml", b"name = \"bass\"\nversion = \"2.0\"\n")],
        &["the module's name is that of its folder"],
    ),
    (
        "a module that depends on itself",
        &[(
            "base/module.toml",
            b"version = \"2.0\"\ndepends = [\"base\"]\n",
        )],
        &["itself", "base/module.toml:2:"],
    ),
    (
        "a cycle",
        &[(
            "base/module.toml",
            b"version = \"2.0\"\ndepends = [\"sale\"]\n",
        )],
        &["modules depend on each other", "base", "sale"],
    ),
    (
        "a dependency that the pack lacks",
        &[(
            "base/module.toml",
            b"version = \"2.0\"\ndepends = [\"web\"]\n",
        )],
        &["needed by modules of the pack, but not in it", "web"],
    ),
    (
        "a script beside the versions",
        &[("base/migrations/pre-x.sql", b"SELECT 1;")],
        &["migrations/<version>/"],
    ),
    (
        "a version above the module's",
        &[(
            "base/migrations/3.0/pre-x.sql",
            b"UPDATE partner SET a = 1;",
        )],
        &["above the module's version"],
    ),
    (
        "a folder that is no version",
        &[("base/migrations/new/pre-x.sql", b"")],
        &["\"new\" is not a version"],
    ),
    (
        "a script of no phase",
        &[("base/migrations/2.0/x.sql", b"")],
        &["begins with pre-, post- or end-"],
    ),
    (
        "a transform by a function that is not there",
        &[(
            "base/migrations/2.0/pre-x.toml",
            b"[[transform]]\ntable = \"partner\"\ncolumn = \"name\"\nfunction = \"html_to_txt\"\n",
        )],
        &["pre-x.toml:4:12", "did you mean \"html_to_text\"?"],
    ),
    (
        "a script of another kind",
        &[("base/migrations/2.0/pre-x.py", b"")],
        &["pre-x.py"],
    ),
    (
        "a syntax error",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"UPDATE partner\n  SET name == 'x'\n WHEREE id = 1;\n",
        )],
        &[
            "base/migrations/2.0/pre-x.sql:2:12",
            "syntax error at or near",
        ],
    ),
    (
        "a string that is not closed",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"UPDATE partner\n SET name = 'x;\n",
        )],
        &["pre-x.sql:2:", "unterminated quoted string"],
    ),
    (
        "a comment that is not closed",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"/* a /* b */ UPDATE partner SET name = 'x';\n",
        )],
        &["pre-x.sql:1:1", "unterminated /* comment"],
    ),
    (
        "COPY FROM STDIN",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"COPY partner (name) FROM STDIN;\nx\n\\.\n",
        )],
        &["pre-x.sql:1:1", "COPY"],
    ),
    (
        "a command of psql",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"\\set x 1\nUPDATE partner SET name = 'x';\n",
        )],
        &["psql's command \\set is not SQL"],
    ),
    (
        "BEGIN",
        &[("base/migrations/2.0/pre-x.sql", b"BEGIN;\n")],
        &["BEGIN", "does not belong in a pack"],
    ),
    (
        "SET ROLE",
        &[("base/migrations/2.0/pre-x.sql", b"SET ROLE postgres;\n")],
        &["who runs the migration"],
    ),
    (
        "a temporary table",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"CREATE TEMP TABLE x (a int);\n",
        )],
        &["temporary"],
    ),
    (
        "CREATE DATABASE",
        &[("base/migrations/2.0/pre-x.sql", b"CREATE DATABASE x;\n")],
        &["beyond the database"],
    ),
    (
        "LOCK TABLE",
        &[("base/migrations/2.0/pre-x.sql", b"LOCK TABLE partner;\n")],
        &["remove it"],
    ),
    (
        "NOTIFY",
        &[("base/migrations/2.0/pre-x.sql", b"NOTIFY x;\n")],
        &["does not belong in a migration"],
    ),
    (
        "an unknown directive",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"-- a remark\n-- upshift: chunks = none\nUPDATE partner SET name = 'x';\n",
        )],
        &["pre-x.sql:2:13", "chunks", "-- upshift: chunks = none"],
    ),
    (
        "a directive's value",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"-- upshift: chunk = maybe\nUPDATE partner SET name = 'x';\n",
        )],
        &["pre-x.sql:1:", "write chunk = none or chunk = by(column)"],
    ),
    (
        "a directive without a statement",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"UPDATE partner SET name = 'x';\n-- upshift: irreversible\n",
        )],
        &["no statement follows this directive"],
    ),
    (
        "undo and irreversible",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"-- upshift: irreversible, undo = \"SELECT 1\"\nDO $$ BEGIN END $$;\n",
        )],
        &["not irreversible"],
    ),
    (
        "an undo that is no SQL",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"-- upshift: undo = \"UPDAT partner\"\nDO $$ BEGIN END $$;\n",
        )],
        &["pre-x.sql:1:", "syntax error"],
    ),
    (
        "not UTF-8",
        &[("base/migrations/2.0/pre-x.sql", b"-- Gr\xfc\xdfe\n")],
        &["is not UTF-8", "pre-x.sql:1:"],
    ),
    (
        "UTF-16",
        &[("base/migrations/2.0/pre-x.sql", b"\xff\xfeS\0")],
        &["UTF-16"],
    ),
    (
        "a NUL",
        &[("base/migrations/2.0/pre-x.sql", b"SELECT 1;\0\n")],
        &["NUL"],
    ),
    (
        "an unknown step",
        &[(
            "base/migrations/2.0/post-x.toml",
            b"[[chek]]\nquery = \"SELECT 1\"\n",
        )],
        &["chek"],
    ),
    (
        "a check that writes",
        &[(
            "base/migrations/2.0/post-x.toml",
            b"[[check]]\nquery = \"DELETE FROM partner\"\nmessage = \"m\"\n",
        )],
        &["a query that changes nothing"],
    ),
    (
        "a check without a message",
        &[(
            "base/migrations/2.0/post-x.toml",
            b"[[check]]\nquery = \"SELECT 1\"\n",
        )],
        &["message"],
    ),
    (
        "exec without a program",
        &[(
            "base/migrations/2.0/post-x.toml",
            b"[[exec]]\nundo = [\"x\"]\n",
        )],
        &["[[exec]] lacks command"],
    ),
];

/// Wrong for this database.
const AGAINST_DATABASE: &[Case] = &[
    (
        "a table that does not exist",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"UPDATE partners SET name = 'x';\n",
        )],
        &["pre-x.sql:1:", "partners"],
    ),
    (
        "a column that does not exist",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"UPDATE partner SET nam = 'x';\n",
        )],
        &["pre-x.sql:1:", "nam"],
    ),
    (
        "a column that an earlier step dropped",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"ALTER TABLE partner DROP COLUMN note;\nUPDATE partner SET note = 'x';\n",
        )],
        &["pre-x.sql:2:", "note"],
    ),
    (
        "a column that an earlier step renamed",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"ALTER TABLE partner RENAME note TO remark;\nUPDATE partner SET note = 'x';\n",
        )],
        &["pre-x.sql:2:", "note"],
    ),
    (
        "a column that is there already",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"ALTER TABLE partner ADD COLUMN note text;\n",
        )],
        &["pre-x.sql:1:", "note"],
    ),
    (
        "a table that is there already",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"CREATE TABLE partner (id integer);\n",
        )],
        &["pre-x.sql:1:", "partner"],
    ),
    (
        "chunks by a column that is no key",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"-- upshift: chunk = by(code)\nUPDATE partner SET name = 'x';\n",
        )],
        &["pre-x.sql:", "code"],
    ),
    (
        "no way back and not marked",
        &[(
            "base/migrations/2.0/pre-x.sql",
            b"DO $$ BEGIN EXECUTE 'UPDATE partner SET name = name'; END $$;\n",
        )],
        &["pre-x.sql:1:", "irreversible"],
    ),
    (
        "no table of installed modules",
        &[(
            "pack.toml",
            b"name = \"app\"\n[installed]\ntable = \"modules\"\n",
        )],
        &["modules"],
    ),
    (
        "no way to know what is installed",
        &[("pack.toml", b"name = \"app\"\n")],
        &["installed"],
    ),
];

#[tokio::test]
async fn bad_packs_are_refused_with_file_line_and_column() -> Result<()> {
    let world = World::new("").await?;
    let mut failures = Vec::new();
    for (name, files, said) in PACKS.iter().chain(AGAINST_DATABASE) {
        if let Err(e) = world.expect_bad_pack(name, files, said).await {
            failures.push(format!("{e:#}"));
        }
    }
    report(&failures, PACKS.len() + AGAINST_DATABASE.len())
}

/// `pack lint` needs no database, and says the same.
#[test]
fn lint_finds_what_is_wrong_without_a_database() -> Result<()> {
    let mut failures = Vec::new();
    for (name, files, said) in PACKS {
        let pack = pack_with(files)?;
        let mut outcome = Upshift::new(["pack", "lint"]).argument(pack.path()).run()?;
        // Its findings are what it prints.
        outcome.stderr.push_str(&outcome.stdout);
        if let Err(e) = super::expect_said(name, &outcome, 2, said) {
            failures.push(format!("{e:#}"));
        }
    }
    report(&failures, PACKS.len())
}

#[tokio::test]
async fn folders_that_are_no_pack() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[])?;
    let empty = tempfile::tempdir()?;
    let cases = [
        ("no such folder", pack.path().join("nowhere"), "nowhere"),
        ("a file", pack.path().join("pack.toml"), "not a folder"),
        (
            "no pack.toml",
            empty.path().to_owned(),
            "there is no pack.toml",
        ),
    ];
    for (name, folder, said) in cases {
        let outcome = super::run(&world.database, &folder)?;
        world.expect(name, outcome, 2, &[said]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn installed_modules_and_the_pack_have_to_fit() -> Result<()> {
    let pack = pack_with(&[])?;
    for (name, change, said) in [
        (
            "installed, but not in the pack",
            "INSERT INTO installed VALUES ('web', '1.0'), ('hr', '1.0')",
            [
                "installed in the database, but not in the pack",
                "hr",
                "web",
            ],
        ),
        (
            "newer in the database",
            "UPDATE installed SET version = '9.0' WHERE name = 'sale'",
            ["newer in the database than in the pack", "sale", "9.0"],
        ),
        (
            "a version that is none",
            "UPDATE installed SET version = 'latest' WHERE name = 'sale'",
            ["sale", "latest", "version"],
        ),
    ] {
        let world = World::new(change).await?;
        let outcome = super::run(&world.database, pack.path())?;
        world.expect(name, outcome, 2, &said).await?;
    }
    Ok(())
}
