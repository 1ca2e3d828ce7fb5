//! The last of what happened, for a seed that fails, and a digest of all of it, by which two runs of one seed
//! are compared.

use std::{collections::VecDeque, fmt};

use super::{process::Node, queue::Millis};

/// So many of the last events are shown.
const LAST: usize = 60;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
struct Line {
    at: Millis,
    node: Node,
    what: &'static str,
    numbers: [i64; 3],
}

/// The last events.
#[derive(Debug)]
pub(super) struct Trace {
    lines: VecDeque<Line>,
    pub(super) digest: u64,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            lines: VecDeque::with_capacity(LAST),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) fn note(&mut self, at: Millis, node: Node, what: &'static str, numbers: [i64; 3]) {
        if self.lines.len() == LAST {
            self.lines.pop_front();
        }
        let mut mix = |number: u64| {
            // FNV-1a, by words.
            self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01b3);
        };
        mix(at);
        mix(what.len() as u64);
        for number in numbers {
            mix(number as u64);
        }
        self.lines.push_back(Line {
            at,
            node,
            what,
            numbers,
        });
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let Line {
                at,
                node,
                what,
                numbers: [a, b, c],
            } = line;
            let seconds = *at as f64 / 1000.0;
            writeln!(f, "  {seconds:8.3} {node}: {what} ({a}, {b}, {c})")?;
        }
        Ok(())
    }
}
