//! A statement narrowed down: to a range of its rows, or to one of the columns that it assigns. For
//! finding out which row and which column a failure is about.

use pg_query::{
    Node, NodeEnum,
    protobuf::{AConst, CommonTableExpr, MultiAssignRef, ResTarget, SelectStmt, WithClause},
};

use super::{grammar, tree};

/// What the compiler calls the statement that it wraps, so as to keep before-images or keys.
const WRAPPED: [&str; 2] = ["upshift_changed", "upshift_inserted"];

/// The statement with one more condition on its rows. `condition` is made from the name that the
/// statement has for its target; an INSERT's is on the FROM list of its SELECT.
///
/// # Errors
/// With what stands in the way, in words.
pub fn with_condition(sql: &str, condition: impl Fn(&str) -> String) -> Result<String, String> {
    edit(sql, |statement| {
        let called = |relation: &Option<pg_query::protobuf::RangeVar>| {
            let relation = relation.as_ref();
            relation.map_or(String::new(), |relation| match &relation.alias {
                Some(alias) => alias.aliasname.clone(),
                None => relation.relname.clone(),
            })
        };
        match statement {
            NodeEnum::UpdateStmt(update) => {
                let condition = condition(&called(&update.relation));
                conjoin(&mut update.where_clause, &condition)
            }
            NodeEnum::DeleteStmt(delete) => {
                let condition = condition(&called(&delete.relation));
                conjoin(&mut delete.where_clause, &condition)
            }
            NodeEnum::InsertStmt(insert) => {
                let condition = condition("");
                conjoin(&mut selected(insert)?.where_clause, &condition)
            }
            _ => Err(NOT_DML.to_owned()),
        }
    })
}

/// The columns that the statement assigns, in groups that are assigned together: `(a, b) = (…)`.
///
/// # Errors
/// With what stands in the way, in words.
pub fn assigned(sql: &str) -> Result<Vec<Vec<String>>, String> {
    let mut groups = Vec::new();
    edit(sql, |statement| {
        groups = match statement {
            NodeEnum::UpdateStmt(update) => grouped(&update.target_list),
            NodeEnum::InsertStmt(insert) => {
                let columns = insert.cols.iter().filter_map(target);
                columns.map(|column| vec![column.name.clone()]).collect()
            }
            _ => Vec::new(),
        };
        Ok(())
    })?;
    Ok(groups)
}

/// The statement with only this group of its assignments; with `value` set to NULL, where nothing of
/// them is to be computed. An INSERT gives NULL to the other columns: their defaults might draw from
/// sequences, which no rollback undoes.
///
/// # Errors
/// With what stands in the way, in words.
pub fn only(sql: &str, group: usize, value: bool) -> Result<String, String> {
    edit(sql, |statement| match statement {
        NodeEnum::UpdateStmt(update) => {
            keep_group(&mut update.target_list, group)?;
            if !value {
                update.target_list.truncate(1);
                set_null(update.target_list.first_mut())?;
            }
            Ok(())
        }
        NodeEnum::InsertStmt(insert) => {
            let list = written_out(insert, group)?;
            for (place, node) in list.iter_mut().enumerate() {
                if place != group || !value {
                    set_null(Some(node))?;
                }
            }
            Ok(())
        }
        _ => Err(NOT_DML.to_owned()),
    })
}

fn keep_group(list: &mut Vec<Node>, group: usize) -> Result<(), String> {
    let wanted = grouped(list).into_iter().nth(group).ok_or(NOT_DML)?;
    list.retain(|node| target(node).is_some_and(|t| wanted.contains(&t.name)));
    Ok(())
}

/// The list of the SELECT of an INSERT, where it has a column for the group and no `*`, which stands for
/// several.
fn written_out(
    insert: &mut pg_query::protobuf::InsertStmt,
    group: usize,
) -> Result<&mut Vec<Node>, String> {
    let list = &mut selected(insert)?.target_list;
    if list.len() <= group || list.iter().any(is_star) {
        return Err("the columns of its SELECT are not written out".to_owned());
    }
    Ok(list)
}

