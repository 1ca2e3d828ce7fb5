//! The passes that `optimise` found (`upshift plan --stage optimise`).

use super::text::{printable, wrap};
use crate::{
    compile::{model::Analysis, optimise::Optimised},
    figures::counted,
};

/// Lines are wrapped here.
const WRAP: usize = 116;

/// Each pass with the statements that went into it, and those that did not.
#[must_use]
pub fn stage_optimised(optimised: &Optimised, analysis: &Analysis) -> String {
    let mut out = String::new();
    if optimised.passes.is_empty() {
        out.push_str("no statements become a pass\n");
    }
    for (location, why) in &optimised.refused {
        out.push_str(&printable(&format!("no pass: {location}: {why}")));
        out.push('\n');
    }
    for pass in &optimised.passes {
        out.push_str(&format!(
            "{}: {}\n",
            printable(&pass.table.plain()),
            counted(pass.steps.len() as u64, "statement")
        ));
        for line in wrap(&printable(&pass.why), WRAP) {
            out.push_str(&format!("  {line}\n"));
        }
        for place in &pass.steps {
            let step = &analysis.steps[*place as usize].step;
            out.push_str(&format!("  + {}\n", printable(&step.location.to_string())));
        }
        for (location, why) in &pass.left_out {
            let text = printable(&format!("{location}: {why}"));
            for (i, line) in wrap(&text, WRAP).into_iter().enumerate() {
                let mark = if i == 0 { "-" } else { " " };
                out.push_str(&format!("  {mark} {line}\n"));
            }
        }
    }
    out
}
