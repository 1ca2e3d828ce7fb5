//! Random fleets and random accidents (`PROPTEST_CASES` says how many). What must hold at every command the
//! invariants check; here is only what happens, and that every fleet comes to an end.

use proptest::prelude::*;
use upshift_shared::fleet::{
    AtEnd, CommitPolicy, FleetFile, MemberName, OnFailure, Order, Share, StopAfter, Then, Wave,
    Window,
};

use super::{
    FleetEnd, FleetEvent, FleetOrder, Found, Member, MemberState, Which,
    script::{Conductor, Fate, hooks, member, order},
};

/// One thing that happens; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Accident {
    Finish(usize),
    PassTime(u64),
    Pause,
    Resume,
    Approve(u32),
    Abort,
    Retry(Option<usize>),
    RollBack(Option<usize>),
    RollBackWave(u32),
    RollBackAll,
    Commit(Option<usize>),
    Limit(Option<u32>),
    Crash,
    CrashAndLosePlace,
    /// Members by bits of the number cannot be looked at after it.
    CrashAndMiss(u64),
}

/// Those that leave the end of a fleet to its order.
fn harmless() -> impl Strategy<Value = Accident> {
    use Accident as A;
    prop_oneof![
        30 => any::<usize>().prop_map(A::Finish),
        4 => (1..5_000_u64).prop_map(A::PassTime),
        2 => (0..4_u32).prop_map(A::Approve),
        2 => proptest::option::of(1..5_u32).prop_map(A::Limit),
        1 => Just(A::Pause),
        2 => Just(A::Resume),
        3 => Just(A::Crash),
        1 => Just(A::CrashAndLosePlace),
        3 => any::<u64>().prop_map(A::CrashAndMiss),
    ]
}

fn any_accident() -> impl Strategy<Value = Accident> {
    use Accident as A;
    let one = || proptest::option::of(any::<usize>());
    prop_oneof![
        30 => harmless(),
        3 => one().prop_map(A::Retry),
        2 => one().prop_map(|one| A::RollBack(Some(one.unwrap_or(0)))),
        2 => one().prop_map(A::Commit),
        1 => (0..4_u32).prop_map(A::RollBackWave),
        1 => Just(A::RollBackAll),
        1 => Just(A::Abort),
    ]
}

fn on_failure() -> impl Strategy<Value = OnFailure> {
    let stop_after = prop_oneof![
        (1..4_u32).prop_map(StopAfter::Failed),
        (1..10_000_u32).prop_map(StopAfter::Part),
        Just(StopAfter::Never),
    ];
    let then = prop_oneof![Just(Then::Leave), Just(Then::RollBack)];
    (stop_after, then).prop_map(|(stop_after, then)| OnFailure { stop_after, then })
}

fn wave() -> impl Strategy<Value = Wave> {
    let take = prop_oneof![
        (1..5_u32).prop_map(Share::Count),
        (1..9_000_u32).prop_map(Share::Part),
    ];
    let cap = proptest::option::of(1..4_u32);
    (take, cap, on_failure(), any::<bool>(), any::<bool>()).prop_map(
        |(take, max_databases, on_failure, approval, small)| Wave {
            take,
            max_databases,
            on_failure,
            approval,
            smaller_than: small.then_some(30_000_000),
            ..Wave::rest("one")
        },
    )
}

fn file() -> impl Strategy<Value = FleetFile> {
    let waves = (proptest::collection::vec(wave(), 0..3), on_failure());
    let caps = (
        proptest::option::of(1..6_u32),
        proptest::option::of(1..3_u32),
    );
    let orders = prop_oneof![
        Just(Order::LargeFirst),
        Just(Order::SmallFirst),
        Just(Order::ByName)
    ];
    let commits = prop_oneof![
        Just(CommitPolicy::AfterRun),
        Just(CommitPolicy::AfterWave),
        Just(CommitPolicy::ByHand)
    ];
    let window = proptest::option::weighted(
        0.3,
        (0..1_440_u32, 0..1_440_u32, any::<bool>()).prop_map(|(from, to, stop)| Window {
            from: from * 60,
            to: to * 60,
            days: Vec::new(),
            utc_offset: 60,
            at_end: if stop { AtEnd::Stop } else { AtEnd::Finish },
        }),
    );
    (waves, caps, orders, commits, window, any::<bool>()).prop_map(
        |((mut waves, last), (in_all, per_server), by, commit, window, hooked)| {
            waves.push(Wave {
                on_failure: last,
                ..Wave::rest("rest")
            });
            let mut file = order(waves);
            file.caps.max_databases = in_all;
            file.caps.per_server = per_server;
            (file.order, file.commit, file.window) = (by, commit, window);
            if hooked {
                file.hooks = hooks();
            }
            file
        },
    )
}

