//! What happens next: by time, and in the order in which it was asked for.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Milliseconds since the world began.
pub(super) type Millis = u64;

/// What happens next.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    asked: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Millis,
    order: u64,
    what: T,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            asked: 0,
        }
    }

    pub(super) fn push(&mut self, at: Millis, what: T) {
        let order = self.asked;
        self.asked += 1;
        self.heap.push(Reverse(Entry { at, order, what }));
    }

    pub(super) fn pop(&mut self) -> Option<(Millis, T)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
