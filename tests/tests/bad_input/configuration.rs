//! Bad configurations, connection strings and command lines.

use anyhow::Result;
use upshift_tests::harness::Upshift;

use super::{World, expect_said, pack_with, report, write};

#[tokio::test]
async fn bad_configurations_name_the_key_and_what_to_write() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[])?;
    let folder = tempfile::tempdir()?;
    let cases: &[(&str, &str, &[&str])] = &[
        ("not TOML", "[run\n", &["upshift.toml"]),
        ("an unknown section", "[runs]\nworkers = 1\n", &["runs"]),
        (
            "an unknown key",
            "[run]\nworker = 1\n",
            &["worker", "upshift.toml"],
        ),
        (
            "a number as text",
            "[run]\nworkers = \"many\"\n",
            &["workers"],
        ),
        (
            "too many workers",
            "[run]\nworkers = 100000\n",
            &["a number from 1 to 1024"],
        ),
        (
            "a time without a unit",
            "[run]\nlock_timeout = \"5\"\n",
            &["lock_timeout"],
        ),
        (
            "a threshold that is not known",
            "[throttle]\nwal = \"5MB/s\"\n",
            &["unknown key \"wal\"", "upshift.toml"],
        ),
        (
            "a budget without a time",
            "[throttle]\nwal_budget = \"5MB\"\n",
            &["wal_budget", "50MB/s"],
        ),
        (
            "a secret that is not there",
            "[databases.x]\nurl = \"postgresql://h/d\"\npassword_env = \"NOT_SET\"\n",
            &["NOT_SET"],
        ),
        (
            "given twice",
            "[databases.x]\nurl = \"postgresql://h/d\"\nhost = \"other\"\n",
            &["twice"],
        ),
    ];
    let mut failures = Vec::new();
    for (name, text, said) in cases {
        let file = folder.path().join("upshift.toml");
        write(&file, text.as_bytes())?;
        let mut call = Upshift::new(["run", "--config"])
            .argument(&file)
            .argument(pack.path());
        call = if text.contains("[databases") {
            call.argument("--database").argument("x")
        } else {
            call.argument("--database").argument(world.database.url())
        };
        if let Err(e) = world.expect(name, call.run()?, 2, said).await {
            failures.push(format!("{e:#}"));
        }
    }
    report(&failures, cases.len())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn bad_connection_strings_and_arguments() -> Result<()> {
    let world = World::new("").await?;
    let pack = pack_with(&[])?;
    let pack = pack.path().to_string_lossy().into_owned();
    let url = world.database.url();
    let unknown = format!("{url}&colour=red");
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "no such entry",
            &["run", &pack, "--database", "production"],
            &["production"],
        ),
        (
            "an unknown parameter",
            &["run", &pack, "--database", &unknown],
            &["unknown connection parameter \"colour\""],
        ),
        (
            "several hosts",
            &["run", &pack, "--database", "postgresql://a,b/d"],
            &["several hosts"],
        ),
        (
            "a port that is none",
            &["run", &pack, "--database", "postgresql://h:99999/d"],
            &["1 to 65535"],
        ),
        (
            "a bad sslmode",
            &["run", &pack, "--database", "postgresql://h/d?sslmode=maybe"],
            &["verify-full"],
        ),
        (
            "no such certificate",
            &[
                "run",
                &pack,
                "--database",
                "postgresql://h/d?sslmode=verify-full&sslrootcert=/nowhere.pem",
            ],
            &["/nowhere.pem"],
        ),
        ("no such command", &["upgrade"], &["upgrade"]),
        ("no pack", &["run", "--database", &url], &["PACK"]),
        (
            "no workers",
            &["run", &pack, "--database", &url, "--workers", "0"],
            &["workers"],
        ),
        (
            "an unknown strategy",
            &["run", &pack, "--database", &url, "--strategy", "quick"],
            &["quick", "sequential"],
        ),
        (
            "an unknown stage",
            &["plan", &pack, "--database", &url, "--stage", "guess"],
            &["guess", "resolve"],
        ),
        (
            "no such configuration",
            &[
                "run",
                &pack,
                "--config",
                "/nowhere.toml",
                "--database",
                &url,
            ],
            &["/nowhere.toml"],
        ),
    ];
    let mut failures = Vec::new();
    for (name, arguments, said) in cases {
        let outcome = Upshift::new(*arguments).run()?;
        if let Err(e) = world.expect(name, outcome, 2, said).await {
            failures.push(format!("{e:#}"));
        }
    }
    report(&failures, cases.len())
}

/// A password never shows, whatever goes wrong.
#[test]
fn secrets_stay_secret() -> Result<()> {
    let pack = pack_with(&[])?;
    for url in [
        "postgresql://me:hunter2@127.0.0.1:1/d",
        "postgresql://me:hunter2@127.0.0.1:1/d?colour=red",
        "host=127.0.0.1 port=1 password=hunter2 dbname=d user=me",
        "host=127.0.0.1 port=x password=hunter2",
    ] {
        let outcome = Upshift::new(["run", "--database", url])
            .argument(pack.path())
            .run()?;
        assert_ne!(outcome.code, Some(0), "{url}");
        assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        expect_said(url, &outcome, outcome.code.unwrap_or(-1), &["upshift: "])?;
    }
    Ok(())
}
