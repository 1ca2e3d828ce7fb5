//! What is done to one member, from when its turn comes until nothing is being done to it any more.

use upshift_shared::fleet::Then;

use super::{
    event::{FleetCommand, HookKind},
    machine::{Activity, Fleet, Goal, Refusal, Turn},
    member::{Found, MemberId, MemberState},
    roster::Ledger,
};

/// Why one is on its way back that nobody has ordered back.
pub(super) const HAD_FAILED: &str = "its upgrade had failed";

impl Fleet {
    /// Its turn has come.
    pub(super) fn start(&mut self, member: MemberId) {
        let goal = match self.state(member) {
            MemberState::WaitsForCommit => Goal::Commit,
            MemberState::WaitsForRollback => Goal::RollBack,
            MemberState::WaitsForHook => Goal::Settle,
            _ => Goal::Upgrade,
        };
        let owed = self.place.attended.contains_key(&self.roster.name(member));
        let activity = Activity {
            goal,
            turn: None,
            owed,
        };
        self.active.insert(member, activity);
        let server = self.roster.entry(member).server;
        let side = &mut self.roster.servers[server as usize];
        side.active += 1;
        if side.active >= side.cap {
            self.lines.set_room(server, false);
        }
        let hooks = &self.order.hooks;
        let attends = hooks.before.is_some() || hooks.after.is_some();
        if attends && matches!(goal, Goal::Upgrade | Goal::RollBack) {
            self.place
                .attended
                .insert(self.roster.name(member), HookKind::Before);
            self.dirty = true;
            if self.order.hooks.before.is_some() {
                self.set_state(member, MemberState::HookBefore);
                let outcome = if goal == Goal::Upgrade {
                    "upgrade"
                } else {
                    "roll_back"
                };
                self.out.push(FleetCommand::Hook {
                    member,
                    hook: HookKind::Before,
                    outcome,
                });
                return;
            }
        }
        self.act(member, goal);
    }

    fn act(&mut self, member: MemberId, goal: Goal) {
        if let Some(activity) = self.active.get_mut(&member) {
            activity.goal = goal;
        }
        let (state, command) = match goal {
            Goal::Upgrade => {
                let entry = self.roster.entry(member);
                let unasked = entry.ledger == Ledger::Unknown && !entry.ordered;
                (
                    MemberState::Running,
                    FleetCommand::Begin { member, unasked },
                )
            }
            Goal::Commit => (MemberState::Committing, FleetCommand::Commit { member }),
            Goal::RollBack => {
                let force = self.roster.entry(member).forced;
                let command = FleetCommand::RollBack { member, force };
                (MemberState::RollingBack, command)
            }
            Goal::Settle if self.commit_is_due(member) && !self.is_held() => {
                (MemberState::Committing, FleetCommand::Commit { member })
            }
            Goal::Settle => return self.after(member),
        };
        self.set_state(member, state);
        self.out.push(command);
    }

    pub(super) fn hook_ended(
        &mut self,
        member: MemberId,
        result: Result<(), String>,
    ) -> Result<(), Refusal> {
        self.known(member)?;
        let activity = self.active.get(&member).copied();
        match (self.state(member), activity, result) {
            (MemberState::HookBefore, Some(activity), Ok(())) => {
                self.hook_before_ended(member, activity);
                Ok(())
            }
            (MemberState::HookBefore, Some(_), Err(why)) => {
                self.fail(member, format!("the hook before: {why}"));
                self.after(member);
                Ok(())
            }
            (MemberState::HookAfter, Some(_), result) => {
                match result {
                    Ok(()) => self.forget_attended(member),
                    Err(why) => {
                        self.roster.entry_mut(member).hook_failed = true;
                        self.fail(member, format!("the hook after: {why}"));
                    }
                }
                self.rest(member);
                Ok(())
            }
            (state, ..) => Err(self.does_not_fit(member, "a hook has ended", state)),
        }
    }

