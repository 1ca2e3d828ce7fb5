//! Looks at the ledgers of members, side by side: some sessions on each server, made as they are needed. A
//! server that is away, or hangs, costs no other one's members anything, and its own little.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as Slot},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::{sync::Semaphore, time::timeout};
use upshift_shared::{
    Error,
    fleet::MemberName,
    ledger::{
        run::RunRow,
        took::{self, Took},
    },
    pg::{self, PgConnection, Target},
};

use super::{
    super::Failure,
    finding::{self, Entries, Looked, Named, Own},
};
use crate::fleet::{Found, Member};

/// Databases looked at at once, on all servers together.
const AT_ONCE: usize = 64;
/// Looking at one ends after so long: somebody may have locked its ledger.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server that has not answered so often in a row is not asked about its other databases: each of them
/// would take as long.
pub(super) const LOST: u32 = 3;

/// The run of a member, and how long it was driven where that was asked for.
pub(in crate::command) type OfMember = (RunRow, Took);

/// Whose ledgers are looked at, for which fleet in which round, with so many sessions on each server.
pub(super) struct Asked {
    pub(super) entries: Arc<Entries>,
    pub(super) own: Own,
    pub(super) sessions: usize,
    /// Whether it is asked how long runs were driven.
    pub(super) took: bool,
}

/// A member that was looked at.
pub(super) struct Seen {
    pub(super) member: Member,
    pub(super) run: Option<OfMember>,
    /// Which database it is, where that is known.
    pub(super) identity: Option<Box<str>>,
}

impl Seen {
    fn unknown(member: Member) -> Self {
        Self {
            member,
            run: None,
            identity: None,
        }
    }
}

impl Asked {
    /// All of them, as they are done.
    pub(super) fn all(self, members: Vec<Named>) -> impl Stream<Item = Seen> + Send + use<> {
        let mut queues = BTreeMap::<Arc<str>, Vec<Named>>::new();
        for named in members {
            let server = self.entries.server(&named.name);
            let server = server.unwrap_or_else(|_| Arc::from("?"));
            queues.entry(server).or_default().push(named);
        }
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let lanes = queues.into_iter().map(|(server, queue)| {
            let lane = Lane {
                entries: Arc::clone(&self.entries),
                own: self.own.clone(),
                took: self.took,
                server,
                at_once: Arc::clone(&at_once),
                unanswered: AtomicU32::new(0),
            };
            let lane = Arc::new(lane);
            stream::iter(queue)
                .map(move |named| Arc::clone(&lane).look(named))
                .buffer_unordered(self.sessions)
                .boxed()
        });
        stream::select_all(lanes)
    }
}

/// What looking at the members on one server takes.
struct Lane {
    entries: Arc<Entries>,
    own: Own,
    took: bool,
    server: Arc<str>,
    at_once: Arc<Semaphore>,
    /// How often in a row the server did not answer.
    unanswered: AtomicU32,
}

impl Lane {
    async fn look(self: Arc<Self>, named: Named) -> Seen {
        // It is never closed.
        let _turn = self.at_once.acquire().await;
        let mut member = Member {
            name: named.name,
            server: self.server.to_string(),
            labels: named.labels,
            bytes: 0,
            seconds: 0.0,
            found: Found::Untouched,
            wave: None,
        };
        if self.unanswered.load(Ordering::Relaxed) >= LOST {
            let why = format!("its server {} did not answer {LOST} times", self.server);
            member.found = Found::Unknown(why);
            return Seen::unknown(member);
        }
        match timeout(PATIENCE, Box::pin(self.ask(&member.name))).await {
            Ok(Ok((looked, took, stands))) => {
                member.bytes = stands.bytes;
                member.wave = looked.wave;
                member.found = looked.found.unwrap_or(Found::Untouched);
                return Seen {
                    member,
                    run: looked.run.map(|run| (run, took)),
                    identity: Some(stands.identity),
                };
            }
            Ok(Err(failure)) => member.found = Found::Unknown(failure.message().to_owned()),
            Err(_) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                let seconds = PATIENCE.as_secs();
                let why = format!("it could not be looked at within {seconds} seconds");
                member.found = Found::Unknown(why);
            }
        }
        Seen::unknown(member)
    }

    async fn ask(&self, name: &MemberName) -> Result<(Looked, Took, Stands), Failure> {
        let target = self.entries.target(name)?;
        let mut conn = connect(&target, &self.unanswered).await?;
        let looked = finding::look(&mut conn, &self.own, &name.to_string()).await?;
        let took = match looked.run.as_ref().filter(|_| self.took) {
            Some(run) => took::read(&mut conn, run.run).await?,
            None => Took::default(),
        };
        let stands = stands(&mut conn).await?;
        Ok((looked, took, stands))
    }
}

/// A database, whatever it is called.
pub(super) struct Stands {
    pub(super) bytes: u64,
    /// The same for no two databases.
    pub(super) identity: Box<str>,
}

