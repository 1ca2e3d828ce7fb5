//! What operators order of a fleet under way.

use std::collections::BTreeSet;

use upshift_shared::fleet::MemberName;

use super::{
    event::{FleetCommand, FleetOrder, Which},
    machine::{Fleet, Refusal, Turn},
    member::{MemberId, MemberState},
    roster::Ledger,
};

/// Why nothing is upgraded.
pub(super) const ABORTED: &str =
    "the fleet was aborted: `upshift fleet run --anew` begins it once more";

impl Fleet {
    pub(super) fn ordered(&mut self, order: FleetOrder) -> Result<(), Refusal> {
        match &order {
            FleetOrder::Pause => {
                self.dirty |= !std::mem::replace(&mut self.place.paused, true);
            }
            FleetOrder::Resume => self.resume()?,
            FleetOrder::Approve { wave } => self.approve(*wave)?,
            FleetOrder::Abort => self.abort(),
            FleetOrder::Retry(_)
            | FleetOrder::RollBack(_)
            | FleetOrder::RollBackByForce(_)
            | FleetOrder::Commit(_) => {
                let wanted = self.apply_to_members(&order)?;
                if order.goes_back() {
                    self.want_back(&order);
                }
                self.place.wanted.push(wanted);
                self.dirty = true;
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        if self.place.aborted {
            return Err(Refusal(ABORTED.to_owned()));
        }
        self.place.paused = false;
        self.forgive();
        Ok(())
    }

    /// Failures that have stopped waves do not any more.
    pub(super) fn forgive(&mut self) {
        for wave in std::mem::take(&mut self.stopped) {
            let members = self.waves[wave as usize].members.clone().map(MemberId);
            let failed = members.filter(|member| self.roster.entry(*member).failed);
            let failed = failed.map(|member| self.roster.name(member)).collect();
            self.place.forgiven.insert(wave, failed);
            self.look_at_policy(wave);
        }
        self.dirty = true;
    }

    fn approve(&mut self, wave: Option<u32>) -> Result<(), Refusal> {
        match wave {
            None => self.place.approved_all = true,
            Some(wave) if (wave as usize) < self.waves.len() => {
                self.place.approved.insert(wave);
            }
            Some(wave) => return Err(self.no_wave(wave)),
        }
        self.dirty = true;
        Ok(())
    }

    fn abort(&mut self) {
        self.place.aborted = true;
        self.dirty = true;
        self.stop_upgrades(Turn::Abort);
        // Those whose hook was run, and that were to go on, do not: their hook after is owed.
        let attended: Vec<_> = self.place.attended.keys().cloned().collect();
        for name in attended {
            let Some(member) = self.find(&name) else {
                continue;
            };
            // Of one that could not be asked nobody knows what it is owed.
            let is_known = self.roster.entry(member).ledger != Ledger::Unknown;
            if self.state(member) == MemberState::Waiting && is_known {
                self.take_out_of_line(member);
                self.order_is_done(member);
                let back = upshift_shared::fleet::Then::RollBack;
                let begun = self.roster.entry(member).ledger == Ledger::Begun;
                let state = match begun && self.policy_of(member).then == back {
                    true => MemberState::WaitsForRollback,
                    false => MemberState::WaitsForHook,
                };
                self.roster
                    .reasons
                    .insert(member.0, "the fleet was aborted".into());
                self.set_failed(member, true);
                self.wait_for(member, state);
            }
        }
        // Nor is anything that was wanted again.
        for member in self.members() {
            if self.roster.entry(member).ordered && self.state(member) == MemberState::Waiting {
                self.take_out_of_line(member);
                self.order_is_done(member);
                let state = match self.roster.entry(member).ledger {
                    Ledger::Refused => MemberState::Refused,
                    _ => MemberState::Waiting,
                };
                if state == MemberState::Refused {
                    self.roster
                        .reasons
                        .insert(member.0, "the fleet was aborted".into());
                }
                self.wait_for(member, state);
            }
        }
    }

    /// Retries, ways back, commits: of each member that they mean, as far as they fit. Nothing
    /// changes where one that is named does not fit. What is to be done again after a crash: of commits and
    /// retries only those members that were meant now.
    fn apply_to_members(&mut self, order: &FleetOrder) -> Result<FleetOrder, Refusal> {
        let Some(which) = order.which() else {
            return Ok(order.clone());
        };
        let by_name = matches!(which, Which::These(_));
        let members = self.meant(which)?;
        if let FleetOrder::Retry(_) = order
            && self.place.aborted
        {
            return Err(Refusal(ABORTED.to_owned()));
        }
        if by_name {
            for member in &members {
                self.check(order, *member)?;
            }
        }
        if order.goes_back() {
            self.refuse_no_way_back(&members)?;
            // Nothing is begun behind the back of whoever wants all of it, or a wave, back.
            match which {
                Which::All => self.abort(),
                Which::Wave(_) => self.place.paused = true,
                Which::These(_) => {}
            }
        }
        let mut marked = Vec::new();
        for member in members {
            if self.apply_to(member, order, (by_name, true)) {
                marked.push(self.name(member));
            }
        }
        Ok(match order {
            FleetOrder::Retry(_) => FleetOrder::Retry(Which::These(marked)),
            FleetOrder::Commit(_) => FleetOrder::Commit(Which::These(marked)),
            other => other.clone(),
        })
    }

    /// One member of an order; whether something is to be done to it. `now`: it was ordered now, and not
    /// before a crash.
    fn apply_to(
        &mut self,
        member: MemberId,
        order: &FleetOrder,
        (by_name, now): (bool, bool),
    ) -> bool {
        match order {
            FleetOrder::Retry(_) => self.retry(member, by_name, now),
            FleetOrder::Commit(_) => self.commit(member),
            _ => {
                self.bring_back(member, by_name && now);
                let entry = self.roster.entry_mut(member);
                entry.forced = entry.ordered && matches!(order, FleetOrder::RollBackByForce(_));
                entry.ordered
            }
        }
    }

    /// What was ordered before a crash, as far as it is possible now: the rest may be done by now, or its
    /// member be gone.
    pub(super) fn want_again(&mut self, order: &FleetOrder) {
        let Some(which) = order.which() else {
            return;
        };
        if matches!(order, FleetOrder::Retry(_)) && self.place.aborted {
            return;
        }
        let by_name = matches!(which, Which::These(_));
        let members = match which {
            Which::These(names) => names.iter().filter_map(|name| self.find(name)).collect(),
            which => self.meant(which).unwrap_or_default(),
        };
        for member in members {
            if !by_name || self.check(order, member).is_ok() {
                self.apply_to(member, order, (by_name, false));
            }
        }
    }

    /// All that was ordered is done. Members that are not to be found now are still meant when they are.
    pub(super) fn orders_are_done(&mut self) {
        let mut wanted = std::mem::take(&mut self.place.wanted);
        let before = wanted.len();
        wanted.retain(|order| match order.which() {
            Some(Which::These(names)) => names.iter().any(|name| self.find(name).is_none()),
            _ => false,
        });
        self.dirty |= wanted.len() != before;
        self.place.wanted = wanted;
    }

    /// What is wanted back is not wanted forward any more.
    fn want_back(&mut self, order: &FleetOrder) {
        let back = order.which().and_then(|which| self.meant(which).ok());
        let back: BTreeSet<MemberName> = back
            .unwrap_or_default()
            .into_iter()
            .map(|member| self.name(member))
            .collect();
        let wanted = std::mem::take(&mut self.place.wanted);
        let keep = |names: Vec<MemberName>| {
            let names = names.into_iter().filter(|name| !back.contains(name));
            Which::These(names.collect())
        };
        let wanted = wanted.into_iter().map(|order| match order {
            FleetOrder::Commit(Which::These(names)) => FleetOrder::Commit(keep(names)),
            FleetOrder::Retry(Which::These(names)) => FleetOrder::Retry(keep(names)),
            other => other,
        });
        let is_any = |order: &FleetOrder| !matches!(order.which(), Some(Which::These(names)) if names.is_empty());
        self.place.wanted = wanted.filter(is_any).collect();
    }

    /// Where all that are meant are committed, or were left alone, there is nothing to bring back.
    fn refuse_no_way_back(&self, members: &[MemberId]) -> Result<(), Refusal> {
        let ledgers = || members.iter().map(|m| self.roster.entry(*m).ledger);
        let committed = ledgers().filter(|ledger| *ledger == Ledger::Committed);
        let committed = committed.count();
        let none = ledgers().all(|ledger| {
            matches!(
                ledger,
                Ledger::Committed | Ledger::Current | Ledger::Refused
            )
        });
        match none && committed > 0 {
            true => Err(Refusal(format!(
                "{committed} of these databases are committed, and none is left that has a way back: \
                 restore a backup"
            ))),
            false => Ok(()),
        }
    }

    /// Of the members that an order was about, those that it has not brought where it was to.
    #[must_use]
    pub fn missed(&self, order: &FleetOrder) -> Vec<MemberId> {
        let which = order.which();
        let meant = which.and_then(|which| self.meant(which).ok());
        let mut meant = meant.unwrap_or_default();
        let by_name = matches!(which, Some(Which::These(_)));
        meant.retain(|member| {
            let entry = self.roster.entry(*member);
            match (order, entry.ledger) {
                // One that failed before anything was done to it has nothing to be taken back.
                (order, ledger) if order.goes_back() => {
                    // Of one that could not be asked nobody knows.
                    let is_back = matches!(
                        ledger,
                        Ledger::Untouched | Ledger::RolledBack | Ledger::Current | Ledger::Refused
                    );
                    entry.hook_failed || !is_back
                }
                (FleetOrder::Commit(_), Ledger::Committed) => entry.hook_failed,
                (FleetOrder::Commit(_), ledger) => {
                    by_name || matches!(ledger, Ledger::Prepared | Ledger::Unknown)
                }
                _ => entry.failed,
            }
        });
        meant
    }

    fn meant(&self, which: &Which) -> Result<Vec<MemberId>, Refusal> {
        match which {
            Which::All => Ok(self.members().collect()),
            Which::Wave(wave) => {
                let side = self.waves.get(*wave as usize);
                let side = side.ok_or_else(|| self.no_wave(*wave))?;
                Ok(side.members.clone().map(MemberId).collect())
            }
            Which::These(names) => names
                .iter()
                .map(|name| {
                    let found = self.find(name);
                    found.ok_or_else(|| {
                        Refusal(format!("{name} is no member of this fleet: see its status"))
                    })
                })
                .collect(),
        }
    }

    /// Whether an order that names a member can be carried out.
    fn check(&self, order: &FleetOrder, member: MemberId) -> Result<(), Refusal> {
        let entry = self.roster.entry(member);
        let what = match (order, entry.ledger) {
            (order, Ledger::Committed) if order.goes_back() => {
                "is committed: there is no way back any more; restore a backup"
            }
            (order, Ledger::Current | Ledger::Refused) if order.goes_back() => {
                "was left alone: there is nothing to bring back"
            }
            (FleetOrder::Commit(_), ledger)
                if !matches!(
                    ledger,
                    Ledger::Prepared | Ledger::Committed | Ledger::Unknown
                ) =>
            {
                "is not prepared: there is nothing to commit"
            }
            (FleetOrder::Retry(_), Ledger::Current) => "is at the target already",
            _ => return Ok(()),
        };
        Err(Refusal(format!("{} {what}", entry.name)))
    }

    fn no_wave(&self, wave: u32) -> Refusal {
        Refusal(format!(
            "there is no wave {wave}: this fleet has {}",
            self.waves.len()
        ))
    }

    fn mark_ordered(&mut self, member: MemberId) {
        let entry = self.roster.entry_mut(member);
        if !std::mem::replace(&mut entry.ordered, true) {
            self.ordered += 1;
        }
    }

    fn retry(&mut self, member: MemberId, by_name: bool, now: bool) -> bool {
        let state = self.state(member);
        let entry = self.roster.entry(member);
        let is_meant = entry.failed
            || (by_name && matches!(state, MemberState::RolledBack | MemberState::Refused));
        // What was ordered before a crash may have been taken back before it.
        let name = self.name(member);
        if !is_meant || !state.has_ended() || (!now && self.place.left_out.contains(&name)) {
            return false;
        }
        let next = match entry.ledger {
            Ledger::RollingBack => MemberState::WaitsForRollback,
            Ledger::Prepared | Ledger::Committed => MemberState::WaitsForHook,
            _ => MemberState::Waiting,
        };
        self.mark_ordered(member);
        self.roster.entry_mut(member).hook_failed = false;
        // Why it was left alone holds until it has been upgraded.
        if self.roster.entry(member).ledger != Ledger::Refused {
            self.roster.reasons.remove(&member.0);
        }
        self.set_failed(member, false);
        self.dirty |= self.place.left_out.remove(&name);
        self.wait_for(member, next);
        true
    }

    /// `leaves_out`: it is not begun where nothing was done to it yet.
    fn bring_back(&mut self, member: MemberId, leaves_out: bool) {
        let state = self.state(member);
        if let Some(activity) = self.active.get_mut(&member) {
            let was_asked = activity.turn.replace(Turn::Back).is_some();
            if state == MemberState::Running && !was_asked {
                self.out.push(FleetCommand::Stop { member });
            }
            self.mark_ordered(member);
            let ledger = self.roster.entry(member).ledger;
            if leaves_out && matches!(ledger, Ledger::Untouched | Ledger::Unknown) {
                let name = self.name(member);
                self.place.left_out.insert(name);
            }
            return;
        }
        match self.roster.entry(member).ledger {
            Ledger::Begun | Ledger::Prepared | Ledger::RollingBack => {
                self.take_out_of_line(member);
                self.mark_ordered(member);
                self.wait_for(member, MemberState::WaitsForRollback);
            }
            // Whoever brings it back asks its ledger.
            Ledger::Unknown if state != MemberState::RolledBack => {
                self.take_out_of_line(member);
                self.mark_ordered(member);
                if leaves_out {
                    let name = self.name(member);
                    self.place.left_out.insert(name);
                }
                self.wait_for(member, MemberState::WaitsForRollback);
            }
            Ledger::Untouched if leaves_out && state == MemberState::Waiting => {
                self.take_out_of_line(member);
                self.order_is_done(member);
                let name = self.name(member);
                self.place.left_out.insert(name.clone());
                let state = match self.place.attended.contains_key(&name) {
                    true => MemberState::WaitsForHook,
                    false => MemberState::RolledBack,
                };
                self.wait_for(member, state);
            }
            Ledger::Untouched if state == MemberState::Waiting => {
                self.take_out_of_line(member);
                self.order_is_done(member);
                self.wait_for(member, MemberState::Waiting);
            }
            // It waits to be upgraded again, which nobody wants any more.
            Ledger::RolledBack | Ledger::Refused | Ledger::Current
                if state == MemberState::Waiting =>
            {
                self.take_out_of_line(member);
                self.order_is_done(member);
                let state = self.roster.entry(member).at_rest();
                self.wait_for(member, state);
            }
            _ => {}
        }
    }

    fn commit(&mut self, member: MemberId) -> bool {
        let state = self.state(member);
        let fits = match self.roster.entry(member).ledger {
            Ledger::Prepared => state.has_ended() || state == MemberState::WaitsForCommit,
            // Whoever commits it asks its ledger.
            Ledger::Unknown => !state.is_active() && state != MemberState::RolledBack,
            _ => false,
        };
        if fits {
            self.take_out_of_line(member);
            self.mark_ordered(member);
            self.roster.entry_mut(member).hook_failed = false;
            self.roster.reasons.remove(&member.0);
            self.set_failed(member, false);
            self.wait_for(member, MemberState::WaitsForCommit);
        }
        fits
    }
}
