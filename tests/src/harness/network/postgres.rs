//! A PostgreSQL server on a host of its own.

use std::{fs::OpenOptions, io::Write, process::Command};

use anyhow::{Context, Result, bail};
use upshift_coordinator::demo::cluster::{Cluster, find_client};

use super::Host;
use crate::harness::Server;

/// A throwaway server that listens on its host's address, for whoever has the password. The test itself
/// reaches it through its Unix socket too, whatever becomes of the network.
#[derive(Debug)]
pub struct HostPostgres {
    host: Host,
    cluster: Cluster,
}

impl HostPostgres {
    /// Starts a server there.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(host: &Host) -> Result<Self> {
        let mut options = Server::options();
        let listens = ("listen_addresses".to_owned(), host.address().to_string());
        options.settings.push(listens);
        let cluster = host.inside(|| Ok(Cluster::start(&options)?))?;
        let server = Self {
            host: host.clone(),
            cluster,
        };
        let file = server.cluster.data_directory().join("pg_hba.conf");
        let mut hba = OpenOptions::new().append(true).open(file)?;
        writeln!(hba, "host all all samenet scram-sha-256")?;
        server.psql("postgres", "SELECT pg_reload_conf()")?;
        Ok(server)
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The server.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its host and port, for other hosts.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.host.address(), self.cluster.port())
    }

    /// The URL of a database, for other hosts, with the superuser's password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.cluster.password();
        format!(
            "postgresql://postgres:{password}@{}/{database}",
            self.place()
        )
    }

    /// Runs SQL through the Unix socket, and returns what it prints.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let program = find_client(self.cluster.binaries(), "psql");
        let output = Command::new(program)
            .args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d"])
            .args([&self.cluster.url(database), "-c", sql])
            .output()
            .context("starting psql")?;
        if !output.status.success() {
            bail!(
                "psql fails: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Ends the server as a crash does; see [`Host::kill`] for what spares nothing.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn crash(&mut self) -> Result<()> {
        self.host.resume()?;
        Ok(self.cluster.crash()?)
    }

    /// Starts it again at the same place, after [`Self::crash`] or [`Host::kill`].
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let cluster = &mut self.cluster;
        self.host.inside(|| {
            cluster.crash()?;
            Ok(cluster.start_again()?)
        })
    }
}

impl Drop for HostPostgres {
    fn drop(&mut self) {
        // A server that is paused would not hear that it is to end.
        let _gone = self.host.resume();
    }
}
