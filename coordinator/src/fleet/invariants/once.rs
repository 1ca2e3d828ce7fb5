//! Safety: at most one thing is done to a member at a time, and exactly then its state says so.

use std::collections::BTreeSet;

use super::Look;

pub(super) fn handled(look: &Look<'_>) {
    let busy: BTreeSet<_> = look.jobs.iter().map(|(member, _)| *member).collect();
    assert_eq!(busy.len(), look.jobs.len(), "once: {:?}", look.jobs);
    for member in look.fleet.members() {
        let state = look.fleet.state(member);
        assert_eq!(
            state.is_active(),
            busy.contains(&member),
            "once: {} is {state:?}",
            look.fleet.name(member)
        );
    }
    let tally = look.fleet.tally(None);
    assert_eq!(tally.active() as usize, busy.len(), "once: the tally");
    assert_eq!(
        tally.members() as usize,
        look.ledgers.len(),
        "once: the tally"
    );
}
