//! libpq's connection keywords: which of them Upshift honours, which change nothing for it, and which
//! it must refuse because ignoring them would be less safe than what the user asked for.

use std::collections::BTreeMap;

use crate::{Error, Result, suggest::did_you_mean};

/// Settings by keyword, as given: not yet checked against each other.
pub(super) type Settings = BTreeMap<&'static str, String>;

/// What Upshift does with a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// It is honoured.
    Used,
    /// It changes nothing that Upshift depends on; accepted and left alone.
    Harmless,
    /// Only these values are accepted: others promise something that the driver does not do.
    Only(&'static [&'static str]),
}

/// Keyword, its environment variable, and what is done with it. From PostgreSQL's documentation,
/// sections 34.1.2 and 34.15.
const KEYWORDS: &[(&str, Option<&str>, Support)] = &[
    ("host", Some("PGHOST"), Support::Used),
    ("hostaddr", Some("PGHOSTADDR"), Support::Used),
    ("port", Some("PGPORT"), Support::Used),
    ("dbname", Some("PGDATABASE"), Support::Used),
    ("user", Some("PGUSER"), Support::Used),
    ("password", Some("PGPASSWORD"), Support::Used),
    ("passfile", Some("PGPASSFILE"), Support::Used),
    ("service", Some("PGSERVICE"), Support::Used),
    ("servicefile", Some("PGSERVICEFILE"), Support::Used),
    ("options", Some("PGOPTIONS"), Support::Used),
    // Every session of Upshift says in its application_name what it does.
    ("application_name", Some("PGAPPNAME"), Support::Harmless),
    ("fallback_application_name", None, Support::Harmless),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Support::Used),
    ("sslmode", Some("PGSSLMODE"), Support::Used),
    ("sslrootcert", Some("PGSSLROOTCERT"), Support::Used),
    ("sslcert", Some("PGSSLCERT"), Support::Used),
    ("sslkey", Some("PGSSLKEY"), Support::Used),
    ("client_encoding", None, Support::Harmless),
    ("keepalives", None, Support::Harmless),
    ("keepalives_idle", None, Support::Harmless),
    ("keepalives_interval", None, Support::Harmless),
    ("keepalives_count", None, Support::Harmless),
    ("tcp_user_timeout", None, Support::Harmless),
    (
        "sslcompression",
        Some("PGSSLCOMPRESSION"),
        Support::Harmless,
    ),
    ("sslsni", Some("PGSSLSNI"), Support::Harmless),
    ("krbsrvname", Some("PGKRBSRVNAME"), Support::Harmless),
    ("gsslib", Some("PGGSSLIB"), Support::Harmless),
    (
        "load_balance_hosts",
        Some("PGLOADBALANCEHOSTS"),
        Support::Harmless,
    ),
    (
        "gssencmode",
        Some("PGGSSENCMODE"),
        Support::Only(&["disable", "prefer"]),
    ),
    (
        "channel_binding",
        Some("PGCHANNELBINDING"),
        Support::Only(&["disable", "prefer"]),
    ),
    (
        "sslnegotiation",
        Some("PGSSLNEGOTIATION"),
        Support::Only(&["postgres"]),
    ),
    (
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        Support::Only(&["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ),
    (
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        Support::Only(&["TLSv1.3"]),
    ),
    (
        "target_session_attrs",
        Some("PGTARGETSESSIONATTRS"),
        Support::Only(&["any", "read-write", "primary"]),
    ),
    ("sslcrl", Some("PGSSLCRL"), Support::Only(&[])),
    ("sslcrldir", Some("PGSSLCRLDIR"), Support::Only(&[])),
    ("sslpassword", None, Support::Only(&[])),
    (
        "sslcertmode",
        Some("PGSSLCERTMODE"),
        Support::Only(&["allow"]),
    ),
    ("requirepeer", Some("PGREQUIREPEER"), Support::Only(&[])),
    ("require_auth", Some("PGREQUIREAUTH"), Support::Only(&[])),
    (
        "replication",
        None,
        Support::Only(&["false", "off", "no", "0"]),
    ),
];

/// All keywords, for messages.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(name, _, _)| *name)
}

/// The keyword of that name, as a `'static` string.
pub(super) fn find(name: &str) -> Option<&'static str> {
    names().find(|known| *known == name)
}

/// Keywords that have an environment variable, with it.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYWORDS
        .iter()
        .filter_map(|(name, variable, _)| variable.map(|variable| (*name, variable)))
}

/// Adds a setting from a connection string; a later one replaces an earlier one, as in libpq.
pub(super) fn set(settings: &mut Settings, name: &str, value: String) -> Result<()> {
    let keyword = find(name).ok_or_else(|| {
        Error::Config(format!(
            "unknown connection parameter \"{name}\"{}",
            did_you_mean(name, names())
        ))
    })?;
    settings.insert(keyword, value);
    Ok(())
}

/// Refuses values that promise what Upshift cannot keep.
pub(super) fn check(settings: &Settings) -> Result<()> {
    for (name, _, support) in KEYWORDS {
        let (Support::Only(accepted), Some(value)) = (support, settings.get(name)) else {
            continue;
        };
        if !value.is_empty() && !accepted.contains(&value.as_str()) {
            let accepted = match accepted {
                [] => "leave it out".to_owned(),
                values => format!("use {}, or leave it out", values.join(" or ")),
            };
            return Err(Error::Config(format!(
                "connection parameter {name}: this value is not supported; {accepted}"
            )));
        }
    }
    Ok(())
}
