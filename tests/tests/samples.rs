//! The files that users copy from are good.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use upshift_coordinator::command::Cli;
use upshift_shared::config::Config;
use upshift_tests::harness::{Upshift, binary, repository};

#[test]
fn the_sample_configuration_is_accepted() -> Result<()> {
    let text = fs::read_to_string(repository().join("deploy/upshift.toml"))?;
    let config = Config::parse(&text, PathBuf::from("upshift.toml"), false)?;
    assert_eq!(config.run.workers, Some(4));
    assert!(config.run.lock_timeout.is_some());
    Ok(())
}

/// What README shows of a cluster's configuration is one of a coordinator.
#[test]
fn the_readme_shows_a_configuration() -> Result<()> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    let blocks = readme.split("\n```toml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    let shown: Vec<&str> = blocks
        .filter(|text| text.starts_with("[cluster]"))
        .collect();
    let [text] = shown[..] else {
        panic!("{} blocks of README begin with [cluster]", shown.len());
    };
    let config = Config::parse(text, PathBuf::from("README.md"), false)?;
    let cluster = &config.cluster;
    assert!(cluster.listen.is_some() && cluster.advertise.is_some());
    let tls = cluster.tls.as_ref().context("it has certificates")?;
    let certificate = tls.certificate.as_ref().context("its own")?;
    // With another one, nobody would take it for a coordinator.
    assert!(certificate.ends_with("coordinator.pem"), "{certificate:?}");
    assert!(cluster.etcd_tls.is_some(), "etcd is asked over https");
    assert_eq!(config.names().collect::<Vec<_>>(), ["erp"]);
    assert_eq!(config.servers.len(), 1);
    Ok(())
}

/// The configurations below a folder of the repository, by their paths in there; none where there is no
/// such folder. An order of a fleet is none: `upshift_shared::fleet` has its test.
fn configurations(folder: &str) -> Result<BTreeMap<PathBuf, Config>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
                && !path.ends_with("fleet.toml")
            {
                let text = fs::read_to_string(&path)?;
                let config = Config::parse(&text, path.clone(), false)?;
                found.insert(path.strip_prefix(repository())?.to_owned(), config);
            }
        }
    }
    Ok(found)
}

/// That a coordinator, or a worker, of this configuration finds the others and is not open to everybody.
fn expect_a_part_of_a_cluster(path: &Path, config: &Config) {
    let cluster = &config.cluster;
    let path = path.display();
    assert!(cluster.tls.is_some(), "{path}: it has no certificates");
    let coordinator = cluster.listen.is_some();
    assert_eq!(
        coordinator,
        cluster.advertise.is_some(),
        "{path}: listen, advertise"
    );
    assert_eq!(coordinator, !cluster.etcd.is_empty(), "{path}: etcd");
    // There are no authorities but those that are named.
    let secure = cluster.etcd.iter().any(|url| url.starts_with("https://"));
    assert_eq!(secure, cluster.etcd_tls.is_some(), "{path}: etcd_tls");
    assert_eq!(
        coordinator,
        cluster.coordinators.is_empty(),
        "{path}: coordinators"
    );
    let open = cluster.metrics.is_some_and(|at| !at.ip().is_loopback());
    assert_eq!(
        open, cluster.insecure,
        "{path}: plain text, said or needed in vain"
    );
}

#[test]
fn samples_of_a_cluster_fit_each_other() -> Result<()> {
    let samples = configurations("deploy/samples")?;
    assert_eq!(samples.len(), 3, "{:?}", samples.keys());
    let clusters = [
        ("deploy/samples", "coordinator.toml", "worker.toml"),
        (
            "deploy/compose/configuration",
            "coordinator-1.toml",
            "worker.toml",
        ),
        (
            "deploy/compose/configuration",
            "coordinator-2.toml",
            "worker.toml",
        ),
    ];
    for (folder, coordinator, worker) in clusters {
        let configs = configurations(folder)?;
        let config = |name| configs.get(&Path::new(folder).join(name)).context(name);
        let (coordinator, worker) = (config(coordinator)?, config(worker)?);
        for (path, config) in &configs {
            expect_a_part_of_a_cluster(path, config);
        }
        assert_eq!(coordinator.cluster.name, worker.cluster.name);
        let advertised = coordinator
            .cluster
            .advertise
            .as_ref()
            .context("advertise")?;
        assert!(
            worker.cluster.coordinators.contains(advertised),
            "{advertised}"
        );
        let names = |config: &Config| config.names().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(names(coordinator), names(worker));
        assert_eq!(names(worker).len(), 2);
    }
    Ok(())
}

/// What the Helm chart renders, as `deploy/validate.sh` has left it.
#[test]
fn the_chart_renders_configurations() -> Result<()> {
    let rendered = configurations("target/validate/rendered/configurations")?;
    if rendered.is_empty() {
        let required = std::env::var_os("UPSHIFT_REQUIRE_CHART").is_some();
        assert!(!required, "deploy/validate.sh has rendered nothing");
        eprintln!("SKIPPED: deploy/validate.sh has rendered nothing");
        return Ok(());
    }
    for (path, config) in &rendered {
        expect_a_part_of_a_cluster(path, config);
        assert!(
            config.names().any(|name| name == "shop"),
            "{}",
            path.display()
        );
    }
    let coordinators = rendered
        .values()
        .filter_map(|config| config.cluster.advertise.as_ref());
    assert!(coordinators.count() >= 4, "{:?}", rendered.keys());
    let most = rendered.values().max_by_key(|config| config.servers.len());
    assert_eq!(most.context("none")?.servers.len(), 2);
    Ok(())
}

