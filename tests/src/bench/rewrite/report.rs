//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    Options,
    case::Way,
    measure::{Measured, Timing, median},
};

/// A table of seconds and ratios, and what is wanted of them.
pub(super) fn table(measured: &Measured) -> String {
    let mut text = format!(
        "\n{}: {}\nPostgreSQL {}, {}\n{:<20} {:>10} {:>12}  {}\n",
        measured.name,
        measured.title,
        measured.server,
        cores(),
        "",
        "seconds",
        "to upshift",
        "plan, and each round where there are several"
    );
    let upshift = measured.seconds(Way::Upshift);
    for timing in &measured.timings {
        let ratio = median(&timing.seconds).zip(upshift).map(|(a, b)| a / b);
        text.push_str(&line(timing, ratio));
    }
    if let Some(seconds) = median(&measured.rollback) {
        let _ = writeln!(
            text,
            "{:<20} {seconds:>10.2} {:>12}  {}",
            "rollback of upshift",
            "",
            rounds(&measured.rollback)
        );
    }
    text.push_str(
        "every way left the same data and schema; rollback brought back what there was\n",
    );
    for wish in wishes(measured) {
        let _ = writeln!(text, "{wish}");
    }
    text
}

fn line(timing: &Timing, ratio: Option<f64>) -> String {
    let seconds = median(&timing.seconds);
    let plan = timing.operators.clone().unwrap_or_default();
    let notes = match seconds {
        Some(_) => format!("{plan} {}", rounds(&timing.seconds)),
        None => format!("not measured: the plan has none ({plan})"),
    };
    let number = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}{unit}"))
    };
    format!(
        "{:<20} {:>10} {:>12}  {}\n",
        timing.way.name(),
        number(seconds, ""),
        number(ratio, " ×"),
        notes.trim()
    )
}

/// The single rounds, where there are several.
fn rounds(seconds: &[f64]) -> String {
    if seconds.len() < 2 {
        return String::new();
    }
    let each: Vec<String> = seconds.iter().map(|s| format!("{s:.2}")).collect();
    format!("({})", each.join(", "))
}

/// What is wanted, what was measured, and whether that is enough.
fn wishes(measured: &Measured) -> Vec<String> {
    let seconds = |way| measured.seconds(way);
    let over = |way, under| Some(seconds(way)? / seconds(under)?);
    let wanted = measured.wanted;
    let most = |what: &str, value: Option<f64>, limit: Option<f64>, unit: &str| {
        let (value, limit) = (value?, limit?);
        let verdict = if value <= limit { "met" } else { "missed" };
        Some(format!(
            "{what:<26} {value:>8.2}{unit} (wanted ≤ {limit}{unit}): {verdict}"
        ))
    };
    let least = |what: &str, value: Option<f64>, limit: Option<f64>| {
        let (value, limit) = (value?, limit?);
        let verdict = if value >= limit { "met" } else { "missed" };
        Some(format!(
            "{what:<26} {value:>8.2} × (wanted ≥ {limit} ×): {verdict}"
        ))
    };
    let ratio = over(Way::Upshift, Way::ByHand);
    let sequential = over(Way::Sequential, Way::Upshift);
    let chunked = over(Way::Chunked, Way::Upshift);
    let rollback = median(&measured.rollback);
    [
        most("upshift / hand-tuned", ratio, wanted.by_hand, " ×"),
        least("sequential / upshift", sequential, wanted.sequential),
        least("chunked in place / upshift", chunked, wanted.chunked),
        most("rollback", rollback, wanted.rollback, " s"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cores() -> String {
    std::thread::available_parallelism().map_or_else(
        |_| "unknown number of cores".to_owned(),
        |cores| format!("{cores} cores"),
    )
}

/// All that was measured.
pub(super) fn json(all: &[Measured], options: &Options) -> Value {
    let cases: Vec<Value> = all.iter().map(case).collect();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "workers": options.workers,
        "rounds": options.rounds,
        "cases": cases,
    })
}

fn case(measured: &Measured) -> Value {
    let ways: Vec<Value> = measured
        .timings
        .iter()
        .map(|timing| {
            json!({
                "way": timing.way.name(),
                "operators": timing.operators,
                "seconds": timing.seconds,
                "median": median(&timing.seconds),
            })
        })
        .collect();
    json!({
        "case": measured.name,
        "title": measured.title,
        "server": measured.server,
        "ways": ways,
        "rollback": { "seconds": measured.rollback, "median": median(&measured.rollback) },
    })
}
