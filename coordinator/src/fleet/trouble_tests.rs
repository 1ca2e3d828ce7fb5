//! What must not go wrong when something else already has: databases that cannot be asked, crashes in the
//! middle of an order, files that were changed.

use std::time::Duration;

use upshift_shared::fleet::{CommitPolicy, MemberName, Share, Then, Wave};

use super::{
    Fleet, FleetCommand, FleetEnd, FleetEvent, FleetOrder, FleetPlace, Found, Member, MemberId,
    MemberState, Standing, Which,
    script::{Conductor, hooks, member, order},
    table_tests::{canary, reason, state, these, three, wave},
};

fn is(name: &'static str) -> impl Fn(&MemberName) -> bool {
    move |member: &MemberName| member.to_string() == name
}

#[test]
fn a_hook_after_is_not_run_while_nobody_knows_how_its_database_stands() {
    let mut file = order(vec![Wave::rest("all")]);
    file.hooks = hooks();
    let mut fleet = three(file);
    fleet.tick();
    fleet.finish(0);
    // It is being upgraded; then all dies, and its server is away.
    fleet.crash_and_miss(false, &is("db/a"));
    let hooks_after = fleet
        .said
        .iter()
        .filter(|said| *said == "After db/a untouched");
    assert_eq!(hooks_after.count(), 0, "{:?}", fleet.said);
    fleet.finish_all();
    assert_eq!(state(&fleet, "db/a"), MemberState::Prepared);
    assert!(fleet.said.contains(&"After db/a prepared".to_owned()));
}

#[test]
fn whoever_wants_a_database_back_that_could_not_be_asked_asks_it() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish_all();
    fleet.restart(false, &is("db/b"));
    fleet.fleet.only_orders();
    let said = fleet.order(FleetOrder::RollBack(Which::All)).unwrap();
    assert!(said.contains(&"roll back db/b".to_owned()), "{said:?}");
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Ordered));
    for name in ["db/a", "db/b", "db/c"] {
        assert_eq!(state(&fleet, name), MemberState::RolledBack);
    }
}

#[test]
fn a_database_that_stays_away_has_not_come_back() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish_all();
    fleet.restart(false, &is("db/b"));
    fleet.fleet.only_orders();
    let back = FleetOrder::RollBack(Which::All);
    fleet.order(back.clone()).unwrap();
    let b = fleet
        .fleet
        .find(&MemberName::from("db/b".to_owned()))
        .unwrap();
    let found = Found::Unknown("no answer".to_owned());
    fleet.jobs.retain(|(member, _)| *member != b);
    fleet.feed(FleetEvent::Ended { member: b, found });
    fleet.finish_all();
    assert_eq!(fleet.fleet.missed(&back), [b]);
    assert_eq!(state(&fleet, "db/b"), MemberState::Failed);
}

/// `a` has failed, one at a time, and cannot be asked after a crash.
fn failed_and_lost(then: Then, jobs: usize) -> Conductor {
    let mut all = Wave::rest("all");
    all.on_failure.then = then;
    let mut file = order(vec![all]);
    file.caps.max_databases = Some(1);
    let mut fleet = three(file);
    fleet
        .fates
        .get_mut(&MemberName::on("db", "a"))
        .unwrap()
        .failures = 1;
    fleet.tick();
    for _ in 0..jobs {
        fleet.finish(0);
    }
    fleet.restart(false, &is("db/a"));
    fleet
}

/// Its failure stops the wave again as soon as it is known.
fn is_stopped(mut fleet: Conductor) {
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Stopped { wave: 0 }));
    assert_eq!(state(&fleet, "db/a"), MemberState::RolledBack);
    assert_eq!(state(&fleet, "db/b"), MemberState::Waiting);
    assert!(!fleet.said.contains(&"begin db/b".to_owned()));
}

#[test]
fn one_that_is_brought_back_and_turns_out_to_have_failed_stops_its_wave() {
    let mut fleet = failed_and_lost(Then::RollBack, 2);
    let back = FleetOrder::RollBack(these(&["db/a"]));
    fleet.order(back).unwrap();
    is_stopped(fleet);
}

#[test]
fn one_that_turns_out_to_go_back_by_policy_stops_its_wave() {
    let mut fleet = failed_and_lost(Then::RollBack, 1);
    fleet.tick();
    is_stopped(fleet);
}

#[test]
fn one_that_is_wanted_back_while_it_is_asked_stops_its_wave_if_it_had_failed() {
    let mut fleet = failed_and_lost(Then::Leave, 1);
    fleet.tick();
    let back = FleetOrder::RollBack(these(&["db/a"]));
    fleet.order(back).unwrap();
    is_stopped(fleet);
}

#[test]
fn a_crash_commits_no_more_than_was_meant() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    // The canary; then one more.
    fleet.finish(0);
    fleet.finish(0);
    let said = fleet.order(FleetOrder::Commit(Which::All)).unwrap();
    let commits = said.iter().filter(|said| said.starts_with("commit"));
    assert_eq!(commits.count(), 2, "{said:?}");
    fleet.crash(false);
    fleet.finish_all();
    let states = ["db/a", "db/b", "db/c"].map(|name| state(&fleet, name));
    let committed = states
        .iter()
        .filter(|state| **state == MemberState::Committed);
    assert_eq!(committed.count(), 2, "{states:?}");
    assert!(states.contains(&MemberState::Prepared), "{states:?}");
}

