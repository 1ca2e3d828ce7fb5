//! What each stage of the compiler found, as tables (`upshift plan --stage …`).

use std::collections::{BTreeSet, HashMap};

use upshift_shared::{ids::StepId, pack::StepKind};

use super::{
    reason,
    text::{Align, cut, items, list, printable, table},
};
use crate::{
    compile::model::{
        AnalysedStep, Analysis, Bound, Chunk, Class, Ordered, Resolved, ResolvedStep, Resource,
    },
    figures::{count, counted},
};

/// Longest text of a statement in a table.
const STATEMENT: usize = 60;
/// So many resources of a step are named.
const NAMED: usize = 6;
/// Lines below tables are wrapped here: tables have no width of their own.
const WRAP: usize = 120;

/// The modules in order, their steps, and what is left alone.
#[must_use]
pub fn stage_resolved(resolved: &Resolved) -> String {
    let mut steps_of = vec![0_u64; resolved.modules.len()];
    for step in &resolved.steps {
        steps_of[step.module as usize] += 1;
    }
    let name = |module: u32| printable(&resolved.modules[module as usize].name);
    let modules: Vec<Vec<String>> = resolved
        .modules
        .iter()
        .zip(&steps_of)
        .map(|(module, steps)| {
            let depends: Vec<String> = module.depends.iter().map(|d| name(*d)).collect();
            vec![
                printable(&module.name),
                module.from.to_string(),
                module.to.to_string(),
                count(*steps),
                depends.join(", "),
            ]
        })
        .collect();
    let mut out = table(
        &[
            ("module", Align::Left),
            ("from", Align::Left),
            ("to", Align::Left),
            ("steps", Align::Right),
            ("depends on", Align::Left),
        ],
        &modules,
    );
    let steps: Vec<Vec<String>> = resolved
        .steps
        .iter()
        .map(|step| {
            vec![
                step.id.to_string(),
                name(step.module),
                step.version.to_string(),
                step.phase.to_string(),
                place(step),
                statement(&step.kind),
            ]
        })
        .collect();
    out.push('\n');
    out.push_str(&table(
        &[
            ("step", Align::Left),
            ("module", Align::Left),
            ("version", Align::Left),
            ("phase", Align::Left),
            ("source", Align::Left),
            ("statement", Align::Left),
        ],
        &steps,
    ));
    let skipped = resolved
        .skipped
        .iter()
        .map(|(name, why)| printable(&format!("{name}: {why}")));
    items(&mut out, "Modules left alone", skipped, WRAP);
    out.push_str(&format!(
        "\n{}, {}.\n",
        counted(resolved.modules.len() as u64, "module"),
        counted(resolved.steps.len() as u64, "step"),
    ));
    out
}

/// What each step reads and writes, what it is, and whether it may be cut.
#[must_use]
pub fn stage_analysis(analysis: &Analysis) -> String {
    let rows: Vec<Vec<String>> = analysis.steps.iter().map(analysed).collect();
    let mut out = table(
        &[
            ("step", Align::Left),
            ("class", Align::Left),
            ("rows", Align::Right),
            ("source", Align::Left),
            ("cut, and why", Align::Left),
            ("reads", Align::Left),
            ("writes", Align::Left),
        ],
        &rows,
    );
    let warnings = analysis
        .warnings
        .iter()
        .map(|warning| match &warning.source {
            Some(source) => printable(&format!("{source}: {}", warning.message)),
            None => printable(&warning.message),
        });
    items(&mut out, "Warnings", warnings, WRAP);
    let skipped = analysis
        .skipped
        .iter()
        .map(|s| printable(&format!("{}: {}", s.source, s.why)));
    items(&mut out, "Steps that will not run", skipped, WRAP);
    let opaque = analysis
        .steps
        .iter()
        .filter(|s| matches!(s.bound.class, Class::Opaque { .. }));
    out.push_str(&format!(
        "\n{}, {} opaque.\n",
        counted(analysis.steps.len() as u64, "step"),
        count(opaque.count() as u64),
    ));
    out
}

