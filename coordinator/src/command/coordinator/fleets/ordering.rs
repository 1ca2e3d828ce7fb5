//! What operators order of fleets: written into the cluster's store, so that it outlives the leader, and
//! taken up by whoever conducts the fleet.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use upshift_proto::v1::{FleetMembers, FleetOrderRequest, fleet_order_request::What};
use upshift_shared::{fleet::MemberName, ids::RunId};

use super::{
    super::{super::Failure, leader::Leading},
    known::Known,
};
use crate::{
    coordination::{ENTRY_BYTES, FleetEntry, GivenOrder},
    fleet::{FleetOrder, Which},
    server::Identity,
};

/// How long whoever gives an order waits until it is taken up: the members may be being looked at.
const PATIENCE: Duration = Duration::from_secs(20);
/// Orders that nobody has taken up yet.
const WAITING: usize = 32;
/// One that names databases has so many bytes at most: where they are it is remembered, perhaps twice.
const ORDER_BYTES: usize = ENTRY_BYTES / 8;

impl Leading {
    /// Sees to an order; what the operator is told.
    pub(in super::super) async fn order_for_fleet(
        self: &Arc<Self>,
        by: &Identity,
        request: &FleetOrderRequest,
    ) -> Result<String, Failure> {
        let known = self.fleets.get(&request.fleet)?;
        let id: RunId = request
            .order
            .parse()
            .map_err(|_| Failure::usage("the order's number is no id"))?;
        let order = known.look(|entry| asked(entry, request))?;
        let mut changes = known.changes();
        let given = GivenOrder {
            id,
            order,
            by: by.name.clone(),
        };
        known.change(|entry| put_down(entry, given)).await?;
        self.conduct_fleet(&known);
        let taken = async {
            loop {
                if let Some(refused) = answered(&known, id) {
                    return refused;
                }
                // The sender lives as long as the fleet.
                let _changed = changes.changed().await;
            }
        };
        let taken = self.leaving().run_until_cancelled(timeout(PATIENCE, taken));
        match taken.await {
            Some(Ok(None)) => Ok(format!("fleet {}: the order is taken up", request.fleet)),
            Some(Ok(Some(why))) => Err(Failure::refused(why)),
            Some(Err(_)) | None => Ok(format!(
                "fleet {}: the order is written down, and taken up as soon as its databases were looked at",
                request.fleet
            )),
        }
    }
}

/// What became of an order; `None` where it was not taken up yet.
fn answered(known: &Known, id: RunId) -> Option<Option<String>> {
    known.look(|entry| {
        let taken = entry.taken.iter().find(|taken| taken.id == id);
        taken.map(|taken| taken.refused.clone())
    })
}

/// Has it taken up by whoever conducts the fleet, which is conducted again where it had ended.
fn put_down(entry: &mut FleetEntry, given: GivenOrder) -> Result<(), Failure> {
    let is_known = entry.orders.iter().any(|order| order.id == given.id)
        || entry.taken.iter().any(|taken| taken.id == given.id);
    if is_known {
        return Ok(());
    }
    if entry.orders.len() >= WAITING {
        return Err(Failure::refused(format!(
            "fleet {} has {WAITING} orders that are not taken up yet: wait until they are",
            entry.fleet
        )));
    }
    let bytes = serde_json::to_vec(&given.order).expect("it is plain data");
    if bytes.len() > ORDER_BYTES {
        return Err(Failure::refused(format!(
            "the order names databases by {} bytes of names, and {ORDER_BYTES} are kept of one: say a wave, or \
             all, or give several orders",
            bytes.len()
        )));
    }
    let of_all = matches!(
        given.order,
        FleetOrder::Pause | FleetOrder::Resume | FleetOrder::Approve { .. }
    );
    // What is ordered of databases of a fleet that has ended is done, and nothing else begins by that.
    if of_all || !entry.under_way {
        entry.only_orders = !of_all;
    }
    entry.under_way = true;
    entry.closed = false;
    entry.orders.push(given);
    entry.fits()?;
    Ok(())
}

/// For the audit: what is ordered.
pub(in super::super) fn in_words(request: &FleetOrderRequest) -> String {
    let of = |members: &FleetMembers| match (members.wave.as_str(), members.members.len()) {
        ("", 0) => "all".to_owned(),
        ("", some) => format!("{some} by name"),
        (wave, _) => format!("wave {wave}"),
    };
    let what = match &request.what {
        None => "nothing".to_owned(),
        Some(What::Pause(_)) => "pause".to_owned(),
        Some(What::Resume(_)) => "resume".to_owned(),
        Some(What::Abort(_)) => "abort".to_owned(),
        Some(What::Approve(wave)) if wave.is_empty() => "approve all waves".to_owned(),
        Some(What::Approve(wave)) => format!("approve {wave}"),
        Some(What::Retry(members)) => format!("retry {}", of(members)),
        Some(What::Rollback(members)) => format!("rollback {}", of(members)),
        Some(What::Commit(members)) => format!("commit {}", of(members)),
    };
    format!("fleet {}: {what}", request.fleet)
}

