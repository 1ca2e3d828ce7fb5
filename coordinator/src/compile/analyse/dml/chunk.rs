//! May a statement be cut by a key? The rules of DESIGN.md section 4, each a function of its own that
//! says in words why not.
//!
//! A unit sees what other units have committed. So a cut changes nothing where nothing that a unit
//! reads is written by another, where whatever looks at many rows sees them all in every unit, and
//! where nothing that happens once for a statement would now happen once for each unit.

use std::collections::{BTreeMap, BTreeSet};

use upshift_shared::{
    catalog::{Catalog, Column, ConstraintKind, Relation, RelationKind},
    ids::{ColId, RelId},
};

use super::walk::Walked;
use crate::compile::{
    analyse::query::{LevelId, Place, Source, SourceId, Span, Walker, descendants, under_view},
    model::{Joins, Resource},
};

/// What kind of statement it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Update,
    Delete,
    Insert,
}

/// A walked statement to be judged.
pub(super) struct Case<'w, 'a> {
    pub(super) walker: &'w Walker<'a>,
    pub(super) walked: &'w Walked<'a>,
    pub(super) verb: Verb,
    /// The level whose rows are cut: the statement's own, or that of an INSERT's query.
    pub(super) rows: LevelId,
}

impl Case<'_, '_> {
    /// Why it may be cut, or why not. `vouched`: the author's `{parallel_filter}` stands against
    /// every rule but the hard ones.
    pub(super) fn verdict(&self, vouched: bool) -> Result<String, String> {
        if let Some(why) = self.draws_ids() {
            return Err(why);
        }
        if vouched {
            return Ok("the author vouches for it with {parallel_filter}".to_owned());
        }
        let rules: [fn(&Self) -> Option<String>; 9] = [
            Self::locks_rows,
            Self::reads_clock,
            Self::reads_anything,
            Self::moves_unique,
            Self::refers_to_itself,
            Self::reads_system_columns,
            Self::reads_other_rows,
            Self::spans_rows,
            Self::joins_several,
        ];
        match rules.iter().find_map(|rule| rule(self)) {
            Some(why) => Err(why),
            None => Ok(self.why_by_key()),
        }
    }

    fn draws_ids(&self) -> Option<String> {
        let found = &self.walker.found;
        let by_default = !self.walked.effects.sequences.is_empty();
        let what = match &found.draws {
            Some(call) => call.clone(),
            None if by_default => "a column's default".to_owned(),
            None => return None,
        };
        Some(format!(
            "{what} uses a sequence, and ids drawn from a sequence come in the order of the single \
             statement"
        ))
    }

    fn locks_rows(&self) -> Option<String> {
        self.walker.found.locks_rows.then(|| {
            "FOR UPDATE and its like depend on what else is locked at that moment".to_owned()
        })
    }

    fn reads_clock(&self) -> Option<String> {
        let lost = || {
            self.walker
                .now_calls()
                .is_none()
                .then(|| "now()".to_owned())
        };
        let what = self.walker.found.clock.clone().or_else(lost)?;
        Some(format!(
            "{what} reads the clock, which would go on from unit to unit"
        ))
    }

    fn reads_anything(&self) -> Option<String> {
        let why = self.walker.found.reads_anything.as_ref()?;
        Some(format!("{why}, which other units change"))
    }

    /// PostgreSQL checks uniqueness row by row, so whether values may move depends on the order.
    fn moves_unique(&self) -> Option<String> {
        let written = self.written();
        let relation = self.walked.relation;
        let touched = |columns: &[ColId]| columns.iter().any(|column| written.contains(column));
        let index = relation
            .indexes
            .iter()
            .find(|index| index.unique && touched(&index.mentions))
            .map(|index| &index.name);
        let exclusion = || {
            relation
                .constraints
                .iter()
                .find(|c| c.kind == ConstraintKind::Exclusion && touched(&c.columns))
                .map(|constraint| &constraint.name)
        };
        let name = index.or_else(exclusion)?;
        Some(format!(
            "it assigns a column of {name}, which is checked row by row: whether it passes depends on \
             the order"
        ))
    }

