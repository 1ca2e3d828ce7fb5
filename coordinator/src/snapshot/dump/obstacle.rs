//! What stands in the way of dumps here: the directory, the programs, and what an ordinary role cannot
//! restore.

use std::{path::Path, time::Duration};

use tokio::{process::Command, time::timeout};
use upshift_shared::{
    Error, Result,
    config::SnapshotSettings,
    pg::{PgConnection, Target},
};

pub(super) const NO_DIRECTORY: &str =
    "[snapshot] of upshift.toml has no directory for dumps: directory = \"/…\"";

/// A program says its version at once.
const TO_ANSWER: Duration = Duration::from_secs(30);
/// So many objects are named.
const NAMED: usize = 5;

/// Objects that an ordinary role could not give back to their owner, or could not create. What is an
/// extension's comes with it.
const OUT_OF_REACH: &str = "-- upshift: what the role could not restore
WITH object AS (
    SELECT 'pg_catalog.pg_class'::regclass AS class, oid, relowner AS owner FROM pg_catalog.pg_class
     WHERE relkind NOT IN ('t', 'i', 'I') AND relpersistence <> 't'
    UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, proowner FROM pg_catalog.pg_proc
    UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typowner FROM pg_catalog.pg_type
     WHERE typrelid = 0 AND typelem = 0
    UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, nspowner FROM pg_catalog.pg_namespace
     WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'pg_catalog.pg_operator'::regclass, oid, oprowner FROM pg_catalog.pg_operator
    UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, oid, collowner FROM pg_catalog.pg_collation
    UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, oid, cfgowner FROM pg_catalog.pg_ts_config
    UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, oid, dictowner FROM pg_catalog.pg_ts_dict
    UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, srvowner FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid, pubowner FROM pg_catalog.pg_publication
    UNION ALL SELECT 'pg_catalog.pg_largeobject'::regclass, oid, lomowner
      FROM pg_catalog.pg_largeobject_metadata),
privileged AS (
    SELECT 'pg_catalog.pg_event_trigger'::regclass AS class, oid FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid FROM pg_catalog.pg_publication WHERE puballtables
    UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, p.oid FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE NOT l.lanpltrusted
    UNION ALL SELECT 'pg_catalog.pg_extension'::regclass, e.oid FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
     WHERE v.superuser AND NOT v.trusted)
SELECT what FROM (
    SELECT class, oid, format('%s belongs to %s', pg_describe_object(class, oid, 0),
                              quote_ident(pg_get_userbyid(owner))) AS what
      FROM object WHERE NOT pg_has_role(owner, 'MEMBER')
    UNION ALL
    SELECT class, oid, format('%s needs a superuser', pg_describe_object(class, oid, 0)) FROM privileged) o
 WHERE o.oid >= 16384 /* FirstNormalObjectId: below is what every database has */
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e')
   AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
 ORDER BY what LIMIT 6";

/// All of it, for people.
///
/// # Errors
/// When the database cannot be asked.
pub(in super::super) async fn obstacles(
    conn: &mut PgConnection,
    target: &Target,
    settings: &SnapshotSettings,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    match settings.directory.as_deref() {
        None => found.push(NO_DIRECTORY.to_owned()),
        Some(directory) => found.extend(unusable(directory)),
    }
    let major = conn.server_version_num().unwrap_or_default() / 10_000;
    for program in ["pg_dump", "pg_restore"] {
        found.extend(other_version(program, target, major).await);
    }
    if !may_use_tablespace(conn).await? {
        found.push(
            "the database is in a tablespace that the role may not create in: GRANT CREATE ON TABLESPACE …"
                .to_owned(),
        );
    }
    let mut objects: Vec<String> = sqlx::query_scalar(OUT_OF_REACH)
        .fetch_all(&mut *conn)
        .await
        .map_err(Error::database("asking what the role could restore"))?;
    if objects.len() > NAMED {
        objects.truncate(NAMED);
        objects.push("more".to_owned());
    }
    if !objects.is_empty() {
        found.push(format!(
            "the role could not restore all of the database ({}): connect as a superuser, or be granted the \
             owners' roles",
            objects.join(", ")
        ));
    }
    Ok(found)
}

/// CREATE DATABASE asks for no privilege on the tablespace of the template.
async fn may_use_tablespace(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar(
        "-- upshift: may the role create a database where this one is
         SELECT d.dattablespace = t.dattablespace OR has_tablespace_privilege(d.dattablespace, 'CREATE')
           FROM pg_catalog.pg_database d, pg_catalog.pg_database t
          WHERE d.datname = current_database() AND t.datname = 'template0'",
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("asking for privileges on the tablespace"))
}

/// Why no dump can be put there.
fn unusable(directory: &Path) -> Option<String> {
    let error = tempfile::NamedTempFile::new_in(directory).err()?;
    Some(format!(
        "directory {} of [snapshot] in upshift.toml cannot be written to ({}): make it, for the user that \
         runs upshift",
        directory.display(),
        // What tempfile says names the file, too.
        error.kind()
    ))
}

/// Why this program does not do. An older pg_dump refuses a newer server; what a newer one writes, an older
/// server need not understand (PostgreSQL manual, pg_dump, Notes; 17 sets `transaction_timeout`).
async fn other_version(program: &str, target: &Target, major: u32) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        // Debian's wrapper chooses by them.
        .envs(target.environment())
        .env_remove("PGPASSWORD")
        .kill_on_drop(true)
        .output();
    let output = match timeout(TO_ANSWER, output).await {
        Ok(Ok(output)) if output.status.success() => output,
        _ => {
            return Some(format!(
                "{program} was not found: install the client programs of PostgreSQL {major}, and have them \
                 on PATH"
            ));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2).unwrap_or("?");
    let found = version.split(|c: char| !c.is_ascii_digit()).next();
    match found.and_then(|digits| digits.parse().ok()) == Some(major) {
        true => None,
        false => Some(format!(
            "{program} is of version {version}, and the server of {major}: have the programs of \
             PostgreSQL {major} first on PATH"
        )),
    }
}
