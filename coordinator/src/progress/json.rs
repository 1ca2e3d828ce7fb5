//! Progress for programs: one JSON object a line, every event of it.

use std::{io::Write, time::Duration};

use serde::Serialize;

use super::{Progress, ProgressEvent, write_line};

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    pub(super) out: W,
    database: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since the start.
    at: f64,
    /// In a group: which of its databases.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(flatten)]
    event: &'a ProgressEvent,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            database: None,
        }
    }

    /// Writes to `out`, for this database of a group.
    pub fn of(database: String, out: W) -> Self {
        Self {
            out,
            database: Some(database),
        }
    }
}

impl<W: Write + Send> Progress for Json<W> {
    fn show(&mut self, at: Duration, event: &ProgressEvent) {
        let line = Line {
            at: (at.as_secs_f64() * 1e6).round() / 1e6,
            database: self.database.as_deref(),
            event,
        };
        if let Ok(text) = serde_json::to_string(&line) {
            write_line(&mut self.out, &text);
        }
    }
}