/// The order, by what the fleet knows.
fn asked(entry: &FleetEntry, request: &FleetOrderRequest) -> Result<FleetOrder, Failure> {
    let Some(what) = &request.what else {
        return Err(Failure::usage("the order says nothing"));
    };
    Ok(match what {
        What::Pause(_) => FleetOrder::Pause,
        What::Resume(_) => FleetOrder::Resume,
        What::Abort(_) => FleetOrder::Abort,
        What::Approve(wave) if wave.is_empty() => FleetOrder::Approve { wave: None },
        What::Approve(wave) => FleetOrder::Approve {
            wave: Some(wave_number(entry, wave)?),
        },
        What::Retry(members) => FleetOrder::Retry(which(entry, members)?),
        What::Rollback(members) if members.force => {
            FleetOrder::RollBackByForce(which(entry, members)?)
        }
        What::Rollback(members) => FleetOrder::RollBack(which(entry, members)?),
        What::Commit(members) => FleetOrder::Commit(which(entry, members)?),
    })
}

fn which(entry: &FleetEntry, members: &FleetMembers) -> Result<Which, Failure> {
    match (members.wave.as_str(), members.members.as_slice()) {
        ("", []) => Ok(Which::All),
        ("", names) => {
            let names = names.iter().cloned().map(MemberName::from);
            Ok(Which::These(names.collect()))
        }
        (wave, []) => Ok(Which::Wave(wave_number(entry, wave)?)),
        (_, _) => Err(Failure::usage("say a wave or members, not both")),
    }
}

fn wave_number(entry: &FleetEntry, name: &str) -> Result<u32, Failure> {
    let found = entry.waves.iter().position(|wave| wave == name);
    found
        .and_then(|place| u32::try_from(place).ok())
        .ok_or_else(|| {
            Failure::usage(format!(
                "the fleet has no wave \"{name}\"; it has {}",
                entry.waves.join(", ")
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::suite::fleet;

    fn given(order: FleetOrder) -> GivenOrder {
        GivenOrder {
            id: RunId::generate(),
            order,
            by: "somebody".to_owned(),
        }
    }

    #[test]
    fn an_order_is_one_order_however_often_it_comes() {
        let mut entry = fleet("night");
        let pause = given(FleetOrder::Pause);
        put_down(&mut entry, pause.clone()).unwrap();
        put_down(&mut entry, pause).unwrap();
        assert_eq!(entry.orders.len(), 1);
        let names = (0..10_000).map(|number| MemberName::on("db1", &format!("tenant_{number}")));
        let many = given(FleetOrder::Commit(Which::These(names.collect())));
        let refused = put_down(&mut entry, many).unwrap_err();
        assert!(refused.message().contains("say a wave"), "{refused:?}");
        for _ in 1..WAITING {
            put_down(&mut entry, given(FleetOrder::Resume)).unwrap();
        }
        let refused = put_down(&mut entry, given(FleetOrder::Resume)).unwrap_err();
        assert!(refused.message().contains("32 orders"), "{refused:?}");
    }

    #[test]
    fn nothing_but_the_order_is_done_with_a_fleet_that_has_ended() {
        let mut entry = fleet("night");
        let back = FleetOrder::RollBack(Which::All);
        put_down(&mut entry, given(back.clone())).unwrap();
        assert!(!entry.only_orders, "it is under way");
        entry.under_way = false;
        put_down(&mut entry, given(back)).unwrap();
        assert!(entry.only_orders && entry.under_way);
        // Whoever wants it to go on wants all of it to.
        put_down(&mut entry, given(FleetOrder::Resume)).unwrap();
        assert!(!entry.only_orders);
    }

    #[test]
    fn waves_are_known_by_their_names() {
        let entry = fleet("night");
        let request = |what| FleetOrderRequest {
            fleet: "night".to_owned(),
            order: RunId::generate().to_string(),
            what: Some(what),
        };
        let rest = asked(&entry, &request(What::Approve("rest".to_owned()))).unwrap();
        assert_eq!(rest, FleetOrder::Approve { wave: Some(1) });
        let none = asked(&entry, &request(What::Approve("x".to_owned()))).unwrap_err();
        assert!(none.message().contains("canary, rest"), "{none:?}");
    }
}
