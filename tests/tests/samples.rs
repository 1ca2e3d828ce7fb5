//! The files that users copy from are good.

use std::{fs, path::PathBuf};

use anyhow::Result;
use upshift_shared::config::Config;
use upshift_tests::harness::repository;

#[test]
fn the_sample_configuration_is_accepted() -> Result<()> {
    let text = fs::read_to_string(repository().join("deploy/upshift.toml"))?;
    let config = Config::parse(&text, PathBuf::from("upshift.toml"), false)?;
    assert_eq!(config.run.workers, Some(4));
    assert!(config.run.lock_timeout.is_some());
    Ok(())
}

/// Every command of README's table exists, and none is missing there.
#[test]
fn the_readme_lists_the_commands() -> Result<()> {
    use upshift_tests::harness::Upshift;
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
