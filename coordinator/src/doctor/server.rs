//! The server: version, encryption, settings, connections, space.

use sqlx::Row;
use upshift_shared::pg::PgConnection;

use super::{Finding, or_hidden};

pub(super) async fn version(conn: &mut PgConnection) -> Finding {
    let check = "server version";
    let query = sqlx::query(
        "-- upshift: doctor: version
         SELECT current_setting('server_version') AS name,
                current_setting('server_version_num')::integer AS number",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let (name, number): (String, i32) = (row.try_get("name")?, row.try_get("number")?);
        Ok(match number / 10_000 {
            14..=18 => Finding::ok(check, format!("PostgreSQL {name}")),
            0..=13 => Finding::problem(
                check,
                format!("PostgreSQL {name}"),
                "upshift needs PostgreSQL 14 to 18: upgrade the server first",
            ),
            _ => Finding::warn(
                check,
                format!("PostgreSQL {name}"),
                "newer than the versions that upshift knows (14 to 18): try it on a copy first",
            ),
        })
    });
    or_hidden(check, found)
}

pub(super) async fn encryption(conn: &mut PgConnection) -> Finding {
    let check = "encryption";
    let query = sqlx::query(
        "-- upshift: doctor: encryption
         SELECT s.ssl, coalesce(s.version, '') AS version, coalesce(s.cipher, '') AS cipher,
                inet_server_addr() IS NULL
                OR inet_server_addr() <<= inet '127.0.0.0/8' OR inet_server_addr() = inet '::1' AS local
           FROM pg_catalog.pg_stat_ssl s WHERE s.pid = pg_catalog.pg_backend_pid()",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let (ssl, local): (bool, bool) = (row.try_get("ssl")?, row.try_get("local")?);
        let (version, cipher): (String, String) = (row.try_get("version")?, row.try_get("cipher")?);
        Ok(match (ssl, local) {
            (true, _) => Finding::ok(check, format!("{version}, {cipher}")),
            (false, true) => Finding::ok(check, "none, on this machine"),
            (false, false) => Finding::warn(
                check,
                "none, over a network",
                "set sslmode=verify-full and sslrootcert, so that nobody between can read or change \
                 anything",
            ),
        })
    });
    or_hidden(check, found)
}

const SETTINGS: &str = "-- upshift: doctor: settings
         SELECT pg_catalog.pg_is_in_recovery() AS standby,
                current_setting('default_transaction_read_only')::boolean AS read_only,
                current_setting('autovacuum')::boolean AS autovacuum,
                current_setting('fsync')::boolean AS fsync,
                current_setting('session_replication_role') AS replication_role,
                current_setting('synchronous_standby_names') AS synchronous,
                (SELECT setting::bigint FROM pg_catalog.pg_settings
                  WHERE name = 'maintenance_work_mem') AS maintenance_kb,
                (SELECT setting::bigint FROM pg_catalog.pg_settings
                  WHERE name = 'max_wal_size') AS max_wal_mb";

pub(super) async fn settings(conn: &mut PgConnection) -> Vec<Finding> {
    let check = "settings";
    let query = sqlx::query(SETTINGS);
    let row = match query.fetch_one(conn).await {
        Ok(row) => row,
        Err(error) => return vec![Finding::hidden(check, &error)],
    };
    let flag = |name: &str| row.try_get::<bool, _>(name).unwrap_or_default();
    let text = |name: &str| row.try_get::<String, _>(name).unwrap_or_default();
    let number = |name: &str| row.try_get::<Option<i64>, _>(name).ok().flatten();
    let replication_role = text("replication_role");
    let looked_at = [
        flag("standby")
            .then(|| Finding::problem(check, "this server is a standby", "connect to the primary")),
        flag("read_only").then(|| {
            let advice = "set default_transaction_read_only = off for this role or database";
            Finding::problem(check, "transactions are read-only", advice)
        }),
        (!flag("autovacuum")).then(|| {
            let advice = "turn it on, or VACUUM what was upgraded by hand";
            Finding::warn(check, "autovacuum is off", advice)
        }),
        (!flag("fsync")).then(|| {
            let advice = "after a crash of the server, neither data nor ledger can be trusted";
            Finding::warn(check, "fsync is off", advice)
        }),
        (replication_role != "origin").then(|| {
            let found = format!("session_replication_role is {replication_role}");
            let advice = "triggers and foreign keys would not fire: set it back to origin";
            Finding::problem(check, found, advice)
        }),
        (!text("synchronous").is_empty()).then(|| {
            let advice = "every unit waits for the standby: expect a slower run, and watch its lag";
            Finding::warn(check, "replication is synchronous", advice)
        }),
    ];
    let sizes = [
        number("maintenance_kb")
            .is_some_and(|kb| kb < 64 * 1024)
            .then(|| {
                let advice =
                    "SET it to 256MB or more for this role: indexes and foreign keys build faster";
                Finding::warn(check, "maintenance_work_mem is below 64MB", advice)
            }),
        number("max_wal_mb").is_some_and(|mb| mb < 1024).then(|| {
            let advice = "raise it for the upgrade: checkpoints would come often";
            Finding::warn(check, "max_wal_size is below 1GB", advice)
        }),
    ];
    let findings: Vec<Finding> = looked_at.into_iter().chain(sizes).flatten().collect();
    if findings.is_empty() {
        vec![Finding::ok(check, "nothing in the way")]
    } else {
        findings
    }
}

pub(super) async fn connections(conn: &mut PgConnection) -> Finding {
    let check = "connections";
    let query = sqlx::query(
        "-- upshift: doctor: connections
         SELECT current_setting('max_connections')::bigint
                - current_setting('superuser_reserved_connections')::bigint
                - (SELECT count(*) FROM pg_catalog.pg_stat_activity
                    WHERE backend_type = 'client backend') AS free,
                (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user) AS role_limit,
                (SELECT datconnlimit FROM pg_catalog.pg_database
                  WHERE datname = current_database()) AS database_limit",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let free: i64 = row.try_get("free")?;
        let limits: [i32; 2] = [row.try_get("role_limit")?, row.try_get("database_limit")?];
        let limit = limits.into_iter().filter(|limit| *limit >= 0).min();
        let room = limit.map_or(free, |limit| free.min(i64::from(limit)));
        Ok(if room < 8 {
            Finding::warn(
                check,
                format!("room for {room} more"),
                "a run takes one for each worker, and six: use fewer workers, or end other sessions",
            )
        } else {
            Finding::ok(check, format!("room for {room} more"))
        })
    });
    or_hidden(check, found)
}

pub(super) async fn space(conn: &mut PgConnection) -> Finding {
    let check = "space";
    let query = sqlx::query(
        "-- upshift: doctor: space
         SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(current_database())) AS size,
                (SELECT pg_catalog.pg_size_pretty(max(pg_catalog.pg_total_relation_size(c.oid)))
                   FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%') AS largest",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let size: String = row.try_get("size")?;
        let largest: Option<String> = row.try_get("largest")?;
        Ok(Finding::warn(
            check,
            format!("the database takes {size}, its largest table {}", largest.unwrap_or_default()),
            "how much is free only the server's own machine can tell: until commit the old values of \
             what is changed are kept, so have as much free as the changed tables take, and as much \
             again for WAL",
        ))
    });
    or_hidden(check, found)
}
