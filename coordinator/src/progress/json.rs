//! Progress for programs: one JSON object a line, every event of it.

use std::{io::Write, time::Duration};

use serde::Serialize;

use super::{Progress, ProgressEvent, write_line};

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    pub(super) out: W,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since the start.
    at: f64,
    #[serde(flatten)]
    event: &'a ProgressEvent,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Progress for Json<W> {
    fn show(&mut self, at: Duration, event: &ProgressEvent) {
        let line = Line {
            at: (at.as_secs_f64() * 1e6).round() / 1e6,
            event,
        };
        if let Ok(text) = serde_json::to_string(&line) {
            write_line(&mut self.out, &text);
        }
    }
}
