//! The cluster's store as the home of a fleet that the leader conducts.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use upshift_shared::{fleet::MemberName, ledger::audit::Entry};

use super::{
    super::super::{
        Failure,
        fleet::{Audit, Done, Home, Left, Shown},
    },
    known::Known,
};
use crate::{
    coordination::{CarriedOrder, FleetEntry, GivenOrder, TakenOrder},
    fleet::{FleetOrder, FleetPlace, Which},
};

/// Between attempts while the store is away; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Orders whose end is remembered, for whoever asks again.
const TAKEN: usize = 64;

/// Orders that are being carried out of which it is known who gave them.
const CARRIED: usize = 32;
/// One that names databases by more bytes of names than this is known to be one that names some.
const NAMES: usize = 8 * 1024;

/// An order of members, as it is remembered until it is done.
fn carries(given: GivenOrder) -> Option<CarriedOrder> {
    let verb = match given.order {
        FleetOrder::Retry(_) => "retry",
        FleetOrder::RollBack(_) | FleetOrder::RollBackByForce(_) => "rollback",
        FleetOrder::Commit(_) => "commit",
        _ => return None,
    };
    let which = given.order.which()?;
    let bytes = match which {
        Which::These(names) => names.iter().map(|name| name.to_string().len()).sum(),
        Which::All | Which::Wave(_) => 0,
    };
    Some(CarriedOrder {
        id: given.id,
        by: given.by,
        verb: verb.to_owned(),
        which: (bytes <= NAMES).then(|| which.clone()),
    })
}

/// Forgets them where they are done.
fn carried(entry: &mut FleetEntry) {
    if entry.place.wanted.is_empty() {
        entry.carried.clear();
    }
    let too_many = entry.carried.len().saturating_sub(CARRIED);
    entry.carried.drain(..too_many);
}

/// Who wanted what is being done to a member: the newest order that means it.
fn audit(
    entry: &FleetEntry,
    verb: Option<&str>,
    (member, wave): (&MemberName, Option<u32>),
) -> Audit {
    let newest = entry.carried.iter().rev().find(|carried| {
        let means = |which: &Which| which.means(member, wave);
        Some(carried.verb.as_str()) == verb && carried.which.as_ref().is_none_or(means)
    });
    let fleet = &entry.fleet;
    let options = entry.place.options.join(" ");
    Audit {
        submitted: Some(Entry {
            by: entry.by.clone(),
            verb: "submit".to_owned(),
            detail: format!("fleet {fleet} {options}").trim_end().to_owned(),
        }),
        ordered: newest.map(|carried| Entry {
            by: carried.by.clone(),
            verb: carried.verb.clone(),
            detail: format!("fleet {fleet}, order {}", carried.id),
        }),
    }
}

/// A fleet's home.
pub(super) struct InStore {
    pub(super) known: Arc<Known>,
    /// Another coordinator is to go on.
    pub(super) leaving: CancellationToken,
}

