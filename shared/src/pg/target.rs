//! A database that can be reached: everything a connection needs, resolved, and nothing that prints
//! a secret.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{execute_raw, ident::literal};
use crate::{Error, Result, clock::Stopwatch};

/// How long a connection may take to come about, authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the catalog says of sessions' settings holds so long: a run opens several in a row.
const SETTINGS_HOLD: Duration = Duration::from_secs(5);

/// How many statements a session keeps prepared: the ledger's own; statements of packs are never
/// kept, because DDL changes what they mean.
const STATEMENT_CACHE: usize = 32;

/// A resolved connection. Its `Debug` and `Display` show the database, never a secret.
#[derive(Clone)]
pub struct Target {
    display: String,
    options: PgConnectOptions,
    password: Option<String>,
    environment: Vec<(String, String)>,
    connect_timeout: Duration,
    settings: Arc<Mutex<Option<(Stopwatch, SessionSettings)>>>,
}

/// What a session is set to, where the catalog says it.
#[derive(Debug, Clone, Default)]
struct SessionSettings {
    time_zone: Option<String>,
    date_style: Option<String>,
}

impl Target {
    /// From connection options and what they do not give back: the password, and whatever else
    /// libpq's environment variables must say to an external program (`PGSSLROOTCERT`, …).
    ///
    /// `display` is what people call the database; it must hold no secret.
    #[must_use]
    pub fn new(
        display: impl Into<String>,
        options: PgConnectOptions,
        password: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let options = match &password {
            Some(password) => options.password(password),
            None => options,
        };
        Self {
            display: display.into(),
            options: options
                .statement_cache_capacity(STATEMENT_CACHE)
                // sqlx would log slow statements with their text.
                .disable_statement_logging(),
            password,
            environment,
            connect_timeout: CONNECT_TIMEOUT,
            settings: Arc::default(),
        }
    }

    /// With another limit on how long a connection may take to come about.
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// The same server and role, another database: for what cannot be done from within the first one.
    #[must_use]
    pub fn on_database(&self, database: &str) -> Self {
        let mut other = self.clone();
        other.display = format!("{database}, on the server of {}", self.display);
        other.options = other.options.database(database);
        other.settings = Arc::default();
        other
    }

    /// What people call it.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The name of the database on its server.
    #[must_use]
    pub fn database(&self) -> &str {
        self.options
            .get_database()
            .unwrap_or_else(|| self.options.get_username())
    }

    /// Where its server listens: `host:port`, or the directory of a Unix socket in place of the host.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}", self.host(), self.options.get_port())
    }

    fn host(&self) -> String {
        self.options.get_socket().map_or_else(
            || self.options.get_host().to_owned(),
            |path| path.display().to_string(),
        )
    }

    /// The connection options, password included: for sqlx only.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// What the catalog said of a session's settings a moment ago.
    fn known_settings(&self) -> Option<SessionSettings> {
        let known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, settings) = known.as_ref()?;
        (since.elapsed() < SETTINGS_HOLD).then(|| settings.clone())
    }

    fn learn(&self, settings: SessionSettings) -> SessionSettings {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Stopwatch::start(), settings.clone()));
        settings
    }

    /// The password, for the password file of an external program.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// libpq's environment variables for this database, without the password.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            ("PGHOST".to_owned(), self.host()),
            ("PGPORT".to_owned(), self.options.get_port().to_string()),
            ("PGUSER".to_owned(), self.options.get_username().to_owned()),
            ("PGDATABASE".to_owned(), self.database().to_owned()),
            (
                "PGSSLMODE".to_owned(),
                ssl_mode(self.options.get_ssl_mode()).to_owned(),
            ),
        ];
        variables.extend(self.environment.iter().cloned());
        variables
    }
}

/// As libpq writes it.
fn ssl_mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("display", &self.display)
            .finish_non_exhaustive()
    }
}

