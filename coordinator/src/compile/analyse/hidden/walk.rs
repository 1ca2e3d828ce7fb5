//! The walk: through the tree of a statement, with the names that each place sees.

use pg_query::protobuf::{JoinType, SetOperation, SubLinkType};
use serde_json::Value;
use upshift_shared::{
    catalog::{Catalog, Relation},
    pack::Location,
};

use super::{
    Hidden,
    scope::{
        Columns, Scope, Source, Star, Tables, column_name, fields, list, node, of_kind, star,
        strings, text,
    },
    text::Text,
};
use crate::compile::error::BindError;

/// Functions that make JSON of a row: any record of the same columns will do.
const OF_RECORDS: [&str; 5] = [
    "to_json",
    "to_jsonb",
    "row_to_json",
    "json_agg",
    "jsonb_agg",
];

/// What may be done about a whole row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// It does not matter what is in it.
    Any,
    /// A record of the visible columns will do.
    Record,
    /// It must be a row of the table.
    Typed,
}

pub(super) struct Walk<'a> {
    pub(super) hidden: &'a Hidden,
    pub(super) catalog: &'a Catalog,
    pub(super) path: &'a [String],
    pub(super) text: Text<'a>,
}

impl<'a> Walk<'a> {
    /// Walks a whole statement.
    pub(super) fn statement(&mut self, tree: &Value) -> Result<(), BindError> {
        self.walk(tree, &Scope::default())
    }

    /// Whatever it is.
    pub(super) fn walk(&mut self, value: &Value, scope: &Scope<'_>) -> Result<(), BindError> {
        match (value, node(value)) {
            (_, Some((kind, inner))) => self.node(kind, inner, scope),
            (Value::Array(items), _) => items.iter().try_for_each(|item| self.walk(item, scope)),
            (Value::Object(parts), _) => parts.values().try_for_each(|part| self.walk(part, scope)),
            _ => Ok(()),
        }
    }

    /// What is in a node, but for some of its fields.
    pub(super) fn rest(
        &mut self,
        inner: &Value,
        done: &[&str],
        scope: &Scope<'_>,
    ) -> Result<(), BindError> {
        let parts = inner.as_object().into_iter().flatten();
        parts
            .filter(|(name, _)| !done.contains(&name.as_str()))
            .try_for_each(|(_, part)| self.walk(part, scope))
    }

