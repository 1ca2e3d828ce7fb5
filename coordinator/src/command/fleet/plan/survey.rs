//! Looks at every member of a fleet, side by side: some sessions on each server, one database after
//! another on each. Nothing is kept of a database but how it stands and what it takes; one that is away,
//! or slow, or broken is said to be so, and the others are looked at all the same.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use upshift_shared::{config::SnapshotSettings, pack::Version};

use super::super::{
    super::Failure,
    finding::{self, Named},
    looking::{LOST, Met, connect, stands},
    variants::{Variant, Variants},
};
use crate::{
    fleet::{Found, Member},
    snapshot,
};

/// Databases that are looked at at once on all servers: each takes the memory of its catalog.
const AT_ONCE: usize = 32;
/// Looking at one database ends after so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// Installed modules that the pack has.
pub(super) type Modules = Arc<BTreeMap<String, Version>>;

/// A member as it was found, and what it takes.
pub(super) struct Surveyed {
    pub(super) member: Member,
    /// `None` where nobody could ask.
    pub(super) modules: Option<Modules>,
    /// `None` where it gets no plan.
    pub(super) variant: Option<Arc<Variant>>,
    /// Rows that its tasks are expected to touch.
    pub(super) rows: u64,
    /// Which database it is, where that is known.
    identity: Option<Box<str>>,
}

/// What looking at any member takes.
pub(super) struct Survey {
    pub(super) own: finding::Own,
    pub(super) found: finding::Found,
    pub(super) variants: Variants,
    pub(super) snapshot: SnapshotSettings,
    /// Sessions on a server at once.
    pub(super) sessions: u32,
    /// Sets of modules, each once: databases of a fleet have few different ones.
    pub(super) modules: Mutex<BTreeSet<Modules>>,
}

/// The members on one server that are still to be looked at, by their places.
#[derive(Default)]
struct Queue {
    left: Mutex<VecDeque<usize>>,
    /// How often in a row it did not answer.
    unanswered: AtomicU32,
}

impl Survey {
    /// All members, in their order. `told` gets the number of those that are done.
    pub(super) async fn all(self: &Arc<Self>, mut told: impl FnMut(usize)) -> Vec<Surveyed> {
        let members = self.found.members.len();
        let mut surveyed: Vec<Option<Surveyed>> = Vec::new();
        surveyed.resize_with(members, || None);
        let mut queues = BTreeMap::<Arc<str>, Queue>::new();
        for (place, named) in self.found.members.iter().enumerate() {
            match self.found.entries.server(&named.name) {
                Ok(server) => {
                    let queue = queues.entry(server).or_default();
                    let left = queue.left.get_mut().unwrap_or_else(PoisonError::into_inner);
                    left.push_back(place);
                }
                Err(failure) => {
                    let refused = Found::Refused(failure.message().to_owned());
                    surveyed[place] = Some(self.without_plan(named, "", refused));
                }
            }
        }
        let (results, mut ready) = mpsc::channel(AT_ONCE);
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let mut lanes = JoinSet::new();
        for (server, queue) in queues {
            let queue = Arc::new(queue);
            for _ in 0..self.sessions {
                let lane = Lane {
                    survey: Arc::clone(self),
                    server: Arc::clone(&server),
                    queue: Arc::clone(&queue),
                };
                lanes.spawn(lane.work(Arc::clone(&at_once), results.clone()));
            }
        }
        drop(results);
        let mut done = 0;
        while let Some((place, one)) = ready.recv().await {
            surveyed[place] = Some(one);
            done += 1;
            told(done);
        }
        while lanes.join_next().await.is_some() {}
        let members = self.found.members.iter().zip(surveyed);
        let mut met = Met::default();
        let all = members.map(|(named, one)| {
            // Its lane has panicked.
            let lost = || Found::Unknown("looking at it ended: please report this".to_owned());
            let mut one = one.unwrap_or_else(|| self.without_plan(named, "", lost()));
            let identity = one.identity.take();
            match identity.and_then(|identity| met.again(identity, &named.name)) {
                Some(found) => self.without_plan(named, &one.member.server, found),
                None => one,
            }
        });
        all.collect()
    }

