//! A table that inherits from others, in a swap. Its columns and constraints are theirs as long as one parent
//! has them (PostgreSQL, ALTER TABLE … NO INHERIT), so each of the two tables has a stand-in for a parent,
//! empty and in the schema beside it, while the other one is in use.

use upshift_shared::pg::ident::QualifiedName;

use super::swap::{Fact, of};

/// The stand-in of the table in that schema.
pub(super) fn stand_in(home: &str, table: &str) -> String {
    let name = match table {
        "upshift_parent" => "upshift_parents",
        _ => "upshift_parent",
    };
    QualifiedName::new(home, name).to_string()
}

/// One of the two tables: where it is before anything moves.
pub(super) struct Heir<'a> {
    pub(super) table: &'a str,
    pub(super) stand_in: &'a str,
}

/// The old table leaves its parents, and the new one has them, in their order.
pub(super) fn there(facts: &[Fact], old: &Heir<'_>, new: &Heir<'_>) -> Vec<String> {
    let mut statements = Vec::new();
    for fact in of(facts, "stand_in") {
        statements.push(format!(
            "CREATE TABLE {} ({})",
            old.stand_in, fact.definition
        ));
        statements.push(inherit(old, "INHERIT", old.stand_in));
    }
    statements.extend(parents(facts).map(|parent| inherit(old, "NO INHERIT", parent)));
    statements.extend(take_over(facts, new));
    statements
}

/// The same the other way round; the new table goes, whatever it thinks is its own.
pub(super) fn back(facts: &[Fact], old: &Heir<'_>, new: &str) -> Vec<String> {
    let leave = |parent| format!("ALTER TABLE {new} NO INHERIT {parent}");
    let mut statements: Vec<String> = parents(facts).map(leave).collect();
    statements.extend(take_over(facts, old));
    statements
}

/// The parents in place of the stand-in.
fn take_over(facts: &[Fact], heir: &Heir<'_>) -> Vec<String> {
    let parents = parents(facts).map(|parent| inherit(heir, "INHERIT", parent));
    let mut statements: Vec<String> = parents.collect();
    if !statements.is_empty() {
        statements.push(inherit(heir, "NO INHERIT", heir.stand_in));
        statements.push(format!("DROP TABLE {}", heir.stand_in));
    }
    statements
}

fn inherit(heir: &Heir<'_>, verb: &str, parent: &str) -> String {
    format!("ALTER TABLE {} {verb} {parent}", heir.table)
}

fn parents(facts: &[Fact]) -> impl Iterator<Item = &str> {
    of(facts, "parent").map(|fact| fact.object.as_str())
}
