//! Fleets in a cluster: the same file that one process conducts, kept in the cluster's store and conducted by
//! whoever leads.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upshift_tests::{
    cluster::{Cluster, Guarded, leads, told},
    compare::Snapshot,
    eventually,
    fleet::Fleet,
    harness::{Database, Outcome, Upshift, one_module},
    oracle, small_erp,
};

/// Nothing that has to happen may take longer.
const DEADLINE: Duration = Duration::from_secs(180);

/// What one database is after `psql` has run the same files.
async fn by_psql(template: &Database) -> Result<Snapshot> {
    let copy = template.copy()?;
    oracle::upgrade(&copy, &small_erp::pack()).await?;
    Snapshot::take(&copy).await
}

/// A fleet and the cluster that it is one of.
struct Rig {
    fleet: Fleet,
    cluster: Cluster,
    template: Database,
}

impl Rig {
    async fn new(count: usize, order: &str, more: &str) -> Result<Self> {
        let template = small_erp::database().await?;
        Self::of(template, count, (order, more))
    }

    fn of(template: Database, count: usize, (order, more): (&str, &str)) -> Result<Self> {
        let fleet = Fleet::of(&[&template], count, order)?;
        let cluster = Cluster::new(1, &[("s0", &template)], more)?;
        Ok(Self {
            fleet,
            cluster,
            template,
        })
    }

    /// `upshift fleet VERB FILE --cluster`
    fn say(&self, verb: &str) -> Upshift {
        let upshift = self.cluster.upshift(&["fleet", verb]);
        let upshift = upshift.argument(self.fleet.file("fleet"));
        upshift.argument("--cluster")
    }

