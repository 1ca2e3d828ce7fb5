//! PostgreSQL's own scanner and parser (crate `pg_query`): its messages, and the places they are about.

use pg_query::{
    ParseResult,
    protobuf::{ScanToken, Token},
};

/// PostgreSQL's own message, without what the crate puts before it.
fn message(error: pg_query::Error) -> String {
    match error {
        pg_query::Error::Parse(message)
        | pg_query::Error::Scan(message)
        | pg_query::Error::IsUtility(message)
        | pg_query::Error::Split(message) => message,
        other => other.to_string(),
    }
}

/// Whether there is nothing but what PostgreSQL's scanner takes for white space.
fn is_blank(sql: &str) -> bool {
    sql.trim_matches([' ', '\t', '\n', '\r', '\x0B', '\x0C'])
        .is_empty()
}

/// The tokens of `sql`, comments included, white space not.
///
/// # Errors
/// The scanner's message.
pub fn scan(sql: &str) -> Result<Vec<ScanToken>, String> {
    // pg_query 18.1 makes a slice of a null pointer where there is no token (undefined behaviour).
    if is_blank(sql) {
        return Ok(Vec::new());
    }
    pg_query::scan_tokens(sql).map_err(message)
}

/// Parses `sql` without building its tree here: one entry for each statement, `true` for utility
/// statements (all but SELECT, INSERT, UPDATE, DELETE and MERGE).
///
/// # Errors
/// The parser's message; [`locate`] finds its place.
pub fn check(sql: &str) -> Result<Vec<bool>, String> {
    if is_blank(sql) {
        return Ok(Vec::new());
    }
    pg_query::is_utility_stmt(sql).map_err(message)
}

/// Why there is no tree of a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFault {
    /// The parser's message; [`locate`] finds its place.
    #[error("{0}")]
    Syntax(String),
    /// PostgreSQL takes it, but expressions in it are nested deeper than a tree can be handed over
    /// (some 45 levels: a chain of fifty `||` is enough). It can only be run as it stands.
    #[error("it is nested too deep to be analysed")]
    TooDeep,
}

/// Parses `sql` into its tree.
///
/// # Errors
/// Its syntax, or its depth.
pub fn parse(sql: &str) -> Result<ParseResult, ParseFault> {
    match pg_query::parse(sql, 0) {
        Ok(parsed) => Ok(parsed),
        Err(error) => Err(match check(sql) {
            Err(syntax) => ParseFault::Syntax(syntax),
            Ok(_) if matches!(error, pg_query::Error::Decode(_)) => ParseFault::TooDeep,
            Ok(_) => match message(error) {
                deep if deep.contains("nested too deeply") || deep.contains("stack depth") => {
                    ParseFault::TooDeep
                }
                other => ParseFault::Syntax(other),
            },
        }),
    }
}

/// The byte offset in `sql` that a parser's message is about. The crate does not hand out the
/// parser's position, so it is found by what the message quotes, and among several such tokens by
/// parsing ever shorter prefixes: an LALR parser complains about the first token that cannot follow.
#[must_use]
pub fn locate(sql: &str, message: &str) -> usize {
    let Ok(tokens) = scan(sql) else {
        return locate_scan_error(sql, message);
    };
    let tokens: Vec<ScanToken> = tokens.into_iter().filter(|t| !is_comment(t)).collect();
    if message.ends_with("at end of input") {
        return tokens.last().map_or(0, |token| token.end as usize);
    }
    let Some(near) = quoted_in(message) else {
        return tokens.first().map_or(0, |token| token.start as usize);
    };
    let candidates: Vec<&ScanToken> = tokens
        .iter()
        .filter(|token| text_of(sql, token) == near)
        .collect();
    let first = candidates.partition_point(|token| {
        candidates.len() > 1
            && !matches!(check(&sql[..token.end as usize]), Err(e) if quoted_in(&e).is_some())
    });
    candidates
        .get(first)
        .or_else(|| candidates.last())
        .or_else(|| candidates.first())
        .map_or_else(|| sql.find(near).unwrap_or(0), |token| token.start as usize)
}

/// The byte offset that a scanner's message is about: the scanner quotes from the place of the error
/// to where it stopped reading.
#[must_use]
pub fn locate_scan_error(sql: &str, message: &str) -> usize {
    const TRIES: usize = 64;
    let Some(near) = quoted_in(message).filter(|near| !near.is_empty()) else {
        return 0;
    };
    if let Some(before) = sql.strip_suffix(near)
        && scan(before).is_ok()
    {
        return before.len();
    }
    sql.match_indices(near)
        .map(|(at, _)| at)
        .take(TRIES)
        .find(|at| scan(&sql[..*at]).is_ok() && scan(&sql[..at + near.len()]).is_err())
        .unwrap_or(0)
}

/// What stands between the quotes of `… at or near "…"`.
fn quoted_in(message: &str) -> Option<&str> {
    message
        .split_once("at or near \"")
        .and_then(|(_, rest)| rest.strip_suffix('"'))
}

/// Whether a token is a comment.
#[must_use]
pub fn is_comment(token: &ScanToken) -> bool {
    token.token == Token::SqlComment as i32 || token.token == Token::CComment as i32
}

/// A token's text.
#[must_use]
pub fn text_of<'a>(sql: &'a str, token: &ScanToken) -> &'a str {
    sql.get(token.start as usize..token.end as usize)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sql: &str) -> (usize, String) {
        let message = check(sql).expect_err("these do not parse");
        (locate(sql, &message), message)
    }

    #[test]
    fn the_place_of_an_error_is_found() {
        assert_eq!(
            place("SELECT x FROM FROM t").0,
            14,
            "the second of two equal words"
        );
        assert_eq!(place("SELECT a, a, FROM t").0, 13);
        assert_eq!(place("SELECT (1").0, 9, "end of input");
        assert_eq!(place("SELECT 'é' é é é").0, 15, "bytes, not characters");
        assert_eq!(place("SELECT a )").0, 9);
    }

    #[test]
    fn deep_statements_are_told_from_wrong_ones() {
        for length in [60, 5_000, 50_000] {
            let deep = format!("SELECT 1{}", "+1".repeat(length));
            assert_eq!(check(&deep), Ok(vec![false]));
            assert_eq!(parse(&deep).err(), Some(ParseFault::TooDeep));
        }
        let wide = format!("SELECT 1 WHERE a{}", " AND a".repeat(50_000));
        assert!(parse(&wide).is_ok());
        assert_eq!(
            parse("SELEC").err(),
            Some(ParseFault::Syntax(
                "syntax error at or near \"SELEC\"".into()
            ))
        );
        let hostile = format!("SELECT {}1", "(".repeat(100_000));
        assert!(check(&hostile).is_err(), "an error, not a crash");
    }

    #[test]
    fn the_place_of_a_scan_error_is_found() {
        let sql = "SELECT 1; SELECT 'abc";
        let message = scan(sql).expect_err("unterminated");
        assert_eq!(message, "unterminated quoted string at or near \"'abc\"");
        assert_eq!(locate_scan_error(sql, &message), 17);
        let sql = "SELECT 12; SELECT 12abc, 12";
        let message = scan(sql).expect_err("junk");
        assert_eq!(locate_scan_error(sql, &message), 18);
    }
}
