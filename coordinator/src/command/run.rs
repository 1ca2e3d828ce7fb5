//! `upshift run`: compiles a pack for a database and drives the plan to `prepared`, or `committed`.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    sync::Arc,
};

use clap::Args;
use upshift_shared::{
    ids::RunId,
    ledger::{
        self,
        run::{Change, RunState},
    },
    plan::{Plan, UndoKind, WayBack},
};

use super::{
    Failure,
    compiling::{self, PackArguments},
    driving::{self, After, Driving, DrivingArguments},
    ordering::OrderingArguments,
    snapshotting,
};
use crate::{compile::Options, figures, progress::Ending};

/// `upshift run PACK`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    driving: DrivingArguments,
    #[command(flatten)]
    ordering: OrderingArguments,
    /// Commit when everything is done: there is no way back then
    #[arg(long)]
    commit: bool,
    /// Do not ask, even where something in the plan cannot be taken back
    #[arg(long, short)]
    yes: bool,
}

impl Arguments {
    pub(super) fn json(&self) -> bool {
        self.driving.json
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    let pack = compiling::load(&arguments.pack.pack)?;
    let mut driving = Driving::open(&arguments.driving, config).await?;
    let hint = driving.chosen.hint.clone();
    refuse_unfinished(&mut driving, &hint).await?;
    let sources = compiling::read(&mut driving.conn, pack).await?;
    let settings = driving.chosen.config.snapshot.clone();
    let wanted = arguments.pack.snapshot;
    let options = Options {
        snapshot: snapshotting::request(&mut driving.conn, wanted, &settings).await?,
        ..sources.options(&arguments.pack)
    };
    let plan = Arc::new(compiling::compile(sources, &options)?);
    if !arguments.driving.json {
        eprintln!("{}", summary(&plan));
    }
    if plan.tasks.is_empty() {
        driving.close().await;
        return Ok(());
    }
    snapshotting::refuse_impossible(&mut driving, &plan).await?;
    if !arguments.yes && !arguments.driving.json {
        ask(&plan, arguments.commit)?;
    }

    let run = RunId::generate();
    ledger::create(&mut driving.conn).await?;
    ledger::run::insert(&mut driving.conn, run, &plan, env!("CARGO_PKG_VERSION")).await?;
    ledger::options::store(&mut driving.conn, run, &arguments.ordering.options()).await?;
    let holder = driving.take_over(run).await?;
    ledger::run::change_state(
        &mut driving.conn,
        holder,
        RunState::Running,
        Change::default(),
    )
    .await?;
    let after = After { run, hint };
    let called = (&arguments.driving, config);
    let ended = snapshotting::forward(driving, called, (holder, plan), false).await?;
    after.outcome(&ended)?;
    if arguments.commit && ended.ending == Ending::Prepared {
        super::commit::commit_run(&arguments.driving, config, run).await?;
    }
    Ok(())
}

/// One run at a time: what an earlier one left has to be dealt with first.
async fn refuse_unfinished(driving: &mut Driving, hint: &str) -> Result<(), Failure> {
    if !ledger::exists(&mut driving.conn).await? {
        return Ok(());
    }
    for row in ledger::run::list(&mut driving.conn).await? {
        if let Some(message) = driving::in_the_way(&mut driving.conn, &row, hint).await? {
            return Err(Failure::refused(message));
        }
    }
    Ok(())
}

/// One paragraph: what is about to be done.
fn summary(plan: &Plan) -> String {
    if plan.tasks.is_empty() {
        return format!(
            "nothing to do: database {} is where pack {} leads to",
            plan.database, plan.pack
        );
    }
    let rows: u64 = plan.tasks.iter().map(|task| task.rows).sum();
    let seconds: f64 = plan.tasks.iter().map(|task| task.seconds).sum();
    let mut text = format!(
        "pack {} on database {}: {} in {}, about {}, {} on one worker",
        plan.pack,
        plan.database,
        figures::counted(plan.tasks.len() as u64, "task"),
        figures::counted(plan.modules.len() as u64, "module"),
        figures::counted(rows, "row"),
        figures::estimated(seconds)
    );
    let way_back = match &plan.way_back {
        WayBack::Whole => "can be taken back whole until commit".to_owned(),
        WayBack::After { module, .. } => format!("can be taken back to the checkpoint of {module}"),
        WayBack::None => "nothing is kept: it cannot be taken back".to_owned(),
    };
    text.push_str("; ");
    text.push_str(&way_back);
    for warning in &plan.warnings {
        let place = warning.source.as_ref().map(|source| format!("{source}: "));
        text.push_str(&format!(
            "\nwarning: {}{}",
            place.unwrap_or_default(),
            warning.message
        ));
    }
    text
}

/// On a terminal, what cannot be taken back is asked about. In a pipe nobody could answer.
fn ask(plan: &Plan, commit: bool) -> Result<(), Failure> {
    let irreversible = plan
        .tasks
        .iter()
        .filter(|task| task.undo == UndoKind::Irreversible && plan.snapshots.is_empty())
        .count();
    if (irreversible == 0 && !commit) || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let what = if commit {
        "this will be committed at once".to_owned()
    } else {
        format!(
            "{} cannot be taken back",
            figures::counted(irreversible as u64, "task")
        )
    };
    eprint!("{what}; go on? [y/N] ");
    let _unflushed = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::refused("not confirmed; nothing was done"))
    }
}
