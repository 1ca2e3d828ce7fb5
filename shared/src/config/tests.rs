//! Tables: what is given → what it resolves to.

use std::path::PathBuf;

use super::*;
use crate::throttle::Threshold;

fn resolve(config: &str, argument: Option<&str>, variables: &[(&str, &str)]) -> String {
    let environment = Environment::of(None, "me", variables);
    let resolved = Config::parse(config, PathBuf::from("upshift.toml"), false)
        .and_then(|config| config.database(argument, &environment));
    match resolved {
        Ok(resolved) => resolved.connection.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn databases_resolve_as_libpq_would() {
    let config = "[databases.prod]\nhost = \"db.example.org\"\nport = 6432\ndbname = \"erp\"\n\
                  user = \"erp\"\n[databases.url]\nurl = \"postgres://a@h/d\"\n";
    for (argument, variables, expected) in [
        (Some("postgres://u@h:1/d"), &[][..], "d on h:1 as u"),
        (Some("postgres://u@[::1]/d"), &[], "d on [::1]:5432 as u"),
        (
            Some("host=/run/pg dbname=d"),
            &[],
            "d on /run/pg:5432 as me",
        ),
        (Some("prod"), &[], "erp on db.example.org:6432 as erp"),
        (
            Some("url"),
            &[("PGUSER", "other"), ("PGPORT", "7")],
            "d on h:7 as a",
        ),
        (
            Some("dbname=d"),
            &[("PGHOST", "h"), ("PGUSER", "u")],
            "d on h:5432 as u",
        ),
        (
            Some("host=h dbname=d"),
            &[("PGHOSTADDR", "10.0.0.1")],
            "d on h:5432 as me",
        ),
        (
            None,
            &[("PGHOST", "h"), ("PGDATABASE", "d"), ("PGPORT", "9")],
            "d on h:9 as me",
        ),
    ] {
        assert_eq!(
            resolve(config, argument, variables),
            expected,
            "{argument:?}"
        );
    }
}

#[test]
fn a_server_is_asked_in_a_database_that_every_server_has() {
    let config = "[databases.bare]\nhost = \"h\"\n[databases.prod]\nhost = \"h\"\ndbname = \"d\"\n";
    let config = parse(config).expect("it is right");
    let server = |name: &str, variables: &[(&str, &str)]| {
        let environment = Environment::of(None, "me", variables);
        let (resolved, names_one) = config.server(name, &environment).expect("it is there");
        (resolved.connection.to_string(), names_one)
    };
    let shown = |connection: &str, names_one| (connection.to_owned(), names_one);
    assert_eq!(
        server("bare", &[]),
        shown("postgres on h:5432 as me", false)
    );
    assert_eq!(
        server("bare", &[("PGDATABASE", "x")]),
        shown("x on h:5432 as me", true)
    );
    assert_eq!(server("bare/x", &[]), shown("x on h:5432 as me", true));
    assert_eq!(server("prod", &[]), shown("d on h:5432 as me", true));
}

#[test]
fn what_cannot_be_resolved_is_said_without_secrets() {
    let config = "[databases.prod]\nhost = \"h\"\ndbname = \"d\"\npassword_env = \"SECRET\"\n";
    for (argument, variables, expected) in [
        (
            Some("prd"),
            &[][..],
            "error: upshift.toml has no [databases.prd] (did you mean \"prod\"?); for a database of \
             that name write --database \"dbname=prd\"",
        ),
        (
            Some("prod"),
            &[],
            "error: [databases.prod] takes its password from $SECRET, which is not set",
        ),
        (
            Some("host=h dbname=d port=x"),
            &[],
            "error: connection parameter port: write a number from 1 to 65535",
        ),
        (
            Some("host=h dbname=d sslmode=full"),
            &[],
            "error: connection parameter sslmode: write disable, allow, prefer, require, verify-ca \
             or verify-full",
        ),
        (
            Some("host=h dbname=d channel_binding=require"),
            &[],
            "error: connection parameter channel_binding: this value is not supported; use disable \
             or prefer, or leave it out",
        ),
        (
            Some("host=a,b dbname=d"),
            &[],
            "error: several hosts in one connection string: name the primary alone",
        ),
        (
            Some("host=h dbname=d options=bogus"),
            &[],
            "error: connection parameter options: write -c name=value",
        ),
        (
            Some("postgres://u:p@h"),
            &[],
            "error: no database named: give --database a URL such as postgresql://host/dbname, a \
             string such as \"dbname=…\", or the name of an entry of upshift.toml; or set PGDATABASE",
        ),
    ] {
        assert_eq!(
            resolve(config, argument, variables),
            expected,
            "{argument:?}"
        );
    }
}

#[test]
fn configuration_errors_show_their_place() {
    for (text, expected) in [
        (
            "[databases.a]\nhots = \"h\"\n",
            "unknown key \"hots\" (did you mean \"host\"?)\n  --> upshift.toml:2:1\n\
             2 | hots = \"h\"\n  | ^",
        ),
        (
            "[throttle]\nwal_budgets = \"1MB/s\"\n",
            "unknown key \"wal_budgets\" (did you mean \"wal_budget\"?)\n  --> upshift.toml:2:1\n\
             2 | wal_budgets = \"1MB/s\"\n  | ^",
        ),
        (
            "[run]\nlock_timeout = \"5\"\n",
            "\"5\" is not a duration: write 500ms, 5s, 10min or 2h\n  --> upshift.toml:2:16\n\
             2 | lock_timeout = \"5\"\n  |                ^",
        ),
        (
            "[rum]\nworkers = 3\n",
            "unknown key \"rum\" (did you mean \"run\"?)\n  --> upshift.toml:1:2\n1 | [rum]\n  |  ^",
        ),
        (
            "[run]\nworkers = 0\n",
            "expected a number from 1 to 1024\n  --> upshift.toml:2:11\n2 | workers = 0\n  |           ^",
        ),
        (
            "[databases.a]\nurl = \"postgres://u:geheim@h/d\"\n",
            "a password in a file that others may read: chmod 0600 upshift.toml, or use \
             password_env, password_file, password_command or libpq's password file\n  --> upshift.toml:2:7\n2 | \n  |       ^",
        ),
        (
            "[databases.a]\nurl = \"postgres://u:geheim%@h/d\"\n",
            "connection URL: % not followed by two hexadecimal digits: write % as %25\n  --> \
             upshift.toml:2:7\n2 | url = …\n  |       ^",
        ),
    ] {
        let error = Config::parse(text, PathBuf::from("upshift.toml"), false);
        let error = error.expect_err("it is wrong").to_string();
        assert_eq!(error, expected, "{text}");
        assert!(!error.contains("geheim"));
    }
}

#[test]
fn run_defaults_are_read() {
    let text = "[run]\nworkers = 6\nunit_rows = 50\nlock_timeout = \"2s\"\nstatement_timeout = \"10min\"\n";
    let config = Config::parse(text, PathBuf::from("upshift.toml"), false).expect("it is right");
    assert_eq!(config.run.workers, Some(6));
    assert_eq!(config.run.unit_rows, Some(50));
    assert_eq!(config.run.lock_timeout.map(|d| d.as_secs()), Some(2));
    assert_eq!(config.run.statement_timeout.map(|d| d.as_secs()), Some(600));
    assert_eq!(config.run.max_attempts, None);
    let text = "[throttle]\nwal_budget = \"50MB/s\"\nmax_lock_waits = 3\nlock_wait = \"2s\"\n\
                max_active_sessions = \"off\"\n";
    let throttle = Config::parse(text, PathBuf::from("upshift.toml"), false)
        .expect("a good file")
        .throttle;
    assert_eq!(throttle.wal_budget, Some(Threshold::UpTo(50 << 20)));
    assert_eq!(throttle.max_lock_waits, Some(Threshold::UpTo(3)));
    assert_eq!(throttle.lock_wait_millis, Some(2_000));
    assert_eq!(throttle.max_active_sessions, Some(Threshold::Off));
    assert_eq!(throttle.max_replication_lag, None);
}

#[test]
fn how_snapshots_are_taken_is_read() {
    let text = "[snapshot]\nkind = \"command\"\ncreate = [\"a\", \"{run}\"]\nwait = \"5s\"\n";
    let config = Config::parse(text, PathBuf::from("upshift.toml"), false).expect("it is right");
    assert_eq!(
        config.snapshot.kind,
        Some(crate::plan::SnapshotKind::Command)
    );
    assert_eq!(
        config.snapshot.create,
        Some(vec!["a".to_owned(), "{run}".to_owned()])
    );
    assert_eq!(config.snapshot.wait.as_secs(), 5);
    assert_eq!(config.snapshot.restore, None);
    let text = "[snapshot]\nkind = \"dump\"\ndirectory = \"/var/dumps\"\njobs = 8\n";
    let config = Config::parse(text, PathBuf::from("upshift.toml"), false).expect("it is right");
    assert_eq!(config.snapshot.directory, Some(PathBuf::from("/var/dumps")));
    assert_eq!(config.snapshot.jobs, 8);
    let near = "[snapshot]\ndirectory = \"dumps\"\n";
    let error = Config::parse(near, PathBuf::from("upshift.toml"), false).expect_err("relative");
    assert!(error.to_string().contains("absolute path"), "{error}");
    let wrong = "[snapshot]\nkind = \"tempalte\"\n";
    let error =
        Config::parse(wrong, PathBuf::from("upshift.toml"), false).expect_err("it is wrong");
    assert!(
        error
            .to_string()
            .contains("expected one of none, template, command, dump")
    );
}

#[test]
fn secrets_show_nowhere_and_a_password_in_arguments_is_warned_of() {
    let environment = Environment::of(None, "me", &[]);
    let resolved = Config::default()
        .database(Some("postgres://u:geheim@h/d"), &environment)
        .expect("it is a URL");
    assert!(!format!("{resolved:?}").contains("geheim"));
    assert!(!resolved.connection.to_string().contains("geheim"));
    assert_eq!(resolved.warnings.len(), 1);
    assert_eq!(resolved.connection.target().password(), Some("geheim"));
}

#[test]
fn the_password_file_is_asked_last() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join(".pgpass");
    std::fs::write(&path, "h:5432:d:u:filed\n").expect("it is ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("it is ours");
    let password = |argument: &str, variables: &[(&str, &str)]| {
        let environment = Environment::of(Some(home.path().to_owned()), "me", variables);
        let resolved = Config::default().database(Some(argument), &environment);
        let target = resolved.expect("it resolves").connection.target();
        target.password().map(str::to_owned)
    };
    let filed = Some("filed".to_owned());
    assert_eq!(password("host=h dbname=d user=u", &[]), filed);
    assert_eq!(password("host=h dbname=other user=u", &[]), None);
    let variables = [("PGPASSWORD", "set")];
    assert_eq!(
        password("host=h dbname=d user=u", &variables),
        Some("set".to_owned())
    );
}

#[test]
fn a_service_stands_above_the_environment() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("services");
    std::fs::write(&path, "[erp]\nhost=s\nport=1234\ndbname=sd\n").expect("it is ours");
    let file = path.to_string_lossy().into_owned();
    let variables = [
        ("PGSERVICEFILE", file.as_str()),
        ("PGSERVICE", "erp"),
        ("PGHOST", "e"),
    ];
    let expected = "sd on s:1234 as me";
    assert_eq!(resolve("", None, &variables), expected);
    let variables = [("PGSERVICEFILE", file.as_str())];
    assert_eq!(
        resolve("", Some("service=erp port=9"), &variables),
        "sd on s:9 as me"
    );
}

#[test]
fn the_sample_is_right() {
    let text = include_str!("../../../deploy/upshift.toml");
    let config = Config::parse(text, PathBuf::from("upshift.toml"), false).expect("it is right");
    let environment = Environment::of(None, "me", &[("ERP_PASSWORD", "geheim")]);
    for (name, shown) in [
        ("production", "erp on db.example.org:5432 as erp_owner"),
        (
            "staging",
            "erp_staging on /var/run/postgresql:5432 as erp_owner",
        ),
    ] {
        let resolved = config
            .database(Some(name), &environment)
            .expect("it is there");
        assert_eq!(resolved.connection.to_string(), shown);
    }
}
