//! What every backend must keep, as one test suite. A backend's tests call [`run`] with a factory
//! that makes an empty store; clones of what it makes are clients of the same store.

use std::time::Duration;

use futures::FutureExt;
use upshift_shared::ids::RunId;

use super::{
    Coordination, FleetEntry, GivenOrder, Locked, Member, PART_BYTES, RunEntry, RunOrder, Topic,
};
use crate::fleet::{FleetOrder, FleetPlace};

/// Nothing that must happen may take longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the whole suite.
///
/// # Panics
/// When the backend does not keep what it must.
pub async fn run<C: Coordination + Clone>(make: impl AsyncFn() -> C) {
    one_leads_at_a_time(&make().await).await;
    one_locks_a_database_at_a_time(&make().await).await;
    workers_come_and_go(&make().await).await;
    the_first_decision_stands(&make().await).await;
    runs_are_listed(&make().await).await;
    fleets_are_kept(&make().await).await;
    submissions_are_kept_in_parts(&make().await).await;
    watchers_are_told(&make().await).await;
}

fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: format!("{name}:1"),
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

async fn one_leads_at_a_time<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    assert_eq!(first.leader().await.expect("it answers"), None);
    let leads = soon("to lead", first.campaign(&member("a")))
        .await
        .expect("it leads");
    assert_eq!(
        second.leader().await.expect("it answers"),
        Some(member("a"))
    );
    let b = member("b");
    let mut waits = Box::pin(second.campaign(&b));
    assert!(waits.as_mut().now_or_never().is_none(), "two lead");
    assert!(leads.lost().now_or_never().is_none(), "nothing was lost");
    leads.release().await;
    let leads = soon("to follow", waits).await.expect("it leads");
    assert_eq!(first.leader().await.expect("it answers"), Some(member("b")));
    leads.release().await;
    assert_eq!(first.leader().await.expect("it answers"), None);
}

async fn one_locks_a_database_at_a_time<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let (a, b) = (member("a"), member("b"));
    let Locked::Granted(held) = first.lock_database("one", &a).await.expect("it answers") else {
        panic!("nobody had it");
    };
    match second.lock_database("one", &b).await.expect("it answers") {
        Locked::Granted(_) => panic!("two hold it"),
        Locked::Taken { by } => assert!(!by.is_empty()),
    }
    let other = second.lock_database("two", &b).await.expect("it answers");
    assert!(
        matches!(other, Locked::Granted(_)),
        "another database is another lock"
    );
    held.release().await;
    let again = second.lock_database("one", &b).await.expect("it answers");
    assert!(matches!(again, Locked::Granted(_)), "it was released");
    drop(again);
    let again = first.lock_database("one", &a).await.expect("it answers");
    assert!(matches!(again, Locked::Granted(_)), "it was dropped");
}

async fn workers_come_and_go<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let a = first
        .register_worker(&member("a"))
        .await
        .expect("it answers");
    let b = second
        .register_worker(&member("b"))
        .await
        .expect("it answers");
    let mut all = first.workers().await.expect("it answers");
    all.sort_by(|x, y| x.name.cmp(&y.name));
    assert_eq!(all, [member("a"), member("b")]);
    a.release().await;
    assert_eq!(second.workers().await.expect("it answers"), [member("b")]);
    b.release().await;
    assert_eq!(first.workers().await.expect("it answers"), []);
}

async fn the_first_decision_stands<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    assert_eq!(first.decision("q").await.expect("it answers"), None);
    let (one, two) = futures::join!(first.decide("q", "commit"), second.decide("q", "rollback"));
    let (one, two) = (one.expect("it answers"), two.expect("it answers"));
    assert_eq!(one, two, "both are told the same");
    assert_eq!(
        second.decision("q").await.expect("it answers"),
        Some(one.clone())
    );
    assert_eq!(first.decide("q", "other").await.expect("it answers"), one);
    assert_eq!(
        first.decide("r", "other").await.expect("it answers"),
        "other"
    );
}

