//! Assignment casts in a SELECT list. SQL has no expression for them: an explicit cast cuts what an
//! assignment refuses. So values of `varchar(n)` are carried without their length, and the INSERT
//! into the new table, which is an assignment, looks at it; for other types an explicit cast gives
//! the same value, and that it may be assigned at all PostgreSQL itself says when the statement is
//! explained against the new table (`ShadowStage::Build`).

use std::collections::BTreeSet;

/// How a value of a type is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// As the column's type.
    Exact,
    /// `varchar(n)` as varchar, its length not yet looked at.
    Unchecked(u32),
}

/// Types whose explicit cast gives what an assignment gives. (`pg_cast` has one function for both;
/// only those for character, bit and their arrays are told which of the two it is.)
const SAME: &[&str] = &[
    "bigint",
    "boolean",
    "bytea",
    "cidr",
    "date",
    "double precision",
    "inet",
    "integer",
    "interval",
    "json",
    "jsonb",
    "numeric",
    "oid",
    "real",
    "smallint",
    "text",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "tsvector",
    "uuid",
    "xml",
    "character varying",
];

/// The type without its length or precision: `timestamp(3) without time zone` is
/// `timestamp without time zone`.
fn base(type_name: &str) -> String {
    match (type_name.find('('), type_name.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &type_name[..open], &type_name[close + 1..])
        }
        _ => type_name.to_owned(),
    }
}

/// How values of a type are carried; `None` for a type that no expression can be assigned to.
pub(super) fn carried(type_name: &str, enums: &BTreeSet<String>) -> Option<Carried> {
    if let Some(length) = length_of_varchar(type_name) {
        return Some(Carried::Unchecked(length));
    }
    if enums.contains(type_name) {
        return Some(Carried::Exact);
    }
    let base = base(type_name);
    if let Some(element) = base.strip_suffix("[]") {
        // The cast of varchar(3)[] cuts its elements.
        let plain = SAME.contains(&element) && !type_name.starts_with("character varying(");
        return plain.then_some(Carried::Exact);
    }
    SAME.contains(&base.as_str()).then_some(Carried::Exact)
}

fn length_of_varchar(type_name: &str) -> Option<u32> {
    let length = type_name.strip_prefix("character varying(")?;
    length.strip_suffix(')')?.parse().ok()
}

/// A value as it is carried.
pub(super) fn carry(value: &str, type_name: &str, carried: Carried) -> String {
    match carried {
        Carried::Exact => format!("CAST({value} AS {type_name})"),
        Carried::Unchecked(_) => format!("CAST({value} AS character varying)"),
    }
}

/// A carried value as a statement would see it in the column. What is too long stays so, for the
/// INSERT to refuse; spaces at its end are cut, as an assignment does.
pub(super) fn look_at(column: &str, carried: Carried) -> String {
    match carried {
        Carried::Exact => column.to_owned(),
        Carried::Unchecked(length) => format!(
            "CASE WHEN rtrim(substr({column}, {}), ' ') = '' THEN \
             CAST(CAST({column} AS character varying({length})) AS character varying) \
             ELSE {column} END",
            length + 1
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_carried_as_an_assignment_would_have_them() {
        let enums = BTreeSet::from(["public.mood".to_owned()]);
        let table = [
            ("integer", Some(Carried::Exact)),
            ("numeric(10,2)", Some(Carried::Exact)),
            ("timestamp(3) without time zone", Some(Carried::Exact)),
            ("character varying(64)", Some(Carried::Unchecked(64))),
            ("character varying", Some(Carried::Exact)),
            ("character varying(3)[]", None),
            ("integer[]", Some(Carried::Exact)),
            ("character(3)", None),
            ("bit(3)", None),
            ("public.mood", Some(Carried::Exact)),
            ("public.a_domain", None),
        ];
        for (type_name, expected) in table {
            assert_eq!(carried(type_name, &enums), expected, "{type_name}");
        }
    }
}
