//! At most one row: which sources have at most one row for each row of others, by proof from unique
//! indexes, GROUP BY and the like.

use std::collections::BTreeSet;

use pg_query::{
    Node, NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, SelectStmt, a_const},
};
use upshift_shared::{
    catalog::{Index, Relation},
    ids::{ColId, RelId},
};

use super::{
    naming::strings,
    scope::Meaning,
    source::{ColumnAt, Equality, Operand, Output, Shape, SourceId, Span},
    walker::Walker,
};

impl Walker<'_> {
    /// Notes the equalities that a condition demands (its AND-ed parts).
    pub(crate) fn note_equalities(&mut self, condition: &Node, restricts: &[SourceId]) {
        match &condition.node {
            Some(NodeEnum::BoolExpr(both)) if both.boolop == BoolExprType::AndExpr as i32 => {
                for part in &both.args {
                    self.note_equalities(part, restricts);
                }
            }
            Some(NodeEnum::AExpr(expression)) if is_equals(expression) => {
                let (Some(left), Some(right)) = (&expression.lexpr, &expression.rexpr) else {
                    return;
                };
                match (&left.node, &right.node) {
                    (Some(NodeEnum::RowExpr(a)), Some(NodeEnum::RowExpr(b))) => {
                        for (a, b) in a.args.iter().zip(&b.args) {
                            self.note_equality(a, b, restricts);
                        }
                    }
                    _ => self.note_equality(left, right, restricts),
                }
            }
            _ => {}
        }
    }

    fn note_equality(&mut self, left: &Node, right: &Node, restricts: &[SourceId]) {
        let (left, right) = (self.operand(left), self.operand(right));
        self.equalities.push(Equality {
            left,
            right,
            restricts: restricts.to_vec(),
        });
    }

    fn operand(&mut self, node: &Node) -> Operand {
        match &node.node {
            Some(NodeEnum::ColumnRef(reference)) => match self.meaning(reference) {
                Ok(Meaning::Column(at)) => Operand::Column(self.origin(at)),
                Ok(Meaning::Row(source) | Meaning::System(source)) => {
                    Operand::Computed(vec![source])
                }
                Err(_) => Operand::Computed(Vec::new()),
            },
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(a_const::Val::Fval(_)) => Operand::Computed(Vec::new()),
                _ => Operand::Constant,
            },
            Some(NodeEnum::AExpr(expression)) => match self.shifted(expression) {
                Some(at) => Operand::Shifted(at),
                None => self.computed(node),
            },
            _ => self.computed(node),
        }
    }

    /// `integer column ± integer constant`: equal where the column is.
    fn shifted(&mut self, expression: &AExpr) -> Option<ColumnAt> {
        let plain = expression.kind == AExprKind::AexprOp as i32;
        let names = strings(&expression.name);
        if !plain || !matches!(names.as_slice(), ["+" | "-"]) {
            return None;
        }
        let right = expression.rexpr.as_deref()?;
        let Some(NodeEnum::AConst(constant)) = &right.node else {
            return None;
        };
        let left = self.operand(expression.lexpr.as_deref()?);
        match (left, &constant.val) {
            (Operand::Column(at) | Operand::Shifted(at), Some(a_const::Val::Ival(_))) => {
                let type_name = self.sources[at.source].column_type(at.column);
                type_name.is_some_and(is_integer).then_some(at)
            }
            _ => None,
        }
    }

    /// What an expression is computed from: it is walked once more, which notes nothing new.
    fn computed(&mut self, node: &Node) -> Operand {
        let before = self.mentioned.len();
        let (levels, sources) = (self.levels.len(), self.sources.len());
        let equalities = self.equalities.len();
        let with = self.found.with.clone();
        let walked = self.expression(node);
        self.found.with = with;
        let mentioned: Vec<SourceId> = self.mentioned[before..]
            .iter()
            .copied()
            .filter(|source| *source < sources)
            .collect();
        self.levels.truncate(levels);
        self.sources.truncate(sources);
        self.mentioned.truncate(before);
        self.equalities.truncate(equalities);
        match walked {
            Ok(()) => Operand::Computed(mentioned),
            // Never determined.
            Err(_) => Operand::Computed(vec![usize::MAX]),
        }
    }

    /// The column that an alias over a join passes on.
    fn origin(&self, at: ColumnAt) -> ColumnAt {
        match &self.sources[at.source].shape {
            Shape::Derived(output) => match output.columns.get(at.column).and_then(|c| c.passes) {
                Some(passed)
                    if self.sources[passed.source].level == self.sources[at.source].level =>
                {
                    self.origin(passed)
                }
                _ => at,
            },
            Shape::Relation { .. } => at,
        }
    }

    /// Adds to `fixed` the candidates that have at most one row once the rows of `fixed`, and of
    /// queries around, are given.
    pub(crate) fn fix(&self, fixed: &mut BTreeSet<SourceId>, candidates: &[SourceId]) {
        loop {
            let next = candidates
                .iter()
                .find(|source| !fixed.contains(source) && self.is_fixed(**source, fixed));
            match next {
                Some(source) => fixed.insert(*source),
                None => return,
            };
        }
    }

    fn is_fixed(&self, source: SourceId, fixed: &BTreeSet<SourceId>) -> bool {
        let bound = |column: usize| {
            let at = ColumnAt { source, column };
            self.equalities
                .iter()
                .any(|equality| self.binds(equality, at, fixed))
        };
        match &self.sources[source].shape {
            Shape::Relation { relation, only } => {
                is_flat(relation, *only)
                    && relation.indexes.iter().any(|index| {
                        unique_columns(index).is_some_and(|columns| {
                            columns
                                .iter()
                                .all(|c| place_of(relation, *c).is_some_and(bound))
                        })
                    })
            }
            Shape::Derived(output) => output
                .unique
                .iter()
                .any(|columns| columns.iter().all(|column| bound(*column))),
        }
    }

    fn binds(&self, equality: &Equality, at: ColumnAt, fixed: &BTreeSet<SourceId>) -> bool {
        let known = |source: &SourceId| {
            fixed.contains(source)
                || self.sources.get(*source).is_some_and(|known| {
                    let home = self.sources[at.source].level;
                    known.level != home && self.is_within(home, known.level)
                })
        };
        let one_way = |this: &Operand, other: &Operand| {
            let (Operand::Column(column) | Operand::Shifted(column)) = this else {
                return false;
            };
            let type_name = self.sources[at.source].column_type(at.column);
            *column == at
                && match other {
                    Operand::Constant => true,
                    Operand::Column(other) | Operand::Shifted(other) => {
                        known(&other.source)
                            && other.source != at.source
                            && comparable(
                                type_name,
                                self.sources[other.source].column_type(other.column),
                            )
                    }
                    Operand::Computed(sources) => {
                        type_name.is_some_and(exact_against_anything) && sources.iter().all(known)
                    }
                }
        };
        equality.restricts.contains(&at.source)
            && (one_way(&equality.left, &equality.right)
                || one_way(&equality.right, &equality.left))
    }

    pub(crate) fn relation_of(&self, source: SourceId) -> Option<RelId> {
        self.sources[source].relation().map(|relation| relation.id)
    }

    /// The sets of output columns no two rows agree in.
    pub(super) fn unique_outputs(
        &mut self,
        select: &SelectStmt,
        output: &Output,
        sources: &[SourceId],
        grouped: Option<Vec<usize>>,
    ) -> Vec<Vec<usize>> {
        let spans = self.here().spans.clone();
        if output.open || self.here().multiplies {
            return Vec::new();
        }
        let mut unique = Vec::new();
        if spans.contains(&Span::Distinct) {
            unique.push((0..output.columns.len()).collect());
        }
        let groups = !select.group_clause.is_empty();
        if groups || spans.contains(&Span::Aggregate) {
            unique.extend(grouped);
            return unique;
        }
        for first in sources {
            let mut fixed = BTreeSet::from([*first]);
            self.fix(&mut fixed, sources);
            if sources.iter().all(|source| fixed.contains(source)) {
                unique.extend(self.passed_on(*first, output));
            }
        }
        unique
    }

    /// The unique column sets of a source that a select list passes on whole.
    fn passed_on(&self, source: SourceId, output: &Output) -> Vec<Vec<usize>> {
        let place = |column: usize| {
            let at = ColumnAt { source, column };
            output.columns.iter().position(|c| c.passes == Some(at))
        };
        match &self.sources[source].shape {
            Shape::Relation { relation, only } if is_flat(relation, *only) => relation
                .indexes
                .iter()
                .filter_map(unique_columns)
                .filter_map(|columns| {
                    let places = columns.iter().map(|c| place(place_of(relation, *c)?));
                    places.collect()
                })
                .collect(),
            Shape::Relation { .. } => Vec::new(),
            Shape::Derived(inner) => inner
                .unique
                .iter()
                .filter_map(|columns| columns.iter().map(|column| place(*column)).collect())
                .collect(),
        }
    }
}

