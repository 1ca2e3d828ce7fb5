//! What can happen to an operator, and what has to be the case afterwards.

use std::fmt;

use anyhow::{Context, Result, ensure};

use super::{
    disk::SmallDisk,
    paused::{Locks, Paused},
    trace::{Pass, Way},
    world::{Ready, go_on},
};
use crate::harness::{Database, Outcome, Upshift};
use upshift_worker::failpoint;

/// Harm, or what an operator of a run may do twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process dies at a point.
    Kill(Way, Pass),
    /// The unit's session waits for a table and is cancelled.
    Cancel(Way),
    /// The same, and the session is ended.
    Terminate(Way),
    /// Another session has the table for a while.
    Lock(Way),
    /// `PostgreSQL` crashes and starts again while the unit is at a point.
    Restart(Way, &'static str),
    /// The tablespace is full when the unit begins.
    Full(Way),
    /// The same order again, while the first is at work, and after it.
    Twice(Way),
    /// Back to the checkpoint before it, forward again, and back whole.
    Redo,
    /// Back whole, forward again as a new run, and committed.
    Anew,
    /// There is no way back: that is said, and nothing is touched.
    NoWayBack,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(way, pass) => write!(f, "kill {way} {pass}"),
            Self::Cancel(way) => write!(f, "cancel {way}"),
            Self::Terminate(way) => write!(f, "terminate {way}"),
            Self::Lock(way) => write!(f, "lock {way}"),
            Self::Restart(way, point) => write!(f, "restart {way} {point}"),
            Self::Full(way) => write!(f, "full {way}"),
            Self::Twice(way) => write!(f, "twice {way}"),
            Self::Redo => f.write_str("redo"),
            Self::Anew => f.write_str("anew"),
            Self::NoWayBack => f.write_str("no way back"),
        }
    }
}

/// One fault that happens to one kind of operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The kind of operator.
    pub kind: &'static str,
    /// What happens.
    pub fault: Fault,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.fault)
    }
}

/// Everything that can happen in a case.
#[must_use]
pub fn trials(ready: &Ready) -> Vec<Trial> {
    let mut trials = Vec::new();
    let ways = Way::ALL
        .into_iter()
        .filter(|way| !ready.on(*way).is_empty());
    for (place, kind) in ready.case.kinds.iter().copied().enumerate() {
        let mut add = |fault: Fault| trials.push(Trial { kind, fault });
        for way in ways.clone() {
            for pass in ready.on(way) {
                let concerns = match &pass.kind {
                    Some(of) => of == kind,
                    // What concerns no task once a case.
                    None => place == 0,
                };
                if concerns {
                    add(Fault::Kill(way, pass.clone()));
                }
            }
            let at = |point: &str| Pass {
                point: point.to_owned(),
                kind: Some(kind.to_owned()),
            };
            // Of a task that has nothing to destroy a commit begins nothing.
            let begins = way != Way::Commit || ready.on(way).contains(&at(failpoint::BEFORE_LOCK));
            for fault in [
                Fault::Twice,
                Fault::Cancel,
                Fault::Terminate,
                Fault::Lock,
                Fault::Full,
            ] {
                if begins {
                    add(fault(way));
                }
            }
            for point in [
                failpoint::BEFORE_LOCK,
                failpoint::AFTER_LEDGER_ROW,
                failpoint::AFTER_WORK,
                failpoint::BEFORE_COMMIT,
            ] {
                if ready.on(way).contains(&at(point)) {
                    add(Fault::Restart(way, point));
                }
            }
        }
        match ready.case.reversible {
            true => [Fault::Redo, Fault::Anew].into_iter().for_each(add),
            false => add(Fault::NoWayBack),
        }
    }
    trials
}

impl Trial {
    /// Does it to a fresh database; what came of it, in a word or two.
    ///
    /// # Errors
    /// Where the database is not where it has to be afterwards.
    pub async fn run(&self, ready: &Ready) -> Result<String> {
        let what = format!("{}: {self}", ready.case.name);
        self.inflict(ready, &what).await.context(what)
    }

    async fn inflict(&self, ready: &Ready, what: &str) -> Result<String> {
        let (way, database, came) = match &self.fault {
            Fault::Kill(way, pass) => {
                let (database, command) = ready.set_out(*way)?;
                command.dies_at(&pass.to_string())?;
                go_on(*way, &database).succeed()?;
                (*way, database, "died".to_owned())
            }
            Fault::Cancel(way) => self.strike(ready, *way, Some("pg_cancel_backend")).await?,
            Fault::Terminate(way) => {
                self.strike(ready, *way, Some("pg_terminate_backend"))
                    .await?
            }
            Fault::Lock(way) => self.strike(ready, *way, None).await?,
            Fault::Restart(way, point) => self.restart(ready, *way, point).await?,
            Fault::Full(way) => return self.full(ready, *way, what).await,
            Fault::Twice(way) => self.twice(ready, *way).await?,
            Fault::Redo => redo(ready, what).await?,
            Fault::Anew => anew(ready, what).await?,
            Fault::NoWayBack => no_way_back(ready, what).await?,
        };
        ready.expect_arrived(way, &database, what).await?;
        Ok(came)
    }