/// A query of the value that the statement gives to the only column of a group, before it is cast to the
/// column's type.
///
/// # Errors
/// With what stands in the way, in words.
pub fn value(sql: &str, group: usize) -> Result<String, String> {
    let mut value = None;
    edit(sql, |statement| {
        let (list, mut query) = match statement {
            NodeEnum::UpdateStmt(update) => {
                keep_group(&mut update.target_list, group)?;
                let own = update.relation.clone().map(NodeEnum::RangeVar);
                let own = Node { node: own };
                let query = SelectStmt {
                    from_clause: std::iter::once(own)
                        .chain(update.from_clause.clone())
                        .collect(),
                    where_clause: update.where_clause.clone(),
                    with_clause: update.with_clause.clone(),
                    ..*tree::select("1")?
                };
                (update.target_list.clone(), query)
            }
            NodeEnum::InsertStmt(insert) => {
                let wanted = written_out(insert, group)?[group].clone();
                (vec![wanted], selected(insert)?.clone())
            }
            _ => return Err(NOT_DML.to_owned()),
        };
        let [only] = list.as_slice() else {
            return Err("several columns are assigned together".to_owned());
        };
        let assigned = target(only).ok_or(NOT_DML)?;
        query.target_list = vec![Node {
            node: Some(NodeEnum::ResTarget(Box::new(ResTarget {
                name: "value".to_owned(),
                indirection: Vec::new(),
                ..assigned.clone()
            }))),
        }];
        *statement = NodeEnum::SelectStmt(Box::new(query));
        value = Some(statement.clone());
        Ok(())
    })?;
    tree::deparse(value.ok_or(NOT_DML)?)
}

const NOT_DML: &str = "it is neither UPDATE, DELETE nor INSERT … SELECT";

/// The table that an UPDATE or DELETE is on, as it is written there.
///
/// # Errors
/// With what stands in the way, in words.
pub fn target_table(sql: &str) -> Result<(Option<String>, String), String> {
    let mut name = None;
    edit(sql, |statement| {
        let relation = match statement {
            NodeEnum::UpdateStmt(update) => update.relation.as_ref(),
            NodeEnum::DeleteStmt(delete) => delete.relation.as_ref(),
            _ => None,
        };
        let schema = |schema: &String| (!schema.is_empty()).then(|| schema.clone());
        name = relation.map(|r| (schema(&r.schemaname), r.relname.clone()));
        Ok(())
    })?;
    name.ok_or_else(|| NOT_DML.to_owned())
}

/// Parses, lets `change` change the statement that does the work, and writes it out again.
fn edit(
    sql: &str,
    change: impl FnOnce(&mut NodeEnum) -> Result<(), String>,
) -> Result<String, String> {
    let mut statements = grammar::parse(sql)
        .map_err(|e| e.to_string())?
        .protobuf
        .stmts;
    let (Some(only), true) = (statements.pop(), statements.is_empty()) else {
        return Err("it is not one statement".to_owned());
    };
    let outer = only.stmt.and_then(|node| node.node);
    let mut outer = outer.ok_or("it is empty")?;
    match wrapped(&mut outer) {
        Some(inner) => change(inner)?,
        None => change(&mut outer)?,
    }
    tree::deparse(outer)
}

/// The statement that the compiler wrapped.
fn wrapped(outer: &mut NodeEnum) -> Option<&mut NodeEnum> {
    let is_ours = |cte: &CommonTableExpr| WRAPPED.contains(&cte.ctename.as_str());
    let NodeEnum::InsertStmt(insert) = outer else {
        return None;
    };
    let with: &mut WithClause = insert.with_clause.as_mut()?;
    with.ctes.iter_mut().find_map(|node| match &mut node.node {
        Some(NodeEnum::CommonTableExpr(cte)) if is_ours(cte) => {
            cte.ctequery.as_mut()?.node.as_mut()
        }
        _ => None,
    })
}

fn selected(insert: &mut pg_query::protobuf::InsertStmt) -> Result<&mut SelectStmt, String> {
    let select = insert.select_stmt.as_mut();
    match select.and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::SelectStmt(select)) if !select.from_clause.is_empty() => Ok(select),
        _ => Err("its rows do not come from a table".to_owned()),
    }
}

fn conjoin(existing: &mut Option<Box<Node>>, condition: &str) -> Result<(), String> {
    let more = tree::select(&format!("1 WHERE {condition}"))?.where_clause;
    *existing = tree::and(existing.take(), more);
    Ok(())
}

