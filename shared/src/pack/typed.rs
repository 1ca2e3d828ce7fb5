//! Typed steps: `[[check]]`, `[[exec]]` and `[[transform]]` in `pre-*.toml`, `post-*.toml`, `end-*.toml`.

use std::{path::Path, time::Duration};

use super::{
    CheckStep, Directives, ExecStep, Step, StepKind, directive,
    document::{self, Reader},
    source::{Findings, Source},
    statement, transform,
};

/// What a file of typed steps falls back on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    /// After how long a program is ended.
    pub(super) exec_timeout: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        // `odoo-bin -u all` of a large database takes hours; a day means that it hangs.
        Self {
            exec_timeout: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Reads a file of typed steps, in the order in which they stand.
pub(super) fn steps(
    root: &Path,
    source: &Source,
    defaults: Defaults,
    findings: &mut Findings,
) -> Vec<Step> {
    let Some(document) = document::parse(source, findings) else {
        return Vec::new();
    };
    let mut file = Reader::new(source, document.get_ref(), "a file of typed steps", 0);
    let checks = file.tables("check", "[[check]]", findings);
    let programs = file.tables("exec", "[[exec]]", findings);
    let transforms = file.tables("transform", "[[transform]]", findings);
    file.finish(findings);

    let mut steps: Vec<(usize, Option<Step>)> = Vec::new();
    for reader in checks {
        steps.push((reader.at, check(source, reader, findings)));
    }
    for reader in programs {
        steps.push((reader.at, exec(source, reader, defaults, findings)));
    }
    for reader in transforms {
        let at = reader.at;
        steps.push((at, transform::step(root, source, reader, findings)));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().filter_map(|(_, step)| step).collect()
}

fn check(source: &Source, mut reader: Reader<'_>, findings: &mut Findings) -> Option<Step> {
    let at = reader.at;
    let directives = directives(source, &mut reader, findings);
    let query = reader.needed_text("query", findings);
    let message = reader.needed_text("message", findings);
    let lasting = reader.truth("lasting", findings);
    reader.finish(findings);
    let ((query, query_at), (message, _)) = (query?, message?);
    if let Err(why) = statement::check_query(query) {
        findings.complain(source, query_at, format!("in query: {why}"));
        return None;
    }
    Some(Step {
        location: source.location(at),
        kind: StepKind::Check(CheckStep {
            query: query.trim().trim_end_matches(';').to_owned(),
            message: message.to_owned(),
            lasting: lasting.is_some_and(|(lasting, _)| lasting),
        }),
        directives,
        settings: Vec::new(),
    })
}

fn exec(
    source: &Source,
    mut reader: Reader<'_>,
    defaults: Defaults,
    findings: &mut Findings,
) -> Option<Step> {
    let at = reader.at;
    let mut directives = directives(source, &mut reader, findings);
    let command = reader.texts("command", findings);
    let undo = reader.texts("undo", findings);
    let timeout = reader.text("timeout", findings);
    let irreversible = reader.truth("irreversible", findings);
    let complete = reader.has("command");
    reader.finish(findings);
    if !complete {
        findings.complain(
            source,
            at,
            "[[exec]] lacks command = [\"program\", \"argument\", …]",
        );
    }
    let command = program(source, command, findings);
    let undone = undo.is_some();
    let undo = program(source, undo, findings);
    if let Some((true, irreversible_at)) = irreversible {
        directives.irreversible = true;
        if undone {
            findings.complain(
                source,
                irreversible_at,
                "a step with undo is not irreversible: keep one of the two",
            );
        }
    }
    let timeout = match timeout {
        None => defaults.exec_timeout,
        Some((text, timeout_at)) => duration(text).unwrap_or_else(|why| {
            findings.complain(source, timeout_at, why);
            defaults.exec_timeout
        }),
    };
    Some(Step {
        location: source.location(at),
        kind: StepKind::Exec(ExecStep {
            command: command?,
            undo,
            timeout,
        }),
        directives,
        settings: Vec::new(),
    })
}

fn program(
    source: &Source,
    words: Option<document::Placed<Vec<document::Placed<&str>>>>,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    let (words, at) = words?;
    if words
        .first()
        .is_none_or(|(program, _)| program.trim().is_empty())
    {
        findings.complain(source, at, "the program's name is missing in this list");
        return None;
    }
    if let Some((_, at)) = words.iter().find(|(word, _)| word.contains('\0')) {
        findings.complain(source, *at, "a NUL character cannot be passed to a program");
        return None;
    }
    Some(words.into_iter().map(|(word, _)| word.to_owned()).collect())
}

/// The keys that typed steps share with directives.
pub(super) fn directives(
    source: &Source,
    reader: &mut Reader<'_>,
    findings: &mut Findings,
) -> Directives {
    let label = reader.text("label", findings);
    let when = reader.text("when", findings);
    let checkpoint = reader.text("checkpoint", findings);
    Directives {
        checkpoint: checkpoint.and_then(|(name, at)| {
            directive::checkpoint(name)
                .map_err(|why| findings.complain(source, at, why))
                .ok()
        }),
        label: label.map(|(label, _)| label.to_owned()),
        when: when.and_then(|(text, at)| {
            directive::when(text.trim())
                .map_err(|why| findings.complain(source, at, why))
                .ok()
        }),
        ..Directives::default()
    }
}

/// `90s`, `15m`, `2h`, `1d`, or several of them: `1h 30m`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "\"{text}\" is not a length of time: write a number and s, m, h or d, such as 90s or 1h 30m"
        )
    };
    let mut seconds = 0_u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number
            .checked_mul(unit)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(wrong)?;
        rest = rest[digits + 1..].trim_start();
    }
    if seconds == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for wrong in [
            "",
            "0s",
            "5",
            "5ms",
            "h",
            "-1s",
            "99999999999999999999d",
            "1.5h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
