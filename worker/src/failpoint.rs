//! Points at which a test can make the process die, as `kill -9` would, or wait. Off, a point costs one
//! load.
//!
//! - `UPSHIFT_FAILPOINT=POINT` makes it die there;
//! - `UPSHIFT_FAILPOINT_PAUSE=POINT` makes it wait there: it writes the file that
//!   `UPSHIFT_FAILPOINT_FILE` names and goes on once somebody has deleted it, or after two minutes;
//! - `UPSHIFT_FAILPOINT_TRACE=FILE` appends a line to this file for each point that is reached: name, task,
//!   kind of operator, with tabs between them.
//!
//! A POINT is `name`, `name@task` (`before_commit@t3`) or `name@kind` (`before_commit@shadow swap`, see
//! [`Operator::KINDS`](upshift_shared::plan::Operator::KINDS)), with `:n` behind it for the n-th time that
//! it is reached. Which way the process goes is the test's choice of the command.
//!
//! A new point: a constant, its place in one of the lists, and [`at`] (or [`reach`], where no task is
//! concerned) where it lies. `tests/tests/faults.rs` finds out who passes it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use upshift_shared::{clock::Stopwatch, plan::Task};

/// Before the unit's transaction begins.
pub const BEFORE_LOCK: &str = "before_lock";
/// The fence is held, nothing is written.
pub const AFTER_LOCK: &str = "after_lock";
/// The ledger row is written, the work not begun.
pub const AFTER_LEDGER_ROW: &str = "after_ledger_row";
/// The work is done, its rows not yet recorded.
pub const AFTER_WORK: &str = "after_work";
/// All is written, nothing committed.
pub const BEFORE_COMMIT: &str = "before_commit";
/// Committed, nobody told.
pub const AFTER_COMMIT: &str = "after_commit";
/// Work outside a transaction: `started` is recorded, the work not begun.
pub const AFTER_STARTED: &str = "after_started";
/// The undo is claimed, its work not begun.
pub const DURING_UNDO: &str = "during_undo";
/// A task's preparation, before it commits.
pub const DURING_PREPARE: &str = "during_prepare";
/// The deferred destruction of commit, before it commits.
pub const DURING_DESTRUCTION: &str = "during_destruction";

/// The new table is made, what the pack does to its shape is not done.
pub const DURING_BUILD: &str = "during_build";
/// The old table is out of sight, the new one not in its place; on the way back the other way round.
pub const DURING_SWAP: &str = "during_swap";
/// Between two keys that are validated, or before the only one.
pub const DURING_KEYS: &str = "during_keys";

/// A unit is about to be searched for bad rows.
pub const DURING_SEARCH: &str = "during_search";

/// All units of a task are done, or undone, and it is not recorded yet.
pub const BEFORE_RECORD: &str = "before_record";
/// It is recorded.
pub const AFTER_RECORD: &str = "after_record";
/// What a task kept is cleared away after its undo, it is not yet recorded as undone.
pub const DURING_RECORD: &str = "during_record";
/// Before a checkpoint is recorded.
pub const BEFORE_CHECKPOINT: &str = "before_checkpoint";
/// After that.
pub const AFTER_CHECKPOINT: &str = "after_checkpoint";
/// Before the end of a run, or of its way back, is recorded.
pub const BEFORE_END: &str = "before_end";
/// After that, nobody told.
pub const AFTER_END: &str = "after_end";
/// A rollback: it is recorded that the run goes back, and nothing has.
pub const AFTER_ROLLING_BACK: &str = "after_rolling_back";
/// A rollback: retries of quarantined rows are taken back, and nothing else.
pub const AFTER_RETRIES_BACK: &str = "after_retries_back";
/// A commit, before the decision.
pub const BEFORE_DECISION: &str = "before_decision";
/// The run is committed, nothing destroyed.
pub const AFTER_DECISION: &str = "after_decision";