/// Whether its unique indexes cover all its rows: an inheritance tree has one for each table.
pub(super) fn is_flat(relation: &Relation, only: bool) -> bool {
    use upshift_shared::catalog::RelationKind;
    relation.kind == RelationKind::PartitionedTable
        || only
        || relation.inheritance.children.is_empty()
}

pub(super) fn place_of(relation: &Relation, column: ColId) -> Option<usize> {
    relation.columns.iter().position(|c| c.id == column)
}

/// The columns of a unique index, where it says something about every row.
pub(super) fn unique_columns(index: &Index) -> Option<Vec<ColId>> {
    let usable = index.unique && index.valid && index.predicate.is_none();
    usable
        .then(|| {
            index
                .columns
                .iter()
                .copied()
                .collect::<Option<Vec<ColId>>>()
        })
        .flatten()
        .filter(|columns| !columns.is_empty())
}

fn is_equals(expression: &AExpr) -> bool {
    expression.kind == AExprKind::AexprOp as i32 && strings(&expression.name) == ["="]
}

fn is_integer(type_name: &str) -> bool {
    matches!(type_name, "smallint" | "integer" | "bigint")
}

fn is_text(type_name: &str) -> bool {
    matches!(base(type_name), "text" | "character varying" | "character")
}

fn base(type_name: &str) -> &str {
    type_name.split('(').next().unwrap_or(type_name)
}

/// Whether `=` between the two types can hold for one value of the first at the most. A comparison
/// of bigint with double precision, say, rounds.
fn comparable(this: Option<&str>, other: Option<&str>) -> bool {
    let (Some(this), Some(other)) = (this, other) else {
        return this.is_some_and(exact_against_anything);
    };
    base(this) == base(other)
        || (is_integer(this) && (is_integer(other) || base(other) == "numeric"))
        || (base(this) == "numeric" && is_integer(other))
        || (is_text(this) && is_text(other))
}

/// Types no comparison of which rounds: small enough for double precision, or compared as they are.
fn exact_against_anything(type_name: &str) -> bool {
    is_text(type_name)
        || matches!(
            base(type_name),
            "smallint" | "integer" | "boolean" | "uuid" | "date"
        )
}
