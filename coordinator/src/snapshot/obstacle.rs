//! Which kinds of snapshots are possible here, with these rights: asked before anything is touched.

use sqlx::{Row, postgres::PgRow};
use upshift_shared::{
    Error, Result,
    config::SnapshotSettings,
    pg::{self, PgConnection, Target},
    plan::SnapshotKind,
};

use super::{Maintenance, dump};

/// What is being done.
const CONTEXT: &str = "asking whether the database may be copied";

const FACTS: &str = "-- upshift: may the database be copied and renamed
SELECT r.rolsuper, r.rolcreatedb, pg_has_role(d.datdba, 'USAGE') AND pg_has_role(d.datdba, 'MEMBER') AS owns,
       quote_ident(r.rolname) AS role, pg_get_userbyid(d.datdba)::text AS owner, d.datistemplate,
       EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE database = current_database()) AS slots,
       EXISTS (SELECT FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid) AS subscriptions,
       EXISTS (SELECT FROM pg_catalog.pg_shseclabel l
                WHERE l.classoid = 'pg_catalog.pg_database'::regclass AND l.objoid = d.oid) AS labels,
       EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s
                WHERE s.setdatabase = d.oid AND s.setrole NOT IN (0, r.oid)
                  AND NOT r.rolcreaterole) AS settings_of_others,
       EXISTS (SELECT FROM aclexplode(d.datacl) a
                WHERE a.grantor <> d.datdba AND NOT pg_has_role(a.grantor, 'MEMBER')) AS grants_of_others
  FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
 WHERE d.datname = current_database() AND r.rolname = current_user";

/// The first version where a role can be granted to set a parameter.
const PARAMETER_PRIVILEGES_FROM: u32 = 150_000;

/// What stands in the way of snapshots of this kind; `None` where nothing does.
///
/// # Errors
/// When the database cannot be asked.
pub async fn obstacle(
    conn: &mut PgConnection,
    target: &Target,
    (kind, settings): (SnapshotKind, &SnapshotSettings),
) -> Result<Option<String>> {
    match kind {
        SnapshotKind::Command => Ok(not_configured(settings)),
        SnapshotKind::Template => of_template(conn, target).await,
        SnapshotKind::Dump => {
            // It is swapped in like a copy.
            let mut found: Vec<String> = of_template(conn, target).await?.into_iter().collect();
            found.extend(dump::obstacles(conn, target, settings).await?);
            Ok((!found.is_empty()).then(|| found.join("; ")))
        }
    }
}

/// What the configuration lacks for snapshots by commands.
#[must_use]
pub fn not_configured(settings: &SnapshotSettings) -> Option<String> {
    let missing = match (&settings.create, &settings.restore) {
        (Some(_), Some(_)) => return None,
        (None, _) => "create",
        (_, None) => "restore",
    };
    Some(format!(
        "[snapshot] of upshift.toml has no \"{missing}\" command: {missing} = [\"program\", …]"
    ))
}

async fn of_template(conn: &mut PgConnection, target: &Target) -> Result<Option<String>> {
    let row = sqlx::query(FACTS)
        .fetch_one(&mut *conn)
        .await
        .map_err(Error::database(CONTEXT))?;
    let mut found = Vec::new();
    if !is(&row, "rolsuper")? {
        found.extend(missing_rights(conn, &row).await?);
    }
    let unfit = [
        ("datistemplate", "the database is a template (IS_TEMPLATE)"),
        (
            "slots",
            "the database has logical replication slots, which a copy would not have",
        ),
        (
            "subscriptions",
            "the database has subscriptions, which a copy would not have",
        ),
        (
            "labels",
            "the database has a security label, which a copy would not have",
        ),
    ];
    for (column, what) in unfit {
        if is(&row, column)? {
            found.push(what.to_owned());
        }
    }
    if found.is_empty() {
        match Maintenance::open(target).await {
            Ok(maintenance) => maintenance.close().await,
            Err(error) => found.push(format!(
                "neither database postgres nor template1 lets {} in, and a copy is made from there: {error}",
                text(&row, "role")?
            )),
        }
    }
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

/// What an ordinary role lacks.
async fn missing_rights(conn: &mut PgConnection, row: &PgRow) -> Result<Vec<String>> {
    let role = text(row, "role")?;
    let mut found = Vec::new();
    if !is(row, "owns")? {
        found.push(format!(
            "{role} does not own the database: connect as {}, or be granted that role",
            text(row, "owner")?
        ));
    }
    if !is(row, "rolcreatedb")? {
        found.push(format!(
            "{role} may not create databases: ALTER ROLE {role} CREATEDB"
        ));
    }
    if is(row, "settings_of_others")? {
        found.push(format!(
            "settings of other roles in this database could not be given to the copy (ALTER ROLE … IN \
             DATABASE): ALTER ROLE {role} CREATEROLE, or connect as a superuser"
        ));
    }
    if is(row, "grants_of_others")? {
        found.push(
            "privileges on the database that others have granted could not be given to the copy: connect as \
             a superuser"
                .to_owned(),
        );
    }
    let settings = settings_out_of_reach(conn).await?;
    if !settings.is_empty() {
        found.push(format!(
            "{role} may not give the copy what is set for the database ({}): GRANT SET ON PARAMETER … TO \
             {role} (from PostgreSQL 15 on), or connect as a superuser",
            settings.join(", ")
        ));
    }
    Ok(found)
}

fn is(row: &PgRow, column: &str) -> Result<bool> {
    row.try_get(column).map_err(Error::database(CONTEXT))
}

fn text(row: &PgRow, column: &str) -> Result<String> {
    row.try_get(column).map_err(Error::database(CONTEXT))
}

/// Settings of the database that the role could not set for a copy: those that are no ordinary user's to
/// set, placeholders of extensions that are not loaded included (`validate_option_array_item` in
/// PostgreSQL's guc.c).
async fn settings_out_of_reach(conn: &mut PgConnection) -> Result<Vec<String>> {
    let context = "asking which settings of the database could be carried over";
    let version = conn.server_version_num().unwrap_or_default();
    let granted = match version >= PARAMETER_PRIVILEGES_FROM {
        true => "has_parameter_privilege(e.name, 'SET')",
        false => "false",
    };
    let query = format!(
        "-- upshift: settings of the database that the role may not set
         SELECT DISTINCT e.name
           FROM pg_catalog.pg_db_role_setting s
           JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
          CROSS JOIN LATERAL unnest(s.setconfig) AS c (entry)
          CROSS JOIN LATERAL split_part(c.entry, '=', 1) AS e (name)
           LEFT JOIN pg_catalog.pg_settings p ON lower(p.name) = lower(e.name)
          WHERE d.datname = current_database() AND p.context IS DISTINCT FROM 'user' AND NOT {granted}
          ORDER BY e.name"
    );
    sqlx::query_scalar(pg::sql(query))
        .fetch_all(conn)
        .await
        .map_err(Error::database(context))
}