/// Seconds, server, and what goes wrong.
type Ingredients = (f64, u32, Fate, u32);

fn members() -> impl Strategy<Value = Vec<Ingredients>> {
    let rarely = |most: u32| prop_oneof![5 => Just(0), 1 => 1..=most];
    let fate = (
        rarely(2),
        rarely(2),
        any::<bool>(),
        proptest::bool::weighted(0.05),
    );
    let fate = fate.prop_map(|(failures, hook_failures, stuck, refused)| Fate {
        failures,
        hook_failures,
        stuck,
        refused,
    });
    proptest::collection::vec((0.0..60.0_f64, 0..3_u32, fate, 0..20_u32), 1..16)
}

fn conductor(file: FleetFile, ingredients: &[Ingredients]) -> Conductor {
    let members: Vec<Member> = (0..)
        .zip(ingredients)
        .map(|(number, (seconds, server, _, found))| Member {
            found: match found {
                0 => Found::Current,
                1 => Found::Refused("too old".to_owned()),
                _ => Found::Untouched,
            },
            ..member(&format!("s{server}"), &format!("d{number}"), *seconds)
        })
        .collect();
    let names: Vec<MemberName> = members.iter().map(|member| member.name.clone()).collect();
    let mut conductor = Conductor::new(file, members);
    for (name, (_, _, fate, _)) in names.into_iter().zip(ingredients) {
        conductor.fates.insert(name, *fate);
    }
    conductor.tick();
    conductor
}

fn happens(conductor: &mut Conductor, accident: &Accident) {
    let one_of = |n: usize, of: usize| n.checked_rem(of);
    let members: Vec<MemberName> = {
        let fleet = &conductor.fleet;
        fleet.members().map(|member| fleet.name(member)).collect()
    };
    let which = |one: &Option<usize>| match one {
        Some(n) => Which::These(vec![members[n % members.len()].clone()]),
        None => Which::All,
    };
    // What does not fit is refused, which the conductor looks at.
    match accident {
        Accident::Finish(n) => {
            if let Some(place) = one_of(*n, conductor.jobs.len()) {
                conductor.finish(place);
            }
        }
        Accident::PassTime(seconds) => conductor.pass_time(*seconds),
        Accident::Limit(max_databases) => {
            let max_databases = *max_databases;
            conductor.feed(FleetEvent::Limited { max_databases });
        }
        Accident::Crash => conductor.crash(false),
        Accident::CrashAndLosePlace => conductor.crash(true),
        // Those that could not be looked at would be of other waves.
        Accident::CrashAndMiss(_) if conductor.order.waves.iter().any(Wave::goes_by_size) => {
            conductor.crash(false);
        }
        Accident::CrashAndMiss(which) => {
            let number =
                |name: &MemberName| name.database.as_deref()?.get(1..)?.parse::<u32>().ok();
            conductor.crash_and_miss(false, &|name| {
                number(name).is_some_and(|number| which >> (number % 64) & 1 == 1)
            });
        }
        order => {
            let order = match order {
                Accident::Pause => FleetOrder::Pause,
                Accident::Resume => FleetOrder::Resume,
                Accident::Approve(wave) => FleetOrder::Approve { wave: Some(*wave) },
                Accident::Abort => FleetOrder::Abort,
                Accident::Retry(one) => FleetOrder::Retry(which(one)),
                Accident::RollBack(one) => FleetOrder::RollBack(which(one)),
                Accident::RollBackWave(wave) => FleetOrder::RollBack(Which::Wave(*wave)),
                Accident::RollBackAll => FleetOrder::RollBack(Which::All),
                _ => match accident {
                    Accident::Commit(one) => FleetOrder::Commit(which(one)),
                    _ => return,
                },
            };
            let _ = conductor.order(order);
        }
    }
}

/// Nothing happens any more but what is to happen, and operators let it.
fn settle(conductor: &mut Conductor) -> FleetEnd {
    conductor.feed(FleetEvent::Limited {
        max_databases: None,
    });
    for _ in 0..200 {
        conductor.finish_all();
        match conductor.end.filter(|_| conductor.jobs.is_empty()) {
            Some(FleetEnd::Stopped { .. }) => drop(conductor.order(FleetOrder::Resume)),
            Some(end) if conductor.fleet.standing() == super::Standing::Ended(end) => return end,
            _ => {}
        }
        let _ = conductor.order(FleetOrder::Approve { wave: None });
        let _ = conductor.order(FleetOrder::Resume);
        conductor.finish_all();
        let until = conductor
            .wake
            .and_then(|wake| wake.checked_sub(conductor.now));
        conductor.pass_time(until.map_or(60, |until| until.as_secs().max(1)));
    }
    let fleet = &conductor.fleet;
    let states = fleet
        .members()
        .map(|member| (fleet.state(member), fleet.reason(member)));
    let states: Vec<_> = states.collect();
    panic!(
        "it does not end: {:?} {states:?} {:?}",
        fleet.standing(),
        fleet.place()
    );
}

