//! Columns that steps of this plan drop, and that are yet there until commit: under another name they
//! still take part in whatever names no columns. Later steps must not see them, or the result is not
//! that of `psql`.
//!
//! So `*`, `t.*`, INSERT without a list of columns and their like are written out before a statement is
//! bound. The text is edited in place, not written anew from the tree: what the author wrote stays.

mod scope;
#[cfg(test)]
mod tests;
mod text;
mod walk;
mod write;

use std::collections::BTreeMap;

use pg_query::Node;
use upshift_shared::{
    catalog::{Catalog, Relation},
    ids::RelId,
    pack::{Location, grammar},
    plan::{DdlEffect, Hide},
};

use crate::compile::{
    error::BindError,
    model::{Bound, Class},
};

/// The relations with hidden columns, and where each lost its first.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    places: BTreeMap<RelId, Location>,
}

impl Hidden {
    /// Whether there are none, as is the rule.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Notes what a step hides. A DROP that runs for real has another effect.
    pub(super) fn note(&mut self, bound: &Bound, catalog: &Catalog, at: &Location) {
        let Class::Ddl(ddl) = &bound.class else {
            return;
        };
        for action in &ddl.actions {
            let (DdlEffect::Hide(Hide::Column { table, .. }) | DdlEffect::KeepColumn { table, .. }) =
                &action.effect
            else {
                continue;
            };
            let named = bound
                .tables
                .iter()
                .find(|(_, name, _)| name.to_string() == *table);
            let mut family: Vec<RelId> = named.map(|(id, ..)| *id).into_iter().collect();
            while let Some(id) = family.pop() {
                if let Some(relation) = catalog.relation(id)
                    && !self.places.contains_key(&id)
                {
                    self.places.insert(id, at.clone());
                    family.extend(&relation.inheritance.children);
                }
            }
        }
    }

    /// Where a relation lost its first hidden column; `None` where it has none. What is created as a
    /// child of such a table has its hidden columns too.
    fn of(&self, catalog: &Catalog, relation: &Relation) -> Option<&Location> {
        self.places.get(&relation.id).or_else(|| {
            let parents = relation.inheritance.parents.iter();
            let mut parents = parents.filter_map(|parent| catalog.relation(*parent));
            parents.find_map(|parent| self.of(catalog, parent))
        })
    }

    /// What to tell about a step whose text is not looked into, but mentions a table with hidden
    /// columns.
    pub(super) fn warning(&self, text: &str, catalog: &Catalog) -> Option<String> {
        let (name, at) = self.mentioned(text, catalog)?;
        Some(format!(
            "it mentions \"{name}\", which lost a column at {at}: until commit that column is still there \
             under another name, so what names no columns here (SELECT *, INSERT without a list, whole \
             rows) sees it: list the columns, or mark that statement -- upshift: irreversible"
        ))
    }

    fn mentioned<'a>(&self, text: &str, catalog: &'a Catalog) -> Option<(&'a str, &Location)> {
        if self.is_empty() {
            return None;
        }
        let text = text.to_lowercase();
        catalog.relations().find_map(|relation| {
            let at = self.of(catalog, relation)?;
            let name = relation.name.to_lowercase();
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let as_word = text.match_indices(&name).any(|(start, _)| {
                !text[..start].ends_with(is_word)
                    && !text[start + name.len()..].starts_with(is_word)
            });
            as_word.then_some((relation.name.as_str(), at))
        })
    }

    /// The statement with its stars written out, where it has some that cover hidden columns.
    ///
    /// # Errors
    /// It sees hidden columns in a way that cannot be written out.
    pub(super) fn expand(
        &self,
        node: &Node,
        sql: &str,
        catalog: &Catalog,
        search_path: &[String],
    ) -> Result<Option<(Node, String)>, BindError> {
        if self.mentioned(sql, catalog).is_none() {
            return Ok(None);
        }
        let unreadable = |error: String| BindError::new(format!("{error}: please report this"));
        // As plain data, so that the walk meets every kind of node, those of later grammars included.
        let tree = serde_json::to_value(node).map_err(|error| unreadable(error.to_string()))?;
        let text = text::Text::new(sql).map_err(unreadable)?;
        let mut walk = walk::Walk {
            hidden: self,
            catalog,
            path: search_path,
            text,
        };
        walk.statement(&tree)?;
        let Some(text) = walk.text.finish() else {
            return Ok(None);
        };
        let mut parsed = grammar::parse(&text).map_err(|error| unreadable(error.to_string()))?;
        let statement = parsed.protobuf.stmts.pop().and_then(|raw| raw.stmt);
        let statement = statement.ok_or_else(|| unreadable("the statement is lost".to_owned()))?;
        Ok(Some((*statement, text)))
    }
}
