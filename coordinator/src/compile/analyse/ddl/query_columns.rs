//! What columns a query gives, as far as the catalog tells: names as PostgreSQL makes them, types where
//! they are plain to see (empty where not).

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AConst, ColumnRef, JoinExpr, RangeSubselect, RangeVar, SelectStmt, SetOperation,
        a_const::Val,
    },
};

use super::{draft::Draft, expression, object, type_name};

/// Name and type of each column.
pub(super) type Columns = Vec<(String, String)>;

/// The columns of a query; `None` where they cannot be told.
pub(super) fn of(draft: &Draft<'_>, query: &Node) -> Option<Columns> {
    match &query.node {
        Some(NodeEnum::SelectStmt(select)) => Scope::default().query(draft, select),
        _ => None,
    }
}

/// The names that a query's FROM and WITH bring.
#[derive(Clone, Default)]
struct Scope {
    with: Vec<(String, Columns)>,
    tables: Vec<(String, Columns)>,
    /// For `*`: columns in order, those that USING merged listed once.
    star: Columns,
}

impl Scope {
    fn query(&self, draft: &Draft<'_>, select: &SelectStmt) -> Option<Columns> {
        let mut scope = Self {
            with: self.with.clone(),
            ..Self::default()
        };
        if let Some(with) = &select.with_clause {
            for node in &with.ctes {
                scope.with_query(draft, node)?;
            }
        }
        if select.op != SetOperation::SetopNone as i32 {
            return scope.query(draft, select.larg.as_ref()?);
        }
        if let Some(first) = select.values_lists.first() {
            let Some(NodeEnum::List(row)) = &first.node else {
                return None;
            };
            let columns = row.items.iter().enumerate();
            let columns = columns.map(|(place, value)| {
                (format!("column{}", place + 1), scope.type_of(draft, value))
            });
            return Some(columns.collect());
        }
        for node in &select.from_clause {
            let columns = scope.item_columns(draft, node)?;
            scope.star.extend(columns);
        }
        let mut result = Columns::new();
        for node in &select.target_list {
            let Some(NodeEnum::ResTarget(target)) = &node.node else {
                return None;
            };
            let value = target.val.as_ref()?;
            match &value.node {
                Some(NodeEnum::ColumnRef(column)) if is_star(column) => {
                    result.extend(scope.expand(column)?);
                }
                _ => {
                    let name = if target.name.is_empty() {
                        expression::column_name(value).unwrap_or_else(|| "?column?".to_owned())
                    } else {
                        target.name.clone()
                    };
                    result.push((name, scope.type_of(draft, value)));
                }
            }
        }
        Some(result)
    }

    fn with_query(&mut self, draft: &Draft<'_>, node: &Node) -> Option<()> {
        let Some(NodeEnum::CommonTableExpr(cte)) = &node.node else {
            return None;
        };
        let mut columns = match &cte.ctequery.as_ref()?.node {
            // A recursive query sees itself; its first arm does not.
            Some(NodeEnum::SelectStmt(select)) => self.query(draft, select)?,
            _ => return None,
        };
        rename(&mut columns, &object::strings(&cte.aliascolnames));
        self.with.push((cte.ctename.clone(), columns));
        Some(())
    }

    /// Adds what an item of FROM brings; its columns for `*`.
    fn item_columns(&mut self, draft: &Draft<'_>, node: &Node) -> Option<Columns> {
        match &node.node {
            Some(NodeEnum::RangeVar(table)) => self.table(draft, table),
            Some(NodeEnum::RangeSubselect(subquery)) => self.subquery(draft, subquery),
            Some(NodeEnum::JoinExpr(join)) => self.join(draft, join),
            _ => None,
        }
    }

    fn table(&mut self, draft: &Draft<'_>, table: &RangeVar) -> Option<Columns> {
        let with = self
            .with
            .iter()
            .rev()
            .find(|(name, _)| table.schemaname.is_empty() && *name == table.relname);
        let mut columns = match with {
            Some((_, columns)) => columns.clone(),
            None => {
                let relation = draft.relation(draft.find(table)?);
                let columns = relation.columns.iter();
                columns
                    .map(|column| (column.name.clone(), column.type_name.clone()))
                    .collect()
            }
        };
        let mut name = table.relname.clone();
        if let Some(alias) = &table.alias {
            name.clone_from(&alias.aliasname);
            rename(&mut columns, &object::strings(&alias.colnames));
        }
        self.tables.push((name, columns.clone()));
        Some(columns)
    }

    fn subquery(&mut self, draft: &Draft<'_>, subquery: &RangeSubselect) -> Option<Columns> {
        let Some(NodeEnum::SelectStmt(select)) = &subquery.subquery.as_ref()?.node else {
            return None;
        };
        let mut columns = self.query(draft, select)?;
        let mut name = String::new();
        if let Some(alias) = &subquery.alias {
            name.clone_from(&alias.aliasname);
            rename(&mut columns, &object::strings(&alias.colnames));
        }
        self.tables.push((name, columns.clone()));
        Some(columns)
    }

