//! The plan as a graph for Graphviz.

use upshift_shared::plan::{Plan, Task, UndoKind};

use super::{
    by_module, reason,
    text::{cut, printable},
};
use crate::figures::{counted, estimated};

/// Longest label of a node or an edge.
const LABEL: usize = 60;

/// Renders a plan for `dot -Tsvg`: a cluster for each module, a node for each task, an edge with its
/// reason.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let mut out = String::from(
        "digraph plan {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n  edge \
         [fontname = \"sans-serif\", fontsize = 9];\n",
    );
    for (number, (module, tasks)) in by_module(plan).enumerate() {
        let title = format!(
            "{} {} → {}",
            printable(&module.name),
            module.from,
            module.to
        );
        out.push_str(&format!(
            "  subgraph cluster_{number} {{\n    label = {};\n",
            quoted(&title)
        ));
        for task in tasks {
            out.push_str(&format!("    {};\n", node(task)));
        }
        out.push_str("  }\n");
    }
    for edge in &plan.edges {
        let label = cut(&printable(&reason(&edge.reason)), LABEL);
        out.push_str(&format!(
            "  {} -> {} [label = {}];\n",
            edge.from,
            edge.to,
            quoted(&label)
        ));
    }
    out.push_str("}\n");
    out
}

fn node(task: &Task) -> String {
    let mut lines = vec![
        format!("{} {}", task.id, task.operator.name()),
        cut(&printable(&task.label), LABEL),
    ];
    let time = estimated(task.seconds);
    lines.push(match task.rows {
        0 => time,
        rows => format!("{}, {time}", counted(rows, "row")),
    });
    let style = if task.undo == UndoKind::Irreversible {
        ", color = red, penwidth = 2"
    } else {
        ""
    };
    let text: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
    format!("{} [label = \"{}\"{style}]", task.id, text.join("\\n"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// In a quoted string of the DOT language only the quote ends it; the backslash begins escapes of
/// labels (`\N`, `\G`, `\n`), so it is doubled.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
