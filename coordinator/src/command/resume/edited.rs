//! `resume --pack`: what was edited is shown, what has begun and was edited is taken back, the plan for
//! the edited pack takes the place of the run's, and the run goes on.
//!
//! Killed anywhere, the run goes on by the plan that the ledger has, with or without `--pack`: taking
//! back leaves tasks that can be done again as they were planned, and the plan is replaced in one
//! transaction.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, IsTerminal},
    path::Path,
    sync::Arc,
};

use upshift_shared::{
    ids::TaskId,
    ledger::{
        self,
        checkpoint::Checkpoint,
        run::{RunRow, RunState},
        task::{TaskRow, TaskState},
    },
    pack::Pack,
    plan::{Plan, UndoKind},
};
use upshift_worker::failpoint;

use super::{Arguments, go_forward, refuse_ended};
use crate::{
    command::{
        Failure,
        compiling::{self, stored::Stored},
        database::{print_line, shell_quoted},
        driving::{After, Driving},
        run::confirmed,
    },
    compile::edit::{self, Change, Decision, Edited, Refusal, Standing},
    driver::{Aim, checkpoints, rollback},
    figures::counted,
};

/// So many edits are listed.
const LISTED: usize = 40;

pub(super) async fn resume(
    arguments: &Arguments,
    folder: &Path,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let pack = compiling::load(folder)?;
    let (mut asked, mut driven) = (false, false);
    loop {
        let wanted = arguments.run.as_deref();
        let (mut driving, row, after) =
            Driving::open_run(&arguments.driving, config, wanted).await?;
        if driven {
            driving.has_driven();
        }
        refuse_state(&row, &after, folder)?;
        let edit = Edit::read(&mut driving, &row).await?;
        let decision = edit.decide(&pack)?;
        if !matches!(decision, Decision::Same) && !edit.plan.snapshots.is_empty() {
            return Err(Failure::refused(format!(
                "run {} takes snapshots of the database, whose places were planned with the pack as it was: \
                 an edited one cannot be taken up; take the run back with: {}",
                row.run,
                after.command("rollback")
            )));
        }
        match decision {
            Decision::Same => {
                eprintln!("upshift: the pack says what it said when the run was planned");
                return go_forward(driving, &row, (arguments, config)).await;
            }
            Decision::Refused(refusals) => {
                return Err(edit
                    .refuse(&mut driving, &row, &refusals, (&after, folder))
                    .await?);
            }
            Decision::TakeBack { tasks, changes } => {
                if !asked {
                    let plan = &edit.plan;
                    rollback::refuse_take_back(
                        &mut driving.conn,
                        &row,
                        plan,
                        &tasks,
                        &driving.limits,
                    )
                    .await?;
                    show(arguments, &changes, &taken_back(plan, &tasks));
                    confirm(arguments)?;
                    asked = true;
                }
                driven |= take_back(driving, &row, edit, &tasks, arguments).await?;
                failpoint::reach(failpoint::AFTER_TAKE_BACK);
            }
            Decision::Edited(edited) => {
                if !asked {
                    show(
                        arguments,
                        &edited.changes,
                        &planned_anew(&edit.plan, &edited),
                    );
                    confirm(arguments)?;
                }
                edit.replace(&mut driving, &row, *edited).await?;
                return go_forward(driving, &row, (arguments, config)).await;
            }
        }
    }
}

fn refuse_state(row: &RunRow, after: &After, folder: &Path) -> Result<(), Failure> {
    let again = format!("{} --pack {}", after.command("resume"), quoted(folder));
    match row.state {
        RunState::Prepared => Err(Failure::refused(format!(
            "run {} is prepared: all of its pack has run; to have an edited one go back to a checkpoint \
             first: {} --to CHECKPOINT\nthen: {again}",
            row.run,
            after.command("rollback")
        ))),
        RunState::RollingBack => Err(Failure::refused(format!(
            "run {} is on its way back; first let it get there: {}\nthen: {again}",
            row.run,
            after.command("resume")
        ))),
        _ => refuse_ended(row, after),
    }
}

fn quoted(folder: &Path) -> String {
    shell_quoted(&folder.display().to_string())
}

/// A run, and what its plan was compiled from.
struct Edit {
    plan: Arc<Plan>,
    stored: Stored<'static>,
    rows: HashMap<TaskId, TaskRow>,
}

