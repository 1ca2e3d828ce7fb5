//! What the compiler complains about: the pack, or the pack against this database.

use upshift_shared::pack::Complaint;

/// The compiler's error. All of it is the user's to mend (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Complaints with file, line and column. All that were found, not only the first.
    #[error("{}", Complaint::render_all(.0))]
    Complaints(Vec<Complaint>),
    /// A fact about pack and database as a whole: cycles, missing modules.
    #[error("{0}")]
    Whole(String),
}

/// Why one statement cannot be bound. `analyse` makes a [`upshift_shared::pack::Complaint`] of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// Byte offset in the statement's text, where one place is to blame.
    pub position: Option<usize>,
    /// What is wrong and what to do: a lowercase fragment.
    pub message: String,
}

impl BindError {
    /// Without a place: the statement as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            position: None,
            message: message.into(),
        }
    }

    /// At a byte offset, as the parse tree's `location` fields give it (-1 for none).
    pub fn at(location: i32, message: impl Into<String>) -> Self {
        Self {
            position: usize::try_from(location).ok(),
            message: message.into(),
        }
    }
}
