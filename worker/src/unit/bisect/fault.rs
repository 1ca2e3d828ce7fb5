//! What is wrong with one row: its key, all of it, the column at fault, and the statement that assigns
//! that column.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, Row, postgres::PgDatabaseError};
use upshift_shared::{
    Error, Result,
    ledger::{Bounds, bad_row::BadRow},
    pack::narrow,
    pg::ident::{QualifiedName, ident},
    plan::{JoinedTransform, KeyColumn, Operator, Shadow, ShadowStage},
};

use super::{
    super::UnitContext,
    search::{Found, Limit, go_back, is_cancelled, savepoint},
    subject::Subject,
};

/// One probe of a column may take so long.
const PROBE: Duration = Duration::from_secs(10);

/// Names rows, one after another.
pub(super) struct Namer<'a, 'u> {
    unit: &'a UnitContext<'u>,
    subject: &'a Subject<'u>,
    /// Of a table that is searched by pages: its primary key, by which people know a row.
    primary: Option<Vec<KeyColumn>>,
    /// The statement's SQL, and the columns that it assigns, in groups.
    text: Option<String>,
    groups: Vec<Vec<String>>,
    /// The group that was at fault last: it is probed first.
    last: usize,
    /// Once its time is over, columns and values are no longer looked for.
    limit: Limit,
}

impl<'a, 'u> Namer<'a, 'u> {
    pub(super) async fn new(
        tx: &mut PgConnection,
        unit: &'a UnitContext<'u>,
        subject: &'a Subject<'u>,
        limit: Limit,
    ) -> Result<Self> {
        let primary = match &unit.task.operator {
            Operator::Shadow(op) => shadow_key(tx, op).await?,
            _ => None,
        };
        let text = subject.text(unit);
        let groups = text.as_deref().map(narrow::assigned);
        Ok(Self {
            unit,
            subject,
            primary,
            groups: groups.and_then(Result::ok).unwrap_or_default(),
            text,
            last: 0,
            limit,
        })
    }

    /// All about a row that was found.
    pub(super) async fn name(&mut self, tx: &mut PgConnection, found: &Found) -> Result<BadRow> {
        self.unit.refuse_cancelled()?;
        let row = self.subject.row(tx, &found.bounds).await?;
        let key = self.key(&found.bounds, row.as_ref());
        let column = match constraint_columns(tx, &found.error).await? {
            Some(column) => Some(column),
            None => self.column(tx, found).await?,
        };
        let value = match column.as_deref() {
            Some(column) => self.value(tx, found, (column, row.as_ref())).await?,
            None => None,
        };
        Ok(bad_row(self.unit, &found.error, |bad| {
            bad.value = value;
            bad.table.clone_from(&self.subject.table);
            bad.source = source(self.unit, column.as_deref());
            (bad.key, bad.row, bad.column) = (key, row, column);
        }))
    }

    /// Its key: as texts, by which a retry finds it again.
    fn key(&self, bounds: &Bounds, row: Option<&Value>) -> Option<Value> {
        let searched = self.subject.key.iter().zip(bounds.upper.iter().flatten());
        let searched = searched.map(|(column, text)| (column.name.clone(), text.clone().into()));
        let Some(primary) = &self.primary else {
            return Some(Value::Object(searched.collect()));
        };
        let row = row.and_then(Value::as_object)?;
        let values = primary.iter().map(|column| {
            let value = row.get(&column.name).cloned().unwrap_or(Value::Null);
            (column.name.clone(), value)
        });
        Some(Value::Object(values.collect()))
    }

    /// Which assignment fails by itself. Where the statement fails with nothing assigned, it is its
    /// condition, or what it joins.
    async fn column(&mut self, tx: &mut PgConnection, found: &Found) -> Result<Option<String>> {
        if let Operator::Transform(op) = &self.unit.task.operator {
            let column = match &found.error {
                Error::BadValue { .. } => &op.source,
                _ => &op.target,
            };
            return Ok(Some(column.clone()));
        }
        if let (Error::BadValue { what, .. }, Operator::Shadow(op)) =
            (&found.error, &self.unit.task.operator)
            && let ShadowStage::Fill { transforms, .. } = &op.stage
        {
            let is_it = |t: &&JoinedTransform| what.ends_with(&format!(", at {}", t.location));
            return Ok(transforms.iter().find(is_it).map(|t| t.source.clone()));
        }
        let code = found.error.sqlstate().unwrap_or_default();
        let Some(text) = self.text.clone().filter(|_| code.starts_with("22")) else {
            return Ok(None);
        };
        let Ok(nothing) = narrow::only(&text, 0, false) else {
            return Ok(None);
        };
        if self.is_over() || self.probe(tx, found, nothing, &code).await? {
            return Ok(None);
        }
        let count = self.groups.len();
        for place in std::iter::once(self.last).chain((0..count).filter(|p| *p != self.last)) {
            if self.is_over() {
                break;
            }
            let Ok(alone) = narrow::only(&text, place, true) else {
                continue;
            };
            if self.probe(tx, found, alone, &code).await? {
                self.last = place;
                return Ok(Some(self.groups[place].join(", ")));
            }
        }
        Ok(None)
    }

