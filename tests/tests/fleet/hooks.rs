//! Hooks: what they are told, how long they may take, what is kept of what they say, and that each database
//! that one was run before has one run after it, whatever dies in between.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use upshift_shared::clock::Stopwatch;
use upshift_tests::{
    compare::Snapshot,
    fleet::{Fleet, Tiny, of_member},
};

/// Writes down what it is called with and what it finds; for the databases that files beside it name it fails,
/// hangs, or leaves a process that goes on.
const SCRIPT: &str = r#"
echo "$1 $UPSHIFT_DATABASE $UPSHIFT_OUTCOME" >> calls.txt
env | grep -E '^(UPSHIFT|PG)' > "env-$1-$UPSHIFT_DATABASE"
printf '%s' "$2" > "arg-$UPSHIFT_DATABASE"
psql -X -q -A -t -c 'SELECT current_database()' > "psql-$UPSHIFT_DATABASE" 2>&1
if test -e "fails-$1-$UPSHIFT_DATABASE"; then
    for line in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo "line $line"; done
    exit 7
fi
if test -e "hangs-$1-$UPSHIFT_DATABASE"; then
    echo "waits for the tenant"
    sleep 600 &
    echo $! > hanging
    wait
fi
if test -e "leaves-$1-$UPSHIFT_DATABASE"; then
    sleep 600 &
    echo $! > left
fi
echo "$1 is done"
"#;

const HOOKS: &str = "on_failure = { stop_after = \"never\" }\n\
     [hooks]\n\
     before = { command = [\"sh\", \"hook.sh\", \"before\", \"{member} is {database}\"], timeout = \"5s\" }\n\
     after = { command = [\"sh\", \"hook.sh\", \"after\", \"{member} is {database}\"], timeout = \"5s\" }\n";

fn hooked(tiny: &Tiny, count: usize) -> Result<Fleet> {
    let fleet = tiny.fleet(count, HOOKS)?;
    fs::write(fleet.folder().join("hook.sh"), SCRIPT)?;
    Ok(fleet)
}

fn read(fleet: &Fleet, file: &str) -> Result<String> {
    let path = fleet.folder().join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn mark(fleet: &Fleet, what: &str, place: usize) -> Result<()> {
    let file = format!("{what}-{}", fleet.databases[place].name());
    Ok(fs::write(fleet.folder().join(file), "")?)
}

fn unmark(fleet: &Fleet, what: &str, place: usize) -> Result<()> {
    let file = format!("{what}-{}", fleet.databases[place].name());
    Ok(fs::remove_file(fleet.folder().join(file))?)
}

/// The hooks that were called for a database, in order.
fn calls(fleet: &Fleet, place: usize) -> Result<Vec<String>> {
    let name = format!(" {} ", fleet.databases[place].name());
    let calls = read(fleet, "calls.txt")?;
    let own = calls.lines().filter(|line| line.contains(&name));
    Ok(own.map(|line| line.replace(&name, " ")).collect())
}

fn process(fleet: &Fleet, file: &str) -> Result<Pid> {
    Ok(Pid::from_raw(read(fleet, file)?.trim().parse()?))
}

/// Whether it is there, and has not ended.
fn lives(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn hook<'v>(member: &'v Value, what: &str) -> Result<&'v Value> {
    let hooks = member["hooks"].as_array().context("it has hooks")?;
    let found = hooks.iter().find(|hook| hook["what"] == what);
    found.with_context(|| format!("{what} is not in {member}"))
}

