//! `analyse`: every statement through PostgreSQL's own grammar, bound against a catalog snapshot that
//! evolves step by step.

mod around;
pub mod ddl;
pub mod dml;
#[cfg(test)]
pub(crate) mod fixture;
mod hidden;
pub mod query;
mod search_path;
mod transform;
mod when;
mod written;

use std::{collections::BTreeSet, sync::Arc};

use pg_query::{Node, NodeEnum};
use rayon::prelude::*;
use upshift_shared::{
    catalog::{Catalog, UserType},
    pack::{
        CheckStep, Complaint, Directives, Location, StepKind, TransformStep,
        grammar::{self, ParseFault},
    },
    pg::ident::QualifiedName,
    plan::{Sequences, SkippedStep, Strategy, Warning},
};

pub use around::may_build_anew;
use hidden::Hidden;

use super::{
    error::{BindError, CompileError},
    model::{
        AnalysedStep, Analysis, Binding, Bound, Class, Options, Resolved, ResolvedStep, Resource,
        UserTypes,
    },
};

/// Binds every step in sequential order against the catalog as the steps before it leave it.
///
/// # Errors
/// Complaints about all statements that cannot be bound, not only the first.
pub fn analyse(
    resolved: &Resolved,
    catalog: Catalog,
    options: &Options,
) -> Result<Analysis, CompileError> {
    let mut types = catalog.types.clone();
    let mut analyser = Analyser {
        passes: around::Tables::of(resolved, &catalog, options),
        catalog,
        options,
        unsure_since: None,
        hidden: Hidden::default(),
        analysis: Analysis {
            written: None,
            steps: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            types: UserTypes::default(),
        },
        complaints: Vec::new(),
    };
    // Parsing is most of the work, and asks nothing of the steps before.
    let parsed: Vec<_> = resolved.steps.par_iter().map(parse).collect();
    for (step, parsed) in resolved.steps.iter().zip(parsed) {
        analyser.step(step, parsed, &resolved.installed);
    }
    if analyser.complaints.is_empty() {
        let made = analyser.catalog.types.iter();
        let made = made.filter(|own| own.domain.is_none() && own.kind == 'd');
        types.extend(made.cloned());
        let mut analysis = analyser.analysis;
        analysis.types = known_types(&types, &analysis.steps);
        analysis.written = written::tables(&analysis.steps, &analyser.catalog);
        Ok(analysis)
    } else {
        Err(CompileError::Complaints(analyser.complaints))
    }
}