/// How large a database is, and which one. An ordinary role may ask for all of it; servers that are copies of one
/// another have the same identifier, but did not begin in the same microsecond.
pub(super) async fn stands(conn: &mut PgConnection) -> Result<Stands, Failure> {
    let (bytes, identity): (i64, String) = sqlx::query_as(
        "-- upshift: how large is the database, and which one
         SELECT pg_catalog.pg_database_size(oid),
                pg_catalog.concat_ws(' ',
                  (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint,
                  pg_catalog.current_setting('port'), oid, datname)
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
    )
    .persistent(false)
    .fetch_one(conn)
    .await
    .map_err(Error::database("asking how large the database is"))?;
    Ok(Stands {
        bytes: bytes.unsigned_abs(),
        identity: identity.into(),
    })
}

/// Databases that were met, by what they are.
#[derive(Default)]
pub(super) struct Met(HashMap<Box<str>, MemberName>);

impl Met {
    /// How one is found that is a member by another name already.
    pub(super) fn again(&mut self, identity: Box<str>, name: &MemberName) -> Option<Found> {
        match self.0.entry(identity) {
            Slot::Vacant(free) => {
                free.insert(name.clone());
                None
            }
            Slot::Occupied(there) => Some(Found::Refused(format!(
                "it is the database of member {} by another name: exclude one of them",
                there.get()
            ))),
        }
    }
}

/// Connects, and counts how often the server, not one of its databases, was not there.
pub(super) async fn connect(
    target: &Target,
    unanswered: &AtomicU32,
) -> Result<PgConnection, Failure> {
    match pg::connect(target, "upshift fleet").await {
        Ok(conn) => {
            unanswered.store(0, Ordering::Relaxed);
            Ok(conn)
        }
        Err(error) => {
            let refused = matches!(
                &error,
                Error::Database {
                    source: sqlx::Error::Database(_),
                    ..
                }
            );
            if refused {
                unanswered.store(0, Ordering::Relaxed);
                return Err(error.into());
            }
            unanswered.fetch_add(1, Ordering::Relaxed);
            // That may be otherwise when its turn comes.
            Err(Failure::from(error).passing())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs, path::Path};

    use tokio::{net::TcpListener, task::JoinSet};
    use tokio_util::sync::CancellationToken;
    use upshift_shared::{
        config::{Config, Environment},
        fleet::FleetFile,
    };

    use super::*;
    use crate::fleet::FleetPlace;

    /// As long as what has to happen at once may take on a machine that is busy.
    const SOON: Duration = Duration::from_secs(20);
    const SESSIONS: usize = 2;

    /// What a server does with whoever comes.
    #[derive(Clone, Copy)]
    enum Serves {
        /// Says nothing.
        Hangs,
        /// Hangs up.
        Closes,
    }

    /// Servers that are none.
    #[derive(Default)]
    struct Servers {
        config: String,
        order: String,
        serving: JoinSet<()>,
    }

    impl Servers {
        /// One with so many members; how often somebody came.
        async fn add(&mut self, name: &str, serves: Serves, members: usize) -> Arc<AtomicU32> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let url = format!("postgresql://u@127.0.0.1:{port}/d?sslmode=disable");
            writeln!(self.config, "[databases.{name}]\nurl = \"{url}\"").unwrap();
            let names: Vec<String> = (0..members).map(|number| format!("t{number}")).collect();
            let members = format!("[[members]]\nserver = \"{name}\"\ndatabases = {names:?}");
            writeln!(self.order, "{members}").unwrap();
            let came = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&came);
            self.serving.spawn(async move {
                let mut open = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    match serves {
                        Serves::Hangs => open.push(stream),
                        Serves::Closes => drop(stream),
                    }
                }
            });
            came
        }

        /// What looking at their members gives.
        async fn looked(&self) -> impl Stream<Item = Seen> + Send + use<> {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("upshift.toml");
            fs::write(&path, &self.config).unwrap();
            let config = Config::load(Some(&path), &Environment::capture()).unwrap();
            let text = format!("pack = \"p\"\n{}", self.order);
            let order = FleetFile::parse(&text, Path::new("fleet.toml")).unwrap();
            let found = finding::find(&order, Arc::new(config)).await.unwrap();
            let asked = Asked {
                own: Own::of(&order, &FleetPlace::default()),
                entries: Arc::new(found.entries),
                sessions: SESSIONS,
                took: false,
            };
            asked.all(found.members)
        }
    }

    fn why(member: &Member) -> &str {
        match &member.found {
            Found::Unknown(why) => why,
            other => panic!("{}: {other:?}", member.name),
        }
    }

    #[tokio::test]
    async fn a_dead_server_is_asked_a_few_times_and_keeps_nobody_waiting() {
        let mut servers = Servers::default();
        let hangs = servers.add("hangs", Serves::Hangs, 300).await;
        let dead = servers.add("dead", Serves::Closes, 300).await;
        let mut looked = std::pin::pin!(servers.looked().await);
        let mut of_dead = Vec::new();
        while of_dead.len() < 300 {
            let seen = timeout(SOON, looked.next()).await.unwrap().unwrap();
            assert!(seen.run.is_none());
            let member = seen.member;
            assert_eq!(member.name.entry, "dead", "{}", why(&member));
            of_dead.push(member);
        }
        let given_up = of_dead
            .iter()
            .filter(|member| why(member).contains("did not answer 3 times"));
        // Those that were being looked at when it was given up had begun before.
        let asked = 300 - given_up.count();
        let most = LOST as usize + SESSIONS - 1;
        assert!((LOST as usize..=most).contains(&asked), "{asked}");
        // Each of them may try more than once to connect.
        assert!(dead.load(Ordering::Relaxed) <= 4 * LOST + 8);
        assert!(hangs.load(Ordering::Relaxed) as usize <= SESSIONS);
    }

    #[tokio::test]
    async fn whoever_stops_does_not_wait_for_a_server_that_hangs() {
        let mut servers = Servers::default();
        let came = servers.add("hangs", Serves::Hangs, 10).await;
        let looked = servers.looked().await;
        let stop = CancellationToken::new();
        let survey = stop.run_until_cancelled(looked.collect::<Vec<_>>());
        let stopped = async {
            while (came.load(Ordering::Relaxed) as usize) < SESSIONS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let both = futures::future::join(survey, stopped);
        let (survey, ()) = timeout(SOON / 4, both).await.unwrap();
        assert!(survey.is_none(), "nobody has answered");
    }
}