    /// What has come in between keeps it from beginning: then its hook after is all that is left to do.
    fn hook_before_ended(&mut self, member: MemberId, activity: Activity) {
        let ledger = self.roster.entry(member).ledger;
        // Of one that could not be asked it has to be found out.
        let begun = matches!(
            ledger,
            Ledger::Unknown | Ledger::Begun | Ledger::Prepared | Ledger::RollingBack
        );
        match (activity.turn, activity.goal) {
            (Some(Turn::Back), _) if begun => self.act(member, Goal::RollBack),
            (Some(Turn::Back), _) => self.after(member),
            (Some(Turn::Abort), Goal::Upgrade) if begun => self.aborted(member),
            (Some(Turn::Abort | Turn::Window), Goal::Upgrade) => self.after(member),
            (_, Goal::Upgrade) if self.is_kept_from_beginning(member) => self.after(member),
            (_, goal) => self.act(member, goal),
        }
    }

    pub(super) fn ended(&mut self, member: MemberId, found: Found) -> Result<(), Refusal> {
        self.known(member)?;
        match (self.state(member), self.active.get(&member).copied()) {
            (MemberState::Running, Some(activity)) => self.upgraded(member, found, activity.turn),
            (MemberState::Committing, Some(_)) => self.committed(member, found),
            (MemberState::RollingBack, Some(_)) => self.rolled_back(member, found),
            // Who looked at it before its hook has found that there is nothing to do.
            (MemberState::HookBefore, Some(activity))
                if matches!(
                    found,
                    Found::Current | Found::Refused(_) | Found::TooLong(_)
                ) =>
            {
                if !activity.owed {
                    self.forget_attended(member);
                }
                self.take_over(member, found);
            }
            (state, _) => return Err(self.does_not_fit(member, "it has ended", state)),
        }
        Ok(())
    }

    /// An upgrade has ended.
    fn upgraded(&mut self, member: MemberId, found: Found, turn: Option<Turn>) {
        let wants_back = turn == Some(Turn::Back);
        match found {
            Found::Prepared => {
                self.ledger(member, Ledger::Prepared);
                if wants_back {
                    self.act(member, Goal::RollBack);
                } else {
                    self.act(member, Goal::Settle);
                }
            }
            Found::Running => {
                self.ledger(member, Ledger::Begun);
                match turn {
                    Some(Turn::Back) => self.act(member, Goal::RollBack),
                    Some(Turn::Window) => self.put_off(member),
                    Some(Turn::Abort) => self.aborted(member),
                    None => self.failed(member, "its run has stopped before its end".to_owned()),
                }
            }
            Found::Failed(why) => {
                self.ledger(member, Ledger::Begun);
                if wants_back {
                    self.fail(member, why);
                    self.act(member, Goal::RollBack);
                } else {
                    self.failed(member, why);
                }
            }
            Found::Unknown(why) | Found::Lost(why) => {
                if self.roster.entry(member).ledger == Ledger::Untouched {
                    self.ledger(member, Ledger::Unknown);
                }
                match turn {
                    Some(Turn::Back) => self.act(member, Goal::RollBack),
                    Some(Turn::Window) => self.put_off(member),
                    Some(Turn::Abort) => self.aborted(member),
                    None => self.failed(member, why),
                }
            }
            // It was stopped before it had begun.
            Found::NotBegun(_) | Found::Untouched if turn.is_some() => self.after(member),
            Found::NotBegun(why) => self.failed(member, why),
            Found::Untouched => self.failed(member, "its run has not begun".to_owned()),
            Found::RollingBack => self.goes_back(member),
            settled => self.take_over(member, settled),
        }
    }

    /// It has failed: what then, its wave's policy says.
    fn failed(&mut self, member: MemberId, why: String) {
        self.fail(member, why);
        let ledger = self.roster.entry(member).ledger;
        let begun = matches!(ledger, Ledger::Begun | Ledger::Unknown);
        if begun && self.policy_of(member).then == Then::RollBack {
            self.act(member, Goal::RollBack);
        } else {
            self.after(member);
        }
    }

