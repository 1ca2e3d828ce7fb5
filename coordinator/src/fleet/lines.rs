//! Where members stand that could be begun: a line for each wave and kind, in order, from which those
//! are taken first whose server has room.

use std::collections::{BTreeMap, BTreeSet};

/// What a line is for; the first are served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What an operator has ordered, ways back and hooks.
    Orders,
    /// Commits that nobody has ordered: they follow from the fleet's policy.
    Commits,
    /// Upgrades that have begun before, or that an operator wants again.
    Going,
    /// Upgrades that have not begun.
    Forward,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Orders, Self::Commits, Self::Going, Self::Forward];
}

/// The lines. A member is its number, a server too.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<(Kind, u32), Line>,
    full: BTreeSet<u32>,
}

#[derive(Debug, Default)]
struct Line {
    /// Server and member.
    standing: BTreeSet<(u32, u32)>,
    /// Member and server: the first one of each server that has room.
    heads: BTreeSet<(u32, u32)>,
}

impl Line {
    fn head(&self, server: u32) -> Option<u32> {
        let mut own = self.standing.range((server, 0)..=(server, u32::MAX));
        own.next().map(|(_, member)| *member)
    }
}

impl Lines {
    pub(super) fn push(&mut self, kind: Kind, wave: u32, server: u32, member: u32) {
        let line = self.lines.entry((kind, wave)).or_default();
        if !self.full.contains(&server) {
            if let Some(head) = line.head(server) {
                line.heads.remove(&(head, server));
            }
            line.standing.insert((server, member));
            line.heads
                .extend(line.head(server).map(|head| (head, server)));
        } else {
            line.standing.insert((server, member));
        }
    }

    /// Takes a member out; whether it stood there.
    pub(super) fn remove(&mut self, kind: Kind, wave: u32, server: u32, member: u32) -> bool {
        let Some(line) = self.lines.get_mut(&(kind, wave)) else {
            return false;
        };
        if !line.standing.remove(&(server, member)) {
            return false;
        }
        if line.heads.remove(&(member, server)) {
            line.heads
                .extend(line.head(server).map(|head| (head, server)));
        }
        if line.standing.is_empty() {
            self.lines.remove(&(kind, wave));
        }
        true
    }

    /// Takes the first member whose server has room.
    pub(super) fn pop(&mut self, kind: Kind, wave: u32) -> Option<u32> {
        let line = self.lines.get(&(kind, wave))?;
        let (member, server) = line.heads.first().copied()?;
        self.remove(kind, wave, server, member);
        Some(member)
    }

    /// The first wave from `wave` on that has a line of this kind.
    pub(super) fn next(&self, kind: Kind, wave: u32) -> Option<u32> {
        let mut lines = self.lines.range((kind, wave)..=(kind, u32::MAX));
        lines.next().map(|((_, wave), _)| *wave)
    }

    pub(super) fn is_empty(&self, kind: Kind) -> bool {
        self.next(kind, 0).is_none()
    }

    /// Whether a server has room for one more. Costs as much as there are lines.
    pub(super) fn set_room(&mut self, server: u32, room: bool) {
        let changed = match room {
            true => self.full.remove(&server),
            false => self.full.insert(server),
        };
        if !changed {
            return;
        }
        for line in self.lines.values_mut() {
            let Some(head) = line.head(server) else {
                continue;
            };
            match room {
                true => line.heads.insert((head, server)),
                false => line.heads.remove(&(head, server)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whose_server_has_room_comes_first() {
        let mut lines = Lines::default();
        for (server, member) in [(0, 3), (0, 1), (1, 2), (0, 5), (1, 4)] {
            lines.push(Kind::Forward, 0, server, member);
        }
        assert_eq!(lines.pop(Kind::Forward, 0), Some(1));
        lines.set_room(0, false);
        assert_eq!(lines.pop(Kind::Forward, 0), Some(2));
        lines.push(Kind::Forward, 0, 0, 0);
        assert_eq!(lines.pop(Kind::Forward, 0), Some(4));
        assert_eq!(lines.pop(Kind::Forward, 0), None);
        assert!(!lines.is_empty(Kind::Forward));
        lines.set_room(0, true);
        assert!(lines.remove(Kind::Forward, 0, 0, 0));
        assert!(!lines.remove(Kind::Forward, 0, 0, 0));
        assert_eq!(lines.pop(Kind::Forward, 0), Some(3));
        assert_eq!(lines.pop(Kind::Forward, 0), Some(5));
        assert!(lines.is_empty(Kind::Forward));
    }

    #[test]
    fn waves_have_lines_of_their_own() {
        let mut lines = Lines::default();
        lines.push(Kind::Orders, 2, 0, 7);
        lines.push(Kind::Going, 1, 0, 8);
        assert_eq!(lines.next(Kind::Orders, 0), Some(2));
        assert_eq!(lines.next(Kind::Orders, 3), None);
        assert_eq!(lines.pop(Kind::Orders, 1), None);
        assert_eq!(lines.pop(Kind::Going, 1), Some(8));
    }
}
