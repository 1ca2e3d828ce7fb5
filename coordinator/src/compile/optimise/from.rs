//! FROM of an UPDATE, as joins of the row at hand: which of its items always have one row for it, and
//! how it is told whether the others have one.

use pg_query::{
    Node, NodeEnum,
    protobuf::{Alias, JoinExpr, JoinType, RangeVar, ResTarget, SelectStmt, SetOperation},
};
use upshift_shared::pg::ident::ident;

use super::spare::Spare;
use crate::compile::{
    model::Joins,
    sql::{deparse, parse},
};

/// What tells that a subquery has a row.
pub(super) const MARK: &str = "upshift_hit";

/// FROM, taken apart.
pub(super) struct Joined {
    /// Items that have exactly one row for the row at hand.
    pub(super) always: Vec<String>,
    /// The others, as one item of a left join; empty where there are none.
    pub(super) perhaps: Option<String>,
    /// An expression that is not NULL where the others have a row.
    pub(super) mark: Option<String>,
}

/// Takes FROM apart. `alias` is what the statement calls its target, `columns` the target's columns
/// at this point, `spare` its WHERE.
pub(super) fn take_apart(
    items: &[Node],
    joins: &Joins,
    alias: &str,
    columns: &[String],
    spare: &Spare<'_>,
) -> Result<Joined, String> {
    let mut always = Vec::new();
    let mut perhaps = Vec::new();
    let mut mark = None;
    for item in items {
        let mut item = item.clone();
        let hand = Hand {
            joins,
            alias,
            columns,
        };
        let kind = hand.replace(&mut item)?;
        spare.within(&mut item);
        if kind == Rows::One {
            always.push(item_text(&item)?);
            continue;
        }
        hand.name_rows(&mut item);
        if mark.is_none() {
            mark = hand.mark(&mut item);
        }
        perhaps.push(item_text(&item)?);
    }
    if !perhaps.is_empty() && mark.is_none() {
        return Err("nothing in its FROM tells whether a row was found".to_owned());
    }
    Ok(Joined {
        always,
        perhaps: match perhaps.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            several => Some(format!("({})", several.join(" CROSS JOIN "))),
        },
        mark,
    })
}

/// USING of a DELETE, with the row at hand in place of self-joins on the key.
pub(super) fn using(
    items: &[Node],
    joins: &Joins,
    alias: &str,
    columns: &[String],
    spare: &Spare<'_>,
) -> Result<String, String> {
    let hand = Hand {
        joins,
        alias,
        columns,
    };
    let mut texts = Vec::new();
    for item in items {
        let mut item = item.clone();
        hand.replace(&mut item)?;
        spare.within(&mut item);
        texts.push(item_text(&item)?);
    }
    Ok(texts.join(", "))
}

/// How many rows an item has for the row at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    One,
    AtMostOne,
}

struct Hand<'a> {
    joins: &'a Joins,
    alias: &'a str,
    columns: &'a [String],
}

