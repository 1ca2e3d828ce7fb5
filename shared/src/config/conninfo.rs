//! libpq's connection strings: `postgresql://…` and `host=… dbname=…`. Messages name parameters,
//! never values: a value may be a password.

use percent_encoding::percent_decode_str;

use super::keyword::{self, Settings};
use crate::{Error, Result};

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Whether `--database` holds a connection string, not the name of an entry.
pub(super) fn is_conninfo(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme)) || text.contains('=')
}

/// Parses either form.
pub(super) fn parse(text: &str) -> Result<Settings> {
    match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => parse_url(rest),
        None => parse_keywords(text),
    }
}

fn parse_url(rest: &str) -> Result<Settings> {
    let mut settings = Settings::new();
    // As libpq: user information ends at the first @ that comes before any slash.
    let rest = match rest.find(['@', '/']) {
        Some(at) if rest.as_bytes()[at] == b'@' => {
            let (user, password) = split_pair(&rest[..at], ':');
            put_decoded(&mut settings, "user", user)?;
            if let Some(password) = password {
                put_decoded(&mut settings, "password", password)?;
            }
            &rest[at + 1..]
        }
        _ => rest,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    parse_authority(&mut settings, &rest[..end])?;
    let (path, query) = split_pair(&rest[end..], '?');
    put_decoded(
        &mut settings,
        "dbname",
        path.strip_prefix('/').unwrap_or(path),
    )?;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| url_error("a parameter behind ? has no value: write name=value"))?;
        let (name, value) = (decode(name)?, decode(value)?);
        // JDBC's way to say sslmode=require, which libpq understands too.
        if name == "ssl" && value == "true" {
            keyword::set(&mut settings, "sslmode", "require".to_owned())?;
        } else {
            keyword::set(&mut settings, &name, value)?;
        }
    }
    Ok(settings)
}

fn parse_authority(settings: &mut Settings, authority: &str) -> Result<()> {
    if authority.contains('@') {
        return Err(url_error(
            "more than one @ before the host: write @ in a user name or password as %40",
        ));
    }
    if authority.contains(',') {
        return Err(several_hosts());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| url_error("an IPv6 address begins with [ and has no ]"))?;
            match port.strip_prefix(':') {
                None if !port.is_empty() => {
                    return Err(url_error("only :port may stand behind the ] of an address"));
                }
                port => (host, port),
            }
        }
        None => split_pair(authority, ':'),
    };
    put_decoded(settings, "host", host)?;
    put_decoded(settings, "port", port.unwrap_or_default())
}

/// The message for what the driver cannot do.
pub(super) fn several_hosts() -> Error {
    Error::Config("several hosts in one connection string: name the primary alone".to_owned())
}

fn put_decoded(settings: &mut Settings, name: &str, value: &str) -> Result<()> {
    let value = decode(value)?;
    if value.is_empty() {
        return Ok(());
    }
    keyword::set(settings, name, value)
}

fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let hex = bytes.get(at + 1..at + 3).unwrap_or_default();
        if hex.len() < 2 || !hex.iter().all(u8::is_ascii_hexdigit) {
            return Err(url_error(
                "% not followed by two hexadecimal digits: write % as %25",
            ));
        }
        if hex == b"00" {
            return Err(url_error("%00 cannot be part of a value"));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded
        .map_err(|_| url_error("a percent-encoded value is not UTF-8"))?
        .into_owned())
}

fn url_error(what: &str) -> Error {
    Error::Config(format!("connection URL: {what}"))
}

fn split_pair(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((left, right)) => (left, Some(right)),
        None => (text, None),
    }
}

/// `name = value` pairs between spaces; values may be quoted, `\` escapes.
fn parse_keywords(text: &str) -> Result<Settings> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=').ok_or_else(|| {
            Error::Config("connection string: missing = behind the last parameter".to_owned())
        })?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::Config(
                "connection string: write name=value pairs with spaces between them, and quote \
                 values that hold spaces with '…'"
                    .to_owned(),
            ));
        }
        let (value, behind) = take_value(behind.trim_start())?;
        keyword::set(&mut settings, name, value)?;
        rest = behind.trim_start();
    }
    Ok(settings)
}

fn take_value(text: &str) -> Result<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(Error::Config(
            "connection string: a quoted value has no closing '".to_owned(),
        ));
    }
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match parse(text) {
            Ok(settings) => settings
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    /// Connection strings and what they say.
    const CASES: &[(&str, &str)] = &[
        ("postgres://", ""),
        ("postgresql://localhost", "host=localhost"),
        ("postgres:///mydb", "dbname=mydb"),
        (
            "postgres://u:p@h:5433/d?sslmode=require&sslrootcert=/ca.pem",
            "dbname=d host=h password=p port=5433 sslmode=require sslrootcert=/ca.pem user=u",
        ),
        (
            "postgres://u%40corp:p%2F%3A%40%25@h/d%20b",
            "dbname=d b host=h password=p/:@% user=u@corp",
        ),
        (
            "postgres://u@%2Fvar%2Frun/d",
            "dbname=d host=/var/run user=u",
        ),
        (
            "postgres:///d?host=/var/run&port=5555",
            "dbname=d host=/var/run port=5555",
        ),
        ("postgres://[::1]:5432/d", "dbname=d host=::1 port=5432"),
        ("postgres://h?dbname=x", "dbname=x host=h"),
        ("postgres://h/d?ssl=true", "dbname=d host=h sslmode=require"),
        (
            "postgres://h/d?options=-c%20geqo%3Doff",
            "dbname=d host=h options=-c geqo=off",
        ),
        ("host=/tmp dbname=d", "dbname=d host=/tmp"),
        (
            r"password = 'it\'s a \\' user=u",
            r"password=it's a \ user=u",
        ),
        (r"dbname=a\ b", "dbname=a b"),
        ("host='' dbname=d", "dbname=d host="),
        (
            "host=h dbnam=d",
            "error: unknown connection parameter \"dbnam\" (did you mean \"dbname\"?)",
        ),
        (
            "postgres://h/d?bogus=1",
            "error: unknown connection parameter \"bogus\"",
        ),
        (
            "postgres://a:b@c@h/d",
            "error: connection URL: more than one @ before the host: write @ in a user name or \
                 password as %40",
        ),
        (
            "postgres://u:100%@h/d",
            "error: connection URL: % not followed by two hexadecimal digits: write % as %25",
        ),
        (
            "postgres://h/d%00",
            "error: connection URL: %00 cannot be part of a value",
        ),
        (
            "postgres://a,b/d",
            "error: several hosts in one connection string: name the primary alone",
        ),
        (
            "postgres://[::1/d",
            "error: connection URL: an IPv6 address begins with [ and has no ]",
        ),
        (
            "host=h dbname='d",
            "error: connection string: a quoted value has no closing '",
        ),
        (
            "host=h dbname",
            "error: connection string: missing = behind the last parameter",
        ),
    ];

    #[test]
    fn connection_strings_mean_what_libpq_takes_them_for() {
        for (text, expected) in CASES {
            assert_eq!(parsed(text), *expected, "{text}");
        }
    }

    #[test]
    fn only_connection_strings_are_taken_for_connection_strings() {
        assert!(is_conninfo("postgres://h/d"));
        assert!(is_conninfo("dbname=d"));
        assert!(!is_conninfo("production"));
    }
}
