//! Counting and digesting tables in parallel, all of them as of one instant: one transaction exports its
//! snapshot and the others take it (PostgreSQL manual, 9.28.5: pg_export_snapshot).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::try_join_all;
use sqlx::Row;
use upshift_shared::{
    Error, Result,
    digest::{self, DigestedTable},
    pg::{
        self, PgConnection, Target, execute_raw,
        ident::literal,
        transaction::{self, Isolation, Spec, Transaction},
    },
};

/// What is wanted of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// How many rows it has.
    Rows,
    /// Its digest as well.
    Digest,
}

/// A table and what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) table: DigestedTable,
    pub(crate) want: Want,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) rows: u64,
    pub(crate) content: Option<String>,
}

/// Begins a transaction that only reads, and sees one instant.
pub(crate) async fn begin(conn: &mut PgConnection) -> Result<Transaction<'_>> {
    let settings = settings();
    let mut spec = Spec::new("verify");
    spec.isolation = Isolation::RepeatableRead;
    spec.read_only = true;
    spec.statement_timeout = Duration::ZERO;
    spec.settings = &settings;
    transaction::begin(conn, &spec).await
}

fn settings() -> Vec<(String, String)> {
    let settings = digest::SETTINGS.into_iter();
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Measures tables over at most so many connections, the given one among them; in the order of the jobs.
pub(crate) async fn measure(
    tx: &mut PgConnection,
    target: &Target,
    jobs: &[Job],
    workers: usize,
) -> Result<Vec<Measured>> {
    // Of the next job that nobody has taken.
    let next = AtomicUsize::new(0);
    let others = workers.min(jobs.len()).saturating_sub(1);
    let mut done = vec![Measured::default(); jobs.len()];
    if others == 0 {
        for (place, measured) in work(tx, jobs, &next).await? {
            done[place] = measured;
        }
        return Ok(done);
    }
    let snapshot: String =
        sqlx::query("-- upshift: export a snapshot\nSELECT pg_export_snapshot()")
            .fetch_one(&mut *tx)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(Error::database("exporting a snapshot"))?;
    let others = try_join_all((0..others).map(|_| {
        let (snapshot, next) = (&snapshot, &next);
        Box::pin(async move {
            let mut conn = pg::connect(target, "upshift verify").await?;
            let mut tx = begin(&mut conn).await?;
            execute_raw(
                &mut tx,
                format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot)),
            )
            .await
            .map_err(Error::database("taking a snapshot over"))?;
            let measured = work(&mut tx, jobs, next).await?;
            tx.rollback().await?;
            Ok::<_, Error>(measured)
        })
    }));
    let (own, others) = futures::future::try_join(Box::pin(work(tx, jobs, &next)), others).await?;
    for (place, measured) in others.into_iter().flatten().chain(own) {
        done[place] = measured;
    }
    Ok(done)
}

async fn work(
    tx: &mut PgConnection,
    jobs: &[Job],
    next: &AtomicUsize,
) -> Result<Vec<(usize, Measured)>> {
    let mut done = Vec::new();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(place) else {
            return Ok(done);
        };
        done.push((place, one(tx, job).await?));
    }
}

async fn one(tx: &mut PgConnection, job: &Job) -> Result<Measured> {
    if job.want == Want::Digest {
        let digest = digest::of_table(tx, &job.table).await?;
        return Ok(Measured {
            rows: digest.rows.unsigned_abs(),
            content: Some(digest.content),
        });
    }
    let count = format!(
        "/* upshift: count */ SELECT count(*) FROM ONLY {}",
        job.table.name
    );
    let rows: i64 = sqlx::query(pg::sql(count))
        .persistent(false)
        .fetch_one(tx)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database(format!(
            "counting {}",
            job.table.name.plain()
        )))?;
    Ok(Measured {
        rows: rows.unsigned_abs(),
        content: None,
    })
}
