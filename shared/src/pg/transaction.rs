//! The only place that begins transactions: it names them, sets their timeouts, and tries again what
//! a race made fail.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::Duration,
};

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, Postgres};

use super::{
    execute_raw,
    ident::{ident, literal},
    sql,
};
use crate::{Error, Result, Retry};

/// How often [`run`] tries a transaction that a race made fail.
const ATTEMPTS: u32 = 5;

/// How a transaction is begun.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// What it does, for messages and the server's log.
    pub name: &'a str,
    /// Its isolation level.
    pub isolation: Isolation,
    /// Whether it may not write.
    pub read_only: bool,
    /// How long one lock may be waited for; zero for ever.
    pub lock_timeout: Duration,
    /// How long one statement may take; zero for ever.
    pub statement_timeout: Duration,
    /// What other sessions see meanwhile; `None` for what the session has.
    pub application_name: Option<&'a str>,
    /// `SET LOCAL name TO value`, the value being SQL text.
    pub settings: &'a [(String, String)],
    /// Relations to lock before anything takes a snapshot: SQL text of `LOCK TABLE` statements
    /// without their semicolon.
    pub locks: &'a [String],
}

impl<'a> Spec<'a> {
    /// READ COMMITTED, with timeouts that suit the ledger's own short transactions.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            isolation: Isolation::ReadCommitted,
            read_only: false,
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            application_name: None,
            settings: &[],
            locks: &[],
        }
    }
}

/// Isolation levels in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Every statement sees what was committed before it began.
    ReadCommitted,
    /// Every statement sees what was committed before the first one began.
    RepeatableRead,
}

/// A transaction. Dropped without [`Self::commit`], it is rolled back when the connection is next
/// used.
#[derive(Debug)]
pub struct Transaction<'c> {
    name: String,
    inner: sqlx::Transaction<'c, Postgres>,
}

impl Transaction<'_> {
    /// Commits.
    ///
    /// # Errors
    /// When a deferred constraint says no or the connection is gone; in the latter case nobody knows
    /// whether it committed, and the ledger has to be asked.
    pub async fn commit(self) -> Result<()> {
        let context = format!("committing \"{}\"", self.name);
        self.inner.commit().await.map_err(Error::database(context))
    }

    /// Rolls back, now.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn rollback(self) -> Result<()> {
        let context = format!("rolling back \"{}\"", self.name);
        self.inner
            .rollback()
            .await
            .map_err(Error::database(context))
    }
}

impl Deref for Transaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

/// Begins a transaction: BEGIN and the timeouts are one message; the settings of the pack and the
/// locks, which may be refused, another.
///
/// None of these takes a snapshot (PostgreSQL, `analyze_requires_snapshot`), so under REPEATABLE
/// READ the snapshot is of the first statement *after* the locks were granted.
///
/// # Errors
/// When a setting is refused or a lock not granted in time; the connection is usable afterwards.
pub async fn begin<'c>(conn: &'c mut PgConnection, spec: &Spec<'_>) -> Result<Transaction<'c>> {
    let context = || format!("beginning \"{}\"", spec.name);
    let inner = conn
        .begin_with(sql(begin_text(spec)))
        .await
        .map_err(Error::database(context()))?;
    let mut transaction = Transaction {
        name: spec.name.to_owned(),
        inner,
    };
    let prelude = prelude_text(spec);
    if !prelude.is_empty()
        && let Err(source) = execute_raw(&mut transaction, prelude).await
    {
        // The first error is the one to tell.
        let _ignored = transaction.rollback().await;
        return Err(Error::database(context())(source));
    }
    Ok(transaction)
}

/// What cannot be refused.
fn begin_text(spec: &Spec<'_>) -> String {
    let isolation = match spec.isolation {
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::RepeatableRead => "REPEATABLE READ",
    };
    let access = if spec.read_only { " READ ONLY" } else { "" };
    let application_name = spec.application_name.map_or_else(String::new, |name| {
        format!("; SET LOCAL application_name TO {}", literal(name))
    });
    format!(
        "/* upshift: {} */ BEGIN ISOLATION LEVEL {isolation}{access}; {}{application_name}",
        spec.name.replace("*/", "* /").replace("/*", "/ *"),
        timeouts_text(spec),
    )
}

fn timeouts_text(spec: &Spec<'_>) -> String {
    format!(
        "SET LOCAL lock_timeout TO {}; SET LOCAL statement_timeout TO {}",
        spec.lock_timeout.as_millis(),
        spec.statement_timeout.as_millis(),
    )
}

/// What may be refused.
fn prelude_text(spec: &Spec<'_>) -> String {
    let mut statements = Vec::new();
    for (name, value) in spec.settings {
        statements.push(format!("SET LOCAL {} TO {value}", setting_name(name)));
    }
    if !statements.is_empty() {
        // Again, behind the script's: the timeouts are the run's.
        statements.push(timeouts_text(spec));
    }
    statements.extend(spec.locks.iter().cloned());
    statements.join("; ")
}

