//! A run of hand-made tasks on a database of its own, driven unit by unit.

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, Result, ensure};
use sqlx::{PgConnection, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;
use upshift_shared::{
    ids::{Epoch, RunId, StepId, TaskId, UnitId},
    ledger::{self, Bounds, Holder, options::RunOptions},
    pack::{Location, Phase, Version},
    pg::Target,
    plan::{
        Capture, DdlAction, DdlEffect, Hide, Metadata, Operator, PLAN_FORMAT, Plan, Sequences,
        Statement, StatementUndo, Strategy, Task, UndoKind, WayBack,
    },
};
use upshift_tests::{compare::Snapshot, harness::Database};
use upshift_worker::{
    prepare,
    unit::{Direction, Timeouts, UnitContext, UnitError, UnitReport, execute},
};

/// A run on a database.
pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) conn: PgConnection,
    pub(crate) holder: Holder,
    pub(crate) target: Target,
    pub(crate) timeouts: Timeouts,
    pub(crate) force: bool,
    pub(crate) options: RunOptions,
    pub(crate) cancel: CancellationToken,
}

impl Rig {
    /// A database filled by `setup`, with a ledger and a run.
    pub(crate) async fn new(setup: &str) -> Result<Self> {
        let database = Database::create()?;
        database.psql(setup)?;
        let options = PgConnectOptions::from_str(&database.url())?;
        let target = Target::new("test", options, None, Vec::new());
        let mut conn = upshift_shared::pg::connect(&target, "upshift test").await?;
        ledger::create(&mut conn).await?;
        ledger::create(&mut conn).await?;
        let run = RunId::generate();
        let options = RunOptions::default();
        ledger::run::insert_with(&mut conn, run, &plan(), "0.0.0", &options).await?;
        let epoch = ledger::fence::raise(&mut conn, run, Duration::from_secs(10)).await?;
        Ok(Self {
            database,
            conn,
            holder: Holder { run, epoch },
            target,
            timeouts: Timeouts {
                lock: Duration::from_secs(5),
                statement: Duration::from_secs(60),
            },
            force: false,
            options: RunOptions::default(),
            cancel: CancellationToken::new(),
        })
    }

    pub(crate) async fn unit(
        &mut self,
        task: &Task,
        (unit, bounds): (u32, &Bounds),
        direction: Direction,
        pinned_now: &str,
    ) -> Result<UnitReport, UnitError> {
        let context = UnitContext {
            holder: self.holder,
            task,
            unit: UnitId(unit),
            direction,
            bounds,
            pinned_now,
            timeouts: self.timeouts,
            attempt: 1,
            target: &self.target,
            cancel: &self.cancel,
            force: self.force,
            units_at_once: 1,
            options: &self.options,
        };
        execute(&mut self.conn, &context).await
    }

    /// Unit 0 of a task that is not cut, prepared before.
    pub(crate) async fn whole(
        &mut self,
        task: &Task,
        direction: Direction,
    ) -> Result<UnitReport, UnitError> {
        let now = self.prepare(task).await.expect("the task is prepared");
        self.unit(task, (0, &Bounds::default()), direction, &now)
            .await
    }

    pub(crate) async fn prepare(&mut self, task: &Task) -> Result<String> {
        Ok(prepare::prepare(&mut self.conn, self.holder, task).await?)
    }

    /// Raises the epoch behind this rig's back; what it was.
    pub(crate) async fn taken_over(&mut self) -> Result<Epoch> {
        let deadline = Duration::from_secs(10);
        Ok(ledger::fence::raise(&mut self.conn, self.holder.run, deadline).await?)
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.database).await
    }
}

/// Tasks with their units' bounds.
pub(crate) type Cuts = Vec<Bounds>;

/// Does and undoes tasks in every order that must not matter, commits, and compares with `psql`.
pub(crate) async fn prove(setup: &str, tasks: &[(Task, Cuts)], psql: &str) -> Result<()> {
    let mut rig = Rig::new(setup).await?;
    let before = rig.snapshot().await?;
    forward(&mut rig, tasks).await.context("doing")?;
    let after = rig.snapshot().await?;
    for again in forward(&mut rig, tasks).await.context("doing again")? {
        ensure!(again.already_done, "a unit was done twice");
    }
    after.expect_same(&rig.snapshot().await?, "doing it twice changed something")?;
    back(&mut rig, tasks).await.context("undoing")?;
    before.expect_same(&rig.snapshot().await?, "undone, it differs from the start")?;
    for again in back(&mut rig, tasks).await.context("undoing again")? {
        ensure!(again.already_done, "a unit was undone twice");
    }
    before.expect_same(&rig.snapshot().await?, "undoing it twice changed something")?;
    for (task, _) in tasks {
        rig.prepare(task).await?;
    }
    forward(&mut rig, tasks).await.context("redoing")?;
    back(&mut rig, tasks)
        .await
        .context("undoing the second time")?;
    before.expect_same(
        &rig.snapshot().await?,
        "undone again, it differs from the start",
    )?;
    for (task, _) in tasks.iter().rev() {
        prepare::clear(&mut rig.conn, rig.holder, task).await?;
        prepare::clear(&mut rig.conn, rig.holder, task).await?;
    }
    let left = rig.database.psql(KEPT)?;
    ensure!(
        left.trim() == "0",
        "{left} kept objects are left after a rollback"
    );
    forward(&mut rig, tasks).await.context("doing it at last")?;
    for _ in 0..2 {
        for (task, _) in tasks {
            rig.whole(task, Direction::Commit)
                .await
                .context("committing")?;
        }
    }
    let left = rig.database.psql(KEPT)?;
    ensure!(
        left.trim() == "0",
        "{left} kept objects are left after a commit"
    );
    let plain = Database::create()?;
    plain.psql(setup)?;
    plain.psql(psql)?;
    Snapshot::take(&plain)
        .await?
        .expect_same(&rig.snapshot().await?, "it differs from what psql does")
}