    /// Before the unit's transaction begins.
    fn beginning(&self) -> String {
        format!("{}@{}", failpoint::BEFORE_LOCK, self.kind)
    }

    /// Somebody else has the tables when the unit wants them; then its session is struck, or not.
    async fn strike(
        &self,
        ready: &Ready,
        way: Way,
        function: Option<&str>,
    ) -> Result<(Way, Database, String)> {
        let (database, command) = ready.set_out(way)?;
        let mut paused = Paused::at(command, &self.beginning()).await?;
        ensure!(paused.there, "it does not come to {}", self.beginning());
        let mut locks = Locks::take(&database).await?;
        paused.let_go();
        let waits = locks.somebody_waits(&mut paused).await?;
        let struck = match function {
            Some(function) => locks.strike(function).await?,
            None => 0,
        };
        locks.give_back().await?;
        let ended = resumed(paused.end()?, way, &database)?;
        let waited = if waits { "waited" } else { "did not wait" };
        Ok((way, database, format!("{waited}, {struck} struck, {ended}")))
    }

    async fn restart(
        &self,
        ready: &Ready,
        way: Way,
        point: &str,
    ) -> Result<(Way, Database, String)> {
        let (database, command) = ready.set_out(way)?;
        let point = format!("{point}@{}", self.kind);
        let paused = Paused::at(command, &point).await?;
        ensure!(paused.there, "it does not come to {point}");
        database.server().crash()?;
        database.server().start_again()?;
        let ended = resumed(paused.end()?, way, &database)?;
        Ok((way, database, ended))
    }

    async fn full(&self, ready: &Ready, way: Way, what: &str) -> Result<String> {
        let Some(disk) = SmallDisk::mount(ready.start.server())? else {
            return Ok("skipped".to_owned());
        };
        let from = match way {
            Way::There => &ready.start,
            Way::Back | Way::Commit => &ready.prepared,
        };
        let database = disk.copy(from)?;
        let paused = Paused::at(ready.go(way, &database), &self.beginning()).await?;
        ensure!(paused.there, "it does not come to {}", self.beginning());
        disk.fill()?;
        let outcome = paused.end()?;
        disk.empty()?;
        let ended = resumed(outcome, way, &database)?;
        ready.expect_arrived(way, &database, what).await?;
        drop(database);
        Ok(ended)
    }

    async fn twice(&self, ready: &Ready, way: Way) -> Result<(Way, Database, String)> {
        let (database, command) = ready.set_out(way)?;
        let paused = Paused::at(command, &self.beginning()).await?;
        ensure!(paused.there, "it does not come to {}", self.beginning());
        for second in [ready.go(way, &database), go_on(way, &database)] {
            second.run()?.expect_code(3)?;
        }
        paused.end()?.expect_code(0)?;
        go_on(way, &database).succeed()?;
        if way == Way::There {
            ready.run(&database).run()?.expect_code(3)?;
        }
        Ok((
            way,
            database,
            "the second was refused, the third found it done".to_owned(),
        ))
    }
}

/// It went on by itself, or stopped so that it can be resumed.
fn resumed(outcome: Outcome, way: Way, database: &Database) -> Result<String> {
    if outcome.code == Some(0) {
        return Ok("went on by itself".to_owned());
    }
    let outcome = outcome.expect_code(1)?;
    ensure!(outcome.stderr.contains("upshift"), "{}", outcome.stderr);
    go_on(way, database).succeed()?;
    Ok("stopped and was resumed".to_owned())
}

async fn redo(ready: &Ready, what: &str) -> Result<(Way, Database, String)> {
    let database = ready.prepared.copy()?;
    for round in 0..2 {
        for _ in 0..2 {
            Upshift::on(&database, ["rollback", "--to", "first"]).succeed()?;
        }
        Upshift::on(&database, ["resume"]).succeed()?;
        let what = format!("{what}, round {round}");
        ready.expect(&database, &ready.end, &what).await?;
    }
    Ok((Way::There, database, "twice".to_owned()))
}

async fn anew(ready: &Ready, what: &str) -> Result<(Way, Database, String)> {
    let database = ready.prepared.copy()?;
    for _ in 0..2 {
        Upshift::on(&database, ["rollback"]).succeed()?;
        ready.expect(&database, &ready.original, what).await?;
    }
    ready.run(&database).argument("--commit").succeed()?;
    Ok((Way::Commit, database, "committed".to_owned()))
}

async fn no_way_back(ready: &Ready, what: &str) -> Result<(Way, Database, String)> {
    let database = ready.prepared.copy()?;
    for to in [&[][..], &["--to", "first"]] {
        let refused = Upshift::on(&database, ["rollback"]).arguments(to).run()?;
        refused.expect_code(3)?;
        ready.expect(&database, &ready.end, what).await?;
    }
    Upshift::on(&database, ["commit"]).succeed()?;
    Ok((Way::Commit, database, "refused".to_owned()))
}
