//! The read set of a query that stands inside DDL: of a view, of CREATE TABLE AS.

use std::collections::BTreeSet;

use pg_query::{Node, NodeEnum};
use upshift_shared::{catalog::Catalog, ids::RelId, pg::ident::QualifiedName, plan::Sequences};

use super::{
    source::Place,
    uses::{Uses, named_sequences},
    walker::Walker,
};
use crate::compile::{
    error::BindError,
    model::{NowCall, Resource},
};

/// What a query reads and returns.
#[derive(Debug, Clone)]
pub struct ReadSet {
    /// What it reads.
    pub reads: BTreeSet<Resource>,
    /// What it changes all the same: sequences that it draws from.
    pub writes: BTreeSet<Resource>,
    /// The resources' names.
    pub names: Vec<(Resource, String)>,
    /// The relations that it mentions itself, in [`upshift_shared::catalog::Relation::reads`]' sense:
    /// views are not followed.
    pub relations: Vec<RelId>,
    /// All relations that it touches, with their names; none is written.
    pub tables: Vec<(RelId, QualifiedName, bool)>,
    /// The columns that it returns; `None` where they cannot be told.
    pub columns: Option<Vec<QueryColumn>>,
    /// Sequences that it draws from.
    pub sequences: Sequences,
    /// Why it cannot be understood, where it cannot.
    pub opaque: Option<String>,
    /// Volatile functions that it calls.
    pub volatile: Vec<String>,
    /// Where `now()` and its kin stand.
    pub now_calls: Vec<NowCall>,
    /// Things to tell the reader.
    pub warnings: Vec<String>,
}

/// A column that a query returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    /// Its name.
    pub name: String,
    /// `format_type` of its type, where it can be told.
    pub type_name: Option<String>,
}

/// Binds a query (a `SelectStmt` node).
///
/// # Errors
/// Names that the catalog does not have, and what PostgreSQL would refuse, with the place in `text`.
pub fn read_set(
    query: &Node,
    text: &str,
    catalog: &Catalog,
    search_path: &[String],
) -> Result<ReadSet, BindError> {
    let Some(NodeEnum::SelectStmt(select)) = &query.node else {
        return Err(BindError::new("a query is expected here"));
    };
    let mut walker = Walker::new(catalog, search_path, text);
    let output = walker.nested(Place::Rows, |walker| walker.select(select, false))?;
    let mut uses = Uses::of(&walker);
    if let Some(effects) = &walker.found.modifying {
        effects.add_to(&mut uses);
    }
    let relations: BTreeSet<RelId> = (0..walker.sources.len())
        .filter_map(|source| walker.relation_of(source))
        .collect();
    let columns = output.columns.into_iter().map(|column| QueryColumn {
        name: column.name,
        type_name: column.type_name,
    });
    let opaque = walker.found.opaque.clone().or_else(|| {
        let modifying = walker.found.modifying.is_some();
        modifying.then(|| "a WITH query in it changes data".to_owned())
    });
    Ok(ReadSet {
        names: uses.names(catalog),
        tables: uses.named_tables(catalog),
        relations: relations.into_iter().collect(),
        columns: (!output.open).then(|| columns.collect()),
        sequences: named_sequences(walker.found.sequences.iter(), catalog),
        opaque,
        volatile: walker.found.volatile.iter().cloned().collect(),
        now_calls: walker.now_calls().unwrap_or_default(),
        warnings: walker.found.warnings.clone(),
        reads: uses.reads,
        writes: uses.writes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::analyse::fixture::{catalog, path};

    fn read(sql: &str) -> ReadSet {
        let parsed = pg_query::parse(sql, 0).expect("it parses").protobuf;
        let node = parsed.stmts[0].stmt.as_ref().expect("a statement");
        read_set(node, sql, &catalog(), &path()).expect("it binds")
    }

    #[test]
    fn columns_have_names_and_where_plain_types() {
        let set = read(
            "SELECT p.id, name AS n, count(*), 1 AS one, 'x'::character varying(3) AS cut, now() \
             FROM partner p GROUP BY p.id",
        );
        let columns = set.columns.expect("a closed list");
        let columns: Vec<(&str, Option<&str>)> = columns
            .iter()
            .map(|column| (column.name.as_str(), column.type_name.as_deref()))
            .collect();
        assert_eq!(
            columns,
            [
                ("id", Some("integer")),
                ("n", Some("character varying")),
                ("count", None),
                ("one", Some("integer")),
                ("cut", Some("character varying(3)")),
                ("now", None),
            ]
        );
        assert_eq!(set.now_calls.len(), 1);
        assert_eq!(set.opaque, None);
    }

    #[test]
    fn views_are_followed_in_reads_and_not_in_relations() {
        let set = read("SELECT * FROM move_view");
        let catalog = catalog();
        let id = |name: &str| catalog.find(None, name, &path()).expect("known").id;
        assert_eq!(set.relations, [id("move_view")]);
        assert!(set.reads.contains(&Resource::Rows(id("move"))));
        assert!(set.tables.iter().any(|(table, ..)| *table == id("move")));
        let names = set.columns.expect("a closed list");
        assert_eq!(
            names.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            ["id", "name"]
        );
    }

    #[test]
    fn what_changes_data_or_is_unknown_is_opaque() {
        let deleting = read("WITH gone AS (DELETE FROM line RETURNING id) SELECT id FROM gone");
        assert_eq!(
            deleting.opaque.as_deref(),
            Some("a WITH query in it changes data")
        );
        assert!(read("SELECT log(name) FROM partner").opaque.is_some());
        assert_eq!(read("SELECT * FROM pg_class").columns, None);
        let drawing = read("SELECT nextval('partner_id_seq'), random()");
        assert!(matches!(drawing.sequences, Sequences::Named(names) if names.len() == 1));
        assert_eq!(drawing.volatile, ["random()"]);
    }
}