async fn runs_are_listed<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let mut entry = RunEntry {
        run: RunId::generate(),
        database: "one".to_owned(),
        state: "running".to_owned(),
        order: Some(RunOrder::Forward {
            commit: false,
            options: vec!["--workers=2".to_owned()],
        }),
        orders: 1,
        options: vec!["--workers=2".to_owned()],
        closed: false,
        message: String::new(),
        traceparent: None,
    };
    first.put_run(&entry).await.expect("it answers");
    "prepared".clone_into(&mut entry.state);
    second.put_run(&entry).await.expect("it answers");
    let run = entry.run;
    assert_eq!(first.runs().await.expect("it answers"), [entry]);
    second.forget_run(run).await.expect("it answers");
    assert_eq!(first.runs().await.expect("it answers"), []);
}

/// A fleet that a test can write.
#[must_use]
pub fn fleet(name: &str) -> FleetEntry {
    FleetEntry {
        fleet: name.to_owned(),
        submission: RunId::generate(),
        bytes: 1,
        by: "somebody".to_owned(),
        at: 1,
        waves: vec!["canary".to_owned(), "rest".to_owned()],
        place: FleetPlace::default(),
        orders: Vec::new(),
        taken: Vec::new(),
        under_way: true,
        only_orders: false,
        standing: String::new(),
        states: [].into(),
        failed: 0,
        failures: [].into(),
        message: String::new(),
        traceparent: None,
        carried: Vec::new(),
        notes: None,
        closed: false,
    }
}

async fn fleets_are_kept<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let (mut night, day) = (fleet("night"), fleet("day"));
    first.put_fleet(&night).await.expect("it answers");
    second.put_fleet(&day).await.expect("it answers");
    night.place.opened = 2;
    night.orders.push(GivenOrder {
        id: RunId::generate(),
        order: FleetOrder::Approve { wave: Some(0) },
        by: "somebody".to_owned(),
    });
    first.put_fleet(&night).await.expect("it answers");
    let all = second.fleets().await.expect("it answers");
    assert_eq!(all, [day, night.clone()]);
    second.forget_fleet("day").await.expect("it answers");
    assert_eq!(first.fleets().await.expect("it answers"), [night.clone()]);
    // What would not be read again is not taken.
    night.message = "x".repeat(super::ENTRY_BYTES);
    assert!(first.put_fleet(&night).await.is_err(), "it is too large");
}

async fn submissions_are_kept_in_parts<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let (one, other) = (RunId::generate(), RunId::generate());
    let parts: Vec<Vec<u8>> = (0..12).map(|number| vec![number; PART_BYTES]).collect();
    for (number, part) in (0..).zip(&parts) {
        let put = first.put_submission(one, number, part).await;
        put.expect("it answers");
    }
    let put = second.put_submission(other, 0, b"other").await;
    put.expect("it answers");
    assert_eq!(second.submission(one).await.expect("it answers"), parts);
    let mut all = second.submissions().await.expect("it answers");
    all.sort();
    let mut expected = [one, other];
    expected.sort();
    assert_eq!(all, expected);
    second.forget_submission(one).await.expect("it answers");
    let none: [Vec<u8>; 0] = [];
    assert_eq!(first.submission(one).await.expect("it answers"), none);
    let left = first.submission(other).await.expect("it answers");
    assert_eq!(left, [b"other".to_vec()]);
    assert_eq!(first.submissions().await.expect("it answers"), [other]);
}

async fn watchers_are_told<C: Coordination + Clone>(first: &C) {
    let second = first.clone();
    let mut workers = first.watch(Topic::Workers).await.expect("it answers");
    let mut decisions = first.watch(Topic::Decisions).await.expect("it answers");
    let held = second
        .register_worker(&member("a"))
        .await
        .expect("it answers");
    assert_eq!(soon("to hear of a worker", workers.recv()).await, Some(()));
    held.release().await;
    assert_eq!(soon("to hear that it left", workers.recv()).await, Some(()));
    second.decide("q", "commit").await.expect("it answers");
    assert_eq!(
        soon("to hear of a decision", decisions.recv()).await,
        Some(())
    );
}
