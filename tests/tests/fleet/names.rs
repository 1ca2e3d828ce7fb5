//! Databases whose names SQL, shells, terminals, spreadsheets and browsers would misread: they are upgraded, and
//! shown, as any other.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Tiny, of_member},
    harness::Server,
    tenants::Tenants,
};

const NAMES: [&str; 9] = [
    "-dash --force",
    "=cmd|' /C calc'!A0",
    "a b\"c'; DROP TABLE t; --",
    "line\nbreak \u{1b}[2Jescape",
    "a/b/*?",
    "ÄÖ %s %d {} {database} ${HOME} $(id) `id`",
    ".hidden/../..",
    "<b onload=\"x\">&amp;",
    "\\x27 host=elsewhere dbname=other",
];

/// Fields of CSV as RFC 4180 has them.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    rows
}

#[tokio::test]
async fn hostile_names_are_names() -> Result<()> {
    let server = Server::own()?;
    let tiny = Tiny::on(server)?;
    let expected = tiny.by_psql().await?;
    let start = Snapshot::take(&tiny.template.copy()?).await?;
    let mut tenants = Tenants::on(server)?;
    for name in NAMES {
        tenants.add(name, &tiny.template)?;
    }
    let broken = NAMES[3];
    server.psql("postgres", broken, Tiny::BREAK)?;
    // As TOML has strings, too.
    let listed = serde_json::to_string(&NAMES)?;
    let order = format!(
        "on_failure = {{ stop_after = \"never\" }}\n\
         [[members]]\nserver = \"main\"\ndatabases = {listed}\n\
         [hooks]\nafter = {{ command = [\"sh\", \"-c\", \
         '''printf \"%s\\0\" \"$1\" \"$UPSHIFT_DATABASE\" >> told''', \"hook\", \"{{database}}\"] }}\n"
    );
    tenants.write("fleet.toml", &tiny.order(&order))?;
    let ran = tenants.fleet("run").arguments(&["--workers", "2"]).run()?;
    let ran = ran.expect_code(1)?;
    for text in [&ran.stdout, &ran.stderr] {
        ensure!(
            !text.contains('\u{1b}'),
            "terminals are not driven by names: {text:?}"
        );
    }
    let member = |name: &str| format!("main/{name}");

    let status = tenants.fleet("status").argument("--json").succeed()?.stdout;
    let status: Value = serde_json::from_str(&status)?;
    for name in NAMES {
        let state = if name == broken { "failed" } else { "prepared" };
        let shown = of_member(&status, &member(name))?;
        ensure!(shown["state"] == state, "{shown}");
    }
    let told = fs::read_to_string(tenants.folder().join("told"))?;
    let mut told: Vec<&str> = told.split_terminator('\0').collect();
    let pairs = told.chunks(2).all(|pair| pair[0] == pair[1]);
    ensure!(pairs, "an argument is what the environment has: {told:?}");
    told.sort_unstable();
    told.dedup();
    let mut names = NAMES;
    names.sort_unstable();
    ensure!(told == names, "{told:?}");
    let noted = fs::read_to_string(tenants.folder().join(".upshift/fleets/fleet/done.jsonl"))?;
    let noted = noted.lines().map(serde_json::from_str::<Value>);
    let noted: Vec<Value> = noted.collect::<Result<_, _>>()?;
    for name in NAMES {
        let own = noted.iter().filter(|done| done["member"] == member(name));
        ensure!(own.count() == 2, "an upgrade and a hook of {name}");
    }
    shown(&tenants, broken)?;

    // By these names they are ordered.
    let odd = [member(NAMES[0]), member(NAMES[5])];
    let mut commit = tenants.fleet("commit");
    for name in &odd {
        commit = commit.argument(name);
    }
    commit.succeed()?;

    let back = tenants.fleet("rollback").argument("--all").run()?;
    back.expect_code(1)?;
    for name in NAMES {
        let now = tenants.snapshot(name).await?;
        match name {
            _ if name == NAMES[0] || name == NAMES[5] => expected.expect_same(&now, name)?,
            _ if name == broken => {}
            _ => start.expect_same(&now, name)?,
        }
    }
    Ok(())
}

/// In the report's forms.
fn shown(tenants: &Tenants, broken: &str) -> Result<()> {
    let report = |form: &str| tenants.fleet("report").argument(form).succeed();
    let json: Value = serde_json::from_str(&report("--json")?.stdout)?;
    let failed = of_member(&json, &format!("main/{broken}"))?;
    ensure!(failed["reason"].to_string().contains("small"), "{failed}");
    let rows = csv(&report("--csv")?.stdout);
    ensure!(rows.len() == NAMES.len() + 1, "{rows:?}");
    let width = rows[0].len();
    for name in NAMES {
        let own = rows.iter().find(|row| row[0] == format!("main/{name}"));
        let own = own.with_context(|| format!("{name} in {rows:?}"))?;
        ensure!(own.len() == width, "{own:?}");
    }
    let html = report("--html")?.stdout;
    ensure!(
        !html.contains("<b ") && !html.contains("&amp;\u{22}"),
        "{html}"
    );
    ensure!(
        html.contains("&lt;b onload=&quot;x&quot;&gt;&amp;amp;"),
        "{html}"
    );
    for form in [vec![], vec!["--all"]] {
        let text = tenants.fleet("status").arguments(&form).succeed()?.stdout;
        ensure!(!text.contains('\u{1b}'), "{text:?}");
    }
    let text = tenants.fleet("report").succeed()?.stdout;
    ensure!(!text.contains('\u{1b}'), "{text:?}");
    Ok(())
}
