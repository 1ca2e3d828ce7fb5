//! What is done to one member while others are at work: its upgrade, its commit, its way back, its hooks; and what
//! came of that, in words.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use upshift_shared::{
    clock::{self, Stopwatch},
    fleet::{Hook, MemberName},
    pg::Target,
};

use super::{
    super::Failure,
    conducting::{Conductor, Work},
    folder::Done,
    home::Audit,
    hooks::{self, Told},
};
use crate::{
    figures,
    fleet::{FleetEvent, Found, HookKind, MemberId},
};

/// Something that was done to a member has ended.
pub(super) struct Ended {
    pub(super) event: FleetEvent,
    pub(super) member: MemberId,
    pub(super) done: Done,
}

/// A hook that is due.
pub(super) struct HookCall {
    pub(super) member: MemberId,
    pub(super) kind: HookKind,
    /// `None`: the order was given without it.
    pub(super) hook: Option<Hook>,
    pub(super) told: Told,
    pub(super) target: Result<Target, Failure>,
    /// When what follows it has to be through.
    pub(super) until: Option<Duration>,
}

/// Does something to a member's database.
pub(super) async fn work(
    (member, name): (MemberId, MemberName),
    (work, audit): (Work, Audit),
    (conductor, stop): (Arc<Conductor>, CancellationToken),
) -> Ended {
    let watch = Stopwatch::start();
    let found = Box::pin(conductor.conduct(&name, (work, &audit), &stop)).await;
    worked(member, name, (work.name(), found), &watch)
}

fn worked(
    member: MemberId,
    name: MemberName,
    (what, found): (&str, Found),
    watch: &Stopwatch,
) -> Ended {
    let (outcome, why) = in_words(&found);
    let done = Done {
        why,
        ..done(name, what, outcome, watch)
    };
    let event = FleetEvent::Ended { member, found };
    Ended {
        event,
        member,
        done,
    }
}

/// Runs a hook. Before an upgrade it is looked first whether there is anything to do: nobody is disturbed for
/// nothing.
pub(super) async fn hook(call: HookCall, conductor: Arc<Conductor>) -> Ended {
    let HookCall {
        member,
        kind,
        hook,
        told,
        target,
        until,
    } = call;
    let watch = Stopwatch::start();
    let begins = kind == HookKind::Before && told.outcome == "upgrade" && hook.is_some();
    if begins && let Some(found) = Box::pin(conductor.is_left_alone(&told.member, until)).await {
        return worked(member, told.member, ("upgrade", found), &watch);
    }
    let (result, output) = match (hook, target) {
        (None, _) => (Ok(()), Vec::new()),
        (Some(_), Err(failure)) => (Err(failure.message().to_owned()), Vec::new()),
        (Some(hook), Ok(target)) => hooks::run(&hook, &told, &target).await,
    };
    let what = match kind {
        HookKind::Before => "hook_before",
        HookKind::After => "hook_after",
    };
    let outcome = if result.is_ok() { "done" } else { "failed" };
    let done = Done {
        why: result.as_ref().err().cloned(),
        output,
        ..done(told.member, what, outcome, &watch)
    };
    let event = FleetEvent::HookEnded { member, result };
    Ended {
        event,
        member,
        done,
    }
}

fn done(member: MemberName, what: &str, outcome: &str, watch: &Stopwatch) -> Done {
    Done {
        member,
        what: what.to_owned(),
        outcome: outcome.to_owned(),
        why: None,
        seconds: watch.elapsed().as_secs_f64(),
        at: clock::since_epoch().as_secs(),
        output: Vec::new(),
    }
}

/// How a member stands, and why.
fn in_words(found: &Found) -> (&'static str, Option<String>) {
    let (word, why) = match found {
        Found::Untouched => ("untouched", None),
        Found::TooLong(takes) => {
            let why = format!(
                "it is expected to take {}, and would not be through by the end of the window",
                figures::seconds(takes.as_secs_f64())
            );
            return ("put_off", Some(why));
        }
        // To whoever reads it, one that cannot be reached has failed.
        Found::Unknown(why) | Found::Lost(why) | Found::NotBegun(why) => ("failed", Some(why)),
        Found::Current => ("current", None),
        Found::Refused(why) => ("refused", Some(why)),
        Found::Running => ("running", None),
        Found::Failed(why) => ("failed", Some(why)),
        Found::Prepared => ("prepared", None),
        Found::Committed => ("committed", None),
        Found::RollingBack => ("rolling_back", None),
        Found::RolledBack(why) => ("rolled_back", why.as_ref()),
        Found::Stuck(why) => ("stuck", Some(why)),
    };
    (word, why.cloned())
}
