//! Who gets a table, and when.

use upshift_shared::ids::TaskId;

use super::{
    Access::{self, Alone, Read, Write},
    schedule::{Dependents, Place, Schedule, Wants, critical_paths},
    script::task,
};

const SECOND: u64 = 1_000_000;

/// Tasks by number: what each uses, how long it takes, and how long the path from it is.
type Tasks = [(Vec<(u32, Access)>, u64, u64)];

fn wants<'t>(tasks: &'t Tasks) -> impl Fn(u32) -> Wants<'t> {
    |task| {
        let (uses, micros, _) = &tasks[task as usize];
        Wants {
            uses,
            micros: *micros,
        }
    }
}

fn ready(schedule: &mut Schedule, tasks: &Tasks, task: u32) {
    schedule.ready(Place::new(tasks[task as usize].2, task));
}

/// A task that wants two tables, short ones that want one of them, and which end one after the other: whether
/// it comes to begin before those that came after it.
fn begins_before_later_ones(short: u64, long: u64) -> bool {
    let mut tasks = vec![(vec![(1, Alone), (2, Alone)], SECOND, long)];
    tasks.extend((1..=6).map(|n| (vec![(1 + n % 2, Write)], short, short)));
    let mut schedule = Schedule::default();
    for first in [1, 2] {
        ready(&mut schedule, &tasks, first);
        assert_eq!(schedule.admit(wants(&tasks)), Some(first));
    }
    ready(&mut schedule, &tasks, 0);
    assert_eq!(schedule.admit(wants(&tasks)), None);
    for (ended, next) in [(1, 3), (2, 4), (3, 5), (4, 6)] {
        ready(&mut schedule, &tasks, next);
        schedule.release(ended, &tasks[ended as usize].0);
        match schedule.admit(wants(&tasks)) {
            Some(0) => return true,
            Some(begun) => assert_eq!(begun, next),
            // It waits for the other table.
            None => assert_eq!(ended, 1),
        }
    }
    false
}

#[test]
fn short_tasks_do_not_keep_one_from_its_tables() {
    assert!(begins_before_later_ones(SECOND, 4 * SECOND));
}

#[test]
fn tables_do_not_lie_idle_for_one_that_waits_long() {
    assert!(!begins_before_later_ones(2 * SECOND, 4 * SECOND));
}

#[test]
fn readers_keep_out_only_who_wants_it_alone() {
    let tasks = [
        (vec![(1, Read)], SECOND, 9),
        (vec![(1, Write)], SECOND, 8),
        (vec![(1, Read)], SECOND, 7),
        (vec![(1, Alone)], SECOND, 6),
        (vec![(1, Read)], SECOND, 5),
    ];
    let mut schedule = Schedule::default();
    (0..5).for_each(|task| ready(&mut schedule, &tasks, task));
    let mut begun = Vec::new();
    while let Some(task) = schedule.admit(wants(&tasks)) {
        begun.push(task);
    }
    assert_eq!(begun, [0, 1, 2, 4]);
    for ended in [1, 0, 4] {
        schedule.release(ended, &tasks[ended as usize].0);
        assert_eq!(schedule.admit(wants(&tasks)), None);
    }
    schedule.release(2, &tasks[2].0);
    assert_eq!(schedule.admit(wants(&tasks)), Some(3));
}

#[test]
fn what_writes_one_table_comes_one_after_the_other() -> Result<(), String> {
    // Two tasks behind the first one write table 1, one writes table 2.
    let mut tasks = vec![task(0, &[]), task(1, &[0]), task(2, &[0]), task(3, &[0])];
    for (task, seconds, table) in [(0, 1.0, 0), (1, 2.0, 1), (2, 3.0, 1), (3, 4.0, 2)] {
        tasks[task].seconds = seconds;
        tasks[task].tables = vec![(table, Write)];
    }
    let index = (0..4).map(|place| (TaskId(place), place)).collect();
    let paths = critical_paths(&tasks, &Dependents::new(&tasks, &index)?)?;
    assert_eq!(paths, [6, 2, 3, 4].map(|seconds| seconds * SECOND));
    Ok(())
}
