//! `physical`: from bound and ordered steps to tasks: which operator runs each, in what units, how it
//! is taken back, and what it is expected to cost.

mod append;
mod estimate;
mod in_place;
mod statement;
mod template;
#[cfg(test)]
mod tests;
mod transform;

use upshift_shared::{
    ids::TaskId,
    pack::{Complaint, StepKind},
    plan::{
        Check, DdlEffect, Edge, Exec, Metadata, Operator, PLAN_FORMAT, Plan, PlannedModule,
        Strategy, TableUse, Task, UndoKind, Warning, WayBack,
    },
};

use super::{
    analyse::complain,
    error::CompileError,
    model::{AnalysedStep, Analysis, BoundDdl, Class, Ordered, Resolved},
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
    ordered: Ordered,
    strategy: Strategy,
) -> Result<Plan, CompileError> {
    let mut tasks = Vec::with_capacity(analysis.steps.len());
    let mut complaints = Vec::new();
    let mut warnings = analysis.warnings;
    for (number, step) in analysis.steps.into_iter().enumerate() {
        let number = u32::try_from(number).expect("a plan has fewer than 2^32 tasks");
        match choose(&step, number, strategy) {
            Ok(chosen) => {
                if let Some(message) = &chosen.warning {
                    let source = Some(step.step.location.clone());
                    warnings.push(Warning {
                        source,
                        message: message.clone(),
                    });
                }
                tasks.push(task(step, number, chosen));
            }
            Err(complaint) => complaints.push(*complaint),
        }
    }
    if !complaints.is_empty() {
        return Err(CompileError::Complaints(complaints));
    }
    let edge = |e: super::model::OrderEdge| Edge {
        from: TaskId(e.from),
        to: TaskId(e.to),
        reason: e.reason,
    };
    let modules = planned_modules(resolved);
    let way_back = way_back(&tasks, &modules, strategy);
    Ok(Plan {
        format: PLAN_FORMAT,
        pack: heading.pack,
        target_version: heading.target_version,
        database: heading.database,
        server_version: heading.server_version,
        strategy,
        modules,
        edges: ordered.edges.into_iter().map(edge).collect(),
        tasks,
        skipped: analysis.skipped,
        warnings,
        way_back,
    })
}

fn planned_modules(resolved: &Resolved) -> Vec<PlannedModule> {
    let name = |place: &u32| resolved.modules[*place as usize].name.clone();
    resolved
        .modules
        .iter()
        .map(|module| PlannedModule {
            name: module.name.clone(),
            from: module.from.clone(),
            to: module.to.clone(),
            depends: module.depends.iter().map(name).collect(),
        })
        .collect()
}

/// One can come back to the checkpoint of the last module that has an irreversible task, not before.
fn way_back(tasks: &[Task], modules: &[PlannedModule], strategy: Strategy) -> WayBack {
    if strategy == Strategy::Sequential {
        return WayBack::None;
    }
    let irreversible: Vec<&Task> = tasks
        .iter()
        .filter(|task| task.undo == UndoKind::Irreversible)
        .collect();
    let Some(module) = irreversible.iter().map(|task| task.module).max() else {
        return WayBack::Whole;
    };
    WayBack::After {
        module: modules[module as usize].name.clone(),
        tasks: irreversible.iter().map(|task| task.id).collect(),
    }
}

fn task(step: AnalysedStep, number: u32, chosen: Chosen) -> Task {
    let AnalysedStep { step, bound, .. } = step;
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
        seconds: estimate::seconds(&chosen.operator, bound.rows, heavy),
        operator: chosen.operator,
        why: chosen.why,
        rows: bound.rows,
        undo: chosen.undo,
        tables,
        settings: step.settings,
        sequences: bound.sequences,
        pinned_now: chosen.pinned_now,
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