/// Kept tables and hidden columns.
const KEPT: &str = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'upshift_kept'::regnamespace)
    + (SELECT count(*) FROM pg_attribute WHERE attname LIKE 'upshift\\_kept\\_%' AND NOT attisdropped)
    + (SELECT count(*) FROM upshift.undo) + (SELECT count(*) FROM upshift.deferred)";

async fn forward(rig: &mut Rig, tasks: &[(Task, Cuts)]) -> Result<Vec<UnitReport>> {
    let mut reports = Vec::new();
    for (task, cuts) in tasks {
        let now = rig.prepare(task).await?;
        for (unit, bounds) in (0..).zip(cuts) {
            reports.push(
                rig.unit(task, (unit, bounds), Direction::Do, &now)
                    .await
                    .with_context(|| format!("{} {unit}", task.id))?,
            );
        }
    }
    Ok(reports)
}

async fn back(rig: &mut Rig, tasks: &[(Task, Cuts)]) -> Result<Vec<UnitReport>> {
    let mut reports = Vec::new();
    for (task, cuts) in tasks.iter().rev() {
        for (unit, bounds) in (0..).zip(cuts) {
            reports.push(
                rig.unit(task, (unit, bounds), Direction::Undo, "")
                    .await
                    .with_context(|| format!("{} {unit}", task.id))?,
            );
        }
    }
    Ok(reports)
}

fn plan() -> Plan {
    Plan {
        written: None,
        format: PLAN_FORMAT,
        pack: "test".to_owned(),
        target_version: None,
        database: "test".to_owned(),
        server_version: 150_000,
        strategy: Strategy::default(),
        modules: Vec::new(),
        checkpoints: Vec::new(),
        tasks: Vec::new(),
        edges: Vec::new(),
        skipped: Vec::new(),
        warnings: Vec::new(),
        way_back: WayBack::Whole,
        snapshots: Vec::new(),
    }
}

/// A task.
pub(crate) fn task(id: u32, operator: Operator) -> Task {
    Task {
        id: TaskId(id),
        module: 0,
        version: Version::from_str("1.0").expect("a version"),
        phase: Phase::Pre,
        steps: vec![StepId(id)],
        sources: vec![Location {
            file: PathBuf::from("base/migrations/1.0/pre-test.sql"),
            line: 1,
            column: 1,
        }],
        label: format!("test task {id}"),
        operator,
        why: String::new(),
        rows: 0,
        seconds: 0.0,
        undo: UndoKind::Nothing,
        tables: Vec::new(),
        settings: Vec::new(),
        sequences: Sequences::None,
        pinned_now: false,
        notes: Vec::new(),
        checkpoint: 0,
        superseded: false,
    }
}

/// A task of one unit.
pub(crate) fn one(id: u32, operator: Operator) -> (Task, Cuts) {
    (task(id, operator), vec![Bounds::default()])
}

/// A metadata task of one action.
pub(crate) fn ddl(id: u32, sql: &str, effect: DdlEffect) -> (Task, Cuts) {
    let action = DdlAction {
        sql: sql.to_owned(),
        effect,
    };
    one(
        id,
        Operator::Metadata(Metadata {
            actions: vec![action],
        }),
    )
}

pub(crate) fn captured(id: u32, sql: &str, objects: Vec<Capture>) -> (Task, Cuts) {
    ddl(id, sql, DdlEffect::Capture { objects })
}

pub(crate) fn hidden(id: u32, sql: &str, hide: Hide) -> (Task, Cuts) {
    ddl(id, sql, DdlEffect::Hide(hide))
}

/// A transactional statement.
pub(crate) fn statement(sql: &str, undo: StatementUndo) -> Operator {
    Operator::Statement(Statement {
        sql: sql.to_owned(),
        undo,
        transactional: true,
        recovery: None,
    })
}

/// Without tasks' `{run}`, as one script.
pub(crate) fn scripts(tasks: &[(Task, Cuts)]) -> String {
    let mut script = String::new();
    for (task, _) in tasks {
        if let Operator::Metadata(op) = &task.operator {
            for action in &op.actions {
                script.push_str(&action.sql);
                script.push_str(";\n");
            }
        }
    }
    script
}
