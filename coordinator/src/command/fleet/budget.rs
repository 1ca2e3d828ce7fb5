//! How many databases of a server may be worked on at once, by its connections: it keeps a reserve for
//! everybody else.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::Row;
use upshift_shared::{
    Error,
    fleet::{FleetFile, MemberName},
    pg::{self, PgConnection},
};

use super::{super::Failure, finding::Entries, running::UNITS};
use crate::fleet::Member;

/// Sessions of one database that is worked on: its lock, what watches it, what is written about it, and for
/// each of its units at once one of a worker and one of the driver.
const SESSIONS: u32 = 3 + 2 * UNITS;
/// One connection of so many is left to others.
const RESERVE_OF: u32 = 8;
/// And so many at least.
const RESERVE: u32 = 5;
/// Where a server cannot be asked: it may be back before its databases have their turn.
const UNASKED: u32 = 2;

/// What a server says of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connections {
    max: u32,
    reserved: u32,
    taken: u32,
}

impl Connections {
    /// Databases at once.
    fn databases(self) -> u32 {
        let reserve = (self.max / RESERVE_OF).max(RESERVE);
        let free = self
            .max
            .saturating_sub(self.reserved + self.taken + reserve);
        (free / SESSIONS).max(1)
    }
}

/// Lowers the caps of servers to what their connections allow; a line for each server where that says more
/// than the file.
pub(super) async fn heed(
    order: &mut FleetFile,
    (members, entries): (&[Member], &Entries),
) -> Vec<String> {
    let mut servers = BTreeMap::<Arc<str>, &MemberName>::new();
    for member in members {
        if let Ok(server) = entries.server(&member.name) {
            servers.entry(server).or_insert(&member.name);
        }
    }
    let mut told = Vec::new();
    for (server, through) in servers {
        let asked = ask(entries, through).await;
        let databases = asked.as_ref().map_or(UNASKED, |found| found.databases());
        let of_file = order.caps.of_server(&server, &through.entry);
        let cap = of_file.min(databases);
        order.caps.servers.insert(server.to_string(), cap);
        let most = order.caps.in_all();
        match asked {
            Ok(found) if databases < of_file.min(most) => told.push(format!(
                "server {server}: {databases} databases at once, by its connections ({} of {} are taken)",
                found.taken, found.max
            )),
            Ok(_) => {}
            Err(failure) => told.push(format!(
                "server {server} cannot be asked for its connections: {}",
                failure.message()
            )),
        }
    }
    told
}

async fn ask(entries: &Entries, through: &MemberName) -> Result<Connections, Failure> {
    let target = entries.target(through)?;
    let mut conn = pg::connect(&target, "upshift fleet").await?;
    Ok(connections(&mut conn).await?)
}

async fn connections(conn: &mut PgConnection) -> upshift_shared::Result<Connections> {
    // Settings that this version does not have are NULL. Sessions of workers are ours: where this process
    // takes a fleet over, they are there still.
    let row = sqlx::query(
        "-- upshift: connections that the server has
         SELECT pg_catalog.current_setting('max_connections')::integer AS max,
                pg_catalog.current_setting('superuser_reserved_connections')::integer
                  + coalesce(pg_catalog.current_setting('reserved_connections', true)::integer, 0)
                  AS reserved,
                (SELECT count(*)::integer FROM pg_catalog.pg_stat_activity
                  WHERE (backend_type = 'client backend' OR backend_type IS NULL)
                    AND application_name IS DISTINCT FROM 'upshift worker'
                    AND application_name !~ '^upshift [0-9a-f]+ \\S+ \\S+$') AS taken",
    )
    .persistent(false)
    .fetch_one(conn)
    .await
    .map_err(Error::database("asking for the server's connections"))?;
    let number = |column: &str| -> upshift_shared::Result<u32> {
        let number: i32 = row
            .try_get(column)
            .map_err(Error::database("asking for the server's connections"))?;
        Ok(u32::try_from(number).unwrap_or_default())
    };
    Ok(Connections {
        max: number("max")?,
        reserved: number("reserved")?,
        taken: number("taken")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_left() {
        let databases = |max, taken| {
            let reserved = 3;
            Connections {
                max,
                reserved,
                taken,
            }
            .databases()
        };
        assert_eq!(databases(100, 1), 7);
        assert_eq!(databases(500, 20), 37);
        // However few are free, one at a time.
        assert_eq!(databases(100, 95), 1);
        assert_eq!(databases(10, 0), 1);
    }
}