    /// One that gets no plan, or not now.
    fn without_plan(&self, named: &Named, server: &str, found: Found) -> Surveyed {
        Surveyed {
            member: Member {
                name: named.name.clone(),
                server: server.to_owned(),
                labels: named.labels.clone(),
                bytes: 0,
                seconds: 0.0,
                found,
                wave: None,
            },
            modules: None,
            variant: None,
            rows: 0,
            identity: None,
        }
    }

    /// Looks at one member.
    async fn one(&self, named: &Named, server: &str, unanswered: &AtomicU32) -> Surveyed {
        let mut surveyed = self.without_plan(named, server, Found::Untouched);
        let looking = self.look(&mut surveyed, unanswered);
        let looked = match tokio::time::timeout(PATIENCE, Box::pin(looking)).await {
            Ok(looked) => looked,
            Err(_) => {
                unanswered.fetch_add(1, Ordering::Relaxed);
                let seconds = PATIENCE.as_secs();
                let why = format!("it could not be looked at within {seconds} seconds");
                Err(Failure::failed(why).passing())
            }
        };
        if let Err(failure) = looked {
            let why = failure.message().to_owned();
            surveyed.variant = None;
            surveyed.member.found = match failure.is_passing() {
                true => Found::Unknown(why),
                false => Found::Refused(why),
            };
        }
        surveyed
    }

    async fn look(&self, one: &mut Surveyed, unanswered: &AtomicU32) -> Result<(), Failure> {
        let target = self.found.entries.target(&one.member.name)?;
        let mut conn = connect(&target, unanswered).await?;
        let stands = stands(&mut conn).await?;
        one.member.bytes = stands.bytes;
        one.identity = Some(stands.identity);
        let name = one.member.name.to_string();
        let looked = finding::look(&mut conn, &self.own, &name).await?;
        one.member.wave = looked.wave;
        // What it is to be upgraded by stands in its ledger.
        if let Some(found) = looked.found {
            one.member.found = found;
            return Ok(());
        }
        let read = self.variants.read(&mut conn).await?;
        let pack = &self.variants.pack().modules;
        let of_pack = read
            .installed
            .iter()
            .filter(|(name, _)| pack.contains_key(*name));
        let of_pack = of_pack.map(|(name, version)| (name.clone(), version.clone()));
        one.modules = Some(self.interned(of_pack.collect()));
        let compiled = self.variants.compiled(read).await?;
        let Some(compiled) = compiled.filter(|compiled| compiled.variant.tasks > 0) else {
            one.member.found = Found::Current;
            return Ok(());
        };
        one.member.seconds = compiled.weight.seconds;
        one.rows = compiled.weight.rows;
        let variant = Arc::clone(&compiled.variant);
        if let Some(kind) = self.snapshot.kind.filter(|_| variant.irreversible > 0) {
            let settings = (kind, &self.snapshot);
            if let Some(why) = snapshot::obstacle(&mut conn, &target, settings).await? {
                return Err(Failure::refused(format!(
                    "the snapshot that was asked for cannot be taken here: {why}"
                )));
            }
        }
        one.variant = Some(variant);
        Ok(())
    }

    fn interned(&self, modules: BTreeMap<String, Version>) -> Modules {
        let mut known = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&modules) {
            return Arc::clone(same);
        }
        let modules = Arc::new(modules);
        known.insert(Arc::clone(&modules));
        modules
    }
}

/// One session after another on one server.
struct Lane {
    survey: Arc<Survey>,
    server: Arc<str>,
    queue: Arc<Queue>,
}

impl Lane {
    async fn work(self, at_once: Arc<Semaphore>, results: mpsc::Sender<(usize, Surveyed)>) {
        loop {
            // Never closed.
            let Ok(_turn) = at_once.acquire().await else {
                return;
            };
            let next = {
                let mut left = self
                    .queue
                    .left
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                left.pop_front()
            };
            let Some(place) = next else {
                return;
            };
            let named = &self.survey.found.members[place];
            let unanswered = &self.queue.unanswered;
            let surveyed = match unanswered.load(Ordering::Relaxed) {
                0..LOST => self.survey.one(named, &self.server, unanswered).await,
                _ => {
                    let why = format!("its server {} did not answer {LOST} times", self.server);
                    let found = Found::Unknown(why);
                    self.survey.without_plan(named, &self.server, found)
                }
            };
            if results.send((place, surveyed)).await.is_err() {
                return;
            }
        }
    }
}