    fn node(&mut self, kind: &str, inner: &Value, scope: &Scope<'_>) -> Result<(), BindError> {
        match kind {
            "SelectStmt" => self.select(inner, scope, false).map(|_| ()),
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                self.write(kind, inner, scope).map(|_| ())
            }
            "ColumnRef" => self.reference(inner, Row::Typed, scope),
            "FuncCall" => {
                let row = match strings(&inner["funcname"]).last().copied() {
                    Some("count") => Row::Any,
                    Some(name) if OF_RECORDS.contains(&name) => Row::Record,
                    _ => Row::Typed,
                };
                for argument in list(&inner["args"]) {
                    self.argument(argument, row, scope)?;
                }
                self.rest(inner, &["args"], scope)
            }
            "TypeCast" => {
                let to = strings(&inner["type_name"]["names"]).last().copied();
                let row = match to {
                    Some("text" | "varchar") => Row::Record,
                    _ => Row::Typed,
                };
                self.argument(&inner["arg"], row, scope)
            }
            "AIndirection" => {
                let first = list(&inner["indirection"]).first();
                let names_column = first.is_some_and(|first| of_kind(first, "String").is_some());
                let row = if names_column { Row::Any } else { Row::Typed };
                self.argument(&inner["arg"], row, scope)?;
                self.rest(inner, &["arg"], scope)
            }
            "RowExpr" => self.row(&inner["args"], scope),
            "SubLink" => {
                self.walk(&inner["testexpr"], scope)?;
                let exists = inner["sub_link_type"] == SubLinkType::ExistsSublink as i32;
                match of_kind(&inner["subselect"], "SelectStmt") {
                    Some(select) => self.select(select, scope, exists).map(|_| ()),
                    None => Ok(()),
                }
            }
            // Whole rows of old and new compare as ever: what is hidden does not change.
            "CreateTrigStmt" => Ok(()),
            _ => self.utility(kind, inner, scope),
        }
    }

    fn argument(&mut self, value: &Value, row: Row, scope: &Scope<'_>) -> Result<(), BindError> {
        match of_kind(value, "ColumnRef") {
            Some(reference) => self.reference(reference, row, scope),
            None => self.walk(value, scope),
        }
    }

    /// The items of ROW (…) or of a row of VALUES, in which `t.*` is all columns of `t`.
    fn row(&mut self, items: &Value, scope: &Scope<'_>) -> Result<(), BindError> {
        for item in list(items) {
            match star(Some(item)) {
                Some(reference) => self.qualified_star(reference, scope).map(|_| ())?,
                None => self.walk(item, scope)?,
            }
        }
        Ok(())
    }

    /// A reference in an expression: a whole row is of interest.
    fn reference(
        &mut self,
        reference: &Value,
        row: Row,
        scope: &Scope<'_>,
    ) -> Result<(), BindError> {
        let source = match fields(reference) {
            (names, false) if names.len() == 1 && scope.has_column(names[0]) => None,
            (names, false) if names.len() == 2 && scope.named(None, names[0]).is_some() => None,
            (names, _) => match names.as_slice() {
                [name] => scope.named(None, name),
                [schema, name] => scope.named(Some(schema), name),
                _ => None,
            },
        };
        let Some((source, at)) = source.and_then(|source| Some((source, source.hidden.as_ref()?)))
        else {
            return Ok(());
        };
        let record = (row == Row::Record && !source.optional)
            .then(|| source.star())
            .flatten();
        match (row, record) {
            (Row::Any, _) => Ok(()),
            (_, Some(columns)) => {
                let columns: Vec<String> = columns.into_iter().map(|(_, text)| text).collect();
                let record = format!(
                    "(SELECT upshift_row FROM (SELECT {}) AS upshift_row)",
                    columns.join(", ")
                );
                let edited = self.text.replace_name(&reference["location"], record);
                edited.ok_or_else(|| refused(at, reference, "this is a whole row of a table"))
            }
            _ => Err(refused(at, reference, "this is a whole row of a table")),
        }
    }

    /// SELECT, VALUES, TABLE, UNION: the names of its columns. Under EXISTS its stars mean nothing.
    pub(super) fn select(
        &mut self,
        select: &Value,
        scope: &Scope<'_>,
        exists: bool,
    ) -> Result<Columns, BindError> {
        let mut with = Scope::inside(scope, Vec::new());
        self.with(&select["with_clause"], &mut with)?;
        if select["op"] != SetOperation::SetopNone as i32 {
            let columns = self.select(&select["larg"], &with, exists)?;
            self.select(&select["rarg"], &with, exists)?;
            self.rest(select, &["with_clause", "larg", "rarg"], &with)?;
            return Ok(columns);
        }
        if let Some(first) = list(&select["values_lists"]).first() {
            for row in list(&select["values_lists"]) {
                self.row(&row["node"]["List"]["items"], &with)?;
            }
            let width = list(&first["node"]["List"]["items"]).len();
            self.rest(select, &["with_clause", "values_lists"], &with)?;
            return Ok(Some((1..=width).map(|i| format!("column{i}")).collect()));
        }
        let tables = self.from(&select["from_clause"], &with)?;
        let inner = Scope::inside(&with, tables.sources.clone());
        let columns = if exists {
            None
        } else {
            let first = list(&select["from_clause"]).first();
            let place = first.and_then(|item| of_kind(item, "RangeVar"));
            let place = place.map_or(&Value::Null, |range| &range["location"]);
            self.targets(&select["target_list"], &tables, place, &inner)?
        };
        let done = ["with_clause", "from_clause", "target_list"];
        self.rest(select, &done, &inner)?;
        Ok(columns)
    }

    /// The items of a select list or of RETURNING. `table` is the place of the name in `TABLE t`.
    pub(super) fn targets(
        &mut self,
        items: &Value,
        tables: &Tables,
        table: &Value,
        scope: &Scope<'_>,
    ) -> Result<Columns, BindError> {
        let mut columns: Columns = Some(Vec::new());
        for item in list(items) {
            let Some(target) = of_kind(item, "ResTarget") else {
                continue;
            };
            let more = match star(Some(&target["val"])) {
                Some(reference) if strings(&reference["fields"]).is_empty() => {
                    self.bare_star(reference, tables, table)?;
                    let names = tables.star.as_ref().map(|star| star.iter());
                    names.map(|star| star.map(|(name, _)| name.clone()).collect())
                }
                Some(reference) => self.qualified_star(reference, scope)?,
                None => {
                    self.walk(&target["val"], scope)?;
                    Some(vec![match text(&target["name"]) {
                        "" => column_name(&target["val"]),
                        name => name.to_owned(),
                    }])
                }
            };
            columns = columns.zip(more).map(|(mut all, more): (Vec<_>, Vec<_>)| {
                all.extend(more);
                all
            });
        }
        Ok(columns)
    }

    fn bare_star(
        &mut self,
        reference: &Value,
        tables: &Tables,
        table: &Value,
    ) -> Result<(), BindError> {
        let Some(at) = tables.hidden() else {
            return Ok(());
        };
        let edited = tables.written().and_then(|columns| {
            let location = &reference["location"];
            if location.as_i64().is_some_and(|location| location >= 0) {
                self.text.replace_name(location, columns)
            } else {
                let command = format!("SELECT {columns} FROM");
                self.text.replace_table_command(table, command)
            }
        });
        edited.ok_or_else(|| refused(at, reference, "what this star covers cannot be told"))
    }

    fn qualified_star(
        &mut self,
        reference: &Value,
        scope: &Scope<'_>,
    ) -> Result<Columns, BindError> {
        let (names, _) = fields(reference);
        let source = match names.as_slice() {
            [name] => scope.named(None, name),
            [.., schema, name] => scope.named(Some(schema), name),
            [] => None,
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let Some(at) = &source.hidden else {
            return Ok(source.columns.clone());
        };
        let location = &reference["location"];
        let prefix = self.text.before_star(location);
        let written = source.columns.as_ref().zip(prefix).map(|(names, prefix)| {
            let names = names
                .iter()
                .map(|name| format!("{prefix}{}", upshift_shared::pg::ident::ident(name)));
            names.collect::<Vec<_>>().join(", ")
        });
        written
            .and_then(|columns| self.text.replace_name(location, columns))
            .ok_or_else(|| refused(at, reference, "what this star covers cannot be told"))?;
        Ok(source.columns.clone())
    }

    /// Adds the queries of WITH.
    pub(super) fn with(&mut self, clause: &Value, scope: &mut Scope<'_>) -> Result<(), BindError> {
        for item in list(&clause["ctes"]) {
            let Some(cte) = of_kind(item, "CommonTableExpr") else {
                continue;
            };
            let name = text(&cte["ctename"]).to_owned();
            let renamed = strings(&cte["aliascolnames"]);
            if clause["recursive"] == true {
                let known = renamed.iter().map(|name| (*name).to_owned()).collect();
                let known = (!renamed.is_empty()).then_some(known);
                scope.ctes.push((name.clone(), known));
            }
            let columns = match node(&cte["ctequery"]) {
                Some(("SelectStmt", select)) => self.select(select, scope, false)?,
                Some((kind, statement)) => self.write(kind, statement, scope)?,
                None => None,
            };
            scope.ctes.push((name, rename(columns, &renamed)));
        }
        Ok(())
    }

    /// A FROM list.
    pub(super) fn from(&mut self, items: &Value, scope: &Scope<'_>) -> Result<Tables, BindError> {
        let mut tables = Tables::none();
        for item in list(items) {
            let more = self.table(item, &tables.sources, scope)?;
            tables.add(more);
        }
        Ok(tables)
    }

    /// An item of FROM, which sees what stands left of it where it is LATERAL.
    pub(super) fn table(
        &mut self,
        item: &Value,
        left: &[Source],
        scope: &Scope<'_>,
    ) -> Result<Tables, BindError> {
        let Some((kind, inner)) = node(item) else {
            return Ok(Tables::none());
        };
        let lateral = Scope::inside(scope, left.to_vec());
        let alias = &inner["alias"];
        let name = text(&alias["aliasname"]).to_owned();
        match kind {
            "RangeVar" => self.named_table(inner, scope).map(Tables::one),
            "RangeSubselect" => {
                let scope = if inner["lateral"] == true {
                    &lateral
                } else {
                    scope
                };
                let columns = match of_kind(&inner["subquery"], "SelectStmt") {
                    Some(select) => self.select(select, scope, false)?,
                    None => None,
                };
                let columns = rename(columns, &strings(&alias["colnames"]));
                Ok(Tables::one(Source::derived(name, columns)))
            }
            "JoinExpr" => self.join(inner, left, scope),
            "RangeTableSample" => {
                self.rest(inner, &["relation"], &lateral)?;
                self.table(&inner["relation"], left, scope)
            }
            _ => {
                self.rest(inner, &[], &lateral)?;
                let call = list(&inner["functions"]).first();
                let call = call.and_then(|pair| list(&pair["node"]["List"]["items"]).first());
                let name = match (name.as_str(), call) {
                    ("", Some(call)) => column_name(call),
                    _ => name,
                };
                Ok(Tables::one(Source::derived(name, None)))
            }
        }
    }

    /// A table, view or CTE by name.
    pub(super) fn named_table(
        &self,
        range: &Value,
        scope: &Scope<'_>,
    ) -> Result<Source, BindError> {
        let name = text(&range["relname"]);
        let alias = &range["alias"];
        let called = match text(&alias["aliasname"]) {
            "" => name,
            alias => alias,
        };
        let renamed = strings(&alias["colnames"]);
        let called = called.to_owned();
        if text(&range["schemaname"]).is_empty()
            && let Some(columns) = scope.cte(name)
        {
            return Ok(Source::derived(called, rename(columns.clone(), &renamed)));
        }
        let Some(relation) = self.relation(range) else {
            return Ok(Source::derived(called, None));
        };
        let hidden = self.hidden.of(self.catalog, relation);
        if let (Some(at), false) = (hidden, renamed.is_empty()) {
            return Err(refused(
                at,
                range,
                "columns are renamed here by their place",
            ));
        }
        let columns = relation.columns.iter().map(|column| column.name.clone());
        let source = Source::derived(called, rename(Some(columns.collect()), &renamed));
        Ok(Source {
            schema: relation.schema.clone(),
            hidden: hidden.cloned(),
            ..source
        })
    }

    pub(super) fn relation(&self, range: &Value) -> Option<&'a Relation> {
        let schema = Some(text(&range["schemaname"])).filter(|schema| !schema.is_empty());
        self.catalog
            .find(schema, text(&range["relname"]), self.path)
    }

    fn join(
        &mut self,
        join: &Value,
        left: &[Source],
        scope: &Scope<'_>,
    ) -> Result<Tables, BindError> {
        let mut first = self.table(&join["larg"], left, scope)?;
        let mut seen = [left, first.sources.as_slice()].concat();
        let mut second = self.table(&join["rarg"], &seen, scope)?;
        seen.extend(second.sources.iter().cloned());
        self.walk(&join["quals"], &Scope::inside(scope, seen))?;
        let kind = |kind: JoinType| join["jointype"] == kind as i32;
        let full = kind(JoinType::JoinFull);
        for source in &mut first.sources {
            source.optional |= full || kind(JoinType::JoinRight);
        }
        for source in &mut second.sources {
            source.optional |= full || kind(JoinType::JoinLeft);
        }
        let natural = join["is_natural"] == true;
        if let (true, Some(at), Some(_)) = (natural, first.hidden(), second.hidden()) {
            return Err(refused(at, join, "a NATURAL JOIN compares all columns"));
        }
        let using: Option<Vec<String>> = if natural {
            let names = first.star.as_ref().zip(second.star.as_ref());
            names.map(|(first, second)| {
                let common = first
                    .iter()
                    .filter(|(name, _)| second.iter().any(|(other, _)| other == name));
                common.map(|(name, _)| name.clone()).collect()
            })
        } else {
            let names = strings(&join["using_clause"]);
            Some(names.into_iter().map(str::to_owned).collect())
        };
        let merges = using.as_ref().is_none_or(|using| !using.is_empty());
        let stars = first.star.take().zip(second.star.take()).zip(using);
        let star = stars.and_then(|((first, second), using)| {
            let right = kind(JoinType::JoinRight);
            merge(&using, first, second, |first, second| match (full, right) {
                (true, _) => format!("COALESCE({first}, {second})"),
                (_, true) => second,
                _ => first,
            })
        });
        let mut tables = Tables {
            merged: first.merged || second.merged || merges,
            sources: first.sources,
            star,
        };
        tables.sources.extend(second.sources);
        aliased(tables, join)
    }
}

