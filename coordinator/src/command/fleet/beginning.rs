//! Begins to conduct a fleet, or goes on with it: its place is read, its members are looked at, and what
//! conducts them is put together.

use std::{path::Path, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error, clock,
    config::{Config, Environment},
    fleet::{FleetFile, MemberName},
    pack::Pack,
    telemetry::trace::Parent,
};

use super::{
    super::{
        Failure, bad_data, compiling,
        host::{ClusterHost, Host},
        parsed, run, signals,
    },
    budget::Budget,
    conducting::{Away, Conductor, RunLimits},
    finding::{Entries, Own, pack_in_words},
    home::Home,
    members::{Chosen, For, Surveyed, survey},
    pace::Pace,
    running::{Running, STOPPED, UNITS},
    shown::Shown,
    telling::Telling,
    variants::Variants,
};
use crate::{
    coordination::Embedded,
    driver::process::Crew,
    fleet::{Fleet, FleetEnd, FleetOrder, FleetPlace, Standing},
};

/// What a process is to do with a fleet.
pub(in crate::command) struct Asked {
    /// Workers that there are.
    pub(in crate::command) workers: u32,
    /// What is ordered first.
    pub(in crate::command) orders: Vec<FleetOrder>,
    /// Whether nothing is done but that.
    pub(in crate::command) only_orders: bool,
}

/// What is said of a fleet when it is begun, or gone on with.
#[derive(Debug, Default)]
pub(in crate::command) struct Given {
    /// Options of `upshift run`; where there are none, those that the order was begun with.
    pub(in crate::command) options: Vec<String>,
    /// Whether it begins once more.
    pub(in crate::command) anew: bool,
}

impl Given {
    pub(in crate::command) fn heed(&self, place: &mut FleetPlace) {
        if self.anew {
            place.begin_anew();
        }
        if self.anew || !self.options.is_empty() {
            place.options.clone_from(&self.options);
        }
    }
}

/// A fleet that is at hand: its order, and where it is at home.
pub(in crate::command) struct AtHand {
    pub(in crate::command) order: FleetFile,
    pub(in crate::command) place: FleetPlace,
    /// Whether that is not what is kept.
    pub(in crate::command) changed: bool,
    pub(in crate::command) home: Arc<dyn Home>,
    pub(in crate::command) config: Arc<Config>,
    pub(in crate::command) telling: Telling,
}

/// A fleet whose members were looked at.
pub(in crate::command) struct LookedAt {
    fleet: AtHand,
    pack: Pack,
    surveyed: Surveyed,
}

/// Conducts a fleet with workers of this process until there is nothing more to do, or it is told to stop.
pub(super) async fn conduct(
    chosen: &Chosen,
    (asked, given): (Asked, Given),
    (config, telling): (Arc<Config>, Telling),
) -> Result<Shown, Failure> {
    let _lock = chosen.folder.lock().await?;
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    signals::cancel_on_signal(&mut background, stop.clone())?;
    let stored = chosen.folder.place()?;
    let mut place = stored.clone();
    given.heed(&mut place);
    if !asked.only_orders {
        let fits = place.fits(&chosen.order);
        fits.map_err(|refusal| Failure::refused(refusal.to_string()))?;
    }
    chosen.folder.take_over()?;
    let at_hand = AtHand {
        order: chosen.order.clone(),
        changed: place != stored,
        place,
        home: Arc::new(chosen.folder.clone()),
        config,
        telling,
    };
    let looked_at = stop.run_until_cancelled(Box::pin(at_hand.look())).await;
    let looked_at = looked_at.unwrap_or_else(|| Err(Failure::failed(STOPPED)))?;
    let resolver = Arc::clone(&looked_at.surveyed.entries);
    let resolve = move |name: &str| {
        let found = resolver.target(&MemberName::from(name.to_owned()));
        found.map_err(|failure| Error::Config(failure.message().to_owned()))
    };
    let (crew, hub) = Crew::assemble(Arc::new(resolve), asked.workers)?;
    let host = ClusterHost {
        hub,
        coordination: Arc::new(Embedded::default()),
        servers: Arc::default(),
        takes_over: false,
        trace: Parent::of_environment(&Environment::capture()),
        units: UNITS,
    };
    let limits = RunLimits::default();
    let conducted = Box::pin(looked_at.conduct((host, limits), asked, &stop)).await;
    crew.dismiss().await;
    background.abort_all();
    conducted
}

