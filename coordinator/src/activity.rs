//! What the sessions of a run are at, as `pg_stat_activity` and `pg_locks` tell: who works, who waits for
//! whom. Never the text of anybody's query.

use serde::{Deserialize, Serialize};
use sqlx::{Row, postgres::PgRow};
use upshift_shared::{
    Error, Result,
    ids::{RunId, TaskId, UnitId},
    pg::PgConnection,
};

/// A session of the run that has something to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activity {
    /// Its server process.
    pub pid: i32,
    /// The task and unit that it works on; none for the driver's own.
    #[serde(flatten)]
    pub unit: Option<UnitOf>,
    /// How long its transaction has been open, in seconds.
    pub seconds: f64,
    /// What it waits for; `None` where it works.
    pub wait: Option<Wait>,
}

/// A unit and its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UnitOf {
    /// The task.
    pub task: TaskId,
    /// The unit.
    pub unit: UnitId,
}

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wait {
    /// How long, in seconds.
    pub seconds: f64,
    /// In words, with who is in the way.
    pub reason: String,
    /// Who holds, or is before it in the queue for, the lock that it waits for.
    pub blockers: Vec<Blocker>,
}

/// A session that another one waits for. What the role may not see is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Its server process; 0 for a prepared transaction.
    pub pid: i32,
    /// What it says it is.
    pub application: Option<String>,
    /// Its role.
    pub user: Option<String>,
    /// `active`, `idle in transaction`, …
    pub state: Option<String>,
    /// When its transaction began: RFC 3339, UTC.
    pub since: Option<String>,
}

/// Locks are asked for only of who waits for one: the condition stands within each subquery, because what
/// is joined LATERAL is evaluated before ON is.
///
/// `waitstart` is there from PostgreSQL 14 on, and NULL for a moment after a wait has begun. Who waits for
/// a row waits for its transaction, and holds the row's `tuple` lock meanwhile, which says the table.
const SESSIONS: &str = "-- upshift: what the sessions of a run are at
SELECT a.pid, a.application_name,
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)), 0)::float8
           AS seconds,
       a.wait_event_type, a.wait_event,
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(l.waitstart, a.query_start)), 0)::float8
           AS waited,
       l.locktype, l.mode,
       coalesce(l.relation, t.relation)::regclass::text AS relation,
       coalesce(b.blockers, '[]')::text AS blockers
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN LATERAL (
       SELECT * FROM pg_catalog.pg_locks l
        WHERE a.wait_event_type = 'Lock' AND l.pid = a.pid AND NOT l.granted LIMIT 1
       ) l ON true
  LEFT JOIN LATERAL (
       SELECT t.relation FROM pg_catalog.pg_locks t
        WHERE a.wait_event_type = 'Lock' AND t.pid = a.pid AND t.locktype = 'tuple' AND t.granted LIMIT 1
       ) t ON true
  LEFT JOIN LATERAL (
       SELECT json_agg(json_build_object(
                  'pid', p.pid,
                  'application', coalesce(nullif(o.application_name, ''), o.backend_type),
                  'user', o.usename, 'state', o.state,
                  'since', to_char(o.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))
                  ORDER BY p.pid) AS blockers
         FROM (SELECT DISTINCT unnest(pg_catalog.pg_blocking_pids(a.pid)) AS pid
                WHERE a.wait_event_type = 'Lock') p
         LEFT JOIN pg_catalog.pg_stat_activity o ON o.pid = p.pid
       ) b ON true
 WHERE a.datname = current_database() AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.backend_type = 'client backend' AND a.state NOT IN ('idle', 'disabled')
   AND starts_with(a.application_name, $1)
 ORDER BY a.pid";

/// The run's sessions that have something to do, by process.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sessions(conn: &mut PgConnection, run: RunId) -> Result<Vec<Activity>> {
    let failed = || Error::database("asking what the run's sessions are at");
    let rows = sqlx::query(SESSIONS)
        .bind(format!("upshift {} ", run.short()))
        .fetch_all(conn)
        .await
        .map_err(failed())?;
    rows.iter()
        .map(decode)
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

fn decode(row: &PgRow) -> sqlx::Result<Activity> {
    let name: String = row.try_get("application_name")?;
    Ok(Activity {
        pid: row.try_get("pid")?,
        unit: unit(&name),
        seconds: row.try_get("seconds")?,
        wait: wait(row)?,
    })
}