/// The types whose casts are known: enums, and domains that no step changes.
fn known_types(types: &[UserType], steps: &[AnalysedStep]) -> UserTypes {
    let changed: BTreeSet<&str> = steps
        .iter()
        .flat_map(|step| &step.bound.writes)
        .filter_map(|resource| match resource {
            Resource::Object(class, name) if class == "type" => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let mut known = UserTypes::default();
    for own in types {
        let name = QualifiedName::new(&own.schema, &own.name).to_string();
        match &own.domain {
            _ if own.kind == 'e' => known.enums.extend(own.printed()),
            Some(domain) if !changed.contains(name.as_str()) => {
                let printed = own.printed().map(|printed| (printed, domain.clone()));
                known.domains.extend(printed);
            }
            _ if own.kind == 'd' => known.changing.extend(own.printed()),
            _ => {}
        }
    }
    known
}

struct Analyser<'o> {
    catalog: Catalog,
    options: &'o Options,
    /// The tables that a pass may be worth while for.
    passes: around::Tables,
    /// The first opaque step: from there on the snapshot may not be what the database will be.
    unsure_since: Option<Location>,
    /// Tables with columns that a step of this plan dropped, and that are there until commit.
    hidden: Hidden,
    analysis: Analysis,
    complaints: Vec<Complaint>,
}

impl Analyser<'_> {
    fn step(&mut self, step: &ResolvedStep, parsed: Parsed, installed: &BTreeSet<String>) {
        let path = search_path::of(&step.settings, &self.catalog.search_path);
        if let Some(when) = &step.directives.when
            && let Some(why) = when::fails(when, &self.catalog, &path, installed)
        {
            self.skip(step, why);
            return;
        }
        let parsed = match parsed {
            Ok(parsed) => parsed.map(Arc::new),
            Err(Unparsed::TooDeep) => {
                let why = "it is nested too deep to be analysed".to_owned();
                return self.bound(step, opaque(why), None);
            }
            Err(Unparsed::Wrong(error)) => {
                self.complaints
                    .push(complain(step, error.position, error.message));
                return;
            }
        };
        let written = parsed
            .as_deref()
            .map(|node| self.without_hidden(step, node, &path))
            .transpose();
        let (written, parsed) = match written {
            Ok(Some(Some((step, node)))) => (Some(step), Some(Arc::new(node))),
            Ok(_) => (None, parsed),
            Err(error) => {
                self.complaints
                    .push(complain(step, error.position, error.message));
                return;
            }
        };
        let step = written.as_ref().unwrap_or(step);
        let before = self.passes.before(parsed.as_deref(), &self.catalog, &path);
        match self.bind(step, parsed.as_deref(), &path) {
            Ok(Binding::Skipped(why)) => self.skip(step, why),
            Ok(Binding::Bound(bound)) => {
                self.bound(step, *bound, parsed);
                if let (Some(before), Some(step)) = (before, self.analysis.steps.last_mut()) {
                    step.around = Some(Arc::new(before.after(&self.catalog)));
                }
            }
            Err(error) => match &self.unsure_since {
                Some(since) if matches!(step.kind, StepKind::Sql(_)) => {
                    let why = format!(
                        "{} (the opaque step at {since} may have changed that, so this one is opaque too)",
                        error.message
                    );
                    self.bound(step, opaque(why), parsed);
                }
                _ => self
                    .complaints
                    .push(complain(step, error.position, error.message)),
            },
        }
    }

    /// The step with stars over hidden columns written out, where it has some.
    fn without_hidden(
        &self,
        step: &ResolvedStep,
        node: &Node,
        path: &[String],
    ) -> Result<Option<(ResolvedStep, Node)>, BindError> {
        if self.hidden.is_empty() {
            return Ok(None);
        }
        let (StepKind::Sql(sql)
        | StepKind::Check(CheckStep { query: sql, .. })
        | StepKind::Transform(TransformStep { statement: sql, .. })) = &step.kind
        else {
            return Ok(None);
        };
        let expanded = self.hidden.expand(node, sql, &self.catalog, path)?;
        Ok(expanded.map(|(node, text)| {
            let mut step = step.clone();
            match &mut step.kind {
                StepKind::Check(check) => check.query = text,
                StepKind::Transform(transform) => transform.statement = text,
                kind => *kind = StepKind::Sql(text),
            }
            (step, node)
        }))
    }

    fn bind(
        &mut self,
        step: &ResolvedStep,
        parsed: Option<&Node>,
        path: &[String],
    ) -> Result<Binding, BindError> {
        let directives = self.directives(&step.directives);
        match &step.kind {
            StepKind::Exec(_) => Ok(Binding::Bound(Box::new(Bound {
                class: Class::Exec,
                ..opaque("an external program may read and write anything".to_owned())
            }))),
            StepKind::Check(check) => {
                let node = parsed.ok_or_else(|| BindError::new("the check has no query"))?;
                let bound = dml::bind(node, &check.query, &directives, &self.catalog, path)?;
                if !matches!(bound.class, Class::Query | Class::Opaque { .. }) {
                    let message = "a check must only read: write its query as a SELECT that changes \
                                   nothing";
                    return Err(BindError::new(message));
                }
                Ok(Binding::Bound(Box::new(Bound {
                    class: Class::Check,
                    now_calls: Vec::new(),
                    ..bound
                })))
            }
            StepKind::Transform(step) => {
                let node = parsed.ok_or_else(|| BindError::new("the transform has no UPDATE"))?;
                // What it is bound as is not what the author wrote: no place in it would help.
                dml::bind(node, &step.statement, &directives, &self.catalog, path)
                    .and_then(|bound| transform::bind(step, bound, &self.catalog))
                    .map(|bound| Binding::Bound(Box::new(bound)))
                    .map_err(|error| BindError::new(error.message))
            }
            StepKind::Sql(sql) => {
                let node = parsed.ok_or_else(|| BindError::new("there is no statement here"))?;
                if is_dml(node) {
                    let bound = dml::bind(node, sql, &directives, &self.catalog, path)?;
                    Ok(Binding::Bound(Box::new(bound)))
                } else {
                    ddl::bind(node, sql, &directives, &mut self.catalog, path)
                }
            }
        }
    }

    /// The naive run keeps nothing for a way back, so it asks for no inverse either.
    fn directives(&self, directives: &Directives) -> Directives {
        let mut directives = directives.clone();
        directives.irreversible |= self.options.strategy == Strategy::Sequential;
        directives
    }

    fn bound(&mut self, step: &ResolvedStep, mut bound: Bound, parsed: Option<Arc<Node>>) {
        if matches!(bound.class, Class::Opaque { .. } | Class::Exec)
            && bound.writes.contains(&Resource::Everything)
            && self.unsure_since.is_none()
        {
            self.unsure_since = Some(step.location.clone());
        }
        if let Some(rows) = self.options.estimates.get(&step.id) {
            bound.rows = *rows;
        }
        own_copies(&mut bound, &self.catalog);
        self.hidden.note(&bound, &self.catalog, &step.location);
        if let StepKind::Sql(text) = &step.kind
            && is_beyond_view(&bound.class, parsed.as_deref())
        {
            bound
                .warnings
                .extend(self.hidden.warning(text, &self.catalog));
        }
        for message in std::mem::take(&mut bound.warnings) {
            let source = Some(step.location.clone());
            self.analysis.warnings.push(Warning { source, message });
        }
        self.analysis.steps.push(AnalysedStep {
            step: step.clone(),
            bound,
            parsed,
            around: None,
        });
    }

    fn skip(&mut self, step: &ResolvedStep, why: String) {
        let source = step.location.clone();
        self.analysis.skipped.push(SkippedStep {
            step: step.id,
            source,
            why,
        });
    }
}

