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
        self, Holder,
        event::Draft,
        options::{RunOptions, Verify},
        run::{Change, RunState},
    },
    pg::PgConnection,
    plan::{Plan, Rates, UndoKind, WayBack},
};

use super::{
    Failure, bad_data,
    compiling::{self, PackArguments, stored},
    driving::{self, Driving, DrivingArguments},
    group::{self, GroupArguments},
    host::Host,
    ordering::OrderingArguments,
    snapshotting::{self, SnapshotArgument},
};
use crate::{driver::Ended, figures, progress::Ending, verification::cost};

/// `upshift run PACK`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pack: PackArguments,
    #[command(flatten)]
    group: GroupArguments,
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

    /// As the coordinator of a cluster takes them from an operator: for one database, which it knows by
    /// name; nobody is asked.
    pub(super) fn of_operator(mut self, database: &str, host: Host) -> Result<Self, Failure> {
        if self.group.group.is_some() {
            return Err(Failure::usage(
                "--group is not for a cluster: a group of databases is driven by one process",
            ));
        }
        self.refuse_values()?;
        self.driving.of_coordinator(database, host)?;
        self.yes = true;
        Ok(self)
    }

    /// What a coordinator says of a run is in its store and log: no values of rows.
    pub(super) fn refuse_values(&self) -> Result<(), Failure> {
        if self.ordering.bad_data.shows_values() {
            return Err(Failure::usage(
                "--show-values is not for a cluster: what a coordinator says of a run is in its store and log",
            ));
        }
        Ok(())
    }

    /// As a fleet takes them: for whatever database of it is at hand, driven among the others.
    pub(super) fn of_fleet(mut self, host: Host) -> Result<Self, Failure> {
        if self.group.group.is_some() || self.commit {
            return Err(Failure::usage(
                "--group and --commit are not for a fleet: when it is committed, commit in its file says",
            ));
        }
        self.driving.of_coordinator("", host)?;
        self.yes = true;
        Ok(self)
    }

    /// What the pack is compiled with.
    pub(super) fn pack(&self) -> &PackArguments {
        &self.pack
    }

    /// What the run keeps.
    pub(super) fn ordering(&self) -> &OrderingArguments {
        &self.ordering
    }

    /// How it is driven, and whether it is committed then.
    pub(super) fn driven(&self) -> (&DrivingArguments, bool) {
        (&self.driving, self.commit)
    }
}

pub(super) async fn run(arguments: Arguments, config: Option<&Path>) -> Result<(), Failure> {
    if let Some(file) = &arguments.group.group {
        return run_group(file, &arguments, config).await;
    }
    let told = |text: &str| {
        if !arguments.driving.json {
            eprintln!("{text}");
        }
    };
    let run = RunId::generate();
    let Some(begun) = begin(&arguments, config, run, told).await? else {
        return Ok(());
    };
    let after = begun.driving.after(run);
    let ended = begun.drive((&arguments.driving, config)).await?;
    after.outcome(&ended)?;
    if arguments.commit && ended.ending == Ending::Prepared {
        super::commit::commit_run(&arguments.driving, config, run).await?;
    }
    Ok(())
}

/// A run that is compiled, stored and `running`, and that nobody drives yet.
pub(super) struct Begun {
    driving: Driving,
    holder: Holder,
    plan: Arc<Plan>,
}

impl Begun {
    /// The session that holds its database.
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        &mut self.driving.conn
    }

    /// Drives it to `prepared`.
    pub(super) async fn drive(self, called: snapshotting::Called<'_>) -> Result<Ended, Failure> {
        let job = (self.holder, self.plan);
        snapshotting::forward(self.driving, called, job, false).await
    }

    /// Leaves it to whoever drives it next.
    pub(super) async fn leave(self) {
        self.driving.close().await;
    }
}

/// Compiles a pack for a database and stores the run; `None` where there is nothing to do. `told` gets what
/// is about to be done.
pub(super) async fn begin(
    arguments: &Arguments,
    config: Option<&Path>,
    run: RunId,
    told: impl Fn(&str),
) -> Result<Option<Begun>, Failure> {
    let pack = compiling::load(&arguments.pack.pack)?;
    let mut driving = Driving::open(&arguments.driving, config).await?;
    let hint = driving.chosen.hint.clone();
    refuse_unfinished(&mut driving.conn, &hint).await?;
    let sources = compiling::read(&mut driving.conn, pack, &arguments.pack).await?;
    let run_options = arguments.ordering.options(&driving.chosen.config.run);
    let mut options = sources.options(&arguments.pack);
    let remark = bad_data::heed(&run_options, &mut options)?;
    let stored = stored::text(&sources, &options)?;
    let settings = driving.chosen.config.snapshot.clone();
    let wanted = arguments.pack.snapshot;
    options.snapshot = snapshotting::request(&mut driving.conn, wanted, &settings).await?;
    // It may take seconds, and others work in the same process.
    let mut plan = tokio::task::block_in_place(|| compiling::compile(sources, &options))?;
    plan.warnings.extend(remark);
    let plan = Arc::new(plan);
    told(&summary(&plan));
    let verified = verification(&plan, &options.rates, run_options.verify);
    verified.iter().for_each(|line| told(line));
    if plan.tasks.is_empty() {
        driving.close().await;
        return Ok(None);
    }
    snapshotting::refuse_impossible(&mut driving, &plan).await?;
    if !arguments.yes && !arguments.driving.json {
        ask(&plan, arguments.commit)?;
    }
    let ordered = (&run_options, stored.as_str(), arguments.commit);
    let holder = store(&mut driving, &plan, run, ordered).await?;
    Ok(Some(Begun {
        driving,
        holder,
        plan,
    }))
}

