//! Definitions as `PostgreSQL` prints them, changed so that they are parsed into the very same thing.
//!
//! `state IN ('draft', 'done')` of a `varchar` column is kept as a cast of a whole array, and printed as
//! `(ARRAY['draft'::character varying, …])::text[]`. Parsed again, a cast of ARRAY[…] is a cast of each element
//! (`transformArrayExpr` in parse_expr.c), so a constraint, index, view or rule that is made anew from its own
//! definition would no longer be printed as it was. With another cast in between the array stays whole, and that
//! one is not printed, because it changes nothing.

use std::{borrow::Cow, sync::OnceLock};

use regex::Regex;

/// Literals of one array: `'…'::character varying` or `NULL::character varying`.
const LIST: &str =
    r"\(ARRAY\[((?:(?:'(?:[^']|'')*'|NULL)::character varying(?:, )?)+)\]\)::text\[\]";

/// The definition, as it has to be written to come out the same. Functions stay as they are: their bodies
/// are kept as text.
pub(super) fn exactly(definition: String) -> String {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    if !definition.contains("::character varying])::text[]")
        || definition.starts_with("CREATE OR REPLACE FUNCTION")
        || definition.starts_with("CREATE OR REPLACE PROCEDURE")
    {
        return definition;
    }
    let pattern = PATTERN.get_or_init(|| Regex::new(LIST).expect("a fixed pattern"));
    match pattern.replace_all(&definition, "((ARRAY[$1])::character varying[])::text[]") {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => definition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_words_stay_whole() {
        for (printed, written) in [
            (
                "CHECK (((s)::text = ANY ((ARRAY['a'::character varying, 'b''c'::character varying])::text[])))",
                "CHECK (((s)::text = ANY (((ARRAY['a'::character varying, 'b''c'::character varying])::character varying[])::text[])))",
            ),
            (
                "(ARRAY['])::text[]'::character varying, NULL::character varying])::text[]",
                "((ARRAY['])::text[]'::character varying, NULL::character varying])::character varying[])::text[]",
            ),
        ] {
            assert_eq!(exactly(printed.to_owned()), written);
            assert_eq!(exactly(written.to_owned()), written);
        }
        for same in [
            "CHECK (((s)::text = ANY (ARRAY[('a'::character varying)::text])))",
            "CHECK ((s = ''::text)) -- (ARRAY[''a''::character varying])::text[]",
            "CREATE OR REPLACE FUNCTION f() AS $$ (ARRAY['a'::character varying])::text[] $$",
        ] {
            assert_eq!(exactly(same.to_owned()), same);
        }
    }
}