    /// Whether one that is on its way back is so by its wave's policy, and not by order: it had failed.
    pub(super) fn goes_back_unordered(&self, member: MemberId) -> bool {
        self.policy_of(member).then == Then::RollBack && !self.is_wanted_back(member)
    }

    /// It turns out to be on its way back.
    fn goes_back(&mut self, member: MemberId) {
        self.ledger(member, Ledger::RollingBack);
        if !self.roster.entry(member).failed && self.goes_back_unordered(member) {
            self.fail(member, HAD_FAILED.to_owned());
        }
        self.act(member, Goal::RollBack);
    }

    fn aborted(&mut self, member: MemberId) {
        self.failed(member, "the fleet was aborted".to_owned());
    }

    fn committed(&mut self, member: MemberId, found: Found) {
        match found {
            // It turns out that there is nothing to commit.
            Found::Failed(why) if self.roster.entry(member).ledger == Ledger::Unknown => {
                self.ledger(member, Ledger::Begun);
                self.fail(member, why);
            }
            Found::Failed(why) | Found::Unknown(why) | Found::Lost(why) | Found::NotBegun(why) => {
                self.fail(member, format!("the commit: {why}"));
            }
            Found::Prepared => {
                self.fail(member, "the commit has stopped before its end".to_owned());
            }
            Found::RollingBack => return self.goes_back(member),
            settled => return self.take_over(member, settled),
        }
        self.after(member);
    }

    fn rolled_back(&mut self, member: MemberId, found: Found) {
        let why = match found {
            // Its way back has not begun: it stands as it did.
            Found::Failed(why) | Found::Unknown(why) | Found::Lost(why) | Found::NotBegun(why) => {
                self.fail(member, why);
                return self.after(member);
            }
            Found::Stuck(why) => why,
            Found::RollingBack | Found::Running | Found::Prepared => {
                "the way back has stopped before its end".to_owned()
            }
            // Of one that could not be asked that it had failed is news; of others it is known here, and stays.
            Found::RolledBack(why) => {
                let entry = self.roster.entry(member);
                let is_news = entry.ledger == Ledger::Unknown && !entry.failed;
                if let Some(why) = why.filter(|_| is_news) {
                    self.fail(member, why);
                }
                self.ledger(member, Ledger::RolledBack);
                return self.after(member);
            }
            settled => return self.take_over(member, settled),
        };
        self.ledger(member, Ledger::RollingBack);
        self.fail(member, why);
        self.after(member);
    }

    /// What the ledger says, whoever made it so.
    fn take_over(&mut self, member: MemberId, found: Found) {
        let ledger = match found {
            Found::Current => Ledger::Current,
            Found::Refused(why) => {
                self.roster.reasons.insert(member.0, why.into());
                Ledger::Refused
            }
            Found::Prepared => Ledger::Prepared,
            Found::Committed => Ledger::Committed,
            Found::RolledBack(why) => {
                if let Some(why) = why {
                    self.fail(member, why);
                }
                Ledger::RolledBack
            }
            Found::Untouched => Ledger::Untouched,
            Found::TooLong(takes) => {
                self.roster.entry_mut(member).seconds = takes.as_secs_f32();
                Ledger::Untouched
            }
            Found::Unknown(_) | Found::Lost(_) => Ledger::Unknown,
            Found::Running | Found::Failed(_) => Ledger::Begun,
            Found::RollingBack => Ledger::RollingBack,
            Found::NotBegun(why) => {
                self.fail(member, why);
                Ledger::Untouched
            }
            Found::Stuck(why) => {
                self.fail(member, why);
                Ledger::RollingBack
            }
        };
        self.ledger(member, ledger);
        self.after(member);
    }

