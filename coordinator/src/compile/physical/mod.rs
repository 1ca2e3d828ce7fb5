//! `physical`: from bound and ordered steps to tasks: which operator runs each, in what units, how it
//! is taken back, and what it is expected to cost.

mod append;
mod between;
mod checked;
pub(in crate::compile) mod checkpoint;
mod constant;
mod estimate;
mod in_place;
mod pieces;
mod shadow;
mod statement;
pub(in crate::compile) mod template;
#[cfg(test)]
mod tests;
mod transform;

use std::collections::BTreeMap;

use rayon::prelude::*;
use upshift_shared::{
    ids::TaskId,
    pack::{Complaint, StepKind},
    plan::{
        Check, DdlEffect, Edge, Exec, Metadata, Operator, PLAN_FORMAT, Plan, PlannedCheckpoint,
        PlannedModule, Rates, Strategy, TableUse, Task, UndoKind, Warning, WayBack,
    },
};

use between::Ends;
use checkpoint::Checkpoints;
use pieces::{Piece, Work};

use super::{
    analyse::complain,
    error::CompileError,
    model::{AnalysedStep, Analysis, BoundDdl, Class, Resolved},
    optimise::Optimised,
};

/// Facts about the pack and the database that the plan repeats.
#[derive(Debug, Clone)]
pub struct Heading {
    /// The pack's name.
    pub pack: String,
    /// The version that it leads to.
    pub target_version: Option<upshift_shared::pack::Version>,
    /// The database's own name.
    pub database: String,
    /// `server_version_num`.
    pub server_version: u32,
}

/// The operator of a step, with its undo and the reason for both.
struct Chosen {
    operator: Operator,
    undo: UndoKind,
    why: String,
    pinned_now: bool,
    warning: Option<String>,
}

/// Makes the plan.
///
/// # Errors
/// Complaints about every step that has no way back and is not marked `irreversible`.
pub fn plan(
    heading: Heading,
    resolved: &Resolved,
    analysis: Analysis,
    optimised: &Optimised,
    strategy: Strategy,
) -> Result<Plan, CompileError> {
    let mut warnings = analysis.warnings.clone();
    warnings.extend(optimised.refused.iter().map(|(location, why)| Warning {
        source: Some(location.clone()),
        message: format!("strategy = shadow cannot be: {why}; its rows are changed in place"),
    }));
    let pieces = pieces::pieces(&analysis, optimised, strategy);
    // Each for itself: most of it is parsing and writing out templates.
    let chosen: Vec<_> = pieces
        .par_iter()
        .map(|piece| match &piece.work {
            Work::Step(step) | Work::Parts(step, _) => Some(choose(step, piece.first, strategy)),
            Work::Fill(add, _, fill) => Some(Ok(constant::constant_fill(add, fill))),
            Work::Pass(_) => None,
        })
        .collect();
    let mut made = Made::default();
    for (piece, chosen) in pieces.into_iter().zip(chosen) {
        made.take(piece, chosen, optimised);
    }
    let Made {
        mut tasks,
        mut edges,
        ends,
        complaints,
        warnings: of_steps,
    } = made;
    warnings.extend(of_steps);
    edges.extend(between::edges(&analysis, optimised, &ends));
    if !complaints.is_empty() {
        return Err(CompileError::Complaints(complaints));
    }
    edges.sort_by_key(|edge| (edge.to, edge.from));
    let mut checkpoints = Checkpoints::new(resolved);
    checkpoints.join_fused(&analysis, optimised);
    tasks.iter_mut().for_each(|task| checkpoints.assign(task));
    let checkpoints = checkpoints.into_list();
    let mut plan = Plan {
        format: PLAN_FORMAT,
        pack: heading.pack,
        target_version: heading.target_version,
        database: heading.database,
        server_version: heading.server_version,
        strategy,
        modules: planned_modules(resolved, &checkpoints),
        checkpoints,
        edges,
        tasks,
        skipped: analysis.skipped,
        warnings,
        way_back: WayBack::Whole,
        written: analysis.written,
        snapshots: Vec::new(),
    };
    plan.way_back = way_back(&plan);
    Ok(plan)
}

/// What pieces have become so far.
#[derive(Default)]
struct Made {
    tasks: Vec<Task>,
    edges: Vec<Edge>,
    ends: BTreeMap<u32, Ends>,
    complaints: Vec<Complaint>,
    warnings: Vec<Warning>,
}

