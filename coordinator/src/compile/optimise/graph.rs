//! The order of steps with some of them contracted into one node.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::plan::EdgeReason;

use crate::compile::model::OrderEdge;

/// A directed acyclic graph of nodes; a node stands for one step, or for several.
#[derive(Debug, Clone)]
pub struct Contracted {
    /// The node of each step.
    node: Vec<u32>,
    next: Vec<BTreeMap<u32, EdgeReason>>,
}

impl Contracted {
    /// Every step by itself.
    pub(super) fn new(steps: usize, edges: &[OrderEdge]) -> Self {
        let mut graph = Self {
            node: (0..u32::try_from(steps).unwrap_or(u32::MAX)).collect(),
            next: vec![BTreeMap::new(); steps],
        };
        for edge in edges {
            graph.next[edge.from as usize].insert(edge.to, edge.reason.clone());
        }
        graph
    }

    /// The node of a step: the number of the first step in it.
    #[must_use]
    pub fn node(&self, step: u32) -> u32 {
        self.node[step as usize]
    }

    /// All edges between nodes.
    pub fn edges(&self) -> impl Iterator<Item = (u32, u32, &EdgeReason)> {
        (0_u32..)
            .zip(&self.next)
            .flat_map(|(from, next)| next.iter().map(move |(to, reason)| (from, *to, reason)))
    }

    /// Orders the nodes of two steps. Where they are ordered already, the other way too, that stands:
    /// a pass that one of them is in was seen to be able to come before, or after, the other.
    pub(super) fn add(&mut self, from: u32, to: u32, reason: EdgeReason) {
        let (from, to) = (self.node(from), self.node(to));
        if from != to && !self.reaches(to, from) {
            self.next[from as usize].entry(to).or_insert(reason);
        }
    }

    /// Whether the two nodes can become one: nothing else comes after one and before the other.
    pub(super) fn can_join(&self, a: u32, b: u32) -> bool {
        let (a, b) = (self.node(a), self.node(b));
        a == b || !(self.reaches_around(a, b) || self.reaches_around(b, a))
    }

    /// Whether a path leads from one node to the other.
    fn reaches(&self, from: u32, to: u32) -> bool {
        self.next[from as usize].contains_key(&to) || self.reaches_around(from, to)
    }

    /// Whether every node can come after all that it depends on.
    pub(super) fn is_acyclic(&self) -> bool {
        let mut waits = vec![0_usize; self.next.len()];
        for (_, to, _) in self.edges() {
            waits[to as usize] += 1;
        }
        let mut ready: Vec<usize> = (0..waits.len()).filter(|node| waits[*node] == 0).collect();
        let mut seen = 0;
        while let Some(node) = ready.pop() {
            seen += 1;
            for to in self.next[node].keys() {
                waits[*to as usize] -= 1;
                if waits[*to as usize] == 0 {
                    ready.push(*to as usize);
                }
            }
        }
        seen == waits.len()
    }

    /// Whether a path of at least two edges leads from one node to the other.
    fn reaches_around(&self, from: u32, to: u32) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<u32> = self.next[from as usize]
            .keys()
            .copied()
            .filter(|next| *next != to)
            .collect();
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            for next in self.next[node as usize].keys() {
                if *next == to {
                    return true;
                }
                open.push(*next);
            }
        }
        false
    }

    /// Makes the nodes of two steps one.
    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.node(a), self.node(b));
        if a == b {
            return;
        }
        let (keep, gone) = (a.min(b), a.max(b));
        for node in &mut self.node {
            if *node == gone {
                *node = keep;
            }
        }
        let moved = std::mem::take(&mut self.next[gone as usize]);
        for (to, reason) in moved {
            if to != keep {
                self.next[keep as usize].entry(to).or_insert(reason);
            }
        }
        for (from, next) in (0_u32..).zip(&mut self.next) {
            if let Some(reason) = next.remove(&gone)
                && from != keep
            {
                next.entry(keep).or_insert(reason);
            }
        }
        self.next[keep as usize].remove(&keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because() -> EdgeReason {
        EdgeReason::Stage
    }

    #[test]
    fn what_is_ordered_is_not_ordered_the_other_way() {
        let mut order = Contracted::new(4, &[]);
        // A pass of the first and the last; the others come after it.
        order.add(0, 1, because());
        order.add(0, 2, because());
        order.join(0, 3);
        // By their places in the script they would come before its last statement.
        order.add(1, 3, because());
        order.add(2, 3, because());
        assert!(order.is_acyclic());
        assert_eq!(order.edges().count(), 2);
    }

    #[test]
    fn a_cycle_is_seen() {
        let mut order = Contracted::new(3, &[]);
        order.add(0, 1, because());
        order.add(1, 2, because());
        assert!(order.is_acyclic());
        order.next[2].insert(0, because());
        assert!(!order.is_acyclic());
    }
}
