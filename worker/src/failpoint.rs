//! Points at which a test can make the process die, as `kill -9` would: `UPSHIFT_FAILPOINT=name` or
//! `name:n` for the n-th time that the point is reached. Off, a point costs one load.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

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

/// Every point, for tests that go through all of them.
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

struct Armed {
    name: String,
    nth: u64,
    reached: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

fn armed() -> Option<&'static Armed> {
    ARMED
        .get_or_init(|| {
            let setting = std::env::var("UPSHIFT_FAILPOINT").ok()?;
            let (name, nth) = match setting.split_once(':') {
                Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
                None => (setting, 1),
            };
            Some(Armed {
                name,
                nth,
                reached: AtomicU64::new(0),
            })
        })
        .as_ref()
}

/// The process has come to this point; it ends here if a test wants so.
pub fn reach(name: &'static str) {
    let Some(armed) = armed() else {
        return;
    };
    if armed.name == name && armed.reached.fetch_add(1, Ordering::Relaxed) + 1 == armed.nth {
        // Not exit(): nothing may be flushed, closed or rolled back on the way.
        std::process::abort();
    }
}
