//! `-- upshift: when = …`: a condition on the catalog as it is when the step's turn comes.

use std::collections::BTreeSet;

use upshift_shared::{
    catalog::{Catalog, Relation},
    pack::{Condition, When},
};

/// Why the step is to be skipped, or `None` where its condition holds.
pub(super) fn fails(
    when: &When,
    catalog: &Catalog,
    search_path: &[String],
    installed: &BTreeSet<String>,
) -> Option<String> {
    let (holds, what) = match &when.condition {
        Condition::ColumnExists { table, column } => {
            let relation = find(catalog, table, search_path);
            let holds = relation.is_some_and(|relation| relation.column(column).is_some());
            (holds, format!("column {}.{column}", table.join(".")))
        }
        Condition::TableExists { table } => {
            let holds = find(catalog, table, search_path).is_some();
            (holds, format!("table {}", table.join(".")))
        }
        Condition::ModuleInstalled { module } => {
            (installed.contains(module), format!("module {module}"))
        }
    };
    match (holds, when.negated) {
        (false, false) => Some(format!("when: there is no {what}")),
        (true, true) => Some(format!("when: there is a {what}")),
        _ => None,
    }
}

fn find<'c>(
    catalog: &'c Catalog,
    table: &[String],
    search_path: &[String],
) -> Option<&'c Relation> {
    match table {
        [schema, name] => catalog.find(Some(schema), name, search_path),
        [name] => catalog.find(None, name, search_path),
        _ => None,
    }
}
