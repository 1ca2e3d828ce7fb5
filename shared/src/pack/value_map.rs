//! The CSV file of a value map: a column `old` and a column `new`.

use std::{collections::HashSet, path::Path};

use super::source::{Findings, Source};

/// The largest file, in bytes: it becomes part of the plan, which goes to every worker.
const LARGEST: u64 = 1024 * 1024;

/// Reads the file that a step names. `at` is where the step names it, from the folder of the step's
/// own file.
pub(super) fn read(
    root: &Path,
    source: &Source,
    (file, at): (&str, usize),
    findings: &mut Findings,
) -> Option<Vec<(String, String)>> {
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let found = root.join(folder).join(file).canonicalize();
    let path = match &found {
        Ok(path) => path.strip_prefix(root).ok(),
        Err(e) => {
            findings.complain(source, at, format!("\"{file}\" cannot be read: {e}"));
            return None;
        }
    };
    let Some(path) = path else {
        let why = format!("\"{file}\" leads out of the pack: copy the file into it");
        findings.complain(source, at, why);
        return None;
    };
    let size = root.join(path).metadata().map_or(0, |file| file.len());
    if size > LARGEST {
        let why = format!(
            "\"{file}\" is larger than 1 MiB, and it would go to every worker with the plan: load it into a \
             table and write an UPDATE … FROM"
        );
        findings.complain(source, at, why);
        return None;
    }
    let csv = Source::read(root, path, findings)?;
    pairs(&csv, findings)
}

fn pairs(source: &Source, findings: &mut Findings) -> Option<Vec<(String, String)>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(source.text.as_bytes());
    let before = findings.complaints.len();
    let mut pairs = Vec::new();
    let mut seen = HashSet::new();
    for (number, record) in reader.records().enumerate() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let at = error
                    .position()
                    .map_or(0, |position| offset(position.byte()));
                findings.complain(source, at, wrong(&error));
                return None;
            }
        };
        let at = record
            .position()
            .map_or(0, |position| offset(position.byte()));
        match (number, record.iter().collect::<Vec<_>>().as_slice()) {
            (0, ["old", "new"]) => {}
            (0, _) => {
                findings.complain(source, at, "the first line of a value map is old,new");
                return None;
            }
            (_, [old, new]) => {
                if !seen.insert((*old).to_owned()) {
                    findings.complain(source, at, "this old value has a line already: keep one");
                }
                pairs.push(((*old).to_owned(), (*new).to_owned()));
            }
            // Records of another length are an error of the reader's.
            _ => {}
        }
    }
    if pairs.is_empty() {
        findings.complain(
            source,
            0,
            "a value map has the line old,new and a line for each value",
        );
    }
    (findings.complaints.len() == before).then_some(pairs)
}

fn offset(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

fn wrong(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { len, .. } => format!(
            "this line has {len} value{}: write the old value, a comma and the new one, each in double \
             quotes where it holds a comma",
            if *len == 1 { "" } else { "s" }
        ),
        _ => format!("this is not CSV: {error}"),
    }
}