impl Hand<'_> {
    /// Puts the row at hand in place of self-joins on the key.
    fn replace(&self, item: &mut Node) -> Result<Rows, String> {
        let row = match &item.node {
            Some(NodeEnum::RangeVar(range)) if self.is_at_hand(range) => {
                if range.alias.as_ref().is_some_and(|a| !a.colnames.is_empty()) {
                    return Err("it gives the columns of a self-join other names".to_owned());
                }
                Some(self.row(called(range))?)
            }
            _ => None,
        };
        if let Some(row) = row {
            *item = row;
            return Ok(Rows::One);
        }
        match &mut item.node {
            Some(NodeEnum::RangeVar(_)) => Ok(Rows::AtMostOne),
            Some(NodeEnum::RangeSubselect(query)) if !query.lateral => Ok(Rows::AtMostOne),
            Some(NodeEnum::JoinExpr(join)) => self.replace_in_join(join),
            _ => Err("its FROM has something else than tables, joins and subqueries".to_owned()),
        }
    }

    fn replace_in_join(&self, join: &mut JoinExpr) -> Result<Rows, String> {
        if join.alias.is_some() {
            return Err("a join in its FROM has a name of its own".to_owned());
        }
        let (Some(left), Some(right)) = (join.larg.as_mut(), join.rarg.as_mut()) else {
            return Err("a join in its FROM has one side only".to_owned());
        };
        let left = self.replace(left)?;
        self.replace(right)?;
        Ok(match (join_type(join.jointype), left) {
            // The left side's one row, whatever the right side has.
            (Some(JoinType::JoinLeft), Rows::One) => Rows::One,
            _ => Rows::AtMostOne,
        })
    }

    fn is_at_hand(&self, range: &RangeVar) -> bool {
        self.joins
            .at_hand
            .iter()
            .any(|alias| alias == called(range))
    }

    /// The row at hand under another name.
    fn row(&self, name: &str) -> Result<Node, String> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| ident(column))
            .map(|column| format!("{}.{column} AS {column}", ident(self.alias)))
            .collect();
        let text = format!(
            "SELECT 1 FROM LATERAL (SELECT {}, true AS {MARK}) AS {}",
            columns.join(", "),
            ident(name)
        );
        match parse(&text)? {
            Some(NodeEnum::SelectStmt(mut select)) => select.from_clause.pop(),
            _ => None,
        }
        .ok_or_else(|| "the row at hand could not be built: please report this".to_owned())
    }

    /// Puts a subquery in place of what has no rows of its own, such as a WITH query, so that a mark
    /// can be added.
    fn name_rows(&self, item: &mut Node) {
        let range = match &mut item.node {
            Some(NodeEnum::JoinExpr(join)) => {
                for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                    self.name_rows(side);
                }
                return;
            }
            Some(NodeEnum::RangeVar(range)) => range,
            _ => return,
        };
        if !self
            .joins
            .rowless
            .iter()
            .any(|alias| alias == called(range))
        {
            return;
        }
        let alias = range.alias.clone().unwrap_or_else(|| Alias {
            aliasname: range.relname.clone(),
            colnames: Vec::new(),
        });
        let bare = RangeVar {
            alias: None,
            ..range.clone()
        };
        let parsed = parse("SELECT 1 FROM (SELECT * FROM x) AS y").ok().flatten();
        let Some(NodeEnum::SelectStmt(mut select)) = parsed else {
            return;
        };
        let Some(Some(NodeEnum::RangeSubselect(mut query))) =
            select.from_clause.pop().map(|node| node.node)
        else {
            return;
        };
        if let Some(Node {
            node: Some(NodeEnum::SelectStmt(inner)),
        }) = query.subquery.as_deref_mut()
        {
            inner.from_clause = vec![Node {
                node: Some(NodeEnum::RangeVar(bare)),
            }];
        }
        query.alias = Some(alias);
        item.node = Some(NodeEnum::RangeSubselect(query));
    }

    /// An expression that is not NULL where the item has a row: a system column of a table that no
    /// outer join fills up with NULLs, or a constant added to a subquery.
    fn mark(&self, item: &mut Node) -> Option<String> {
        match item.node.as_mut()? {
            NodeEnum::RangeVar(range) => {
                let name = called(range);
                let rowless = self.joins.rowless.iter().any(|alias| alias == name);
                let renamed = range.alias.as_ref().is_some_and(|a| !a.colnames.is_empty());
                (!rowless && !renamed).then(|| format!("{}.ctid", ident(name)))
            }
            NodeEnum::RangeSubselect(query) => {
                let name = query.alias.as_ref()?.aliasname.clone();
                let select = query.subquery.as_mut()?.node.as_mut()?;
                let NodeEnum::SelectStmt(select) = select else {
                    return None;
                };
                let has_mark = query.lateral;
                (has_mark || add_mark(select)).then(|| format!("{}.{MARK}", ident(&name)))
            }
            NodeEnum::JoinExpr(join) => match join_type(join.jointype)? {
                JoinType::JoinInner => {
                    let left = join.larg.as_mut().and_then(|left| self.mark(left));
                    left.or_else(|| join.rarg.as_mut().and_then(|right| self.mark(right)))
                }
                JoinType::JoinLeft => self.mark(join.larg.as_mut()?),
                JoinType::JoinRight => self.mark(join.rarg.as_mut()?),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Adds a constant to a select list.
fn add_mark(select: &mut SelectStmt) -> bool {
    let plain = select.op == SetOperation::SetopNone as i32 && select.values_lists.is_empty();
    if !plain {
        return false;
    }
    let constant = parse("SELECT true").ok().flatten();
    let Some(NodeEnum::SelectStmt(constant)) = constant else {
        return false;
    };
    let value = constant.target_list.into_iter().next();
    let Some(Some(NodeEnum::ResTarget(value))) = value.map(|node| node.node) else {
        return false;
    };
    select.target_list.push(Node {
        node: Some(NodeEnum::ResTarget(Box::new(ResTarget {
            name: MARK.to_owned(),
            ..*value
        }))),
    });
    true
}

fn join_type(number: i32) -> Option<JoinType> {
    JoinType::try_from(number).ok()
}

/// What the statement calls a table.
fn called(range: &RangeVar) -> &str {
    range
        .alias
        .as_ref()
        .map_or(range.relname.as_str(), |alias| alias.aliasname.as_str())
}

/// One item of FROM as SQL.
pub(super) fn item_text(item: &Node) -> Result<String, String> {
    let Some(NodeEnum::SelectStmt(mut select)) = parse("SELECT 1 FROM x")? else {
        return Err("FROM could not be written: please report this".to_owned());
    };
    select.from_clause = vec![item.clone()];
    let text = deparse(NodeEnum::SelectStmt(select))?;
    let text = text
        .strip_prefix("SELECT 1 FROM ")
        .ok_or("FROM could not be written: please report this")?;
    let joined = matches!(item.node, Some(NodeEnum::JoinExpr(_)));
    Ok(if joined {
        format!("({text})")
    } else {
        text.to_owned()
    })
}
