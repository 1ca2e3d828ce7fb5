//! `[[transform]]` steps through the command: every function against SQL that does the same, back again,
//! killed and resumed, and what is refused.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use upshift_tests::{
    compare::{self, Snapshot},
    harness::{Database, Upshift, one_module},
};

const SETUP: &str = r#"
CREATE TABLE installed (name text PRIMARY KEY, version text NOT NULL);
INSERT INTO installed VALUES ('m', '1.0');
CREATE TYPE stage AS ENUM ('draft', 'done');
CREATE DOMAIN address AS varchar(40) CHECK (value <> '');
CREATE TABLE mail_template (id serial PRIMARY KEY, body_html text, body text, "Subject ""x""" text);
INSERT INTO mail_template (body_html, body, "Subject ""x""")
SELECT CASE WHEN i % 10 > 0 THEN '<div class="ml-3 float-left" title="ml-3">' || i || ' &amp; ml-3</div>' END,
       'a < ' || i || E'\n\nb', 'Order ' || i || '/2024'
FROM generate_series(1, 1000) AS i;
CREATE TABLE contact (company integer, number bigint, email address UNIQUE, phone varchar(20), name jsonb,
    state text DEFAULT 'open', stage stage, PRIMARY KEY (company, number));
INSERT INTO contact (company, number, email, phone, name)
SELECT i % 5, i, 'Person' || i || '@Example.COM', '0470 12 ' || 1000 + i,
       jsonb_build_object('en_US', 'a & ' || i, 'fr_FR', 'b & ' || i)
FROM generate_series(1, 1000) AS i;
UPDATE contact SET phone = 'none', state = 'other' WHERE number % 7 = 0;
CREATE TABLE view (id uuid PRIMARY KEY, arch json, options jsonb);
INSERT INTO view SELECT md5(i::text)::uuid, ('{"z": 1.10, "a": {"b": ' || i || '}}')::json,
       jsonb_build_object('old', i, 'gone', true, 'list', jsonb_build_array(jsonb_build_object('x', i)))
FROM generate_series(1, 500) AS i;
ANALYZE;
"#;

const STEPS: &str = r#"
[[transform]]
table = "mail_template"
column = "body_html"
function = "bootstrap_4_to_5"
where = "mail_template.body_html IS NOT NULL AND id <> 8"
label = "Bootstrap 5"

[[transform]]
table = "public.mail_template"
source = "body"
target = "body_html"
function = "text_to_html"
where = "id % 10 = 0"

[[transform]]
table = "mail_template"
column = '"Subject ""x"""'
function = "regex_replace"
[transform.arguments]
rules = [
    { pattern = '(\d+)/(\d+)', replacement = "$2-$1" },
    { pattern = "^Order", replacement = "Sale" },
]

[[transform]]
table = "contact"
column = "email"
function = "email_normalise"
arguments = { local = "lower", invalid = "error" }

[[transform]]
table = "contact"
column = "phone"
function = "phone_normalise"
arguments = { country = "32" }

[[transform]]
table = "contact"
column = "name"
function = "text_to_html"

[[transform]]
table = "contact"
source = "state"
target = "stage"
function = "value_map"
arguments = { file = "states.csv", unmapped = "null" }

[[transform]]
table = "view"
column = "arch"
function = "json_path_map"
arguments = { paths = [{ move = "a.b", to = "c" }, { delete = "a" }] }

[[transform]]
table = "view"
column = "options"
function = "json_path_map"
arguments = { paths = [{ rename = "old", to = "new" }, { delete = "gone" }, { delete = "list.*.y" }] }
"#;

