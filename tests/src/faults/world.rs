//! A case, ready to be disturbed: its databases at the start and `prepared`, what they have to look like,
//! and which points its operators pass.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    Case,
    trace::{self, Pass, Way},
};
use crate::{
    compare::Snapshot,
    harness::{Database, Server, Upshift},
};

/// A case with an undisturbed run behind it.
#[derive(Debug)]
pub struct Ready {
    /// The case.
    pub case: &'static Case,
    pack: TempDir,
    /// Before anything.
    pub start: Database,
    /// After an undisturbed run.
    pub prepared: Database,
    /// Of `start`.
    pub original: Snapshot,
    /// Of `prepared`.
    pub end: Snapshot,
    /// After commit.
    pub committed: Snapshot,
    /// What is passed on each way.
    pub passes: BTreeMap<Way, Vec<Pass>>,
    /// Whether its server crashes now and then, which moves sequences.
    crashes: bool,
}

impl Ready {
    /// Runs the case undisturbed, on the shared server or another.
    ///
    /// # Errors
    /// Where not even that goes well, or a kind of the case does nothing.
    pub async fn make(case: &'static Case, server: &'static Server) -> Result<Self> {
        Self::undisturbed(case, server)
            .await
            .with_context(|| format!("{}, undisturbed", case.name))
    }

    async fn undisturbed(case: &'static Case, server: &'static Server) -> Result<Self> {
        let pack = case.pack()?;
        let start = Database::create_on(server)?;
        start.psql(&case.database())?;
        let original = Snapshot::take(&start).await?;
        let traces = TempDir::new()?;
        let mut passes = BTreeMap::new();
        let mut traced = |way: Way, command: Upshift| -> Result<()> {
            let file = traces.path().join(way.to_string());
            let name = file.to_str().context("a path in UTF-8")?;
            command
                .variable("UPSHIFT_FAILPOINT_TRACE", name)
                .succeed()?;
            passes.insert(way, trace::read(&file)?);
            Ok(())
        };
        // A crash moves sequences that were used since the last checkpoint of PostgreSQL.
        start.psql_as_superuser("CHECKPOINT")?;
        let prepared = start.copy()?;
        traced(Way::There, run(case, &pack, &prepared))?;
        prepared.psql_as_superuser("CHECKPOINT")?;
        let end = nameless(Snapshot::take(&prepared).await?);
        if case.reversible {
            let back = prepared.copy()?;
            traced(Way::Back, Upshift::on(&back, ["rollback"]))?;
            let after = Snapshot::take(&back).await?;
            after.expect_same(&original, "rolled back is not the original")?;
        }
        let done = prepared.copy()?;
        traced(Way::Commit, Upshift::on(&done, ["commit"]))?;
        let committed = Snapshot::take(&done).await?;
        ensure!(
            end != original || case.kinds == ["check"],
            "the case changes nothing"
        );
        let ready = Self {
            case,
            pack,
            start,
            prepared,
            original,
            end,
            committed,
            passes,
            crashes: false,
        };
        for kind in case.kinds {
            let works = |pass: &&Pass| pass.kind.as_deref() == Some(*kind);
            ensure!(
                ready.on(Way::There).iter().any(|pass| works(&pass)),
                "{kind} does not occur: {:?}",
                ready.on(Way::There)
            );
        }
        Ok(ready)
    }

    /// On a server that will crash: what that alone does to sequences is no fault.
    #[must_use]
    pub fn that_crashes(self) -> Self {
        Self {
            crashes: true,
            ..self
        }
    }

    /// What is passed on a way.
    #[must_use]
    pub fn on(&self, way: Way) -> &[Pass] {
        self.passes.get(&way).map_or(&[], Vec::as_slice)
    }

    /// `upshift run` of the case's pack.
    #[must_use]
    pub fn run(&self, database: &Database) -> Upshift {
        run(self.case, &self.pack, database)
    }

    /// A database from which one can go that way, and the command that goes.
    ///
    /// # Errors
    /// Where it cannot be copied.
    pub fn set_out(&self, way: Way) -> Result<(Database, Upshift)> {
        let database = match way {
            Way::There => self.start.copy()?,
            Way::Back | Way::Commit => self.prepared.copy()?,
        };
        let command = self.go(way, &database);
        Ok((database, command))
    }

    /// The command that goes that way first.
    #[must_use]
    pub fn go(&self, way: Way, database: &Database) -> Upshift {
        match way {
            Way::There => self.run(database),
            Way::Back => Upshift::on(database, ["rollback"]),
            Way::Commit => Upshift::on(database, ["commit"]),
        }
    }

    /// Whether a database is where that way leads to. On the way there, also back from there.
    ///
    /// # Errors
    /// With what differs.
    pub async fn expect_arrived(&self, way: Way, database: &Database, what: &str) -> Result<()> {
        let expected = match way {
            Way::There => &self.end,
            Way::Back => &self.original,
            Way::Commit => &self.committed,
        };
        self.expect(database, expected, what).await?;
        match way {
            Way::There if self.case.reversible => {
                Upshift::on(database, ["rollback"]).succeed()?;
                let what = format!("{what}, then rolled back");
                self.expect(database, &self.original, &what).await?;
                expect_nothing_kept(database, &what)
            }
            Way::There => Ok(()),
            Way::Back | Way::Commit => expect_nothing_kept(database, what),
        }
    }

    /// Whether a database is as in a snapshot of this case.
    ///
    /// # Errors
    /// With what differs.
    pub async fn expect(&self, database: &Database, expected: &Snapshot, what: &str) -> Result<()> {
        if self.crashes {
            expected.forgive_sequences(database).await?;
        }
        let now = nameless(Snapshot::take(database).await?);
        now.expect_same(expected, what)
    }
}

/// Hidden columns have the run's id in their name, which is another one for each run.
fn nameless(mut snapshot: Snapshot) -> Snapshot {
    const BEFORE: &str = "upshift_kept_";
    const LENGTH: usize = 12;
    let mut parts = snapshot.schema.split(BEFORE);
    let mut schema = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.get(LENGTH..).unwrap_or(part);
        schema.push_str("upshift_kept_…");
        schema.push_str(rest);
    }
    snapshot.schema = schema;
    snapshot
}

fn run(case: &Case, pack: &TempDir, database: &Database) -> Upshift {
    Upshift::on(database, ["run"])
        .argument(pack.path())
        .arguments(&[
            "--workers",
            "2",
            "--unit-rows",
            "25",
            "--passes",
            case.passes,
        ])
        .arguments(case.options)
}

/// The command that goes on after one that came to nothing.
#[must_use]
pub fn go_on(way: Way, database: &Database) -> Upshift {
    let verb = match way {
        Way::There => "resume",
        Way::Back => "rollback",
        Way::Commit => "commit",
    };
    Upshift::on(database, [verb])
}

/// Nothing that was kept or hidden is left.
fn expect_nothing_kept(database: &Database, what: &str) -> Result<()> {
    let left = database.psql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace
         UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'upshift\\_kept\\_%'
         UNION ALL
         SELECT attrelid::regclass || '.' || attname FROM pg_attribute
          WHERE attname LIKE 'upshift\\_kept\\_%' AND NOT attisdropped",
    )?;
    ensure!(left.is_empty(), "{what}: left behind:\n{left}");
    Ok(())
}