/// What a hook finds.
fn told(fleet: &Fleet, sound: usize) -> Result<()> {
    let report = fleet.report()?;
    let name = fleet.databases[sound].name();
    let environment = read(fleet, &format!("env-after-{name}"))?;
    let member = fleet.member(sound);
    let server = of_member(&report, &member)?["server"].as_str();
    let server = format!("UPSHIFT_SERVER={}", server.unwrap_or_default());
    for line in [
        "UPSHIFT_FLEET=fleet",
        "UPSHIFT_WAVE=all",
        &format!("UPSHIFT_MEMBER={member}"),
        &server,
        &format!("UPSHIFT_DATABASE={name}"),
        "UPSHIFT_OUTCOME=prepared",
        &format!("PGDATABASE={name}"),
    ] {
        ensure!(
            environment.lines().any(|own| own == line),
            "{line}: {environment}"
        );
    }
    ensure!(!environment.contains("PGPASSWORD="), "{environment}");
    ensure!(read(fleet, &format!("arg-{name}"))? == format!("{member} is {name}"));
    ensure!(
        read(fleet, &format!("psql-{name}"))?.trim() == name,
        "it is reached"
    );
    ensure!(calls(fleet, sound)? == ["before upgrade", "after prepared"]);
    Ok(())
}

/// How those that fail or hang end, and what is kept of what they have said.
async fn kept(
    fleet: &Fleet,
    start: &Snapshot,
    [fails, hangs, not_after]: [usize; 3],
) -> Result<()> {
    let report = fleet.report()?;
    let failed = of_member(&report, &fleet.member(fails))?;
    let why = failed["reason"].as_str().unwrap_or_default();
    ensure!(
        failed["state"] == "failed" && why.contains("the hook before"),
        "{failed}"
    );
    ensure!(why.contains("exit status: 7"), "{failed}");
    let said = hook(failed, "hook_before")?["output"].to_string();
    ensure!(
        said.contains("line 15") && !said.contains("line 5\""),
        "{said}"
    );
    let hung = of_member(&report, &fleet.member(hangs))?;
    ensure!(
        hung["reason"].to_string().contains("did not end within 5s"),
        "{hung}"
    );
    let said = hook(hung, "hook_before")?["output"].to_string();
    ensure!(said.contains("waits for the tenant"), "{said}");
    ensure!(
        !lives(process(fleet, "hanging")?),
        "what it has started ends with it"
    );
    for place in [fails, hangs] {
        // It is as it was, and started again.
        fleet.expect_each(&[place], start).await?;
        ensure!(calls(fleet, place)? == ["before upgrade", "after untouched"]);
    }
    let left = process(fleet, "left")?;
    ensure!(lives(left), "what a hook has started goes on");
    kill(left, Signal::SIGKILL)?;
    let not_started = of_member(&report, &fleet.member(not_after))?;
    ensure!(
        hook(not_started, "hook_after")?["outcome"] == "failed",
        "{not_started}"
    );
    Ok(())
}

#[tokio::test]
async fn they_are_told_bounded_and_their_last_words_kept() -> Result<()> {
    let tiny = Tiny::new()?;
    let fleet = hooked(&tiny, 5)?;
    let start = Snapshot::take(&fleet.databases[0]).await?;
    let (sound, fails, hangs, leaves, not_after) = (0, 1, 2, 3, 4);
    mark(&fleet, "fails-before", fails)?;
    mark(&fleet, "hangs-before", hangs)?;
    mark(&fleet, "leaves-after", leaves)?;
    mark(&fleet, "fails-after", not_after)?;
    let watch = Stopwatch::start();
    fleet.run(2).run()?.expect_code(1)?;
    ensure!(
        watch.elapsed() < Duration::from_secs(60),
        "its timeout ends it"
    );

    told(&fleet, sound)?;
    kept(&fleet, &start, [fails, hangs, not_after]).await?;

    // A hook after that failed is owed; one before that failed waits for somebody who retries it.
    unmark(&fleet, "fails-after", not_after)?;
    fleet.run(2).run()?.expect_code(1)?;
    ensure!(calls(&fleet, not_after)? == ["before upgrade", "after prepared", "after prepared"]);
    fleet.expect_states(&[("prepared", 3), ("failed", 2)])?;
    unmark(&fleet, "fails-before", fails)?;
    unmark(&fleet, "hangs-before", hangs)?;
    fleet.say("retry").succeed()?;
    fleet.expect_states(&[("prepared", 5)])?;

    // A way back has hooks too; that the tenant does not start is told by its exit code.
    mark(&fleet, "fails-after", sound)?;
    let back = fleet
        .say("rollback")
        .argument("--all")
        .run()?
        .expect_code(1)?;
    ensure!(
        back.stderr.contains("1 are not taken back"),
        "{}",
        back.stderr
    );
    ensure!(calls(&fleet, sound)?[2..] == ["before roll_back", "after rolled_back"]);
    fleet.expect_each(&[0, 1, 2, 3, 4], &start).await
}