const SQL: &str = r#"
UPDATE mail_template SET body_html = replace(body_html, '"ml-3 float-left"', '"ms-3 float-start"') WHERE id <> 8;
UPDATE mail_template SET body_html = '<p>a &lt; ' || id || '</p><p>b</p>' WHERE id % 10 = 0;
UPDATE mail_template SET "Subject ""x""" = 'Sale 2024-' || id;
UPDATE contact SET email = lower(email);
UPDATE contact SET phone = '+32' || substr(replace(phone, ' ', ''), 2) WHERE phone <> 'none';
UPDATE contact SET name = jsonb_build_object('en_US', '<p>a &amp; ' || number || '</p>', 'fr_FR', '<p>b &amp; ' || number || '</p>');
UPDATE contact SET stage = 'draft' WHERE state = 'open';
UPDATE view SET arch = ('{"z": 1.10, "c": ' || (arch #>> '{a,b}') || '}')::json;
UPDATE view SET options = options - 'old' - 'gone' || jsonb_build_object('new', options -> 'old');
"#;

fn pack(steps: &str) -> Result<TempDir> {
    one_module(&[
        ("pre-a.toml", steps),
        ("states.csv", "old,new\nopen,draft\nclosed,done\n"),
    ])
}

async fn start() -> Result<Database> {
    Database::of_template("transform", |database| database.psql(SETUP).map(drop)).await
}

fn run(database: &Database, pack: &Path) -> Upshift {
    Upshift::on(database, ["run", "--workers", "4", "--unit-rows", "100"]).argument(pack)
}

/// Cuts tables of a thousand rows too, which are small for a plan.
async fn large() -> Result<Database> {
    let database = start().await?;
    database.psql("INSERT INTO contact (company, number, email, phone, name)
        SELECT i % 5, i, 'Person' || i || '@Example.COM', '0470 12 ' || 1000 + i, jsonb_build_object('en_US', 'a & ' || i, 'fr_FR', 'b & ' || i)
        FROM generate_series(1001, 4000) AS i;
        INSERT INTO mail_template (id, body_html, body, \"Subject \"\"x\"\"\")
        SELECT i, '<div class=\"ml-3 float-left\">' || i || '</div>', 'a < ' || i || E'\\n\\nb', 'Order ' || i || '/2024'
        FROM generate_series(1001, 8000) AS i;
        ANALYZE")?;
    Ok(database)
}

#[tokio::test]
async fn columns_are_transformed_by_several_workers_and_come_back() -> Result<()> {
    let database = large().await?;
    let naive = database.copy()?;
    let before = Snapshot::take(&database).await?;
    let pack = pack(STEPS)?;
    run(&database, pack.path()).succeed()?;
    let units = database.psql("SELECT count(*) FROM upshift.unit WHERE task = 0")?;
    ensure!(units.trim().parse::<u32>()? > 10, "only {units} units");
    Upshift::on(&database, ["rollback"]).succeed()?;
    before.expect_same(&Snapshot::take(&database).await?, "rolled back")?;
    run(&database, pack.path()).argument("--commit").succeed()?;
    naive.psql(SQL)?;
    compare::expect_same(&naive, &database, "committed").await?;
    let left = database
        .psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace")?;
    ensure!(left.trim() == "0", "{left} things are still kept");
    Ok(())
}

#[tokio::test]
async fn sequential_runs_it_too() -> Result<()> {
    let database = start().await?;
    let naive = database.copy()?;
    let pack = pack(STEPS)?;
    run(&database, pack.path())
        .arguments(&["--strategy", "sequential", "--commit"])
        .succeed()?;
    naive.psql(SQL)?;
    compare::expect_same(&naive, &database, "committed").await
}

#[tokio::test]
async fn a_run_that_dies_within_a_transform_goes_on() -> Result<()> {
    let database = large().await?;
    let naive = database.copy()?;
    naive.psql(SQL)?;
    let pack = pack(STEPS)?;
    for (verb, point) in [
        ("run", "after_work:9"),
        ("resume", "before_commit:7"),
        ("resume", "after_commit:5"),
    ] {
        let command = match verb {
            "run" => run(&database, pack.path()),
            _ => Upshift::on(&database, ["resume"]),
        };
        command.dies_at(point)?;
    }
    Upshift::on(&database, ["resume"]).succeed()?;
    Upshift::on(&database, ["commit"]).succeed()?;
    compare::expect_same(&naive, &database, "resumed and committed").await
}

#[tokio::test]
async fn a_value_that_is_refused_is_named_and_can_be_mended() -> Result<()> {
    let database = large().await?;
    database.psql("UPDATE contact SET email = 'not secret at all' WHERE number = 777")?;
    let pack = pack(STEPS)?;
    let failed = run(&database, pack.path()).run()?.expect_code(1)?;
    for part in [
        "m/migrations/2.0/pre-a.toml:26:1",
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
    let shown = "company = 2, number = 777: column email would be";
    ensure!(listed.stdout.contains(shown), "{}", listed.stdout);
    database.psql("UPDATE contact SET email = 'person777@example.com' WHERE number = 777")?;
    Upshift::on(&database, ["resume"]).succeed()?;
    Ok(())
}

#[tokio::test]
async fn the_plan_shows_what_it_does() -> Result<()> {
    let database = large().await?;
    let pack = pack(STEPS)?;
    let plan = |arguments: &[&str]| -> Result<String> {
        let plan = Upshift::on(&database, ["plan"]).arguments(arguments);
        Ok(plan.argument(pack.path()).succeed()?.stdout)
    };
    let tree = plan(&[])?;
    for part in [
        "transform",
        "Bootstrap 5",
        "cut by id",
        "undo: before-images",
        "value_map of contact.stage",
    ] {
        ensure!(tree.contains(part), "no {part} in {tree}");
    }
    let stage = plan(&["--stage", "analyse"])?;
    ensure!(
        stage.contains("transform") && stage.contains("mail_template.body"),
        "{stage}"
    );
    let stage = plan(&["--stage", "resolve"])?;
    ensure!(
        stage.contains("transform: phone_normalise of phone"),
        "{stage}"
    );
    ensure!(plan(&["--dot"])?.contains("transform"));
    let json: serde_json::Value = serde_json::from_str(&plan(&["--json"])?)?;
    let kinds = json["tasks"].as_array().context("tasks")?;
    ensure!(
        kinds
            .iter()
            .all(|task| task["operator"]["kind"] == "transform"),
        "{json}"
    );
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_transformed_is_refused_by_the_plan() -> Result<()> {
    let database = start().await?;
    database.psql(
        "CREATE TABLE keyless (a text);
        CREATE TABLE t (id integer PRIMARY KEY, a text, n integer, g text GENERATED ALWAYS AS (a || 'x') STORED,
            j jsonb, code text UNIQUE);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TABLE fires (id integer PRIMARY KEY, a text);
        CREATE TRIGGER fire BEFORE UPDATE ON fires FOR EACH ROW EXECUTE FUNCTION f();",
    )?;
    let before = Snapshot::take(&database).await?;
    for (step, message) in [
        ("table = \"nowhere\"\ncolumn = \"a\"", "nowhere"),
        ("table = \"t\"\ncolumn = \"b\"", "has no column \"b\""),
        (
            "table = \"keyless\"\ncolumn = \"a\"",
            "no key that rows could be told apart by",
        ),
        ("table = \"t\"\ncolumn = \"g\"", "generated"),
        ("table = \"t\"\ncolumn = \"id\"", "which is the key"),
        (
            "table = \"t\"\ncolumn = \"n\"",
            "html_to_text is for text, and n is of type integer",
        ),
        (
            "table = \"t\"\nsource = \"j\"\ntarget = \"a\"",
            "html_to_text is for text, and j is of type jsonb",
        ),
        ("table = \"fires\"\ncolumn = \"a\"", "trigger"),
        (
            "table = \"t\"\ncolumn = \"a\"\nwhere = \"now() > 'today'\"",
            "now()",
        ),
        ("table = \"t\"\ncolumn = \"a\"\nwhere = \"b = 1\"", "\"b\""),
    ] {
        let pack = pack(&format!(
            "[[transform]]\nfunction = \"html_to_text\"\n{step}\n"
        ))?;
        let refused = run(&database, pack.path())
            .run()?
            .expect_code(2)
            .context(step)?;
        for part in [message, "m/migrations/2.0/pre-a.toml:1:1"] {
            ensure!(
                refused.stderr.contains(part),
                "{step}: no {part} in {}",
                refused.stderr
            );
        }
    }
    before.expect_same(
        &Snapshot::take(&database).await?,
        "a refused plan touched something",
    )?;
    // A unique column is checked row by row: whole, but not refused.
    let pack =
        pack("[[transform]]\nfunction = \"html_to_text\"\ntable = \"t\"\ncolumn = \"code\"\n")?;
    let plan = Upshift::on(&database, ["plan"])
        .argument(pack.path())
        .succeed()?;
    ensure!(plan.stdout.contains("in one unit"), "{}", plan.stdout);
    Ok(())
}
