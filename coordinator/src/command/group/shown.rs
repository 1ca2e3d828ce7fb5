//! What the runs of a group show, all in one output: every line says of which database it is.

use std::io::{self, Write};

use super::super::driving::DrivingArguments;
use crate::progress::{Json, Lines, Progress, Silent};

/// The progress of one database.
pub(super) fn progress(arguments: &DrivingArguments, member: &str) -> Box<dyn Progress> {
    if arguments.quiet {
        Box::new(Silent)
    } else if arguments.json {
        Box::new(Json::of(member.to_owned(), io::stdout()))
    } else {
        Box::new(Lines::new(Prefixed::new(member, io::stderr())))
    }
}

/// Writes whole lines, each behind the name of its database.
struct Prefixed<W> {
    prefix: String,
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Prefixed<W> {
    fn new(member: &str, out: W) -> Self {
        Self {
            prefix: format!("{member}: "),
            line: Vec::new(),
            out,
        }
    }
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                // At once, so that lines of several databases do not mix.
                self.out
                    .write_all(&[self.prefix.as_bytes(), &line].concat())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_database() {
        let mut out = Vec::new();
        let mut prefixed = Prefixed::new("a", &mut out);
        write!(prefixed, "one {}\ntwo\nth", 1).expect("memory");
        writeln!(prefixed, "ree").expect("memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "a: one 1\na: two\na: three\n"
        );
    }
}
