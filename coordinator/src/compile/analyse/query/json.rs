//! SQL/JSON expressions.

use pg_query::{
    NodeEnum,
    protobuf::{JsonAggConstructor, JsonBehavior, JsonValueExpr},
};

use super::{
    source::{Place, Span},
    walker::Walker,
};
use crate::compile::error::BindError;

impl Walker<'_> {
    /// Walks a SQL/JSON node. Any other node here is one that nobody knows.
    pub(super) fn json(&mut self, node: &NodeEnum) -> Result<(), BindError> {
        match node {
            NodeEnum::JsonValueExpr(value) => self.json_value(Some(value)),
            NodeEnum::JsonArgument(argument) => self.json_value(argument.val.as_deref()),
            NodeEnum::JsonKeyValue(pair) => {
                self.optional_expression(pair.key.as_deref())?;
                self.json_value(pair.value.as_deref())
            }
            NodeEnum::JsonObjectConstructor(e) => self.expressions(&e.exprs),
            NodeEnum::JsonArrayConstructor(e) => self.expressions(&e.exprs),
            NodeEnum::JsonArrayQueryConstructor(e) => {
                match e.query.as_ref().and_then(|node| node.node.as_ref()) {
                    Some(NodeEnum::SelectStmt(select)) => self
                        .nested(Place::Expression, |walker| walker.select(select, false))
                        .map(|_| ()),
                    _ => Ok(()),
                }
            }
            NodeEnum::JsonObjectAgg(e) => {
                if let Some(pair) = &e.arg {
                    self.optional_expression(pair.key.as_deref())?;
                    self.json_value(pair.value.as_deref())?;
                }
                self.json_aggregate(e.constructor.as_deref())
            }
            NodeEnum::JsonArrayAgg(e) => {
                self.json_value(e.arg.as_deref())?;
                self.json_aggregate(e.constructor.as_deref())
            }
            NodeEnum::JsonParseExpr(e) => self.json_value(e.expr.as_deref()),
            NodeEnum::JsonScalarExpr(e) => self.optional_expression(e.expr.as_deref()),
            NodeEnum::JsonSerializeExpr(e) => self.json_value(e.expr.as_deref()),
            NodeEnum::JsonIsPredicate(e) => self.optional_expression(e.expr.as_deref()),
            NodeEnum::JsonFuncExpr(e) => {
                self.json_value(e.context_item.as_deref())?;
                self.optional_expression(e.pathspec.as_deref())?;
                self.expressions(&e.passing)?;
                self.json_behavior(e.on_empty.as_deref())?;
                self.json_behavior(e.on_error.as_deref())
            }
            _ => {
                self.found
                    .make_opaque("it has an expression of a kind that Upshift does not know");
                Ok(())
            }
        }
    }

    fn json_value(&mut self, value: Option<&JsonValueExpr>) -> Result<(), BindError> {
        self.optional_expression(value.and_then(|value| value.raw_expr.as_deref()))
    }

    fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) -> Result<(), BindError> {
        self.optional_expression(behavior.and_then(|behavior| behavior.expr.as_deref()))
    }

    fn json_aggregate(&mut self, e: Option<&JsonAggConstructor>) -> Result<(), BindError> {
        let Some(e) = e else { return Ok(()) };
        self.optional_expression(e.agg_filter.as_deref())?;
        self.expressions(&e.agg_order)?;
        let span = match &e.over {
            Some(window) => {
                self.window(window)?;
                Span::Window
            }
            None => Span::Aggregate,
        };
        self.here().spans.insert(span);
        Ok(())
    }
}