fn target(node: &Node) -> Option<&ResTarget> {
    match &node.node {
        Some(NodeEnum::ResTarget(target)) => Some(target),
        _ => None,
    }
}

fn is_star(node: &Node) -> bool {
    let value = target(node).and_then(|target| target.val.as_ref()?.node.as_ref());
    let Some(NodeEnum::ColumnRef(column)) = value else {
        return false;
    };
    let last = column.fields.last().and_then(|field| field.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}

/// The names of a SET list, those of a multiple assignment together.
fn grouped(list: &[Node]) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for target in list.iter().filter_map(target) {
        match (part(target), groups.last_mut()) {
            (Some(n), Some(group)) if n > 1 => group.push(target.name.clone()),
            _ => groups.push(vec![target.name.clone()]),
        }
    }
    groups
}

/// Its place in a multiple assignment, from 1.
fn part(target: &ResTarget) -> Option<i32> {
    match target.val.as_ref()?.node.as_ref()? {
        NodeEnum::MultiAssignRef(part) => {
            let part: &MultiAssignRef = part;
            Some(part.colno)
        }
        _ => None,
    }
}

fn set_null(node: Option<&mut Node>) -> Result<(), String> {
    let Some(NodeEnum::ResTarget(target)) = node.and_then(|node| node.node.as_mut()) else {
        return Err(NOT_DML.to_owned());
    };
    target.val = Some(Box::new(Node {
        node: Some(NodeEnum::AConst(AConst {
            isnull: true,
            location: -1,
            val: None,
        })),
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = "WITH upshift_changed AS (UPDATE t a SET b = c::int, (d, e) = (SELECT 1, 2), f = 3 \
        WHERE a.g RETURNING a.id) INSERT INTO k SELECT $1::text::integer, o.id FROM t o \
        JOIN upshift_changed c ON o.id = c.id";

    #[test]
    fn conditions_go_into_the_wrapped_statement() {
        let narrowed = with_condition(UPDATE, |alias| format!("{alias}.id = $2"));
        let narrowed = narrowed.expect("an UPDATE");
        assert!(
            narrowed.contains("WHERE a.g AND a.id = $2 RETURNING"),
            "{narrowed}"
        );
        let insert = with_condition("INSERT INTO t SELECT * FROM s", |_| "s.id > 1".to_owned());
        assert_eq!(
            insert.as_deref(),
            Ok("INSERT INTO t SELECT * FROM s WHERE s.id > 1")
        );
        assert!(with_condition("INSERT INTO t VALUES (1)", |_| "true".to_owned()).is_err());
        assert!(with_condition("TRUNCATE t", |_| "true".to_owned()).is_err());
    }

    #[test]
    fn assignments_are_taken_one_by_one() {
        let groups = assigned(UPDATE).expect("an UPDATE");
        assert_eq!(groups, [vec!["b"], vec!["d", "e"], vec!["f"]]);
        let one = |group, value| only(UPDATE, group, value).expect("a group of it");
        assert!(
            one(0, true).contains("SET b = c::int WHERE"),
            "{}",
            one(0, true)
        );
        assert!(
            one(0, false).contains("SET b = NULL WHERE"),
            "{}",
            one(0, false)
        );
        assert!(
            one(1, true).contains("SET (d, e) = (SELECT 1, 2) WHERE"),
            "{}",
            one(1, true)
        );
        assert!(one(2, true).contains("SET f = 3 WHERE"), "{}", one(2, true));
        assert_eq!(
            value(UPDATE, 0).as_deref(),
            Ok("SELECT c::int AS value FROM t a WHERE a.g")
        );
        assert!(value(UPDATE, 1).is_err());
        let insert = "INSERT INTO t (x, y) SELECT a::int, b FROM s";
        assert_eq!(value(insert, 1).as_deref(), Ok("SELECT b AS value FROM s"));
        assert_eq!(
            only(insert, 1, true).as_deref(),
            Ok("INSERT INTO t (x, y) SELECT NULL, b FROM s")
        );
    }

    #[test]
    fn the_table_is_the_statements_own() {
        assert_eq!(
            target_table("DELETE FROM a.b WHERE x"),
            Ok((Some("a".to_owned()), "b".to_owned()))
        );
        assert!(target_table("SELECT 1").is_err());
    }
}
