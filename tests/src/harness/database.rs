//! Databases of a test: made for it, owned by an ordinary role, dropped after it.

use std::{path::Path, str::FromStr, time::Duration};

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use upshift_coordinator::demo::schema;
use upshift_shared::{clock::Stopwatch, pg::ident::ident};

use super::server::{OWNER, OWNER_PASSWORD, Server};

/// How long [`Database::await_answer`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database that is dropped with this guard.
#[derive(Debug)]
pub struct Database {
    server: &'static Server,
    name: String,
}

impl Database {
    /// The role that owns every database of a test: an ordinary one.
    pub const OWNER: &str = OWNER;

    /// An empty database.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn create() -> Result<Self> {
        Self::create_on(Server::shared())
    }

    /// A database that this SQL fills.
    ///
    /// # Errors
    /// Where the server says no, and with what `psql` says.
    pub fn filled(sql: &str) -> Result<Self> {
        let database = Self::create()?;
        database.psql(sql)?;
        Ok(database)
    }

    /// An empty database on this server.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn create_on(server: &'static Server) -> Result<Self> {
        Self::from_template(server, "template0")
    }

    /// A copy of this database: data, schema, sequences and privileges.
    ///
    /// # Errors
    /// Where the server says no, for example because somebody is connected.
    pub fn copy(&self) -> Result<Self> {
        Self::from_template(self.server, &self.name)
    }

    /// A copy of a database of any name.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn copy_of(server: &'static Server, name: &str) -> Result<Self> {
        Self::from_template(server, &ident(name))
    }

    /// A copy of this database in a tablespace.
    ///
    /// # Errors
    /// Where the server says no.
    pub fn copy_to(&self, tablespace: &str) -> Result<Self> {
        Self::make(
            self.server,
            &format!("TEMPLATE {} TABLESPACE {tablespace}", self.name),
        )
    }

    fn from_template(server: &'static Server, template: &str) -> Result<Self> {
        Self::make(server, &format!("TEMPLATE {template}"))
    }

    fn make(server: &'static Server, options: &str) -> Result<Self> {
        let name = format!("t_{:016x}", rand::random::<u64>());
        server.psql(
            "postgres",
            "postgres",
            &format!("CREATE DATABASE {name} {options} OWNER {OWNER}"),
        )?;
        Ok(Self { server, name })
    }

    /// A copy of a database that is made only once per server, under a name, by `fill`, for what takes
    /// long to make.
    ///
    /// # Errors
    /// Those of `fill`, and where the server says no.
    pub async fn of_template(name: &str, fill: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        let server = Server::shared();
        let template = format!("template_{name}");
        let mut admin = PgConnection::connect(&server.url("postgres", "postgres")).await?;
        // The session's lock, so that of several test processes one makes it. It goes with the session.
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
            .bind(&template)
            .execute(&mut admin)
            .await?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(&template)
                .fetch_one(&mut admin)
                .await?;
        if !exists {
            let filled = Self::create()?;
            fill(&filled).with_context(|| format!("making the template {template}"))?;
            server.psql(
                "postgres",
                "postgres",
                &format!(
                    "CREATE DATABASE {template} TEMPLATE {} OWNER {OWNER}",
                    filled.name
                ),
            )?;
        }
        let copy = Self::from_template(server, &template);
        admin.close().await?;
        copy
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role that owns it: an ordinary one.
    #[must_use]
    pub fn owner(&self) -> &'static str {
        OWNER
    }

    /// Its server.
    #[must_use]
    pub fn server(&self) -> &'static Server {
        self.server
    }

    /// Its URL as the owner, through the Unix socket.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(OWNER, &self.name)
    }

    /// Its URL as the owner over loopback, with TLS where the server was built with it, without the
    /// password, which [`Self::password`] gives.
    #[must_use]
    pub fn loopback_url(&self) -> String {
        let tls = self.server.tls();
        let tls: Vec<String> = tls.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!(
            "postgresql://{OWNER}@127.0.0.1:{}/{}?{}",
            self.server.port(),
            self.name,
            tls.join("&")
        )
    }

    /// The owner's password.
    #[must_use]
    pub fn password(&self) -> &'static str {
        OWNER_PASSWORD
    }

    /// Runs SQL with `psql` as the owner.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql(&self, sql: &str) -> Result<String> {
        self.server.psql(OWNER, &self.name, sql)
    }

    /// Runs SQL with `psql` as the superuser, for what a test has to arrange.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql_as_superuser(&self, sql: &str) -> Result<String> {
        self.server.psql("postgres", &self.name, sql)
    }

    /// Runs a file with `psql` as the owner.
    ///
    /// # Errors
    /// With what `psql` says.
    pub fn psql_file(&self, file: &Path) -> Result<String> {
        self.server.psql_file(OWNER, &self.name, file)
    }

    /// Asks again and again until the answer is not empty, and returns it.
    ///
    /// # Errors
    /// With what `psql` says, and where there is no answer for a minute.
    pub fn await_answer(&self, sql: &str) -> Result<String> {
        let watch = Stopwatch::start();
        loop {
            let answer = self.psql_as_superuser(sql)?.trim().to_owned();
            if !answer.is_empty() {
                return Ok(answer);
            }
            ensure!(watch.elapsed() < PATIENCE, "still nothing: {sql}");
        }
    }

    /// A connection as the owner.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn connect(&self) -> Result<PgConnection> {
        let options = PgConnectOptions::from_str(&self.url())?;
        Ok(PgConnection::connect_with(&options).await?)
    }

    /// `pg_dump --schema-only` with owners and privileges, without Upshift's own schemas and without
    /// the lines that differ from dump to dump.
    ///
    /// # Errors
    /// With what `pg_dump` says.
    pub fn schema_dump(&self) -> Result<String> {
        let url = self.server.url("postgres", &self.name);
        Ok(schema::dump(self.server.binaries(), &url)?)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(e) = self.server.psql("postgres", "postgres", &sql) {
            eprintln!("could not drop {}: {e}", self.name);
        }
    }
}
