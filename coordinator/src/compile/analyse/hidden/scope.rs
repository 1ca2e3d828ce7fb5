//! What names mean at a place of a statement, as far as hidden columns ask.

use serde_json::Value;
use upshift_shared::{pack::Location, pg::ident::ident};

/// Names of columns, in order; `None` where nobody knows.
pub(super) type Columns = Option<Vec<String>>;

/// Columns of a star: the name of each, and how to write it; `None` where nobody knows.
pub(super) type Star = Option<Vec<(String, String)>>;

/// Something that rows come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// What the statement calls it; empty for a subquery without a name.
    pub(super) alias: String,
    pub(super) schema: String,
    pub(super) columns: Columns,
    /// Where it lost a column that is still there.
    pub(super) hidden: Option<Location>,
    /// An outer join may fill it up with NULLs: then its whole row is NULL, and not a row of NULLs.
    pub(super) optional: bool,
    /// Its columns are found only under its name.
    pub(super) qualified_only: bool,
}

impl Source {
    /// A subquery or function, or anything else without hidden columns.
    pub(super) fn derived(alias: String, columns: Columns) -> Self {
        Self {
            alias,
            schema: String::new(),
            columns,
            hidden: None,
            optional: false,
            qualified_only: false,
        }
    }

    pub(super) fn column(&self, name: &str) -> String {
        if self.alias.is_empty() {
            ident(name)
        } else {
            format!("{}.{}", ident(&self.alias), ident(name))
        }
    }

    /// Its columns, each with the way to write it.
    pub(super) fn star(&self) -> Star {
        let columns = self.columns.as_ref()?.iter();
        Some(
            columns
                .map(|name| (name.clone(), self.column(name)))
                .collect(),
        )
    }
}

/// Items of FROM.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) sources: Vec<Source>,
    /// What a bare star covers.
    pub(super) star: Star,
    /// USING or NATURAL merged columns, so that a star is not the stars of its sources.
    pub(super) merged: bool,
}

impl Tables {
    pub(super) fn none() -> Self {
        Self {
            star: Some(Vec::new()),
            ..Self::default()
        }
    }

    pub(super) fn one(source: Source) -> Self {
        Self {
            star: source.star(),
            sources: vec![source],
            merged: false,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.sources.extend(other.sources);
        self.merged |= other.merged;
        self.star = self.star.take().zip(other.star).map(|(mut all, more)| {
            all.extend(more);
            all
        });
    }

    pub(super) fn hidden(&self) -> Option<&Location> {
        self.sources
            .iter()
            .filter(|source| !source.qualified_only)
            .find_map(|source| source.hidden.as_ref())
    }

    /// What to write in place of a bare star; `None` where nobody knows.
    pub(super) fn written(&self) -> Option<String> {
        if self.merged {
            let columns = self.star.as_ref()?.iter().map(|(name, text)| {
                // A merged column of a FULL JOIN has no name but that which it is given.
                if text.starts_with("COALESCE(") {
                    format!("{text} AS {}", ident(name))
                } else {
                    text.clone()
                }
            });
            return Some(columns.collect::<Vec<_>>().join(", "));
        }
        let mut columns = Vec::new();
        for source in self.sources.iter().filter(|source| !source.qualified_only) {
            if source.hidden.is_some() || source.alias.is_empty() {
                columns.extend(source.star()?.into_iter().map(|(_, text)| text));
            } else {
                columns.push(format!("{}.*", ident(&source.alias)));
            }
        }
        Some(columns.join(", "))
    }
}

/// Names that may be used at one place.
#[derive(Debug, Default)]
pub(super) struct Scope<'p> {
    pub(super) parent: Option<&'p Scope<'p>>,
    pub(super) ctes: Vec<(String, Columns)>,
    pub(super) sources: Vec<Source>,
}

impl<'p> Scope<'p> {
    pub(super) fn inside(parent: &'p Scope<'p>, sources: Vec<Source>) -> Self {
        Self {
            parent: Some(parent),
            ctes: Vec::new(),
            sources,
        }
    }

    fn outwards(&self) -> impl Iterator<Item = &Scope<'p>> {
        std::iter::successors(Some(self), |scope| scope.parent)
    }

    pub(super) fn cte(&self, name: &str) -> Option<&Columns> {
        self.outwards()
            .find_map(|scope| scope.ctes.iter().rev().find(|(cte, _)| cte == name))
            .map(|(_, columns)| columns)
    }

    /// The innermost source of that name.
    pub(super) fn named(&self, schema: Option<&str>, name: &str) -> Option<&Source> {
        let matches = |source: &&Source| {
            source.alias == name && schema.is_none_or(|schema| source.schema == schema)
        };
        self.outwards()
            .find_map(|scope| scope.sources.iter().find(matches))
    }

    /// Whether an unqualified name is a column.
    pub(super) fn has_column(&self, name: &str) -> bool {
        let mut sources = self.outwards().flat_map(|scope| &scope.sources);
        sources.any(|source| {
            let columns = source.columns.as_ref().filter(|_| !source.qualified_only);
            columns.is_some_and(|columns| columns.iter().any(|column| column == name))
        })
    }
}

/// A node of the tree: its kind, and what is in it.
pub(super) fn node(value: &Value) -> Option<(&str, &Value)> {
    let (kind, inner) = value.get("node")?.as_object()?.iter().next()?;
    Some((kind, inner))
}

/// A node of that kind.
pub(super) fn of_kind<'v>(value: &'v Value, kind: &str) -> Option<&'v Value> {
    node(value).and_then(|(found, inner)| (found == kind).then_some(inner))
}

/// A list of nodes.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a field; empty where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The strings of a list of `String` nodes.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    let nodes = list(value).iter();
    nodes
        .filter_map(|item| of_kind(item, "String")?["sval"].as_str())
        .collect()
}

/// The fields of a reference, and whether it ends in a star.
pub(super) fn fields(reference: &Value) -> (Vec<&str>, bool) {
    let last = list(&reference["fields"]).last();
    let star = last.is_some_and(|last| of_kind(last, "AStar").is_some());
    (strings(&reference["fields"]), star)
}

/// The reference that ends in a star, where an item of a list is one.
pub(super) fn star(value: Option<&Value>) -> Option<&Value> {
    of_kind(value?, "ColumnRef").filter(|reference| fields(reference).1)
}

/// The name of an item of a select list.
pub(super) fn column_name(value: &Value) -> String {
    let found = match node(value) {
        Some(("ColumnRef", inner)) => strings(&inner["fields"]).last().copied(),
        Some(("FuncCall", inner)) => strings(&inner["funcname"]).last().copied(),
        Some(("TypeCast", inner)) => return column_name(&inner["arg"]),
        _ => None,
    };
    found.unwrap_or("?column?").to_owned()
}
