//! Relations that the text of a rule or function names. What the two do is not bound, but PostgreSQL
//! reads the definitions of what they name when it makes them: no change of those may change places
//! with them. By name, so that one too many may be found.

use std::collections::HashSet;

use upshift_shared::{catalog::RelationKind, ids::RelId};

use super::draft::Draft;

/// Notes them.
pub(super) fn mentions(draft: &mut Draft<'_>) {
    let text = draft.text.to_lowercase();
    let words: HashSet<&str> = text.split(|c| !in_word(c)).collect();
    let named = |name: &str| {
        let name = name.to_lowercase();
        if name.chars().all(in_word) {
            words.contains(name.as_str())
        } else {
            text.contains(&name.replace('"', "\"\""))
        }
    };
    let relations = draft.catalog.relations();
    let found: Vec<RelId> = relations
        .filter(|relation| relation.kind != RelationKind::Sequence && named(&relation.name))
        .map(|relation| relation.id)
        .collect();
    for id in found {
        draft.mentions(id);
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}
