//! The range of a key, as SQL: what cuts a statement into units, and a unit into what is searched for bad
//! rows.

use super::KeyColumn;
use crate::pg::ident::ident;

/// The condition that cuts a statement by `(lower, upper]`. Bounds are text parameters, one for each
/// key column, from `$first` on: NULL means no bound. A custom plan folds the NULL test away, so what
/// is left is an index condition.
#[must_use]
pub fn key_range(alias: &str, key: &[KeyColumn], first: usize) -> String {
    let side = |operator: &str, first: usize| {
        let columns: Vec<String> = key
            .iter()
            .map(|column| format!("{}.{}", ident(alias), ident(&column.name)))
            .collect();
        let bounds: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(i, column)| format!("CAST(${}::text AS {})", first + i, column.type_name))
            .collect();
        let (columns, bounds) = match key.len() {
            1 => (columns.join(", "), bounds.join(", ")),
            _ => (
                format!("ROW({})", columns.join(", ")),
                format!("ROW({})", bounds.join(", ")),
            ),
        };
        format!("(${first}::text IS NULL OR {columns} {operator} {bounds})")
    };
    format!("{} AND {}", side(">", first), side("<=", first + key.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_row_wise_for_composite_keys() {
        let column = |name: &str, type_name: &str| KeyColumn {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
        };
        assert_eq!(
            key_range("a", &[column("id", "integer")], 2),
            "($2::text IS NULL OR \"a\".\"id\" > CAST($2::text AS integer)) AND \
             ($3::text IS NULL OR \"a\".\"id\" <= CAST($3::text AS integer))"
        );
        assert_eq!(
            key_range("a", &[column("x", "text"), column("y", "date")], 1),
            "($1::text IS NULL OR ROW(\"a\".\"x\", \"a\".\"y\") > ROW(CAST($1::text AS text), \
             CAST($2::text AS date))) AND ($3::text IS NULL OR ROW(\"a\".\"x\", \"a\".\"y\") <= \
             ROW(CAST($3::text AS text), CAST($4::text AS date)))"
        );
    }
}
