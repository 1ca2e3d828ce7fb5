//! What whoever conducts a fleet tells on the way: failures, waves, and now and then how far it is.

use std::time::Duration;

use serde_json::json;
use upshift_shared::clock::Stopwatch;

use super::{
    super::database::print_line,
    folder::Done,
    shown::{one_line, printable},
};
use crate::{
    figures,
    fleet::{FleetOrder, MemberState, Tally},
};

/// How often it is told how far it is.
const EVERY: Duration = Duration::from_secs(5);

/// Where it is told.
#[derive(Debug)]
pub(in crate::command) struct Telling {
    /// A line of JSON each, on standard output.
    json: bool,
    quiet: bool,
    /// The command that approves a wave, without its name.
    approve: String,
    told: Stopwatch,
    /// What was told last.
    last: String,
    /// How it stood then.
    standing: String,
}

impl Telling {
    pub(super) fn new(json: bool, quiet: bool, approve: String) -> Self {
        Self {
            json,
            quiet,
            approve,
            told: Stopwatch::start(),
            last: String::new(),
            standing: String::new(),
        }
    }

    /// Whoever wants to know asks.
    pub(in crate::command) fn silent() -> Self {
        Self::new(false, true, String::new())
    }

    /// Something that is good to know.
    pub(super) fn say(&self, text: &str) {
        if !self.json && !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Something that should be known.
    pub(super) fn warn(&self, text: &str) {
        if !self.json {
            eprintln!("upshift: warning: {text}");
        }
    }

    pub(super) fn ordered(&self, order: &FleetOrder) {
        if self.json {
            print_line(&json!({"event": "ordered", "order": order}).to_string());
            return;
        }
        let what = match order {
            FleetOrder::Pause => "pause",
            FleetOrder::Resume => "resume",
            FleetOrder::Approve { .. } => "approve",
            FleetOrder::Abort => "abort",
            FleetOrder::Retry(_) => "retry",
            FleetOrder::RollBack(_) => "rollback",
            FleetOrder::RollBackByForce(_) => "rollback --force",
            FleetOrder::Commit(_) => "commit",
        };
        self.say(&format!("ordered: {what}"));
    }

    /// It waits, and for what: that is told once.
    pub(super) fn stands(&mut self, standing: &str, waits: bool) {
        if self.standing == standing {
            return;
        }
        standing.clone_into(&mut self.standing);
        if !waits {
            return;
        }
        if self.json {
            print_line(&json!({"event": "waits", "standing": standing}).to_string());
            return;
        }
        self.say(&format!("it waits: {standing}"));
    }

    /// Something was done to a member: those that failed are told of, the others are counted.
    pub(super) fn ended(&self, done: &Done) {
        if self.json {
            print_line(&json!({"event": "done", "done": done}).to_string());
            return;
        }
        let member = printable(&done.member.to_string());
        if let Some(why) = &done.why {
            let outcome = done.outcome.replace('_', " ");
            self.say(&format!(
                "{member}: {outcome}: {}",
                printable(&one_line(why))
            ));
        }
    }

    pub(super) fn wave_ended(&self, wave: &str, tally: &Tally) {
        let (members, failed) = (tally.members(), tally.failed);
        if self.json {
            let line = json!({
                "event": "wave_ended", "wave": wave, "members": members, "failed": failed,
            });
            print_line(&line.to_string());
            return;
        }
        let of = figures::counted(u64::from(members), "database");
        self.say(&format!("wave {wave} has ended: {of}, {failed} failed"));
    }

    pub(super) fn awaits_approval(&self, wave: &str) {
        if self.json {
            print_line(&json!({"event": "awaits_approval", "wave": wave}).to_string());
            return;
        }
        self.say(&format!(
            "what comes after wave {wave} waits to be approved: {} {}",
            self.approve,
            super::super::database::shell_quoted(wave)
        ));
    }

    /// Now and then, where it has changed.
    pub(super) fn progress(&mut self, tally: &Tally) {
        if self.json || self.quiet || self.told.elapsed() < EVERY {
            return;
        }
        self.told = Stopwatch::start();
        let states = MemberState::ALL.into_iter().filter_map(|state| {
            let count = tally.of(state);
            (count > 0).then(|| {
                let word = state.as_str().replace('_', " ");
                format!("{} {word}", figures::count(u64::from(count)))
            })
        });
        let line = states.collect::<Vec<_>>().join(", ");
        if line != self.last {
            self.say(&line);
            self.last = line;
        }
    }
}