/// The same with a plan that is at hand, of a database that is locked.
pub(super) async fn begin_with(
    mut driving: Driving,
    plan: Plan,
    run: RunId,
    (options, stored, commit): (&RunOptions, &str, bool),
) -> Result<Begun, Failure> {
    snapshotting::refuse_impossible(&mut driving, &plan).await?;
    let plan = Arc::new(plan);
    let holder = store(&mut driving, &plan, run, (options, stored, commit)).await?;
    Ok(Begun {
        driving,
        holder,
        plan,
    })
}

async fn run_group(
    file: &Path,
    arguments: &Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if arguments
        .pack
        .snapshot
        .is_some_and(|kind| kind != SnapshotArgument::None)
    {
        return Err(Failure::usage(
            "--snapshot is for one database: with --group everything has to have a way back of its own"
                .to_owned(),
        ));
    }
    let order = group::run::Order {
        pack: &arguments.pack,
        driving: &arguments.driving,
        ordering: &arguments.ordering,
        commit: arguments.commit,
        yes: arguments.yes,
    };
    Box::pin(group::run::run(file, order, config)).await
}

/// Stores the run, and makes it `running`.
async fn store(
    driving: &mut Driving,
    plan: &Plan,
    run: RunId,
    (options, stored, commit): (&RunOptions, &str, bool),
) -> Result<Holder, Failure> {
    let conn = &mut driving.conn;
    ledger::create(conn).await?;
    let version = env!("CARGO_PKG_VERSION");
    ledger::run::insert_with(conn, run, plan, version, options).await?;
    ledger::source::store(conn, run, stored).await?;
    let holder = driving.take_over(run).await?;
    let conn = &mut driving.conn;
    ledger::event::append(conn, holder, &submitted(plan, commit)).await?;
    ledger::run::change_state(conn, holder, RunState::Running, Change::default()).await?;
    Ok(holder)
}

/// For the event log: what was asked for.
pub(super) fn submitted(plan: &Plan, commit: bool) -> Draft {
    Draft::new(
        "run_submitted",
        serde_json::json!({
            "pack": plan.pack,
            "target_version": plan.target_version,
            "strategy": plan.strategy,
            "modules": plan.modules.len(),
            "tasks": plan.tasks.len(),
            "commit": commit,
            "upshift_version": env!("CARGO_PKG_VERSION"),
        }),
    )
}

/// One run at a time: what an earlier one left has to be dealt with first.
pub(super) async fn refuse_unfinished(conn: &mut PgConnection, hint: &str) -> Result<(), Failure> {
    if !ledger::exists(conn).await? {
        return Ok(());
    }
    for row in ledger::run::list(conn).await? {
        if let Some(message) = driving::in_the_way(conn, &row, hint).await? {
            return Err(Failure::refused(message));
        }
    }
    Ok(())
}

/// One paragraph: what is about to be done.
pub(super) fn summary(plan: &Plan) -> String {
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

/// What is verified, and what that and more of it would cost.
pub(super) fn verification(plan: &Plan, rates: &Rates, verify: Verify) -> Option<String> {
    if plan.tasks.is_empty() {
        return None;
    }
    let cost = |verify| figures::estimated(cost::seconds(plan, rates, verify));
    Some(format!(
        "verification: {}; on one worker, counts are {}, full is {}",
        verify.name(),
        cost(Verify::Counts),
        cost(Verify::Full)
    ))
}

/// On a terminal, what cannot be taken back is asked about. In a pipe nobody could answer.
pub(super) fn ask(plan: &Plan, commit: bool) -> Result<(), Failure> {
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
    confirmed(&format!("{what}; go on?"))
}

/// Asks on the terminal.
pub(super) fn confirmed(question: &str) -> Result<(), Failure> {
    eprint!("{question} [y/N] ");
    let _unflushed = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::refused("not confirmed; nothing was done"))
    }
}
