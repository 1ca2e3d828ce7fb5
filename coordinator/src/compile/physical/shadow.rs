//! The tasks of a shadow pass, in the order of their numbers: build, fill, indexes, settle, the gates for
//! the way back, swap, foreign keys.

use std::collections::BTreeMap;

use upshift_shared::{
    catalog::{Constraint, ConstraintKind, Dependent, Relation},
    ids::{RelId, StepId, TaskId},
    pack::{Location, Phase, Version},
    pg::ident::QualifiedName,
    plan::{
        AssignedColumn, Cut, Edge, EdgeReason, Fragment, Operator, Sequences, Shadow, ShadowStage,
        TableKeys, TableUse, Task, Template, UndoKind,
    },
};

use crate::{
    compile::{
        model::{AnalysedStep, Analysis, Class},
        optimise::Pass,
    },
    figures::counted,
};

/// The tasks of a pass.
pub(super) struct Stages {
    pub(super) tasks: Vec<Task>,
    /// Between them.
    pub(super) edges: Vec<Edge>,
    /// From here on the table is there in its final shape, under its name.
    pub(super) swap: TaskId,
    /// What must come before anything that finds the table's foreign keys by their names: they are not
    /// valid before it.
    pub(super) last: Vec<TaskId>,
    /// Of these, those that validate foreign keys, and the table that has them.
    pub(super) validated: Vec<(TaskId, RelId)>,
    /// What has to be done on the way back once the swap is undone.
    pub(super) gates: Vec<TaskId>,
}

/// With as many rows, each foreign key is validated by a task of its own: it holds locks on the tables
/// that it points at.
const MANY: u64 = 50_000;

/// Tables with fewer rows are validated several together: what a task costs is more than their scans.
const SMALL: f64 = 10_000.0;

/// So many of these at the most: their locks are held until all are validated.
const TOGETHER: usize = 16;

/// Foreign keys by the table that has them.
type Keys = BTreeMap<(RelId, QualifiedName), Vec<String>>;

/// Some of these, for one task: one table at least.
type Group = Vec<((RelId, QualifiedName), Vec<String>)>;

/// Makes the tasks of a pass, numbered from `first` on.
pub(super) fn stages(pass: &Pass, analysis: &Analysis, first: u32) -> Stages {
    let steps: Vec<&AnalysedStep> = pass
        .steps
        .iter()
        .map(|place| &analysis.steps[*place as usize])
        .collect();
    let maker = Maker {
        pass,
        module: steps.iter().map(|step| step.step.module).max().unwrap_or(0),
        version: steps[steps.len() - 1].step.version.clone(),
        phase: steps[steps.len() - 1].step.phase,
        steps: steps.iter().map(|step| step.step.id).collect(),
        sources: steps
            .iter()
            .map(|step| step.step.location.clone())
            .collect(),
        assigned: assigned(&steps, &pass.after),
        first: TaskId(first),
    };
    maker.stages()
}

/// The columns that a statement assigns, as they are called there.
fn assigns(step: &AnalysedStep) -> &[String] {
    match &step.bound.class {
        Class::Update(dml) => &dml.assigned,
        Class::Transform(transform) => &transform.dml.assigned,
        _ => &[],
    }
}

/// Which statements assign a column, by the name that it has after the pass. One may have had several
/// names before, and other columns the same.
fn assigned(steps: &[&AnalysedStep], after: &Relation) -> Vec<AssignedColumn> {
    let mut columns = BTreeMap::<&str, Vec<Location>>::new();
    for step in steps {
        let Some(around) = &step.around else {
            continue;
        };
        let assigned = assigns(step).iter();
        let ids = assigned.filter_map(|name| Some(around.before.column(name)?.id));
        for column in ids.filter_map(|id| after.column_by_id(id)) {
            let places = columns.entry(&column.name).or_default();
            if !places.contains(&step.step.location) {
                places.push(step.step.location.clone());
            }
        }
    }
    let named = columns.into_iter();
    named
        .map(|(name, locations)| AssignedColumn {
            name: name.to_owned(),
            locations,
        })
        .collect()
}

struct Maker<'p> {
    pass: &'p Pass,
    module: u32,
    version: Version,
    phase: Phase,
    steps: Vec<StepId>,
    sources: Vec<Location>,
    /// Columns that the statements assign.
    assigned: Vec<AssignedColumn>,
    first: TaskId,
}

