//! `SET`, `RESET` and `SELECT set_config(…)` in a script. `psql` runs a file in one session, so they hold
//! to the end of the file; here they become settings of the steps behind them.

use super::words::Words;
use crate::pg::ident::literal;

/// What a statement does to the settings of its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Name, and the SQL text of the value.
    Set(String, String),
    /// Back to the session's own value.
    Reset(String),
    /// All back to the session's own values.
    ResetAll,
    /// Upshift decides this itself; the remark says so.
    Ignored(String),
    /// It may not be set; byte offset and message.
    Refused(usize, String),
}

/// Settings that Upshift decides for every unit.
const OWN: &[&str] = &[
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
    "application_name",
];

/// Settings that may not be changed, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "session_replication_role",
        "would switch triggers and foreign keys off and needs a superuser: remove it",
    ),
    ("role", "would change who runs the migration: remove it"),
    (
        "session_authorization",
        "would change who runs the migration: remove it",
    ),
    ("transaction_isolation", TRANSACTION),
    ("transaction_read_only", TRANSACTION),
    ("transaction_deferrable", TRANSACTION),
    ("default_transaction_isolation", TRANSACTION),
    ("default_transaction_read_only", TRANSACTION),
    ("default_transaction_deferrable", TRANSACTION),
    ("seed", "holds only in its own session: remove it"),
];

const TRANSACTION: &str = "is decided by Upshift for every unit: remove it";

/// Settings whose value is a list of identifiers (`GUC_LIST_QUOTE` in PostgreSQL): one string with
/// commas would be taken for one name.
const LISTS: &[&str] = &["search_path", "temp_tablespaces"];

/// Reads a statement as a change of settings; `None` where it is something else.
pub(super) fn change(words: &Words<'_>) -> Option<Change> {
    if words.is(0, "set") {
        Some(set(words))
    } else if words.is(0, "reset") {
        Some(if words.is(1, "all") {
            Change::ResetAll
        } else {
            let (name, _) = name(words, 1);
            judge(words, 1, name, None)
        })
    } else {
        set_config(words)
    }
}

fn set(words: &Words<'_>) -> Change {
    let at = if words.is(1, "session") { 2 } else { 1 };
    if words.is(at, "time") && words.is(at + 1, "zone") {
        if words.is(at + 2, "interval") {
            return Change::Refused(
                words.offset(at + 2),
                "an interval as time zone cannot be carried over: write SET timezone = '…'".into(),
            );
        }
        let local = words.is(at + 2, "local") || words.is(at + 2, "default");
        let value = (!local).then(|| words.rest(at + 2).to_owned());
        return judge(words, at, "timezone".into(), value);
    }
    if words.is(at, "schema") {
        return judge(
            words,
            at,
            "search_path".into(),
            Some(words.rest(at + 1).into()),
        );
    }
    if words.is(at, "names") {
        let value = (words.len() > at + 1).then(|| words.rest(at + 1).to_owned());
        return judge(words, at, "client_encoding".into(), value);
    }
    if words.is(at, "xml") && words.is(at + 1, "option") {
        return judge(
            words,
            at,
            "xmloption".into(),
            Some(words.rest(at + 2).into()),
        );
    }
    let (name, next) = name(words, at);
    if words.is(next, "from") {
        return Change::Refused(
            words.offset(next),
            "FROM CURRENT has a meaning only in CREATE FUNCTION: write the value".into(),
        );
    }
    let value = (!words.is(next + 1, "default")).then(|| words.rest(next + 1).to_owned());
    judge(words, at, name, value)
}

/// A setting's name, with dots, and the place behind it.
fn name(words: &Words<'_>, at: usize) -> (String, usize) {
    let mut name = words.name(at).unwrap_or_default();
    let mut next = at + 1;
    while words.is(next, ".") {
        name.push('.');
        name.push_str(&words.name(next + 1).unwrap_or_default());
        next += 2;
    }
    // Names of settings are compared without regard to case.
    (name.to_ascii_lowercase(), next)
}

/// `SELECT [pg_catalog.]set_config('name', 'value', false)` and nothing else, as pg_dump writes it.
fn set_config(words: &Words<'_>) -> Option<Change> {
    if !words.is(0, "select") {
        return None;
    }
    let at = if words.is(1, "pg_catalog") && words.is(2, ".") {
        3
    } else {
        1
    };
    let shape = words.len() == at + 8
        && words.is(at, "set_config")
        && words.is(at + 1, "(")
        && words.is(at + 3, ",")
        && words.is(at + 5, ",")
        && words.is(at + 7, ")");
    let (name, value) = (words.string(at + 2)?, words.string(at + 4)?);
    if !shape {
        return None;
    }
    if words.is(at + 6, "true") {
        return Some(Change::Refused(
            words.offset(at + 6),
            "a local setting has no effect outside of a transaction: write false, which holds to the end of the file".into(),
        ));
    }
    if !words.is(at + 6, "false") {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let value = if LISTS.contains(&name.as_str()) {
        list(&value)
    } else {
        literal(&value)
    };
    Some(judge(words, at + 2, name, Some(value)))
}

/// The string form of a list of identifiers as SET takes it.
fn list(value: &str) -> String {
    value
        .split(',')
        .map(|item| {
            let item = item.trim();
            item.strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .map_or_else(
                    || literal(&item.to_lowercase()),
                    |quoted| literal(&quoted.replace("\"\"", "\"")),
                )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// Decides what to do with `SET name TO value` (or with its reset).
fn judge(words: &Words<'_>, at: usize, name: String, value: Option<String>) -> Change {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Change::Refused(words.offset(at), format!("{name} {why}"));
    }
    if OWN.contains(&name.as_str()) {
        return Change::Ignored(format!(
            "{name} is left out: Upshift sets it for every unit"
        ));
    }
    let bare = |value: &str| value.trim_matches('\'').to_ascii_lowercase();
    match (name.as_str(), &value) {
        ("client_encoding", Some(value))
            if !matches!(bare(value).as_str(), "utf8" | "utf-8" | "unicode") =>
        {
            Change::Refused(
                words.offset(at),
                "the files of a pack are UTF-8: save the file as such and remove this".into(),
            )
        }
        ("client_encoding", _) => {
            Change::Ignored("client_encoding is left out: it is UTF8 always".into())
        }
        ("standard_conforming_strings", Some(value))
            if !matches!(bare(value).as_str(), "on" | "true" | "yes" | "1") =>
        {
            Change::Refused(
                words.offset(at),
                "the files of a pack are read with standard_conforming_strings on: write E'…' where a backslash escapes".into(),
            )
        }
        (_, Some(value)) => Change::Set(name, value.clone()),
        (_, None) => Change::Reset(name),
    }
}
