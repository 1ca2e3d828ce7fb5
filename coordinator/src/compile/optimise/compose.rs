//! Composition: the steps of a pass, one after another, as layers of a SELECT. Each layer gives what
//! the table's rows are after one more step; PostgreSQL's planner flattens what it can.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::{
    Node, NodeEnum,
    protobuf::{DeleteStmt, UpdateStmt},
};
use upshift_shared::{
    catalog::{Column, Relation},
    ids::{ColId, RelId},
    pack::StepKind,
    pg::ident::ident,
    plan::{self, AddedKey, Cut, JoinedTransform, KeyColumn},
};

use super::{
    Composed,
    cast::{self, Carried},
    found::found,
    from::{self, Joined},
    spare::Spare,
};
use crate::compile::{
    model::{AnalysedStep, Around, BoundDml, Resource, UserTypes},
    physical::template,
    sql::deparse,
};

/// So many statements become one expression; a handful is faster so.
const LAYERS: u32 = 3;

/// What the rows of a table are after the steps so far.
#[derive(Debug, Clone)]
pub(super) struct Composer<'a> {
    pub(super) types: &'a UserTypes,
    pub(super) table: RelId,
    /// A SELECT of `columns`, in that order.
    pub(super) sql: String,
    pub(super) columns: Vec<Carry>,
    /// The table's columns at the start: other rows of it are read as they are there.
    at_start: BTreeMap<ColId, String>,
    /// Whether a step so far deletes rows.
    deletes: bool,
    /// Layers since the last fence.
    pub(super) layers: u32,
    /// Whether the rows come out the same however often they are computed: see `transform.rs`.
    pub(super) settled: bool,
    /// Transforms so far.
    pub(super) transforms: Vec<JoinedTransform>,
    /// Names of the tables that UPDATEs and DELETEs so far mention.
    pub(super) tables: BTreeSet<String>,
    /// Columns that a step so far writes.
    pub(super) written: BTreeSet<ColId>,
    /// Columns that are computed by the new table, and that no step can read.
    pub(super) computed: BTreeSet<ColId>,
    pub(super) evolve: Vec<String>,
    pub(super) dropped_keys: Vec<String>,
    pub(super) added_keys: Vec<AddedKey>,
    /// Whether anything so far changes rows: without it there is nothing to pass over.
    pub(super) changes_rows: bool,
}

/// A column on its way to the new table.
#[derive(Debug, Clone)]
pub(super) struct Carry {
    pub(super) id: ColId,
    pub(super) name: String,
    /// How a value that some step gave it is carried; [`Carried::Exact`] where none did.
    pub(super) carried: Carried,
}

