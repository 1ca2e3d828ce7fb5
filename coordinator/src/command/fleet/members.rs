//! The members of a fleet as they stand by their ledgers: what `fleet run` begins with, and what is shown
//! where no process conducts the fleet. Nothing is compiled for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use clap::Args;
use futures::StreamExt;
use upshift_shared::{
    config::{Config, Environment},
    fleet::{FleetFile, MemberName},
};

use super::{
    super::Failure,
    finding::{self, Entries, Own, Unasked},
    folder::{Done, Folder},
    home::Home,
    looking::{self, Met, OfMember, Seen},
    remote::{ClusterArguments, Remote},
};
use crate::fleet::{FleetPlace, Found, Member};

/// Which fleet.
#[derive(Debug, Clone, Args)]
pub(super) struct FleetArguments {
    /// The order: fleet.toml; of a fleet of a cluster, its name does where there is no such file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder in which the fleet keeps its place [default: .upshift/fleets/NAME beside the file]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["coordinators", "cluster"])]
    state: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// A fleet's order, and where its place is.
pub(super) struct Chosen {
    pub(super) order: FleetFile,
    pub(super) folder: Folder,
    /// As the command line has it, for commands that the user is told to say next.
    hint: String,
}

impl FleetArguments {
    /// The fleet, where it is one of a cluster.
    pub(super) fn remote(&self, config: Option<&Path>) -> Result<Option<Remote>, Failure> {
        self.cluster.remote(&self.file, config)
    }

    pub(super) fn open(&self) -> Result<Chosen, Failure> {
        let order =
            FleetFile::load(&self.file).map_err(|error| Failure::usage(error.to_string()))?;
        let state = self.state.as_deref();
        let quoted =
            |path: &Path| super::super::database::shell_quoted(&path.display().to_string());
        let mut hint = quoted(&self.file);
        if let Some(state) = state {
            hint.push_str(&format!(" --state {}", quoted(state)));
        }
        Ok(Chosen {
            folder: Folder::of(&self.file, &order.name, state),
            order,
            hint,
        })
    }
}

impl Chosen {
    /// `upshift fleet VERB FILE`
    pub(super) fn command(&self, verb: &str) -> String {
        format!("upshift fleet {verb} {}", self.hint)
    }
}

/// Reads `upshift.toml`.
pub(super) fn configured(config: Option<&Path>) -> Result<Arc<Config>, Failure> {
    let config = Config::load(config, &Environment::capture());
    Ok(Arc::new(
        config.map_err(|error| Failure::usage(error.to_string()))?,
    ))
}

/// All members as they were found.
pub(in crate::command) struct Surveyed {
    pub(in crate::command) members: Vec<Member>,
    pub(in crate::command) entries: Arc<Entries>,
    pub(in crate::command) unasked: Vec<Unasked>,
    /// Sources that were asked.
    pub(in crate::command) asked: BTreeSet<String>,
    /// Whether members may be missing that waves were taken from.
    pub(in crate::command) incomplete: bool,
    /// The runs of this fleet, where they were asked for.
    pub(in crate::command) runs: BTreeMap<MemberName, OfMember>,
}

impl Surveyed {
    /// Heeds what was noted where ledgers say nothing: what failed before there was one has failed.
    /// `shown`: it is only to be shown how they stand. Else what was at the target is looked at again.
    pub(super) async fn heed(&mut self, home: &dyn Home, shown: bool) -> Result<(), Failure> {
        let mut last = HashMap::<String, Found>::new();
        let mut take = |done: Done| {
            let found = match (done.what.as_str(), done.outcome.as_str(), done.why) {
                ("upgrade", "failed", Some(why)) => Found::NotBegun(why),
                ("hook_before", "failed", Some(why)) => {
                    Found::NotBegun(format!("the hook before: {why}"))
                }
                ("upgrade", "current", _) if shown => Found::Current,
                ("upgrade" | "hook_before", ..) => Found::Untouched,
                _ => return,
            };
            last.insert(done.member.to_string(), found);
        };
        home.noted(&mut take).await?;
        for member in &mut self.members {
            if let Found::Untouched | Found::Unknown(_) = member.found
                && let Some(found) = last.remove(&member.name.to_string())
                && found != Found::Untouched
            {
                member.found = match (found, &member.found) {
                    // Its ledger may say more.
                    (Found::NotBegun(why), Found::Unknown(_)) => Found::Lost(why),
                    (found, _) => found,
                };
            }
        }
        Ok(())
    }
}

/// What members are looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum For {
    /// To conduct them.
    Run,
    /// To show how they stand.
    Status,
    /// The same, and what their runs say.
    Report,
}

/// Looks at all of them, a few of each server at once; one that cannot be looked at costs no other.
pub(in crate::command) async fn survey(
    (order, home): (&FleetFile, &dyn Home),
    config: Arc<Config>,
    (place, why): (&FleetPlace, For),
) -> Result<Surveyed, Failure> {
    let mut found = finding::find(order, config).await?;
    if !found.unasked.is_empty() {
        // To whom something was done, they are still members.
        let mut known: BTreeSet<MemberName> = place.attended.keys().cloned().collect();
        let mut take = |done: Done| {
            known.insert(done.member);
        };
        home.noted(&mut take).await?;
        found.add(known, order);
    }
    let is_missed = |unasked: &Unasked| place.sources.contains(&unasked.source);
    let incomplete = found.unasked.iter().any(is_missed);
    let entries = Arc::new(found.entries);
    let looking = looking::Asked {
        entries: Arc::clone(&entries),
        own: Own::of(order, place),
        sessions: order.caps.looking().max(1) as usize,
        took: why == For::Report,
    };
    let mut looked = pin!(looking.all(found.members));
    let mut surveyed = Surveyed {
        members: Vec::new(),
        entries,
        unasked: found.unasked,
        asked: found.asked,
        incomplete,
        runs: BTreeMap::new(),
    };
    let mut seen = Vec::new();
    while let Some(Seen {
        member,
        run,
        identity,
    }) = looked.next().await
    {
        if let Some(run) = run.filter(|_| why == For::Report) {
            surveyed.runs.insert(member.name.clone(), run);
        }
        seen.push((member, identity));
    }
    // Of two names of one database that counts whose hooks were run, else the first.
    let attended = |member: &Member| place.attended.contains_key(&member.name);
    seen.sort_by(|(one, _), (other, _)| {
        let attended = attended(other).cmp(&attended(one));
        attended.then_with(|| one.name.cmp(&other.name))
    });
    let mut met = Met::default();
    surveyed.members = seen
        .into_iter()
        .map(|(member, identity)| {
            let again = identity.and_then(|identity| met.again(identity, &member.name));
            match again {
                Some(found) => Member {
                    found,
                    wave: None,
                    ..member
                },
                None => member,
            }
        })
        .collect();
    surveyed
        .members
        .sort_by(|one, other| one.name.cmp(&other.name));
    surveyed.heed(home, why != For::Run).await?;
    Ok(surveyed)
}
