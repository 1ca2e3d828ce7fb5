//! `upshift fleet plan`: every database of a fleet is found, looked at in one session, and shown with
//! what it gets; databases that are the same to the compiler share one compilation; what cannot be
//! upgraded, or cannot be reached, is a line and not the end. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upshift_tests::{
    harness::{Database, Server, Upshift},
    small_erp,
    tenants::Tenants,
};

/// Transactions of one session that plans, at the most: setting it up, the ledger, the catalog, the
/// modules, and what the driver asks about types.
const TRANSACTIONS: u64 = 24;

/// A database of the small ERP, changed by this.
fn changed(erp: &Database, sql: &str) -> Result<Database> {
    let database = erp.copy()?;
    database.psql(sql)?;
    Ok(database)
}

fn plan(tenants: &Tenants, code: i32) -> Result<Value> {
    let outcome = tenants.fleet("plan").argument("--json").run()?;
    let outcome = outcome.expect_code(code)?;
    Ok(serde_json::from_str(&outcome.stdout)?)
}

/// Members by their names.
fn members(plan: &Value) -> Result<BTreeMap<String, &Value>> {
    let members = plan["members"].as_array().context("members")?;
    let named = members.iter().map(|member| {
        let name = member["name"].as_str().context("a member has a name")?;
        Ok((name.to_owned(), member))
    });
    named.collect()
}

fn text<'v>(member: &'v Value, key: &str) -> &'v str {
    member[key].as_str().unwrap_or_default()
}

/// Names that an operator would rather not have, and that SQL, shells and terminals would misread.
const HOSTILE: [&str; 5] = [
    "t_ a b\"c'; DROP TABLE partner; --",
    "t_line\nbreak \u{1b}[2Jescape",
    "t_a/b/*?",
    "t_ÄÖ %s {} ${HOME} $(id)",
    "t_\\x27 -- host=elsewhere dbname=other",
];

/// Tenants of every kind; returns the names of those that are the same to the compiler.
fn populate(tenants: &mut Tenants, server: &'static Server) -> Result<Vec<String>> {
    let fresh = small_erp::database_on(server)?;
    let erp = changed(&fresh, "ANALYZE")?;
    let other = changed(&erp, "ALTER TABLE partner ADD COLUMN tenant_note text")?;
    let half = "UPDATE installed_module SET version = '2.0' WHERE name = 'stock'";
    let half = changed(&erp, half)?;
    let large = "INSERT INTO line (move_id, quantity, price) \
                 SELECT 1 + i % 1500, 1, 1 FROM generate_series(1, 60000) AS i; ANALYZE";
    let large = changed(&erp, large)?;
    let done = erp.copy()?;
    Upshift::run_pack(&done, &small_erp::pack(), "in-place")
        .argument("--commit")
        .succeed()?;
    let begun = erp.copy()?;
    Upshift::run_pack(&begun, &small_erp::pack(), "in-place").succeed()?;
    let empty = Database::create_on(server)?;

    let mut same = Vec::new();
    for number in 0..10 {
        same.push(format!("t_erp_{number}"));
        tenants.add(&same[number], if number < 8 { &erp } else { &fresh })?;
    }
    for name in HOSTILE {
        same.push(name.to_owned());
        tenants.add(name, &erp)?;
    }
    for (name, of) in [
        ("t_other_1", &other),
        ("t_other_2", &other),
        ("t_half", &half),
        ("t_large_1", &large),
        ("t_large_2", &large),
        ("t_done_1", &done),
        ("t_done_2", &done),
        ("t_begun", &begun),
        ("t_empty", &empty),
        ("t_erp_old", &erp),
        ("someone_else", &erp),
    ] {
        tenants.add(name, of)?;
    }
    Ok(same)
}

/// Names of templates (`t_` and 16 digits) are not meant.
const ORDER: &str = "exclude = [\"*_old\", \"t_????????????????\"]\n\
     [[members]]\nservers = [\"main\"]\nlike = [\"t_erp_*\", \"t_*\"]\n\
     [[members]]\ndatabases = [\"gone\", \"gone/t_erp_1\", \"main/t_missing\"]\n\
     [[labels]]\nmatch = [\"t_other_*\"]\nset = { tier = \"gold\" }\n\
     [[waves]]\nname = \"canary\"\ntake = 3\napproval = true\n\
     [[waves]]\nname = \"gold\"\nlabels = { tier = \"gold\" }\ntake = \"rest\"\n\
     [[waves]]\nname = \"others\"\ntake = \"rest\"\n";