impl Made {
    fn take(
        &mut self,
        piece: Piece<'_>,
        chosen: Option<Result<Chosen, Box<Complaint>>>,
        optimised: &Optimised,
    ) {
        let first = TaskId(piece.first);
        let chosen = match chosen {
            Some(Err(complaint)) => return self.complaints.push(*complaint),
            Some(Ok(chosen)) => Some(chosen),
            None => None,
        };
        let ends = match (piece.work, chosen) {
            (Work::Pass(stages), _) => {
                self.tasks.extend(stages.tasks);
                self.edges.extend(stages.edges);
                Ends::Pass {
                    first,
                    swap: stages.swap,
                    last: stages.last,
                    validated: stages.validated,
                    gates: stages.gates,
                }
            }
            (Work::Step(step), Some(chosen)) => {
                self.warnings
                    .extend(chosen.warning.as_ref().map(|message| Warning {
                        source: Some(step.step.location.clone()),
                        message: message.clone(),
                    }));
                self.tasks
                    .push(task(step.clone(), piece.first, chosen, &optimised.rates));
                Ends::Task(first)
            }
            (Work::Parts(step, parts), Some(chosen)) => {
                let whole = task(step.clone(), piece.first, chosen, &optimised.rates);
                let (parts, between) = parts.tasks(&whole, &optimised.rates);
                let last = parts.last().map_or(first, |task| task.id);
                self.tasks.extend(parts);
                self.edges.extend(between);
                Ends::Parts { first, last }
            }
            (Work::Fill(add, update, _), Some(chosen)) => {
                let mut task = task(add.clone(), piece.first, chosen, &optimised.rates);
                task.steps.push(update.step.id);
                task.sources.push(update.step.location.clone());
                task.module = task.module.max(update.step.module);
                self.tasks.push(task);
                Ends::Task(first)
            }
            (Work::Step(_) | Work::Parts(..) | Work::Fill(..), None) => return,
        };
        self.ends.insert(piece.node, ends);
    }
}

pub(in crate::compile) fn planned_modules(
    resolved: &Resolved,
    checkpoints: &[PlannedCheckpoint],
) -> Vec<PlannedModule> {
    let name = |place: &u32| resolved.modules[*place as usize].name.clone();
    let joined = |module: u32| {
        let mut at_end = checkpoints.iter().filter(|one| one.source.is_none());
        at_end.find(|one| one.module == module)?.joined_with.clone()
    };
    let modules = (0_u32..).zip(&resolved.modules);
    modules
        .map(|(place, module)| PlannedModule {
            name: module.name.clone(),
            from: module.from.clone(),
            to: module.to.clone(),
            depends: module.depends.iter().map(name).collect(),
            joined_with: joined(place),
        })
        .collect()
}

/// One can come back to the checkpoint that covers all irreversible tasks, not before.
pub(in crate::compile) fn way_back(plan: &Plan) -> WayBack {
    if plan.strategy == Strategy::Sequential {
        return WayBack::None;
    }
    let irreversible = plan.tasks.iter();
    let irreversible = irreversible.filter(|task| task.undo == UndoKind::Irreversible);
    let last = irreversible.clone().map(|task| task.checkpoint).max();
    match last.and_then(|place| plan.checkpoint_from(place)) {
        Some((_, checkpoint)) => WayBack::After {
            module: checkpoint.name.clone(),
            tasks: irreversible.map(|task| task.id).collect(),
        },
        None => WayBack::Whole,
    }
}

fn task(step: AnalysedStep, number: u32, chosen: Chosen, rates: &Rates) -> Task {
    let AnalysedStep {
        step,
        bound,
        around,
        ..
    } = step;
    let indexes = around.map(|around| around.before.indexes.len());
    let label = step
        .directives
        .label
        .clone()
        .unwrap_or_else(|| label(&step.kind, &bound.class));
    let tables = bound
        .tables
        .iter()
        .map(|(relation, name, write)| TableUse {
            table: name.to_string(),
            relation: relation.0,
            write: *write,
            alone: false,
        })
        .collect();
    let heavy = matches!(&bound.class, Class::Ddl(ddl) if ddl.heavy);
    Task {
        id: TaskId(number),
        module: step.module,
        version: step.version,
        phase: step.phase,
        steps: vec![step.id],
        sources: vec![step.location],
        label,
        seconds: estimate::seconds(&chosen.operator, rates, (bound.rows, indexes), heavy),
        operator: chosen.operator,
        why: chosen.why,
        rows: bound.rows,
        undo: chosen.undo,
        tables,
        settings: step.settings,
        sequences: bound.sequences,
        pinned_now: chosen.pinned_now,
        notes: Vec::new(),
        checkpoint: 0,
        superseded: false,
    }
}

