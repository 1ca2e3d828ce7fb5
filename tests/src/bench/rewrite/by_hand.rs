//! What an expert would write for this one table, knowing all about it, on two connections: the mark that
//! Upshift is held to. It leaves out what only a tool must know: it carries over just what this table has,
//! trusts that every line has its entry, and keeps nothing but the old table.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use upshift_shared::pg;

use super::journal::linked_tables;
use crate::harness::Database;

const CREATE: &str = include_str!("by_hand/create.sql");
const FILL: &str = include_str!("by_hand/fill.sql");
const SWAP: &str = include_str!("by_hand/swap.sql");

/// Of each session. Two of them keep two cores busy, so neither starts parallel workers of its own.
const SESSION: &str = "SET maintenance_work_mem = '512MB'; SET work_mem = '128MB';
SET max_parallel_maintenance_workers = 0; SET max_parallel_workers_per_gather = 0";

/// The slowest first, so that both connections are done at about the same time.
const INDEXES: &[&str] = &[
    "CREATE INDEX new_partner_id_ref_idx ON account_move_line_new (partner_id, ref)",
    "CREATE INDEX new_account_id_date_idx ON account_move_line_new (account_id, date)",
    "CREATE INDEX new_date_maturity_idx ON account_move_line_new (date_maturity)",
    "CREATE INDEX new_journal_id_idx ON account_move_line_new (journal_id)",
    "CREATE INDEX new_move_id_idx ON account_move_line_new (move_id)",
    "CREATE UNIQUE INDEX new_pkey ON account_move_line_new (id)",
];

const CONSTRAINTS: &str = "
ALTER TABLE account_move_line_new ADD CONSTRAINT new_pkey PRIMARY KEY USING INDEX new_pkey;
ALTER TABLE account_move_line_new ADD CONSTRAINT new_move_id_fkey
    FOREIGN KEY (move_id) REFERENCES account_move (id) ON DELETE CASCADE NOT VALID";

/// Steps, one after another; the parts of a step are taken by whichever connection is free. A part is one
/// transaction.
#[derive(Debug)]
pub(super) struct Script {
    /// Whether the fill by halves of the old table goes first (its size is known only then).
    fill: bool,
    steps: Vec<Vec<String>>,
    /// Not measured: removes what the expert keeps for the way back.
    clean: &'static str,
}

impl Script {
    /// Builds the table anew, with so many tables that have a foreign key to it.
    pub(super) fn whole_table(linked: u32) -> Self {
        let each = |part: &dyn Fn(String) -> String| linked_tables(linked).map(part).collect();
        let incoming: Vec<String> = each(&|table| {
            format!(
                "ALTER TABLE {table} ADD CONSTRAINT new_line_id_fkey FOREIGN KEY (line_id)
                 REFERENCES account_move_line_new (id) ON DELETE SET NULL NOT VALID"
            )
        });
        // The lines' own is the longest, and the linked tables grow with their number. ANALYZE takes a lock
        // that the lines' own validation excludes, so it comes last.
        let mut validate: Vec<String> =
            each(&|table| format!("ALTER TABLE {table} VALIDATE CONSTRAINT new_line_id_fkey"));
        validate.push(
            "ALTER TABLE account_move_line_new VALIDATE CONSTRAINT new_move_id_fkey".to_owned(),
        );
        validate.reverse();
        validate.push("ANALYZE account_move_line_new".to_owned());
        let exchange: Vec<String> = each(&|table| {
            format!(
                "ALTER TABLE {table} DROP CONSTRAINT {table}_line_id_fkey;
                 ALTER TABLE {table} RENAME CONSTRAINT new_line_id_fkey TO {table}_line_id_fkey"
            )
        });
        let mut constraints = vec![CONSTRAINTS.to_owned()];
        constraints.extend(incoming);
        let mut swap = exchange;
        swap.push(SWAP.to_owned());
        Self {
            fill: true,
            steps: vec![
                INDEXES.iter().map(|sql| (*sql).to_owned()).collect(),
                vec![constraints.join(";\n")],
                validate,
                vec![swap.join(";\n")],
            ],
            clean: "DROP TABLE account_move_line_old",
        }
    }

    /// Updates a tenth of the rows in place, a half of the table on each connection.
    pub(super) fn one_update(rows: u32) -> Self {
        let half = |condition: &str| {
            format!(
                "UPDATE account_move_line SET amount_residual = 0, reconciled = TRUE
                  WHERE journal_id = 7 AND id {condition} {}",
                rows / 2
            )
        };
        Self {
            fill: false,
            steps: vec![vec![half("<="), half(">")]],
            clean: "",
        }
    }

    /// Runs it.
    pub(super) async fn run(&self, database: &Database) -> Result<()> {
        let mut connections = (database.connect().await?, database.connect().await?);
        execute(&mut connections.0, SESSION).await?;
        execute(&mut connections.1, SESSION).await?;
        if self.fill {
            let step = fill(&mut connections.0).await?;
            both(&mut connections, &step).await?;
        }
        for step in &self.steps {
            both(&mut connections, step).await?;
        }
        connections.0.close().await?;
        connections.1.close().await?;
        Ok(())
    }

    /// Removes what is left of the old state, so that only the new one is compared.
    pub(super) fn clean(&self, database: &Database) -> Result<()> {
        if !self.clean.is_empty() {
            database.psql(self.clean)?;
        }
        Ok(())
    }
}

/// Makes the new table, and returns the two halves that fill it.
async fn fill(connection: &mut PgConnection) -> Result<Vec<String>> {
    execute(connection, CREATE).await?;
    let pages: i64 = sqlx::query_scalar(
        "SELECT pg_relation_size('account_move_line') / current_setting('block_size')::bigint",
    )
    .fetch_one(connection)
    .await?;
    // 4294967295 is no page's number: the end.
    let middle = (pages / 2).to_string();
    let half = |from: &str, to: &str| FILL.replace("{from}", from).replace("{to}", to);
    Ok(vec![half("0", &middle), half(&middle, "4294967295")])
}

/// One step on both connections.
async fn both(connections: &mut (PgConnection, PgConnection), parts: &[String]) -> Result<()> {
    let next = AtomicUsize::new(0);
    futures::try_join!(
        work(&mut connections.0, parts, &next),
        work(&mut connections.1, parts, &next)
    )?;
    Ok(())
}

async fn work(connection: &mut PgConnection, parts: &[String], next: &AtomicUsize) -> Result<()> {
    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        execute(connection, part).await?;
    }
    Ok(())
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(pg::sql(sql.to_owned()))
        .execute(connection)
        .await
        .with_context(|| format!("the script written by hand, at: {sql}"))?;
    Ok(())
}
