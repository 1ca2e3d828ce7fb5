//! Members → waves.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use upshift_shared::fleet::Wave;

use super::member::{Found, Member};

/// The wave of each member, in the order in which they are given; `None` for those that are left
/// alone, because they are at the target already or cannot be upgraded, or were until somebody named
/// them.
///
/// A member whose ledger names a wave stays in it. Of the others those come first whose names have
/// the smallest hashes, so that a wave is neither of one server nor of one kind, and is the same
/// when it is asked for again.
#[must_use]
pub fn assign(waves: &[Wave], members: &[Member]) -> Vec<Option<u32>> {
    // What has begun without a wave was left alone, until an operator named it.
    let taking = |member: &Member| match member.found {
        Found::Current | Found::Refused(_) => false,
        Found::Untouched
        | Found::TooLong(_)
        | Found::Unknown(_)
        | Found::Lost(_)
        | Found::NotBegun(_) => true,
        _ => member.wave.is_some(),
    };
    let last = u32::try_from(waves.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let mut assigned: Vec<Option<u32>> = members
        .iter()
        .map(|member| {
            let own = member.wave.filter(|_| taking(member));
            own.map(|wave| wave.min(last))
        })
        .collect();
    let all = members.iter().filter(|member| taking(member)).count();
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    let mut left: Vec<(u64, usize)> = members
        .iter()
        .enumerate()
        .filter(|(place, member)| assigned[*place].is_none() && taking(member))
        .map(|(place, member)| (hash(member), place))
        .collect();
    left.sort_by(|a, b| {
        let names = || members[a.1].name.cmp(&members[b.1].name);
        a.0.cmp(&b.0).then_with(names)
    });
    for (number, wave) in (0_u32..).zip(waves) {
        let there = assigned.iter().filter(|own| **own == Some(number)).count();
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        let share = wave.take.of(all).saturating_sub(there) as usize;
        // How large one is that could not be looked at nobody knows.
        let fits = |place: usize| {
            let is_known = !matches!(members[place].found, Found::Unknown(_) | Found::Lost(_));
            (is_known || !wave.goes_by_size())
                && wave.fits(&members[place].labels, members[place].bytes)
        };
        let taken: HashSet<usize> = left
            .iter()
            .map(|(_, place)| *place)
            .filter(|place| fits(*place))
            .take(share)
            .collect();
        for place in &taken {
            assigned[*place] = Some(number);
        }
        left.retain(|(_, place)| !taken.contains(place));
    }
    assigned
}

fn hash(member: &Member) -> u64 {
    let digest = Sha256::digest(member.name.to_string());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