/// Opens a session. `application_name` is what other sessions see in `pg_stat_activity`.
///
/// sqlx sends `DateStyle` and `TimeZone` of its own at the start, which would hide what
/// `ALTER DATABASE`, `ALTER ROLE` or the server's configuration say; a pack's statements have to see
/// what they would see in `psql`, so both are put back as far as the catalog tells.
///
/// Where commits are asynchronous by default, ours are durable: a driver that was told of a commit goes
/// on from it, so a crash of the server must not take it back.
///
/// # Errors
/// When the database cannot be reached within 10 seconds or refuses the session.
pub async fn connect(target: &Target, application_name: &str) -> Result<PgConnection> {
    let context = format!("connecting to {}", target.display);
    let options = target.options.clone().application_name(application_name);
    let mut conn = tokio::time::timeout(target.connect_timeout, options.connect())
        .await
        .map_err(|_| Error::Database {
            context: context.clone(),
            source: sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!(
                    "no answer within {} seconds",
                    target.connect_timeout.as_secs()
                ),
            )),
        })?
        .map_err(Error::database(&context))?;
    restore_session_settings(&mut conn, target)
        .await
        .map_err(Error::database(context))?;
    // Lets the server notice within seconds that this process is gone, where its platform can tell
    // (PostgreSQL 14, Linux and a few others); where it cannot, only 0 is allowed.
    let _ignored = sqlx::raw_sql("SET client_connection_check_interval = '2s'")
        .execute(&mut conn)
        .await;
    Ok(conn)
}

/// Calls an open session otherwise in `pg_stat_activity`; `None` where it is broken.
pub async fn rename(mut conn: PgConnection, application_name: &str) -> Option<PgConnection> {
    let rename = format!("SET application_name TO {}", literal(application_name));
    let renamed = tokio::time::timeout(CONNECT_TIMEOUT, execute_raw(&mut conn, rename)).await;
    matches!(renamed, Ok(Ok(_))).then_some(conn)
}

/// The most specific setting of a role and database wins, as PostgreSQL itself has it. What the
/// server's configuration file says cannot be asked by an ordinary role; `log_timezone` is the next
/// best: initdb writes the same to both.
const SESSION_SETTINGS: &str = "-- read the session's settings
SELECT lower(split_part(entry, '=', 1)) AS name,
       substr(entry, strpos(entry, '=') + 1) AS value
FROM (
    SELECT 0 AS rank, 'timezone=' || current_setting('log_timezone') AS entry
    UNION ALL
    SELECT CASE WHEN s.setrole <> 0 AND s.setdatabase <> 0 THEN 3
                WHEN s.setrole <> 0 THEN 2
                ELSE 1 END,
           c.entry
    FROM pg_db_role_setting s
    CROSS JOIN LATERAL unnest(s.setconfig) AS c (entry)
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND s.setrole IN (0, quote_ident(session_user)::regrole::oid)
) settings
WHERE lower(split_part(entry, '=', 1)) IN ('timezone', 'datestyle')
ORDER BY rank";

async fn restore_session_settings(conn: &mut PgConnection, target: &Target) -> sqlx::Result<()> {
    let known = target.known_settings();
    let SessionSettings {
        time_zone,
        date_style,
    } = match known {
        Some(known) => known,
        None => target.learn(session_settings(conn).await?),
    };
    sqlx::query(
        "-- set up the session
        SELECT set_config('client_min_messages', 'warning', false),
               set_config('TimeZone', coalesce($1, current_setting('TimeZone')), false),
               set_config('DateStyle', coalesce($2, current_setting('DateStyle')), false),
               set_config('synchronous_commit',
                          coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'local'),
                          false)",
    )
    .bind(time_zone)
    .bind(date_style)
    .persistent(false)
    .execute(conn)
    .await?;
    Ok(())
}

/// Asks the catalog.
async fn session_settings(conn: &mut PgConnection) -> sqlx::Result<SessionSettings> {
    let rows = sqlx::query(SESSION_SETTINGS)
        .persistent(false)
        .fetch_all(&mut *conn)
        .await?;
    // Ascending rank: the last of each name wins.
    let (mut time_zone, mut date_style) = (None, None);
    for row in rows {
        let value: String = row.try_get("value")?;
        match row.try_get::<String, _>("name")?.as_str() {
            "timezone" => time_zone = Some(value),
            _ => date_style = Some(value),
        }
    }
    let environment = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    Ok(SessionSettings {
        time_zone: environment("PGTZ").or(time_zone),
        date_style: environment("PGDATESTYLE").or(date_style),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_the_password() {
        let target = Target::new(
            "crm",
            PgConnectOptions::new_without_pgpass()
                .host("db.example")
                .database("crm"),
            Some("s3cret".to_owned()),
            vec![("PGSSLROOTCERT".to_owned(), "/etc/ca.pem".to_owned())],
        );
        assert!(!format!("{target:?} {target}").contains("s3cret"));
        let environment = target.environment();
        assert!(environment.iter().all(|(_, value)| value != "s3cret"));
        assert!(environment.contains(&("PGDATABASE".to_owned(), "crm".to_owned())));
        assert_eq!(target.password(), Some("s3cret"));
    }
}
