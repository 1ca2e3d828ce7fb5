//! What work costs on this server: a small table is copied, indexed and changed in place, in a transaction
//! that is rolled back. It takes a second or two and writes about a hundred megabytes of WAL.

use upshift_shared::{
    Error, Result,
    clock::Stopwatch,
    pg::{
        self, PgConnection,
        transaction::{self, Spec},
    },
    plan::Rates,
};

/// Rows of the table.
const ROWS: f64 = 100_000.0;
/// A rate is not taken for less: the clock is no better, and ratios of nothing mean nothing.
const LEAST: f64 = 0.01e-6;

/// As wide as [`Rates::WIDTH`].
const TABLES: &str = "
CREATE SCHEMA upshift_measure;
CREATE TABLE upshift_measure.parent AS SELECT i AS id FROM generate_series(1, 10000) AS i;
ALTER TABLE upshift_measure.parent ADD PRIMARY KEY (id);
CREATE TABLE upshift_measure.old AS
SELECT i AS id, 1 + i * 7919::bigint % 10000 AS parent, i * 31::bigint % 5000 AS a, i AS b, i AS c,
       repeat(md5(i::text), 3) AS note, i * 1.25 AS amount
  FROM generate_series(1, 100000) AS i;
CREATE TABLE upshift_measure.new (LIKE upshift_measure.old);
CREATE TABLE upshift_measure.before (LIKE upshift_measure.old);
ANALYZE upshift_measure.old;";

const COPY: &str = "INSERT INTO upshift_measure.new SELECT * FROM upshift_measure.old";
const INDEX: &str = "CREATE INDEX ON upshift_measure.new (a)";
const KEY: &str = "ALTER TABLE upshift_measure.new ADD FOREIGN KEY (parent)
    REFERENCES upshift_measure.parent (id)";
/// What a unit in place does, with its before-images.
const CHANGE: &str = "INSERT INTO upshift_measure.before SELECT * FROM upshift_measure.old;
UPDATE upshift_measure.old SET amount = amount + 1, c = c + 1";
const INDEXES: &str =
    "CREATE INDEX ON upshift_measure.old (a); CREATE INDEX ON upshift_measure.old (b);
CREATE INDEX ON upshift_measure.old (c); CREATE INDEX ON upshift_measure.old (parent)";
/// How many these are.
const INDEX_COUNT: f64 = 4.0;

/// Measures.
///
/// # Errors
/// When the role may not create schemas in the database, or there is no room.
pub async fn measure(conn: &mut PgConnection) -> Result<Rates> {
    let settings = [(
        "max_parallel_maintenance_workers".to_owned(),
        "0".to_owned(),
    )];
    let spec = Spec {
        settings: &settings,
        ..Spec::new("measure what work costs")
    };
    let mut tx = transaction::begin(conn, &spec).await?;
    let measured = within(&mut tx).await;
    tx.rollback().await?;
    measured
}

async fn within(tx: &mut PgConnection) -> Result<Rates> {
    time(tx, TABLES).await?;
    let copied = time(tx, COPY).await?;
    let indexed = time(tx, INDEX).await?;
    let validated = time(tx, KEY).await?;
    let in_place = time(tx, CHANGE).await?;
    time(tx, INDEXES).await?;
    let with_indexes = time(tx, CHANGE).await?;
    Ok(Rates {
        copied: copied.max(LEAST),
        indexed: indexed.max(LEAST),
        validated: validated.max(LEAST),
        in_place: in_place.max(LEAST),
        entry: ((with_indexes - in_place) / INDEX_COUNT).max(LEAST),
    })
}

/// Seconds for each row.
async fn time(tx: &mut PgConnection, statements: &'static str) -> Result<f64> {
    let watch = Stopwatch::start();
    pg::execute_raw(tx, statements)
        .await
        .map_err(Error::database("measuring what work costs"))?;
    Ok(watch.elapsed().as_secs_f64() / ROWS)
}
