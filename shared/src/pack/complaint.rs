//! A complaint about a pack: file, line, column, what is wrong and what to do, with the line shown.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A place in a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Path relative to the pack's root.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Where.
    pub location: Location,
    /// What is wrong and what to do: a lowercase fragment.
    pub message: String,
    /// The line of the file, as it stands there.
    pub source_line: String,
}

impl Complaint {
    /// Renders complaints the way compilers do: message, place, line, caret.
    #[must_use]
    pub fn render_all(complaints: &[Self]) -> String {
        complaints
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        writeln!(f, "  --> {}", self.location)?;
        let number = self.location.line.to_string();
        let caret = " ".repeat(self.location.column.saturating_sub(1) as usize);
        writeln!(f, "{number} | {}", self.source_line)?;
        write!(f, "{} | {caret}^", " ".repeat(number.len()))
    }
}
