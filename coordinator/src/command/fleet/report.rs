//! `upshift fleet report FILE`: what became of every database, by its ledger and by what was noted on the
//! way: as a table, JSON, CSV or a page.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use clap::Args;
use serde::{Deserialize, Serialize};
use upshift_shared::{clock, fleet::MemberName, ids::RunId};

use super::{
    super::{
        Failure,
        database::{print_json, print_line},
    },
    folder::Done,
    looking::OfMember,
    members::{FleetArguments, For, Surveyed, configured, survey},
    shown::{Shown, ShownMember, in_words, one_line, printable},
};
use crate::{figures, fleet::Fleet};

/// `upshift fleet report FILE`
#[derive(Debug, Args)]
pub(in crate::command) struct Arguments {
    #[command(flatten)]
    fleet: FleetArguments,
    /// As JSON
    #[arg(long, group = "form")]
    pub(super) json: bool,
    /// As comma-separated values, a line for each database
    #[arg(long, group = "form")]
    csv: bool,
    /// As a page for a browser
    #[arg(long, group = "form")]
    html: bool,
}

/// The report.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::command) struct Report {
    fleet: String,
    /// Seconds since 1970.
    at: u64,
    standing: String,
    states: BTreeMap<String, u32>,
    failed: u32,
    waves: Vec<super::shown::ShownWave>,
    members: Vec<Row>,
}

/// What became of a database.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    member: ShownMember,
    /// Its run, its pack, and when it was begun and changed last.
    run: Option<RunId>,
    pack: Option<String>,
    began: Option<String>,
    changed: Option<String>,
    /// File and line of the pack where it failed.
    place: Option<String>,
    /// How long it was upgraded, all attempts together.
    seconds: f64,
    /// How long its commit and its way back took.
    other_seconds: f64,
    /// Its hooks, the last of each kind.
    hooks: Vec<Done>,
}

/// What was noted of a member.
#[derive(Debug, Default)]
struct Noted {
    seconds: f64,
    other_seconds: f64,
    hooks: BTreeMap<String, Done>,
    /// Why the last thing that was done to it failed.
    why: Option<String>,
}

impl Noted {
    fn take(&mut self, done: Done) {
        match done.what.as_str() {
            "upgrade" => self.seconds += done.seconds,
            "hook_before" | "hook_after" => {
                self.hooks.insert(done.what.clone(), done);
                return;
            }
            _ => self.other_seconds += done.seconds,
        }
        self.why = done.why;
    }
}

pub(in crate::command) async fn run(
    arguments: Arguments,
    config: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(remote) = arguments.fleet.remote(config)? {
        return print(&remote.report().await?, &arguments);
    }
    let chosen = arguments.fleet.open()?;
    let place = chosen.folder.place()?;
    let surveyed = Box::pin(survey(
        (&chosen.order, &chosen.folder),
        configured(config)?,
        (&place, For::Report),
    ))
    .await?;
    let Surveyed {
        members,
        runs,
        unasked,
        incomplete,
        ..
    } = surveyed;
    let now = clock::since_epoch();
    let conducted = !chosen.folder.is_free().await?;
    let mut fleet = Fleet::new(chosen.order.clone(), members, place, now);
    if incomplete {
        fleet.miss_members();
    }
    let shown = match conducted {
        true => Shown::of(&fleet, now, true),
        false => Shown::at_rest(fleet, now),
    };
    let report = Report::of(shown, runs, |take| chosen.folder.written_down(take));
    for unasked in &unasked {
        eprintln!(
            "upshift: warning: {} cannot be had: {}",
            unasked.source, unasked.why
        );
    }
    print(&report, &arguments)
}

fn print(report: &Report, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json {
        return print_json(report);
    }
    let text = match (arguments.csv, arguments.html) {
        (true, _) => csv(report),
        (_, true) => html(report),
        _ => text(report),
    };
    print_line(text.trim_end());
    Ok(())
}

impl Report {
    /// Of how a fleet stands, the runs of its members, and what `each` gives of what was noted.
    pub(in crate::command) fn of(
        shown: Shown,
        mut runs: BTreeMap<MemberName, OfMember>,
        each: impl FnOnce(&mut (dyn FnMut(Done) + Send)),
    ) -> Self {
        let mut noted = BTreeMap::<String, Noted>::new();
        each(&mut |done| {
            noted.entry(done.member.to_string()).or_default().take(done);
        });
        let rows = shown.members.into_iter().map(|member| {
            let run = runs.remove(&MemberName::from(member.name.clone()));
            let noted = noted.remove(&member.name).unwrap_or_default();
            row(member, run, noted)
        });
        Self {
            members: rows.collect(),
            fleet: shown.fleet,
            at: shown.at,
            standing: shown.standing,
            states: shown.states,
            failed: shown.failed,
            waves: shown.waves,
        }
    }
}

