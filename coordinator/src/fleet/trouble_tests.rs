//! What must not go wrong when something else already has: databases that cannot be asked, crashes in the
//! middle of an order, files that were changed.

use std::time::Duration;

use upshift_shared::fleet::{AtEnd, CommitPolicy, MemberName, Share, Then, Wave, Window};

use super::{
    Fleet, FleetCommand, FleetEnd, FleetEvent, FleetOrder, FleetPlace, Found, HookKind, Member,
    MemberId, MemberState, Standing, Which,
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

/// From 13:00 to 14:00; the clock of tests begins at 13:46:40.
fn window() -> Option<Window> {
    Some(Window {
        from: 13 * 3_600,
        to: 14 * 3_600,
        days: Vec::new(),
        utc_offset: 0,
        at_end: AtEnd::Finish,
    })
}

#[test]
fn whoever_begins_one_says_that_it_would_not_be_through() {
    let mut file = order(vec![Wave::rest("all")]);
    (file.window, file.hooks) = (window(), hooks());
    let mut fleet = three(file);
    fleet.tick();
    let members = ["a", "b", "c"].map(|name| {
        let name = MemberName::on("db", name);
        fleet.fleet.find(&name).unwrap()
    });
    let [a, b, c] = members;
    let ends = fleet.fleet.is_to_end_by(a).unwrap();
    assert_eq!(ends - fleet.now, Duration::from_secs(800));
    // One is looked at before its hook, one after it, one never fits.
    fleet.finish(0);
    let mut too_long = |member, seconds| {
        let found = Found::TooLong(Duration::from_secs(seconds));
        fleet.jobs.retain(|(own, _)| *own != member);
        fleet.row(member).found = Found::Untouched;
        fleet.feed(FleetEvent::Ended { member, found })
    };
    assert_eq!(too_long(a, 1_000), ["record", "After db/a untouched"]);
    assert_eq!(too_long(b, 1_000), ["record"]);
    assert_eq!(too_long(c, 4_000), ["record"]);
    assert_eq!(fleet.fleet.place().attended.len(), 1);
    fleet.finish_all();
    for name in ["db/a", "db/b"] {
        assert_eq!(state(&fleet, name), MemberState::Waiting);
        let waits = "it would not be through by the end of the window, and waits for the next";
        assert_eq!(reason(&fleet, name), waits);
    }
    assert_eq!(state(&fleet, "db/c"), MemberState::Refused);
    fleet.now = fleet.wake.unwrap();
    fleet.tick();
    assert_eq!(fleet.fleet.is_to_end_by(a), None);
    fleet.now = fleet.wake.unwrap();
    fleet.tick();
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
    assert_eq!(state(&fleet, "db/a"), MemberState::Prepared);
}

#[test]
fn none_begins_when_its_hook_took_longer_than_the_window() {
    let mut file = order(vec![Wave::rest("all")]);
    (file.window, file.hooks) = (window(), hooks());
    let mut fleet = three(file);
    fleet.tick();
    fleet.now = fleet.wake.unwrap();
    fleet.tick();
    let said = fleet.finish(0);
    assert_eq!(said, ["record", "After db/a untouched"]);
    fleet.finish_all();
    assert_eq!(state(&fleet, "db/a"), MemberState::Waiting);
    assert_eq!(reason(&fleet, "db/a"), "the window is closed");
}

#[test]
fn no_canary_is_filled_anew_while_its_members_may_be_missing() {
    let place = FleetPlace {
        opened: 1,
        ..FleetPlace::default()
    };
    // Of the canary one is there; the other one, which has failed, cannot be listed.
    let going = Member {
        found: Found::Running,
        wave: Some(0),
        ..member("db", "a", 1.0)
    };
    let lost = Member {
        found: Found::Lost("a check fails".to_owned()),
        ..member("away", "x", 1.0)
    };
    let fresh = ["b", "c"].map(|name| member("db", name, 1.0));
    let mut waves = canary();
    waves[0].take = Share::Count(2);
    let now = Duration::from_secs(1_000_000);
    let begun = |members: Vec<Member>| {
        let mut fleet = Fleet::new(order(waves.clone()), members, place.clone(), now);
        fleet.miss_members();
        let commands = fleet.handle(FleetEvent::Tick, now).unwrap();
        let begun = commands.iter().filter_map(|command| match command {
            FleetCommand::Begin { member, .. } => Some(fleet.name(*member).to_string()),
            _ => None,
        });
        (begun.collect::<Vec<_>>(), fleet)
    };
    let members = [vec![going], fresh.to_vec()].concat();
    let (names, mut fleet) = begun(members.clone());
    assert_eq!(names, ["db/a"]);
    let a = fleet.find(&MemberName::on("db", "a")).unwrap();
    let found = Found::Prepared;
    let ended = FleetEvent::Ended { member: a, found };
    let commands = fleet.handle(ended, now).unwrap();
    assert_eq!(commands, [FleetCommand::Ended(FleetEnd::Incomplete)]);
    let waits = fleet.find(&MemberName::on("db", "b")).unwrap();
    let why = fleet.reason(waits).unwrap().to_string();
    assert!(why.contains("cannot be listed now"), "{why}");

    // It still counts, and whoever wants it back asks it.
    let (_, fleet) = begun([members, vec![lost]].concat());
    let x = fleet.find(&MemberName::on("away", "x")).unwrap();
    assert_eq!(fleet.state(x), MemberState::Failed);
    assert_eq!(fleet.tally(None).failed, 1);
    assert_eq!(fleet.missed(&FleetOrder::RollBack(Which::All)).len(), 2);

    // Once all waves are open nobody can take a place.
    let open = FleetPlace { opened: 2, ..place };
    let mut fleet = Fleet::new(order(canary()), fresh.to_vec(), open, now);
    fleet.miss_members();
    let commands = fleet.handle(FleetEvent::Tick, now).unwrap();
    assert_eq!(commands.len(), 2, "{commands:?}");
}

#[test]
fn one_that_could_not_be_asked_is_gone_on_with_where_it_is_named() {
    let lost = Member {
        found: Found::Lost("a check fails".to_owned()),
        ..member("db", "a", 1.0)
    };
    let mut fleet = Conductor::new(order(vec![Wave::rest("all")]), vec![lost]);
    assert_eq!(fleet.tick(), ["record", "wave 0 ended", "Done"]);
    let said = fleet.order(FleetOrder::Retry(these(&["db/a"]))).unwrap();
    assert_eq!(said, ["record", "begin db/a"]);
}

#[test]
fn whoever_goes_on_forgives_what_was_resumed_while_nobody_was_there() {
    let mut place = FleetPlace {
        opened: 1,
        paused: true,
        ..FleetPlace::default()
    };
    let failed = Member {
        found: Found::Failed("a check fails".to_owned()),
        wave: Some(0),
        ..member("db", "a", 1.0)
    };
    let members = vec![failed, member("db", "b", 1.0)];
    let now = Duration::from_secs(1_000_000);
    assert_eq!(place.take_down(&FleetOrder::Resume), Ok(true));
    assert_eq!(
        place.take_down(&FleetOrder::Approve { wave: Some(0) }),
        Ok(true)
    );
    assert_eq!(place.take_down(&FleetOrder::Retry(Which::All)), Ok(false));
    let mut fleet = Fleet::new(order(canary()), members.clone(), place.clone(), now);
    let commands = fleet.handle(FleetEvent::Tick, now).unwrap();
    let b = fleet.find(&MemberName::on("db", "b")).unwrap();
    let begins = FleetCommand::Begin {
        member: b,
        unasked: false,
    };
    assert_eq!(commands[0], FleetCommand::Record);
    assert!(commands.contains(&begins), "{commands:?}");
    let kept = fleet.place();
    assert!(!kept.resumed && kept.forgiven[&0].len() == 1);

    // An abort is not undone so, and a pause keeps it where it is.
    assert_eq!(place.take_down(&FleetOrder::Pause), Ok(true));
    let mut fleet = Fleet::new(order(canary()), members, place.clone(), now);
    fleet.handle(FleetEvent::Tick, now).unwrap();
    assert_eq!(fleet.standing(), Standing::Paused);
    place.aborted = true;
    assert!(place.take_down(&FleetOrder::Resume).is_err());
}

#[test]
fn a_server_may_have_fewer_at_once_for_a_while() {
    let members = ["a", "b", "c", "d", "e"].map(|name| member("db", name, 1.0));
    let mut file = order(vec![Wave::rest("all")]);
    file.caps.per_server = Some(4);
    let mut fleet = Conductor::new(file, members.to_vec());
    fleet.fleet.limit_server("db", 2);
    fleet.tick();
    assert_eq!(fleet.jobs.len(), 2);
    let mut limited = |max_databases| {
        let server = "db".to_owned();
        fleet.feed(FleetEvent::ServerLimited {
            server,
            max_databases,
        })
    };
    // What was begun under the higher limit goes on; nothing follows it.
    assert_eq!(limited(3), ["begin db/c"]);
    assert_eq!(limited(1), [""; 0]);
    assert_eq!(fleet.finish(0), [""; 0]);
    assert!(reason(&fleet, "db/d").starts_with("1 databases of db"));
    assert_eq!(fleet.finish(0), [""; 0]);
    assert_eq!(fleet.finish(0), ["begin db/d"]);
    let server = "db".to_owned();
    // Never more than the file says.
    let max_databases = 99;
    let limited = FleetEvent::ServerLimited {
        server,
        max_databases,
    };
    assert_eq!(fleet.feed(limited), ["begin db/e"]);
    fleet.finish_all();
    assert_eq!(fleet.end, Some(FleetEnd::Done));
}

#[test]
fn who_is_owed_a_hook_says_why() {
    let mut file = order(vec![Wave::rest("all")]);
    file.hooks = hooks();
    let name = |name: &str| MemberName::on("db", name);
    let attended = ["a", "b", "c"].map(|member| (name(member), HookKind::Before));
    let place = FleetPlace {
        opened: 1,
        attended: attended.into_iter().collect(),
        ..FleetPlace::default()
    };
    let found = [
        ("a", Found::Lost("no answer".to_owned())),
        ("b", Found::NotBegun("permission denied".to_owned())),
        ("c", Found::Prepared),
    ];
    let members = found.map(|(name, found)| Member {
        found,
        wave: Some(0),
        ..member("db", name, 1.0)
    });
    let now = Duration::from_secs(1_000_000);
    let fleet = Fleet::new(file, members.to_vec(), place, now);
    let shown = ["a", "b", "c"].map(|member| {
        let member = fleet.find(&name(member)).unwrap();
        let why = fleet.reason(member).unwrap().to_string();
        (fleet.state(member), why)
    });
    let waits = MemberState::WaitsForHook;
    let expected = [
        (
            MemberState::Failed,
            "no answer; its hook after is owed until it can be asked how it stands",
        ),
        (waits, "permission denied; its hook after is owed"),
        (
            waits,
            "its hook after is owed: whoever conducts the fleet runs it",
        ),
    ];
    assert_eq!(shown, expected.map(|(state, why)| (state, why.to_owned())));
}

#[test]
fn a_fleet_that_is_aborted_is_not_done_while_a_commit_of_one_outside_the_waves_waits() {
    let mut file = order(vec![Wave::rest("all")]);
    file.commit = CommitPolicy::AfterRun;
    // What cannot be upgraded is in no wave.
    let refused = ["a", "b"].map(|name| Member {
        found: Found::Refused("too old".to_owned()),
        ..member("db", name, 10.0)
    });
    let mut fleet = Conductor::new(file, refused.to_vec());
    fleet.order(FleetOrder::Retry(these(&["db/a"]))).unwrap();
    fleet.order(FleetOrder::Pause).unwrap();
    fleet.finish(0);
    assert_eq!(state(&fleet, "db/a"), MemberState::WaitsForCommit);
    fleet.order(FleetOrder::Abort).unwrap();
    assert_eq!(fleet.end, Some(FleetEnd::Aborted));
}
