//! Types as text: what `format_type` prints under an empty search path, which is how the snapshot has
//! them.

use pg_query::{
    NodeEnum,
    protobuf::{KeywordKind, TypeName, a_const::Val},
};

use super::{
    draft::Draft,
    object::{self, did_you_mean},
};
use crate::compile::error::BindError;

/// The names that PostgreSQL's own types have in `pg_type`, where `format_type` prints another.
const PRINTED: &[(&str, &str)] = &[
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("bool", "boolean"),
    ("varchar", "character varying"),
    ("varbit", "bit varying"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("time", "time without time zone"),
    ("timetz", "time with time zone"),
    ("char", "\"char\""),
];

/// `format_type` of a type as the statement has it, after checks that need only the catalog.
pub(super) fn text(draft: &Draft<'_>, name: &TypeName) -> Result<String, BindError> {
    let parts = object::strings(&name.names);
    if name.pct_type {
        return column_type(draft, name, &parts);
    }
    let mut text = base(draft, name, &parts)?;
    if !name.array_bounds.is_empty() {
        text.push_str("[]");
    }
    Ok(text)
}

/// `table.column%TYPE`
fn column_type(draft: &Draft<'_>, name: &TypeName, parts: &[String]) -> Result<String, BindError> {
    let [table @ .., column] = parts else {
        return Err(BindError::at(name.location, "%TYPE needs a column"));
    };
    let mut table = object::range_var(table);
    table.location = name.location;
    let table = draft.require(&table)?;
    Ok(draft.column(table, column)?.type_name.clone())
}

fn base(draft: &Draft<'_>, name: &TypeName, parts: &[String]) -> Result<String, BindError> {
    match parts {
        [schema, own] if schema == "pg_catalog" => Ok(builtin(own, name)),
        [schema, own] => user_type(draft, schema, own).ok_or_else(|| {
            let known = draft.catalog.types.iter().filter(|t| t.schema == *schema);
            let hint = did_you_mean(own, known.map(|t| t.name.as_str()));
            BindError::at(
                name.location,
                format!("type \"{schema}.{own}\" does not exist{hint}"),
            )
        }),
        // What PostgreSQL has itself comes first, and cannot be told from a type that an opaque step
        // may have created: an unknown name is left to PostgreSQL.
        [own] => Ok(draft
            .path
            .iter()
            .find_map(|schema| user_type(draft, schema, own))
            .unwrap_or_else(|| builtin(own, name))),
        _ => Err(BindError::at(name.location, "the type has no name")),
    }
}

/// A type of the user's own, or the row type of a relation.
fn user_type(draft: &Draft<'_>, schema: &str, name: &str) -> Option<String> {
    let types = &draft.catalog.types;
    let known = types.iter().any(|t| t.schema == schema && t.name == name)
        || draft.catalog.find(Some(schema), name, &[]).is_some();
    known.then(|| format!("{}.{}", quote_if_needed(schema), quote_if_needed(name)))
}

fn builtin(name: &str, type_name: &TypeName) -> String {
    let modifiers: Vec<i32> = type_name
        .typmods
        .iter()
        .filter_map(|node| match node.node.as_ref()? {
            NodeEnum::AConst(constant) => match constant.val.as_ref()? {
                Val::Ival(i) => Some(i.ival),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let printed = PRINTED
        .iter()
        .find(|(own, _)| *own == name)
        .map_or(name, |(_, printed)| *printed);
    match (name, modifiers.as_slice()) {
        ("bpchar", [length]) => format!("character({length})"),
        ("numeric", [precision]) => format!("numeric({precision},0)"),
        ("interval", [fields, rest @ ..]) => interval(*fields, rest),
        ("timestamp" | "timestamptz" | "time" | "timetz", [precision]) => {
            let (kind, zone) = printed.split_once(' ').unwrap_or((printed, ""));
            format!("{kind}({precision}) {zone}")
        }
        (_, []) => printed.to_owned(),
        (_, modifiers) => {
            let modifiers: Vec<String> = modifiers.iter().map(ToString::to_string).collect();
            format!("{printed}({})", modifiers.join(","))
        }
    }
}

/// `interval` with a mask of fields (`INTERVAL_MASK` in timestamp.h) and a precision.
fn interval(fields: i32, precision: &[i32]) -> String {
    let bit = |n: i32| 1 << n;
    let (month, year, day, hour, minute, second) =
        (bit(1), bit(2), bit(3), bit(10), bit(11), bit(12));
    let words = match fields {
        f if f == year => " year",
        f if f == month => " month",
        f if f == day => " day",
        f if f == hour => " hour",
        f if f == minute => " minute",
        f if f == second => " second",
        f if f == year | month => " year to month",
        f if f == day | hour => " day to hour",
        f if f == day | hour | minute => " day to minute",
        f if f == day | hour | minute | second => " day to second",
        f if f == hour | minute => " hour to minute",
        f if f == hour | minute | second => " hour to second",
        f if f == minute | second => " minute to second",
        _ => "",
    };
    match precision {
        [precision] => format!("interval{words}({precision})"),
        _ => format!("interval{words}"),
    }
}

/// `quote_identifier`: quoted only where it would not be read back as it is.
pub(super) fn quote_if_needed(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let keyword = || {
        pg_query::scan(name).is_ok_and(|result| {
            result.tokens.iter().any(|token| {
                ![
                    KeywordKind::NoKeyword as i32,
                    KeywordKind::UnreservedKeyword as i32,
                ]
                .contains(&token.keyword_kind)
            })
        })
    };
    if plain && !keyword() {
        name.to_owned()
    } else {
        upshift_shared::pg::ident::ident(name)
    }
}

/// Whether going from one type to another and back gives every value back bit for bit, by the casts
/// that ALTER TYPE applies by itself.
pub(super) fn is_exact(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    let (from_base, from_modifiers) = parts(from);
    let (to_base, to_modifiers) = parts(to);
    let unbounded = to_modifiers.is_empty();
    let wider = || match (from_modifiers.as_slice(), to_modifiers.as_slice()) {
        (_, []) => true,
        ([old], [new]) => new >= old,
        _ => false,
    };
    match (from_base, to_base) {
        ("smallint", "integer" | "bigint")
        | ("integer", "bigint")
        | ("real", "double precision")
        | ("date", "timestamp without time zone") => unbounded,
        ("smallint" | "integer" | "bigint", "numeric" | "text" | "character varying")
        | ("uuid" | "boolean", "text" | "character varying")
        | ("character varying" | "text" | "character", "text")
        | ("text" | "character", "character varying") => unbounded,
        ("character varying", "character varying") | ("character", "character") => wider(),
        ("numeric", "numeric") => match (from_modifiers.as_slice(), to_modifiers.as_slice()) {
            (_, []) => true,
            ([old, old_scale], [new, new_scale]) => new >= old && new_scale == old_scale,
            _ => false,
        },
        _ => false,
    }
}

/// Whether PostgreSQL changes the type without rewriting the table (ALTER TABLE, notes; the support
/// functions of `varchar` and `numeric`).
pub(super) fn is_metadata_only(from: &str, to: &str) -> bool {
    let (from_base, _) = parts(from);
    let (to_base, to_modifiers) = parts(to);
    let same = from == to;
    let text = matches!(
        (from_base, to_base),
        ("character varying", "character varying" | "text") | ("text", "character varying")
    ) && (from_base == "character varying" || to_modifiers.is_empty());
    let numeric = from_base == "numeric" && to_base == "numeric";
    same || ((text || numeric) && is_exact(from, to))
}

/// `character varying(64)` → its words and modifiers.
fn parts(text: &str) -> (&str, Vec<i64>) {
    let Some((base, rest)) = text.split_once('(') else {
        return (text, Vec::new());
    };
    let Some((modifiers, "")) = rest.split_once(')') else {
        // An array, or a time with a precision: compared as it is.
        return (text, Vec::new());
    };
    let modifiers = modifiers.split(',').filter_map(|m| m.parse().ok());
    (base, modifiers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_casts_that_lose_nothing_are_exact() {
        for (from, to) in [
            ("integer", "bigint"),
            ("smallint", "numeric"),
            ("character varying(10)", "character varying(20)"),
            ("character varying(10)", "text"),
            ("text", "character varying"),
            ("character(3)", "text"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("date", "timestamp without time zone"),
            ("real", "double precision"),
            ("uuid", "text"),
        ] {
            assert!(is_exact(from, to), "{from} → {to}");
        }
        for (from, to) in [
            ("bigint", "integer"),
            ("text", "character varying(10)"),
            ("character varying", "character(10)"),
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric", "numeric(12,2)"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("timestamp without time zone", "date"),
            ("json", "jsonb"),
            ("double precision", "numeric"),
            ("integer[]", "bigint[]"),
            ("integer", "numeric(5,2)"),
        ] {
            assert!(!is_exact(from, to), "{from} → {to}");
        }
        assert!(is_metadata_only("character varying(1)", "text"));
        assert!(is_metadata_only("text", "character varying"));
        assert!(!is_metadata_only("character(1)", "text"));
        assert!(!is_metadata_only("integer", "bigint"));
        assert!(is_metadata_only("numeric(5,2)", "numeric(6,2)"));
    }

    #[test]
    fn names_are_quoted_only_where_needed() {
        assert_eq!(quote_if_needed("mood"), "mood");
        assert_eq!(quote_if_needed("Mood"), "\"Mood\"");
        assert_eq!(quote_if_needed("select"), "\"select\"");
        assert_eq!(quote_if_needed("name"), "name");
        assert_eq!(quote_if_needed("1a"), "\"1a\"");
    }
}
