//! What is searched for bad rows: a table and its key, and how the unit's work is done on a range of it.

use std::borrow::Cow;

use serde_json::Value;
use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::Query};
use upshift_shared::{
    Error, Result,
    ledger::Bounds,
    pack::narrow,
    pg::{ident::QualifiedName, sql},
    plan::{
        Append, Cut, Fragment, InPlace, KeyColumn, Operator, Shadow, ShadowStage, Spare, Statement,
        TRANSFORMED_ROWS, Template, Transform, key_range,
    },
};

use super::super::{
    UnitContext, shadow, transform,
    verified::{self, Part},
};
use crate::prepare::kept_name;

/// Stands for a kept table while its statement is narrowed.
const KEPT_HERE: &str = "upshift_kept_here";

/// What is searched.
pub(in crate::unit) struct Subject<'a> {
    /// The table whose rows are searched, quoted and qualified.
    pub(in crate::unit) table: String,
    /// Its key; `ctid` where it is searched by pages.
    pub(in crate::unit) key: Vec<KeyColumn>,
    /// Why one row may be found in place of another, where that may be: the statement's rows depend on
    /// each other, so that it does something else on a part of them.
    pub(in crate::unit) doubt: Option<String>,
    /// Why its rows cannot be left out, where that is so.
    pub(in crate::unit) whole: Option<String>,
    work: Work<'a>,
    /// What is digested of its rows.
    columns: Option<Vec<String>>,
}