fn row(mut member: ShownMember, of: Option<OfMember>, noted: Noted) -> Row {
    let (run, took) = of.unzip();
    let took = took.unwrap_or_default();
    // What failed before there was a ledger is only noted.
    if let Some(why) = noted.why
        && member.reason.is_none()
        && member.failed
    {
        member.reason = Some(why);
    }
    let error = run.as_ref().and_then(|run| run.error.as_ref());
    Row {
        place: error.and_then(|error| error.source.clone()),
        run: run.as_ref().map(|run| run.run),
        pack: run.as_ref().map(|run| run.pack.clone()),
        began: run.as_ref().map(|run| run.created_at.clone()),
        changed: run.map(|run| run.changed_at),
        // What was noted is more than the run: it has waited for its database. But it may have been noted
        // elsewhere, or not at all.
        seconds: noted.seconds.max(took.forward),
        other_seconds: noted.other_seconds.max(took.other),
        hooks: noted.hooks.into_values().collect(),
        member,
    }
}

impl Row {
    /// Its cells, as [`HEAD`] names them.
    fn cells(&self) -> [String; HEAD.len()] {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let hooks = self.hooks.iter().map(|hook| {
            let output = hook.output.join(" | ");
            let why = hook.why.clone().unwrap_or_default();
            format!("{} {} {why} {output}", hook.what, hook.outcome)
        });
        let hooks: Vec<String> = hooks.map(|hook| hook.trim_end().to_owned()).collect();
        [
            self.member.name.clone(),
            self.member.server.clone(),
            text(&self.member.wave),
            self.member.state.as_str().to_owned(),
            text(&self.member.reason),
            text(&self.place),
            self.run.map(|run| run.to_string()).unwrap_or_default(),
            text(&self.began),
            text(&self.changed),
            format!("{:.3}", self.seconds),
            hooks.join("; "),
        ]
    }
}

const HEAD: [&str; 11] = [
    "database", "server", "wave", "state", "reason", "place", "run", "began", "changed", "seconds",
    "hooks",
];

fn text(report: &Report) -> String {
    let mut text = summary(report);
    text.push('\n');
    for row in &report.members {
        let member = &row.member;
        let reason = member.reason.as_deref().unwrap_or_default();
        let line = format!(
            "{:40}  {:14}  {:>8}  {}",
            printable(&member.name),
            member.state.as_str().replace('_', " "),
            figures::seconds(row.seconds),
            printable(&one_line(reason))
        );
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn summary(report: &Report) -> String {
    format!(
        "fleet {}: {}: {}",
        report.fleet,
        report.standing,
        in_words(&report.states)
    )
}

/// RFC 4180: cells that have to be are quoted, and quotes doubled. A spreadsheet takes a cell that begins like
/// a formula for one: such a cell begins with an apostrophe
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
fn csv(report: &Report) -> String {
    let cell = |text: &str| {
        let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            true => format!("'{text}"),
            false => text.to_owned(),
        };
        match text.contains([',', '"', '\n', '\r', '\'']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    let mut csv = HEAD.join(",");
    csv.push_str("\r\n");
    for row in &report.members {
        let cells: Vec<String> = row.cells().iter().map(|text| cell(text)).collect();
        csv.push_str(&cells.join(","));
        csv.push_str("\r\n");
    }
    csv
}

fn html(report: &Report) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>fleet {name}</title>\n\
         <style>body{{font-family:sans-serif}}table{{border-collapse:collapse}}\
         td,th{{border:1px solid #999;padding:.2em .5em;text-align:left;vertical-align:top}}\
         .failed,.stuck{{background:#fdd}}</style></head>\n<body><h1>fleet {name}</h1>\n<p>{}</p>\n<table>\n<tr>",
        escaped(&summary(report)),
        name = escaped(&report.fleet),
    );
    for head in HEAD {
        let _infallible = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr>\n");
    for row in &report.members {
        let _infallible = write!(page, "<tr class=\"{}\">", row.member.state.as_str());
        for cell in row.cells() {
            let _infallible = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></body></html>\n");
    page
}

/// As a page takes it for text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push_str("<br>"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::MemberState;

    fn report(name: &str, reason: &str) -> Report {
        let member = ShownMember {
            name: name.to_owned(),
            server: "s:1".to_owned(),
            wave: Some("all".to_owned()),
            state: MemberState::Failed,
            failed: true,
            reason: Some(reason.to_owned()),
        };
        Report {
            fleet: "f".to_owned(),
            at: 0,
            standing: "done".to_owned(),
            states: BTreeMap::from([("failed".to_owned(), 1)]),
            failed: 1,
            waves: Vec::new(),
            members: vec![row(member, None, Noted::default())],
        }
    }

    #[test]
    fn hostile_names_stay_in_their_cells() {
        let report = report("a,\"b\"\r\n<script>&'", "why");
        let csv = csv(&report);
        assert!(
            csv.contains("\"a,\"\"b\"\"\r\n<script>&'\",s:1,all,failed,why"),
            "{csv}"
        );
        let html = html(&report);
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("&lt;script&gt;&amp;&#39;"), "{html}");
    }

    #[test]
    fn a_spreadsheet_finds_no_formula() {
        for (name, cell) in [
            ("=1+1", "\"'=1+1\",s:1"),
            ("+1", "\"'+1\",s:1"),
            ("-x", "\"'-x\",s:1"),
            ("@SUM(A1)", "\"'@SUM(A1)\",s:1"),
            ("\tx", "\"'\tx\",s:1"),
            ("=\"a\"", "\"'=\"\"a\"\"\",s:1"),
            ("a=1", "a=1,s:1"),
        ] {
            let csv = csv(&report(name, "why"));
            assert!(csv.contains(&format!("\r\n{cell}")), "{csv}");
        }
    }
}
