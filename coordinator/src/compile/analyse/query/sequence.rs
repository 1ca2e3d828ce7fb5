//! Functions on sequences: `nextval`, `setval`, `currval`, `lastval`, `pg_get_serial_sequence`.

use pg_query::{Node, NodeEnum, protobuf::FuncCall};
use upshift_shared::{catalog::RelationKind, ids::RelId};

use super::{
    expression::literal,
    naming::{strings, written_name},
    walker::Walker,
};
use crate::compile::{error::BindError, model::Resource};

impl Walker<'_> {
    /// Walks a call of a sequence function; `false` where the function is another.
    pub(super) fn sequence_call(&mut self, name: &str, call: &FuncCall) -> Result<bool, BindError> {
        match name {
            "nextval" | "setval" => {
                self.expressions(call.args.get(1..).unwrap_or_default())?;
                let sequence = self.sequence_argument(name, call)?;
                self.found.draws.get_or_insert_with(|| format!("{name}()"));
                if let Some(sequence) = sequence {
                    self.found.sequences.insert(sequence);
                }
                // Each row draws anew, like any volatile function.
                self.here()
                    .volatile
                    .get_or_insert_with(|| format!("{name}()"));
                Ok(true)
            }
            "currval" => {
                if let Some(sequence) = self.sequence_argument(name, call)? {
                    self.found.currval.insert(sequence, call.location);
                }
                Ok(true)
            }
            "lastval" => Err(BindError::at(
                call.location,
                "lastval() is what an earlier statement of the same session drew, but each step has \
                 a session of its own: use RETURNING in a WITH query, or nextval()",
            )),
            "pg_get_serial_sequence" => {
                if let Some(sequence) = self.serial_sequence(call) {
                    let owner = self.catalog.relation(sequence).and_then(|r| r.owned_by);
                    let table = owner.map_or(sequence, |(table, _)| table);
                    self.found.reads.insert(Resource::Table(table));
                    return Ok(true);
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// The sequence that the first argument names. `None`: it is computed, and the statement opaque.
    fn sequence_argument(
        &mut self,
        name: &str,
        call: &FuncCall,
    ) -> Result<Option<RelId>, BindError> {
        let Some(argument) = call.args.first() else {
            return Ok(None);
        };
        if let Some(sequence) = serial_call(argument).and_then(|call| self.serial_sequence(call)) {
            return Ok(Some(sequence));
        }
        let Some(parts) = literal(argument).and_then(written_name) else {
            self.expression(argument)?;
            self.found
                .make_opaque(format!("{name}() of a sequence whose name is computed"));
            return Ok(None);
        };
        let [.., sequence] = parts.as_slice() else {
            return Ok(None);
        };
        let schema = parts
            .len()
            .checked_sub(2)
            .map(|place| parts[place].as_str());
        match self.catalog.find(schema, sequence, self.path) {
            Some(found) if found.kind == RelationKind::Sequence => Ok(Some(found.id)),
            _ => Err(BindError::at(
                call.location,
                format!("sequence \"{sequence}\" does not exist"),
            )),
        }
    }

    /// What `pg_get_serial_sequence('table', 'column')` returns.
    fn serial_sequence(&self, call: &FuncCall) -> Option<RelId> {
        let [table, column] = call.args.as_slice() else {
            return None;
        };
        let parts = written_name(literal(table)?)?;
        let schema = parts
            .len()
            .checked_sub(2)
            .map(|place| parts[place].as_str());
        let table = self.catalog.find(schema, parts.last()?, self.path)?;
        // The column's name is taken as it stands, without folding case.
        let column = table.column(literal(column)?)?;
        self.catalog
            .relations()
            .find(|relation| relation.owned_by == Some((table.id, column.id)))
            .map(|sequence| sequence.id)
            .or(column.sequence)
    }
}

/// The call inside `pg_get_serial_sequence(…)`, cast or not.
fn serial_call(node: &Node) -> Option<&FuncCall> {
    match node.node.as_ref()? {
        NodeEnum::FuncCall(call) => {
            (strings(&call.funcname).last() == Some(&"pg_get_serial_sequence")).then_some(call)
        }
        NodeEnum::TypeCast(cast) => serial_call(cast.arg.as_deref()?),
        _ => None,
    }
}
