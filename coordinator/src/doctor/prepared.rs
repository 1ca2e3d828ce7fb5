//! Prepared transactions: whether the server allows any, which only groups of databases need, and those
//! that nobody ends.

use sqlx::Row;
use upshift_shared::pg::PgConnection;

use super::{Finding, Level, or_hidden};

/// Prepared for so long, a transaction has most likely been forgotten.
const FORGOTTEN: &str = "10 minutes";

const PREPARED: &str = "-- upshift: doctor: prepared transactions
     SELECT current_setting('max_prepared_transactions')::bigint AS most,
            (SELECT count(*) FROM pg_catalog.pg_prepared_xacts) AS taken,
            (SELECT count(*) FROM pg_catalog.pg_prepared_xacts
              WHERE database = current_database() AND prepared < now() - $1::text::interval) AS old,
            (SELECT min(gid) FROM pg_catalog.pg_prepared_xacts
              WHERE database = current_database() AND prepared < now() - $1::text::interval) AS example";

pub(super) async fn transactions(conn: &mut PgConnection) -> Finding {
    let check = "prepared transactions";
    let query = sqlx::query(PREPARED).bind(FORGOTTEN);
    let found = query.fetch_one(conn).await.and_then(|row| {
        let (most, taken): (i64, i64) = (row.try_get("most")?, row.try_get("taken")?);
        let old: i64 = row.try_get("old")?;
        let example: Option<String> = row.try_get("example")?;
        Ok(match (most, example) {
            (_, Some(gid)) => Finding::warn(
                check,
                format!("{old} in this database for longer than {FORGOTTEN}, such as {gid}"),
                "they hold locks, and keep VACUUM from old rows: whoever prepared them has to end them; \
                 those of upshift, upshift resume or rollback with --group does",
            ),
            (0, None) => Finding::new(
                check,
                Level::Ok,
                "the server allows none (max_prepared_transactions is 0)",
                "enough for one database; for a group of databases (--group) set it to the number of \
                 its databases on this server or more, 10 for example, and restart the server",
            ),
            (_, None) => Finding::ok(check, format!("room for {} more", most - taken)),
        })
    });
    or_hidden(check, found)
}
