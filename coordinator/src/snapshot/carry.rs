//! What CREATE DATABASE … TEMPLATE does not copy, because it is not in the database but about it:
//! privileges, settings, the limit of connections. (Owner, encoding, locale and tablespace it does; the
//! comment is a [`super::marker`] until the copy takes the database's place.)

use serde::{Deserialize, Serialize};
use sqlx::Row;
use upshift_shared::{
    Error, Result,
    pg::{
        PgConnection, execute_raw,
        ident::{ident, literal},
    },
};

/// Settings that are lists of names: each element is a literal of its own, or the list would become one
/// name (`variable_is_guc_list_quote` in PostgreSQL's dumputils.c).
const LISTS: [&str; 7] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
    "restrict_nonsystem_relation_kind",
];

/// Something that the database has and the copy lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Property {
    /// In words: without a setting's value, which may be a secret.
    what: String,
    /// Gives it to the copy.
    statement: String,
}

impl Property {
    fn new(what: String, statement: String) -> Self {
        Self { what, statement }
    }
}

/// Gives the copy what the database has.
pub(super) async fn carry(conn: &mut PgConnection, database: &str, copy: &str) -> Result<()> {
    let properties = properties(conn, database, copy).await?;
    execute(conn, &properties).await
}

/// What the database has now.
pub(super) async fn properties(
    conn: &mut PgConnection,
    database: &str,
    copy: &str,
) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    let context = "reading what is set for the database";
    let row = sqlx::query(
        "-- upshift: the database's own properties
         SELECT datconnlimit, datacl IS NOT NULL AS has_acl, pg_get_userbyid(datdba)::text AS owner
           FROM pg_catalog.pg_database WHERE datname = $1",
    )
    .bind(database)
    .fetch_one(&mut *conn)
    .await
    .map_err(Error::database(context))?;
    let limit: i32 = row
        .try_get("datconnlimit")
        .map_err(Error::database(context))?;
    let has_acl: bool = row.try_get("has_acl").map_err(Error::database(context))?;
    let owner: String = row.try_get("owner").map_err(Error::database(context))?;
    let copy = ident(copy);
    if limit != -1 {
        properties.push(Property::new(
            "the limit of connections".to_owned(),
            format!("ALTER DATABASE {copy} CONNECTION LIMIT {limit}"),
        ));
    }
    settings(conn, database, &copy, &mut properties).await?;
    if has_acl {
        let all = format!(
            "REVOKE ALL ON DATABASE {copy} FROM PUBLIC, {}",
            ident(&owner)
        );
        properties.push(Property::new("no privileges but those".to_owned(), all));
        privileges(conn, (database, &owner), &copy, &mut properties).await?;
    }
    Ok(properties)
}

/// Gives them to the copy.
pub(super) async fn execute(conn: &mut PgConnection, properties: &[Property]) -> Result<()> {
    for Property { what, statement } in properties {
        execute_raw(conn, format!("-- upshift: as the database\n{statement}"))
            .await
            .map_err(Error::database(format!(
                "giving the copy what the database has: {what}"
            )))?;
    }
    Ok(())
}

async fn settings(
    conn: &mut PgConnection,
    database: &str,
    copy: &str,
    properties: &mut Vec<Property>,
) -> Result<()> {
    let context = "reading the settings of the database";
    let rows = sqlx::query(
        "-- upshift: the database's settings
         SELECT CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole)::text END AS role,
                split_part(c.entry, '=', 1) AS name, substr(c.entry, strpos(c.entry, '=') + 1) AS value
           FROM pg_catalog.pg_db_role_setting s
           JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
          CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY AS c (entry, place)
          WHERE d.datname = $1 ORDER BY s.setrole, c.place",
    )
    .bind(database)
    .fetch_all(conn)
    .await
    .map_err(Error::database(context))?;
    for row in rows {
        let role: Option<String> = row.try_get("role").map_err(Error::database(context))?;
        let name: String = row.try_get("name").map_err(Error::database(context))?;
        let value: String = row.try_get("value").map_err(Error::database(context))?;
        properties.push(setting(copy, role.as_deref(), (&name, &value)));
    }
    Ok(())
}

