//! Whose turn it is: caps, window, policies, pauses.

use std::time::Duration;

use upshift_shared::fleet::AtEnd;

use super::{
    event::FleetCommand,
    lines::Kind,
    machine::{Fleet, Goal, Turn},
    member::{MemberId, MemberState},
    roster::{Ledger, number},
};

impl Fleet {
    /// Begins what may be begun.
    pub(super) fn dispatch(&mut self) {
        for kind in Kind::ALL {
            let mut wave = 0;
            while let Some(next) = self.lines.next(kind, wave) {
                if self.may_begin(kind, next) {
                    self.serve(kind, next);
                }
                let Some(later) = next.checked_add(1) else {
                    break;
                };
                wave = later;
            }
        }
    }

    fn serve(&mut self, kind: Kind, wave: u32) {
        while self.has_room() && self.wave_has_room(wave) {
            let Some(member) = self.lines.pop(kind, wave).map(MemberId) else {
                return;
            };
            if kind == Kind::Forward && self.is_too_long(member) {
                self.refuse_too_long(member);
            } else if kind == Kind::Forward && !self.fits_window(member) {
                self.parked.insert(member);
            } else {
                self.start(member);
            }
        }
    }

    pub(super) fn cap(&self) -> u32 {
        let own = self.order.caps.in_all();
        self.limit.map_or(own, |limit| limit.min(own)).max(1)
    }

    /// So many databases at once and no more, from the next event on; nothing begins by this itself.
    pub fn limit(&mut self, max_databases: u32) {
        self.limit = Some(max_databases);
    }

    /// So many of a server and no more, and no more than the file says: the same.
    pub fn limit_server(&mut self, server: &str, max_databases: u32) {
        for (number, side) in (0..).zip(&mut self.roster.servers) {
            if *side.name == *server {
                side.cap = side.of_file.min(max_databases).max(1);
                self.lines.set_room(number, side.active < side.cap);
            }
        }
    }

    /// To how many of a server something is being done.
    #[must_use]
    pub fn active_on(&self, server: &str) -> u32 {
        let servers = self.roster.servers.iter();
        let own = servers.filter(|side| *side.name == *server);
        own.map(|side| side.active).sum()
    }

    pub(super) fn has_room(&self) -> bool {
        number(self.active.len()) < self.cap()
    }

    pub(super) fn wave_has_room(&self, wave: u32) -> bool {
        let cap = self
            .order
            .waves
            .get(wave as usize)
            .and_then(|wave| wave.max_databases);
        let side = self.waves.get(wave as usize);
        side.is_none_or(|side| side.active < cap.unwrap_or(u32::MAX).max(1))
    }

    /// Whether anything of this kind may begin in a wave.
    fn may_begin(&self, kind: Kind, wave: u32) -> bool {
        match kind {
            Kind::Orders => true,
            Kind::Commits => !self.is_held(),
            Kind::Going => self.upgrades_begin(),
            Kind::Forward => {
                let begins = !self.incomplete && self.stopped_before(wave).is_none();
                begins && self.upgrades_begin()
            }
        }
    }

    fn upgrades_begin(&self) -> bool {
        let paused = self.place.paused && !self.only_orders;
        !paused && !self.place.aborted && !self.is_outside_window()
    }

    /// Whether a pause, failures or the end of the window have come between its hook and its upgrade.
    pub(super) fn is_kept_from_beginning(&self, member: MemberId) -> bool {
        let wave = self.roster.entry(member).wave;
        let paused = self.place.paused && !self.only_orders;
        let begins = || self.stopped_before(wave).is_none() && !self.is_outside_window();
        paused || (!self.is_going(member) && !begins())
    }

    /// The wave whose failures keep a wave from going on: itself, or an earlier one.
    pub(super) fn stopped_before(&self, wave: u32) -> Option<u32> {
        self.stopped
            .first()
            .copied()
            .filter(|stopped| *stopped <= wave)
    }

    pub(super) fn is_outside_window(&self) -> bool {
        self.order.window.is_some() && self.open_until.is_none()
    }

    /// Whether an upgrade is expected to be through by the end of the window, where it has to be.
    pub(super) fn fits_window(&self, member: MemberId) -> bool {
        let (Some(window), Some(until)) = (&self.order.window, self.open_until) else {
            return true;
        };
        let seconds = f64::from(self.roster.entry(member).seconds);
        window.at_end == AtEnd::Stop || self.now.as_secs_f64() + seconds <= until.as_secs_f64()
    }

    /// When an upgrade that is begun now has to be through, where it has to be.
    #[must_use]
    pub fn is_to_end_by(&self, member: MemberId) -> Option<Duration> {
        let window = self.order.window.as_ref()?;
        let is_bound = window.at_end == AtEnd::Finish && !self.is_going(member);
        self.open_until.filter(|_| is_bound)
    }

    /// Whether it would not be through in any window.
    fn is_too_long(&self, member: MemberId) -> bool {
        let seconds = f64::from(self.roster.entry(member).seconds);
        self.order.window.as_ref().is_some_and(|window| {
            window.at_end == AtEnd::Finish && seconds > window.length().as_secs_f64()
        })
    }

    fn refuse_too_long(&mut self, member: MemberId) {
        let entry = self.roster.entry_mut(member);
        entry.ledger = Ledger::Refused;
        let why = format!(
            "it is expected to take {:.0} min, longer than the window is open: `upshift fleet retry` \
             with its name begins it all the same, at_end = \"stop\" lets it go on in the next window",
            f64::from(entry.seconds) / 60.0
        );
        self.roster.reasons.insert(member.0, why.into());
        self.order_is_done(member);
        self.set_state(member, MemberState::Refused);
    }

    /// Opens and closes with the window.
    pub(super) fn look_at_window(&mut self) {
        let Some(window) = &self.order.window else {
            return;
        };
        let until = window.open_until(self.now);
        if until == self.open_until {
            return;
        }
        let stops = window.at_end == AtEnd::Stop;
        self.open_until = until;
        match until {
            Some(_) => {
                for member in std::mem::take(&mut self.parked) {
                    self.wait_for(member, MemberState::Waiting);
                }
            }
            None if stops => self.stop_upgrades(Turn::Window),
            None => {}
        }
    }

    /// Asks all upgrades to stop. Those whose hook runs do not begin.
    pub(super) fn stop_upgrades(&mut self, turn: Turn) {
        let mut members: Vec<MemberId> = self.active.keys().copied().collect();
        members.sort_unstable();
        for member in members {
            let state = self.state(member);
            let Some(activity) = self.active.get_mut(&member) else {
                continue;
            };
            let stops = activity.goal == Goal::Upgrade
                && matches!(state, MemberState::HookBefore | MemberState::Running);
            if !stops || activity.turn == Some(Turn::Back) {
                continue;
            }
            let was_asked = activity.turn.replace(turn).is_some();
            if state == MemberState::Running && !was_asked {
                self.out.push(FleetCommand::Stop { member });
            }
        }
    }

    /// When the window opens or ends next, while that makes a difference.
    pub(super) fn next_change_of_window(&self) -> Option<Duration> {
        let window = self.order.window.as_ref()?;
        if self.end.is_some() {
            return None;
        }
        self.open_until.or_else(|| window.opens_after(self.now))
    }
}
