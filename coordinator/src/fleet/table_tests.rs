//! Tables: what happens → the exact commands.

use std::time::Duration;

use upshift_shared::fleet::{
    AtEnd, CommitPolicy, MemberName, OnFailure, Order, Share, StopAfter, Then, Wave, Window,
};

use super::{
    FleetEnd, FleetOrder, Found, MemberState, Standing, Which, assign,
    script::{Conductor, hooks, member, order},
};

pub(super) fn wave(name: &str, take: Share) -> Wave {
    Wave {
        take,
        ..Wave::rest(name)
    }
}

/// A canary of one, and the rest.
pub(super) fn canary() -> Vec<Wave> {
    vec![wave("canary", Share::Count(1)), Wave::rest("rest")]
}

pub(super) fn these(names: &[&str]) -> Which {
    Which::These(
        names
            .iter()
            .map(|name| MemberName::from((*name).to_owned()))
            .collect(),
    )
}

pub(super) fn state(conductor: &Conductor, name: &str) -> MemberState {
    let member = conductor
        .fleet
        .find(&MemberName::from(name.to_owned()))
        .unwrap();
    conductor.fleet.state(member)
}

pub(super) fn reason(conductor: &Conductor, name: &str) -> String {
    let member = conductor
        .fleet
        .find(&MemberName::from(name.to_owned()))
        .unwrap();
    let reason = conductor.fleet.reason(member);
    reason.map_or_else(String::new, |reason| reason.to_string())
}

/// `a` is the canary: its ledger says so.
pub(super) fn three(order_file: upshift_shared::fleet::FleetFile) -> Conductor {
    let mut members = ["a", "b", "c"]
        .map(|name| member("db", name, 60.0))
        .to_vec();
    members[0].wave = Some(0);
    Conductor::new(order_file, members)
}

#[test]
fn a_wave_begins_when_the_former_has_ended_and_was_approved() {
    let mut waves = canary();
    waves[0].approval = true;
    let mut fleet = three(order(waves));
    assert_eq!(fleet.tick(), ["record", "begin db/a"]);
    assert_eq!(reason(&fleet, "db/b"), "wave canary comes first");
    assert_eq!(fleet.finish(0), ["wave 0 ended", "wave 0 awaits approval"]);
    assert_eq!(fleet.fleet.standing(), Standing::AwaitsApproval { wave: 0 });
    assert_eq!(
        reason(&fleet, "db/b"),
        "wave canary has ended and waits to be approved: `upshift fleet approve`"
    );
    assert_eq!(fleet.tick(), [""; 0]);
    let approve = FleetOrder::Approve { wave: Some(0) };
    assert_eq!(
        fleet.order(approve).unwrap(),
        ["record", "begin db/b", "begin db/c"]
    );
    assert_eq!(fleet.finish(1), [""; 0]);
    assert_eq!(fleet.finish(0), ["wave 1 ended", "Done"]);
    assert_eq!(state(&fleet, "db/c"), MemberState::Prepared);
}

#[test]
fn a_failed_canary_stops_everything_else() {
    let mut fleet = three(order(canary()));
    fleet
        .fates
        .get_mut(&MemberName::on("db", "a"))
        .unwrap()
        .failures = 1;
    fleet.tick();
    assert_eq!(fleet.finish(0), ["wave 0 ended", "Stopped { wave: 0 }"]);
    assert_eq!(reason(&fleet, "db/a"), "a check fails");
    assert_eq!(
        reason(&fleet, "db/b"),
        "1 of wave canary failed, and its policy says stop: mend and `upshift fleet retry`, or \
         `upshift fleet resume` in spite of it"
    );
    fleet.crash(false);
    assert_eq!(fleet.end, Some(FleetEnd::Stopped { wave: 0 }));
    assert_eq!(
        fleet.order(FleetOrder::Retry(Which::All)).unwrap(),
        ["record", "begin db/a"]
    );
    assert_eq!(fleet.finish(0), ["record", "begin db/b", "begin db/c"]);
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
}