    /// Nothing more is done to the database: now the hook after, where one is owed.
    fn after(&mut self, member: MemberId) {
        let name = self.roster.name(member);
        if !self.place.attended.contains_key(&name) {
            return self.rest(member);
        }
        if self.order.hooks.after.is_none() {
            self.forget_attended(member);
            return self.rest(member);
        }
        // Nobody knows whether it may be started: that is owed until somebody does.
        if self.roster.entry(member).ledger == Ledger::Unknown {
            return self.rest(member);
        }
        self.place.attended.insert(name, HookKind::After);
        self.dirty = true;
        self.roster.entry_mut(member).hook_failed = false;
        self.set_state(member, MemberState::HookAfter);
        let entry = self.roster.entry(member);
        let outcome = match entry.ledger {
            Ledger::Untouched => "untouched",
            _ => entry.at_rest().as_str(),
        };
        self.out.push(FleetCommand::Hook {
            member,
            hook: HookKind::After,
            outcome,
        });
    }

    fn forget_attended(&mut self, member: MemberId) {
        let name = self.roster.name(member);
        self.dirty |= self.place.attended.remove(&name).is_some();
    }

    /// Nothing is being done to it any more.
    fn rest(&mut self, member: MemberId) {
        let activity = self.release(member);
        let entry = self.roster.entry(member);
        let can_go_back = matches!(
            entry.ledger,
            Ledger::Unknown | Ledger::Begun | Ledger::Prepared
        );
        let goal = activity.map(|activity| activity.goal);
        let goes_back = activity.is_some_and(|activity| {
            activity.turn == Some(Turn::Back) && activity.goal != Goal::RollBack
        });
        let waits = entry.ledger == Ledger::Untouched
            && !entry.failed
            && !self.place.left_out.contains(&self.roster.name(member));
        let state = if goes_back && can_go_back {
            MemberState::WaitsForRollback
        } else if waits {
            MemberState::Waiting
        } else if self.commit_is_due(member) && !entry.failed {
            MemberState::WaitsForCommit
        } else {
            entry.at_rest()
        };
        // One to which nothing was done, and to which nothing is to be done, is where it was.
        let is_over = (goes_back || self.place.aborted || goal != Some(Goal::Upgrade))
            && state == MemberState::Waiting;
        // Its commit is no part of what was ordered.
        let is_upgraded = goal != Some(Goal::Commit) && state == MemberState::WaitsForCommit;
        if state.has_ended() || is_over || is_upgraded {
            self.order_is_done(member);
        }
        self.wait_for(member, state);
    }

    /// It has made room for another one.
    fn release(&mut self, member: MemberId) -> Option<Activity> {
        let server = self.roster.entry(member).server;
        let side = &mut self.roster.servers[server as usize];
        side.active -= 1;
        self.lines.set_room(server, side.active < side.cap);
        self.active.remove(&member)
    }

    /// The window has ended: it goes on in the next one, and its hook after waits for that.
    fn put_off(&mut self, member: MemberId) {
        self.release(member);
        self.wait_for(member, MemberState::Waiting);
    }

    fn ledger(&mut self, member: MemberId, ledger: Ledger) {
        let entry = self.roster.entry_mut(member);
        entry.ledger = ledger;
        if !entry.failed && ledger == Ledger::Prepared {
            self.roster.reasons.remove(&member.0);
        }
    }

    /// It counts as failed. The first reason stays: what comes later follows from it.
    fn fail(&mut self, member: MemberId, why: String) {
        if self.roster.entry(member).failed {
            let first = self.roster.reasons.entry(member.0).or_default();
            *first = format!("{first}; {why}").into();
        } else {
            self.roster.reasons.insert(member.0, why.into());
        }
        self.set_failed(member, true);
    }

    pub(super) fn order_is_done(&mut self, member: MemberId) {
        let entry = self.roster.entry_mut(member);
        entry.forced = false;
        if std::mem::replace(&mut entry.ordered, false) {
            self.ordered -= 1;
        }
    }

    fn does_not_fit(&self, member: MemberId, event: &str, state: MemberState) -> Refusal {
        let name = self.name(member);
        Refusal(format!(
            "{name}: {event} does not fit: it is {}",
            state.as_str()
        ))
    }
}
