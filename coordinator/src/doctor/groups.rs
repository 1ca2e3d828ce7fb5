//! Whether the database can be upgraded in a group: that takes prepared transactions.

use upshift_shared::{ledger, pg::PgConnection};

use super::{Finding, Level};

pub(super) async fn examine(conn: &mut PgConnection) -> Finding {
    let check = "groups of databases";
    match ledger::group::room(conn).await {
        Ok((0, _)) => Finding::new(
            check,
            Level::Ok,
            "the server allows no prepared transactions (max_prepared_transactions is 0)",
            "a run on this database alone needs none; for one on a group (--group) set it to the number \
             of the group's databases on this server or more, 10 for example, and restart the server",
        ),
        Ok((most, taken)) => Finding::ok(
            check,
            format!("room for {} more prepared transactions", most - taken),
        ),
        Err(error) => Finding::warn(check, error.to_string(), "ask whoever runs the server"),
    }
}
