//! Liveness: no database waits without a reported reason, and none that has failed is without one. One that
//! nothing keeps is begun at once.

use super::Look;
use crate::fleet::Reason;

pub(super) fn handled(look: &Look<'_>) {
    for member in look.fleet.members() {
        let state = look.fleet.state(member);
        let reason = look.fleet.reason(member);
        let is_owed = !state.has_ended() || look.fleet.has_failed(member);
        assert!(
            !is_owed || reason.is_some(),
            "waits: {} is {state:?}, and nobody knows why",
            look.fleet.name(member)
        );
        assert!(
            !state.waits() || !matches!(reason, Some(Reason::UnderWay(_))),
            "waits: {} is {state:?}, nothing keeps it, and it has not been begun",
            look.fleet.name(member)
        );
    }
}