/// Points that units pass, whatever their operator.
pub const ALL: [&str; 10] = [
    BEFORE_LOCK,
    AFTER_LOCK,
    AFTER_LEDGER_ROW,
    AFTER_WORK,
    BEFORE_COMMIT,
    AFTER_COMMIT,
    AFTER_STARTED,
    DURING_UNDO,
    DURING_PREPARE,
    DURING_DESTRUCTION,
];

/// Points within stages of a pass.
pub const STAGES: [&str; 3] = [DURING_BUILD, DURING_SWAP, DURING_KEYS];

/// Points that only units with bad rows pass.
pub const SEARCH: [&str; 1] = [DURING_SEARCH];

/// Points of whoever drives the run.
pub const DRIVER: [&str; 11] = [
    BEFORE_RECORD,
    AFTER_RECORD,
    DURING_RECORD,
    BEFORE_CHECKPOINT,
    AFTER_CHECKPOINT,
    BEFORE_END,
    AFTER_END,
    AFTER_RETRIES_BACK,
    AFTER_ROLLING_BACK,
    BEFORE_DECISION,
    AFTER_DECISION,
];

/// Every list, for tests that go through all points.
pub const LISTS: [&[&str]; 4] = [&ALL, &STAGES, &SEARCH, &DRIVER];

/// An edited pack: the tasks that are taken back first are open again, and still in effect.
pub const AFTER_REOPEN: &str = "after_reopen";
/// They are taken back, the new plan is not stored.
pub const AFTER_TAKE_BACK: &str = "after_take_back";
/// The new plan is stored, nothing of it done.
pub const AFTER_NEW_PLAN: &str = "after_new_plan";

/// Every point of `resume --pack` before it goes on: only that command comes there.
pub const EDITED: [&str; 3] = [AFTER_REOPEN, AFTER_TAKE_BACK, AFTER_NEW_PLAN];

/// A cluster's coordinator: the ledger has a run that was submitted, and nothing says yet that it is to be
/// driven. Only coordinators come here, once a submission.
pub const AFTER_SUBMIT: &str = "after_submit";

/// A cut of a group of databases: nothing is prepared.
pub const GROUP_BEFORE_PREPARE: &str = "group_before_prepare";
/// Prepared in one database, not in the next.
pub const GROUP_BETWEEN_PREPARES: &str = "group_between_prepares";
/// Prepared in all of them, not decided.
pub const GROUP_BEFORE_DECISION: &str = "group_before_decision";
/// Decided, nothing of it committed.
pub const GROUP_AFTER_DECISION: &str = "group_after_decision";
/// Committed in one database, not in the next.
pub const GROUP_BETWEEN_COMMITS: &str = "group_between_commits";
/// Committed in all of them, nobody told.
pub const GROUP_AFTER_COMMITS: &str = "group_after_commits";

/// Every point of a cut of a group: only runs of groups come there, once a cut.
pub const GROUP: [&str; 6] = [
    GROUP_BEFORE_PREPARE,
    GROUP_BETWEEN_PREPARES,
    GROUP_BEFORE_DECISION,
    GROUP_AFTER_DECISION,
    GROUP_BETWEEN_COMMITS,
    GROUP_AFTER_COMMITS,
];

/// What a crash has left of a cut is ended in one database, not yet in the next.
pub const GROUP_DURING_RECOVERY: &str = "group_during_recovery";

/// Nobody waits at a point longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How often a pause looks for its file.
const LOOK: Duration = Duration::from_millis(5);

/// What is to happen, as the environment has it.
struct Setting {
    die: Option<Armed>,
    pause: Option<(Armed, PathBuf)>,
    trace: Option<PathBuf>,
}

/// A point that is waited for.
struct Armed {
    name: String,
    /// A task, or a kind of operator.
    subject: Option<String>,
    nth: u64,
    reached: AtomicU64,
}

