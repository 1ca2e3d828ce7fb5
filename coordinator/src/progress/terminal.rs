//! Progress on a terminal: a bar for each running task, one for the whole.

use std::time::Duration;

use super::{Lines, Progress, ProgressEvent};

/// Draws bars on standard error.
#[derive(Debug)]
pub struct Terminal {
    lines: Lines<std::io::Stderr>,
}

impl Terminal {
    /// Nothing is drawn before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: Lines::new(std::io::stderr()),
        }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Terminal {
    fn show(&mut self, at: Duration, event: &ProgressEvent) {
        self.lines.show(at, event);
    }
}