/// Killed at any time: each database that a hook was run before has one run after it.
#[tokio::test]
async fn they_are_run_again_after_a_crash() -> Result<()> {
    let tiny = Tiny::new()?;
    tiny.template.psql("UPDATE pace SET seconds = 1")?;
    let expected = tiny.by_psql().await?;
    let fleet = hooked(&tiny, 3)?;
    let in_hook = 0;
    mark(&fleet, "hangs-before", in_hook)?;
    let running = fleet.run(2).start()?;
    let status = fleet.await_status(|status| {
        let states = &status["states"];
        states["running"] == 2 && states["hook_before"] == 1
    })?;
    ensure!(of_member(&status, &fleet.member(in_hook))?["state"] == "hook_before");
    running.kill()?;
    // Nobody knows how far it came: it is owed its hook after, and waits for nothing else.
    let status = fleet.status()?;
    let owed = of_member(&status, &fleet.member(in_hook))?;
    ensure!(owed["state"] == "waits_for_hook", "{owed}");
    kill(process(&fleet, "hanging")?, Signal::SIGKILL)?;
    unmark(&fleet, "hangs-before", in_hook)?;
    fleet.run(2).succeed()?;
    fleet.expect_states(&[("prepared", 3)])?;
    for place in 0..3 {
        let calls = calls(&fleet, place)?;
        ensure!(
            calls.last().is_some_and(|last| last == "after prepared"),
            "{calls:?}"
        );
        let before = calls.iter().filter(|call| call.starts_with("before"));
        ensure!(before.count() == 2, "{calls:?}");
    }
    fleet.say("commit").argument("--all").succeed()?;
    fleet.expect_each(&[0, 1, 2], &expected).await
}

/// Told to stop it waits for hooks, and says whose tenants are stopped; told twice it ends them, and what they have
/// started; and who closes the terminal tells it once.
#[tokio::test]
async fn who_stops_it_hears_what_is_owed_and_leaves_nothing_running() -> Result<()> {
    let tiny = Tiny::new()?;
    tiny.template.psql("UPDATE pace SET seconds = 2")?;
    let slow = HOOKS.replace("\"5s\"", "\"120s\"");
    let order = format!("caps = {{ max_databases = 1 }}\n{slow}");
    let fleet = tiny.fleet(2, &order)?;
    fs::write(fleet.folder().join("hook.sh"), SCRIPT)?;
    let mut running = fleet.run(2).start()?;
    ensure!(running.read_until(|line| line.contains("hook_before"))?);
    running.signal(Signal::SIGHUP)?;
    let ended = running.wait()?.expect_code(1)?;
    let owed = "stopped; 1 database has had its hook before and not the one after; go on with:";
    ensure!(ended.stderr.contains(owed), "{}", ended.stderr);

    for place in 0..2 {
        mark(&fleet, "hangs-before", place)?;
    }
    let running = fleet.run(2).start()?;
    let hanging = await_process(&fleet, "hanging")?;
    // Two of a kind may come as one.
    let watch = Stopwatch::start();
    running.signal(Signal::SIGTERM)?;
    running.signal(Signal::SIGINT)?;
    running.wait()?.expect_code(1)?;
    ensure!(
        watch.elapsed() < Duration::from_secs(10),
        "{:?}",
        watch.elapsed()
    );
    ensure!(!lives(hanging), "what the hook has started goes on");
    Ok(())
}

fn await_process(fleet: &Fleet, file: &str) -> Result<Pid> {
    let watch = Stopwatch::start();
    loop {
        if let Ok(process) = process(fleet, file) {
            return Ok(process);
        }
        ensure!(watch.elapsed() < Duration::from_secs(60), "no {file}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
