//! The ways in which a database is reached: TLS with SCRAM over a network, with what libpq's users have
//! (variables, service and password files) and what `upshift.toml` says.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Result, ensure};
use upshift_tests::{compare, harness::Upshift, oracle, small_erp};

/// The owner's role is an ordinary one: no superuser, no extension, no rights beyond its objects.
#[tokio::test]
async fn everything_works_over_tls_with_scram_as_the_mere_owner() -> Result<()> {
    let database = small_erp::database().await?;
    let untouched = database.copy()?;
    let rights = database.psql(
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = current_user",
    )?;
    ensure!(
        rights.trim() == "f",
        "the owner has rights that users do not have"
    );
    if database.server().certificate().is_none() {
        println!("TLS is skipped: the server was built without it");
    }
    let url = database.loopback_url();
    let call = |arguments: &[&str]| {
        Upshift::new(arguments)
            .argument("--database")
            .argument(&url)
            .variable("PGPASSWORD", database.password())
    };
    let pack = small_erp::pack().to_string_lossy().into_owned();
    call(&["doctor"]).run()?;
    call(&["plan", &pack]).succeed()?;
    call(&["run", &pack, "--workers", "4"]).succeed()?;
    call(&["status"]).succeed()?;
    call(&["rollback"]).succeed()?;
    compare::expect_same(&untouched, &database, "rolled back over TLS").await?;
    call(&["run", &pack, "--workers", "4"]).succeed()?;
    call(&["commit"]).succeed()?;
    oracle::upgrade(&untouched, &small_erp::pack()).await?;
    compare::expect_same(&untouched, &database, "upgraded over TLS").await
}

/// The same database by every name that a libpq program understands, and by ours.
#[tokio::test]
async fn passwords_come_from_files_and_variables() -> Result<()> {
    let database = small_erp::database().await?;
    let folder = tempfile::tempdir()?;
    let server = database.server();
    let (port, name, owner) = (server.port().to_string(), database.name(), database.owner());
    let tls = server.tls();
    let tls_lines: String = tls.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
    let tls_toml: String = tls
        .iter()
        .map(|(k, v)| format!("{k} = \"{v}\"\n"))
        .collect();
    let secret = |file: &str, text: String| -> Result<String> {
        let path = folder.path().join(file);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let passfile = secret(
        "pgpass",
        format!("127.0.0.1:{port}:{name}:{owner}:{}\n", database.password()),
    )?;
    let services = secret(
        "services",
        format!("[erp]\nhost=127.0.0.1\nport={port}\ndbname={name}\nuser={owner}\n{tls_lines}"),
    )?;
    let config = secret(
        "upshift.toml",
        format!(
            "[databases.erp]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{name}\"\nuser = \"{owner}\"\n\
             {tls_toml}password_env = \"ERP_PASSWORD\"\n"
        ),
    )?;
    let plan = || Upshift::new(["plan"]).argument(small_erp::pack());

    let plan_with_tls = tls.iter().fold(plan(), |plan, (name, value)| {
        plan.variable(&format!("PG{}", name.to_uppercase()), value)
    });
    plan_with_tls
        .variable("PGHOST", "127.0.0.1")
        .variable("PGPORT", &port)
        .variable("PGDATABASE", name)
        .variable("PGUSER", owner)
        .variable("PGPASSWORD", database.password())
        .succeed()?;
    plan()
        .variable("PGSERVICEFILE", &services)
        .variable("PGSERVICE", "erp")
        .variable("PGPASSFILE", &passfile)
        .succeed()?;
    plan()
        .argument("--database")
        .argument("service=erp")
        .variable("PGSERVICEFILE", &services)
        .variable("PGPASSFILE", &passfile)
        .succeed()?;
    plan()
        .arguments(&["--config", &config, "--database", "erp"])
        .variable("ERP_PASSWORD", database.password())
        .succeed()?;
    Ok(())
}