#[test]
fn a_stopped_fleet_goes_on_in_spite_of_failures_where_an_operator_says_so() {
    let mut fleet = three(order(canary()));
    fleet
        .fates
        .get_mut(&MemberName::on("db", "a"))
        .unwrap()
        .failures = 1;
    fleet.tick();
    fleet.finish(0);
    let resumed = fleet.order(FleetOrder::Resume).unwrap();
    assert_eq!(resumed, ["record", "begin db/b", "begin db/c"]);
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
    assert_eq!(state(&fleet, "db/a"), MemberState::Failed);
}

#[test]
fn hooks_are_around_what_is_done() {
    let mut file = order(canary());
    file.hooks = hooks();
    file.commit = CommitPolicy::AfterRun;
    let mut fleet = three(file);
    assert_eq!(fleet.tick(), ["record", "Before db/a upgrade"]);
    assert_eq!(fleet.finish(0), ["begin db/a"]);
    assert_eq!(fleet.finish(0), ["commit db/a"]);
    assert_eq!(fleet.finish(0), ["record", "After db/a committed"]);
    let next = fleet.finish(0);
    let expected = [
        "record",
        "wave 0 ended",
        "Before db/b upgrade",
        "Before db/c upgrade",
    ];
    assert_eq!(next, expected);
    // A hook that fails: nothing is done to the database, and its hook after makes up for it.
    fleet
        .fates
        .get_mut(&MemberName::on("db", "b"))
        .unwrap()
        .hook_failures = 1;
    assert_eq!(fleet.finish(0), ["record", "After db/b untouched"]);
    // `c` waits for its hook, and nothing of a wave that is stopped begins.
    assert_eq!(fleet.finish(0), ["record", "After db/c untouched"]);
    fleet.finish(0);
    assert_eq!(fleet.finish(0), ["record", "Stopped { wave: 1 }"]);
    assert_eq!(reason(&fleet, "db/b"), "the hook before: exit status 1");
    assert_eq!(state(&fleet, "db/c"), MemberState::Waiting);
}

#[test]
fn what_hooks_owe_is_done_after_a_crash() {
    let mut file = order(canary());
    file.hooks = hooks();
    let mut fleet = three(file);
    fleet.tick();
    fleet.finish(0);
    // While it runs: its hook is run again, and it goes on.
    fleet.crash(false);
    assert_eq!(fleet.said.last().unwrap(), "Before db/a upgrade");
    fleet.finish(0);
    assert_eq!(fleet.finish(0), ["record", "After db/a prepared"]);
    // While its hook after runs: that alone.
    fleet.crash(false);
    assert_eq!(fleet.said.last().unwrap(), "After db/a prepared");
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
    assert!(fleet.fleet.place().attended.is_empty());
}

#[test]
fn a_failed_one_is_rolled_back_where_the_policy_says_so() {
    let mut waves = vec![Wave::rest("all")];
    waves[0].on_failure = OnFailure {
        stop_after: StopAfter::Never,
        then: Then::RollBack,
    };
    let mut fleet = three(order(waves));
    fleet
        .fates
        .get_mut(&MemberName::on("db", "b"))
        .unwrap()
        .failures = 1;
    fleet.tick();
    assert_eq!(fleet.finish(1), ["roll back db/b"]);
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
    assert_eq!(state(&fleet, "db/b"), MemberState::RolledBack);
    assert_eq!(reason(&fleet, "db/b"), "a check fails");
    let retried = fleet.order(FleetOrder::Retry(Which::All)).unwrap();
    assert_eq!(retried, ["record", "begin db/b"]);
}

#[test]
fn a_wave_is_committed_when_it_was_approved() {
    let mut waves = canary();
    waves[0].approval = true;
    let mut file = order(waves);
    file.commit = CommitPolicy::AfterWave;
    let mut fleet = three(file);
    fleet.tick();
    fleet.finish(0);
    let approved = fleet.order(FleetOrder::Approve { wave: None }).unwrap();
    assert_eq!(approved, ["record", "commit db/a"]);
    assert_eq!(fleet.finish(0), ["record", "begin db/b", "begin db/c"]);
    fleet.finish_all();
    assert_eq!(state(&fleet, "db/c"), MemberState::Committed);
    assert_eq!(fleet.end, Some(FleetEnd::Done));
}

