//! Connections of a worker: one for each slot and database, kept open from unit to unit.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sqlx::{PgConnection, Row};
use upshift_shared::{Error, Result, pg};

/// What an idle session of a worker is called.
const IDLE_NAME: &str = "upshift worker";

/// An open connection.
pub(crate) struct Connection {
    /// The session.
    pub(crate) conn: PgConnection,
    /// Its server process.
    pub(crate) process: i32,
}

/// Idle connections by the name of their database.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

impl Pool {
    /// An idle connection, or a new one.
    pub(crate) async fn take(&self, database: &str, target: &pg::Target) -> Result<Connection> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(database)
            .and_then(Vec::pop);
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let mut conn = pg::connect(target, IDLE_NAME).await?;
        let process = sqlx::query("-- which server process is it\nSELECT pg_backend_pid()")
            .persistent(false)
            .fetch_one(&mut conn)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(Error::database("asking for the server process"))?;
        Ok(Connection { conn, process })
    }

    /// Gives a connection back. One that broke is dropped instead.
    pub(crate) fn give_back(&self, database: &str, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(database.to_owned())
            .or_default()
            .push(connection);
    }

    /// Forgets the idle connections of a database: its server restarted, so they are all broken.
    pub(crate) fn forget(&self, database: &str) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(database);
    }
}