    fn status(&self) -> Result<Value> {
        let said = self.say("status").argument("--json").succeed()?;
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// Waits until it stands so.
    fn stands(&self, how: &str, stands: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut status = Value::Null;
        let waited = eventually(&format!("a fleet that is {how}"), DEADLINE, || {
            status = self.status()?;
            Ok(stands(&status))
        });
        waited.with_context(|| format!("it stands: {status}"))?;
        Ok(status)
    }

    fn ended(&self, standing: &str) -> Result<Value> {
        let ended = self.stands(standing, |status| status["conducted"] == false)?;
        ensure!(ended["standing"] == standing, "{ended}");
        Ok(ended)
    }

    async fn expect_all(&self, expected: &Snapshot, what: &str) -> Result<()> {
        for database in &self.fleet.databases {
            let now = Snapshot::take(database).await?;
            expected
                .expect_same(&now, what)
                .with_context(|| format!("database {}", database.name()))?;
        }
        Ok(())
    }
}

/// How many members are in that state.
fn count(status: &Value, state: &str) -> u64 {
    status["states"][state].as_u64().unwrap_or_default()
}

fn says(outcome: &Outcome, words: &str) -> Result<()> {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    ensure!(said.contains(words), "not \"{words}\": {said}");
    Ok(())
}

const WAVES: &str = "[[waves]]\nname = \"canary\"\ntake = 2\napproval = true\n\
                     [[waves]]\nname = \"rest\"\ntake = \"rest\"";

#[tokio::test]
async fn a_fleet_goes_through_the_cluster_and_back() -> Result<()> {
    let rig = Rig::new(12, WAVES, "max_runs = 5").await?;
    let expected = by_psql(&rig.template).await?;
    let start = rig.fleet.snapshots().await?;
    let _leader = rig.cluster.leader()?;
    let _workers = [rig.cluster.worker(2)?, rig.cluster.worker(2)?];
    let submitted = rig.say("run").succeed()?;
    says(
        &submitted,
        "is under way; how it goes: upshift fleet status",
    )?;
    // A second time it is told that it is.
    rig.say("run").run()?.expect_code(3)?;
    rig.stands("waiting for approval", |status| {
        let standing = status["standing"].as_str().unwrap_or_default();
        standing.contains("waits to be approved") && count(status, "prepared") == 2
    })?;
    rig.say("pause").succeed()?;
    let approved = rig.say("approve").argument("canary").succeed()?;
    says(&approved, "is taken up")?;
    let paused = rig.stands("paused", |status| status["standing"] == "paused")?;
    ensure!(count(&paused, "prepared") == 2, "{paused}");
    rig.say("resume").succeed()?;
    let watched = rig.say("status").argument("--watch").succeed()?;
    says(&watched, "12 prepared")?;
    rig.ended("done")?;
    let unknown = rig
        .say("approve")
        .argument("nobody")
        .run()?
        .expect_code(2)?;
    says(&unknown, "it has canary, rest")?;

    let report = rig.say("report").argument("--csv").succeed()?.stdout;
    ensure!(report.lines().count() == 13, "{report}");
    let listed = rig.cluster.upshift(&["cluster", "fleets"]).succeed()?;
    says(&listed, "fleet fleet: done; 12 prepared")?;

    let back = rig
        .say("rollback")
        .arguments(&["--wave", "canary"])
        .succeed()?;
    says(&back, "is taken up")?;
    let ended = rig.ended("what was ordered is done")?;
    ensure!(count(&ended, "rolled_back") == 2, "{ended}");
    let name = |place: usize| format!("s0/{}", rig.fleet.databases[place].name());
    let members = ended["members"].as_array().context("it has members")?;
    for (place, before) in start.iter().enumerate() {
        let member = members
            .iter()
            .find(|member| member["name"] == name(place).as_str());
        let state = &member.context("it is there")?["state"];
        if state == "rolled_back" {
            let now = Snapshot::take(&rig.fleet.databases[place]).await?;
            before.expect_same(&now, "rolled back")?;
        }
    }
    // Those that were taken back by order stay so until they are wanted.
    rig.say("retry")
        .arguments(&[&rolled_back(members, 0)?, &rolled_back(members, 1)?])
        .succeed()?;
    rig.stands("prepared", |status| count(status, "prepared") == 12)?;
    rig.ended("what was ordered is done")?;
    rig.say("commit").argument("--all").succeed()?;
    rig.stands("committed", |status| count(status, "committed") == 12)?;
    rig.ended("what was ordered is done")?;
    let back = [rolled_back(members, 0)?, rolled_back(members, 1)?];
    for (place, database) in rig.fleet.databases.iter().enumerate() {
        let expected = match back.contains(&name(place)) {
            true => "submit rollback submit retry commit",
            false => "submit commit",
        };
        ensure!(audited(database)? == expected, "{}", audited(database)?);
    }
    rig.expect_all(&expected, "committed").await
}

/// What operators have ordered of a database, by its ledger.
fn audited(database: &Database) -> Result<String> {
    let verbs = database.psql("SELECT string_agg(verb, ' ' ORDER BY at) FROM upshift.audit")?;
    Ok(verbs.trim().to_owned())
}

/// The name of one that is rolled back.
fn rolled_back(members: &[Value], place: usize) -> Result<String> {
    let mut all = members
        .iter()
        .filter(|member| member["state"] == "rolled_back");
    let member = all.nth(place).context("it is there")?;
    Ok(member["name"].as_str().context("it has a name")?.to_owned())
}

#[tokio::test]
async fn a_plan_is_what_a_process_alone_makes() -> Result<()> {
    let rig = Rig::new(4, WAVES, "").await?;
    let _leader = rig.cluster.leader()?;
    rig.fleet.databases[1].psql("UPDATE installed_module SET version = '2.0'")?;
    rig.fleet.databases[2].psql("ALTER TABLE partner ADD COLUMN tenant_note text")?;
    for more in [
        ["--json"].as_slice(),
        &["--json", "--workers", "1"],
        &["--brief"],
        &[],
    ] {
        let alone = || -> Result<String> {
            let upshift = rig.cluster.upshift(&["fleet", "plan"]);
            let upshift = upshift.argument(rig.fleet.file("fleet")).arguments(more);
            Ok(upshift.succeed()?.stdout)
        };
        // The server may look at the databases meanwhile, and know more of them then.
        eventually("a plan like another one", DEADLINE, || {
            let before = alone()?;
            let planned = rig.say("plan").arguments(more).succeed()?.stdout;
            let same = alone()? == before;
            ensure!(!same || planned == before, "{planned}\nalone: {before}");
            Ok(same)
        })?;
    }
    // Nothing is kept of it.
    let refused = rig.say("status").run()?.expect_code(3)?;
    says(&refused, "knows no fleet")?;

    // Where a fleet stands by its ledgers, it is planned so; what cannot be asked is said.
    let _worker = rig.cluster.worker(2)?;
    rig.say("run").argument("--yes").succeed()?;
    rig.stands("prepared", |status| count(status, "prepared") == 3)?;
    let planned = rig.say("plan").succeed()?;
    says(&planned, "in all: 1 at the target, 3 prepared")?;
    let order = "[[members]]\nserver = \"s0\"\nquery = \"SELECT 1/0 AS database\"";
    rig.fleet.order("fleet", order, &["s0".to_owned()])?;
    let planned = rig.say("plan").run()?.expect_code(1)?;
    says(&planned, "not asked: the query of [[members]] on server s0")?;
    says(&planned, "the plan is not whole")?;
    rig.fleet
        .order("fleet", "", &["s0".to_owned(), "nobody/x".to_owned()])?;
    let refused = rig.say("plan").run()?.expect_code(2)?;
    says(&refused, "\"nobody\" that is no [databases.NAME]")
}

#[tokio::test]
async fn a_standby_goes_on_with_a_fleet() -> Result<()> {
    let rig = Rig::new(
        12,
        "commit = \"after_wave\"\n[[waves]]\ntake = 4\n[[waves]]\ntake = \"rest\"",
        "",
    )
    .await?;
    let expected = by_psql(&rig.template).await?;
    let first = rig.cluster.leader()?;
    let mut second = rig.cluster.coordinator().start()?;
    let _workers = [rig.cluster.worker(1)?, rig.cluster.worker(1)?];
    rig.say("run").succeed()?;
    rig.stands("under way", |status| {
        count(status, "prepared") + count(status, "committed") >= 2
    })?;
    first.kill()?;
    leads(&mut second)?;
    let at_work = rig.status()?;
    ensure!(
        count(&at_work, "committed") < 12,
        "nothing was left to take over"
    );
    let ended = rig.ended("done")?;
    ensure!(count(&ended, "committed") == 12, "{ended}");
    for database in &rig.fleet.databases {
        // Nobody has ordered that they are committed but the file.
        ensure!(audited(database)? == "submit", "{}", audited(database)?);
    }
    rig.expect_all(&expected, "taken over").await?;
    // A third one, which knows nothing but the store and the ledgers, says the same.
    second.kill()?;
    let _third = rig.cluster.leader()?;
    let status = rig.ended("done")?;
    ensure!(count(&status, "committed") == 12, "{status}");
    Ok(())
}

#[tokio::test]
async fn an_order_outlives_the_leader() -> Result<()> {
    let rig = Rig::new(6, WAVES, "").await?;
    let start = rig.fleet.snapshots().await?;
    let first = rig.cluster.leader()?;
    let worker = rig.cluster.worker(2)?;
    rig.say("run").succeed()?;
    rig.stands("waiting for approval", |status| {
        count(status, "prepared") == 2 && count(status, "running") == 0
    })?;
    // Nobody can carry it out.
    worker.kill()?;
    rig.say("rollback").argument("--all").succeed()?;
    first.kill()?;
    let _second = rig.cluster.leader()?;
    let _worker = rig.cluster.worker(2)?;
    let ended = rig.ended("aborted")?;
    ensure!(count(&ended, "rolled_back") == 2, "{ended}");
    // And who gave it.
    let members = ended["members"].as_array().context("it has members")?;
    for place in 0..2 {
        let member = rolled_back(members, place)?;
        let of = |database: &&Database| format!("s0/{}", database.name()) == member;
        let database = rig.fleet.databases.iter().find(of);
        let audited = audited(database.context("it is there")?)?;
        ensure!(audited == "submit rollback", "{audited}");
    }
    rig.fleet.expect_same(&start, "rolled back").await
}

#[tokio::test]
async fn what_must_not_be_is_refused() -> Result<()> {
    let hooks = "[hooks]\nbefore = { command = [\"touch\", \"hooked\"] }";
    let rig = Rig::new(1, hooks, "max_pack = \"2MB\"").await?;
    let _leader = rig.cluster.leader()?;
    let refused = rig.say("run").run()?.expect_code(3)?;
    says(&refused, "hooks = true in [cluster]")?;

    let member = format!("s0/{}", rig.fleet.databases[0].name());
    rig.fleet.order("fleet", "", &["nobody/x".to_owned()])?;
    let refused = rig.say("run").run()?.expect_code(2)?;
    says(&refused, "\"nobody\" that is no [databases.NAME]")?;
    rig.fleet.order("fleet", "", &[member])?;
    for (options, code, words) in [
        (
            ["--show-values"].as_slice(),
            2,
            "--show-values is not for a cluster",
        ),
        (&["--group", "x.toml"], 2, "not for a fleet"),
        (&["--database=postgresql://x"], 2, "an option holds a URL"),
        (&["--database", "s0"], 2, "named once"),
    ] {
        let run = rig.say("run").argument("--").arguments(options);
        says(&run.run()?.expect_code(code)?, words)?;
    }
    let refused = rig.say("run").arguments(&["--workers", "2"]).run()?;
    says(&refused.expect_code(2)?, "a cluster has its own")?;
    let refused = rig.say("status").run()?.expect_code(3)?;
    says(&refused, "knows no fleet")?;

    // More than the coordinator takes, and more than its store keeps.
    let pack = one_module(&[("pre-a.sql", "SELECT 1;")])?;
    let order = format!("pack = \"{}\"", pack.path().display());
    rig.fleet.order("fleet", &order, &["s0".to_owned()])?;
    fs::write(pack.path().join("much.txt"), vec![b'x'; 3 << 20])?;
    let refused = rig.say("run").run()?;
    ensure!(refused.code == Some(1), "{refused:?}");
    says(&refused, "max_pack of [cluster]")?;
    let listed = rig
        .cluster
        .upshift(&["cluster", "fleets", "--json"])
        .succeed()?;
    ensure!(listed.stdout.trim() == "[]", "{}", listed.stdout);
    Ok(())
}

#[tokio::test]
async fn hooks_run_where_the_configuration_says_so() -> Result<()> {
    let hooks = "[hooks]\nbefore = { command = [\"sh\", \"-c\", \"echo stopped $0; echo $0 >> HOOKED\", \"{member}\"] }";
    let rig = Rig::new(3, hooks, "hooks = true").await?;
    let current = &rig.fleet.databases[2];
    current.psql("UPDATE installed_module SET version = '2.0'")?;
    let hooked = rig.cluster.folder().join("hooked.txt");
    let order = hooks.replace("HOOKED", &hooked.display().to_string());
    let members = rig.fleet.databases.iter();
    let members: Vec<String> = members
        .map(|database| format!("s0/{}", database.name()))
        .collect();
    rig.fleet.order("fleet", &order, &members)?;
    let leader = rig.cluster.leader()?;
    let _worker = rig.cluster.worker(2)?;
    let watched = rig.say("run").argument("--watch").succeed()?;
    says(&watched, "2 prepared")?;
    let mut ran: Vec<String> = fs::read_to_string(&hooked)?
        .lines()
        .map(str::to_owned)
        .collect();
    ran.sort();
    let mut expected = members;
    expected.pop();
    expected.sort();
    ensure!(ran == expected, "{ran:?}");
    let before = reported(&rig)?;
    // Whoever leads next tells the same, of a fleet that it has not conducted.
    leader.kill()?;
    let _second = rig.cluster.leader()?;
    let after = reported(&rig)?;
    ensure!(before == after, "{before:?}\n{after:?}");
    let status = rig.ended("done")?;
    ensure!(count(&status, "current") == 1, "{status}");
    Ok(())
}

/// What the report says of each member: its state; what its hook has said, and seconds.
fn reported(rig: &Rig) -> Result<Vec<(String, String)>> {
    let said = rig.say("report").argument("--json").succeed()?;
    let report: Value = serde_json::from_str(&said.stdout)?;
    let members = report["members"].as_array().context("it has members")?;
    let mut rows = Vec::new();
    for member in members {
        let name = member["name"].as_str().context("it has a name")?;
        let hooks = member["hooks"].as_array().context("it has hooks")?;
        let is_upgraded = member["state"] == "prepared";
        ensure!(hooks.len() == usize::from(is_upgraded), "{member}");
        for hook in hooks {
            ensure!(hook["output"][0] == format!("stopped {name}"), "{member}");
        }
        let seconds = member["seconds"].as_f64().context("it has seconds")?;
        ensure!(seconds > 0.0, "{member}");
        // Who was there knows how long it waited for its database, too.
        rows.push((name.to_owned(), member["state"].to_string()));
    }
    // They come in the order of their sizes, which may have changed a little.
    rows.sort();
    Ok(rows)
}

/// What was opened and approved of other waves would be taken for these.
#[tokio::test]
async fn waves_that_were_opened_stay_the_first() -> Result<()> {
    let rig = Rig::new(3, WAVES, "").await?;
    let _leader = rig.cluster.leader()?;
    let _worker = rig.cluster.worker(2)?;
    rig.say("run").succeed()?;
    rig.stands("waiting for approval", |status| {
        count(status, "prepared") == 2 && count(status, "running") == 0
    })?;
    rig.say("rollback").argument("--all").succeed()?;
    rig.ended("aborted")?;
    let members: Vec<String> = (0..3).map(|place| rig.fleet.member(place)).collect();
    let waves = format!("[[waves]]\nname = \"first\"\ntake = 1\n{WAVES}");
    rig.fleet.order("fleet", &waves, &members)?;
    let refused = rig.say("run").run()?.expect_code(3)?;
    says(
        &refused,
        "the waves of the file are no longer those that were opened (canary)",
    )?;
    says(&refused, "--anew")?;
    // Nothing of it was kept: it stands as before.
    rig.ended("aborted")?;
    rig.say("run")
        .arguments(&["--anew", "--yes", "--watch"])
        .succeed()?;
    let ended = rig.ended("done")?;
    ensure!(count(&ended, "prepared") == 3, "{ended}");
    ensure!(ended["waves"][0]["name"] == "first", "{ended}");
    Ok(())
}

/// Databases want workers near them while there are any: without, they are told to wait, and with others they
/// do not.
#[tokio::test]
async fn a_fleet_waits_for_no_worker_that_is_not_there() -> Result<()> {
    let template = small_erp::database().await?;
    let mut rig = Rig::of(template, 2, ("", ""))?;
    rig.cluster
        .configure("s0", "labels = { region = \"eu\" }")?;
    let _leader = rig.cluster.leader()?;
    rig.say("run").succeed()?;
    rig.stands("told to wait", |status| {
        let waits = status["standing"] == "waits for a worker: none is connected";
        waits && count(status, "running") == 1
    })?;
    let far = rig
        .cluster
        .upshift(&["worker", "--slots", "2", "--label", "region=us"]);
    let _far = far.start()?;
    let ended = rig.ended("done")?;
    ensure!(count(&ended, "prepared") == 2, "{ended}");
    Ok(())
}

#[tokio::test]
async fn who_only_looks_orders_nothing() -> Result<()> {
    let template = small_erp::database().await?;
    let fleet = Fleet::of(&[&template], 1, "")?;
    let member = format!("erp/{}", fleet.databases[0].name());
    fleet.order("fleet", "", &[member])?;
    let guarded = Guarded::new(&template, &[], "")?;
    let mut leader = guarded.call("coordinator", &["coordinator"])?.start()?;
    leads(&mut leader)?;
    let _worker = guarded
        .call("worker", &["worker", "--slots", "2"])?
        .start()?;
    let say = |role: &str, verb: &str, more: &[&str]| -> Result<Upshift> {
        let upshift = guarded.call(role, &["fleet", verb])?;
        Ok(upshift
            .argument(fleet.file("fleet"))
            .argument("--cluster")
            .arguments(more))
    };
    for role in ["viewer", "worker"] {
        let refused = say(role, "run", &[])?.run()?.expect_code(2)?;
        says(&refused, "is for operator")?;
    }
    say("operator", "run", &["--watch"])?.succeed()?;
    let shown = say("viewer", "status", &["--watch"])?.succeed()?;
    says(&shown, "1 prepared")?;
    say("viewer", "report", &[])?.succeed()?;
    for (verb, more) in [
        ("plan", [].as_slice()),
        ("pause", &[]),
        ("abort", &[]),
        ("rollback", &["--all"]),
        ("commit", &["--all"]),
    ] {
        let refused = say("viewer", verb, more)?.run()?.expect_code(2)?;
        says(&refused, "is for operator")?;
    }
    let by = fleet.databases[0].psql("SELECT by || ' ' || detail FROM upshift.audit")?;
    ensure!(by.trim() == "operator fleet fleet", "{by}");
    let planned = say("operator", "plan", &[])?.succeed()?;
    says(&planned, "in all: 1 prepared")?;
    say("operator", "rollback", &["--all"])?.succeed()?;
    leader.signal(nix::sys::signal::Signal::SIGTERM)?;
    let said = leader.wait()?.expect_code(0)?.stderr;
    for audited in [
        "\"audit\":\"submit_fleet\"",
        "\"audit\":\"plan_fleet\"",
        "fleet fleet: rollback all",
        "\"granted\":true",
    ] {
        ensure!(said.contains(audited), "{audited}: {said}");
    }
    Ok(())
}

/// Requests that etcd was sent.
fn asked_of_etcd(cluster: &Cluster) -> Result<f64> {
    cluster
        .etcd
        .counted("grpc_server_started_total", &["\"unary\""])
}

/// Units of all members.
fn units(fleet: &Fleet) -> Result<f64> {
    let mut units = 0.0;
    for database in &fleet.databases {
        let answer = database.psql("SELECT count(*) FROM upshift.unit")?;
        units += answer.trim().parse::<f64>()?;
    }
    Ok(units)
}

/// Lock and unlock of each database, and a few for the fleet: whatever its members have to do.
#[tokio::test]
async fn what_is_asked_of_etcd_grows_little_with_members_and_not_with_units() -> Result<()> {
    let template = small_erp::database().await?;
    let cluster = Cluster::new(1, &[("s0", &template)], "")?;
    let mut leader = cluster.coordinator().start()?;
    let address = told(&mut leader, "listens on ")?;
    leads(&mut leader)?;
    let _worker = cluster.worker(4)?;
    let coordinator = format!("http://{address}");
    let mut cost = Vec::new();
    for (members, rows) in [(2, "100000"), (2, "10"), (8, "100000")] {
        let order = format!("name = \"of_{members}_by_{rows}\"");
        let fleet = Fleet::of(&[&template], members, &order)?;
        let before = asked_of_etcd(&cluster)?;
        cluster
            .upshift(&["fleet", "run", "--watch", "--coordinator", &coordinator])
            .argument(fleet.file("fleet"))
            .arguments(&["--", "--passes", "in-place", "--unit-rows", rows])
            .succeed()?;
        let asked = asked_of_etcd(&cluster)? - before;
        cost.push((units(&fleet)?, asked));
    }
    eprintln!("units and requests: {cost:?}");
    let [few, many, more] = cost[..] else {
        anyhow::bail!("{cost:?}");
    };
    ensure!(many.0 >= 3.0 * few.0, "{cost:?}");
    ensure!(many.1 - few.1 <= 3.0, "{cost:?}");
    ensure!(more.1 - few.1 <= 6.0 * 3.0 + 3.0, "{cost:?}");
    Ok(())
}