/// What comes before what, and why.
#[must_use]
pub fn stage_ordered(ordered: &Ordered, analysis: &Analysis) -> String {
    let step = |place: u32| analysis.steps.get(place as usize).map(|s| &s.step);
    let id = |place: u32| step(place).map_or_else(String::new, |s| s.id.to_string());
    let source = |at: u32| step(at).map_or_else(String::new, place);
    let rows: Vec<Vec<String>> = ordered
        .edges
        .iter()
        .map(|edge| {
            vec![
                id(edge.from),
                source(edge.from),
                id(edge.to),
                source(edge.to),
                printable(&reason(&edge.reason)),
            ]
        })
        .collect();
    let mut out = table(
        &[
            ("first", Align::Left),
            ("", Align::Left),
            ("then", Align::Left),
            ("", Align::Left),
            ("because", Align::Left),
        ],
        &rows,
    );
    let waiting: BTreeSet<u32> = ordered.edges.iter().map(|edge| edge.to).collect();
    let free = analysis.steps.len() - waiting.len();
    out.push_str(&format!(
        "\n{}, {}; {} can begin at once.\n",
        counted(analysis.steps.len() as u64, "step"),
        counted(ordered.edges.len() as u64, "edge"),
        count(free as u64),
    ));
    out
}

fn place(step: &ResolvedStep) -> String {
    printable(&format!(
        "{}:{}",
        step.location.file.display(),
        step.location.line
    ))
}

fn statement(kind: &StepKind) -> String {
    let text = match kind {
        StepKind::Sql(sql) => printable(sql),
        StepKind::Check(check) => printable(&format!("check: {}", check.query)),
        StepKind::Transform(step) => printable(&format!(
            "transform: {} of {}",
            step.call.function, step.target
        )),
        StepKind::Exec(exec) => printable(&format!("exec: {}", exec.command.join(" "))),
    };
    cut(&text, STATEMENT)
}

fn analysed(step: &AnalysedStep) -> Vec<String> {
    let bound = &step.bound;
    let (class, cutting) = class(&bound.class);
    vec![
        StepId::to_string(&step.step.id),
        class.to_owned(),
        if bound.rows == 0 {
            String::new()
        } else {
            count(bound.rows)
        },
        place(&step.step),
        printable(&cutting),
        resources(bound, &bound.reads),
        resources(bound, &bound.writes.union(&bound.shares).cloned().collect()),
    ]
}

/// The class, and what is to be said of it.
fn class(class: &Class) -> (&'static str, String) {
    let chunk = |chunk: &Chunk| match chunk {
        Chunk::ByKey(why) => format!("by key: {why}"),
        Chunk::Whole(why) => format!("whole: {why}"),
    };
    match class {
        Class::Ddl(ddl) => ("DDL", ddl.why.clone()),
        Class::Update(dml) => ("UPDATE", chunk(&dml.chunk)),
        Class::Delete(dml) => ("DELETE", chunk(&dml.chunk)),
        Class::Transform(transform) => ("transform", chunk(&transform.dml.chunk)),
        Class::Insert(insert) => ("INSERT", chunk(&insert.chunk)),
        Class::Copying { why, .. } => ("copying", why.clone()),
        Class::Query => ("query", String::new()),
        Class::Opaque { why, .. } => ("opaque", why.clone()),
        Class::Check => ("check", String::new()),
        Class::Exec => ("exec", String::new()),
    }
}

fn resources(bound: &Bound, resources: &BTreeSet<Resource>) -> String {
    if resources.contains(&Resource::Everything) {
        return "everything".to_owned();
    }
    let names: HashMap<&Resource, &str> = bound
        .names
        .iter()
        .map(|(resource, name)| (resource, name.as_str()))
        .collect();
    let mut named: Vec<String> = resources
        .iter()
        .map(|resource| match names.get(resource) {
            Some(name) => printable(name),
            None => unnamed(resource),
        })
        .collect();
    named.dedup();
    list(&named, NAMED)
}

fn unnamed(resource: &Resource) -> String {
    match resource {
        Resource::Table(rel) => format!("definition of {rel}"),
        Resource::Column(rel, col) => format!("{rel}.{col}"),
        Resource::Rows(rel) => format!("rows of {rel}"),
        Resource::Sequence(rel) => format!("sequence {rel}"),
        Resource::Object(class, name) => printable(&format!("{class} {name}")),
        Resource::Everything => "everything".to_owned(),
    }
}
