//! The row at hand: sources of the target's table that can only be the very row that is being changed,
//! because they are joined to it on a unique key. `UPDATE t a … FROM t b … WHERE a.id = b.id` is how
//! people write an UPDATE with an outer join.

use std::collections::BTreeSet;

use upshift_shared::{catalog::Relation, ids::ColId};

use super::{
    source::{ColumnAt, Operand, Place, Shape, SourceId, Span},
    unique::{is_flat, place_of, unique_columns},
    walker::Walker,
};

impl Walker<'_> {
    /// The target, and the sources that are the same row of it: joined to the target, or to another
    /// such source, on all columns of a unique index that the statement does not write.
    pub(crate) fn rows_at_hand(
        &self,
        target: SourceId,
        written: &BTreeSet<ColId>,
    ) -> BTreeSet<SourceId> {
        let mut at_hand = BTreeSet::from([target]);
        let Some(relation) = self.sources[target].relation() else {
            return at_hand;
        };
        let twins: Vec<SourceId> = (0..self.sources.len())
            .filter(|source| self.relation_of(*source) == Some(relation.id) && *source != target)
            .collect();
        loop {
            let next = twins.iter().find(|twin| {
                !at_hand.contains(twin) && self.is_at_hand(**twin, &at_hand, relation, written)
            });
            match next {
                Some(twin) => at_hand.insert(*twin),
                None => return at_hand,
            };
        }
    }

    fn is_at_hand(
        &self,
        twin: SourceId,
        at_hand: &BTreeSet<SourceId>,
        relation: &Relation,
        written: &BTreeSet<ColId>,
    ) -> bool {
        let Shape::Relation { only, .. } = &self.sources[twin].shape else {
            return false;
        };
        let unwritten = |columns: &Vec<ColId>| columns.iter().all(|c| !written.contains(c));
        is_flat(relation, *only)
            && relation
                .indexes
                .iter()
                .filter_map(unique_columns)
                .filter(unwritten)
                .filter_map(|columns| {
                    let places = columns.iter().map(|c| place_of(relation, *c));
                    places.collect::<Option<Vec<usize>>>()
                })
                .any(|key| self.joined(twin, at_hand, &key) || self.passed(twin, at_hand, &key))
    }

    /// Joined as it stands.
    fn joined(&self, twin: SourceId, at_hand: &BTreeSet<SourceId>, key: &[usize]) -> bool {
        at_hand.iter().any(|other| {
            key.iter().all(|column| {
                let this = ColumnAt {
                    source: twin,
                    column: *column,
                };
                self.are_equal(this, *other, *column)
            })
        })
    }

    /// Inside a subquery or WITH query that passes its key on row by row, and that is joined on it
    /// wherever it is mentioned.
    fn passed(&self, twin: SourceId, at_hand: &BTreeSet<SourceId>, key: &[usize]) -> bool {
        let level = &self.levels[self.sources[twin].level];
        let row_by_row = matches!(level.place, Place::From | Place::Cte)
            && level.spans.iter().all(|span| *span == Span::OrderBy);
        let holders: Vec<SourceId> = (0..self.sources.len())
            .filter(|holder| self.passes_on(*holder, twin))
            .collect();
        let is_joined = |holder: &SourceId| {
            at_hand.iter().any(|other| {
                key.iter().all(|column| {
                    let passed = ColumnAt {
                        source: twin,
                        column: *column,
                    };
                    self.passed_as(*holder, passed)
                        .any(|this| self.are_equal(this, *other, *column))
                })
            })
        };
        row_by_row && !holders.is_empty() && holders.iter().all(is_joined)
    }

    fn passes_on(&self, holder: SourceId, twin: SourceId) -> bool {
        match &self.sources[holder].shape {
            Shape::Derived(output) => output
                .columns
                .iter()
                .any(|column| column.passes.is_some_and(|at| at.source == twin)),
            Shape::Relation { .. } => false,
        }
    }

    /// The columns under which a subquery passes a column on.
    fn passed_as(&self, holder: SourceId, passed: ColumnAt) -> impl Iterator<Item = ColumnAt> {
        let columns = match &self.sources[holder].shape {
            Shape::Derived(output) => output.columns.as_slice(),
            Shape::Relation { .. } => &[],
        };
        columns
            .iter()
            .enumerate()
            .filter(move |(_, column)| column.passes == Some(passed))
            .map(move |(column, _)| ColumnAt {
                source: holder,
                column,
            })
    }

    /// Whether a condition that restricts the one demands that it equals the other.
    fn are_equal(&self, this: ColumnAt, other: SourceId, column: usize) -> bool {
        let that = ColumnAt {
            source: other,
            column,
        };
        self.equalities.iter().any(|equality| {
            equality.restricts.contains(&this.source)
                && is_pair(&equality.left, &equality.right, this, that)
        })
    }
}

fn is_pair(left: &Operand, right: &Operand, this: ColumnAt, that: ColumnAt) -> bool {
    match (left, right) {
        (Operand::Column(left), Operand::Column(right)) => {
            (*left == this && *right == that) || (*left == that && *right == this)
        }
        _ => false,
    }
}