impl AtHand {
    /// Looks at its members.
    pub(in crate::command) async fn look(mut self) -> Result<LookedAt, Failure> {
        // What is wrong with the pack is said before anything is looked at.
        let pack = tokio::task::block_in_place(|| compiling::load(&self.order.pack))?;
        let named = pack_in_words(&pack);
        let before = self.place.pack.get_or_insert_with(|| {
            self.changed = true;
            named.clone()
        });
        if *before != named {
            return Err(Failure::refused(format!(
                "the fleet was begun with pack {before}, and this is {named}: give the order another name, or begin \
                 it once more with --anew"
            )));
        }
        let of = (&self.order, &*self.home);
        let why = (&self.place, For::Run);
        let surveyed = Box::pin(survey(of, Arc::clone(&self.config), why)).await?;
        let asked = surveyed.asked.difference(&self.place.sources);
        let asked: Vec<String> = asked.cloned().collect();
        self.changed |= !asked.is_empty();
        self.place.sources.extend(asked);
        for unasked in &surveyed.unasked {
            self.telling.warn(&format!(
                "{} cannot be had: {}",
                unasked.source, unasked.why
            ));
        }
        Ok(LookedAt {
            fleet: self,
            pack,
            surveyed,
        })
    }
}

impl LookedAt {
    /// Conducts it until there is nothing more to do, or it is told to stop; `host` drives its runs.
    pub(in crate::command) async fn conduct(
        self,
        (host, limits): (ClusterHost, RunLimits),
        asked: Asked,
        stop: &CancellationToken,
    ) -> Result<Shown, Failure> {
        let Self {
            fleet,
            pack,
            surveyed,
        } = self;
        let AtHand {
            mut order,
            place,
            changed,
            home,
            config,
            telling,
        } = fleet;
        let Surveyed {
            members,
            entries,
            unasked,
            incomplete,
            ..
        } = surveyed;
        limits.heed(&mut order.caps);
        let budget = Budget::of(&members, &entries);
        let caps = &order.caps;
        let cap = |server: &str, entry: &str| caps.of_server(server, entry).min(caps.in_all());
        let of_servers = budget.at_first(cap).await;
        let with = (config, Arc::clone(&entries));
        let conductor = conductor(&place, (&order, pack), with, (host, limits))?;
        if changed {
            home.record(&place).await?;
        }
        let mut fleet = Fleet::new(order, members, place, clock::since_epoch());
        if incomplete {
            fleet.miss_members();
        }
        for (server, databases, told) in of_servers {
            fleet.limit_server(&server, databases);
            told.iter().for_each(|line| telling.say(line));
        }
        let ordered = asked.orders.first().cloned();
        let mut running = Running::new(fleet, home, (conductor, entries, budget), telling);
        let run = Box::pin(running.run(asked, stop)).await;
        running.home.tell(running.shown(false));
        run?;
        match unasked.is_empty() {
            true => Ok(Shown {
                missed: ordered.map_or_else(Vec::new, |order| running.missed(&order)),
                ..running.shown(false)
            }),
            false if running.fleet.standing() == Standing::Ended(FleetEnd::Incomplete) => {
                Err(Failure::failed(
                    "not all that [[members]] names could be asked, and the first waves were taken from that too: \
                 nothing else is begun until it can be",
                ))
            }
            false => Err(Failure::failed(
                "not all that [[members]] names could be asked: what is there was not upgraded",
            )),
        }
    }
}

/// What conducts its members, by options of `upshift run`.
fn conductor(
    place: &FleetPlace,
    (order, pack): (&FleetFile, Pack),
    (config, entries): (Arc<Config>, Arc<Entries>),
    (host, limits): (ClusterHost, RunLimits),
) -> Result<Conductor, Failure> {
    let hub = host.hub.clone();
    let host = Host::Cluster(Box::new(host));
    let arguments = run_arguments(&place.options, &order.pack, host)?;
    let options = arguments.ordering().options(&config.run);
    let mut compiled = arguments.pack().options();
    let remark = bad_data::heed(&options, &mut compiled)?;
    Ok(Conductor {
        own: Own::of(order, place),
        patience: order.patience,
        away: Away::default(),
        variants: Variants::new(pack, compiled, remark),
        pace: Pace::default(),
        config,
        entries,
        arguments,
        options,
        hub,
        limits,
    })
}

/// The arguments of `upshift run` that the options of a fleet are.
pub(in crate::command) fn run_arguments(
    options: &[String],
    pack: &Path,
    host: Host,
) -> Result<run::Arguments, Failure> {
    let mut words = options.to_vec();
    words.push("--".to_owned());
    words.push(pack.display().to_string());
    parsed::<run::Arguments>(&words)?.of_fleet(host)
}
