//! Assignment casts in a SELECT list. SQL has no expression for them: an explicit cast cuts what an
//! assignment refuses. So values of types with such a length are carried without it, and the INSERT
//! into the new table, which is an assignment, looks at it; for other types an explicit cast gives
//! the same value, and that it may be assigned at all PostgreSQL itself says when the statement is
//! explained against the new table (`ShadowStage::Build`).

use upshift_shared::catalog::Column;

use crate::compile::model::UserTypes;

/// How a value of a type is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// As the column's type.
    Exact,
    /// `varchar(n)` as varchar, its length not yet looked at.
    Varchar(u32),
    /// `character(n)` without its length, not yet filled up with spaces.
    Character(u32),
    /// `bit(n)` or `bit varying(n)` without its length. An assignment changes nothing of it.
    Bits,
}

/// Types whose explicit cast gives what an assignment gives. (`pg_cast` has one function for both;
/// only those for character, bit and their arrays are told which of the two it is.)
const SAME: &[&str] = &[
    "bigint",
    "boolean",
    "box",
    "bytea",
    "cidr",
    "circle",
    "date",
    "daterange",
    "double precision",
    "inet",
    "int4range",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "numeric",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "real",
    "smallint",
    "text",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "uuid",
    "xml",
    "character varying",
];

/// Types that have a collation.
const COLLATABLE: &[&str] = &["text", "character varying", "character", "bpchar"];

/// The type without its length or precision: `timestamp(3) without time zone` is
/// `timestamp without time zone`.
pub(super) fn base(type_name: &str) -> String {
    match (type_name.find('('), type_name.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &type_name[..open], &type_name[close + 1..])
        }
        _ => type_name.to_owned(),
    }
}

/// How values of a type are carried, or why no expression can be assigned to it.
pub(super) fn carried(type_name: &str, types: &UserTypes) -> Result<Carried, &'static str> {
    const OWN: &str = "whose assignment casts are its own";
    if let Some(length) = length(type_name, "character varying") {
        return Ok(Carried::Varchar(length));
    }
    if let Some(length) = length(type_name, "character") {
        return Ok(Carried::Character(length));
    }
    if length(type_name, "bit").is_some() || length(type_name, "bit varying").is_some() {
        return Ok(Carried::Bits);
    }
    if types.enums.contains(type_name) {
        return Ok(Carried::Exact);
    }
    if let Some(domain) = types.domains.get(type_name) {
        if domain.calls_foreign {
            return Err("a domain whose constraints call functions that are not PostgreSQL's own");
        }
        return match is_same(&domain.base) || types.enums.contains(&domain.base) {
            true => Ok(Carried::Exact),
            false => Err("a domain over a type whose assignment casts are its own"),
        };
    }
    is_same(type_name).then_some(Carried::Exact).ok_or(OWN)
}

fn is_same(type_name: &str) -> bool {
    let base = base(type_name);
    match base.strip_suffix("[]") {
        // The cast of varchar(3)[] cuts its elements.
        Some(element) => SAME.contains(&element) && !type_name.starts_with("character varying("),
        None => SAME.contains(&base.as_str()) && length(type_name, "character varying").is_none(),
    }
}

/// `n` of `type(n)`.
fn length(type_name: &str, of: &str) -> Option<u32> {
    let length = type_name.strip_prefix(of)?.strip_prefix('(')?;
    length.strip_suffix(')')?.parse().ok()
}

/// A value as it is carried.
pub(super) fn carry(value: &str, type_name: &str, carried: Carried) -> String {
    let carrier = match carried {
        Carried::Exact => type_name,
        Carried::Varchar(_) => "character varying",
        Carried::Character(_) => "pg_catalog.bpchar",
        Carried::Bits if type_name.starts_with("bit varying") => "bit varying",
        // Without the quotes it would be bit(1).
        Carried::Bits => "pg_catalog.\"bit\"",
    };
    format!("CAST({value} AS {carrier})")
}

