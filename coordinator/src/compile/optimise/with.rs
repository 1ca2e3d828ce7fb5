//! WITH on an UPDATE or DELETE in a pass. Its queries stand before the layer that the statement becomes,
//! so every unit computes anew what it asks of them.

use pg_query::{
    NodeEnum,
    protobuf::{CommonTableExpr, CteMaterialize, SelectStmt, WithClause},
};

use super::compose::{Composer, mentions};
use crate::compile::{
    model::{BoundDml, WithQuery},
    sql::{deparse, parse},
};

/// So many rows every unit may read anew: a millisecond or two.
const FEW: f64 = 10_000.0;

impl Composer<'_> {
    /// The clause as SQL, to be written before a SELECT; empty where there is none.
    pub(super) fn with(
        &self,
        clause: Option<&WithClause>,
        dml: &BoundDml,
    ) -> Result<String, String> {
        let Some(clause) = clause else {
            return Ok(String::new());
        };
        if clause.recursive {
            return Err("its WITH is RECURSIVE".to_owned());
        }
        for query in &clause.ctes {
            match &query.node {
                Some(NodeEnum::CommonTableExpr(query)) => self.may_come_with(query, dml)?,
                _ => return Err("its WITH is of a form that passes do not know".to_owned()),
            }
        }
        let Some(NodeEnum::SelectStmt(select)) = parse("SELECT 1")? else {
            return Err("its WITH could not be written: please report this".to_owned());
        };
        let select = SelectStmt {
            with_clause: Some(clause.clone()),
            ..*select
        };
        let text = deparse(NodeEnum::SelectStmt(Box::new(select)))?;
        if let Some(function) = dml.joins.volatile.iter().find(|f| mentions(&text, f)) {
            return Err(format!("its WITH calls {function}, which is volatile"));
        }
        text.strip_suffix("SELECT 1")
            .map(str::to_owned)
            .ok_or_else(|| "its WITH could not be written: please report this".to_owned())
    }

    fn may_come_with(&self, query: &CommonTableExpr, dml: &BoundDml) -> Result<(), String> {
        let name = &query.ctename;
        // Earlier statements are within the layer that the clause stands before.
        if self.tables.contains(name) || name.starts_with("pg_") {
            return Err(format!(
                "its WITH query {name} is called like a table that an earlier statement of the pass \
                 mentions"
            ));
        }
        let known: Vec<&WithQuery> = dml.joins.with.iter().filter(|w| w.name == *name).collect();
        let mentions: u32 = known.iter().map(|query| query.mentions).sum();
        let rows: f64 = known.iter().map(|query| query.rows).sum();
        let materialized = query.ctematerialized == CteMaterialize::Always as i32
            || (query.ctematerialized != CteMaterialize::Never as i32 && mentions > 1);
        if materialized && rows > FEW {
            return Err(format!(
                "each unit would compute its WITH query {name} anew, which reads about {rows:.0} rows"
            ));
        }
        Ok(())
    }
}