/// A join under an alias of its own, behind which its tables are not seen.
fn aliased(tables: Tables, join: &Value) -> Result<Tables, BindError> {
    let name = text(&join["alias"]["aliasname"]);
    if name.is_empty() {
        return Ok(tables);
    }
    if let Some(at) = tables.hidden() {
        return Err(refused(
            at,
            join,
            "this join has an alias over all its columns",
        ));
    }
    let names = tables
        .star
        .map(|star| star.into_iter().map(|(name, _)| name).collect());
    let renamed = strings(&join["alias"]["colnames"]);
    Ok(Tables::one(Source::derived(
        name.to_owned(),
        rename(names, &renamed),
    )))
}

/// The columns of a join: those that USING names come first.
fn merge(
    using: &[String],
    mut first: Vec<(String, String)>,
    mut second: Vec<(String, String)>,
    one: impl Fn(String, String) -> String,
) -> Star {
    let take = |columns: &mut Vec<(String, String)>, name: &String| {
        let place = columns.iter().position(|(column, _)| column == name)?;
        Some(columns.remove(place).1)
    };
    let mut columns = Vec::new();
    for name in using {
        let (first, second) = (take(&mut first, name)?, take(&mut second, name)?);
        columns.push((name.clone(), one(first, second)));
    }
    columns.append(&mut first);
    columns.append(&mut second);
    Some(columns)
}

/// Gives the first columns the names of an alias list.
fn rename(columns: Columns, names: &[&str]) -> Columns {
    let mut columns = columns?;
    for (column, name) in columns.iter_mut().zip(names) {
        *column = (*name).to_owned();
    }
    Some(columns)
}

/// The statement sees a hidden column, and it cannot be helped.
pub(super) fn refused(at: &Location, place: &Value, what: &str) -> BindError {
    let location = place["location"].as_i64();
    let location = location.and_then(|location| i32::try_from(location).ok());
    BindError::at(
        location.unwrap_or(-1),
        format!(
            "{what}, and of a table that lost a column at {at}, where it stays out of sight until commit: \
             list the columns, or mark that statement -- upshift: irreversible"
        ),
    )
}
