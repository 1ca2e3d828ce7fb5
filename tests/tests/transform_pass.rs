//! `[[transform]]` steps that join the pass over their table: the same as by themselves, back again,
//! killed and resumed, and what is refused.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module},
};

/// The key has a collation of its own, and a part of it is renamed.
const SETUP: &str = r#"
CREATE TABLE installed (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed VALUES ('m', '1.0');
CREATE TABLE country (id integer PRIMARY KEY, prefix text NOT NULL);
INSERT INTO country SELECT i, '0' || i FROM generate_series(0, 4) AS i;
CREATE TABLE contact (number integer, code text COLLATE "C", email varchar(40), phone varchar(20), name jsonb,
    note text, options jsonb, country_id integer REFERENCES country, short character(12),
    loud text GENERATED ALWAYS AS (upper(note)) STORED, PRIMARY KEY (number, code));
INSERT INTO contact (number, code, email, phone, name, note, options, country_id, short)
SELECT i, 'c' || i % 7, 'Person' || i || '@Example.COM', '47' || i % 10 || ' 12 ' || 1000 + i,
       CASE WHEN i % 9 > 0 THEN jsonb_build_object('en_US', 'a & ' || i, 'fr_FR', 'b & ' || i) END,
       CASE WHEN i % 4 > 0 THEN 'Order ' || i || '/2024' END,
       ('{"old": ' || i % 3 || '.10, "gone": 1}')::jsonb, i % 5, 'ab'
FROM generate_series(1, 3000) AS i;
UPDATE contact SET options = '{"new": 1.0}' WHERE number % 11 = 0;
CREATE INDEX ON contact (email);
CREATE TABLE line (id integer PRIMARY KEY, number integer, code text COLLATE "C",
    FOREIGN KEY (number, code) REFERENCES contact);
INSERT INTO line SELECT i, i, 'c' || i % 7 FROM generate_series(1, 3000) AS i WHERE i % 10 = 3 AND i <> 773;
ANALYZE;
"#;

const BEFORE: &str = r#"
ALTER TABLE contact ADD COLUMN stage varchar(40);
UPDATE contact SET email = '  ' || email WHERE number % 3 = 0;
UPDATE contact c SET phone = n.prefix || c.phone FROM country n WHERE n.id = c.country_id;
"#;

const FIRST: &str = r#"
[[transform]]
table = "contact"
column = "email"
function = "email_normalise"
arguments = { local = "lower" }
where = "number % 5 <> 1 AND contact.email LIKE '%@%'"

[[transform]]
table = "public.contact"
column = "name"
function = "text_to_html"
where = "country_id IN (SELECT id FROM country WHERE prefix <> '03')"
"#;

const BETWEEN: &str = r#"
UPDATE contact SET note = coalesce(note, 'none') || ' of ' || email WHERE email LIKE 'person%1%';
DELETE FROM contact WHERE email LIKE 'person77%';
ALTER TABLE contact RENAME COLUMN phone TO telephone;
ALTER TABLE contact RENAME COLUMN code TO mark;
UPDATE contact SET short = left(email, 12);
"#;

const SECOND: &str = r#"
[[transform]]
table = "contact"
source = "note"
target = "stage"
function = "regex_replace"
[transform.arguments]
rules = [{ pattern = '^Order (\d+)/(\d+).*$', replacement = "$2-$1" }]

[[transform]]
table = "contact"
column = "telephone"
function = "phone_normalise"
arguments = { country = "32" }

[[transform]]
table = "contact"
column = "options"
function = "json_path_map"
arguments = { paths = [{ rename = "old", to = "new" }, { delete = "gone" }] }

[[transform]]
table = "contact"
source = "short"
target = "note"
function = "regex_replace"
where = "mark = 'c3' AND stage LIKE '2024-%'"
[transform.arguments]
rules = [{ pattern = 'person', replacement = "human" }]
"#;

const AFTER: &str = r#"
UPDATE contact SET stage = 'called ' || stage WHERE telephone LIKE '+32%' AND options ->> 'new' <> '1.10';
UPDATE contact SET short = stage WHERE length(stage) < 13;
"#;

/// Files of the one migration of the pack.
fn mixed() -> Result<TempDir> {
    one_module(&[
        ("pre-a.sql", BEFORE),
        ("pre-b.toml", FIRST),
        ("pre-c.sql", BETWEEN),
        ("pre-d.toml", SECOND),
        ("pre-e.sql", AFTER),
    ])
}

async fn start() -> Result<Database> {
    let setup = |database: &Database| database.psql(SETUP).map(drop);
    Database::of_template("transform_pass", setup).await
}

fn run(database: &Database, pack: &Path) -> Upshift {
    Upshift::on(database, ["run", "--workers", "4", "--unit-rows", "200"]).argument(pack)
}

const SHADOW: [&str; 2] = ["--passes", "shadow"];

fn passes(database: &Database, pack: &Path) -> Result<String> {
    let plan = Upshift::on(database, ["plan", "--stage", "optimise"]).arguments(&SHADOW);
    Ok(plan.argument(pack).succeed()?.stdout)
}

#[tokio::test]
async fn a_pass_with_transforms_is_the_same_as_one_statement_after_another() -> Result<()> {
    let start = start().await?;
    let before = Snapshot::take(&start).await?;
    let pack = mixed()?;
    let stage = passes(&start, pack.path())?;
    ensure!(stage.contains("contact: 16 statements"), "{stage}");
    ensure!(
        stage.contains("+ m/migrations/2.0/pre-b.toml:2:1"),
        "{stage}"
    );
    let naive = start.copy()?;
    run(&naive, pack.path())
        .arguments(&["--strategy", "sequential", "--commit"])
        .succeed()?;
    let in_place = start.copy()?;
    run(&in_place, pack.path())
        .arguments(&["--passes", "in-place", "--commit"])
        .succeed()?;
    compare::expect_same(&naive, &in_place, "sequential and in place").await?;
    let database = start.copy()?;
    run(&database, pack.path()).arguments(&SHADOW).succeed()?;
    let units = "SELECT count(*) FROM upshift.unit WHERE task = 1";
    let units = database.psql(units)?;
    ensure!(units.trim().parse::<u32>()? > 5, "only {units} units");
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    run(&database, pack.path())
        .arguments(&SHADOW)
        .argument("--commit")
        .succeed()?;
    compare::expect_same(&naive, &database, "sequential and a pass").await
}

#[tokio::test]
async fn a_pass_that_dies_within_a_transform_goes_on() -> Result<()> {
    let start = start().await?;
    let pack = mixed()?;
    let naive = start.copy()?;
    run(&naive, pack.path())
        .arguments(&["--strategy", "sequential", "--commit"])
        .succeed()?;
    let database = start.copy()?;
    for (verb, point) in [
        ("run", "after_work:5"),
        ("resume", "before_commit:4"),
        ("resume", "after_commit:3"),
    ] {
        let command = match verb {
            "run" => run(&database, pack.path()).arguments(&SHADOW),
            _ => Upshift::on(&database, ["resume"]),
        };
        command.dies_at(point)?;
    }
    Upshift::on(&database, ["resume"]).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    compare::expect_same(&naive, &database, "resumed and committed").await
}

#[tokio::test]
async fn what_a_statement_before_it_draws_by_lot_is_drawn_once() -> Result<()> {
    let database = start().await?;
    let pack = one_module(&[
        (
            "pre-a.sql",
            "UPDATE contact SET note = 'Order ' || (random() * 1e9)::bigint || '/2024', country_id = NULL;\n",
        ),
        ("pre-b.toml", SECOND.split("\n\n").next().context("a step")?),
        (
            "pre-c.sql",
            "UPDATE contact SET country_id = 1 WHERE note = 'Order ' || split_part(stage, '-', 2) || '/2024';\n",
        ),
    ])?;
    database.psql("ALTER TABLE contact ADD COLUMN stage varchar(30)")?;
    let stage = passes(&database, pack.path())?;
    ensure!(stage.contains("contact: 3 statements"), "{stage}");
    run(&database, pack.path())
        .arguments(&SHADOW)
        .argument("--commit")
        .succeed()?;
    let rows = "SELECT count(*), count(DISTINCT note) > 2000, count(country_id) FROM contact";
    let rows = database.psql(rows)?;
    ensure!(rows.trim() == "3000|t|3000", "{rows}");
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_refused_in_a_pass_is_named_and_can_be_mended() -> Result<()> {
    let database = start().await?;
    let pack = one_module(&[
        ("pre-a.sql", "UPDATE contact SET note = lower(note);\n"),
        (
            "pre-b.toml",
            "\n[[transform]]\ntable = \"contact\"\ncolumn = \"email\"\nfunction = \"email_normalise\"\n\
             arguments = { invalid = \"error\" }\n",
        ),
    ])?;
    let whole = database.copy()?;
    run(&whole, pack.path()).arguments(&SHADOW).succeed()?;
    database.psql("UPDATE contact SET email = 'not secret at all' WHERE number = 777")?;
    let failed = run(&database, pack.path())
        .arguments(&SHADOW)
        .run()?
        .expect_code(1)?;
    for part in [
        "m/migrations/2.0/pre-b.toml:2:1",
        "email_normalise of \"public\".\"contact\".\"email\"",
        "not an e-mail address",
    ] {
        ensure!(
            failed.stderr.contains(part),
            "no {part} in {}",
            failed.stderr
        );
    }
    for hidden in ["secret", "= 777"] {
        ensure!(!failed.stderr.contains(hidden), "{}", failed.stderr);
    }
    let listed = Upshift::on(&database, ["quarantine", "list", "--values"]).succeed()?;
    let shown = "code = c0, number = 777: column email would be";
    ensure!(listed.stdout.contains(shown), "{}", listed.stdout);
    // Nobody can write the table while it is built anew: back, mend, again.
    Upshift::on(&database, ["rollback"]).succeed()?;
    database.psql("UPDATE contact SET email = 'Person777@Example.COM' WHERE number = 777")?;
    run(&database, pack.path()).arguments(&SHADOW).succeed()?;
    compare::expect_same(&whole, &database, "mended").await
}

#[tokio::test]
async fn what_does_not_join_says_why() -> Result<()> {
    let database = start().await?;
    database.psql(
        "CREATE DOMAIN address AS varchar(40);
        ALTER TABLE contact ADD COLUMN mail address, ADD COLUMN login text UNIQUE;",
    )?;
    for (step, why) in [
        (
            "column = \"login\"\nfunction = \"html_to_text\"",
            "it cannot be taken apart: it assigns a column of contact_login_key",
        ),
        (
            "column = \"mail\"\nfunction = \"html_to_text\"",
            "mail is of type",
        ),
        (
            "source = \"loud\"\ntarget = \"email\"\nfunction = \"html_to_text\"",
            "it reads loud, which is generated from what an earlier statement of the pass writes",
        ),
        (
            "column = \"email\"\nfunction = \"html_to_text\"\n\
             where = \"EXISTS (SELECT FROM contact o WHERE o.note = contact.email)\"",
            "it reads note of other rows, which an earlier statement of the pass writes",
        ),
        (
            "column = \"email\"\nfunction = \"html_to_text\"\nwhen = \"table_exists(contact)\"",
            "it has a condition (when)",
        ),
    ] {
        let pack = one_module(&[
            ("pre-a.sql", "UPDATE contact SET note = lower(note);\n"),
            (
                "pre-b.toml",
                &format!("[[transform]]\ntable = \"contact\"\n{step}\n"),
            ),
        ])?;
        let stage = passes(&database, pack.path()).context(step)?;
        let told: String = stage.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(
            told.contains(&format!("- m/migrations/2.0/pre-b.toml:1:1: {why}")),
            "{step}: {stage}"
        );
    }
    Ok(())
}