impl Armed {
    fn read(variable: &str) -> Option<Self> {
        std::env::var(variable).ok().map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let (place, nth) = match text.rsplit_once(':') {
            Some((place, nth)) => (place, nth.parse().unwrap_or(1)),
            None => (text, 1),
        };
        let (name, subject) = match place.split_once('@') {
            Some((name, subject)) => (name, Some(subject.to_owned())),
            None => (place, None),
        };
        Self {
            name: name.to_owned(),
            subject,
            nth,
            reached: AtomicU64::new(0),
        }
    }

    /// Whether this is the time.
    fn is_now(&self, name: &str, task: Option<&Task>) -> bool {
        let concerns = match (&self.subject, task) {
            (None, _) => true,
            (Some(subject), Some(task)) => {
                task.operator.kind() == subject || task.id.to_string() == *subject
            }
            (Some(_), None) => false,
        };
        self.name == name
            && concerns
            && self.reached.fetch_add(1, Ordering::Relaxed) + 1 == self.nth
    }
}

static SETTING: OnceLock<Option<Setting>> = OnceLock::new();

fn setting() -> Option<&'static Setting> {
    SETTING
        .get_or_init(|| {
            let file = std::env::var_os("UPSHIFT_FAILPOINT_FILE").map(PathBuf::from);
            let setting = Setting {
                die: Armed::read("UPSHIFT_FAILPOINT"),
                pause: Armed::read("UPSHIFT_FAILPOINT_PAUSE").zip(file),
                trace: std::env::var_os("UPSHIFT_FAILPOINT_TRACE").map(PathBuf::from),
            };
            let on = setting.die.is_some() || setting.pause.is_some() || setting.trace.is_some();
            on.then_some(setting)
        })
        .as_ref()
}

/// The process has come to this point, which concerns no task; it ends here if a test wants so.
pub fn reach(name: &'static str) {
    if let Some(setting) = setting() {
        arrive(setting, name, None);
    }
}

/// The process has come to this point of a task; it waits or ends here if a test wants so.
pub async fn at(name: &'static str, task: &Task) {
    let Some(setting) = setting() else {
        return;
    };
    if let Some((armed, file)) = &setting.pause
        && armed.is_now(name, Some(task))
    {
        pause(file, name, task).await;
    }
    arrive(setting, name, Some(task));
}

fn arrive(setting: &Setting, name: &str, task: Option<&Task>) {
    if let Some(file) = &setting.trace {
        let (id, kind) = match task {
            Some(task) => (task.id.to_string(), task.operator.kind()),
            None => ("-".to_owned(), "-"),
        };
        let line = format!("{name}\t{id}\t{kind}\n");
        let opened = OpenOptions::new().append(true).create(true).open(file);
        let _only_for_tests = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    if setting
        .die
        .as_ref()
        .is_some_and(|armed| armed.is_now(name, task))
    {
        // Not exit(): nothing may be flushed, closed or rolled back on the way.
        std::process::abort();
    }
}

/// Says that it is here, and waits until it may go on.
async fn pause(file: &PathBuf, name: &str, task: &Task) {
    let watch = Stopwatch::start();
    if let Err(error) = fs::write(file, format!("{name} {}", task.id)) {
        tracing::warn!(%error, "no pause at {name}");
        return;
    }
    while file.exists() && watch.elapsed() < LONGEST_PAUSE {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_may_name_a_subject_and_a_time() {
        for (text, name, subject, nth) in [
            ("before_lock", "before_lock", None, 1),
            ("before_lock:7", "before_lock", None, 7),
            ("before_lock@t3", "before_lock", Some("t3"), 1),
            (
                "after_work@shadow swap:2",
                "after_work",
                Some("shadow swap"),
                2,
            ),
        ] {
            let armed = Armed::parse(text);
            assert_eq!(armed.name, name, "{text}");
            assert_eq!(armed.subject.as_deref(), subject, "{text}");
            assert_eq!(armed.nth, nth, "{text}");
        }
    }
}
