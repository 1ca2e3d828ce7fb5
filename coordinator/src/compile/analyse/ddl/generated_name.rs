//! The names that PostgreSQL makes up for indexes, constraints and sequences, as `makeObjectName`,
//! `ChooseRelationName`, `ChooseIndexName` (indexcmds.c) and `ChooseConstraintName` (pg_constraint.c)
//! do.

use upshift_shared::pg::ident::QualifiedName;

use super::{draft::Draft, object};

/// `NAMEDATALEN - 1`: the longest name, in bytes.
const LONGEST: usize = 63;

/// The first bytes of a name, without cutting a character.
pub(super) fn clip(name: &str, bytes: usize) -> &str {
    let mut end = bytes.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// `name1_name2_label`, the longer of the names being cut until it fits.
fn object_name(name1: &str, name2: Option<&str>, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(name2.is_some());
    let available = LONGEST.saturating_sub(overhead);
    let (mut length1, mut length2) = (name1.len(), name2.map_or(0, str::len));
    while length1 + length2 > available {
        if length1 > length2 {
            length1 -= 1;
        } else {
            length2 -= 1;
        }
    }
    let mut name = clip(name1, length1).to_owned();
    if let Some(name2) = name2 {
        name.push('_');
        name.push_str(clip(name2, length2));
    }
    name.push('_');
    name.push_str(label);
    name
}

/// The first of `label`, `label1`, `label2`, … that gives a free name, and those that were taken.
fn first_free(
    name1: &str,
    name2: Option<&str>,
    label: &str,
    taken: impl Fn(&str) -> bool,
) -> (String, Vec<String>) {
    let mut rejected = Vec::new();
    let mut pass = 0_u32;
    loop {
        let numbered = match pass {
            0 => label.to_owned(),
            pass => format!("{label}{pass}"),
        };
        let name = object_name(name1, name2, &numbered);
        if !taken(&name) {
            return (name, rejected);
        }
        rejected.push(name);
        pass += 1;
    }
}

/// A name for a relation; for an index that backs a constraint it must be free among those too. The
/// statement is ordered behind those that took the names before it.
pub(super) fn relation(
    draft: &mut Draft<'_>,
    schema: &str,
    name1: &str,
    name2: Option<&str>,
    label: &str,
    is_constraint: bool,
) -> String {
    let (name, rejected) = first_free(name1, name2, label, |name| {
        object::is_taken(draft, schema, name)
            || (is_constraint && draft.catalog.has_constraint(schema, name))
    });
    for other in rejected {
        let other = QualifiedName::new(schema, other);
        draft.reads_object("relation", &other);
        if is_constraint {
            draft.reads_object("constraint", &other);
        }
    }
    name
}

/// A name for a constraint that has no index.
pub(super) fn constraint(
    draft: &mut Draft<'_>,
    schema: &str,
    name1: &str,
    name2: Option<&str>,
    label: &str,
) -> String {
    let (name, rejected) = first_free(name1, name2, label, |name| {
        draft.catalog.has_constraint(schema, name)
    });
    for other in rejected {
        draft.reads_object("constraint", &QualifiedName::new(schema, other));
    }
    name
}

/// Column names joined with `_`, as far as a name reaches (`ChooseIndexNameAddition`).
pub(super) fn addition(columns: &[String]) -> String {
    let mut joined = String::new();
    for column in columns {
        if !joined.is_empty() {
            joined.push('_');
        }
        joined.push_str(column);
        if joined.len() > LONGEST {
            break;
        }
    }
    joined
}

/// The names of an index's columns, made different from each other (`ChooseIndexColumnNames`).
pub(super) fn distinct(names: Vec<String>) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    for original in names {
        let mut name = original.clone();
        let mut number = 1_u32;
        while result.contains(&name) {
            let suffix = number.to_string();
            name = format!("{}{suffix}", clip(&original, LONGEST - suffix.len()));
            number += 1;
        }
        result.push(name);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_postgresql_cuts_them() {
        let name = |table: &str, column: &str| object_name(table, Some(column), "idx");
        assert_eq!(name("t", "c"), "t_c_idx");
        let (a, b) = ("a".repeat(50), "b".repeat(50));
        let cut = name(&a, &b);
        assert_eq!(cut.len(), LONGEST);
        assert_eq!(cut, format!("{}_{}_idx", "a".repeat(29), "b".repeat(29)));
        assert_eq!(
            name(&"ä".repeat(40), "c"),
            format!("{}_c_idx", "ä".repeat(28)),
            "a character of two bytes is not cut in half"
        );
    }

    #[test]
    fn taken_names_are_numbered() {
        let taken = ["t_c_idx", "t_c_idx1"];
        let (name, rejected) = first_free("t", Some("c"), "idx", |name| taken.contains(&name));
        assert_eq!(name, "t_c_idx2");
        assert_eq!(rejected, taken);
    }

    #[test]
    fn columns_of_an_index_are_numbered() {
        let names = ["expr", "a", "expr", "expr"].map(str::to_owned).to_vec();
        assert_eq!(distinct(names), ["expr", "a", "expr1", "expr2"]);
    }
}