/// A copy is of whole tables, and undo brings the whole of them back: so the step counts as one that
/// writes all of each, or undo would take back what other steps did there meanwhile.
fn own_copies(bound: &mut Bound, catalog: &Catalog) {
    let Class::Copying { tables, .. } = &bound.class else {
        return;
    };
    for (relation, name, write) in &mut bound.tables {
        let quoted = name.to_string();
        if !tables.iter().any(|copied| copied.table == quoted) {
            continue;
        }
        *write = true;
        let plain = name.plain();
        let rows = (Resource::Rows(*relation), format!("rows of {plain}"));
        let columns = catalog
            .relation(*relation)
            .into_iter()
            .flat_map(|r| &r.columns);
        let columns = columns.map(|column| {
            let resource = Resource::Column(*relation, column.id);
            (resource, format!("{plain}.{}", column.name))
        });
        for (resource, name) in columns.chain([rows]) {
            if bound.writes.insert(resource.clone()) {
                bound.names.push((resource, name));
            }
        }
    }
}

fn opaque(why: String) -> Bound {
    Bound {
        class: Class::Opaque {
            why,
            transactional: true,
            recovery: None,
            undo: None,
        },
        reads: BTreeSet::from([Resource::Everything]),
        writes: BTreeSet::from([Resource::Everything]),
        names: Vec::new(),
        tables: Vec::new(),
        sequences: Sequences::All,
        shares: BTreeSet::new(),
        now_calls: Vec::new(),
        rows: 0,
        warnings: Vec::new(),
    }
}

/// One statement's parse tree; `None` for typed steps without SQL.
type Parsed = Result<Option<Node>, Unparsed>;

/// Why there is no parse tree.
enum Unparsed {
    /// The statement is wrong.
    Wrong(BindError),
    /// It is right, but nested too deep to be looked into.
    TooDeep,
}

fn parse(step: &ResolvedStep) -> Parsed {
    let sql = match &step.kind {
        StepKind::Sql(sql) => sql,
        StepKind::Check(check) => &check.query,
        StepKind::Transform(transform) => &transform.statement,
        StepKind::Exec(_) => return Ok(None),
    };
    let mut statements = match grammar::parse(sql) {
        Ok(parsed) => parsed.protobuf.stmts,
        Err(ParseFault::TooDeep) => return Err(Unparsed::TooDeep),
        Err(ParseFault::Syntax(message)) => {
            let position = Some(grammar::locate(sql, &message));
            return Err(Unparsed::Wrong(BindError { position, message }));
        }
    };
    let statement = statements.pop().and_then(|raw| raw.stmt).map(|node| *node);
    match (statement, statements.is_empty()) {
        (Some(node), true) => Ok(Some(node)),
        _ => Err(Unparsed::Wrong(BindError::new(
            "exactly one statement is expected here",
        ))),
    }
}

/// Whether a statement has code that runs without being looked into.
fn is_beyond_view(class: &Class, node: Option<&Node>) -> bool {
    let function = matches!(
        node.and_then(|node| node.node.as_ref()),
        Some(NodeEnum::CreateFunctionStmt(_))
    );
    // What is merely unknown was written out all the same.
    let block = matches!(
        node.map(|node| node.node.as_ref()),
        None | Some(Some(NodeEnum::DoStmt(_) | NodeEnum::CallStmt(_)))
    );
    function || (block && matches!(class, Class::Opaque { .. }))
}

fn is_dml(node: &Node) -> bool {
    match &node.node {
        Some(
            NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::TruncateStmt(_)
            | NodeEnum::DoStmt(_)
            | NodeEnum::CallStmt(_),
        ) => true,
        Some(NodeEnum::SelectStmt(select)) => select.into_clause.is_none(),
        _ => false,
    }
}

/// A complaint about a step, at a byte offset of its text where one place is to blame. The file is not
/// at hand here, so the line shown is the statement's own.
pub(super) fn complain(step: &ResolvedStep, position: Option<usize>, message: String) -> Complaint {
    let text = match &step.kind {
        StepKind::Sql(sql) => sql.as_str(),
        StepKind::Check(check) => check.query.as_str(),
        StepKind::Exec(_) => "",
        StepKind::Transform(_) => "[[transform]]",
    };
    let before = position
        .and_then(|position| text.get(..position))
        .unwrap_or("");
    let line_number = before.matches('\n').count();
    let line = text.lines().nth(line_number).unwrap_or("");
    let last_line = before.rsplit('\n').next().unwrap_or("");
    let column = u32::try_from(last_line.chars().count()).unwrap_or(0);
    let start = &step.location;
    // The statement may begin in the middle of its first line.
    let (column, source_line) = if line_number == 0 {
        (
            start.column + column,
            format!(
                "{}{line}",
                " ".repeat(start.column.saturating_sub(1) as usize)
            ),
        )
    } else {
        (column + 1, line.to_owned())
    };
    let line = start.line + u32::try_from(line_number).unwrap_or(0);
    Complaint {
        location: Location {
            file: start.file.clone(),
            line,
            column,
        },
        message,
        source_line,
    }
}
