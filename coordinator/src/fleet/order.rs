//! Which member of a wave begins first.

use std::cmp::Ordering;

use upshift_shared::fleet::Order;

use super::member::Member;

/// Compares two members of a wave. Where nobody knows how long they take, their sizes stand for it;
/// names decide in the end, so that the order is the same whenever it is asked for.
pub(super) fn compare(order: Order, one: &Member, other: &Member) -> Ordering {
    let by_length = || {
        let seconds = one.seconds.total_cmp(&other.seconds);
        seconds.then_with(|| one.bytes.cmp(&other.bytes))
    };
    let first = match order {
        Order::LargeFirst => by_length().reverse(),
        Order::SmallFirst => by_length(),
        Order::ByName => Ordering::Equal,
    };
    first.then_with(|| one.name.cmp(&other.name))
}
