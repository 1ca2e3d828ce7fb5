//! CREATE INDEX, and the indexes that constraints bring along.

use pg_query::{
    Node, NodeEnum,
    protobuf::{self, IndexElem, IndexStmt},
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Index, RelationKind},
    ids::{ColId, RelId},
    pg::ident::{QualifiedName, ident},
};

use super::{
    constraint,
    draft::{Draft, Outcome, deparse},
    expression, generated_name, object, table_element,
};
use crate::compile::error::BindError;

/// What an index is over.
pub(super) struct Shape {
    /// Key columns; `None` for an expression.
    keys: Vec<Option<ColId>>,
    /// Every column that it mentions.
    mentions: Vec<ColId>,
    /// Names of all its columns (INCLUDE too), from which its own is made.
    names: Vec<String>,
}

impl Shape {
    /// Of CREATE INDEX.
    fn of_index(draft: &Draft<'_>, table: RelId, stmt: &IndexStmt) -> Result<Self, BindError> {
        let mut shape = Self::of_elements(
            draft,
            table,
            &stmt.index_params,
            &stmt.index_including_params,
        )?;
        if let Some(predicate) = &stmt.where_clause {
            expression::check_columns(draft, table, predicate)?;
            let columns = expression::columns_of(draft.relation(table), predicate);
            shape.mention(&columns);
        }
        Ok(shape)
    }

    fn of_elements(
        draft: &Draft<'_>,
        table: RelId,
        keys: &[Node],
        including: &[Node],
    ) -> Result<Self, BindError> {
        let mut shape = Self {
            keys: Vec::new(),
            mentions: Vec::new(),
            names: Vec::new(),
        };
        for (element, is_key) in elements(keys)
            .map(|e| (e, true))
            .chain(elements(including).map(|e| (e, false)))
        {
            let key = shape.element(draft, table, element)?;
            if is_key {
                shape.keys.push(key);
            }
        }
        shape.names = generated_name::distinct(std::mem::take(&mut shape.names));
        Ok(shape)
    }

    fn element(
        &mut self,
        draft: &Draft<'_>,
        table: RelId,
        element: &IndexElem,
    ) -> Result<Option<ColId>, BindError> {
        let Some(expression) = &element.expr else {
            let column = draft.column(table, &element.name)?.id;
            self.names.push(element.name.clone());
            self.mention(&[column]);
            return Ok(Some(column));
        };
        expression::check_columns(draft, table, expression)?;
        let columns = expression::columns_of(draft.relation(table), expression);
        self.mention(&columns);
        let name = expression::column_name(expression).unwrap_or_else(|| "expr".to_owned());
        self.names.push(name);
        Ok(plain_column(expression)
            .then(|| columns.first().copied())
            .flatten())
    }

    /// Of a constraint.
    pub(super) fn of_constraint(
        draft: &Draft<'_>,
        table: RelId,
        columns: &[ColId],
        constraint: &protobuf::Constraint,
    ) -> Result<Self, BindError> {
        let including = constraint::columns(draft, table, &object::strings(&constraint.including))?;
        let mut shape = if constraint.exclusions.is_empty() {
            let name_of = |id: &ColId| {
                let column = draft.relation(table).column_by_id(*id);
                column.map(|column| column.name.clone()).unwrap_or_default()
            };
            Self {
                keys: columns.iter().copied().map(Some).collect(),
                mentions: columns.to_vec(),
                names: generated_name::distinct(
                    columns.iter().chain(&including).map(name_of).collect(),
                ),
            }
        } else {
            let keys: Vec<Node> = constraint.exclusions.iter().filter_map(first).collect();
            Self::of_elements(draft, table, &keys, &[])?
        };
        shape.mention(&including);
        if let Some(predicate) = &constraint.where_clause {
            let columns = expression::columns_of(draft.relation(table), predicate);
            shape.mention(&columns);
        }
        Ok(shape)
    }

    fn mention(&mut self, columns: &[ColId]) {
        for column in columns {
            if !self.mentions.contains(column) {
                self.mentions.push(*column);
            }
        }
        self.mentions.sort_unstable();
    }
}

/// `(column)` and `(column COLLATE …)` are keys like a column without parentheses.
fn plain_column(expression: &Node) -> bool {
    match &expression.node {
        Some(NodeEnum::ColumnRef(_)) => true,
        Some(NodeEnum::CollateClause(collate)) => collate.arg.as_deref().is_some_and(plain_column),
        _ => false,
    }
}

fn elements(nodes: &[Node]) -> impl Iterator<Item = &IndexElem> {
    nodes.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::IndexElem(element)) => Some(&**element),
        _ => None,
    })
}

/// The element of a pair of element and operator in EXCLUDE.
fn first(node: &Node) -> Option<Node> {
    match &node.node {
        Some(NodeEnum::List(list)) => list.items.first().cloned(),
        _ => None,
    }
}

