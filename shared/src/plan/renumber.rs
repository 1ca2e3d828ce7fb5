//! Giving a task another number, with all in it that follows from the number.

use super::{KeptTable, Operator, StatementUndo, Task};
use crate::ids::TaskId;

impl Task {
    /// Gives the task another number. `of` says what becomes of the number of another task of its pass.
    pub fn renumber(&mut self, to: TaskId, of: impl Fn(TaskId) -> TaskId) {
        let (old, new) = (format!("{{run}}_{}_", self.id), format!("{{run}}_{to}_"));
        let rename = |kept: &mut KeptTable| {
            if let Some(rest) = kept.name.strip_prefix(&old) {
                kept.name = format!("{new}{rest}");
            }
        };
        match &mut self.operator {
            Operator::InPlace(op) => rename(&mut op.before_images),
            Operator::Transform(op) => rename(&mut op.write.before_images),
            Operator::Append(op) => rename(&mut op.recorded),
            Operator::Statement(op) => {
                if let StatementUndo::Copy { tables } = &mut op.undo {
                    tables.iter_mut().for_each(|table| rename(&mut table.kept));
                }
            }
            Operator::Shadow(op) => op.pass = of(op.pass),
            Operator::Metadata(_) | Operator::Check(_) | Operator::Exec(_) => {}
        }
        self.id = to;
    }
}