impl InStore {
    /// Writes, again while the store is away: the units that are under way go on meanwhile.
    async fn write(&self, change: impl Fn(&mut FleetEntry) + Send + Sync) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            let written = self.known.change(|entry| {
                change(entry);
                Ok(())
            });
            let failure = match written.await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if !failure.is_passing() {
                return Err(failure);
            }
            tracing::warn!(
                why = failure.message(),
                "the place of a fleet is not written yet"
            );
            let rest = tokio::time::sleep(pause);
            if self.leaving.run_until_cancelled(rest).await.is_none() {
                return Err(failure);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[async_trait]
impl Home for InStore {
    async fn record(&self, place: &FleetPlace) -> Result<(), Failure> {
        self.write(|entry| {
            entry.place.clone_from(place);
            carried(entry);
        })
        .await
    }

    fn left(&self) -> Vec<Left> {
        self.known.look(|entry| {
            let left = entry.orders.iter().map(|given| Left {
                order: given.order.clone(),
                id: given.id.to_string(),
            });
            left.collect()
        })
    }

    async fn taken(
        &self,
        left: &Left,
        refused: Option<String>,
        place: Option<&FleetPlace>,
    ) -> Result<(), Failure> {
        let Ok(id) = left.id.parse() else {
            return Ok(());
        };
        self.write(|entry| {
            if let Some(place) = place {
                entry.place.clone_from(place);
            }
            if let Some(place) = entry.orders.iter().position(|given| given.id == id) {
                let given = entry.orders.remove(place);
                if refused.is_none() {
                    entry.carried.extend(carries(given));
                }
            }
            carried(entry);
            let refused = refused.clone();
            entry.taken.push(TakenOrder { id, refused });
            let too_many = entry.taken.len().saturating_sub(TAKEN);
            entry.taken.drain(..too_many);
        })
        .await
    }

    fn audit(&self, verb: Option<&str>, member: &MemberName, wave: Option<u32>) -> Audit {
        self.known.look(|entry| audit(entry, verb, (member, wave)))
    }

    async fn note(&self, done: &Done) {
        // The ledgers have what counts.
        if let Err(failure) = self.known.note(done).await {
            let why = failure.message();
            tracing::warn!(why, "what was done to a member cannot be noted");
        }
    }

    async fn noted(&self, take: &mut (dyn FnMut(Done) + Send)) -> Result<(), Failure> {
        self.known.noted().await?.into_iter().for_each(take);
        Ok(())
    }

    fn tell(&self, shown: Shown) {
        self.known.show(Some(shown));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use upshift_shared::ids::RunId;

    use super::*;
    use crate::coordination::{Embedded, suite::fleet};

    /// An order that somebody gives and whoever conducts the fleet takes up.
    async fn taken(home: &InStore, by: &str, order: FleetOrder, refused: Option<&str>) {
        let given = GivenOrder {
            id: RunId::generate(),
            order: order.clone(),
            by: by.to_owned(),
        };
        let left = Left {
            id: given.id.to_string(),
            order: order.clone(),
        };
        let given = home.known.change(|entry| {
            entry.orders.push(given);
            Ok(())
        });
        given.await.unwrap();
        let mut place = home.known.look(|entry| entry.place.clone());
        if refused.is_none() && order.which().is_some() {
            place.wanted.push(order);
        }
        let refused = refused.map(str::to_owned);
        home.taken(&left, refused, Some(&place)).await.unwrap();
    }

    fn by(home: &InStore, verb: &str, member: &str, wave: u32) -> Option<String> {
        let member = MemberName::on("db1", member);
        let audit = home.audit(Some(verb), &member, Some(wave));
        let submitted = audit.submitted.unwrap();
        assert_eq!(
            (submitted.by.as_str(), submitted.verb.as_str()),
            ("somebody", "submit")
        );
        audit.ordered.map(|ordered| {
            assert_eq!(ordered.verb, verb);
            ordered.by
        })
    }

    #[tokio::test]
    async fn who_wants_what_is_known_until_it_is_done() {
        let store = Arc::new(Embedded::default());
        let home = InStore {
            known: Known::new(store, fleet("night")),
            leaving: CancellationToken::new(),
        };
        let these = |names: &[&str]| {
            let names = names.iter().map(|name| MemberName::on("db1", name));
            Which::These(names.collect())
        };
        taken(&home, "ada", FleetOrder::RollBack(Which::Wave(1)), None).await;
        taken(
            &home,
            "bob",
            FleetOrder::RollBackByForce(these(&["x", "y"])),
            None,
        )
        .await;
        taken(&home, "cyd", FleetOrder::RollBack(Which::All), Some("no")).await;
        taken(&home, "dan", FleetOrder::Pause, None).await;
        taken(&home, "eve", FleetOrder::Commit(these(&["z"])), None).await;
        let many: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        taken(&home, "fay", FleetOrder::Retry(these(&many)), None).await;
        for (verb, member, wave, expected) in [
            ("rollback", "a", 0, None),
            ("rollback", "a", 1, Some("ada")),
            ("rollback", "x", 0, Some("bob")),
            ("rollback", "x", 1, Some("bob")),
            ("commit", "x", 0, None),
            ("commit", "z", 0, Some("eve")),
            ("retry", "t9", 0, Some("fay")),
        ] {
            let found = by(&home, verb, member, wave);
            assert_eq!(found.as_deref(), expected, "{verb} {member} of wave {wave}");
        }
        let bytes = home
            .known
            .look(|entry| serde_json::to_vec(&entry.carried).unwrap().len());
        assert!(bytes < 2_000, "names are not kept a second time: {bytes}");
        let nothing = home.audit(None, &MemberName::on("db1", "x"), Some(1));
        assert_eq!(nothing.ordered, None, "it is done by the file");
        // All of it is done.
        let place = FleetPlace::default();
        home.record(&place).await.unwrap();
        assert_eq!(by(&home, "rollback", "x", 1), None);
    }
}
