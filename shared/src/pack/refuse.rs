//! Statements that have no meaning in a pack, each with what to do instead. A step runs in a transaction
//! of its own, in whichever session is free: what lives in a session, steers a transaction or reaches
//! beyond the database cannot be a step.

use super::words::Words;

/// Leading words, and what to say. The first that fits counts.
const REFUSED: &[(&str, &str)] = &[
    ("begin", TRANSACTION),
    ("start transaction", TRANSACTION),
    ("commit", TRANSACTION),
    ("end", TRANSACTION),
    ("rollback", TRANSACTION),
    ("abort", TRANSACTION),
    ("savepoint", TRANSACTION),
    ("release", TRANSACTION),
    ("prepare transaction", TRANSACTION),
    ("set transaction", TRANSACTION),
    ("set session characteristics", TRANSACTION),
    (
        "set constraints",
        "holds only to the end of a transaction, and every statement has its own: alter the constraint instead",
    ),
    (
        "set local",
        "has no effect outside of a transaction: write SET, which holds to the end of the file",
    ),
    ("set role", IDENTITY),
    ("set session role", IDENTITY),
    ("set session authorization", IDENTITY),
    ("set session session authorization", IDENTITY),
    ("reset role", IDENTITY),
    ("reset session authorization", IDENTITY),
    ("prepare", PREPARED),
    ("execute", PREPARED),
    ("deallocate", PREPARED),
    ("declare", CURSOR),
    ("fetch", CURSOR),
    ("move", CURSOR),
    ("close", CURSOR),
    ("listen", NOTIFICATION),
    ("unlisten", NOTIFICATION),
    ("notify", NOTIFICATION),
    (
        "discard",
        "belongs to a session, and every statement may have another: remove it",
    ),
    (
        "load",
        "belongs to a session, and every statement may have another: remove it",
    ),
    (
        "lock",
        "would be released at once, as every statement is a transaction of its own: remove it, Upshift orders the statements on a table by itself",
    ),
    (
        "checkpoint",
        "is the server's business, not a migration's: remove it",
    ),
    (
        "show",
        "prints and changes nothing: remove it, or write a [[check]] step",
    ),
    (
        "explain",
        "prints and changes nothing: remove it, and see upshift plan",
    ),
    ("create database", CLUSTER),
    ("alter database", CLUSTER),
    ("drop database", CLUSTER),
    ("alter system", CLUSTER),
    ("create tablespace", CLUSTER),
    ("alter tablespace", CLUSTER),
    ("drop tablespace", CLUSTER),
    ("create temp", TEMPORARY),
    ("create temporary", TEMPORARY),
    ("create local", TEMPORARY),
    ("create global", TEMPORARY),
    ("create or replace temp", TEMPORARY),
    ("create or replace temporary", TEMPORARY),
    ("create or replace local", TEMPORARY),
    ("create or replace global", TEMPORARY),
];

const TRANSACTION: &str =
    "does not belong in a pack: Upshift gives every statement a transaction, remove it";
const IDENTITY: &str =
    "would change who runs the migration: remove it, and connect as the role that owns the objects";
const PREPARED: &str = "belongs to a session, and every statement may have another: write the statement itself, with its values";
const CURSOR: &str =
    "belongs to a transaction, and every statement has its own: write one statement, or a DO block";
const NOTIFICATION: &str = "does not belong in a migration: tell the application once the upgrade is committed, or use an [[exec]] step";
const CLUSTER: &str = "reaches beyond the database and cannot be taken back: do it by hand before the upgrade, or use an [[exec]] step";
const TEMPORARY: &str = "makes a temporary object, which ends with its session, and every statement may have another: create an ordinary one and drop it in the last script";

/// Why a statement may not be in a pack: byte offset and message.
pub(super) fn refusal(words: &Words<'_>) -> Option<(usize, String)> {
    refused_head(words)
        .or_else(|| refused_copy(words))
        .or_else(|| refused_temporary(words))
}

fn refused_head(words: &Words<'_>) -> Option<(usize, String)> {
    let (pattern, why) = REFUSED
        .iter()
        .find(|(pattern, _)| words.begin_with(pattern))?;
    Some((
        words.offset(0),
        format!("{} {why}", pattern.to_ascii_uppercase()),
    ))
}

fn refused_copy(words: &Words<'_>) -> Option<(usize, String)> {
    if !words.is(0, "copy") {
        return None;
    }
    let at = (1..words.len()).find(|i| words.is(*i, "from") || words.is(*i, "to"))?;
    // COPY (SELECT … FROM …) TO: the parenthesis is skipped.
    let at = if words.is(1, "(") {
        let close = words.matching(1)?;
        close + 1
    } else {
        at
    };
    let what = |text: &str| Some((words.offset(0), text.to_owned()));
    if words.is(at + 1, "program") {
        what(
            "COPY … PROGRAM runs a program on the database's server: use an [[exec]] step of a .toml file",
        )
    } else if words.is(at, "from") && words.is(at + 1, "stdin") {
        what(
            "COPY … FROM STDIN reads data that follows it, which a plan cannot carry: write INSERT INTO … VALUES, or use an [[exec]] step",
        )
    } else if words.is(at, "to") {
        what(
            "COPY … TO writes data out of the database and changes nothing in it: remove it, or use an [[exec]] step",
        )
    } else {
        None
    }
}

fn refused_temporary(words: &Words<'_>) -> Option<(usize, String)> {
    (0..words.len()).find_map(|i| {
        if words.is(i, "pg_temp") && words.is(i + 1, ".") {
            return Some((words.offset(i), format!("pg_temp {TEMPORARY}")));
        }
        if words.is(i, "into") && (words.is(0, "select") || words.is(0, "with")) {
            let j = if words.is(i + 1, "local") || words.is(i + 1, "global") {
                i + 2
            } else {
                i + 1
            };
            if words.is(j, "temp") || words.is(j, "temporary") {
                return Some((words.offset(i), format!("INTO TEMP {TEMPORARY}")));
            }
        }
        None
    })
}