#[test]
fn all_of_a_fleet_comes_back() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish(0);
    // `b` is prepared, `c` is being upgraded.
    fleet.finish(0);
    let back = fleet.order(FleetOrder::RollBack(Which::All)).unwrap();
    assert_eq!(
        back,
        ["record", "stop db/c", "roll back db/a", "roll back db/b"]
    );
    fleet.crash(false);
    fleet.finish_all();
    assert!(
        ["db/a", "db/b", "db/c"]
            .iter()
            .all(|n| state(&fleet, n) == MemberState::RolledBack)
    );
    assert!(fleet.fleet.place().wanted.is_empty());
    let refused = fleet.order(FleetOrder::Resume).unwrap_err();
    assert_eq!(
        refused,
        "the fleet was aborted: `upshift fleet run --anew` begins it once more"
    );
}

#[test]
fn orders_that_do_not_fit_are_refused() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish(0);
    fleet.order(FleetOrder::Commit(these(&["db/a"]))).unwrap();
    fleet.finish_all();
    for (given, expected) in [
        (
            FleetOrder::RollBack(these(&["db/b", "db/a"])),
            "db/a is committed: there is no way back any more; restore a backup",
        ),
        (
            FleetOrder::Retry(these(&["db/d"])),
            "db/d is no member of this fleet: see its status",
        ),
        (
            FleetOrder::Approve { wave: Some(2) },
            "there is no wave 2: this fleet has 2",
        ),
        (
            FleetOrder::Commit(Which::Wave(7)),
            "there is no wave 7: this fleet has 2",
        ),
    ] {
        assert_eq!(fleet.order(given).unwrap_err(), expected);
    }
}

#[test]
fn nothing_begins_that_would_not_be_through_by_the_end_of_the_window() {
    let mut file = order(vec![Wave::rest("all")]);
    file.order = Order::LargeFirst;
    // The test's clock begins on 1970-01-12 at 13:46:40.
    file.window = Some(Window {
        from: 13 * 3_600,
        to: 14 * 3_600,
        days: Vec::new(),
        utc_offset: 0,
        at_end: AtEnd::Finish,
    });
    let members = [("small", 60.0), ("large", 1_000.0), ("huge", 4_000.0)];
    let members = members.map(|(name, seconds)| member("db", name, seconds));
    let mut fleet = Conductor::new(file, members.to_vec());
    let said = fleet.tick();
    assert_eq!(said, ["record", "begin db/small", "wake"]);
    assert!(reason(&fleet, "db/huge").starts_with("it is expected to take 67 min"));
    assert_eq!(
        reason(&fleet, "db/large"),
        "it would not be through by the end of the window, and waits for the next"
    );
    fleet.finish(0);
    fleet.now = fleet.wake.unwrap();
    assert_eq!(fleet.tick(), ["wake"]);
    assert_eq!(reason(&fleet, "db/large"), "the window is closed");
    fleet.now = fleet.wake.unwrap();
    assert_eq!(fleet.tick(), ["begin db/large", "wake"]);
    let named = FleetOrder::Retry(these(&["db/huge"]));
    assert_eq!(fleet.order(named).unwrap(), ["record", "begin db/huge"]);
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
}

#[test]
fn a_window_that_stops_runs_goes_on_with_them() {
    let mut file = order(vec![Wave::rest("all")]);
    file.hooks = hooks();
    file.window = Some(Window {
        from: 13 * 3_600,
        to: 14 * 3_600,
        days: Vec::new(),
        utc_offset: 0,
        at_end: AtEnd::Stop,
    });
    let mut fleet = Conductor::new(file, vec![member("db", "a", 9_000.0)]);
    fleet.tick();
    fleet.finish(0);
    fleet.now = fleet.wake.unwrap();
    assert_eq!(fleet.tick(), ["stop db/a", "wake"]);
    assert_eq!(fleet.finish(0), [""; 0]);
    assert!(matches!(
        fleet.fleet.standing(),
        Standing::OutsideWindow { opens: Some(_) }
    ));
    fleet.now = fleet.wake.unwrap();
    assert_eq!(fleet.tick(), ["record", "Before db/a upgrade", "wake"]);
    fleet.finish_all();
    assert_eq!(state(&fleet, "db/a"), MemberState::Prepared);
}