/// From `upshift <run> t3 u7`.
fn unit(application_name: &str) -> Option<UnitOf> {
    let mut words = application_name.split(' ').skip(2);
    let mut number = |prefix| words.next()?.strip_prefix(prefix)?.parse().ok();
    Some(UnitOf {
        task: TaskId(number('t')?),
        unit: UnitId(number('u')?),
    })
}

fn wait(row: &PgRow) -> sqlx::Result<Option<Wait>> {
    let kind: Option<String> = row.try_get("wait_event_type")?;
    let event: Option<String> = row.try_get("wait_event")?;
    let (mut blockers, mut seconds) = (Vec::new(), row.try_get("seconds")?);
    // PostgreSQL, table "Wait Event Types": reading, writing, computing, its client and its own parallel
    // workers are how a session works; the rest is somebody else's doing.
    let reason = match (kind.as_deref(), event.as_deref()) {
        (Some("Lock"), _) => {
            let found: String = row.try_get("blockers")?;
            blockers = serde_json::from_str(&found).unwrap_or_default();
            seconds = row.try_get("waited")?;
            lock_reason(
                row.try_get::<Option<String>, _>("locktype")?.as_deref(),
                row.try_get::<Option<String>, _>("mode")?.as_deref(),
                row.try_get::<Option<String>, _>("relation")?.as_deref(),
                &blockers,
            )
        }
        (Some("BufferPin"), _) => "waits for other sessions to leave a page alone".to_owned(),
        (Some("IPC"), Some("SyncRep")) => {
            "waits for a synchronous standby to confirm its commit".to_owned()
        }
        (Some("IPC"), Some("SafeSnapshot")) => "waits for a safe snapshot".to_owned(),
        _ => return Ok(None),
    };
    Ok(Some(Wait {
        seconds,
        reason,
        blockers,
    }))
}

fn lock_reason(
    locktype: Option<&str>,
    mode: Option<&str>,
    relation: Option<&str>,
    blockers: &[Blocker],
) -> String {
    let what = match (locktype, relation) {
        (Some("relation"), Some(relation)) => {
            let mode = mode.map_or_else(String::new, |mode| format!("{mode} "));
            format!("a lock ({mode}on {relation})")
        }
        (Some("transactionid" | "tuple"), Some(relation)) => format!("a row of {relation}"),
        (Some("transactionid" | "tuple"), None) => "a row".to_owned(),
        (Some(other), Some(relation)) => format!("a lock ({other} of {relation})"),
        (Some(other), None) => format!("a lock ({other})"),
        (None, _) => "a lock".to_owned(),
    };
    let by: Vec<String> = blockers.iter().map(ToString::to_string).collect();
    if by.is_empty() {
        format!("waits for {what}")
    } else {
        format!("waits for {what} held by {}", by.join("; by "))
    }
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == 0 {
            return f.write_str("a prepared transaction (see pg_prepared_xacts)");
        }
        write!(f, "process {}", self.pid)?;
        let mut facts = Vec::new();
        facts.extend(self.application.clone());
        facts.extend(self.user.as_ref().map(|user| format!("user {user}")));
        facts.extend(self.state.clone());
        facts.extend(self.since.as_ref().map(|since| format!("since {since}")));
        if facts.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", facts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_by_their_session() {
        let of = |name| unit(name).map(|of| (of.task.0, of.unit.0));
        assert_eq!(of("upshift 0123456789ab t3 u17"), Some((3, 17)));
        assert_eq!(of("upshift 0123456789ab coordinator"), None);
        assert_eq!(of("psql"), None);
    }

    #[test]
    fn who_is_in_the_way_is_said_as_far_as_it_can_be_seen() {
        let seen = Blocker {
            pid: 17,
            application: Some("psql".to_owned()),
            user: Some("app".to_owned()),
            state: Some("idle in transaction".to_owned()),
            since: Some("2026-11-27T10:00:00Z".to_owned()),
        };
        let hidden = Blocker {
            pid: 18,
            application: None,
            user: None,
            state: None,
            since: None,
        };
        let mode = Some("AccessExclusiveLock");
        assert_eq!(
            lock_reason(Some("relation"), mode, Some("line"), &[seen, hidden]),
            "waits for a lock (AccessExclusiveLock on line) held by process 17 (psql, user app, idle \
             in transaction, since 2026-11-27T10:00:00Z); by process 18"
        );
        assert_eq!(
            lock_reason(Some("transactionid"), None, None, &[]),
            "waits for a row"
        );
    }
}
