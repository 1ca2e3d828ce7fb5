//! How a fleet stands, for people and programs: a summary by state and a table of members.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    figures,
    fleet::{Fleet, FleetEnd, MemberId, MemberState, Standing, Tally},
};

/// A fleet, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::command) struct Shown {
    pub(in crate::command) fleet: String,
    /// Seconds since 1970.
    pub(in crate::command) at: u64,
    /// Whether a process conducts it.
    pub(in crate::command) conducted: bool,
    /// In words.
    pub(in crate::command) standing: String,
    /// Members by state; states that nobody is in are left out.
    pub(in crate::command) states: BTreeMap<String, u32>,
    /// Those that count as failed, rolled back by now or not.
    pub(in crate::command) failed: u32,
    /// Those that an order which this process has carried out did not bring where it was to.
    #[serde(skip)]
    pub(in crate::command) missed: Vec<String>,
    pub(in crate::command) waves: Vec<ShownWave>,
    /// In the order of the fleet.
    pub(in crate::command) members: Vec<ShownMember>,
}

/// A wave, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::command) struct ShownWave {
    pub(super) name: String,
    pub(super) members: u32,
    pub(in crate::command) states: BTreeMap<String, u32>,
}

/// A member, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::command) struct ShownMember {
    pub(super) name: String,
    pub(super) server: String,
    /// `None` for one that is left alone.
    pub(super) wave: Option<String>,
    pub(super) state: MemberState,
    /// Whether it counts as failed, rolled back by now or not.
    pub(super) failed: bool,
    /// Why it waits, has failed or was left alone.
    pub(super) reason: Option<String>,
}

impl Shown {
    pub(in crate::command) fn of(fleet: &Fleet, now: Duration, conducted: bool) -> Self {
        let waves = &fleet.order().waves;
        let of_wave = |wave: u32| waves.get(wave as usize).map(|wave| wave.name.clone());
        let member = |member: MemberId| {
            let state = fleet.state(member);
            let reason = fleet.reason(member).map(|reason| reason.to_string());
            ShownMember {
                name: fleet.name(member).to_string(),
                server: fleet.server(member).to_owned(),
                failed: fleet.has_failed(member),
                wave: fleet.wave(member).and_then(of_wave),
                // One that is at work needs no more words than its state.
                reason: reason.filter(|reason| reason != state.as_str()),
                state,
            }
        };
        let of_waves = (0..).zip(waves).map(|(number, wave)| {
            let tally = fleet.tally(Some(number));
            ShownWave {
                name: wave.name.clone(),
                members: tally.members(),
                states: by_state(&tally),
            }
        });
        let tally = fleet.tally(None);
        Self {
            fleet: fleet.order().name.clone(),
            at: now.as_secs(),
            conducted,
            standing: standing(fleet, now, conducted),
            states: by_state(&tally),
            failed: tally.failed,
            missed: Vec::new(),
            waves: of_waves.collect(),
            members: fleet.members().map(member).collect(),
        }
    }

    /// The same without the members.
    pub(in crate::command) fn without_members(&self) -> Self {
        Self {
            fleet: self.fleet.clone(),
            at: self.at,
            conducted: self.conducted,
            standing: self.standing.clone(),
            states: self.states.clone(),
            failed: self.failed,
            missed: self.missed.clone(),
            waves: self.waves.clone(),
            members: Vec::new(),
        }
    }

    /// How a fleet stands that no process conducts: by its place and the ledgers.
    pub(in crate::command) fn at_rest(mut fleet: Fleet, now: Duration) -> Self {
        fleet.look();
        Self::of(&fleet, now, false)
    }

    /// How it stands, a line a wave, and the members: all of them, or those that something is to be said of.
    pub(in crate::command) fn text(&self, all: bool) -> String {
        let mut text = format!(
            "fleet {}: {}, {}",
            self.fleet,
            figures::counted(u64::from(self.states.values().sum::<u32>()), "database"),
            self.standing
        );
        if !self.conducted {
            text.push_str("; no process conducts it");
        }
        text.push_str(&format!("\n  {}\n", in_words(&self.states)));
        if self.waves.len() > 1 {
            for wave in &self.waves {
                text.push_str(&format!(
                    "wave {}: {}\n",
                    wave.name,
                    match wave.members {
                        0 => "no database".to_owned(),
                        _ => in_words(&wave.states),
                    }
                ));
            }
        }
        let widest = self
            .members
            .iter()
            .map(|member| member.name.chars().count());
        let width = widest.max().unwrap_or_default().min(48);
        for member in &self.members {
            let tells = member.state.is_active()
                || (member.state.has_ended() && member.reason.is_some())
                || member.failed;
            if !all && !tells {
                continue;
            }
            let reason = member.reason.as_deref().unwrap_or_default();
            let line = format!(
                "  {:width$}  {:16}  {}",
                printable(&member.name),
                member.state.as_str().replace('_', " "),
                printable(&one_line(reason))
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A name may have anything in it; a terminal is not to heed it.
pub(super) fn printable(name: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(shown).collect()
}

/// Several lines as one.
pub(super) fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

fn by_state(tally: &Tally) -> BTreeMap<String, u32> {
    let states = MemberState::ALL.into_iter();
    let counted = states.map(|state| (state.as_str().to_owned(), tally.of(state)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// `3 prepared, 1 failed`
pub(in crate::command) fn in_words(states: &BTreeMap<String, u32>) -> String {
    let in_order = MemberState::ALL.into_iter().filter_map(|state| {
        let count = states.get(state.as_str())?;
        let count = figures::count(u64::from(*count));
        Some(format!("{count} {}", state.as_str().replace('_', " ")))
    });
    in_order.collect::<Vec<_>>().join(", ")
}

impl Shown {
    /// The same where nobody works for those that are worked on.
    pub(super) fn without_workers(self) -> Self {
        Self {
            standing: "waits for a worker: none is connected".to_owned(),
            ..self
        }
    }
}

fn standing(fleet: &Fleet, now: Duration, conducted: bool) -> String {
    let name = |wave: u32| {
        let wave = fleet.order().waves.get(wave as usize);
        wave.map(|wave| wave.name.clone()).unwrap_or_default()
    };
    match fleet.standing() {
        Standing::Going if conducted => "under way".to_owned(),
        Standing::Going => "not done".to_owned(),
        Standing::Paused => "paused".to_owned(),
        Standing::AwaitsApproval { wave } => {
            format!("wave {} has ended and waits to be approved", name(wave))
        }
        Standing::OutsideWindow { opens: None } => "the window is closed".to_owned(),
        Standing::OutsideWindow { opens: Some(at) } => format!(
            "the window is closed, and opens in {}",
            figures::seconds(at.saturating_sub(now).as_secs_f64())
        ),
        Standing::Ended(end) => ended(end, name),
    }
}

/// How a fleet has ended, in words.
pub(super) fn ended(end: FleetEnd, name: impl Fn(u32) -> String) -> String {
    match end {
        FleetEnd::Done => "done".to_owned(),
        FleetEnd::Stopped { wave } => {
            format!("stopped by the failures of wave {}", name(wave))
        }
        FleetEnd::Incomplete => {
            "held until all that its waves were taken from can be asked".to_owned()
        }
        FleetEnd::Aborted => "aborted".to_owned(),
        FleetEnd::Ordered => "what was ordered is done".to_owned(),
    }
}
