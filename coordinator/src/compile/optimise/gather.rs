//! Gathering: which of the statements on a table become one pass, as far as what must come between
//! two of them allows.

use std::collections::{BTreeMap, BTreeSet};

use pg_query::{
    NodeEnum,
    protobuf::{CreateFunctionStmt, TypeName},
};
use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Dependent, Persistence, Relation},
    ids::RelId,
    pack::{ChunkDirective, Location, StepKind, StrategyDirective},
    pg::ident::QualifiedName,
    plan::EdgeReason,
};

use super::{Cost, Pass, compose::Composer, cost, graph::Contracted};
use crate::{
    compile::model::{AnalysedStep, Analysis, Around, Chunk, Class, Options, Passes, Resource},
    figures::counted,
};

/// Finds the passes over one table. `places`: the steps that change it, in order, and the bytes of disk
/// that other passes take; `reasons`: why a step
/// does not begin one.
pub(super) fn passes_of(
    analysis: &Analysis,
    (places, mut taken): (&[u32], u64),
    options: &Options,
    order: &mut Contracted,
    reasons: &mut BTreeMap<u32, String>,
) -> Vec<Pass> {
    let mut passes = Vec::new();
    let mut rest: Vec<u32> = places.to_vec();
    while let Some(first) = rest.first().copied() {
        let mut attempt = order.clone();
        let gathered = match gather(analysis, &rest, &mut attempt) {
            Ok(gathered) => gathered,
            Err(why) => {
                reasons.insert(first, why);
                rest.retain(|place| *place != first);
                continue;
            }
        };
        rest.retain(|place| !gathered.steps.contains(place));
        let places = gathered.steps.clone();
        if let Some(pass) = chosen(analysis, gathered, options, taken) {
            *order = attempt;
            taken += pass.cost.bytes;
            passes.push(pass);
        } else {
            let why = "nothing in the pass would change rows, or its new table does not fit the disk \
                       budget";
            reasons.extend(places.into_iter().map(|place| (place, why.to_owned())));
        }
    }
    passes
}

/// Steps that can be one pass.
struct Gathered<'a> {
    steps: Vec<u32>,
    composer: Composer<'a>,
    left_out: Vec<(Location, String)>,
    pinned_now: bool,
}

fn around(step: &AnalysedStep) -> Option<&Around> {
    step.around.as_deref()
}

/// Gathers from the first of `places` on, or says why that one cannot be part of a pass.
fn gather<'a>(
    analysis: &'a Analysis,
    places: &[u32],
    order: &mut Contracted,
) -> Result<Gathered<'a>, String> {
    let first = *places.first().ok_or("there are no statements")?;
    let step = &analysis.steps[first as usize];
    let table = around(step).ok_or("it is not about this table alone")?;
    if let Some(why) = not_eligible(analysis, first, &table.before) {
        return Err(why);
    }
    let pinned_now = places
        .iter()
        .any(|place| !analysis.steps[*place as usize].bound.now_calls.is_empty());
    let mut composer = Composer::new(&analysis.types, &table.before, pinned_now);
    take(&mut composer, step)?;
    let mut gathered = Gathered {
        steps: vec![first],
        composer,
        left_out: Vec::new(),
        pinned_now,
    };
    let linked = linked(table);
    for (place, other) in (0_u32..).zip(&analysis.steps) {
        let mentions = mentions(other, table, &linked);
        if !mentions || place == first {
            continue;
        }
        if place < first {
            order.add(place, first, reason(&table.before, other));
            continue;
        }
        let why = match places.contains(&place) {
            true => join(&mut gathered, other, place, step, order).err(),
            false => None,
        };
        if gathered.steps.last() == Some(&place) {
            continue;
        }
        order.add(first, place, reason(&table.before, other));
        if let Some(why) = why {
            gathered.left_out.push((other.step.location.clone(), why));
        }
    }
    Ok(gathered)
}

/// Takes one more step in, if it can be.
fn join(
    gathered: &mut Gathered<'_>,
    step: &AnalysedStep,
    place: u32,
    first: &AnalysedStep,
    order: &mut Contracted,
) -> Result<(), String> {
    if step.step.settings != first.step.settings {
        return Err("its script has other settings (SET)".to_owned());
    }
    if !order.can_join(gathered.steps[0], place) {
        return Err("something that is not part of the pass must come between".to_owned());
    }
    let mut composer = gathered.composer.clone();
    take(&mut composer, step)?;
    gathered.composer = composer;
    order.join(gathered.steps[0], place);
    gathered.steps.push(place);
    Ok(())
}