/// Every member has ended, or there is a reason that it has not.
fn all_are_accounted_for(conductor: &Conductor, end: FleetEnd) {
    let fleet = &conductor.fleet;
    for member in fleet.members() {
        let state = fleet.state(member);
        let rests = matches!(state, MemberState::Waiting | MemberState::WaitsForCommit);
        let ended = state.has_ended() || (end == FleetEnd::Aborted && rests);
        assert!(ended, "{} is {state:?} after {end:?}", fleet.name(member));
        assert!(
            !matches!(
                state,
                MemberState::Failed | MemberState::Refused | MemberState::Stuck
            ) || fleet.reason(member).is_some()
        );
    }
    assert!(fleet.place().wanted.is_empty(), "{:?}", fleet.place());
}

proptest! {
    /// Safety, and that every fleet ends with all of its members accounted for.
    #[test]
    fn whatever_happens_all_are_accounted_for(
        file in file(),
        members in members(),
        accidents in proptest::collection::vec(any_accident(), 0..80),
    ) {
        let mut conductor = conductor(file, &members);
        for accident in &accidents {
            happens(&mut conductor, accident);
        }
        let end = settle(&mut conductor);
        all_are_accounted_for(&conductor, end);
    }

    /// A fleet that dies again and again, and loses its place, comes to the same end by the ledgers alone.
    #[test]
    fn ledgers_alone_lead_to_the_same_end(
        file in file(),
        members in members(),
        accidents in proptest::collection::vec(harmless(), 0..80),
    ) {
        let mut file = file;
        for wave in &mut file.waves {
            wave.on_failure.stop_after = StopAfter::Never;
        }
        // What only a hook has said is not in a ledger.
        let members: Vec<Ingredients> = members
            .into_iter()
            .map(|(seconds, server, fate, found)| {
                let fate = Fate { hook_failures: 0, stuck: false, ..fate };
                (seconds, server, fate, found)
            })
            .collect();
        let mut undisturbed = conductor(file.clone(), &members);
        let end = settle(&mut undisturbed);
        prop_assert_eq!(end, FleetEnd::Done);
        let mut disturbed = conductor(file, &members);
        for accident in &accidents {
            happens(&mut disturbed, accident);
        }
        prop_assert_eq!(settle(&mut disturbed), FleetEnd::Done);
        for (name, row) in &undisturbed.ledgers {
            let other = &disturbed.ledgers[name];
            prop_assert_eq!((name, &row.found, row.wave), (name, &other.found, other.wave));
        }
        let owed: Vec<_> = disturbed.hooks.iter().filter(|(_, hook)| {
            **hook == super::HookKind::Before
        }).collect();
        // Which hooks are owed the place knows alone.
        let lost = accidents.iter().any(|accident| matches!(accident, Accident::CrashAndLosePlace));
        prop_assert!(lost || owed.is_empty(), "{:?}", owed);
    }
}

/// Found after 52,149 others: one in no wave is wanted again, and then back, before it could begin.
#[test]
fn who_is_wanted_back_before_it_begins_again_is_accounted_for() {
    let mut file = order(vec![Wave::rest("rest")]);
    file.waves[0].on_failure.stop_after = StopAfter::Failed(1);
    file.caps.per_server = Some(1);
    file.hooks = hooks();
    let calm = Fate::default();
    let stuck = Fate {
        stuck: true,
        ..calm
    };
    let mut conductor = conductor(file, &[(0.0, 2, stuck, 2), (0.0, 2, calm, 1)]);
    let finish = |times| std::iter::repeat_n(Accident::Finish(0), times);
    let accidents = std::iter::once(Accident::Retry(Some(1)))
        .chain(finish(4))
        .chain([Accident::PassTime(1), Accident::RollBackAll])
        .chain(finish(1))
        .chain([Accident::CrashAndLosePlace, Accident::RollBackWave(0)])
        .chain(finish(6))
        .chain([Accident::Retry(None)])
        .chain(finish(1))
        .chain([Accident::Retry(Some(1)), Accident::RollBackAll]);
    for accident in accidents {
        happens(&mut conductor, &accident);
    }
    let end = settle(&mut conductor);
    all_are_accounted_for(&conductor, end);
}
