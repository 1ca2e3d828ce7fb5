//! Why a member waits, why the fleet does: no database waits without a reported reason.

use std::{fmt, time::Duration};

use super::{
    event::FleetEnd,
    machine::Fleet,
    member::{MemberId, MemberState},
    orders::ABORTED,
    roster::Ledger,
};

/// Why nothing is being done to a member, or what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Something is being done to it, or its turn comes at once.
    UnderWay(MemberState),
    /// What happened to it.
    Because(String),
    /// Its wave comes after this one.
    EarlierWave(String),
    /// The wave before its own waits to be approved.
    Approval(String),
    /// So many of this wave have failed that nothing begins.
    Failures {
        /// The wave.
        wave: String,
        /// How many have failed.
        failed: u32,
    },
    /// Members of earlier waves, or of its own, may be missing.
    Incomplete,
    /// The fleet is paused.
    Paused,
    /// The fleet was aborted.
    Aborted,
    /// The window is closed; it opens at this time since 1970.
    OutsideWindow(Option<Duration>),
    /// It would not be through by the end of the window.
    TooLongForWindow,
    /// As many databases of its server as may are being worked on.
    ServerCap {
        /// The server.
        server: String,
        /// How many.
        cap: u32,
    },
    /// The same of its wave.
    WaveCap(u32),
    /// The same of the fleet.
    FleetCap(u32),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay(state) => f.write_str(state.as_str()),
            Self::Because(why) => f.write_str(why),
            Self::EarlierWave(wave) => write!(f, "wave {wave} comes first"),
            Self::Approval(wave) => write!(
                f,
                "wave {wave} has ended and waits to be approved: `upshift fleet approve`"
            ),
            Self::Failures { wave, failed } => write!(
                f,
                "{failed} of wave {wave} failed, and its policy says stop: mend and `upshift fleet \
                 retry`, or `upshift fleet resume` in spite of it"
            ),
            Self::Incomplete => f.write_str(
                "databases that the first waves were taken from cannot be listed now: mend that, then \
                 `upshift fleet run`",
            ),
            Self::Paused => f.write_str("the fleet is paused: `upshift fleet resume`"),
            Self::Aborted => f.write_str(ABORTED),
            Self::OutsideWindow(Some(_)) => f.write_str("the window is closed"),
            Self::OutsideWindow(None) => f.write_str("the window is closed, and never opens"),
            Self::TooLongForWindow => f.write_str(
                "it would not be through by the end of the window, and waits for the next",
            ),
            Self::ServerCap { server, cap } => {
                write!(
                    f,
                    "{cap} databases of {server} are being worked on, and no more may be"
                )
            }
            Self::WaveCap(cap) => {
                write!(
                    f,
                    "{cap} databases of its wave are being worked on, and no more may be"
                )
            }
            Self::FleetCap(cap) => {
                write!(f, "{cap} databases are being worked on, and no more may be")
            }
        }
    }
}

/// How a fleet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Members are being worked on, or about to be.
    Going,
    /// An operator has paused it.
    Paused,
    /// A wave has ended and waits to be approved.
    AwaitsApproval {
        /// Which.
        wave: u32,
    },
    /// The window is closed.
    OutsideWindow {
        /// When it opens, since 1970.
        opens: Option<Duration>,
    },
    /// There is nothing more to do without an order.
    Ended(FleetEnd),
}