#[test]
fn every_database_is_a_line_and_plans_are_shared() -> Result<()> {
    // So that nobody else has transactions in the databases, and statistics stay as they are.
    let server = Server::own_with(&[("autovacuum", "off")])?;
    let mut tenants = Tenants::on(server)?;
    let same = populate(&mut tenants, server)?;
    tenants.order(ORDER)?;
    let asked = same.iter().map(|name| tenants.asked(name));
    let before: Vec<_> = asked.collect::<Result<_>>()?;
    let plan = plan(&tenants, 0)?;
    share_plans(&plan, &same)?;
    left_alone(&plan)?;
    in_waves(&plan)?;

    let mut counts = BTreeSet::new();
    for (name, (sessions, transactions)) in same.iter().zip(before) {
        let (now, done) = tenants.asked_since(name, sessions)?;
        let (sessions, done) = (now - sessions, done - transactions);
        ensure!(sessions == 1, "one session each: {name} had {sessions}");
        ensure!(done <= TRANSACTIONS, "{name}: {done} transactions");
        counts.insert(done);
    }
    ensure!(counts.len() == 1, "as many in each: {counts:?}");
    let left = server.psql(
        Database::OWNER,
        "t_erp_1",
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'upshift%'",
    )?;
    ensure!(left.trim() == "0", "nothing is changed");
    shown(&tenants)
}

/// Who is the same to the compiler has one plan with the others, and it was compiled once.
fn share_plans(plan: &Value, same: &[String]) -> Result<()> {
    let members = members(plan)?;
    let of = |name: &str| {
        let member = members.get(&format!("main/{name}")).copied();
        member.context(name.to_owned())
    };
    let mut all = BTreeSet::new();
    for name in same {
        let member = of(name)?;
        ensure!(text(member, "state") == "untouched", "{member}");
        ensure!(member["modules"]["stock"] == "1.0" && member["rows"].as_u64() > Some(1_000));
        ensure!(member["labels"]["region"] == "eu" && member["bytes"].as_u64() > Some(1_000_000));
        all.insert(text(member, "variant"));
    }
    ensure!(all.len() == 1, "the same to the compiler: {all:?}");
    let kinds = [
        &["t_other_1", "t_other_2"][..],
        &["t_half"],
        &["t_large_1", "t_large_2"],
    ];
    for names in kinds {
        let own = names.iter().map(|name| Ok(text(of(name)?, "variant")));
        let own: BTreeSet<&str> = own.collect::<Result<_>>()?;
        ensure!(own.len() == 1, "{names:?} share a plan: {own:?}");
        let new = own.iter().all(|print| all.insert(print));
        ensure!(new, "{names:?} have a plan of their own");
    }
    let variants = plan["variants"].as_array().context("variants")?;
    ensure!(variants.len() == 4 && all.len() == 4, "{all:?}");
    let compilations = &plan["compilations"];
    ensure!(compilations == 4, "once for each plan: {compilations}");
    let mut counts = variants.iter().map(|variant| &variant["databases"]);
    ensure!(counts.any(|count| *count == same.len()), "{variants:?}");
    let rows = |name: &str| anyhow::Ok(of(name)?["rows"].as_u64().unwrap_or(0));
    let (large, small) = (rows("t_large_1")?, rows("t_erp_1")?);
    ensure!(large > small + 60_000, "its own rows, not those of a class");
    Ok(())
}

/// What gets no plan is there all the same, with the reason.
fn left_alone(plan: &Value) -> Result<()> {
    let members = members(plan)?;
    ensure!(!members.contains_key("main/t_erp_old") && !members.contains_key("main/someone_else"));
    let without = "which this database does not have";
    for (name, state, why) in [
        ("main/t_done_1", "current", ""),
        ("main/t_done_2", "current", ""),
        ("main/t_begun", "refused", "is prepared and not finished"),
        ("main/t_empty", "refused", without),
        ("main/t_missing", "refused", "does not exist"),
        ("gone", "unknown", "connecting to"),
        ("gone/t_erp_1", "unknown", "connecting to"),
    ] {
        let member = members.get(name).context(name)?;
        ensure!(text(member, "state") == state, "{member}");
        ensure!(text(member, "why").contains(why), "{member}");
        ensure!(member["variant"].is_null(), "{member}");
    }
    ensure!(members["main/t_done_1"]["modules"]["base"] == "2.0");
    ensure!(plan["summary"]["untouched"] == 20 && plan["summary"]["unknown"] == 2);
    Ok(())
}

/// Two that are not reached have their place too: they may be there when their turn comes.
fn in_waves(plan: &Value) -> Result<()> {
    let waves = plan["waves"].as_array().context("waves")?;
    let counts = waves.iter().map(|wave| wave["databases"].as_u64());
    let counts: Vec<u64> = counts.map(Option::unwrap_or_default).collect();
    ensure!(
        counts[0] == 3 && counts.iter().sum::<u64>() == 22,
        "{waves:?}"
    );
    let estimate = &plan["estimate"];
    let seconds = estimate["seconds"].as_f64();
    let least = estimate["lower_bound"].as_f64();
    ensure!(seconds >= least && least > Some(0.0), "{estimate}");
    ensure!(plan["seconds"].as_f64() >= seconds, "{estimate}");
    Ok(())
}

