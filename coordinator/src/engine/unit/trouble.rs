//! The units of a task that something has happened to: a failure, a loss, a timeout. Most tasks have none,
//! and what they would take is not among what every unit touches.

use std::collections::{BTreeMap, VecDeque};

use super::{Unit, UnitState};

/// The units, until they are finished.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Box<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    units: BTreeMap<u32, Unit>,
    offered: VecDeque<u32>,
    to_split: VecDeque<u32>,
}

impl Trouble {
    fn queues(&mut self) -> &mut Queues {
        self.0.get_or_insert_default()
    }

    /// A unit is in trouble from now on, if it was not yet.
    pub(super) fn of(&mut self, unit: u32) -> &mut Unit {
        let units = &mut self.queues().units;
        units.entry(unit).or_insert_with(Unit::first)
    }

    /// It is finished, or its number is that of another one from now on.
    pub(super) fn end(&mut self, unit: u32) {
        let Some(queues) = &mut self.0 else {
            return;
        };
        match queues.units.remove(&unit).map(|unit| unit.state) {
            Some(UnitState::Offered) => queues.offered.retain(|u| *u != unit),
            Some(UnitState::Splitting) => queues.to_split.retain(|u| *u != unit),
            Some(UnitState::Leased | UnitState::Resting) | None => {}
        }
    }

    /// It is to be leased again.
    pub(super) fn offer(&mut self, unit: u32) {
        self.of(unit).state = UnitState::Offered;
        self.queues().offered.push_back(unit);
    }

    /// How many are to be leased again.
    pub(super) fn offers(&self) -> u32 {
        let queues = self.0.as_ref();
        queues.map_or(0, |queues| queues.offered.len() as u32)
    }

    /// Takes the one that goes next: its number and attempt.
    pub(super) fn lease(&mut self) -> Option<(u32, u32)> {
        let queues = self.0.as_mut()?;
        let number = queues.offered.pop_front()?;
        let unit = queues.units.get_mut(&number)?;
        unit.state = UnitState::Leased;
        Some((number, unit.attempt()))
    }

    pub(super) fn rests(&self, unit: u32) -> bool {
        let unit = self.0.as_ref().and_then(|queues| queues.units.get(&unit));
        unit.is_some_and(|unit| unit.state == UnitState::Resting)
    }

    /// It is to be cut in two.
    pub(super) fn want_split(&mut self, unit: u32) {
        self.of(unit).state = UnitState::Splitting;
        self.queues().to_split.push_back(unit);
    }

    /// Takes the one that is cut in two next.
    pub(super) fn next_to_split(&mut self) -> Option<u32> {
        self.0.as_mut()?.to_split.pop_front()
    }
}