#[test]
fn what_is_wanted_back_is_not_committed_first() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    fleet.finish_all();
    fleet.order(FleetOrder::Commit(Which::All)).unwrap();
    // Nothing of it was done yet when all died, and the next process is to bring them back.
    fleet.restart(false, &|_| false);
    fleet.fleet.only_orders();
    let said = fleet.order(FleetOrder::RollBack(Which::All)).unwrap();
    let commits = said.iter().filter(|said| said.starts_with("commit"));
    assert_eq!(commits.count(), 0, "{said:?}");
    assert_eq!(
        fleet.fleet.place().wanted,
        [FleetOrder::RollBack(Which::All)]
    );
    fleet.finish_all();
    assert_eq!(state(&fleet, "db/a"), MemberState::RolledBack);
}

#[test]
fn a_pause_holds_the_commits_that_follow_from_the_policy() {
    for policy in [CommitPolicy::AfterRun, CommitPolicy::AfterWave] {
        let mut file = order(vec![Wave::rest("all")]);
        file.commit = policy;
        let mut fleet = three(file);
        fleet.tick();
        fleet.order(FleetOrder::Pause).unwrap();
        fleet.finish_all();
        assert_eq!(fleet.fleet.standing(), Standing::Paused);
        assert_eq!(state(&fleet, "db/a"), MemberState::WaitsForCommit);
        assert!(reason(&fleet, "db/a").contains("paused"));
        // One that is named is meant all the same.
        fleet.order(FleetOrder::Commit(these(&["db/b"]))).unwrap();
        fleet.finish_all();
        assert_eq!(state(&fleet, "db/b"), MemberState::Committed);
        assert_eq!(state(&fleet, "db/a"), MemberState::WaitsForCommit);
        fleet.order(FleetOrder::Resume).unwrap();
        fleet.finish_all();
        assert_eq!(state(&fleet, "db/a"), MemberState::Committed);
    }
}

#[test]
fn an_order_outlives_a_member_that_is_gone() {
    let back = FleetOrder::RollBack(these(&["db/gone", "db/b"]));
    let place = FleetPlace {
        opened: 1,
        wanted: vec![back.clone()],
        ..FleetPlace::default()
    };
    let b = Member {
        found: Found::Prepared,
        ..member("db", "b", 1.0)
    };
    let now = Duration::from_secs(1_000_000);
    let mut fleet = Fleet::new(order(vec![Wave::rest("all")]), vec![b], place, now);
    let member = MemberId(0);
    let began = fleet.handle(FleetEvent::Tick, now).unwrap();
    let begins = FleetCommand::RollBack {
        member,
        force: false,
    };
    assert!(began.contains(&begins), "{began:?}");
    let found = Found::RolledBack(None);
    fleet
        .handle(FleetEvent::Ended { member, found }, now)
        .unwrap();
    assert_eq!(fleet.state(member), MemberState::RolledBack);
    // It is still meant when it is there again.
    assert_eq!(fleet.place().wanted, [back]);
}

#[test]
fn waves_that_were_opened_are_known_by_their_names() {
    let mut fleet = three(order(canary()));
    fleet.tick();
    let place = fleet.fleet.place().clone();
    assert_eq!(place.fits(&order(canary())), Ok(()));
    let mut more = canary();
    more.insert(0, wave("smoke", Share::Count(1)));
    let refused = place.fits(&order(more)).unwrap_err().to_string();
    assert!(
        refused.contains("(canary)") && refused.contains("--anew"),
        "{refused}"
    );
    // Before anything was opened they may be changed.
    assert_eq!(FleetPlace::default().fits(&order(vec![])), Ok(()));
}

#[test]
fn a_canary_that_nobody_fits_is_told_and_lets_nothing_through_unapproved() {
    let mut waves = vec![wave("canary", Share::Count(3)), Wave::rest("rest")];
    waves[0].labels.insert("tier".to_owned(), "test".to_owned());
    waves[0].approval = true;
    let members = ["a", "b"].map(|name| member("db", name, 1.0));
    let mut fleet = Conductor::new(order(waves), members.to_vec());
    assert_eq!(
        fleet.fleet.short_waves(),
        ["wave canary is to take 3, and finds 0 that fit"]
    );
    assert_eq!(fleet.tick(), ["record", "wave 0 awaits approval"]);
    assert!(fleet.jobs.is_empty());
    fleet.order(FleetOrder::Approve { wave: Some(0) }).unwrap();
    assert_eq!(fleet.jobs.len(), 2);
}

#[test]
fn failures_are_forgiven_by_name() {
    let mut fleet = three(order(vec![Wave::rest("all")]));
    for name in ["db/a", "db/b"] {
        let name = MemberName::from(name.to_owned());
        fleet.fates.get_mut(&name).unwrap().failures = 1;
    }
    fleet.tick();
    fleet.finish(0);
    fleet.order(FleetOrder::Resume).unwrap();
    fleet.finish(0);
    fleet.finish_all();
    // That `a` had failed was forgiven. Who cannot ask it any more has `b`, which nobody has seen.
    fleet.crash_and_miss(false, &is("db/a"));
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Stopped { wave: 0 }));
    assert_eq!(state(&fleet, "db/a"), MemberState::Waiting);
    assert!(reason(&fleet, "db/a").contains("1 of wave all failed"));
}
