//! Expressions: every node that PostgreSQL's grammar can put into one. What is not known makes the
//! statement opaque.

use pg_query::{
    Node, NodeEnum,
    protobuf::{SubLink, SubLinkType, TypeCast, TypeName, WindowDef, a_const},
};
use upshift_shared::{
    catalog::{Catalog, Column},
    pg::ident::QualifiedName,
};

use super::{
    clock::{domains_of, is_clock, reads_clock},
    naming::{strings, written_name},
    source::Place,
    walker::Walker,
};
use crate::compile::{error::BindError, model::Resource};

impl Walker<'_> {
    pub(crate) fn optional_expression(&mut self, node: Option<&Node>) -> Result<(), BindError> {
        node.map_or(Ok(()), |node| self.expression(node))
    }

    pub(crate) fn expressions(&mut self, nodes: &[Node]) -> Result<(), BindError> {
        nodes.iter().try_for_each(|node| self.expression(node))
    }

    /// Walks an expression.
    pub(crate) fn expression(&mut self, node: &Node) -> Result<(), BindError> {
        let Some(node) = &node.node else {
            return Ok(());
        };
        match node {
            NodeEnum::ColumnRef(reference) => self.column_ref(reference),
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::SubLink(link) => self.sublink(link),
            NodeEnum::TypeCast(cast) => self.cast(cast),
            NodeEnum::SqlvalueFunction(function) => {
                self.value_function(function);
                Ok(())
            }
            NodeEnum::ParamRef(parameter) => Err(BindError::at(
                parameter.location,
                "parameters such as $1 have no value in a script",
            )),
            NodeEnum::CurrentOfExpr(_) => Err(BindError::new(
                "WHERE CURRENT OF needs a cursor, which no other statement's session has",
            )),
            NodeEnum::AConst(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::String(_)
            | NodeEnum::AStar(_)
            | NodeEnum::Integer(_)
            | NodeEnum::TypeName(_) => Ok(()),
            other => self.composed(other),
        }
    }

    /// Nodes that merely hold others.
    fn composed(&mut self, node: &NodeEnum) -> Result<(), BindError> {
        match node {
            NodeEnum::AExpr(e) => {
                self.optional_expression(e.lexpr.as_deref())?;
                self.optional_expression(e.rexpr.as_deref())
            }
            NodeEnum::BoolExpr(e) => self.expressions(&e.args),
            NodeEnum::List(list) => self.expressions(&list.items),
            NodeEnum::NullTest(e) => self.optional_expression(e.arg.as_deref()),
            NodeEnum::BooleanTest(e) => self.optional_expression(e.arg.as_deref()),
            NodeEnum::CaseExpr(e) => {
                self.optional_expression(e.arg.as_deref())?;
                self.expressions(&e.args)?;
                self.optional_expression(e.defresult.as_deref())
            }
            NodeEnum::CaseWhen(e) => {
                self.optional_expression(e.expr.as_deref())?;
                self.optional_expression(e.result.as_deref())
            }
            NodeEnum::CoalesceExpr(e) => self.expressions(&e.args),
            NodeEnum::MinMaxExpr(e) => self.expressions(&e.args),
            NodeEnum::RowExpr(e) => self.expressions(&e.args),
            NodeEnum::AArrayExpr(e) => self.expressions(&e.elements),
            NodeEnum::AIndirection(e) => {
                self.optional_expression(e.arg.as_deref())?;
                self.expressions(&e.indirection)
            }
            NodeEnum::AIndices(e) => {
                self.optional_expression(e.lidx.as_deref())?;
                self.optional_expression(e.uidx.as_deref())
            }
            NodeEnum::CollateClause(e) => self.optional_expression(e.arg.as_deref()),
            NodeEnum::GroupingFunc(e) => self.expressions(&e.args),
            NodeEnum::NamedArgExpr(e) => self.optional_expression(e.arg.as_deref()),
            NodeEnum::ResTarget(e) => self.optional_expression(e.val.as_deref()),
            NodeEnum::SortBy(e) => self.optional_expression(e.node.as_deref()),
            NodeEnum::MultiAssignRef(e) => self.optional_expression(e.source.as_deref()),
            NodeEnum::XmlExpr(e) => {
                self.expressions(&e.named_args)?;
                self.expressions(&e.args)
            }
            NodeEnum::XmlSerialize(e) => self.optional_expression(e.expr.as_deref()),
            NodeEnum::RangeTableFuncCol(e) => {
                self.optional_expression(e.colexpr.as_deref())?;
                self.optional_expression(e.coldefexpr.as_deref())
            }
            other => self.json(other),
        }
    }

    fn sublink(&mut self, link: &SubLink) -> Result<(), BindError> {
        self.optional_expression(link.testexpr.as_deref())?;
        let exists = link.sub_link_type == SubLinkType::ExistsSublink as i32;
        match link.subselect.as_ref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => {
                let walk = |walker: &mut Self| walker.select(select, exists).map(|_| ());
                self.nested(Place::Expression, walk)
            }
            _ => {
                self.found.make_opaque("a subquery is no SELECT");
                Ok(())
            }
        }
    }

    pub(super) fn window(&mut self, window: &WindowDef) -> Result<(), BindError> {
        self.expressions(&window.partition_clause)?;
        self.expressions(&window.order_clause)?;
        self.optional_expression(window.start_offset.as_deref())?;
        self.optional_expression(window.end_offset.as_deref())
    }

    fn cast(&mut self, cast: &TypeCast) -> Result<(), BindError> {
        self.optional_expression(cast.arg.as_deref())?;
        let Some(to) = &cast.type_name else {
            return Ok(());
        };
        let names = strings(&to.names);
        let name = names.last().copied().unwrap_or_default();
        self.read_type(&names);
        let literal = cast.arg.as_deref().and_then(literal);
        if name.starts_with("reg") {
            return self.object_name(name, literal, cast.location);
        }
        let base_of = domains_of(self.catalog);
        if let Some(literal) = literal.filter(|literal| is_clock(name, literal, &base_of)) {
            let what = format!("'{}'::{name}", literal.trim());
            self.found
                .warnings
                .push(format!("{what} is read from the clock whenever the statement runs: write now() to have one instant for the whole step"));
            self.found.clock.get_or_insert(what);
        }
        Ok(())
    }

    /// Literals within a value become what the column is that it is assigned to.
    pub(crate) fn assigned_value(&mut self, value: &Node, column: &Column) {
        let base_of = domains_of(self.catalog);
        if reads_clock(value, &column.type_name, &base_of) {
            let what = format!("a literal of {}", column.name);
            self.found.clock.get_or_insert(what);
        }
    }

    /// `'t'::regclass` mentions a relation; other such casts look names up while the statement runs.
    fn object_name(
        &mut self,
        type_name: &str,
        literal: Option<&str>,
        location: i32,
    ) -> Result<(), BindError> {
        if type_name == "regclass"
            && let Some(parts) = literal.and_then(written_name)
            && let [.., name] = parts.as_slice()
        {
            let schema = parts
                .len()
                .checked_sub(2)
                .map(|place| parts[place].as_str());
            if let Some(relation) = self.catalog.find(schema, name, self.path) {
                self.found.reads.insert(Resource::Table(relation.id));
                return Ok(());
            }
            if schema.is_none_or(|schema| schema != "pg_catalog") && !name.starts_with("pg_") {
                // It may be an index, which the snapshot keeps under its table.
                let schemas = match schema {
                    Some(schema) => vec![schema],
                    None => self.path.iter().map(String::as_str).collect(),
                };
                let index = schemas
                    .into_iter()
                    .find_map(|schema| self.catalog.index_owner(schema, name));
                return match index {
                    Some(table) => {
                        self.found.reads.insert(Resource::Table(table));
                        Ok(())
                    }
                    None => Err(BindError::at(
                        location,
                        format!("relation \"{name}\" does not exist"),
                    )),
                };
            }
            return Ok(());
        }
        self.found
            .reads_anything
            .get_or_insert_with(|| format!("the cast to {type_name} looks names up"));
        Ok(())
    }

    /// A user-defined type that is mentioned.
    fn read_type(&mut self, names: &[&str]) {
        if let Some(resource) = user_type(self.catalog, names) {
            self.found.reads.insert(resource);
        }
    }

    /// The type of an expression, where it can be told without knowing every operator and function.
    pub(super) fn expression_type(&self, node: &Node) -> Option<String> {
        match node.node.as_ref()? {
            NodeEnum::TypeCast(cast) => cast.type_name.as_ref().and_then(type_name),
            NodeEnum::AConst(constant) => match constant.val.as_ref()? {
                a_const::Val::Ival(_) => Some("integer".to_owned()),
                a_const::Val::Boolval(_) => Some("boolean".to_owned()),
                a_const::Val::Sval(_) => Some("text".to_owned()),
                a_const::Val::Fval(_) | a_const::Val::Bsval(_) => None,
            },
            NodeEnum::BoolExpr(_) | NodeEnum::NullTest(_) | NodeEnum::BooleanTest(_) => {
                Some("boolean".to_owned())
            }
            _ => None,
        }
    }
}