    fn join(&mut self, draft: &Draft<'_>, join: &JoinExpr) -> Option<Columns> {
        let left = self.item_columns(draft, join.larg.as_ref()?)?;
        let right = self.item_columns(draft, join.rarg.as_ref()?)?;
        let merged: Vec<String> = if join.is_natural {
            let names = left.iter().map(|(name, _)| name.clone());
            names
                .filter(|name| right.iter().any(|(other, _)| other == name))
                .collect()
        } else {
            object::strings(&join.using_clause)
        };
        let mut columns = Columns::new();
        for name in &merged {
            columns.push(left.iter().find(|(other, _)| other == name)?.clone());
        }
        let rest = left.into_iter().chain(right);
        columns.extend(rest.filter(|(name, _)| !merged.contains(name)));
        if let Some(alias) = &join.alias {
            self.tables.push((alias.aliasname.clone(), columns.clone()));
        }
        Some(columns)
    }

    fn expand(&self, column: &ColumnRef) -> Option<Columns> {
        let qualifier = object::strings(&column.fields);
        match qualifier.last() {
            None => Some(self.star.clone()),
            Some(table) => self.columns_of(table).cloned(),
        }
    }

    fn columns_of(&self, table: &str) -> Option<&Columns> {
        let found = self.tables.iter().find(|(name, _)| name == table);
        found.map(|(_, columns)| columns)
    }

    /// The type of an expression where it is plain to see, else empty.
    fn type_of(&self, draft: &Draft<'_>, value: &Node) -> String {
        self.plain_type(draft, value).unwrap_or_default()
    }

    fn plain_type(&self, draft: &Draft<'_>, value: &Node) -> Option<String> {
        match value.node.as_ref()? {
            NodeEnum::ColumnRef(column) => {
                let parts = object::strings(&column.fields);
                let (name, table) = (parts.last()?, parts.iter().rev().nth(1));
                let columns = match table {
                    Some(table) => self.columns_of(table)?,
                    None => &self.star,
                };
                let found = columns.iter().find(|(own, _)| own == name);
                found.map(|(_, type_name)| type_name.clone())
            }
            NodeEnum::TypeCast(cast) => type_name::text(draft, cast.type_name.as_ref()?).ok(),
            NodeEnum::AConst(constant) => constant_type(constant).map(str::to_owned),
            NodeEnum::BoolExpr(_) | NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_) => {
                Some("boolean".to_owned())
            }
            NodeEnum::CoalesceExpr(e) => self.first_known(draft, &e.args),
            NodeEnum::MinMaxExpr(e) => self.first_known(draft, &e.args),
            NodeEnum::CaseExpr(case) => {
                let results = case.args.iter().filter_map(|when| match &when.node {
                    Some(NodeEnum::CaseWhen(when)) => when.result.as_deref().cloned(),
                    _ => None,
                });
                let results: Vec<Node> =
                    results.chain(case.defresult.as_deref().cloned()).collect();
                self.first_known(draft, &results)
            }
            NodeEnum::FuncCall(call) => {
                let name = object::strings(&call.funcname).pop()?;
                match name.as_str() {
                    "count" | "row_number" | "rank" | "dense_rank" | "nextval" | "currval" => {
                        Some("bigint".to_owned())
                    }
                    "now" => Some("timestamp with time zone".to_owned()),
                    "lower" | "upper" | "concat" | "format" | "md5" | "replace" | "substr"
                    | "substring" | "trim" | "btrim" | "string_agg" => Some("text".to_owned()),
                    "min" | "max" => self.plain_type(draft, call.args.first()?),
                    _ => None,
                }
            }
            _ => None,
        }
        .filter(|type_name| !type_name.is_empty())
    }

    /// The type of the first argument that has one and is not a bare literal.
    fn first_known(&self, draft: &Draft<'_>, values: &[Node]) -> Option<String> {
        let is_literal = |node: &&Node| {
            matches!(&node.node, Some(NodeEnum::AConst(constant))
                if matches!(constant.val, None | Some(Val::Sval(_))))
        };
        let mut typed = values.iter().filter(|value| !is_literal(value)).peekable();
        if typed.peek().is_none() {
            return Some("text".to_owned());
        }
        // All must agree: which of two types wins is PostgreSQL's business.
        let mut types = typed.map(|value| self.plain_type(draft, value));
        let first = types.next()??;
        types
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }
}

fn is_star(column: &ColumnRef) -> bool {
    let last = column.fields.last().and_then(|node| node.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}

fn rename(columns: &mut Columns, names: &[String]) {
    for ((name, _), alias) in columns.iter_mut().zip(names) {
        name.clone_from(alias);
    }
}

fn constant_type(constant: &AConst) -> Option<&'static str> {
    if constant.isnull {
        return Some("text");
    }
    Some(match constant.val.as_ref()? {
        Val::Ival(_) => "integer",
        Val::Fval(number) if number.fval.parse::<i64>().is_ok() => "bigint",
        Val::Fval(_) => "numeric",
        Val::Boolval(_) => "boolean",
        Val::Sval(_) => "text",
        Val::Bsval(_) => return None,
    })
}