/// The words of a list in YAML, from behind its key on: in brackets, or an item a line. What a template of Helm
/// puts there is a number or a label.
fn listed(text: &str) -> Vec<String> {
    let inline = text
        .strip_prefix(" [")
        .and_then(|rest| rest.split(']').next());
    let items: Vec<&str> = match inline {
        Some(items) => items.split(", ").collect(),
        None => (text.lines().skip(1).map(str::trim_start))
            .filter(|line| !line.starts_with("{{"))
            .map_while(|line| line.strip_prefix("- "))
            .collect(),
    };
    let items = items.into_iter().map(|item| match item {
        item if item.starts_with("{{ printf") => "region=eu",
        item if item.starts_with("{{") => "4",
        item => item.trim_matches('"'),
    });
    items.map(str::to_owned).collect()
}

/// What a file starts `upshift` with: the words behind the program.
fn started(file: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(repository().join("deploy").join(file))?;
    let is_there = |rest: &str| rest.starts_with(" [") || rest.starts_with('\n');
    let of_yaml = ["command:", "args:", "test:"].map(|key| text.split(key).skip(1));
    let of_yaml = of_yaml.into_iter().flatten();
    let of_yaml = of_yaml.filter(|rest| is_there(rest)).map(listed);
    let of_units = text.split("ExecStart=").skip(1).map(|rest| {
        // systemd has the numbers and labels in a file of variables.
        let line = rest.lines().next().unwrap_or_default();
        let line = line.replace("${UPSHIFT_SLOTS}", "4");
        let line = line.replace("$UPSHIFT_LABELS", "--label region=eu");
        line.split(' ').map(str::to_owned).collect()
    });
    let known = Cli::command();
    let all = of_yaml
        .chain(of_units)
        .filter_map(|mut words: Vec<String>| {
            if words.first().is_some_and(|word| word == "CMD") {
                words.remove(0);
            }
            if words.first().is_some_and(|word| word == "/usr/bin/upshift") {
                words.remove(0);
            }
            let command = known.find_subcommand(words.first()?);
            command.is_some().then_some(words)
        });
    Ok(all.collect())
}

/// What services are started with is understood.
#[test]
fn services_call_commands_that_exist() -> Result<()> {
    let services = [
        ("systemd/upshift-coordinator.service", &["coordinator"][..]),
        ("systemd/upshift-worker@.service", &["worker"]),
        (
            "compose/compose.yaml",
            &[
                "certs",
                "coordinator",
                "coordinator",
                "worker",
                "cluster",
                "cluster",
            ],
        ),
        ("helm/upshift/templates/coordinator.yaml", &["coordinator"]),
        ("helm/upshift/templates/worker.yaml", &["worker"]),
    ];
    for (file, commands) in services {
        let started = started(file)?;
        let mut found: Vec<&str> = started.iter().map(|words| words[0].as_str()).collect();
        let mut commands = commands.to_vec();
        found.sort_unstable();
        commands.sort_unstable();
        assert_eq!(found, commands, "{file}");
        for words in &started {
            let parsed = Cli::try_parse_from(
                ["upshift"]
                    .into_iter()
                    .chain(words.iter().map(String::as_str)),
            );
            if let Err(error) = parsed {
                panic!("{file}: {words:?}: {error}");
            }
        }
    }
    Ok(())
}

/// The image has glibc and libgcc, and nothing else that could be loaded.
#[test]
fn the_image_has_the_libraries_that_the_program_loads() -> Result<()> {
    let output = Command::new("ldd").arg(binary()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let loaded = text.lines().filter_map(|line| {
        let name = line.split_whitespace().next()?;
        name.rsplit('/').next()
    });
    let known = ["linux-vdso", "ld-linux", "libc.", "libm.", "libgcc_s."];
    let loaded: Vec<&str> = loaded.collect();
    assert!(
        loaded.iter().any(|name| name.starts_with("libc.")),
        "{text}"
    );
    for name in loaded {
        assert!(
            known.iter().any(|known| name.starts_with(known)),
            "{name}\n{text}"
        );
    }
    Ok(())
}

/// A service that makes certificates is started again with the machine.
#[test]
fn certificates_are_made_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certs = |more: &[&str]| {
        Upshift::new(["certs", "--host", "coordinator-1"])
            .argument(folder.path())
            .arguments(more)
            .run()
    };
    let read = || fs::read(folder.path().join("coordinator.pem"));
    assert_eq!(certs(&["--keep"])?.code, Some(0));
    let first = read()?;
    assert_ne!(certs(&[])?.code, Some(0), "it would write over them");
    assert_eq!(certs(&["--keep"])?.code, Some(0));
    assert_eq!(read()?, first);
    fs::remove_file(folder.path().join("worker.pem"))?;
    assert_ne!(certs(&["--keep"])?.code, Some(0), "one is missing");
    Ok(())
}

/// Every command of README's table exists, and none is missing there.
#[test]
fn the_readme_lists_the_commands() -> Result<()> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    let help = Upshift::new(["--help"]).succeed()?.stdout;
    let (_, commands) = help.split_once("Commands:").unwrap_or_default();
    let commands: Vec<&str> = commands
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        // What is told of a command may go on in lines of its own.
        .filter(|line| line.len() - line.trim_start().len() == 2)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 9, "{help}");
    for command in commands {
        let row = readme
            .lines()
            .any(|line| line.starts_with(&format!("| `{command}")));
        assert!(row, "README.md says nothing about {command}");
    }
    Ok(())
}