/// The text of a string literal.
pub(crate) fn literal(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => literal(cast.arg.as_deref()?),
        _ => None,
    }
}

/// The resource that stands for a user-defined type, `None` for PostgreSQL's own.
pub(crate) fn user_type(catalog: &Catalog, names: &[&str]) -> Option<Resource> {
    let name = names.last()?;
    let known = catalog.types.iter().find(|known| known.name == *name)?;
    let name = QualifiedName::new(known.schema.clone(), known.name.clone());
    Some(Resource::Object("type".to_owned(), name.to_string()))
}

/// `format_type` of a type that the grammar wrote down, without its length and precision where it has
/// some that this does not know how to write.
fn type_name(name: &TypeName) -> Option<String> {
    if !name.array_bounds.is_empty() || name.setof || name.pct_type {
        return None;
    }
    let names = strings(&name.names);
    let plain = match names.as_slice() {
        ["pg_catalog", own] => match *own {
            "int2" => "smallint",
            "int4" => "integer",
            "int8" => "bigint",
            "bool" => "boolean",
            "float4" => "real",
            "float8" => "double precision",
            "varchar" => "character varying",
            "bpchar" => "character",
            "timestamp" => "timestamp without time zone",
            "timestamptz" => "timestamp with time zone",
            "numeric" => "numeric",
            _ => return None,
        },
        [own @ ("text" | "date" | "uuid" | "jsonb" | "json" | "bytea")] => own,
        _ => return None,
    };
    let modifiers: Option<Vec<String>> = name
        .typmods
        .iter()
        .map(|node| match node.node.as_ref()? {
            NodeEnum::AConst(constant) => match constant.val.as_ref()? {
                a_const::Val::Ival(number) => Some(number.ival.to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let modifiers = modifiers?;
    match (modifiers.is_empty(), plain.starts_with("timestamp")) {
        (true, _) => Some(plain.to_owned()),
        (false, false) => Some(format!("{plain}({})", modifiers.join(","))),
        (false, true) => None,
    }
}
