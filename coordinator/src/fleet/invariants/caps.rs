//! Safety: no more databases are worked on than may be, in all, of a wave, of a server. One that begins under
//! a limit that is lowered later is not counted against it.

use std::collections::BTreeMap;

use super::Look;

pub(super) fn handled(look: &Look<'_>) {
    let caps = &look.order.caps;
    assert!(
        look.jobs.len() <= caps.in_all() as usize,
        "caps: {} databases at once",
        look.jobs.len()
    );
    let (mut servers, mut waves) = (BTreeMap::new(), BTreeMap::new());
    for (member, _) in look.jobs {
        let server = look.fleet.server(*member);
        *servers.entry(server).or_insert(0_u32) += 1;
        *waves.entry(look.fleet.wave(*member)).or_insert(0_u32) += 1;
    }
    for (server, count) in servers {
        assert!(
            count <= caps.of_server(server, server),
            "caps: {count} databases of {server} at once"
        );
    }
    for (wave, count) in waves {
        let Some(wave) = wave else { continue };
        let cap = look.order.waves[wave as usize].max_databases;
        assert!(
            count <= cap.unwrap_or(u32::MAX),
            "caps: {count} databases of wave {wave} at once"
        );
    }
}
