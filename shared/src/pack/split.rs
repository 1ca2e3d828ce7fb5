//! Cuts a SQL file into statements where `psql` would: at semicolons outside of parentheses and outside
//! of the `BEGIN ATOMIC … END` body of a function, as PostgreSQL's own scanner sees them.

use std::ops::Range;

use pg_query::protobuf::{ScanToken, Token};

use super::{
    grammar::{self, is_comment, text_of},
    source::{Findings, Source},
};

/// A SQL file as tokens.
pub(super) struct Split {
    /// All tokens, comments included.
    pub(super) tokens: Vec<ScanToken>,
    /// The statements, in order.
    pub(super) statements: Vec<Statement>,
    /// Comments behind the last statement.
    pub(super) tail: Range<usize>,
    /// Whether the whole file was understood.
    pub(super) complete: bool,
}

/// One statement, as ranges of tokens.
pub(super) struct Statement {
    /// The comments before it.
    pub(super) lead: Range<usize>,
    /// From its first word to its last token, comments inside included; no semicolon.
    pub(super) body: Range<usize>,
}

impl Statement {
    /// Its bytes in the file.
    pub(super) fn bytes(&self, tokens: &[ScanToken]) -> Range<usize> {
        tokens[self.body.start].start as usize..tokens[self.body.end - 1].end as usize
    }
}

/// Cuts a file. Meta-commands, data of COPY and scan errors become complaints.
pub(super) fn split(source: &Source, findings: &mut Findings) -> Split {
    let (tokens, error) = scan(&source.text);
    let mut cutter = Cutter {
        source,
        tokens: &tokens,
        statements: Vec::new(),
        lead: 0,
        body: None,
        shape: Shape::default(),
        skip_to: 0,
        skipped: false,
    };
    for index in 0..tokens.len() {
        cutter.take(index, findings);
    }
    if error.is_none() {
        cutter.finish(tokens.len());
    }
    // Else the last statement is the one that could not be read to its end.
    let (statements, tail) = (cutter.statements, cutter.lead..tokens.len());
    let (skip_to, skipped) = (cutter.skip_to, cutter.skipped);
    if let Some((offset, message)) = &error
        && *offset >= skip_to
    {
        findings.complain(source, *offset, message);
    }
    Split {
        statements,
        tail,
        complete: error.is_none() && !skipped,
        tokens,
    }
}

/// Tokens, up to the place of a scan error if there is one.
fn scan(text: &str) -> (Vec<ScanToken>, Option<(usize, String)>) {
    match grammar::scan(text) {
        Ok(tokens) => (tokens, None),
        Err(message) => {
            let offset = grammar::locate_scan_error(text, &message);
            // What the scanner quotes may run to the end of the file; the complaint shows the line.
            let message = message
                .split_once(" at or near ")
                .map_or(message.as_str(), |(what, _)| what)
                .to_owned();
            let tokens = grammar::scan(&text[..offset]).unwrap_or_default();
            (tokens, Some((offset, message)))
        }
    }
}

/// The state of the cut.
struct Cutter<'a> {
    source: &'a Source,
    tokens: &'a [ScanToken],
    statements: Vec<Statement>,
    /// First token behind the last statement.
    lead: usize,
    /// First and last token of the statement at hand.
    body: Option<(usize, usize)>,
    shape: Shape,
    /// Tokens before this offset are left out: the rest of a meta-command's line, COPY's data.
    skip_to: usize,
    skipped: bool,
}

impl Cutter<'_> {
    fn take(&mut self, index: usize, findings: &mut Findings) {
        let token = &self.tokens[index];
        let start = token.start as usize;
        if start < self.skip_to {
            self.lead = index + 1;
            return;
        }
        if is_comment(token) {
            return;
        }
        if token.token == Token::Ascii92 as i32 {
            self.meta_command(index, findings);
        } else if token.token == Token::Ascii59 as i32 && self.shape.closed() {
            let copies = self.copies_from_stdin();
            self.finish(index + 1);
            if copies {
                self.skip_to = end_of_copy_data(&self.source.text, start);
                self.skipped = true;
            }
        } else {
            self.shape.see(token.token);
            self.body = Some((self.body.map_or(index, |(first, _)| first), index));
        }
    }

    fn meta_command(&mut self, index: usize, findings: &mut Findings) {
        let start = self.tokens[index].start as usize;
        let word: String = self.source.text[start..]
            .chars()
            .take_while(|c| !c.is_whitespace())
            .take(20)
            .collect();
        findings.complain(
            self.source,
            start,
            format!(
                "psql's command {word} is not SQL: remove it, and write out what it stands for"
            ),
        );
        self.skip_to = self.source.next_line(start);
        self.skipped = true;
        self.body = None;
        self.shape = Shape::default();
        self.lead = index + 1;
    }

    fn finish(&mut self, next: usize) {
        if let Some((first, last)) = self.body.take() {
            self.statements.push(Statement {
                lead: self.lead..first,
                body: first..last + 1,
            });
            self.lead = next;
        }
        // Comments before an empty statement belong to the statement behind it.
        self.shape = Shape::default();
    }

    fn copies_from_stdin(&self) -> bool {
        self.body.is_some_and(|(first, last)| {
            self.tokens[first].token == Token::Copy as i32
                && self.tokens[first..=last].windows(2).any(|pair| {
                    pair[0].token == Token::From as i32
                        && text_of(&self.source.text, &pair[1]).eq_ignore_ascii_case("stdin")
                })
        })
    }
}

/// Where the data of COPY … FROM STDIN ends: behind the line `\.`.
fn end_of_copy_data(text: &str, from: usize) -> usize {
    let mut at = from;
    for line in text[from..].split_inclusive('\n') {
        at += line.len();
        if line.trim_end() == "\\." {
            return at;
        }
    }
    text.len()
}

/// The nesting of a statement, as psql tracks it (psqlscan.l).
#[derive(Default)]
struct Shape {
    parentheses: usize,
    blocks: usize,
    /// The first keywords, to know CREATE [OR REPLACE] FUNCTION|PROCEDURE.
    head: [i32; 4],
    seen: usize,
}

impl Shape {
    fn closed(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn see(&mut self, token: i32) {
        if self.seen < self.head.len() {
            self.head[self.seen] = token;
            self.seen += 1;
        }
        if token == Token::Ascii40 as i32 {
            self.parentheses += 1;
        } else if token == Token::Ascii41 as i32 {
            self.parentheses = self.parentheses.saturating_sub(1);
        } else if self.parentheses == 0 && self.defines_routine() {
            if token == Token::BeginP as i32 || (token == Token::Case as i32 && self.blocks > 0) {
                self.blocks += 1;
            } else if token == Token::EndP as i32 {
                self.blocks = self.blocks.saturating_sub(1);
            }
        }
    }

    fn defines_routine(&self) -> bool {
        let routine =
            |token: i32| token == Token::Function as i32 || token == Token::Procedure as i32;
        self.head[0] == Token::Create as i32
            && (routine(self.head[1])
                || (self.head[1] == Token::Or as i32
                    && self.head[2] == Token::Replace as i32
                    && routine(self.head[3])))
    }
}