impl Fleet {
    /// Why a member waits, has failed or was left alone; none where all is done as was ordered.
    #[must_use]
    pub fn reason(&self, member: MemberId) -> Option<Reason> {
        let state = self.state(member);
        if state.is_active() {
            return Some(Reason::UnderWay(state));
        }
        let why = self.roster.reasons.get(&member.0);
        if state.has_ended() {
            let why = why?.to_string();
            return Some(Reason::Because(match self.owes_hook(member) {
                true => {
                    format!("{why}; its hook after is owed until it can be asked how it stands")
                }
                false => why,
            }));
        }
        let of_state = match state {
            MemberState::Waiting => self.why_no_upgrade(member),
            MemberState::WaitsForCommit if !self.roster.entry(member).ordered => {
                let held = self.place.paused.then_some(Reason::Paused);
                self.place.aborted.then_some(Reason::Aborted).or(held)
            }
            _ => None,
        };
        let reason = of_state.or_else(|| self.why_no_room(member));
        Some(reason.unwrap_or_else(|| match (state, why) {
            (MemberState::WaitsForHook, Some(why)) => {
                Reason::Because(format!("{why}; its hook after is owed"))
            }
            (MemberState::WaitsForHook, None) => Reason::Because(
                "its hook after is owed: whoever conducts the fleet runs it".to_owned(),
            ),
            _ => Reason::UnderWay(state),
        }))
    }

    /// Whether its hook before was run, and the one after waits until somebody knows what to tell it.
    fn owes_hook(&self, member: MemberId) -> bool {
        let is_unknown = self.roster.entry(member).ledger == Ledger::Unknown;
        is_unknown
            && self.order.hooks.after.is_some()
            && self.place.attended.contains_key(&self.name(member))
    }

    /// What keeps a waiting upgrade, beside caps.
    fn why_no_upgrade(&self, member: MemberId) -> Option<Reason> {
        let entry = self.roster.entry(member);
        let name = |wave: u32| {
            let wave = self.order.waves.get(wave as usize);
            wave.map(|wave| wave.name.clone()).unwrap_or_default()
        };
        if self.place.aborted {
            return Some(Reason::Aborted);
        }
        let goes_on = self.is_going(member);
        if let Some(wave) = self.stopped_before(entry.wave).filter(|_| !goes_on) {
            let failed = self.waves[wave as usize].tally.failed;
            let wave = name(wave);
            return Some(Reason::Failures { wave, failed });
        }
        if self.place.paused {
            return Some(Reason::Paused);
        }
        if self.incomplete && !goes_on {
            return Some(Reason::Incomplete);
        }
        let is_later = (entry.wave as usize) < self.waves.len() && entry.wave >= self.place.opened;
        if is_later && !self.only_orders {
            let front = self.place.opened.saturating_sub(1);
            let ended = self
                .waves
                .get(front as usize)
                .is_some_and(|side| side.has_ended());
            return Some(match ended && self.waits_for_approval(front) {
                true => Reason::Approval(name(front)),
                false => Reason::EarlierWave(name(front)),
            });
        }
        if self.is_outside_window() {
            let window = self.order.window.as_ref();
            let opens = window.and_then(|window| window.opens_after(self.now));
            return Some(Reason::OutsideWindow(opens));
        }
        (!goes_on && !self.fits_window(member)).then_some(Reason::TooLongForWindow)
    }

    fn why_no_room(&self, member: MemberId) -> Option<Reason> {
        let entry = self.roster.entry(member);
        let server = &self.roster.servers[entry.server as usize];
        if server.active >= server.cap {
            return Some(Reason::ServerCap {
                server: server.name.to_string(),
                cap: server.cap,
            });
        }
        if !self.wave_has_room(entry.wave) {
            let cap = self.order.waves[entry.wave as usize].max_databases;
            return Some(Reason::WaveCap(cap.unwrap_or(u32::MAX)));
        }
        (!self.has_room()).then(|| Reason::FleetCap(self.cap()))
    }

    /// How the fleet stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if let Some(end) = self.end {
            return Standing::Ended(end);
        }
        if self.place.paused {
            return Standing::Paused;
        }
        if !self.active.is_empty() {
            return Standing::Going;
        }
        if self.is_outside_window() {
            let window = self.order.window.as_ref();
            let opens = window.and_then(|window| window.opens_after(self.now));
            return Standing::OutsideWindow { opens };
        }
        let front = self.passed;
        let ended = self
            .waves
            .get(front as usize)
            .is_some_and(|side| side.has_ended());
        match ended && self.waits_for_approval(front) {
            true => Standing::AwaitsApproval { wave: front },
            false => Standing::Going,
        }
    }
}
