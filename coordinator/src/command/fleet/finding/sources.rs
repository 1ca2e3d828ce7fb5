//! Servers asked which databases they have, and queries that say it.

use std::time::Duration;

use sqlx::Row;
use upshift_shared::{
    Error,
    fleet::{Labels, MemberName},
    pg::{
        self, Target,
        transaction::{self, Spec},
    },
};

use super::super::super::Failure;
use crate::snapshot::marker::{Marker, State};

/// How long a query for members may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The databases of a server that accept connections, templates excepted.
pub(super) async fn databases(target: &Target) -> Result<Vec<String>, Failure> {
    let mut conn = pg::connect(target, "upshift fleet").await?;
    let found: Vec<(String, Option<String>)> = sqlx::query_as(
        "-- upshift: which databases are there
         SELECT datname::text, pg_catalog.shobj_description(oid, 'pg_database')
         FROM pg_catalog.pg_database
         WHERE datallowconn AND NOT datistemplate ORDER BY datname",
    )
    .persistent(false)
    .fetch_all(&mut conn)
    .await
    .map_err(Error::database("asking which databases there are"))?;
    let own = found
        .into_iter()
        .filter(|(_, comment)| !is_copy(comment.as_deref()));
    Ok(own.map(|(name, _)| name).collect())
}

/// Whether a database is a snapshot of another one, or what a restored one has replaced: its ledger is a copy
/// too, and fits no order.
fn is_copy(comment: Option<&str>) -> bool {
    let marker = comment.and_then(Marker::parse);
    marker.is_some_and(|marker| {
        matches!(marker.state, State::Taking | State::Ready | State::Replaced)
    })
}

/// What a query says: a column `database`, optional ones `server` and `label_…`, of whatever types.
pub(super) async fn query(
    target: &Target,
    query: &str,
    server: &str,
) -> Result<Vec<(MemberName, Labels)>, Failure> {
    let mut conn = pg::connect(target, "upshift fleet").await?;
    let spec = Spec {
        read_only: true,
        statement_timeout: PATIENCE,
        ..Spec::new("find the members of a fleet")
    };
    let mut tx = transaction::begin(&mut conn, &spec).await?;
    let query = query.trim().trim_end_matches(';');
    // The line break ends a comment that the query may close with.
    let sql = format!(
        "-- upshift: find the members of a fleet\n\
         SELECT pg_catalog.to_jsonb(members)::text AS member FROM (\n{query}\n) AS members"
    );
    let asking = || Error::database("asking for the members of the fleet");
    let rows = sqlx::query(pg::sql(sql))
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .map_err(asking())?;
    // Nothing was written; the connection says itself when it is gone.
    let _ended = tx.rollback().await;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let row: String = row.try_get("member").map_err(asking())?;
        found.push(member(&row, server)?);
    }
    Ok(found)
}

/// A row, as an object of JSON.
fn member(row: &str, server: &str) -> Result<(MemberName, Labels), Failure> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row)
        .map_err(|error| Failure::usage(format!("a row of the query is no object: {error}")))?;
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let (mut database, mut entry) = (None, server.to_owned());
    let mut labels = Labels::new();
    for (column, value) in &row {
        match column.as_str() {
            "database" => database = text(value),
            "server" => entry = text(value).unwrap_or(entry),
            _ => match column.strip_prefix("label_") {
                Some(label) => labels.extend(text(value).map(|value| (label.to_owned(), value))),
                None => {
                    return Err(Failure::usage(format!(
                        "the query has a column \"{column}\", which says nothing about a member: columns \
                         are database, server, label_…"
                    )));
                }
            },
        }
    }
    match database.filter(|database| !database.is_empty()) {
        Some(database) => Ok((MemberName::on(&entry, &database), labels)),
        None => Err(Failure::usage(
            "the query has a row without a database: give it a column database that is never NULL",
        )),
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::ids::RunId;

    use super::*;

    #[test]
    fn rows_become_members() {
        let (name, labels) = member(
            r#"{"database": "a/b\"\n", "label_tier": 3, "label_eu": true, "label_none": null}"#,
            "db1",
        )
        .unwrap();
        assert_eq!(name, MemberName::on("db1", "a/b\"\n"));
        let expected = [("eu", "true"), ("tier", "3")];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(labels, Labels::from(expected));

        let (name, _) = member(r#"{"database": "a", "server": "db2"}"#, "db1").unwrap();
        assert_eq!(name, MemberName::on("db2", "a"));
        for wrong in [
            r#"{"server": "a"}"#,
            r#"{"database": null}"#,
            r#"{"database": ""}"#,
            r#"{"database": "a", "other": 1}"#,
            "1",
        ] {
            assert!(member(wrong, "db1").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_snapshot_is_no_member() {
        let comment = |state: State| {
            let marker = Marker {
                state,
                run: RunId::generate(),
                database: "tenant_1".to_owned(),
                epoch: 1,
                to: None,
                comment: None,
            };
            marker.text()
        };
        for state in [State::Taking, State::Ready, State::Replaced] {
            assert!(is_copy(Some(&comment(state))));
        }
        for state in [State::Restoring, State::Restored] {
            assert!(!is_copy(Some(&comment(state))));
        }
        assert!(!is_copy(Some("our best customer")));
        assert!(!is_copy(None));
    }
}