/// A setting of the database, or of a role in it.
fn setting(copy: &str, role: Option<&str>, (name, value): (&str, &str)) -> Property {
    let value = if LISTS.contains(&name) {
        let items: Vec<String> = list(value).iter().map(|item| literal(item)).collect();
        items.join(", ")
    } else {
        literal(value)
    };
    // A setting of an extension has a prefix: two identifiers.
    let parts: Vec<String> = name.split('.').map(ident).collect();
    let set = format!("SET {} TO {value}", parts.join("."));
    match role {
        None => Property::new(
            format!("the setting {name}"),
            format!("ALTER DATABASE {copy} {set}"),
        ),
        Some(role) => Property::new(
            format!("the setting {name} of role {role}"),
            format!("ALTER ROLE {} IN DATABASE {copy} {set}", ident(role)),
        ),
    }
}

/// The elements of a list as `SplitGUCList` reads it: separated by commas, in double quotes where they
/// have to be.
fn list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let (mut item, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                item.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                items.push(std::mem::take(&mut item));
                was_quoted = false;
            }
            c if !quoted && c.is_whitespace() => {}
            c => item.push(c),
        }
    }
    if !item.is_empty() || was_quoted || !items.is_empty() {
        items.push(item);
    }
    if items.is_empty() {
        // An empty list is one empty name.
        items.push(String::new());
    }
    items
}

async fn privileges(
    conn: &mut PgConnection,
    (database, owner): (&str, &str),
    copy: &str,
    properties: &mut Vec<Property>,
) -> Result<()> {
    let context = "reading the privileges on the database";
    let rows = sqlx::query(
        "-- upshift: the database's privileges, in their order
         SELECT pg_get_userbyid(a.grantor)::text AS grantor,
                CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee)::text END AS grantee,
                a.privilege_type, a.is_grantable
           FROM pg_catalog.pg_database d
          CROSS JOIN LATERAL aclexplode(d.datacl) WITH ORDINALITY
                AS a (grantor, grantee, privilege_type, is_grantable, place)
          WHERE d.datname = $1 ORDER BY a.place",
    )
    .bind(database)
    .fetch_all(conn)
    .await
    .map_err(Error::database(context))?;
    for row in rows {
        let text = |name: &str| {
            row.try_get::<String, _>(name)
                .map_err(Error::database(context))
        };
        let grantee: Option<String> = row.try_get("grantee").map_err(Error::database(context))?;
        let grantable: bool = row
            .try_get("is_grantable")
            .map_err(Error::database(context))?;
        let grantor = text("grantor")?;
        let privilege = text("privilege_type")?;
        let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |grantee| ident(&grantee));
        let what = format!("the privilege {privilege} of {grantee}");
        let grant = format!(
            "GRANT {privilege} ON DATABASE {copy} TO {grantee}{}",
            if grantable { " WITH GRANT OPTION" } else { "" }
        );
        let statement = if grantor == owner {
            grant
        } else {
            // A privilege is remembered with whoever granted it. Statements that are sent together are one
            // transaction, so that the role ends with it.
            format!("SET LOCAL ROLE {};\n{grant}", ident(&grantor))
        };
        properties.push(Property::new(what, statement));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_settings_are_in_no_message() {
        for role in [None, Some("clerk")] {
            let found = setting("copy", role, ("shop.token", "hunter2"));
            assert!(found.statement.ends_with("TO 'hunter2'"), "{found:?}");
            assert!(found.what.contains("shop.token"), "{found:?}");
            assert!(!found.what.contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn lists_are_taken_apart_as_postgresql_does() {
        assert_eq!(list("\"$user\", public"), ["$user", "public"]);
        assert_eq!(list("\"a\"\"b, c\",d"), ["a\"b, c", "d"]);
        assert_eq!(list(""), [""]);
        assert_eq!(list("\"\""), [""]);
    }
}