    /// Rows that refer to rows of the same table must go, or come, together with them.
    fn refers_to_itself(&self) -> Option<String> {
        if self.verb == Verb::Update {
            return None;
        }
        let relation = self.walked.relation;
        let constraint = relation.constraints.iter().find(
            |c| matches!(&c.kind, ConstraintKind::ForeignKey { table, .. } if *table == relation.id),
        )?;
        Some(format!(
            "{} refers to rows of {} itself, which may be in another unit",
            constraint.name, relation.name
        ))
    }

    fn reads_system_columns(&self) -> Option<String> {
        let family = family(self.walker.catalog, self.walked.relation);
        let reads = |source: &&Source<'_>| {
            source.system_columns && source.relation().is_some_and(|r| family.contains(&r.id))
        };
        let source = self.walker.sources.iter().find(reads)?;
        Some(format!(
            "it reads a system column of {}, which changes as rows are written",
            source.alias
        ))
    }

    /// Other rows of the target are read only through columns that nobody writes; where rows come or
    /// go, not at all.
    fn reads_other_rows(&self) -> Option<String> {
        let (catalog, relation) = (self.walker.catalog, self.walked.relation);
        let family = family(catalog, relation);
        let written = self.written();
        let at_hand = self.at_hand();
        let mut sources = self.walker.sources.iter().enumerate();
        sources.find_map(|(id, source)| {
            let read = source.relation()?;
            if at_hand.contains(&id) || source.target {
                return None;
            }
            if read.kind == RelationKind::View {
                let under = under_view(catalog, read);
                let hit = under.iter().find(|under| family.contains(&under.id))?;
                return Some(format!(
                    "the view {} reads {}, which it writes",
                    read.name, hit.name
                ));
            }
            if !family.contains(&read.id) {
                return None;
            }
            self.conflict(source, read, &written)
        })
    }

    fn conflict(
        &self,
        source: &Source<'_>,
        read: &Relation,
        written: &BTreeSet<ColId>,
    ) -> Option<String> {
        let table = &self.walked.relation.name;
        match self.verb {
            Verb::Delete => Some(format!(
                "{} reads which other rows {table} has, and it deletes some",
                source.alias
            )),
            Verb::Insert => Some(format!("it reads {table} while it adds rows to it")),
            Verb::Update => {
                let target = self.walked.relation;
                let assigned = written.iter().filter_map(|c| target.column_by_id(*c));
                let names: BTreeSet<&str> = assigned.map(|c| c.name.as_str()).collect();
                let both: Vec<&str> = source
                    .read
                    .iter()
                    .filter_map(|column| read.column_by_id(*column))
                    .map(|column| column.name.as_str())
                    .filter(|name| names.contains(name))
                    .collect();
                (!both.is_empty()).then(|| {
                    format!(
                        "{} reads {} of other rows of {table}, which it assigns",
                        source.alias,
                        both.join(", ")
                    )
                })
            }
        }
    }

    /// The columns that are assigned, and the generated ones that follow from them.
    fn written(&self) -> BTreeSet<ColId> {
        let relation = self.walked.relation.id;
        let writes = self.walked.effects.writes.iter();
        let columns = writes.filter_map(|resource| match resource {
            Resource::Column(table, column) if *table == relation => Some(*column),
            _ => None,
        });
        columns.collect()
    }

    /// How it meets rows, for passes.
    pub(super) fn joins(&self) -> Joins {
        let at_hand = self.at_hand();
        let mut fixed = at_hand.clone();
        self.walker.fix(&mut fixed, &self.walked.joined);
        let mut joins = Joins {
            single: self.walked.joined.iter().all(|s| fixed.contains(s)),
            volatile: self.walker.found.volatile.clone(),
            promises: self.walker.found.promises.clone(),
            unfit: self.walker.found.unfit,
            with: self.walker.found.with.clone(),
            ..Joins::default()
        };
        if !joins.single {
            joins.from = self.columns_of_from();
        }
        let family = family(self.walker.catalog, self.walked.relation);
        for (id, source) in self.walker.sources.iter().enumerate() {
            if source.target {
                continue;
            }
            let Some(relation) = source.relation() else {
                if self.walked.joined.contains(&id) {
                    joins.rowless.push(source.alias.clone());
                }
                continue;
            };
            if !joins.single && self.walked.joined.contains(&id) {
                let keys = super::lookup::keys(relation);
                joins.lookups.insert(source.alias.clone(), keys);
            }
            if self.walked.joined.contains(&id)
                && !matches!(
                    relation.kind,
                    RelationKind::Table
                        | RelationKind::PartitionedTable
                        | RelationKind::MaterializedView
                )
            {
                joins.rowless.push(source.alias.clone());
            }
            if !family.contains(&relation.id) {
                continue;
            }
            if at_hand.contains(&id) && self.walked.joined.contains(&id) {
                joins.at_hand.push(source.alias.clone());
            } else {
                joins.looks_around = true;
                joins.others.extend(&source.read);
            }
        }
        joins
    }

    /// The columns that it reads of FROM; `None` where that is not all tables.
    fn columns_of_from(&self) -> Option<BTreeMap<(String, String), Column>> {
        let mut columns = BTreeMap::new();
        for id in &self.walked.joined {
            let source = &self.walker.sources[*id];
            let relation = source.relation()?;
            let read = source.read.iter().filter_map(|c| relation.column_by_id(*c));
            let named = |c: &Column| ((source.alias.clone(), c.name.clone()), c.clone());
            columns.extend(read.map(named));
        }
        Some(columns)
    }

    fn at_hand(&self) -> BTreeSet<SourceId> {
        match self.verb {
            Verb::Insert => BTreeSet::from([self.walked.target]),
            Verb::Update | Verb::Delete => {
                let written = self.written();
                self.walker.rows_at_hand(self.walked.target, &written)
            }
        }
    }

    /// What looks at many rows, or happens once, in queries within the statement.
    fn spans_rows(&self) -> Option<String> {
        let inner = 0..self.walker.levels.len();
        inner
            .filter(|level| *level != self.rows)
            .find_map(|level| self.spans_in(level))
            .or_else(|| {
                let rows = &self.walker.levels[self.rows];
                let function = rows.volatile_in_from.as_deref().map(called_once);
                let sample = rows.spans.contains(&Span::Sample);
                function.or_else(|| sample.then(|| spans_rows(Span::Sample)))
            })
    }

    fn spans_in(&self, id: LevelId) -> Option<String> {
        let level = &self.walker.levels[id];
        let in_expression = self.is_in_expression(id);
        let row_by_row = in_expression && level.correlated;
        let volatile = level.volatile.as_ref().or(level.volatile_in_from.as_ref());
        if let (false, Some(function)) = (row_by_row, volatile) {
            return Some(called_once(function));
        }
        let span = *level.spans.iter().find(|span| !harmless(**span))?;
        let settled = level
            .spans
            .iter()
            .all(|span| harmless(*span) || is_settled(*span));
        let reads_target = self.reads_target_within(id);
        if !reads_target && (row_by_row || (in_expression && settled)) {
            return None;
        }
        Some(if reads_target {
            format!(
                "{} looks at several rows of {} together",
                span.name(),
                self.walked.relation.name
            )
        } else {
            spans_rows(span)
        })
    }

    /// Whether a level stands in an expression, so that it is computed for a row, and not in FROM or
    /// WITH, where it is computed for the statement.
    fn is_in_expression(&self, level: LevelId) -> bool {
        let mut outermost = None;
        let mut next = Some(level);
        while let Some(id) = next.filter(|id| *id != self.rows) {
            let level = &self.walker.levels[id];
            match level.place {
                Place::From | Place::Cte if !level.correlated => return false,
                Place::Arm => {}
                place => outermost = Some(place),
            }
            next = level.parent;
        }
        outermost == Some(Place::Expression)
    }

    fn reads_target_within(&self, level: LevelId) -> bool {
        let catalog = self.walker.catalog;
        let family = family(catalog, self.walked.relation);
        self.walker.sources.iter().any(|source| {
            self.walker.is_within(source.level, level)
                && source.relation().is_some_and(|relation| {
                    family.contains(&relation.id)
                        || under_view(catalog, relation)
                            .iter()
                            .any(|under| family.contains(&under.id))
                })
        })
    }

    /// UPDATE … FROM: a row that the join matches several times gets the values of any one match,
    /// and which one depends on the plan.
    fn joins_several(&self) -> Option<String> {
        if self.verb != Verb::Update || self.walked.joined.is_empty() {
            return None;
        }
        let mut fixed = self.at_hand();
        self.walker.fix(&mut fixed, &self.walked.joined);
        let loose = self
            .walked
            .set_from
            .iter()
            .find(|source| self.walked.joined.contains(source) && !fixed.contains(source))?;
        Some(format!(
            "nothing proves that a row of {} meets at most one row of {}, and which of several it \
             would take depends on the plan",
            self.walked.relation.name, self.walker.sources[*loose].alias
        ))
    }

    fn why_by_key(&self) -> String {
        let table = &self.walked.relation.name;
        let at_hand = self.at_hand().len() > 1;
        let family = family(self.walker.catalog, self.walked.relation);
        let hand = self.at_hand();
        let others: BTreeSet<&str> = self
            .walker
            .sources
            .iter()
            .enumerate()
            .filter(|(id, source)| !source.target && !hand.contains(id))
            .filter_map(|(_, source)| Some((source, source.relation()?)))
            .filter(|(_, relation)| family.contains(&relation.id))
            .flat_map(|(source, relation)| {
                source.read.iter().filter_map(|c| relation.column_by_id(*c))
            })
            .map(|column| column.name.as_str())
            .collect();
        let mut why = match self.verb {
            Verb::Insert => format!("it reads nothing of {table}"),
            _ if others.is_empty() && at_hand => {
                format!("{table} is joined to itself on its key: the row at hand")
            }
            _ if others.is_empty() => format!("it reads no other rows of {table}"),
            _ => format!(
                "of other rows of {table} it reads only {}, which nothing assigns",
                others.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        if !self.walker.found.promises.is_empty() {
            let names: Vec<&str> = self
                .walker
                .found
                .promises
                .iter()
                .map(String::as_str)
                .collect();
            why.push_str("; ");
            why.push_str(&names.join(", "));
            why.push_str(" is IMMUTABLE by its author's word");
        }
        why
    }
}

/// Why something that looks at several rows forbids a cut.
pub(super) fn spans_rows(span: Span) -> String {
    format!(
        "{} looks at many rows together, once for the whole statement",
        span.name()
    )
}

/// Why a volatile function forbids a cut.
pub(super) fn called_once(function: &str) -> String {
    format!("{function} is called once for the whole statement, not for each row")
}

/// Without LIMIT the order makes no difference, and UNION ALL is each of its sides by itself.
fn harmless(span: Span) -> bool {
    matches!(span, Span::OrderBy | Span::UnionAll)
}

/// Comes out the same however often and in whatever order it is computed.
fn is_settled(span: Span) -> bool {
    matches!(
        span,
        Span::Aggregate | Span::GroupBy | Span::Distinct | Span::SetOperation
    )
}

/// A relation with its ancestors and descendants: they share rows.
fn family(catalog: &Catalog, relation: &Relation) -> BTreeSet<RelId> {
    let mut family = BTreeSet::from([relation.id]);
    let mut open = vec![relation];
    while let Some(member) = open.pop() {
        for parent in &member.inheritance.parents {
            if family.insert(*parent) {
                open.extend(catalog.relation(*parent));
            }
        }
    }
    family.extend(descendants(catalog, relation.id).iter().map(|r| r.id));
    family
}
