//! The checkpoints of a plan: one at the end of each module, and wherever the pack names one.

use serde::{Deserialize, Serialize};

use super::{Plan, Task};
use crate::pack::Location;

/// A point that the database can be brought back to. It covers all work of the modules before its own,
/// and of its own module what comes before it: once that is done, and nothing that comes later is in
/// effect, the database is at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCheckpoint {
    /// Its name: that of its module for the one at the module's end.
    pub name: String,
    /// The module, by its place in [`Plan::modules`].
    pub module: u32,
    /// Where the pack names it; `None` for the one at the end of a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Location>,
    /// A later checkpoint, where statements before and after this one share a pass over a table: there
    /// is no coming back to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_with: Option<String>,
}

impl Plan {
    /// Fills in what plans of older programs lack: their checkpoints were their modules.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if !self.checkpoints.is_empty() {
            return self;
        }
        let of_modules = (0_u32..).zip(&self.modules);
        self.checkpoints = of_modules
            .map(|(module, planned)| PlannedCheckpoint {
                name: planned.name.clone(),
                module,
                source: None,
                joined_with: planned.joined_with.clone(),
            })
            .collect();
        for task in &mut self.tasks {
            task.checkpoint = task.module;
        }
        self
    }

    /// The tasks, without those that an edited pack no longer has.
    pub fn live(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| !task.superseded)
    }

    /// The first checkpoint from the given place on that one can come back to, with its own place.
    #[must_use]
    pub fn checkpoint_from(&self, place: u32) -> Option<(u32, &PlannedCheckpoint)> {
        let later = self.checkpoints.get(place as usize..).unwrap_or_default();
        let mut later = (place..).zip(later);
        later.find(|(_, one)| one.joined_with.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_without_checkpoints_has_one_for_each_module() {
        let plan = r#"{"format": 3, "pack": "p", "target_version": null, "database": "d",
            "server_version": 150000, "strategy": "dataflow", "edges": [], "skipped": [],
            "warnings": [], "way_back": {"way_back": "whole"},
            "modules": [
                {"name": "a", "from": "1.0", "to": "2.0", "depends": [], "joined_with": "b"},
                {"name": "b", "from": "1.0", "to": "2.0", "depends": []}],
            "tasks": [{"id": 0, "module": 1, "version": "2.0", "phase": "pre", "steps": [0],
                "sources": [], "label": "l", "operator": {"kind": "check", "query": "q",
                "message": "m"}, "why": "w", "rows": 0, "seconds": 0.0, "undo": "nothing",
                "tables": [], "settings": [], "sequences": "none", "pinned_now": false}]}"#;
        let plan: Plan = serde_json::from_str(plan).expect("a plan of format 3");
        let plan = plan.completed();
        let names: Vec<&str> = plan.checkpoints.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(plan.checkpoints[0].joined_with.as_deref(), Some("b"));
        assert_eq!(plan.tasks[0].checkpoint, 1);
        let from = plan
            .checkpoint_from(0)
            .map(|(place, c)| (place, c.name.as_str()));
        assert_eq!(from, Some((1, "b")));
        assert_eq!(plan.checkpoint_from(2), None);
    }
}
