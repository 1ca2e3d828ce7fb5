//! The plan as a tree: what `upshift plan` prints. It says what will happen, why so, how long it
//! takes, and above all how to come back.

use upshift_shared::{
    ids::TaskId,
    plan::{
        DdlEffect, Operator, Plan, PlannedCheckpoint, PlannedModule, Strategy, Task, UndoKind,
        WayBack,
    },
};

use super::{
    by_module, snapshots, strategy,
    text::{cut, items, list, printable, width, wrap},
    undo,
};
use crate::figures::{count, counted, estimated};

/// Narrower than this, lines are not cut any further: let the terminal break them.
const NARROWEST: usize = 60;
/// Seconds that the engine aims at for a unit.
const UNIT_SECONDS: f64 = 2.0;
/// So many dependencies of a task are named.
const NAMED: usize = 4;

/// Renders a plan for a terminal of that width.
#[must_use]
pub fn tree(plan: &Plan, width: usize) -> String {
    let most = width.max(NARROWEST);
    let mut out = heading(plan);
    let layout = Layout::of(plan, most);
    let depends = dependencies(plan);
    for (place, (module, tasks)) in (0_u32..).zip(by_module(plan)) {
        out.push('\n');
        let ends = (plan.strategy != Strategy::Sequential).then(|| {
            let named = (0_u32..).zip(&plan.checkpoints);
            named
                .filter(|(_, one)| one.module == place && one.source.is_some())
                .collect::<Vec<_>>()
        });
        let ends = ends.as_deref();
        push_module(&mut out, (module, &tasks), ends, &layout, &depends);
    }
    let warnings = plan.warnings.iter().map(|warning| match &warning.source {
        Some(source) => printable(&format!("{} ({source})", warning.message)),
        None => printable(&warning.message),
    });
    items(&mut out, "Warnings", warnings, most);
    let skipped = plan
        .skipped
        .iter()
        .map(|s| printable(&format!("{}: {}", s.source, s.why)));
    items(&mut out, "Steps that will not run", skipped, most);
    items(&mut out, "What will happen", what_will_happen(plan), most);
    let back = way_back(plan).into_iter().chain(snapshots::way_back(plan));
    items(&mut out, "The way back", back, most);
    out.push('\n');
    for line in wrap(&summary(plan), most) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn heading(plan: &Plan) -> String {
    let version = plan.server_version;
    let target = match &plan.target_version {
        Some(target) => format!(" to version {target}"),
        None => String::new(),
    };
    format!(
        "Plan: pack {}{target} on database {} (PostgreSQL {}.{}), order {}\n",
        printable(&plan.pack),
        printable(&plan.database),
        version / 10_000,
        version % 10_000,
        strategy(plan.strategy),
    )
}

/// Columns of the tree.
struct Layout {
    most: usize,
    id: usize,
    operator: usize,
    time: usize,
}

impl Layout {
    fn of(plan: &Plan, most: usize) -> Self {
        let widest = |f: &dyn Fn(&Task) -> usize| plan.tasks.iter().map(f).max().unwrap_or(0);
        Self {
            most,
            id: widest(&|t| width(&t.id.to_string())),
            operator: widest(&|t| width(t.operator.name())),
            time: widest(&|t| width(&estimated(t.seconds))),
        }
    }

    /// Where a task's label begins, behind `  ├─ `, number and operator.
    fn indent(&self) -> usize {
        self.id + self.operator + 4
    }
}

/// For each task the tasks before it, from the plan's edges.
fn dependencies(plan: &Plan) -> Vec<Vec<TaskId>> {
    let mut depends = vec![Vec::new(); plan.tasks.len()];
    for edge in &plan.edges {
        if let Some(before) = depends.get_mut(edge.to.0 as usize) {
            before.push(edge.from);
        }
    }
    for before in &mut depends {
        before.sort_unstable();
        before.dedup();
    }
    depends
}

fn push_module(
    out: &mut String,
    (module, tasks): (&PlannedModule, &[&Task]),
    named: Option<&[(u32, &PlannedCheckpoint)]>,
    layout: &Layout,
    depends: &[Vec<TaskId>],
) {
    let title = format!(
        "{}  {} → {}",
        printable(&module.name),
        module.from,
        module.to
    );
    let total = if tasks.is_empty() {
        "no tasks".to_owned()
    } else {
        let time = estimated(tasks.iter().map(|t| t.seconds).sum());
        format!("{}, {time}", counted(tasks.len() as u64, "task"))
    };
    out.push_str(&apart(&title, &total, layout.most));
    if !module.depends.is_empty() {
        let names: Vec<String> = module.depends.iter().map(|d| printable(d)).collect();
        let text = format!("depends on {}", list(&names, 12));
        for line in wrap(&text, layout.most - 4) {
            out.push_str(&format!("  │ {line}\n"));
        }
    }
    let mut pending = named.unwrap_or_default().iter().peekable();
    for (i, task) in tasks.iter().enumerate() {
        while let Some((_, one)) = pending.next_if(|(place, _)| *place < task.checkpoint) {
            push_named(out, one);
        }
        let last = named.is_none() && i + 1 == tasks.len();
        push_task(out, task, last, layout, &depends[task.id.0 as usize]);
    }
    pending.for_each(|(_, one)| push_named(out, one));
    if named.is_some() {
        let end = match &module.joined_with {
            None => format!("checkpoint {}", printable(&module.name)),
            Some(with) => format!(
                "no checkpoint here: a pass has statements of modules up to this one and of {}",
                printable(with)
            ),
        };
        out.push_str(&format!("  └─ {end}\n"));
    }
}

/// A checkpoint that the pack names.
fn push_named(out: &mut String, checkpoint: &PlannedCheckpoint) {
    let name = printable(&checkpoint.name);
    let line = match &checkpoint.joined_with {
        None => format!("checkpoint {name}"),
        Some(with) => format!(
            "no checkpoint {name}: a pass has statements from before it and from before {}",
            printable(with)
        ),
    };
    out.push_str(&format!("  ├─ {line}\n"));
}

fn push_task(out: &mut String, task: &Task, last: bool, layout: &Layout, depends: &[TaskId]) {
    let (branch, stem) = if last {
        ("└─", "  ")
    } else {
        ("├─", "│ ")
    };
    let time = estimated(task.seconds);
    let label_most = layout
        .most
        .saturating_sub(layout.indent() + 5 + layout.time + 2);
    let line = format!(
        "  {branch} {:<id$}  {:<operator$}  {}",
        task.id.to_string(),
        task.operator.name(),
        cut(&printable(&task.label), label_most),
        id = layout.id,
        operator = layout.operator,
    );
    out.push_str(&apart(&line, &time, layout.most));
    let mut facts = vec![amount(task), format!("undo: {}", undo(&task.undo))];
    facts.retain(|fact| !fact.is_empty());
    if !depends.is_empty() {
        let names: Vec<String> = depends.iter().map(ToString::to_string).collect();
        facts.push(format!("after {}", list(&names, NAMED)));
    }
    let sources: Vec<String> = task
        .sources
        .iter()
        .map(|s| format!("{}:{}", printable(&s.file.display().to_string()), s.line))
        .collect();
    let first_of_pass = matches!(&task.operator, Operator::Shadow(op) if op.pass == task.id);
    let sources = match &task.operator {
        // The pass's first task names them all.
        Operator::Shadow(_) if !first_of_pass => String::new(),
        Operator::Shadow(_) => list(&sources, usize::MAX),
        _ => list(&sources, NAMED),
    };
    let notes = task.notes.iter().map(|note| printable(note));
    for text in [facts.join(" · "), printable(&task.why), sources]
        .into_iter()
        .chain(notes)
    {
        for line in wrap(&text, layout.most.saturating_sub(layout.indent() + 5)) {
            let indent = " ".repeat(layout.indent());
            out.push_str(&format!("  {stem} {indent}{line}\n"));
        }
    }
}

/// Rows and units. Empty for what has neither.
fn amount(task: &Task) -> String {
    let units = match (&task.operator, task.operator.cut()) {
        (_, Some(_)) if task.rows == 0 => "units as they come".to_owned(),
        (_, Some(_)) => {
            let units = (task.seconds / UNIT_SECONDS).ceil().max(1.0) as u64;
            format!("about {}", counted(units, "unit"))
        }
        (Operator::Metadata(op), None) => match op.actions.len() {
            0 | 1 => String::new(),
            actions => format!("{actions} pieces of DDL in one transaction"),
        },
        (_, None) => "1 unit".to_owned(),
    };
    let rows = match (&task.operator, task.rows) {
        (Operator::Metadata(_) | Operator::Exec(_) | Operator::Check(_), _) | (_, 0) => {
            return units;
        }
        (_, rows) => format!("about {}", counted(rows, "row")),
    };
    format!("{rows}, {units}")
}

/// Left and right on one line.
fn apart(left: &str, right: &str, most: usize) -> String {
    let gap = most.saturating_sub(width(left) + width(right)).max(2);
    format!("{left}{}{right}\n", " ".repeat(gap))
}

fn what_will_happen(plan: &Plan) -> Vec<String> {
    if plan.tasks.is_empty() {
        let only = "no statement runs; only the recorded versions of the modules change";
        return vec![only.to_owned()];
    }
    let rows = plan
        .tasks
        .iter()
        .filter(|t| writes_rows(t))
        .map(|t| t.rows)
        .sum();
    let total: f64 = plan.tasks.iter().map(|t| t.seconds).sum();
    let mut said = vec![format!(
        "{} in {}, changing {}",
        counted(plan.tasks.len() as u64, "task"),
        counted(plan.modules.len() as u64, "module"),
        match rows {
            0 => "definitions, not rows".to_owned(),
            _ => format!("about {}", counted(rows, "row")),
        },
    )];
    said.push(if plan.strategy == Strategy::Sequential {
        format!("{}, one statement after another", estimated(total))
    } else {
        format!(
            "{} on one worker; the longest chain of tasks that wait for each other and cannot be cut \
             takes {} however many workers there are",
            estimated(total),
            estimated(longest_chain(plan)),
        )
    });
    let hidden = plan.tasks.iter().map(hides).sum::<usize>() as u64;
    if hidden > 0 {
        said.push(format!(
            "{} only hidden for now; commit destroys what is hidden",
            match hidden {
                1 => "1 dropped object is".to_owned(),
                _ => format!("{} dropped objects are", count(hidden)),
            },
        ));
    }
    let programs = plan
        .tasks
        .iter()
        .filter(|t| matches!(t.operator, Operator::Exec(_)))
        .count();
    if programs > 0 {
        let programs = counted(programs as u64, "external program");
        said.push(format!("{programs} run with the database as argument"));
    }
    said.extend(snapshots::what_will_happen(plan));
    said.push("nothing has been changed yet: a plan only reads".to_owned());
    said
}

fn writes_rows(task: &Task) -> bool {
    matches!(
        task.operator,
        Operator::InPlace(_)
            | Operator::Transform(_)
            | Operator::Append(_)
            | Operator::Statement(_)
            | Operator::Shadow(_)
    )
}

fn hides(task: &Task) -> usize {
    match &task.operator {
        Operator::Metadata(op) => {
            let hidden = op
                .actions
                .iter()
                .filter(|a| matches!(a.effect, DdlEffect::Hide(_)));
            hidden.count()
        }
        _ => 0,
    }
}

/// Seconds of the longest chain of tasks when a task that is cut takes no time at all.
fn longest_chain(plan: &Plan) -> f64 {
    let mut ends = vec![0.0_f64; plan.tasks.len()];
    let mut edges = plan.edges.iter().collect::<Vec<_>>();
    // Tasks stand after those that they depend on.
    edges.sort_unstable_by_key(|edge| edge.to);
    let mut edges = edges.into_iter().peekable();
    for (i, task) in plan.tasks.iter().enumerate() {
        let mut begin = 0.0_f64;
        while let Some(edge) = edges.next_if(|edge| edge.to.0 as usize <= i) {
            begin = begin.max(ends.get(edge.from.0 as usize).copied().unwrap_or(0.0));
        }
        let own = if task.operator.cut().is_some() {
            task.seconds.min(UNIT_SECONDS)
        } else {
            task.seconds
        };
        ends[i] = begin + own;
    }
    ends.into_iter().fold(0.0, f64::max)
}

fn way_back(plan: &Plan) -> Vec<String> {
    match &plan.way_back {
        WayBack::None => vec![
            "there is none: --strategy sequential keeps nothing; back the database up first, or \
             plan without it"
                .to_owned(),
        ],
        WayBack::Whole if plan.strategy == Strategy::Sequential => {
            vec!["to the start only: until commit, `upshift rollback` restores the snapshot".to_owned()]
        }
        WayBack::Whole => vec![
            "whole: until commit, `upshift rollback` brings the database back to how it is now, and \
             `upshift rollback --to CHECKPOINT` to the end of any module above"
                .to_owned(),
            "`upshift commit` closes it: what was kept for it is dropped, what was hidden is \
             destroyed"
                .to_owned(),
        ],
        WayBack::After { module, tasks } => {
            let tasks = tasks.iter().filter_map(|id| plan.tasks.get(id.0 as usize));
            let named: Vec<String> = tasks.map(irreversible).collect();
            vec![
                format!(
                    "NOT to the start: until commit, `upshift rollback --to CHECKPOINT` reaches back \
                     to checkpoint {} and those after it, no further",
                    printable(module),
                ),
                format!("irreversible: {}", list(&named, 20)),
                "have a backup that you have tried to restore, or give these steps an undo".to_owned(),
            ]
        }
    }
}

fn irreversible(task: &Task) -> String {
    let label = cut(&printable(&task.label), 60);
    match task.sources.first() {
        Some(s) => {
            let file = s.file.display().to_string();
            format!("{} {label} ({}:{})", task.id, printable(&file), s.line)
        }
        None => format!("{} {label}", task.id),
    }
}

/// The last line: what an operator reads when nothing else.
fn summary(plan: &Plan) -> String {
    let total: f64 = plan.tasks.iter().map(|t| t.seconds).sum();
    let back = match &plan.way_back {
        WayBack::Whole => "can be taken back until commit".to_owned(),
        WayBack::After { module, .. } => {
            format!("can be taken back to checkpoint {} only", printable(module))
        }
        WayBack::None => "CANNOT be taken back".to_owned(),
    };
    let irreversible = match plan.way_back {
        WayBack::None => 0,
        _ => plan
            .tasks
            .iter()
            .filter(|t| t.undo == UndoKind::Irreversible)
            .count(),
    };
    let mut parts = vec![
        counted(plan.modules.len() as u64, "module"),
        counted(plan.tasks.len() as u64, "task"),
    ];
    if irreversible > 0 {
        parts.push(format!(
            "{} of them irreversible",
            count(irreversible as u64)
        ));
    }
    if !plan.skipped.is_empty() {
        parts.push(format!(
            "{} skipped",
            counted(plan.skipped.len() as u64, "step")
        ));
    }
    if !plan.warnings.is_empty() {
        parts.push(counted(plan.warnings.len() as u64, "warning"));
    }
    parts.push(format!("{} of work", estimated(total)));
    format!("Plan: {}; {back}.", parts.join(", "))
}