    /// What is wrong: a value that a function refuses; else what the statement would give to the column,
    /// before the column's type refuses it. Where computing it fails, the message has it.
    async fn value(
        &self,
        tx: &mut PgConnection,
        found: &Found,
        (column, row): (&str, Option<&Value>),
    ) -> Result<Option<Value>> {
        if matches!(found.error, Error::BadValue { .. }) {
            return Ok(row.and_then(|row| row.get(column)).cloned());
        }
        let place = self.groups.iter().position(|group| group == &[column]);
        let (Some(text), Some(place)) = (&self.text, place) else {
            return Ok(None);
        };
        let Ok(query) = narrow::value(text, place) else {
            return Ok(None);
        };
        if self.is_over() {
            return Ok(None);
        }
        savepoint(tx, self.unit, self.limit.left().min(PROBE)).await?;
        let value = self
            .subject
            .value(tx, self.unit, &query, &found.bounds)
            .await;
        match value {
            Err(error) if self.ends(&error) => Err(error),
            value => {
                go_back(tx).await?;
                Ok(value.ok().flatten())
            }
        }
    }

    /// Whether this fails on the row in the same way.
    async fn probe(
        &self,
        tx: &mut PgConnection,
        found: &Found,
        text: String,
        code: &str,
    ) -> Result<bool> {
        savepoint(tx, self.unit, self.limit.left().min(PROBE)).await?;
        let outcome = self
            .subject
            .execute(tx, self.unit, text, &found.bounds)
            .await;
        match outcome {
            Err(error) if self.ends(&error) => Err(error),
            outcome => {
                go_back(tx).await?;
                Ok(outcome.is_err_and(|error| error.sqlstate().as_deref() == Some(code)))
            }
        }
    }

    fn is_over(&self) -> bool {
        self.limit.left().is_zero()
    }

    /// Whether a probe's failure is no answer: the connection is lost, or the unit is to end.
    fn ends(&self, error: &Error) -> bool {
        error.sqlstate().is_none() || is_cancelled(error) && self.unit.cancel.is_cancelled()
    }
}

/// A failure as a bad row, as far as the server tells it by itself.
pub(super) fn bad_row(
    unit: &UnitContext<'_>,
    error: &Error,
    more: impl FnOnce(&mut BadRow),
) -> BadRow {
    let mut bad = BadRow {
        table: unit
            .task
            .tables
            .iter()
            .find(|table| table.write)
            .map_or_else(String::new, |table| table.table.clone()),
        key: None,
        row: None,
        column: None,
        value: None,
        sqlstate: error.sqlstate().unwrap_or_default(),
        message: error.to_string(),
        detail: None,
        source: source(unit, None),
    };
    if let Some(said) = reported(error) {
        said.message().clone_into(&mut bad.message);
        bad.detail = said.detail().map(str::to_owned);
        bad.column = said.column().map(str::to_owned);
    }
    more(&mut bad);
    bad
}

fn reported(error: &Error) -> Option<&PgDatabaseError> {
    match error {
        Error::Database {
            source: sqlx::Error::Database(source),
            ..
        } => source.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

/// The column that the server names, or those of the constraint that it names.
async fn constraint_columns(tx: &mut PgConnection, error: &Error) -> Result<Option<String>> {
    let Some(said) = reported(error) else {
        return Ok(None);
    };
    if let Some(column) = said.column() {
        return Ok(Some(column.to_owned()));
    }
    let (Some(schema), Some(table), Some(constraint)) =
        (said.schema(), said.table(), said.constraint())
    else {
        return Ok(None);
    };
    sqlx::query(
        "-- the columns of a constraint or a unique index
        WITH wanted AS (
            SELECT k.conrelid AS relation, k.conkey::smallint[] AS columns
            FROM pg_constraint k
            WHERE k.conrelid = to_regclass($1) AND k.conname = $2
            UNION ALL
            SELECT i.indrelid, i.indkey[0:i.indnkeyatts - 1]::smallint[]
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = to_regclass($1) AND c.relname = $2
            LIMIT 1
        )
        SELECT string_agg(a.attname::text, ', ' ORDER BY u.place) AS columns
        FROM wanted w
        CROSS JOIN unnest(w.columns) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute a ON a.attrelid = w.relation AND a.attnum = u.number",
    )
    .bind(QualifiedName::new(schema, table).to_string())
    .bind(constraint)
    .persistent(false)
    .fetch_one(tx)
    .await
    .and_then(|row| row.try_get("columns"))
    .map_err(Error::database("reading the columns of a constraint"))
}

/// Where the statement stands; of a pass, the statements that assign the column.
fn source(unit: &UnitContext<'_>, column: Option<&str>) -> String {
    if let (Operator::Shadow(op), Some(column)) = (&unit.task.operator, column)
        && let ShadowStage::Fill { assigned, .. } = &op.stage
    {
        let names: Vec<&str> = column.split(", ").collect();
        let of_column = assigned.iter().find(|a| names.contains(&a.name.as_str()));
        if let Some(of_column) = of_column {
            let places: Vec<String> = of_column
                .locations
                .iter()
                .map(ToString::to_string)
                .collect();
            return places.join(" or ");
        }
    }
    let first = unit.task.sources.first();
    first.map(ToString::to_string).unwrap_or_default()
}

/// A row of a pass is found by its place; people know it by its primary key.
async fn shadow_key(tx: &mut PgConnection, op: &Shadow) -> Result<Option<Vec<KeyColumn>>> {
    let (schema, name) = (op.table.schema.as_str(), op.table.name.as_str());
    let known = super::subject::primary_key(tx, Some(schema), name).await?;
    Ok(known.map(|(_, key)| key))
}

/// `column "c" of t`; of an INSERT, the column is that of another table than the row.
pub(super) fn place(unit: &UnitContext<'_>, bad: &BadRow) -> String {
    match (&bad.column, &unit.task.operator) {
        (None, _) => bad.table.clone(),
        (Some(column), Operator::Append(op)) => {
            format!("{}, column {} of {}", bad.table, ident(column), op.table)
        }
        (Some(column), _) => format!("column {} of {}", ident(column), bad.table),
    }
}