#[test]
fn caps_are_told_as_reasons() {
    let mut waves = vec![Wave::rest("all")];
    waves[0].max_databases = Some(3);
    let mut file = order(waves);
    file.caps.per_server = Some(1);
    file.caps.max_databases = Some(4);
    let names = [("x", "a"), ("x", "b"), ("y", "c"), ("z", "d"), ("w", "e")];
    let members = names.map(|(server, name)| member(server, name, 1.0));
    let mut fleet = Conductor::new(file, members.to_vec());
    assert_eq!(
        fleet.tick(),
        ["record", "begin w/e", "begin x/a", "begin y/c"]
    );
    let of_server = "1 databases of x are being worked on, and no more may be";
    assert_eq!(reason(&fleet, "x/b"), of_server);
    let of_wave = "3 databases of its wave are being worked on, and no more may be";
    assert_eq!(reason(&fleet, "z/d"), of_wave);
    assert_eq!(fleet.finish(1), ["begin x/b"]);
}

#[test]
fn an_order_is_carried_out_where_nobody_drives_the_fleet() {
    let prepared = super::Member {
        found: Found::Prepared,
        wave: Some(0),
        ..member("db", "a", 1.0)
    };
    let running = super::Member {
        found: Found::Running,
        wave: Some(1),
        ..member("db", "b", 1.0)
    };
    let members = vec![prepared, running, member("db", "c", 1.0)];
    let now = Duration::from_secs(1);
    let place = super::FleetPlace::default();
    let mut alone = super::Fleet::new(order(canary()), members, place, now);
    alone.only_orders();
    let commit = super::FleetEvent::Ordered(FleetOrder::Commit(these(&["db/a"])));
    let said = alone.handle(commit, now).unwrap();
    let member = super::MemberId(0);
    let expected = [
        super::FleetCommand::Record,
        super::FleetCommand::Commit { member },
    ];
    assert_eq!(said, expected);
    let ended = super::FleetEvent::Ended {
        member,
        found: Found::Committed,
    };
    let said = alone.handle(ended, now).unwrap();
    let expected = [
        super::FleetCommand::Record,
        super::FleetCommand::Ended(FleetEnd::Ordered),
    ];
    assert_eq!(said, expected);
}

#[test]
fn waves_are_the_same_whenever_they_are_asked_for() {
    let waves = [
        Wave {
            labels: [("tier".to_owned(), "test".to_owned())].into(),
            ..wave("tests", Share::Count(2))
        },
        wave("some", Share::Part(1_000)),
        Wave {
            smaller_than: Some(50_000_000),
            ..wave("small", Share::Rest)
        },
        Wave::rest("rest"),
    ];
    let mut members: Vec<_> = (0..100)
        .map(|n| member("db", &format!("d{n:02}"), f64::from(n)))
        .collect();
    for member in members.iter_mut().step_by(10) {
        member.labels.insert("tier".to_owned(), "test".to_owned());
    }
    members[99].found = Found::Current;
    let assigned = assign(&waves, &members);
    let count = |wave: Option<u32>| assigned.iter().filter(|own| **own == wave).count();
    assert_eq!((count(Some(0)), count(Some(1)), count(None)), (2, 10, 1));
    assert!(
        assigned
            .iter()
            .zip(&members)
            .all(|(wave, member)| { *wave != Some(0) || member.labels.contains_key("tier") })
    );
    // In another order, and with some that have begun and have grown: they stay where they were.
    let mut again: Vec<_> = members.iter().cloned().zip(&assigned).rev().collect();
    for (member, wave) in again.iter_mut().step_by(3) {
        member.wave = **wave;
        member.bytes *= 3;
    }
    let (members, expected): (Vec<_>, Vec<&Option<u32>>) = again.into_iter().unzip();
    let same = assign(&waves[..2], &members);
    for (own, expected) in same.iter().zip(expected) {
        assert_eq!(own.filter(|w| *w < 1), expected.filter(|w| *w < 1));
    }
}