impl Edit {
    async fn read(driving: &mut Driving, row: &RunRow) -> Result<Self, Failure> {
        let conn = &mut driving.conn;
        let plan = ledger::run::plan(conn, row.run).await?;
        let Some(text) = ledger::source::load(conn, row.run).await? else {
            return Err(Failure::refused(format!(
                "run {} was begun by an upshift that did not store what its plan was compiled from: it \
                 goes on only as it was planned, without --pack",
                row.run
            )));
        };
        Ok(Self {
            plan: Arc::new(plan),
            stored: Stored::parse(&text, row.run)?,
            rows: ledger::task::load(conn, row.run).await?,
        })
    }

    fn decide(&self, pack: &Pack) -> Result<Decision, Failure> {
        let tasks = |wanted: &dyn Fn(TaskState) -> bool| -> BTreeSet<TaskId> {
            let rows = self.rows.values().filter(|row| wanted(row.state));
            rows.map(|row| row.task).collect()
        };
        let (begun, done, recorded) = (
            tasks(&|state| state != TaskState::Undone),
            tasks(&|state| state == TaskState::Done),
            tasks(&|_| true),
        );
        let standing = Standing {
            plan: &self.plan,
            steps: &self.stored.steps,
            begun: &begun,
            done: &done,
            recorded: &recorded,
        };
        let options = self.stored.options();
        Ok(edit::edit(&standing, pack, &self.stored.start(&options))?)
    }

    /// Says why it cannot be, and what can be done.
    async fn refuse(
        &self,
        driving: &mut Driving,
        row: &RunRow,
        refusals: &[Refusal],
        (after, folder): (&After, &Path),
    ) -> Result<Failure, Failure> {
        let mut lines: Vec<String> =
            vec!["the edited pack cannot be taken up as it is:".to_owned()];
        let reasons = refusals.iter().take(LISTED);
        lines.extend(reasons.map(|refusal| format!("  {}", refusal.message)));
        if refusals.len() > LISTED {
            lines.push(format!("  and {} more", refusals.len() - LISTED));
        }
        let points = checkpoints::points(&mut driving.conn, row, &self.plan).await?;
        let tasks: Vec<TaskId> = refusals.iter().map(|refusal| refusal.task).collect();
        match checkpoints::before(&points, &self.plan, &tasks) {
            Some(point) => {
                let to = point.name.as_ref();
                let to = to.map(|name| format!(" --to {}", shell_quoted(name)));
                let back = after.command("rollback");
                match to {
                    Some(to) => lines.push(format!(
                        "go back to before that first: {back}{to}\nthen: {} --pack {}",
                        after.command("resume"),
                        quoted(folder)
                    )),
                    None => lines.push(format!(
                        "go back to the start first: {back}\nthen run the edited pack: upshift run {}{}",
                        quoted(folder),
                        after.hint
                    )),
                }
            }
            None => lines.push(
                "and there is no way back to before that: restore what those files were, or a backup"
                    .to_owned(),
            ),
        }
        lines.push("nothing was touched".to_owned());
        Ok(Failure::refused(lines.join("\n")))
    }

    /// The plan for the edited pack takes the place of the run's.
    async fn replace(
        self,
        driving: &mut Driving,
        row: &RunRow,
        edited: Edited,
    ) -> Result<(), Failure> {
        let prepared = ledger::checkpoint::load(&mut driving.conn, row.run).await?;
        let checkpoints = self.still_prepared(&edited.plan, &prepared);
        let mut stored = self.stored;
        stored.steps = edited.steps;
        let holder = driving.take_over(row.run).await?;
        ledger::source::replace_plan(
            &mut driving.conn,
            holder,
            &edited.plan,
            &stored.to_text(),
            &checkpoints,
        )
        .await?;
        failpoint::reach(failpoint::AFTER_NEW_PLAN);
        Ok(())
    }