/// A setting's name, each part quoted: `myapp.mode` is two.
#[must_use]
pub fn setting_name(name: &str) -> String {
    name.split('.').map(ident).collect::<Vec<_>>().join(".")
}

/// Runs `body` in a transaction and prepares it for two-phase commit under the name `gid` (fewer than
/// 200 bytes, no other prepared transaction of the server has it). It is neither committed nor rolled
/// back then, and no session's any more.
///
/// # Errors
/// What `body` or the server said; the transaction is rolled back. Where the connection was lost, it
/// may have been prepared all the same: `pg_prepared_xacts` tells.
pub async fn prepare<'env>(
    conn: &mut PgConnection,
    spec: &Spec<'_>,
    gid: &str,
    body: impl for<'c> FnOnce(&'c mut PgConnection, Scope<'c, 'env>) -> BoxFuture<'c, Result<()>>,
) -> Result<()> {
    let context = |source| Error::database(format!("preparing \"{}\"", spec.name))(source);
    // Not by sqlx's own transaction, which ends in COMMIT or ROLLBACK: there is none to end any more.
    let begin = format!("{}; {}", begin_text(spec), prelude_text(spec));
    let done = async {
        execute_raw(conn, begin).await.map_err(context)?;
        body(conn, PhantomData).await?;
        let prepare = format!(
            "-- upshift: prepare the transaction\nPREPARE TRANSACTION {}",
            literal(gid)
        );
        execute_raw(conn, prepare).await.map_err(context)
    }
    .await;
    if done.is_err() {
        // The first error is the one to tell.
        let _ignored = execute_raw(conn, "-- upshift: not prepared\nROLLBACK").await;
    }
    done.map(drop)
}

/// Tells the compiler that whatever `'env` a body borrows from outlives each of its attempts `'c`.
/// (A closure that is `AsyncFnMut` would not need it, but its futures are not `Send` yet.)
pub type Scope<'c, 'env> = PhantomData<&'c &'env ()>;

/// Runs a short transaction of the ledger, and again where a race (serialisation failure, deadlock)
/// made it fail. `body` must not keep anything from an attempt that failed.
///
/// # Errors
/// What `body` or the server said last.
pub async fn run<'env, T>(
    conn: &mut PgConnection,
    name: &'static str,
    mut body: impl for<'c> FnMut(&'c mut PgConnection, Scope<'c, 'env>) -> BoxFuture<'c, Result<T>>,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let failure = match attempt_once(conn, name, &mut body).await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        if !try_again(&failure, name, attempt) {
            return Err(failure);
        }
        attempt += 1;
    }
}

/// Whether a short transaction is worth another attempt.
pub(crate) fn try_again(failure: &Error, name: &str, attempt: u32) -> bool {
    let again = failure.retry() == Retry::Now && attempt < ATTEMPTS;
    if again {
        tracing::debug!(name, attempt, error = %failure, "transaction tried again");
    }
    again
}

async fn attempt_once<'env, T>(
    conn: &mut PgConnection,
    name: &'static str,
    body: &mut impl for<'c> FnMut(&'c mut PgConnection, Scope<'c, 'env>) -> BoxFuture<'c, Result<T>>,
) -> Result<T> {
    let mut transaction = begin(conn, &Spec::new(name)).await?;
    match body(&mut transaction, PhantomData).await {
        Ok(value) => {
            transaction.commit().await?;
            Ok(value)
        }
        Err(failure) => {
            // Rolled back now, so that locks do not outlive the error; the first error is the one
            // to tell.
            let _ignored = transaction.rollback().await;
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_cannot_break_out_and_timeouts_come_last() {
        let settings = [
            ("search_path".to_owned(), "\"a\", public".to_owned()),
            ("app.x\"; DROP".to_owned(), "'1'".to_owned()),
        ];
        let mut spec = Spec::new("test */ 1");
        spec.settings = &settings;
        spec.application_name = Some("upshift 'x'");
        assert_eq!(
            begin_text(&spec),
            "/* upshift: test * / 1 */ BEGIN ISOLATION LEVEL READ COMMITTED\
             ; SET LOCAL lock_timeout TO 10000; SET LOCAL statement_timeout TO 60000\
             ; SET LOCAL application_name TO 'upshift ''x'''"
        );
        assert_eq!(
            prelude_text(&spec),
            "SET LOCAL \"search_path\" TO \"a\", public; SET LOCAL \"app\".\"x\"\"; DROP\" TO '1'\
             ; SET LOCAL lock_timeout TO 10000; SET LOCAL statement_timeout TO 60000"
        );
    }

    #[expect(
        dead_code,
        reason = "compiling it is the test: what run returns can be spawned"
    )]
    fn run_is_send(
        mut conn: PgConnection,
        text: String,
    ) -> futures::future::BoxFuture<'static, Result<u64>> {
        Box::pin(async move {
            let borrowed = &text;
            run(&mut conn, "send", move |tx, _scope| {
                Box::pin(async move {
                    execute_raw(tx, borrowed.as_str())
                        .await
                        .map_err(Error::database("send"))
                })
            })
            .await
        })
    }
}
