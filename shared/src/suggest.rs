//! "Did you mean": the nearest known word to one that is not known.

/// The candidate that `word` is most likely a misspelling of, if any is near enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ` (did you mean "…"?)`, or nothing: to be put behind a message.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |c| format!(" (did you mean \"{c}\"?)"))
}

/// `: did you mean "…"?` where a candidate is near enough, else `: known are …` with all of them.
#[must_use]
pub fn suggestion(word: &str, known: &[&str]) -> String {
    closest(word, known.iter().copied()).map_or_else(
        || format!(": known are {}", known.join(", ")),
        |candidate| format!(": did you mean \"{candidate}\"?"),
    )
}

/// Optimal string alignment distance: insertions, deletions, replacements, and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_nothing_else() {
        let known = ["host", "port", "sslmode", "statement_timeout"];
        assert_eq!(closest("hots", known), Some("host"));
        assert_eq!(closest("ssl_mode", known), Some("sslmode"));
        assert_eq!(
            closest("statment_timeout", known),
            Some("statement_timeout")
        );
        assert_eq!(closest("colour", known), None);
        assert_eq!(suggestion("prot", &known), ": did you mean \"port\"?");
        assert_eq!(suggestion("colour", &["a", "b"]), ": known are a, b");
        assert_eq!(did_you_mean("prot", known), " (did you mean \"port\"?)");
    }
}