impl<'a> Composer<'a> {
    /// The rows as they are. `pinned_now`: whether `now()` is the first parameter.
    pub(super) fn new(types: &'a UserTypes, before: &Relation, pinned_now: bool) -> Self {
        let stored = before.columns.iter();
        let columns: Vec<Carry> = stored
            .map(|column| Carry {
                id: column.id,
                name: column.name.clone(),
                carried: Carried::Exact,
            })
            .collect();
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("o.{}", ident(&column.name)))
            .collect();
        let table = format!("{}.{}", ident(&before.schema), ident(&before.name));
        let cut = Cut::pages(table.clone());
        let range = template::key_range("o", &cut.key, if pinned_now { 2 } else { 1 });
        Self {
            types,
            table: before.id,
            sql: format!(
                "SELECT {} FROM ONLY {table} AS o WHERE {range}",
                list.join(", ")
            ),
            at_start: columns.iter().map(|c| (c.id, c.name.clone())).collect(),
            deletes: false,
            layers: 0,
            settled: true,
            transforms: Vec::new(),
            columns,
            tables: BTreeSet::new(),
            written: BTreeSet::new(),
            computed: BTreeSet::new(),
            evolve: Vec::new(),
            dropped_keys: Vec::new(),
            added_keys: Vec::new(),
            changes_rows: false,
        }
    }

    /// Adds an UPDATE or DELETE.
    pub(super) fn dml(
        &mut self,
        step: &AnalysedStep,
        dml: &BoundDml,
        around: &Around,
    ) -> Result<(), String> {
        let StepKind::Sql(text) = &step.step.kind else {
            return Err("it is no SQL statement".to_owned());
        };
        self.may_read(step, dml, around)?;
        self.fence();
        match template::tree(step, text)? {
            NodeEnum::UpdateStmt(statement) => self.update(&statement, dml, around)?,
            NodeEnum::DeleteStmt(statement) => self.delete(&statement, dml)?,
            _ => return Err("it is neither UPDATE nor DELETE".to_owned()),
        }
        let tree = step.parsed.as_deref().and_then(|node| node.node.clone());
        self.explain(tree, dml, &around.before)?;
        self.note(step);
        self.settled = false;
        Ok(())
    }

    /// What later steps have to know of one that changes rows.
    pub(super) fn note(&mut self, step: &AnalysedStep) {
        let tables = step.bound.tables.iter();
        self.tables
            .extend(tables.map(|(_, name, _)| name.name.clone()));
        self.written.extend(
            step.bound
                .writes
                .iter()
                .filter_map(|resource| match resource {
                    Resource::Column(table, column) if *table == self.table => Some(*column),
                    _ => None,
                }),
        );
        self.changes_rows = true;
    }

    /// Whether what it reads is in the row at hand as the steps so far leave it.
    pub(super) fn may_read(
        &mut self,
        step: &AnalysedStep,
        dml: &BoundDml,
        around: &Around,
    ) -> Result<(), String> {
        if let Some(why) = dml.joins.unfit {
            return Err(why.to_owned());
        }
        let name = |column: &ColId| {
            let column = around.before.column_by_id(*column);
            column.map_or_else(String::new, |column| column.name.clone())
        };
        if let Some(column) = dml.joins.others.iter().find(|c| self.written.contains(c)) {
            return Err(format!(
                "it reads {} of other rows, which an earlier statement of the pass writes",
                name(column)
            ));
        }
        let differs = |column: &&ColId| self.at_start.get(*column) != Some(&name(column));
        if let Some(column) = dml.joins.others.iter().find(differs) {
            return Err(format!(
                "it reads {} of other rows, which an earlier statement of the pass adds or renames",
                name(column)
            ));
        }
        if dml.joins.looks_around && self.deletes {
            return Err(
                "it looks at other rows, of which an earlier statement of the pass deletes some"
                    .to_owned(),
            );
        }
        let table = self.table;
        let reads = |column: &ColId| {
            let resource = Resource::Column(table, *column);
            step.bound.reads.contains(&resource)
        };
        let generated = around
            .before
            .columns
            .iter()
            .filter(|c| c.generated.is_some());
        let stale = generated
            .map(|column| column.id)
            .find(|id| reads(id) && (self.written.contains(id) || self.computed.contains(id)));
        if let Some(column) = stale {
            return Err(format!(
                "it reads {}, which is generated from what an earlier statement of the pass writes",
                name(&column)
            ));
        }
        // Lengths are looked at before anybody reads what may be too long.
        self.look_at(&|column| reads(&column.id));
        Ok(())
    }

    /// Makes columns what the table would have held of them.
    pub(super) fn look_at(&mut self, which: &dyn Fn(&Carry) -> bool) {
        let looked_at = |column: &Carry| {
            let own = format!("l.{}", ident(&column.name));
            which(column)
                .then(|| cast::look_at(&own, column.carried))
                .flatten()
                .ok_or(own)
        };
        let columns: Vec<_> = self.columns.iter().map(looked_at).collect();
        if columns.iter().any(Result::is_ok) {
            let list: Vec<String> = columns
                .into_iter()
                .zip(&self.columns)
                .map(|(value, column)| {
                    let value = value.unwrap_or_else(|own| own);
                    format!("{value} AS {}", ident(&column.name))
                })
                .collect();
            self.sql = format!("SELECT {} FROM ({}) AS l", list.join(", "), self.sql);
        }
    }

    /// PostgreSQL puts a layer's expressions in place of every mention of its columns in the next, so
    /// a column that each of twenty statements mentions three times becomes an expression of three
    /// billion terms. OFFSET 0 keeps layers apart.
    pub(super) fn fence(&mut self) {
        if self.layers >= LAYERS {
            self.sql.push_str(" OFFSET 0");
            self.layers = 0;
        }
        self.layers += 1;
    }

    fn update(
        &mut self,
        statement: &UpdateStmt,
        dml: &BoundDml,
        around: &Around,
    ) -> Result<(), String> {
        let with = self.with(statement.with_clause.as_ref(), dml)?;
        let names = self.names();
        let condition = statement.where_clause.as_deref();
        let spare = Spare::of(condition, &dml.joins, &dml.alias, &names);
        let (joined, on) = self.joined(statement, dml, (&spare, around))?;
        let condition = spare.condition()?;
        if let Some(condition) = &condition
            && let Some(function) = dml.joins.volatile.iter().find(|f| mentions(condition, f))
        {
            return Err(format!("its WHERE calls {function}, which is volatile"));
        }
        let hit = match (&joined.mark, &condition) {
            (Some(mark), _) => Some(format!("{mark} IS NOT NULL")),
            (None, Some(condition)) => Some(format!("({condition})")),
            (None, None) => None,
        };
        let given = self.given(&statement.target_list, dml, around)?;
        let alias = ident(&dml.alias);
        let mut list = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let quoted = ident(&column.name);
            let old = format!("{alias}.{quoted}");
            let given = given.iter().find(|given| given.column == column.name);
            list.push(match given {
                None => format!("{old} AS {quoted}"),
                Some(given) => {
                    column.carried = given.carried;
                    let own = column_of(around, &column.name)?;
                    let value = cast::carry(&given.value, &own.type_name, given.carried);
                    let value = match &hit {
                        Some(hit) => format!("CASE WHEN {hit} THEN {value} ELSE {old} END"),
                        None => value,
                    };
                    format!("{} AS {quoted}", cast::collate(&value, own, self.types))
                }
            });
        }
        let mut sql = format!(
            "{with}SELECT {} FROM ({}) AS {alias}",
            list.join(", "),
            self.sql
        );
        if !with.is_empty() {
            // PostgreSQL flattens no query that has a WITH.
            self.layers = 0;
        }
        for item in &joined.always {
            sql.push_str(&format!(" CROSS JOIN {item}"));
        }
        if let Some(item) = &joined.perhaps {
            let on = on.as_deref().unwrap_or("true");
            sql.push_str(&format!(" LEFT JOIN {item} ON ({on})"));
        }
        self.sql = sql;
        Ok(())
    }

    /// FROM as joins, and the condition of those that perhaps have a row.
    fn joined(
        &self,
        statement: &UpdateStmt,
        dml: &BoundDml,
        (spare, around): (&Spare<'_>, &Around),
    ) -> Result<(Joined, Option<String>), String> {
        let (joins, names) = (&dml.joins, self.names());
        if joins.single {
            let from = &statement.from_clause;
            let joined = from::take_apart(from, joins, &dml.alias, &names, spare)?;
            return Ok((joined, spare.joined()?));
        }
        let row = (dml.alias.as_str(), names.as_slice());
        let found = found(statement, joins, row, (spare, &around.before))?;
        let joined = Joined {
            always: Vec::new(),
            perhaps: Some(found.item),
            mark: Some(found.mark),
        };
        Ok((joined, Some(found.on)))
    }

    fn delete(&mut self, statement: &DeleteStmt, dml: &BoundDml) -> Result<(), String> {
        let with = self.with(statement.with_clause.as_ref(), dml)?;
        let names = self.names();
        let condition = statement.where_clause.as_deref();
        let spare = Spare::of(condition, &dml.joins, &dml.alias, &names);
        let condition = spare.condition()?.ok_or("it deletes every row")?;
        if let Some(function) = dml.joins.volatile.first() {
            return Err(format!("it calls {function}, which is volatile"));
        }
        let alias = ident(&dml.alias);
        self.deletes = true;
        let spared = if statement.using_clause.is_empty() {
            format!("({condition}) IS NOT TRUE")
        } else {
            let using = from::using(
                &statement.using_clause,
                &dml.joins,
                &dml.alias,
                &names,
                &spare,
            )?;
            let condition = spare.joined()?.unwrap_or(condition);
            format!("NOT EXISTS (SELECT 1 FROM {using} WHERE {condition})")
        };
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{alias}.{}", ident(&column.name)))
            .collect();
        // OFFSET 0 is a fence: without it PostgreSQL may evaluate what a later statement asks of a row
        // before it knows that the row is gone (PostgreSQL pushes no condition below OFFSET).
        self.sql = format!(
            "{with}SELECT {} FROM ({}) AS {alias} WHERE {spared} OFFSET 0",
            list.join(", "),
            self.sql
        );
        self.layers = 0;
        Ok(())
    }

    /// The statement as EXPLAIN against the new table, so that PostgreSQL says at that point what it
    /// would say to the statement itself.
    pub(super) fn explain(
        &mut self,
        mut tree: Option<NodeEnum>,
        dml: &BoundDml,
        table: &Relation,
    ) -> Result<(), String> {
        let nested = dml.joins.looks_around;
        let (relation, items) = match &mut tree {
            Some(NodeEnum::UpdateStmt(s)) => (s.relation.as_mut(), &mut s.from_clause),
            Some(NodeEnum::DeleteStmt(s)) => (s.relation.as_mut(), &mut s.using_clause),
            _ => return Ok(()),
        };
        let Some(relation) = relation else {
            return Ok(());
        };
        let schema = std::mem::take(&mut relation.schemaname);
        for item in items {
            unqualify(item, table);
        }
        let Some(tree) = tree else {
            return Ok(());
        };
        let text = deparse(tree)?;
        // A subquery that names the table with its schema means the old table, which may lack columns.
        if !nested || schema.is_empty() {
            self.evolve.push(format!("EXPLAIN {text}"));
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        let stored = self.columns.iter();
        stored.map(|column| column.name.clone()).collect()
    }

    /// What it all comes to.
    pub(super) fn finish(
        self,
        (before, after): (&Relation, &Relation),
        pinned_now: bool,
        settings: &[(String, String)],
    ) -> Composed {
        let columns: Vec<KeyColumn> = after
            .columns
            .iter()
            .filter(|column| column.generated.is_none())
            .map(|column| KeyColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
        let list = names.join(", ");
        let values: Vec<String> = names.iter().map(|name| format!("u.{name}")).collect();
        let carried = carried(before, after, &self.written);
        Composed {
            fill: (
                "INSERT INTO ".to_owned(),
                format!(
                    " ({list}) OVERRIDING SYSTEM VALUE SELECT {} FROM ({}) AS u",
                    values.join(", "),
                    self.sql
                ),
            ),
            evolve: self.evolve,
            renames: renames(before, after),
            dropped_keys: self.dropped_keys,
            added_keys: self.added_keys,
            pinned_now,
            settings: settings.to_vec(),
            columns,
            carried: plan::Carried {
                key: carried_key(before, &carried),
                columns: carried,
                deletes: self.deletes,
            },
            transforms: self.transforms,
        }
    }
}

/// Columns that no step gives values to, as they are called before and after.
fn carried(
    before: &Relation,
    after: &Relation,
    written: &BTreeSet<ColId>,
) -> Vec<(String, String)> {
    let columns = before.columns.iter();
    columns
        .filter(|column| column.generated.is_none() && !written.contains(&column.id))
        .filter_map(|column| {
            let own = after.column_by_id(column.id)?;
            let same = own.generated.is_none() && own.type_name == column.type_name;
            same.then(|| (column.name.clone(), own.name.clone()))
        })
        .collect()
}

/// The key, where all of it is among the columns that are carried over.
fn carried_key(before: &Relation, columns: &[(String, String)]) -> Vec<(String, String)> {
    let key = before.key().unwrap_or_default();
    let found: Option<Vec<_>> = key
        .iter()
        .map(|column| columns.iter().find(|(old, _)| *old == column.name).cloned())
        .collect();
    found.unwrap_or_default()
}

/// Columns of the table before a pass that have another name after it. One that the pass drops makes
/// room where its name is used again.
fn renames(before: &Relation, after: &Relation) -> Vec<(String, String)> {
    let new_name = |column: &Column| match after.column_by_id(column.id) {
        Some(after) => Some(after.name.clone()),
        None => {
            let again = after.column(&column.name).is_some();
            again.then(|| format!("upshift_dropped_{}", column.id.0))
        }
    };
    let columns = before.columns.iter();
    columns
        .filter_map(|column| Some((column.name.clone(), new_name(column)?)))
        .filter(|(old, new)| old != new)
        .collect()
}

pub(super) fn column_of<'a>(around: &'a Around, column: &str) -> Result<&'a Column, String> {
    let column = around.before.column(column);
    column.ok_or_else(|| "it sets a column that is not there: please report this".to_owned())
}

/// Whether a function's name stands in the text of an expression.
pub(super) fn mentions(expression: &str, function: &str) -> bool {
    let name = function.trim_end_matches("()");
    let name = name.rsplit('.').next().unwrap_or(name);
    expression.contains(name)
}

/// Takes the schema away where FROM names the table itself.
fn unqualify(item: &mut Node, table: &Relation) {
    match &mut item.node {
        Some(NodeEnum::RangeVar(range))
            if range.relname == table.name && range.schemaname == table.schema =>
        {
            range.schemaname.clear();
        }
        Some(NodeEnum::JoinExpr(join)) => {
            for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                unqualify(side, table);
            }
        }
        _ => {}
    }
}