/// A carried value as a statement would see it in the column. What is too long stays so, for the
/// INSERT to refuse; spaces at its end are cut or added, as an assignment does.
pub(super) fn look_at(column: &str, carried: Carried) -> Option<String> {
    match carried {
        Carried::Exact | Carried::Bits => None,
        Carried::Varchar(length) => Some(format!(
            "CASE WHEN rtrim(substr({column}, {}), ' ') = '' THEN \
             CAST(CAST({column} AS character varying({length})) AS character varying) \
             ELSE {column} END",
            length + 1
        )),
        // The length of a character is that without the spaces at its end.
        Carried::Character(length) => Some(format!(
            "CASE WHEN length({column}) <= {length} THEN \
             CAST(CAST({column} AS character({length})) AS pg_catalog.bpchar) ELSE {column} END"
        )),
    }
}

/// An expression with the collation of a column, whatever collations it is made of. In the next
/// layer it is a column like any other: an implicit collation.
pub(super) fn collate(value: &str, column: &Column, types: &UserTypes) -> String {
    let type_name = match types.domains.get(&column.type_name) {
        Some(domain) => &domain.base,
        None => &column.type_name,
    };
    let base = base(type_name);
    if !COLLATABLE.contains(&base.trim_end_matches("[]")) {
        return value.to_owned();
    }
    match &column.collation {
        Some(collation) => format!("{value} COLLATE {collation}"),
        None => format!("{value} COLLATE \"default\""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use upshift_shared::catalog::Domain;

    use super::*;

    fn types() -> UserTypes {
        let domain = |base: &str, calls_foreign| Domain {
            base: base.to_owned(),
            has_default: false,
            calls_foreign,
            collation: None,
        };
        UserTypes {
            enums: BTreeSet::from(["public.mood".to_owned()]),
            domains: BTreeMap::from([
                ("public.positive".to_owned(), domain("integer", false)),
                ("public.checked".to_owned(), domain("integer", true)),
                (
                    "public.short".to_owned(),
                    domain("character varying(3)", false),
                ),
                ("public.nested".to_owned(), domain("public.positive", false)),
            ]),
            changing: BTreeSet::new(),
        }
    }

    #[test]
    fn types_are_carried_as_an_assignment_would_have_them() {
        let table = [
            ("integer", Some(Carried::Exact)),
            ("numeric(10,2)", Some(Carried::Exact)),
            ("timestamp(3) without time zone", Some(Carried::Exact)),
            ("character varying(64)", Some(Carried::Varchar(64))),
            ("character varying", Some(Carried::Exact)),
            ("character varying(3)[]", None),
            ("integer[]", Some(Carried::Exact)),
            ("character(3)", Some(Carried::Character(3))),
            ("character(3)[]", None),
            ("bit(3)", Some(Carried::Bits)),
            ("bit varying(3)", Some(Carried::Bits)),
            ("int4range", Some(Carried::Exact)),
            ("public.mood", Some(Carried::Exact)),
            ("public.unknown", None),
            ("public.positive", Some(Carried::Exact)),
            ("public.checked", None),
            ("public.short", None),
            ("public.nested", None),
        ];
        for (type_name, expected) in table {
            assert_eq!(carried(type_name, &types()).ok(), expected, "{type_name}");
        }
    }

    #[test]
    fn a_value_has_the_collation_of_its_column() {
        let column = |type_name: &str, collation: Option<&str>| Column {
            id: upshift_shared::ids::ColId(1),
            name: "c".to_owned(),
            type_name: type_name.to_owned(),
            collation: collation.map(str::to_owned),
            not_null: false,
            default: None,
            identity: None,
            generated: None,
            sequence: None,
        };
        let table = [
            (column("integer", None), "x"),
            (column("text", None), "x COLLATE \"default\""),
            (
                column("character varying(8)[]", None),
                "x COLLATE \"default\"",
            ),
            (
                column("character(3)", Some("pg_catalog.\"C\"")),
                "x COLLATE pg_catalog.\"C\"",
            ),
            (column("public.positive", None), "x"),
            (column("public.short", None), "x COLLATE \"default\""),
        ];
        for (column, expected) in table {
            assert_eq!(collate("x", &column, &types()), expected, "{column:?}");
        }
    }
}