/// CREATE INDEX
pub(super) fn create(draft: &mut Draft<'_>, stmt: &IndexStmt) -> Result<Outcome, BindError> {
    let Some(relation) = &stmt.relation else {
        return Err(BindError::new("CREATE INDEX needs a table"));
    };
    let table = draft.require(relation)?;
    let QualifiedName { schema, name: on } = draft.name(table);
    if !stmt.idxname.is_empty() && object::is_taken(draft, &schema, &stmt.idxname) {
        if stmt.if_not_exists {
            return Ok(Outcome::Skipped(format!(
                "relation \"{}\" already exists",
                stmt.idxname
            )));
        }
        let hint = "use another name, or IF NOT EXISTS";
        return Err(BindError::new(format!(
            "relation \"{}\" already exists: {hint}",
            stmt.idxname
        )));
    }
    let shape = Shape::of_index(draft, table, stmt)?;
    for element in elements(&stmt.index_params) {
        if let Some(expression) = &element.expr {
            table_element::use_functions(draft, expression);
        }
    }
    draft.scans(table, &shape.mentions.clone());
    // CREATE INDEX locks out writers only, so several are built at once; a name that is made up hangs
    // on those that are there.
    if stmt.idxname.is_empty() || stmt.concurrent {
        draft.alters(table);
    } else {
        draft.adds_to(table);
    }
    draft.costs("scans the table to build the index");
    let name = if stmt.idxname.is_empty() {
        let addition = generated_name::addition(&shape.names);
        generated_name::relation(draft, &schema, &on, Some(&addition), "idx", false)
    } else {
        stmt.idxname.clone()
    };
    let index = QualifiedName::new(&schema, &name);
    draft.takes_name(&index);
    add(draft, table, &record(draft, table, stmt, &name, &shape)?);
    if !relation.inh {
        // ON ONLY: the partitions' indexes are attached one by one.
    } else if draft.relation(table).kind == RelationKind::PartitionedTable {
        add_to_partitions(draft, table, stmt)?;
    }
    if stmt.concurrent {
        let drop = format!("DROP INDEX IF EXISTS {index}");
        return Ok(Outcome::Opaque {
            why: "PostgreSQL builds an index CONCURRENTLY outside a transaction".to_owned(),
            transactional: false,
            recovery: Some(drop.clone()),
            undo: Some(vec![drop]),
        });
    }
    draft.done(vec![format!("DROP INDEX {index}")])
}

fn record(
    draft: &Draft<'_>,
    table: RelId,
    stmt: &IndexStmt,
    name: &str,
    shape: &Shape,
) -> Result<Index, BindError> {
    let on = draft.name(table);
    let mut named = stmt.clone();
    named.idxname = name.to_owned();
    named.if_not_exists = false;
    named.concurrent = false;
    if let Some(relation) = &mut named.relation {
        relation.schemaname = on.schema;
    }
    let method = match stmt.access_method.as_str() {
        "" => "btree",
        method => method,
    };
    let predicate = match &stmt.where_clause {
        Some(predicate) => Some(expression::text(predicate)?),
        None => None,
    };
    Ok(Index {
        name: name.to_owned(),
        unique: stmt.unique,
        primary: false,
        valid: true,
        immediate: true,
        method: method.to_owned(),
        columns: shape.keys.clone(),
        mentions: shape.mentions.clone(),
        predicate,
        definition: deparse(NodeEnum::IndexStmt(Box::new(named)))?,
        bytes: 0,
    })
}

fn add(draft: &mut Draft<'_>, table: RelId, index: &Index) {
    draft.catalog.add_index(table, index.clone());
}

/// Every partition gets an index of its own, with a name made from the partition's.
fn add_to_partitions(
    draft: &mut Draft<'_>,
    table: RelId,
    stmt: &IndexStmt,
) -> Result<(), BindError> {
    for partition in constraint::family(draft, table).into_iter().skip(1) {
        let shape = Shape::of_index(draft, partition, stmt)?;
        let QualifiedName { schema, name } = draft.name(partition);
        let addition = generated_name::addition(&shape.names);
        let name = generated_name::relation(draft, &schema, &name, Some(&addition), "idx", false);
        draft.alters(partition);
        draft.takes_name(&QualifiedName::new(schema, &name));
        let index = record(draft, partition, stmt, &name, &shape)?;
        add(draft, partition, &index);
    }
    Ok(())
}

