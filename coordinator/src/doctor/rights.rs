//! What the role may do: everything needs ownership of what is changed and CREATE on the database,
//! and no more.

use sqlx::Row;
use upshift_shared::pg::PgConnection;

use super::{Finding, or_hidden};

pub(super) async fn examine(conn: &mut PgConnection) -> Vec<Finding> {
    vec![
        create(conn).await,
        ownership(conn).await,
        triggers(conn).await,
    ]
}

async fn create(conn: &mut PgConnection) -> Finding {
    let check = "privileges";
    let query = sqlx::query(
        "-- upshift: doctor: CREATE
         SELECT pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may_create,
                pg_catalog.quote_ident(current_database()) AS database,
                pg_catalog.quote_ident(current_user) AS role,
                to_regnamespace('upshift') IS NOT NULL
                AND to_regnamespace('upshift_kept') IS NOT NULL AS ledger",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let (database, role): (String, String) = (row.try_get("database")?, row.try_get("role")?);
        let (may, ledger): (bool, bool) = (row.try_get("may_create")?, row.try_get("ledger")?);
        Ok(if may {
            Finding::ok(check, format!("{role} may create schemas in {database}"))
        } else if ledger {
            Finding::ok(
                check,
                format!("{role} may not create schemas, but the ledger is there"),
            )
        } else {
            Finding::problem(
                check,
                format!("{role} may not create schemas in {database}: there would be no ledger"),
                format!("as its owner: GRANT CREATE ON DATABASE {database} TO {role}"),
            )
        })
    });
    or_hidden(check, found)
}

async fn ownership(conn: &mut PgConnection) -> Finding {
    let check = "ownership";
    let query = sqlx::query(
        "-- upshift: doctor: ownership
         SELECT count(*) AS foreign_objects,
                coalesce((array_agg(c.oid::regclass::text ORDER BY c.relname))[1:5], '{}') AS some
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
            AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
            AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                               AND d.deptype = 'e')",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let number: i64 = row.try_get("foreign_objects")?;
        let some: Vec<String> = row.try_get("some")?;
        Ok(if number == 0 {
            Finding::ok(check, "the role owns every table, view and sequence")
        } else {
            Finding::warn(
                check,
                format!("{number} tables, views or sequences belong to others: {}", some.join(", ")),
                "what a pack changes must be owned: connect as their owner, or be granted that role",
            )
        })
    });
    or_hidden(check, found)
}

async fn triggers(conn: &mut PgConnection) -> Finding {
    let check = "event triggers";
    let query = sqlx::query(
        "-- upshift: doctor: event triggers
         SELECT coalesce(array_agg(evtname::text ORDER BY evtname), '{}') AS names
           FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D'",
    );
    let found = query.fetch_one(conn).await.and_then(|row| {
        let names: Vec<String> = row.try_get("names")?;
        Ok(if names.is_empty() {
            Finding::ok(check, "none")
        } else {
            Finding::warn(
                check,
                format!("DDL fires {}", names.join(", ")),
                "see that they bear with the DDL of the pack and of its undo",
            )
        })
    });
    or_hidden(check, found)
}