/// Composes a step into a pass, or says why it cannot be part of one.
fn take(composer: &mut Composer<'_>, step: &AnalysedStep) -> Result<(), String> {
    let around = around(step).ok_or("it is not about this table alone")?;
    let directives = &step.step.directives;
    if directives.undo.is_some() {
        return Err("its author gave it an undo of its own".to_owned());
    }
    if directives.when.is_some() {
        return Err("it has a condition (when)".to_owned());
    }
    if directives.chunk == Some(ChunkDirective::None) {
        return Err("its author said chunk = none".to_owned());
    }
    match directives.strategy {
        Some(StrategyDirective::InPlace) => return Err("its author said in_place".to_owned()),
        Some(StrategyDirective::Single) => return Err("its author said single".to_owned()),
        Some(StrategyDirective::Shadow) | None => {}
    }
    if names_function(step, &around.before) {
        return Err("it may use a function of the table's row type".to_owned());
    }
    match &step.bound.class {
        Class::Update(dml) | Class::Delete(dml) => match &dml.chunk {
            Chunk::Whole(why) => Err(format!("it cannot be taken apart: {why}")),
            Chunk::ByKey(_) => composer.dml(step, dml, around),
        },
        Class::Transform(bound) => match &bound.dml.chunk {
            Chunk::Whole(why) => Err(format!("it cannot be taken apart: {why}")),
            Chunk::ByKey(_) => composer.transform(step, bound, around),
        },
        Class::Ddl(_) if !around.ancestors.is_empty() => {
            Err("it is DDL on a partition, or on a table that inherits from others".to_owned())
        }
        Class::Ddl(_) if !step.bound.writes.contains(&Resource::Everything) => {
            composer.ddl(step, around)
        }
        Class::Ddl(_) | Class::Opaque { .. } => Err("it is opaque".to_owned()),
        Class::Copying { why, .. } => Err(why.clone()),
        _ => Err("it is neither UPDATE, DELETE, transform nor DDL on the table".to_owned()),
    }
}

/// Why a table cannot be built anew.
fn not_eligible(analysis: &Analysis, first: u32, table: &Relation) -> Option<String> {
    if let Some(obstacle) = table.obstacles.first() {
        return Some(format!(
            "{obstacle} could not be carried over to a new table"
        ));
    }
    // The snapshot has checked whose child or partition it was.
    let parents = table.inheritance.parents.len();
    if parents > 0 && !table.dependents.contains(&Dependent::Parent) {
        return Some("it is in an inheritance or partition tree".to_owned());
    }
    if !table.inheritance.children.is_empty() {
        return Some("other tables inherit from it".to_owned());
    }
    if table.persistence == Persistence::Temporary {
        return Some("it is a temporary table".to_owned());
    }
    // One that the pack added: the snapshot names the others.
    let unchecked = |c: &&Constraint| !c.validated && c.kind == ConstraintKind::Check;
    if let Some(constraint) = table.constraints.iter().find(unchecked) {
        return Some(format!(
            "constraint {}, which is NOT VALID, could not be carried over",
            constraint.name
        ));
    }
    // What an earlier step of the pack hangs on the table is not in the snapshot.
    let unknown = analysis.steps[..first as usize].iter().any(|step| {
        let hangs = step.around.is_none()
            && step.bound.tables.iter().any(|(id, ..)| *id == table.id)
            && hangs_something_on(step, table);
        // What depends on a function keeps it from being made anew.
        matches!(step.bound.class, Class::Ddl(_))
            && (hangs || (names_function(step, table) && !is_function(step)))
    });
    unknown.then(|| "an earlier statement hangs something on it".to_owned())
}

/// Whether DDL is about functions, so that nothing depends on one that did not before.
fn is_function(step: &AnalysedStep) -> bool {
    use NodeEnum as N;
    matches!(
        step.parsed.as_deref().and_then(|node| node.node.as_ref()),
        Some(
            N::CreateFunctionStmt(_)
                | N::AlterFunctionStmt(_)
                | N::CommentStmt(_)
                | N::GrantStmt(_)
        )
    )
}

/// Whether DDL may leave something on a table that a pass does not carry.
fn hangs_something_on(step: &AnalysedStep, table: &Relation) -> bool {
    use NodeEnum as N;
    match step.parsed.as_deref().and_then(|node| node.node.as_ref()) {
        Some(
            N::AlterTableStmt(_)
            | N::IndexStmt(_)
            | N::RenameStmt(_)
            | N::CommentStmt(_)
            | N::GrantStmt(_)
            | N::ViewStmt(_)
            | N::RuleStmt(_)
            | N::DropStmt(_),
        ) => false,
        // Who uses one of the row type is not known.
        Some(N::CreateFunctionStmt(function)) => has_row_type(function, table),
        _ => true,
    }
}

/// Whether the table's row type is in a function's signature.
fn has_row_type(function: &CreateFunctionStmt, table: &Relation) -> bool {
    let parameters = function.parameters.iter();
    let parameters = parameters.filter_map(|node| match &node.node {
        Some(NodeEnum::FunctionParameter(parameter)) => parameter.arg_type.as_ref(),
        _ => None,
    });
    let last = |name: &TypeName| match name.names.last().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::String(name)) => name.sval == table.name,
        _ => false,
    };
    parameters.chain(function.return_type.as_ref()).any(last)
}

/// Tables whose definitions or rules the swap changes too, and views on the table.
fn linked(around: &Around) -> BTreeSet<RelId> {
    let children = around.incoming.iter().map(|(id, ..)| *id);
    let parents = around.parents.iter().map(|(id, _)| *id);
    let dependents = around.before.dependents.iter();
    let ruled = dependents.filter_map(|dependent| match dependent {
        Dependent::Rule { relation } => Some(*relation),
        _ => None,
    });
    children
        .chain(parents)
        .chain(ruled)
        .chain(around.views.iter().copied())
        .collect()
}