/// What a person calls the step: the statement's first words.
fn label(kind: &StepKind, class: &Class) -> String {
    let text = match (kind, class) {
        (StepKind::Check(check), _) => format!("check: {}", check.message),
        (StepKind::Exec(exec), _) => format!("exec: {}", exec.command.join(" ")),
        (StepKind::Transform(step), Class::Transform(bound)) => format!(
            "{} of {}.{}",
            step.call.function,
            bound.dml.table.plain(),
            step.target
        ),
        (StepKind::Transform(step), _) => step.call.function.clone(),
        (StepKind::Sql(_), Class::Update(dml)) => {
            format!(
                "UPDATE {} SET {}",
                dml.table.plain(),
                dml.assigned.join(", ")
            )
        }
        (StepKind::Sql(_), Class::Delete(dml)) => format!("DELETE FROM {}", dml.table.plain()),
        (StepKind::Sql(_), Class::Insert(insert)) => {
            format!("INSERT INTO {}", insert.table.plain())
        }
        (StepKind::Sql(sql), _) => sql.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text,
    }
}

fn choose(step: &AnalysedStep, number: u32, strategy: Strategy) -> Result<Chosen, Box<Complaint>> {
    let bug = |message: String| Box::new(complain(&step.step, None, message));
    if strategy != Strategy::Sequential && keeps_reserved_name(&step.bound.class) {
        let message = "the table has a column upshift_unit, which is what Upshift calls a column of its \
                       own beside the rows that it keeps: rename it first";
        return Err(bug(message.to_owned()));
    }
    match (&step.step.kind, &step.bound.class) {
        (StepKind::Check(check), _) => Ok(Chosen {
            operator: Operator::Check(Check {
                query: check.query.clone(),
                message: check.message.clone(),
                lasting: check.lasting,
            }),
            undo: UndoKind::Nothing,
            why: "a check: it must return no row".to_owned(),
            pinned_now: false,
            warning: None,
        }),
        (StepKind::Exec(_), _) => exec(step, strategy),
        (StepKind::Transform(transform), Class::Transform(bound)) => {
            transform::choose(step, (transform, bound), number, strategy).map_err(bug)
        }
        (StepKind::Transform(_), _) => Err(bug("it was not bound: please report this".to_owned())),
        (StepKind::Sql(sql), _) if strategy == Strategy::Sequential => {
            Ok(statement::as_written(sql, &step.bound))
        }
        (StepKind::Sql(_), Class::Ddl(ddl)) => Ok(metadata(ddl)),
        (StepKind::Sql(sql), Class::Update(dml) | Class::Delete(dml)) => {
            match statement::directed(step, sql) {
                Some(chosen) => Ok(chosen),
                None => in_place::choose(step, dml, number).map_err(bug),
            }
        }
        (StepKind::Sql(sql), Class::Insert(insert)) => match statement::directed(step, sql) {
            Some(chosen) => Ok(chosen),
            None => append::choose(step, insert, number).map_err(bug),
        },
        (StepKind::Sql(sql), _) => statement::choose(step, sql, number),
    }
}

/// Whether a column of a table whose rows are kept has the name of the kept table's own column.
fn keeps_reserved_name(class: &Class) -> bool {
    let is = |name: &str| name == "upshift_unit";
    match class {
        Class::Update(dml) | Class::Delete(dml) => {
            dml.columns.iter().any(|column| is(&column.name))
        }
        Class::Transform(transform) => transform.dml.columns.iter().any(|c| is(&c.name)),
        Class::Insert(insert) => insert.columns.iter().any(|column| is(&column.name)),
        Class::Copying { tables, .. } => tables
            .iter()
            .flat_map(|table| &table.columns)
            .any(|name| is(name)),
        _ => false,
    }
}

fn metadata(ddl: &BoundDdl) -> Chosen {
    let irreversible = ddl
        .actions
        .iter()
        .any(|action| matches!(action.effect, DdlEffect::Irreversible));
    Chosen {
        operator: Operator::Metadata(Metadata {
            actions: ddl.actions.clone(),
        }),
        undo: if irreversible {
            UndoKind::Irreversible
        } else {
            ddl.undo.clone()
        },
        why: ddl.why.clone(),
        pinned_now: false,
        warning: None,
    }
}

fn exec(step: &AnalysedStep, strategy: Strategy) -> Result<Chosen, Box<Complaint>> {
    let StepKind::Exec(exec) = &step.step.kind else {
        return Err(Box::new(complain(
            &step.step,
            None,
            "not an exec step".to_owned(),
        )));
    };
    let undo = match (&exec.undo, step.step.directives.irreversible) {
        (Some(_), _) if strategy != Strategy::Sequential => UndoKind::Directive,
        (None, false) if strategy != Strategy::Sequential => {
            let message = "an exec step has no inverse: give it undo = [\"program\", …], or mark it \
                           irreversible = true";
            return Err(Box::new(complain(&step.step, None, message.to_owned())));
        }
        _ => UndoKind::Irreversible,
    };
    Ok(Chosen {
        operator: Operator::Exec(Exec {
            command: exec.command.clone(),
            undo: exec.undo.clone(),
            timeout_seconds: exec.timeout.as_secs(),
        }),
        undo,
        why: "an external program may read and write anything".to_owned(),
        pinned_now: false,
        warning: None,
    })
}