    /// The checkpoints that were prepared and still are: all that they cover is done.
    fn still_prepared(&self, plan: &Plan, prepared: &[Checkpoint]) -> Vec<Checkpoint> {
        let is_done = |task: TaskId| {
            let state = self.rows.get(&task).map(|row| row.state);
            state == Some(TaskState::Done)
        };
        let open = plan.live().filter(|task| !is_done(task.id));
        let first_open = open.map(|task| task.checkpoint).min().unwrap_or(u32::MAX);
        let covered = (0..first_open).zip(&plan.checkpoints);
        covered
            .filter(|(_, one)| one.joined_with.is_none())
            .filter_map(|(place, one)| {
                let known = prepared.iter().find(|known| known.name == one.name)?;
                Some(Checkpoint {
                    place,
                    ..known.clone()
                })
            })
            .collect()
    }
}

/// Takes tasks back that the edited pack has otherwise; whether the run had to be driven for that.
async fn take_back(
    mut driving: Driving,
    row: &RunRow,
    edit: Edit,
    tasks: &[TaskId],
    arguments: &Arguments,
) -> Result<bool, Failure> {
    let after = driving.after(row.run);
    let holder = driving.take_over(row.run).await?;
    let rebuilt = rollback::begin_take_back(
        &mut driving.conn,
        holder,
        &edit.plan,
        tasks,
        &driving.limits,
    )
    .await?;
    if rebuilt.is_empty() {
        driving.close().await;
        return Ok(false);
    }
    let progress = arguments.driving.progress();
    let ended = driving
        .drive(
            (holder, edit.plan),
            (Aim::TakeBack, rebuilt, false),
            progress,
        )
        .await?;
    after.outcome(&ended)?;
    Ok(true)
}

/// What is taken back first, in words.
fn taken_back(plan: &Plan, tasks: &[TaskId]) -> String {
    let mut lines = vec![format!(
        "{} begun that this is about, or that came after it: taken back first",
        match tasks.len() {
            1 => "1 task has".to_owned(),
            many => format!("{many} tasks have"),
        }
    )];
    let named = tasks.iter().take(LISTED);
    lines.extend(named.map(|task| format!("  {task} ({})", plan.tasks[task.0 as usize].label)));
    if tasks.len() > LISTED {
        lines.push(format!("  and {} more", tasks.len() - LISTED));
    }
    lines.join("\n")
}

/// What becomes of the plan, in words.
fn planned_anew(was: &Plan, edited: &Edited) -> String {
    let plan = &edited.plan;
    let fresh = plan.live().count() - edited.kept;
    let mut text = format!(
        "{} as planned; {} planned anew",
        counted(edited.kept as u64, "task"),
        counted(fresh as u64, "task")
    );
    let irreversible = plan
        .live()
        .filter(|task| task.undo == UndoKind::Irreversible)
        .count();
    let before = was
        .live()
        .filter(|task| task.undo == UndoKind::Irreversible)
        .count();
    if irreversible > before {
        text.push_str(&format!(
            "; {} more than before cannot be taken back",
            counted((irreversible - before) as u64, "task")
        ));
    }
    let new = plan.warnings.iter();
    for warning in new.filter(|warning| !was.warnings.contains(warning)) {
        let place = warning.source.as_ref().map(|source| format!("{source}: "));
        text.push_str(&format!(
            "\nwarning: {}{}",
            place.unwrap_or_default(),
            warning.message
        ));
    }
    text
}

/// Shows what was edited, and what that leads to.
fn show(arguments: &Arguments, changes: &[Change], then: &str) {
    if arguments.driving.json {
        let event = serde_json::json!({"event": "pack_edited", "changes": changes, "then": then});
        print_line(&event.to_string());
        return;
    }
    let mut lines = vec!["what was edited:".to_owned()];
    lines.extend(changes.iter().take(LISTED).map(|change| match change {
        Change::Added { now } => format!("  added {now}"),
        Change::Removed { was } => format!("  removed {was}"),
        Change::Changed { was, now } if was == now => format!("  changed {now}"),
        Change::Changed { was, now } => format!("  changed {now} (was {was})"),
    }));
    if changes.len() > LISTED {
        lines.push(format!("  and {} more", changes.len() - LISTED));
    }
    if changes.is_empty() {
        lines.push("  where steps stand, or what checkpoints are called".to_owned());
    }
    lines.push(then.to_owned());
    eprintln!("{}", lines.join("\n"));
}

/// On a terminal it is asked about. In a pipe nobody could answer.
fn confirm(arguments: &Arguments) -> Result<(), Failure> {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if arguments.yes || arguments.driving.json || !terminal {
        return Ok(());
    }
    confirmed("go on so?")
}