impl Maker<'_> {
    fn stages(&self) -> Stages {
        let pass = self.pass;
        let mut made = Stages {
            tasks: Vec::new(),
            edges: Vec::new(),
            swap: self.first,
            last: Vec::new(),
            validated: Vec::new(),
            gates: Vec::new(),
        };
        let build = self.push(&mut made, self.build(), &[]);
        let fill = self.push(&mut made, self.fill(), &[build]);
        debug_assert_eq!(fill.0, self.first.0 + 1, "Shadow::fill counts on it");
        let mut ready = vec![fill];
        for index in &pass.after.indexes {
            let stage = ShadowStage::Index {
                name: index.name.clone(),
            };
            let label = format!("index {}", index.name);
            let seconds = pass.cost.index * self.share_of(index.bytes);
            let task = self.task(stage, (label, seconds), Vec::new());
            ready.push(self.push(&mut made, task, &[fill]));
        }
        // With statistics and visibility map, most foreign keys are validated by their indexes.
        let settled = self.push(&mut made, self.settle(), &ready);
        for group in self.grouped(self.keys_before(), false) {
            let uses = self.validates(&group, &pass.before.constraints);
            let label = format!("for the way back: foreign keys of {}", tables_of(&group));
            let (table, keys, others) = named(group);
            let stage = ShadowStage::Before {
                table,
                keys,
                others,
            };
            let gate = self.task(stage, (label, 0.01), uses);
            let gate = self.push(&mut made, gate, &[settled]);
            made.gates.push(gate);
        }
        let mut before = made.gates.clone();
        before.push(settled);
        made.swap = self.push(&mut made, self.swap(), &before);
        made.last.push(made.swap);
        let mut keys_after = self.keys_after();
        if !pass.before.inheritance.parents.is_empty() {
            let own = (pass.relation, pass.table.clone());
            keys_after.entry(own).or_default();
        }
        for group in self.grouped(keys_after, true) {
            let tables: Vec<RelId> = group.iter().map(|((id, _), _)| *id).collect();
            let swap = made.swap;
            let task = self.validate(group);
            let last = self.push(&mut made, task, &[swap]);
            made.last.push(last);
            let validated = tables.into_iter().map(|table| (last, table));
            made.validated.extend(validated);
        }
        made
    }

    fn settle(&self) -> Task {
        let pass = self.pass;
        let label = format!("statistics and visibility map of {}", pass.table.plain());
        let uses = vec![used(pass.relation, &pass.table)];
        let cost = (label, 0.2 + pass.cost.fill / 8.0);
        let stage = ShadowStage::Settle {
            carried: Some(pass.composed.carried.clone()),
        };
        self.task(stage, cost, uses)
    }

    /// Small tables with foreign keys to this one, several together; the others by themselves, and with `each` the
    /// keys of this one too, if it is large.
    fn grouped(&self, keys: Keys, each: bool) -> Vec<Group> {
        let pass = self.pass;
        let incoming = pass.incoming.iter().map(|(id, ..)| *id);
        let rows: BTreeMap<RelId, f64> = incoming.zip(pass.incoming_rows.iter().copied()).collect();
        let is_small = |id: &RelId| {
            let rows = rows.get(id);
            *id != pass.relation && rows.is_some_and(|rows| (0.0..SMALL).contains(rows))
        };
        let (small, large): (Group, Group) =
            keys.into_iter().partition(|((id, _), _)| is_small(id));
        let mut groups: Vec<Group> = Vec::new();
        for (table, keys) in large {
            // Of an old partition, the bound is validated even where there is no key.
            match each && table.0 == pass.relation && pass.rows >= MANY && !keys.is_empty() {
                true => groups.extend(keys.into_iter().map(|key| vec![(table.clone(), vec![key])])),
                false => groups.push(vec![(table, keys)]),
            }
        }
        groups.extend(small.chunks(TOGETHER).map(<[_]>::to_vec));
        groups
    }

    fn validate(&self, group: Group) -> Task {
        let uses = self.validates(&group, &self.pass.after.constraints);
        let keys: Vec<&String> = group.iter().flat_map(|(_, keys)| keys).collect();
        let what = match &keys[..] {
            [] => "what the way back needs".to_owned(),
            [only] => format!("foreign key {only}"),
            several => counted(several.len() as u64, "foreign key"),
        };
        let label = format!("validate {what} of {}", tables_of(&group));
        let seconds = self.pass.cost.key * keys.len() as f64;
        let (table, keys, others) = named(group);
        let stage = ShadowStage::Validate {
            table,
            keys,
            others,
        };
        self.task(stage, (label, seconds), uses)
    }

    /// What validating foreign keys locks: the tables that have them, and against ACCESS EXCLUSIVE whatever they
    /// point at.
    fn validates(&self, group: &Group, own: &[Constraint]) -> Vec<TableUse> {
        let pass = self.pass;
        let mut uses: BTreeMap<RelId, TableUse> = group
            .iter()
            .map(|((id, table), _)| (*id, used(*id, table)))
            .collect();
        let mut targets = Vec::new();
        for ((id, _), keys) in group {
            let own = own
                .iter()
                .filter(|key| *id == pass.relation && keys.contains(&key.name));
            targets.extend(own.filter_map(|key| match &key.kind {
                ConstraintKind::ForeignKey { table, .. } => Some(*table),
                _ => None,
            }));
            targets.extend((*id != pass.relation).then_some(pass.relation));
        }
        for target in targets {
            let known = pass.parents.iter().find(|(id, _)| *id == target);
            let name = match known {
                Some((_, name)) => name,
                None if target == pass.relation => &pass.table,
                None => continue,
            };
            uses.entry(target).or_insert_with(|| TableUse {
                write: false,
                ..used(target, name)
            });
        }
        uses.into_values().collect()
    }

    /// How much longer an index takes than the average one of the table: the engine begins with the
    /// longest. A new one is taken for an average one.
    fn share_of(&self, bytes: u64) -> f64 {
        let known = self
            .pass
            .after
            .indexes
            .iter()
            .map(|index| index.bytes)
            .filter(|b| *b > 0);
        let (count, sum) = known.fold((0_u64, 0_u64), |(count, sum), b| (count + 1, sum + b));
        if bytes == 0 || sum == 0 {
            return 1.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate; 2^53 bytes are out of reach"
        )]
        let share = bytes as f64 * count as f64 / sum as f64;
        share.clamp(0.3, 4.0)
    }

    fn push(&self, made: &mut Stages, mut task: Task, after: &[TaskId]) -> TaskId {
        let number = u32::try_from(made.tasks.len()).expect("a pass has fewer than 2^32 tasks");
        task.id = TaskId(self.first.0 + number);
        for before in after {
            made.edges.push(Edge {
                from: *before,
                to: task.id,
                reason: EdgeReason::Stage,
            });
        }
        made.tasks.push(task);
        made.tasks[number as usize].id
    }

    fn build(&self) -> Task {
        let pass = self.pass;
        let label = format!(
            "build {} anew: {}",
            pass.table.plain(),
            counted(pass.steps.len() as u64, "statement")
        );
        let stage = ShadowStage::Build {
            evolve: pass.composed.evolve.clone(),
        };
        let uses = vec![used(pass.relation, &pass.table)];
        let mut task = self.task(stage, (label, 0.1), uses);
        task.why.clone_from(&pass.why);
        task.settings.clone_from(&pass.composed.settings);
        task.notes = pass
            .left_out
            .iter()
            .map(|(location, why)| format!("not part of the pass: {location}: {why}"))
            .chain(unpublished(&pass.before))
            .collect();
        task
    }

    fn fill(&self) -> Task {
        let pass = self.pass;
        let (before, after) = &pass.composed.fill;
        let stage = ShadowStage::Fill {
            sql: Template(vec![
                Fragment::Text(before.clone()),
                Fragment::Kept,
                Fragment::Text(after.clone()),
            ]),
            cut: Cut::pages(pass.table.to_string()),
            transforms: pass.composed.transforms.clone(),
            carried: Some(pass.composed.carried.clone()),
            assigned: self.assigned.clone(),
        };
        let label = format!("fill the new {}", pass.table.plain());
        // It only reads; but the swap of another pass that has foreign keys to this table would wait for a
        // lock on it, unit after unit.
        let uses = vec![used(pass.relation, &pass.table)];
        let mut task = self.task(stage, (label, pass.cost.fill), uses);
        task.rows = pass.rows;
        task.why = "cut by pages of the old table, which nobody can write meanwhile".to_owned();
        task.pinned_now = pass.composed.pinned_now;
        task.settings.clone_from(&pass.composed.settings);
        task
    }

    fn swap(&self) -> Task {
        let pass = self.pass;
        let stage = ShadowStage::Swap {
            renames: pass.composed.renames.clone(),
            dropped_keys: pass.composed.dropped_keys.clone(),
            added_keys: pass.composed.added_keys.clone(),
        };
        let mut tables = BTreeMap::from([(pass.relation, pass.table.clone())]);
        tables.extend(
            pass.incoming
                .iter()
                .map(|(id, name, _)| (*id, name.clone())),
        );
        tables.extend(pass.parents.iter().cloned());
        // Its locks are ACCESS EXCLUSIVE: dropping a foreign key takes that on both tables.
        let uses = tables.iter().map(|(id, name)| TableUse {
            alone: true,
            ..used(*id, name)
        });
        let uses = uses.collect();
        let label = format!(
            "swap {}: the old table is kept until commit",
            pass.table.plain()
        );
        self.task(stage, (label, 0.1), uses)
    }

    /// Foreign keys that the swap back makes again.
    fn keys_before(&self) -> Keys {
        self.keys(&self.pass.before.constraints)
    }

    /// Foreign keys that the swap makes.
    fn keys_after(&self) -> Keys {
        self.keys(&self.pass.after.constraints)
    }

    fn keys(&self, own: &[Constraint]) -> Keys {
        let pass = self.pass;
        let mut keys = Keys::new();
        let mine = (pass.relation, pass.table.clone());
        let is_key =
            |c: &&Constraint| matches!(c.kind, ConstraintKind::ForeignKey { .. }) && c.validated;
        for key in own.iter().filter(is_key) {
            keys.entry(mine.clone()).or_default().push(key.name.clone());
        }
        for (id, table, key) in &pass.incoming {
            if *id != pass.relation && key.validated {
                keys.entry((*id, table.clone()))
                    .or_default()
                    .push(key.name.clone());
            }
        }
        keys
    }

    fn task(
        &self,
        stage: ShadowStage,
        (label, seconds): (String, f64),
        uses: Vec<TableUse>,
    ) -> Task {
        let undo = match &stage {
            ShadowStage::Swap { .. } => UndoKind::SwapBack,
            _ => UndoKind::Nothing,
        };
        Task {
            id: self.first,
            module: self.module,
            version: self.version.clone(),
            phase: self.phase,
            steps: self.steps.clone(),
            sources: self.sources.clone(),
            label,
            operator: Operator::Shadow(Shadow {
                table: self.pass.table.clone(),
                pass: self.first,
                stage,
            }),
            why: String::new(),
            rows: 0,
            seconds,
            undo,
            tables: uses,
            settings: Vec::new(),
            sequences: Sequences::None,
            pinned_now: false,
            notes: Vec::new(),
            checkpoint: 0,
            superseded: false,
        }
    }
}

/// Rows of a new table are not published: it becomes a member when it is full.
fn unpublished(table: &Relation) -> impl Iterator<Item = String> {
    let publications = table.dependents.iter();
    publications.filter_map(|dependent| match dependent {
        Dependent::Publication { name, .. } => Some(format!(
            "what the pass changes is not sent to subscribers of publication {name}: copy the table \
             to them anew, or say strategy = in_place"
        )),
        _ => None,
    })
}

/// The tables of a group, for people.
fn tables_of(group: &Group) -> String {
    match &group[..] {
        [((_, table), _)] => table.plain(),
        several => format!("{} small tables", several.len()),
    }
}

/// The first table of a group with its keys, and the others.
fn named(mut group: Group) -> (QualifiedName, Vec<String>, Vec<TableKeys>) {
    let others = group.split_off(1).into_iter();
    let others = others.map(|((_, table), keys)| TableKeys { table, keys });
    let ((_, table), keys) = group.remove(0);
    (table, keys, others.collect())
}

fn used(relation: RelId, table: &QualifiedName) -> TableUse {
    TableUse {
        table: table.to_string(),
        relation: relation.0,
        write: true,
        alone: false,
    }
}
