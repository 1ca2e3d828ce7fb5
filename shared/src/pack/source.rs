//! A file of a pack: its text, and places in it; what was found to be wrong with the pack.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

use super::{Complaint, Location};

/// Longest part of a line that a complaint shows, in characters.
const SHOWN: usize = 2_000;

/// What reading a pack found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Errors: the pack cannot be used.
    pub(super) complaints: Vec<Complaint>,
    /// Things that a reader should know; the pack can be used.
    pub(super) remarks: Vec<Complaint>,
}

impl Findings {
    /// Complains about a file or folder as a whole.
    pub(super) fn complain_whole(&mut self, path: &Path, message: impl Into<String>) {
        self.complaints.push(Complaint {
            location: Location {
                file: path.to_owned(),
                line: 1,
                column: 1,
            },
            message: message.into(),
            source_line: String::new(),
        });
    }

    /// Complains about a place.
    pub(super) fn complain(&mut self, source: &Source, offset: usize, message: impl Into<String>) {
        self.complaints.push(source.complaint(offset, message));
    }

    /// Remarks on a place.
    pub(super) fn remark(&mut self, source: &Source, offset: usize, message: impl Into<String>) {
        self.remarks.push(source.complaint(offset, message));
    }
}

/// A text file of a pack.
#[derive(Debug)]
pub(super) struct Source {
    /// Path relative to the pack's root.
    pub(super) path: PathBuf,
    /// Its text, without a byte order mark.
    pub(super) text: String,
    line_starts: Vec<usize>,
    /// Where the last column was counted to, so that many places on one long line stay linear:
    /// (start of line, offset, characters between).
    counted: Cell<(usize, usize, u32)>,
}

impl Source {
    /// From a text.
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            path,
            text,
            line_starts,
            counted: Cell::new((0, 0, 0)),
        }
    }

    /// Reads a file; what keeps it from being one is a complaint.
    pub(super) fn read(root: &Path, path: &Path, findings: &mut Findings) -> Option<Self> {
        let bytes = match fs::read(root.join(path)) {
            Ok(bytes) => bytes,
            Err(e) => {
                findings.complain_whole(path, format!("this file cannot be read: {e}"));
                return None;
            }
        };
        if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
            findings.complain_whole(path, "this file is UTF-16: save it as UTF-8");
            return None;
        }
        let bytes = bytes
            .strip_prefix(&[0xEF, 0xBB, 0xBF])
            .map_or(bytes.as_slice(), |rest| rest);
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let source = Self::new(path.to_owned(), text.to_owned());
                if let Some(nul) = source.text.find('\0') {
                    findings.complain(
                        &source,
                        nul,
                        "a NUL character, which PostgreSQL cannot take: remove it",
                    );
                    return None;
                }
                Some(source)
            }
            Err(e) => {
                let valid = e.valid_up_to();
                let source =
                    Self::new(path.to_owned(), String::from_utf8_lossy(bytes).into_owned());
                findings.complain(
                    &source,
                    valid,
                    format!(
                        "byte 0x{:02X} is not UTF-8: save the file as UTF-8",
                        bytes[valid]
                    ),
                );
                None
            }
        }
    }

    /// The place of a byte offset.
    pub(super) fn location(&self, offset: usize) -> Location {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_of(offset);
        let start = self.line_starts[line];
        let (counted_start, counted_to, count) = self.counted.get();
        let (from, before) = if counted_start == start && counted_to <= offset {
            (counted_to.max(start), count)
        } else {
            (start, 0)
        };
        let characters = before + number(self.text[from..offset].chars().count());
        self.counted.set((start, offset, characters));
        Location {
            file: self.path.clone(),
            line: number(line) + 1,
            column: characters + 1,
        }
    }

    /// A complaint about a byte offset.
    pub(super) fn complaint(&self, offset: usize, message: impl Into<String>) -> Complaint {
        let line = self.line_of(offset.min(self.text.len()));
        let start = self.line_starts[line];
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |length| start + length);
        Complaint {
            location: self.location(offset),
            message: message.into(),
            source_line: self.text[start..end]
                .trim_end_matches('\r')
                .chars()
                .take(SHOWN)
                .collect(),
        }
    }

    /// Whether two offsets stand on one line.
    pub(super) fn same_line(&self, a: usize, b: usize) -> bool {
        self.line_of(a) == self.line_of(b)
    }

    /// The offset behind the end of the line of `offset`.
    pub(super) fn next_line(&self, offset: usize) -> usize {
        self.line_starts
            .get(self.line_of(offset) + 1)
            .copied()
            .unwrap_or(self.text.len())
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