/// Adds a constraint and the index that backs it, on a table and its partitions.
pub(super) fn add_backing(
    draft: &mut Draft<'_>,
    table: RelId,
    constraint: &protobuf::Constraint,
    kind: ConstraintKind,
    label: &str,
    shape: &Shape,
    (deferrable, deferred): (bool, bool),
) -> Result<(), BindError> {
    let family = if draft.relation(table).kind == RelationKind::PartitionedTable {
        constraint::family(draft, table)
    } else {
        vec![table]
    };
    let column_names = key_names(draft, table, shape);
    for member in family {
        let QualifiedName { schema, name: on } = draft.name(member);
        let name = if constraint.conname.is_empty() || member != table {
            let addition = generated_name::addition(&shape.names);
            let addition = (kind != ConstraintKind::PrimaryKey).then_some(addition);
            generated_name::relation(draft, &schema, &on, addition.as_deref(), label, true)
        } else {
            constraint.conname.clone()
        };
        let index_name = QualifiedName::new(&schema, &name);
        if object::is_taken(draft, &schema, &name) {
            return Err(BindError::at(
                constraint.location,
                format!("relation \"{}\" already exists", index_name.plain()),
            ));
        }
        draft.takes_name(&index_name);
        let (keys, mentions) = if member == table {
            (shape.keys.clone(), shape.mentions.clone())
        } else {
            let columns = constraint::columns(draft, member, &column_names)?;
            (columns.iter().copied().map(Some).collect(), columns)
        };
        let columns = keys.iter().copied().flatten().collect();
        let unique = kind != ConstraintKind::Exclusion;
        let index = Index {
            name: name.clone(),
            unique,
            primary: kind == ConstraintKind::PrimaryKey,
            valid: true,
            immediate: !deferrable,
            method: method(constraint, unique),
            columns: keys,
            mentions,
            predicate: match &constraint.where_clause {
                Some(predicate) => Some(expression::text(predicate)?),
                None => None,
            },
            definition: String::new(),
            bytes: 0,
        };
        add(draft, member, &index);
        let definition = definition(&kind, &column_names);
        draft.add_constraint(
            member,
            Constraint {
                name,
                kind: kind.clone(),
                columns,
                deferrable,
                deferred,
                validated: true,
                definition,
            },
        );
    }
    Ok(())
}

fn method(constraint: &protobuf::Constraint, unique: bool) -> String {
    match constraint.access_method.as_str() {
        "" if unique => "btree".to_owned(),
        "" => "gist".to_owned(),
        method => method.to_owned(),
    }
}

fn key_names(draft: &Draft<'_>, table: RelId, shape: &Shape) -> Vec<String> {
    let relation = draft.relation(table);
    let columns = shape.keys.iter().copied().flatten();
    columns
        .filter_map(|id| relation.column_by_id(id))
        .map(|column| column.name.clone())
        .collect()
}

fn definition(kind: &ConstraintKind, columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|name| ident(name)).collect();
    let word = match kind {
        ConstraintKind::PrimaryKey => "PRIMARY KEY",
        ConstraintKind::Unique => "UNIQUE",
        _ => "EXCLUDE",
    };
    format!("{word} ({})", quoted.join(", "))
}

/// ADD CONSTRAINT … USING INDEX: the index gets the constraint's name.
pub(super) fn attach_constraint(
    draft: &mut Draft<'_>,
    table: RelId,
    constraint: &protobuf::Constraint,
    kind: ConstraintKind,
) -> Result<(), BindError> {
    let relation = draft.relation(table);
    let index = relation
        .indexes
        .iter()
        .find(|index| index.name == constraint.indexname);
    let Some(index) = index else {
        let known = relation.indexes.iter().map(|index| index.name.as_str());
        let hint = object::did_you_mean(&constraint.indexname, known);
        return Err(BindError::at(
            constraint.location,
            format!("index \"{}\" does not exist{hint}", constraint.indexname),
        ));
    };
    let name = if constraint.conname.is_empty() {
        index.name.clone()
    } else {
        constraint.conname.clone()
    };
    let columns: Vec<ColId> = index.columns.iter().copied().flatten().collect();
    let schema = relation.schema.clone();
    let primary = kind == ConstraintKind::PrimaryKey;
    draft.takes_name(&QualifiedName::new(&schema, &constraint.indexname));
    draft.takes_name(&QualifiedName::new(&schema, &name));
    let names = columns
        .iter()
        .filter_map(|id| draft.relation(table).column_by_id(*id))
        .map(|column| column.name.clone())
        .collect::<Vec<_>>();
    draft.takes_constraint_name(&schema, &name);
    if primary {
        for column in &columns {
            constraint::add_not_null(draft, table, *column, None);
        }
    }
    draft.catalog.change(table, |relation| {
        let index = relation
            .indexes
            .iter_mut()
            .find(|index| index.name == constraint.indexname);
        if let Some(index) = index {
            index.name.clone_from(&name);
            index.primary = primary;
            index.immediate = !constraint.deferrable;
        }
        relation.constraints.push(Constraint {
            name,
            definition: definition(&kind, &names),
            kind,
            columns,
            deferrable: constraint.deferrable,
            deferred: constraint.initdeferred,
            validated: true,
        });
    });
    Ok(())
}
