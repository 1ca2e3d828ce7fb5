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
