//! Are two databases the same? Content of tables, schema with owners and privileges, sequences. Where
//! they are not, a report that says which table, which columns, which rows.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Result, bail};
use sqlx::{Connection, PgConnection};
use upshift_shared::{
    digest::{self, Digest, DigestedTable},
    pg::{self, ident::ident},
};

use crate::harness::Database;

/// So many differing rows and schema lines are shown.
const EXAMPLES: usize = 5;

/// All that is compared of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Content and sequences.
    pub digest: Digest,
    /// Schema, owners, privileges, comments.
    pub schema: String,
}

impl Snapshot {
    /// Takes it.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub async fn take(database: &Database) -> Result<Self> {
        let mut connection = database.connect().await?;
        let digest = digest::digest(&mut connection).await?;
        connection.close().await?;
        Ok(Self {
            digest,
            schema: database.schema_dump()?,
        })
    }

    /// What differs, one line or paragraph each; empty where nothing does.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = map_differences("table", &self.digest.tables, &other.digest.tables);
        found.extend(map_differences(
            "sequence",
            &self.digest.sequences,
            &other.digest.sequences,
        ));
        if self.schema != other.schema {
            found.push(line_differences(&self.schema, &other.schema));
        }
        found
    }

    /// Sets the sequences of a database to what they are in this snapshot, where a crash of PostgreSQL has
    /// moved them: it logs them ahead of their use (`SEQ_LOG_VALS` in sequence.c), so it may skip up to so
    /// many values.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub async fn forgive_sequences(&self, database: &Database) -> Result<()> {
        const LOGGED_AHEAD: i64 = 32;
        let found = Self::take(database).await?.digest.sequences;
        for (name, state) in &found {
            let Some(wanted) = self.digest.sequences.get(name) else {
                continue;
            };
            let ahead = state.last_value - wanted.last_value;
            if (0..=LOGGED_AHEAD).contains(&ahead) && state != wanted {
                let (value, called) = (wanted.last_value, wanted.is_called);
                database.psql(&format!("SELECT setval('{name}', {value}, {called})"))?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// With a report, where this snapshot differs from one taken earlier.
    pub fn expect_same(&self, other: &Self, what: &str) -> Result<()> {
        let found = self.differences(other);
        if !found.is_empty() {
            bail!("{what}:\n{}", found.join("\n"));
        }
        Ok(())
    }
}

/// Compares two databases.
///
/// # Errors
/// With a report, where they differ; and where one cannot be read.
pub async fn expect_same(left: &Database, right: &Database, what: &str) -> Result<()> {
    let (one, two) = (Snapshot::take(left).await?, Snapshot::take(right).await?);
    let mut found = one.differences(&two);
    if found.is_empty() {
        return Ok(());
    }
    let mut connections = (left.connect().await?, right.connect().await?);
    for table in digest::tables(&mut connections.0).await? {
        let name = table.name.plain();
        let (a, b) = (one.digest.tables.get(&name), two.digest.tables.get(&name));
        if a != b && b.is_some() {
            found.push(row_differences(&mut connections, &table).await?);
        }
    }
    bail!("{what} (left, then right):\n{}", found.join("\n"));
}

fn map_differences<V: PartialEq + std::fmt::Debug>(
    kind: &str,
    left: &BTreeMap<String, V>,
    right: &BTreeMap<String, V>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in left {
        match right.get(name) {
            None => found.push(format!("{kind} {name} is only on the left")),
            Some(other) if other != value => {
                found.push(format!("{kind} {name}: {value:?} / {other:?}"));
            }
            Some(_) => {}
        }
    }
    for name in right.keys().filter(|name| !left.contains_key(*name)) {
        found.push(format!("{kind} {name} is only on the right"));
    }
    found
}

/// Lines that only one of two texts has, as often as it has them; or where they first part, when the
/// same lines stand in another order.
fn line_differences(left: &str, right: &str) -> String {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for line in left.lines() {
        *counts.entry(line).or_default() += 1;
    }
    for line in right.lines() {
        *counts.entry(line).or_default() -= 1;
    }
    let mut report = "schemas differ:".to_owned();
    let mut any = false;
    for (line, count) in counts.iter().filter(|(_, count)| **count != 0) {
        let side = if *count > 0 {
            "left only "
        } else {
            "right only"
        };
        let _ = write!(report, "\n  {side} | {line}");
        any = true;
    }
    if !any {
        let parts = left.lines().zip(right.lines()).filter(|(a, b)| a != b);
        for (a, b) in parts.take(EXAMPLES) {
            let _ = write!(report, "\n  order: {a} | {b}");
        }
    }
    report
}

/// Which columns of a table differ, and examples of rows that only one side has.
async fn row_differences(
    connections: &mut (PgConnection, PgConnection),
    table: &DigestedTable,
) -> Result<String> {
    let mut report = format!("rows of {}:", table.name.plain());
    for column in &table.columns {
        let query = format!(
            "SELECT sum(hashtextextended(coalesce({}::text, '<null>'), 0)::numeric)::text FROM ONLY {}",
            ident(column),
            table.name
        );
        let one: Option<Option<String>> = sqlx::query_scalar(pg::sql(query.clone()))
            .fetch_optional(&mut connections.0)
            .await?;
        // The other side may not have the column: the schema's difference says so already.
        let two: Option<Option<String>> = sqlx::query_scalar(pg::sql(query))
            .fetch_optional(&mut connections.1)
            .await
            .ok()
            .flatten();
        if one != two {
            let _ = write!(report, " column {column} differs;");
        }
    }
    let query = format!(
        "SELECT {} FROM ONLY {} AS t ORDER BY 1 LIMIT 200000",
        table.row_text(),
        table.name
    );
    let one: Vec<String> = sqlx::query_scalar(pg::sql(query.clone()))
        .fetch_all(&mut connections.0)
        .await?;
    let Ok(two) = sqlx::query_scalar::<_, String>(pg::sql(query))
        .fetch_all(&mut connections.1)
        .await
    else {
        return Ok(report);
    };
    for (side, rows, others) in [("left only ", &one, &two), ("right only", &two, &one)] {
        let others: std::collections::BTreeSet<&String> = others.iter().collect();
        for row in rows
            .iter()
            .filter(|row| !others.contains(row))
            .take(EXAMPLES)
        {
            let _ = write!(report, "\n  {side} | {row}");
        }
    }
    Ok(report)
}