/// How a piece is worked on.
enum Work<'a> {
    /// SQL, with the unit's number as a parameter or not.
    Sql {
        text: String,
        numbered: bool,
    },
    /// As the unit's own work, counted and digested; and the same as SQL.
    InPlace(Cow<'a, InPlace>, String),
    Append(Cow<'a, Append>, String),
    /// Values through a function.
    Transform(&'a Transform),
    /// A pass: the new table is filled, and emptied again.
    Fill(&'a Shadow),
}

const DEPENDENT: &str = "part by part, which this statement is not meant to be done";
const NOT_CUT: &str = "its rows cannot be told apart by a key";
const PASS: &str = "a pass builds the table anew, and what it left out would be lost";

impl<'a> Subject<'a> {
    /// What a unit of this task works on; why it cannot be searched otherwise.
    ///
    /// # Errors
    /// The outer one when the catalog cannot be read.
    pub(in crate::unit) async fn of(
        tx: &mut PgConnection,
        unit: &UnitContext<'a>,
    ) -> Result<Result<Self, String>> {
        let mut subject = match Self::searched(tx, unit).await? {
            Ok(subject) => subject,
            Err(why) => return Ok(Err(why)),
        };
        // What all pieces need is made before the first savepoint.
        subject.columns = match &subject.work {
            Work::InPlace(op, _) => verified::digested(tx, unit, op).await?,
            Work::Transform(op) => {
                transform::begin_parts(tx, op).await?;
                verified::digested(tx, unit, &op.write).await?
            }
            Work::Sql { .. } | Work::Append(..) | Work::Fill(_) => None,
        };
        Ok(Ok(subject))
    }

    async fn searched(
        tx: &mut PgConnection,
        unit: &UnitContext<'a>,
    ) -> Result<Result<Self, String>> {
        Ok(match &unit.task.operator {
            Operator::InPlace(op) => Self::in_place(unit, op),
            Operator::Append(op) => Self::append(unit, op),
            Operator::Transform(op) => {
                let exact = op.write.cut.is_some() || op.write.spare.is_some();
                Ok(Self {
                    table: op.write.table.clone(),
                    key: op.write.key.clone(),
                    whole: (!exact).then(|| unit.task.why.clone()),
                    doubt: (!exact).then(|| DEPENDENT.to_owned()),
                    work: Work::Transform(op),
                    columns: None,
                })
            }
            Operator::Shadow(op) => match &op.stage {
                ShadowStage::Fill { cut, .. } => Ok(Self {
                    table: cut.table.clone(),
                    key: cut.key.clone(),
                    doubt: None,
                    whole: Some(PASS.to_owned()),
                    work: Work::Fill(op),
                    columns: None,
                }),
                _ => Err("it is not a statement on rows of one table".to_owned()),
            },
            Operator::Statement(op) => Self::statement(tx, unit, op).await?,
            Operator::Metadata(_) | Operator::Check(_) | Operator::Exec(_) => {
                Err("it is not a statement on rows of one table".to_owned())
            }
        })
    }

    fn in_place(unit: &UnitContext<'_>, op: &'a InPlace) -> Result<Self, String> {
        let op = match (&op.cut, &op.spare) {
            (Some(_), _) => Cow::Borrowed(op),
            (None, Some(spare)) => Cow::Owned(InPlace {
                sql: narrowed(unit, spare, &op.sql)?,
                cut: Some(spare.cut.clone()),
                ..op.clone()
            }),
            (None, None) => {
                let text = op
                    .sql
                    .render(&kept_name(unit.holder.run, &op.before_images));
                return Self::doubtful(unit, (&op.table, &op.key), &text, true);
            }
        };
        let text = op
            .sql
            .render(&kept_name(unit.holder.run, &op.before_images));
        let cut = op.cut.clone().ok_or(NOT_CUT)?;
        Ok(Self::cut(cut, Work::InPlace(op, text)))
    }

    fn append(unit: &UnitContext<'_>, op: &'a Append) -> Result<Self, String> {
        let op = match (&op.cut, &op.spare) {
            (Some(_), _) => Cow::Borrowed(op),
            (None, Some(spare)) => Cow::Owned(Append {
                sql: narrowed(unit, spare, &op.sql)?,
                cut: Some(spare.cut.clone()),
                ..op.clone()
            }),
            (None, None) => return Err(NOT_CUT.to_owned()),
        };
        let text = op.sql.render(&kept_name(unit.holder.run, &op.recorded));
        let cut = op.cut.clone().ok_or(NOT_CUT)?;
        Ok(Self::cut(cut, Work::Append(op, text)))
    }

    fn cut(cut: Cut, work: Work<'a>) -> Self {
        Self {
            table: cut.table,
            key: cut.key,
            doubt: None,
            whole: None,
            work,
            columns: None,
        }
    }

    /// A range is added for the search only.
    fn doubtful(
        unit: &UnitContext<'_>,
        (table, key): (&str, &[KeyColumn]),
        text: &str,
        numbered: bool,
    ) -> Result<Self, String> {
        let first = first_bound(unit, numbered);
        let text = narrow::with_condition(text, |alias| key_range(alias, key, first))?;
        Ok(Self {
            table: table.to_owned(),
            key: key.to_vec(),
            doubt: Some(DEPENDENT.to_owned()),
            whole: Some(unit.task.why.clone()),
            work: Work::Sql { text, numbered },
            columns: None,
        })
    }

    /// A statement as it was written: on the primary key of its table, which the plan does not know.
    async fn statement(
        tx: &mut PgConnection,
        unit: &UnitContext<'_>,
        op: &Statement,
    ) -> Result<Result<Self, String>> {
        let (schema, name) = match narrow::target_table(&op.sql) {
            Ok(named) => named,
            Err(why) => return Ok(Err(why)),
        };
        let Some((table, key)) = primary_key(tx, schema.as_deref(), &name).await? else {
            return Ok(Err(format!("table {name} has no primary key")));
        };
        let table = table.to_string();
        Ok(Self::doubtful(unit, (&table, &key), &op.sql, false))
    }

    /// Whether what a piece did stays, so that the next one meets it as it would in one statement.
    pub(super) fn keeps(&self) -> bool {
        !matches!(self.work, Work::Fill(_))
    }

    /// The SQL that is worked with, where columns can be told apart in it.
    pub(super) fn text(&self, unit: &UnitContext<'_>) -> Option<String> {
        match &self.work {
            Work::Sql { text, .. } | Work::InPlace(_, text) | Work::Append(_, text) => {
                Some(text.clone())
            }
            Work::Transform(_) => None,
            Work::Fill(op) => match &op.stage {
                ShadowStage::Fill { sql, .. } => Some(sql.render(&op.new_table(unit.holder.run))),
                _ => None,
            },
        }
    }

    /// Runs SQL with the parameters of a piece.
    pub(super) async fn execute(
        &self,
        tx: &mut PgConnection,
        unit: &UnitContext<'_>,
        text: String,
        bounds: &Bounds,
    ) -> Result<u64> {
        let query = self.bound(unit, text, bounds);
        let done = query.execute(tx).await;
        let done = done.map_err(Error::database(unit.task.label.clone()))?;
        Ok(done.rows_affected())
    }

    /// The value that a query with a column `value` finds in a piece.
    pub(super) async fn value(
        &self,
        tx: &mut PgConnection,
        unit: &UnitContext<'_>,
        query: &str,
        bounds: &Bounds,
    ) -> Result<Option<Value>> {
        let text = format!(
            "/* upshift: a bad value */ SELECT to_jsonb(x.value)::text AS value FROM ({query}) AS x LIMIT 1"
        );
        let text: Option<Option<String>> = self
            .bound(unit, text, bounds)
            .fetch_optional(tx)
            .await
            .and_then(|row| row.map(|row| row.try_get("value")).transpose())
            .map_err(Error::database(unit.task.label.clone()))?;
        Ok(text
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn bound(
        &self,
        unit: &UnitContext<'_>,
        text: String,
        bounds: &Bounds,
    ) -> Query<'static, Postgres, PgArguments> {
        let mut query = sqlx::query(sql(text)).persistent(false);
        if unit.task.pinned_now {
            query = query.bind(unit.pinned_now.to_owned());
        }
        let numbered = match &self.work {
            Work::Sql { numbered, .. } => *numbered,
            Work::InPlace(..) | Work::Append(..) => true,
            Work::Transform(_) | Work::Fill(_) => false,
        };
        if numbered {
            query = query.bind(unit.unit.0.to_string());
        }
        for value in bound_values(&self.key, bounds) {
            query = query.bind(value);
        }
        query
    }

    /// The row of a range of one, as it is now.
    pub(in crate::unit) async fn row(
        &self,
        tx: &mut PgConnection,
        bounds: &Bounds,
    ) -> Result<Option<Value>> {
        let query = format!(
            "/* upshift: a bad row */ SELECT to_jsonb(s)::text AS row FROM {} AS s WHERE {} LIMIT 1",
            self.table,
            key_range("s", &self.key, 1),
        );
        let mut query = sqlx::query(sql(query)).persistent(false);
        for value in bound_values(&self.key, bounds) {
            query = query.bind(value);
        }
        let text: Option<String> = query
            .fetch_optional(tx)
            .await
            .and_then(|row| row.map(|row| row.try_get("row")).transpose())
            .map_err(Error::database(format!("reading a row of {}", self.table)))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Does the unit's work on a range of it.
    pub(super) async fn work(
        &self,
        tx: &mut PgConnection,
        unit: &UnitContext<'_>,
        bounds: &Bounds,
    ) -> Result<Part> {
        let piece = UnitContext { bounds, ..*unit };
        let columns = self.columns.as_deref();
        match &self.work {
            Work::Sql { text, .. } => {
                let rows = self.execute(tx, unit, text.clone(), bounds).await?;
                Ok(Part::undigested(rows))
            }
            Work::InPlace(op, _) => verified::change_part(tx, &piece, (op, columns), None).await,
            Work::Append(op, _) => verified::append_part(tx, &piece, op).await,
            Work::Transform(op) => transform::part(tx, &piece, (op, columns)).await,
            Work::Fill(op) => Ok(Part::undigested(shadow::run(tx, &piece, op).await?)),
        }
    }

    /// What is said once a piece has worked and its savepoint is released.
    pub(super) fn clear(&self) -> String {
        match &self.work {
            // Made by this transaction, and not in a savepoint: emptied where it is.
            Work::Transform(_) => format!("; TRUNCATE {TRANSFORMED_ROWS}"),
            Work::Sql { .. } | Work::InPlace(..) | Work::Append(..) | Work::Fill(_) => {
                String::new()
            }
        }
    }

    /// Looks at what all pieces together did, before the unit is recorded as done.
    pub(in crate::unit) async fn verify(
        &self,
        tx: &mut PgConnection,
        unit: &UnitContext<'_>,
        part: Part,
    ) -> Result<()> {
        let columns = self.columns.as_deref();
        match &self.work {
            Work::InPlace(op, _) => verified::changed(tx, unit, (op, columns), part).await,
            Work::Transform(op) => verified::changed(tx, unit, (&op.write, columns), part).await,
            Work::Append(op, _) => verified::appended(tx, unit, op, part).await,
            Work::Sql { .. } | Work::Fill(_) => Ok(()),
        }
    }
}

/// A statement that is not cut, with the range that it could be cut by; it keeps what it kept.
fn narrowed(
    unit: &UnitContext<'_>,
    spare: &Spare,
    template: &Template,
) -> Result<Template, String> {
    let first = first_bound(unit, true);
    let text: String = template
        .0
        .iter()
        .map(|fragment| match fragment {
            Fragment::Text(text) => text.as_str(),
            Fragment::Kept => KEPT_HERE,
        })
        .collect();
    let text = narrow::with_condition(&text, |_| key_range(&spare.alias, &spare.cut.key, first))?;
    let mut fragments = Vec::new();
    for (place, part) in text.split(KEPT_HERE).enumerate() {
        if place > 0 {
            fragments.push(Fragment::Kept);
        }
        fragments.push(Fragment::Text(part.to_owned()));
    }
    Ok(Template(fragments))
}

/// The parameters of a range: the lower bound's columns, then the upper bound's.
pub(super) fn bound_values(key: &[KeyColumn], bounds: &Bounds) -> Vec<Option<String>> {
    let sides = [&bounds.lower, &bounds.upper];
    let values = sides.into_iter().flat_map(|side| {
        let values = side.as_deref().unwrap_or_default();
        (0..key.len()).map(move |place| values.get(place).cloned())
    });
    values.collect()
}

/// The number of the parameter with which a range begins.
fn first_bound(unit: &UnitContext<'_>, numbered: bool) -> usize {
    1 + usize::from(unit.task.pinned_now) + usize::from(numbered)
}

/// A table's name in full, and its primary key.
pub(super) async fn primary_key(
    tx: &mut PgConnection,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<(QualifiedName, Vec<KeyColumn>)>> {
    let failed = || Error::database(format!("looking for the primary key of {name}"));
    let rows = sqlx::query(
        "-- a table's primary key
        SELECT n.nspname::text AS schema, a.attname::text AS name,
               format_type(a.atttypid, a.atttypmod) AS type_name
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE i.indisprimary AND i.indrelid =
              to_regclass(coalesce(quote_ident($1::text) || '.', '') || quote_ident($2::text))
        ORDER BY k.place",
    )
    .bind(schema)
    .bind(name)
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let schema: String = first.try_get("schema").map_err(failed())?;
    let mut key = Vec::with_capacity(rows.len());
    for row in &rows {
        key.push(KeyColumn {
            name: row.try_get("name").map_err(failed())?,
            type_name: row.try_get("type_name").map_err(failed())?,
        });
    }
    Ok(Some((QualifiedName::new(schema, name), key)))
}