/// Whether a step has to come before or after the whole pass: it mentions the table, or changes the
/// definition of one that the swap changes too.
fn mentions(step: &AnalysedStep, around: &Around, linked: &BTreeSet<RelId>) -> bool {
    let (bound, table) = (&step.bound, &*around.before);
    let tables = || bound.tables.iter().map(|(id, ..)| id);
    // A statement on a partitioned table is one on its partitions.
    if tables().any(|id| *id == table.id || around.ancestors.contains(id))
        || bound.reads.contains(&Resource::Table(table.id))
        || (matches!(bound.class, Class::Ddl(_)) && names_function(step, table))
    {
        return true;
    }
    let ddl = matches!(bound.class, Class::Ddl(_));
    ddl && bound
        .tables
        .iter()
        .any(|(id, _, written)| *written && linked.contains(id))
}

/// Whether a statement has the name of a function in it that hangs on the table.
fn names_function(step: &AnalysedStep, table: &Relation) -> bool {
    let text = match &step.step.kind {
        StepKind::Sql(text) => text,
        StepKind::Transform(transform) => &transform.statement,
        _ => return false,
    };
    table.dependents.iter().any(|dependent| match dependent {
        Dependent::Function { name, .. } => has_name(text, name),
        _ => false,
    })
}

/// Whether a name stands in a text as a word, whatever its case.
fn has_name(text: &str, name: &str) -> bool {
    let text = text.to_lowercase();
    let name = name.to_lowercase().replace('"', "\"\"");
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

fn reason(table: &Relation, other: &AnalysedStep) -> EdgeReason {
    let name = QualifiedName::new(&table.schema, &table.name).plain();
    let writes = other
        .bound
        .tables
        .iter()
        .any(|(id, _, write)| *id == table.id && *write);
    let what = format!("{name}, which is built anew");
    if writes {
        EdgeReason::WriteAfterWrite { what }
    } else {
        EdgeReason::ReadAfterWrite { what }
    }
}

/// The pass, where it is worth while.
fn chosen(
    analysis: &Analysis,
    gathered: Gathered<'_>,
    options: &Options,
    taken: u64,
) -> Option<Pass> {
    if !gathered.composer.changes_rows {
        return None;
    }
    let steps: Vec<&AnalysedStep> = gathered
        .steps
        .iter()
        .map(|place| &analysis.steps[*place as usize])
        .collect();
    let first = around(steps.first()?)?;
    let last = around(steps.last()?)?;
    let asked = steps
        .iter()
        .any(|step| step.step.directives.strategy == Some(StrategyDirective::Shadow));
    let touched: Vec<u64> = steps
        .iter()
        .filter(|step| !matches!(step.bound.class, Class::Ddl(_)))
        .map(|step| step.bound.rows)
        .collect();
    let transforms = gathered.composer.transforms.iter();
    let kept = transforms.filter(|t| t.keep.is_some()).count();
    let cost = cost::of_pass(
        &options.rates,
        (&last.after, first.before.rows, kept),
        &touched,
        &first.incoming_rows,
    );
    let wanted = asked || options.passes == Passes::Shadow;
    if !wanted && cost.total >= cost.in_place {
        return None;
    }
    let fits = |budget| taken.saturating_add(cost.bytes) <= budget;
    if !options.disk_budget.is_none_or(fits) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, never negative"
    )]
    let rows = first.before.rows as u64;
    let settings = steps
        .first()
        .map(|step| step.step.settings.clone())
        .unwrap_or_default();
    Some(Pass {
        relation: first.before.id,
        table: QualifiedName::new(&first.before.schema, &first.before.name),
        why: why(steps.len(), &cost, wanted),
        left_out: gathered.left_out,
        rows,
        cost,
        composed: gathered.composer.finish(
            (&first.before, &last.after),
            gathered.pinned_now,
            &settings,
        ),
        before: first.before.clone(),
        after: last.after.clone(),
        // By the names at the start: what renames those tables later comes after the pass.
        incoming: first.incoming.clone(),
        incoming_rows: first.incoming_rows.clone(),
        parents: parents(&steps),
        steps: gathered.steps,
    })
}

fn why(statements: usize, cost: &Cost, wanted: bool) -> String {
    let asked = if wanted { " (asked for)" } else { "" };
    format!(
        "{} in one pass that builds the table anew: about {:.1} s on one worker, against {:.1} s in \
         place{asked}; about {} MB of disk beside the old table until commit",
        counted(statements as u64, "statement"),
        cost.total,
        cost.in_place,
        cost.bytes.div_ceil(1 << 20),
    )
}

/// Tables that foreign keys of the table point at, before or after any of the steps.
fn parents(steps: &[&AnalysedStep]) -> Vec<(RelId, QualifiedName)> {
    let arounds = steps.iter().filter_map(|step| around(step));
    let parents: BTreeSet<_> = arounds.flat_map(|a| a.parents.clone()).collect();
    parents.into_iter().collect()
}
