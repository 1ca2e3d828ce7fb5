//! How many databases of a server may be worked on at once, by its connections: it keeps a reserve for
//! everybody else. It is asked again now and then: others come and go, and so do servers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use sqlx::Row;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use upshift_shared::{
    Error,
    fleet::MemberName,
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
/// How often servers are asked.
const EVERY: Duration = Duration::from_secs(60);
/// Servers that are asked at once.
const AT_ONCE: usize = 16;

/// What a server says of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections {
    max: u32,
    reserved: u32,
    /// Sessions of everybody else.
    others: u32,
    /// Sessions that are called Upshift's.
    upshift: u32,
    /// Those of them that are of workers and their units.
    units: u32,
}

impl Connections {
    /// Databases at once, at first. Sessions of workers are ours: where this process takes a fleet over, they are
    /// there still.
    fn at_first(self) -> u32 {
        self.databases(self.units)
    }

    /// The same while something is being done to so many.
    pub(super) fn with(self, active: u32) -> u32 {
        self.databases(active.saturating_mul(SESSIONS))
    }

    /// Where so many of Upshift's sessions are this fleet's own.
    fn databases(self, own: u32) -> u32 {
        let reserve = (self.max / RESERVE_OF).max(RESERVE);
        let taken = self.others + self.upshift.saturating_sub(own);
        let free = self.max.saturating_sub(self.reserved + taken + reserve);
        (free / SESSIONS).max(1)
    }
}

/// What servers said: those that could be asked.
pub(super) type Said = Vec<(Arc<str>, Connections)>;

/// The servers of a fleet, each with a member by which it is asked.
pub(super) struct Budget {
    servers: BTreeMap<Arc<str>, MemberName>,
    entries: Arc<Entries>,
}

/// The way to hear what they say; they are asked for as long as this lives.
pub(super) struct Asking {
    heard: mpsc::Receiver<Said>,
    _asking: JoinSet<()>,
}

impl Budget {
    pub(super) fn of(members: &[Member], entries: &Arc<Entries>) -> Self {
        let mut servers = BTreeMap::<Arc<str>, MemberName>::new();
        for member in members {
            if let Ok(server) = entries.server(&member.name) {
                servers.entry(server).or_insert_with(|| member.name.clone());
            }
        }
        Self {
            servers,
            entries: Arc::clone(entries),
        }
    }

    /// Databases at once of each server, by its connections, and what there is to say of that where its cap
    /// would allow more: `caps`, by server and entry.
    pub(super) async fn at_first(
        &self,
        caps: impl Fn(&str, &str) -> u32,
    ) -> Vec<(Arc<str>, u32, Option<String>)> {
        let mut found = Vec::with_capacity(self.servers.len());
        for (server, said) in self.ask().await {
            let through = &self.servers[&server];
            let cap = caps(&server, &through.entry);
            let (databases, told) = match said {
                Ok(said) if said.at_first() < cap => {
                    let databases = said.at_first();
                    let (taken, max) = (said.others + said.upshift, said.max);
                    let told = format!(
                        "server {server}: {databases} databases at once, by its connections ({taken} of {max} \
                         are taken)"
                    );
                    (databases, Some(told))
                }
                Ok(said) => (said.at_first(), None),
                Err(failure) => {
                    let why = failure.message();
                    let told =
                        format!("server {server} cannot be asked for its connections: {why}");
                    (UNASKED, Some(told))
                }
            };
            found.push((server, databases, told));
        }
        found
    }

    /// Asks again and again from now on.
    pub(super) fn watch(self) -> Asking {
        let (tell, heard) = mpsc::channel(1);
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut beats = interval(EVERY);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats.tick().await;
            loop {
                beats.tick().await;
                let said = self.ask().await.into_iter();
                // What holds of one that does not answer goes on holding.
                let said = said.filter_map(|(server, said)| Some((server, said.ok()?)));
                if tell.send(said.collect()).await.is_err() {
                    return;
                }
            }
        });
        Asking {
            heard,
            _asking: asking,
        }
    }

    async fn ask(&self) -> Vec<(Arc<str>, Result<Connections, Failure>)> {
        let asked = self.servers.iter().map(|(server, through)| async move {
            (Arc::clone(server), ask(&self.entries, through).await)
        });
        let asked: Vec<_> = asked.collect();
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }
}

impl Asking {
    /// What they say next.
    pub(super) async fn next(&mut self) -> Said {
        match self.heard.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

async fn ask(entries: &Entries, through: &MemberName) -> Result<Connections, Failure> {
    let target = entries.target(through)?;
    let mut conn = pg::connect(&target, "upshift fleet").await?;
    Ok(connections(&mut conn).await?)
}

async fn connections(conn: &mut PgConnection) -> upshift_shared::Result<Connections> {
    // Settings that this version does not have are NULL.
    let row = sqlx::query(
        "-- upshift: connections that the server has
         SELECT pg_catalog.current_setting('max_connections')::integer AS max,
                pg_catalog.current_setting('superuser_reserved_connections')::integer
                  + coalesce(pg_catalog.current_setting('reserved_connections', true)::integer, 0)
                  AS reserved,
                taken.*
         FROM (SELECT count(*) FILTER (WHERE NOT is_ours)::integer AS others,
                      count(*) FILTER (WHERE is_ours)::integer AS upshift,
                      count(*) FILTER (WHERE application_name = 'upshift worker'
                        OR application_name ~ '^upshift [0-9a-f]+ \\S+ \\S+$')::integer AS units
               FROM (SELECT application_name,
                            coalesce(application_name ~ '^upshift ', false) AS is_ours
                     FROM pg_catalog.pg_stat_activity
                     WHERE backend_type = 'client backend' OR backend_type IS NULL) AS sessions
              ) AS taken",
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
        others: number("others")?,
        upshift: number("upshift")?,
        units: number("units")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max: u32, others: u32, (upshift, units): (u32, u32)) -> Connections {
        Connections {
            max,
            reserved: 3,
            others,
            upshift,
            units,
        }
    }

    #[test]
    fn a_reserve_is_left() {
        let databases = |max, others| connections(max, others, (0, 0)).at_first();
        assert_eq!(databases(100, 1), 7);
        assert_eq!(databases(500, 20), 37);
        // However few are free, one at a time.
        assert_eq!(databases(100, 95), 1);
        assert_eq!(databases(10, 0), 1);
    }

    #[test]
    fn what_a_fleet_takes_itself_is_not_taken_from_it() {
        // Workers of a process that was killed are still there.
        assert_eq!(connections(100, 1, (40, 40)).at_first(), 7);
        assert_eq!(connections(100, 1, (70, 40)).with(7), 7);
        // Others have come, or another fleet.
        assert_eq!(connections(100, 45, (70, 40)).with(7), 3);
        assert_eq!(connections(100, 1, (114, 80)).with(7), 4);
        assert_eq!(connections(100, 1, (0, 0)).with(3), 7);
    }
}