/// The same for people.
fn shown(tenants: &Tenants) -> Result<()> {
    let table = tenants
        .fleet("plan")
        .arguments(&["--workers", "1"])
        .succeed()?
        .stdout;
    for line in [
        "main/t_line\\nbreak \\u{1b}[2Jescape",
        "at the target",
        "which this database does not have",
        "plan #4 (",
        "base 1.0 → 2.0",
        "wave canary: 3 databases",
        "then it waits for approval",
        "20 to be upgraded",
        "with these caps: ",
    ] {
        ensure!(table.contains(line), "{line} is not in\n{table}");
    }
    ensure!(
        !table.contains('\u{1b}'),
        "terminals are not driven by names"
    );
    let brief = tenants.fleet("plan").argument("--brief").succeed()?.stdout;
    ensure!(
        brief.contains("main/t_empty") && !brief.contains("main/t_erp_1"),
        "{brief}"
    );
    Ok(())
}

#[test]
fn members_come_from_queries_files_and_lists() -> Result<()> {
    let server = Server::own()?;
    let mut tenants = Tenants::on(server)?;
    let erp = small_erp::database_on(server)?;
    for name in ["q_one", "q_two", "q_three", "q_four"] {
        tenants.add(name, &erp)?;
    }
    tenants.write(
        "tenants.txt",
        "# of today\nq_three\ttier=silver\n\nq_four\n",
    )?;
    let order = "[[members]]\nserver = \"main\"\nlabels = { source = \"query\" }\nquery = \"\"\"\n\
                 SELECT datname AS database, length(datname) AS label_length, 'main' AS server\n\
                 FROM pg_database WHERE datname IN ('q_one', 'q_two') -- all of them;\n\"\"\"\n\
                 [[members]]\nserver = \"main\"\nfile = \"tenants.txt\"\n\
                 [[members]]\ndatabases = [\"main/q_two\"]\nlabels = { tier = \"gold\" }\n";
    tenants.order(order)?;
    let found = plan(&tenants, 0)?;
    let by_name = members(&found)?;
    let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
    ensure!(
        names == ["main/q_four", "main/q_one", "main/q_three", "main/q_two"],
        "{names:?}"
    );
    let labels = &by_name["main/q_two"]["labels"];
    ensure!(labels["length"] == "5" && labels["source"] == "query" && labels["tier"] == "gold");
    ensure!(labels["region"] == "eu" && by_name["main/q_three"]["labels"]["tier"] == "silver");
    ensure!(found["compilations"] == 1);

    // A source that cannot be asked: the others are shown, and that it is not all.
    tenants.order(&format!(
        "{order}[[members]]\nservers = [\"gone\"]\nlike = [\"*\"]\n\
         [[members]]\nserver = \"main\"\nquery = \"SELECT 1 AS nothing\"\n\
         [[members]]\nserver = \"main\"\nquery = \"CREATE TABLE written ()\"\n"
    ))?;
    let found = plan(&tenants, 1)?;
    ensure!(members(&found)?.len() == 4);
    let unasked = found["unasked"].to_string();
    for why in ["server gone", "a column \\\"nothing\\\"", "on server main"] {
        ensure!(unasked.contains(why), "{why} is not in {unasked}");
    }

    // One database by two names would be upgraded twice.
    let config = std::fs::read_to_string(tenants.folder().join("upshift.toml"))?;
    let url = server.url(Database::OWNER, "q_one");
    tenants.write(
        "upshift.toml",
        &format!("{config}\n[databases.again]\nurl = \"{url}\"\n"),
    )?;
    tenants.order("[[members]]\ndatabases = [\"main/q_one\", \"again\"]\n")?;
    let refused = tenants.fleet("plan").run()?.expect_code(2)?.stderr;
    ensure!(refused.contains("are the same database"), "{refused}");
    // A name that two parts of a cluster would understand as two databases.
    tenants.write(
        "upshift.toml",
        &format!("{config}\n[databases.\"main/q_one\"]\nurl = \"{url}\"\n"),
    )?;
    tenants.order("[[members]]\ndatabases = [\"main/q_one\"]\n")?;
    let refused = tenants.fleet("plan").run()?.expect_code(2)?.stderr;
    ensure!(refused.contains("a name without a slash"), "{refused}");
    tenants.write("upshift.toml", &config)?;
    tenants.order("[[members]]\ndatabases = [\"mian/q_one\"]\n")?;
    let refused = tenants.fleet("plan").run()?.expect_code(2)?.stderr;
    ensure!(refused.contains("mian"), "{refused}");
    Ok(())
}
