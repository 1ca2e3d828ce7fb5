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
