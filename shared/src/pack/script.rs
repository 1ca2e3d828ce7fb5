//! Reads a SQL script into steps.

use super::{
    Directives, Step, StepKind,
    directive::{self, Collector},
    grammar::{self, is_comment, text_of},
    marker,
    refuse::refusal,
    setting::{self, Change},
    source::{Findings, Source},
    split::{self, Split, Statement},
    words::Words,
};

/// Reads a SQL script; what is wrong with it goes to `findings`.
pub(super) fn steps(source: &Source, findings: &mut Findings) -> Vec<Step> {
    let split = split::split(source, findings);
    // One call of the parser for the file; one for each statement only where that fails.
    let parsed = split.complete
        && grammar::check(&source.text).is_ok_and(|found| found.len() == split.statements.len());
    let mut script = Script {
        source,
        split: &split,
        parsed,
        settings: Vec::new(),
        steps: Vec::with_capacity(split.statements.len()),
    };
    for statement in &split.statements {
        script.statement(statement, findings);
    }
    let steps = script.steps;
    let mut last = Collector::default();
    let previous = split
        .statements
        .last()
        .map(|statement| statement.bytes(&split.tokens).end);
    collect(
        source,
        &split,
        split.tail.clone(),
        previous,
        &mut last,
        findings,
    );
    if let Some(at) = last.first() {
        findings.complain(
            source,
            at,
            "no statement follows this directive: put it directly before one, or remove it",
        );
    }
    steps
}

struct Script<'a> {
    source: &'a Source,
    split: &'a Split,
    parsed: bool,
    settings: Vec<(String, String)>,
    steps: Vec<Step>,
}

impl Script<'_> {
    fn statement(&mut self, statement: &Statement, findings: &mut Findings) {
        let (source, tokens) = (self.source, &self.split.tokens);
        let previous = statement
            .lead
            .start
            .checked_sub(1)
            .map(|index| tokens[index].start as usize);
        let mut collector = Collector::default();
        let lead = statement.lead.clone();
        collect(source, self.split, lead, previous, &mut collector, findings);
        self.complain_of_inner_directives(statement, findings);

        let bytes = statement.bytes(tokens);
        let body = &tokens[statement.body.clone()];
        let words = Words::new(&source.text, body);
        if let Some((at, why)) = refusal(&words) {
            findings.complain(source, at, why);
            return;
        }
        if let Some(change) = setting::change(&words) {
            if self.parses(statement, findings) {
                self.change(change, &words, &collector, findings);
            }
            return;
        }
        let mut directives = collector.finish(source, findings);
        let written = &source.text[bytes.clone()];
        let sql = if marker::present(written, &source.text, body) {
            self.marked(written, bytes.start, &mut directives, findings)
        } else if self.parses(statement, findings) {
            Some(written.to_owned())
        } else {
            None
        };
        if let Some(sql) = sql {
            self.steps.push(Step {
                location: source.location(bytes.start),
                kind: StepKind::Sql(sql),
                directives,
                settings: self.settings.clone(),
            });
        }
    }

    /// Replaces the marker and checks what comes out.
    fn marked(
        &self,
        written: &str,
        start: usize,
        directives: &mut Directives,
        findings: &mut Findings,
    ) -> Option<String> {
        directives.parallel_filter = true;
        match marker::replace(written) {
            Err(at) => {
                findings.complain(
                    self.source,
                    start + at,
                    "a single brace in a statement with {parallel_filter}: write {{ for { and }} for }",
                );
                None
            }
            Ok(replaced) => match grammar::check(&replaced.sql) {
                Ok(_) => Some(replaced.sql),
                Err(message) => {
                    let at = replaced.original(grammar::locate(&replaced.sql, &message));
                    findings.complain(self.source, start + at, message);
                    None
                }
            },
        }
    }

    fn parses(&self, statement: &Statement, findings: &mut Findings) -> bool {
        if self.parsed {
            return true;
        }
        let bytes = statement.bytes(&self.split.tokens);
        let sql = &self.source.text[bytes.clone()];
        match grammar::check(sql) {
            Ok(_) => true,
            Err(message) => {
                let at = grammar::locate(sql, &message);
                findings.complain(self.source, bytes.start + at, message);
                false
            }
        }
    }

    fn change(
        &mut self,
        change: Change,
        words: &Words<'_>,
        collector: &Collector,
        findings: &mut Findings,
    ) {
        if let Some(at) = collector.first() {
            findings.complain(
                self.source,
                at,
                "a setting is no step and takes no directive: put it before a statement, or remove it",
            );
        }
        match change {
            Change::Set(name, value) => {
                self.settings.retain(|(set, _)| *set != name);
                self.settings.push((name, value));
            }
            Change::Reset(name) => self.settings.retain(|(set, _)| *set != name),
            Change::ResetAll => self.settings.clear(),
            Change::Ignored(why) => findings.remark(self.source, words.offset(0), why),
            Change::Refused(at, why) => findings.complain(self.source, at, why),
        }
    }

    fn complain_of_inner_directives(&self, statement: &Statement, findings: &mut Findings) {
        for token in &self.split.tokens[statement.body.clone()] {
            if is_comment(token)
                && let Some((at, _)) = directive::in_comment(text_of(&self.source.text, token))
            {
                findings.complain(
                    self.source,
                    token.start as usize + at,
                    "a directive inside of a statement has no effect: put it before the statement's first word",
                );
            }
        }
    }
}

/// Reads the directives among the comments in `tokens`.
fn collect(
    source: &Source,
    split: &Split,
    tokens: std::ops::Range<usize>,
    previous_end: Option<usize>,
    collector: &mut Collector,
    findings: &mut Findings,
) {
    for token in &split.tokens[tokens] {
        if !is_comment(token) {
            continue;
        }
        let comment = text_of(&source.text, token);
        let Some((at, text)) = directive::in_comment(comment) else {
            continue;
        };
        let start = token.start as usize;
        if comment.starts_with("--") && previous_end.is_some_and(|end| source.same_line(end, start))
        {
            findings.complain(
                source,
                start + at,
                "this directive stands behind a statement: put it on a line of its own before the statement that it is about",
            );
            continue;
        }
        collector.read(source, start + at, text, findings);
    }
}