/// A clock that was late when it was asked how long to wait: it is waited once more, not for ever.
#[test]
fn who_is_woken_too_early_is_woken_again() {
    let mut file = order(vec![Wave::rest("all")]);
    file.window = Some(Window {
        from: 13 * 3_600,
        to: 14 * 3_600,
        days: Vec::new(),
        utc_offset: 0,
        at_end: AtEnd::Stop,
    });
    let mut fleet = Conductor::new(file, vec![member("db", "a", 60.0)]);
    fleet.now = std::time::Duration::from_secs(1_000_000 / 86_400 * 86_400 + 14 * 3_600 + 60);
    assert_eq!(fleet.tick(), ["record", "wake"]);
    let opens = fleet.wake.unwrap();
    fleet.now = opens - Duration::from_millis(1);
    fleet.wake = None;
    assert_eq!(fleet.tick(), ["wake"]);
    assert_eq!(fleet.wake, Some(opens));
    fleet.now = opens;
    assert_eq!(fleet.tick(), ["begin db/a", "wake"]);
}

/// Nobody is disturbed where there is nothing to do.
#[test]
fn one_at_the_target_has_no_hooks() {
    let mut file = order(vec![Wave::rest("all")]);
    file.hooks = hooks();
    let mut fleet = Conductor::new(file, vec![member("db", "a", 60.0)]);
    assert_eq!(fleet.tick(), ["record", "Before db/a upgrade"]);
    let (a, _) = fleet.jobs.remove(0);
    let found = Found::Current;
    let ended = fleet.feed(super::FleetEvent::Ended { member: a, found });
    assert_eq!(ended, ["record", "wave 0 ended", "Done"]);
    assert_eq!(state(&fleet, "db/a"), MemberState::Current);
    assert!(fleet.fleet.place().attended.is_empty());
}

/// What failed before there was a ledger stays so, and is neither taken back nor begun before it is retried.
#[test]
fn what_has_not_begun_has_failed_all_the_same() {
    let mut file = order(vec![Wave::rest("all")]);
    file.waves[0].on_failure.then = Then::RollBack;
    let mut one = member("db", "a", 60.0);
    one.found = Found::NotBegun("no such column".to_owned());
    let mut fleet = Conductor::new(file, vec![one]);
    assert_eq!(fleet.tick(), ["record", "wave 0 ended", "Done"]);
    assert_eq!(state(&fleet, "db/a"), MemberState::Failed);
    let back = FleetOrder::RollBack(Which::All);
    assert_eq!(fleet.order(back.clone()).unwrap(), ["record"]);
    assert!(fleet.fleet.missed(&back).is_empty());
}

/// Taken back by force, and what is missed of an order.
#[test]
fn what_has_no_way_back_is_refused_or_told() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish_all();
    fleet.order(FleetOrder::Commit(these(&["db/b"]))).unwrap();
    fleet.finish_all();
    let all = FleetOrder::RollBackByForce(Which::All);
    let said = fleet.order(all.clone()).unwrap();
    assert_eq!(
        said[1..],
        ["roll back db/a by force", "roll back db/c by force"]
    );
    fleet.finish_all();
    let missed = fleet.fleet.missed(&all);
    let missed: Vec<_> = missed
        .into_iter()
        .map(|m| fleet.fleet.name(m).to_string())
        .collect();
    assert_eq!(missed, ["db/b"]);
    let refused = fleet
        .order(FleetOrder::RollBack(these(&["db/b"])))
        .unwrap_err();
    assert!(refused.contains("db/b is committed"), "{refused}");
}
