//! "Did you mean": the known name that is nearest to an unknown one.

/// ` (did you mean "…"?)`, or nothing where no known name is near.
pub(crate) fn did_you_mean<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let limit = name.chars().count().div_ceil(3).min(3);
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| format!(" (did you mean \"{candidate}\"?)"))
        .unwrap_or_default()
}

/// How many characters must be put in, left out or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let known = ["res_partner", "res_users", "state"];
        let suggest = |name| did_you_mean(name, known.iter().copied());
        assert_eq!(suggest("res_partnr"), " (did you mean \"res_partner\"?)");
        assert_eq!(suggest("sate"), " (did you mean \"state\"?)");
        assert_eq!(suggest("account_move"), "");
        assert_eq!(suggest("id"), "");
    }
}
