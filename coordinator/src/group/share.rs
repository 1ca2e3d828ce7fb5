//! How the workers of a process are shared out among the databases of a group.

/// Workers for each database, by the seconds that its plan is expected to take: one at least, and the
/// others where there is most to do for those that are there.
#[must_use]
pub fn share(workers: u32, seconds: &[f64]) -> Vec<u32> {
    let mut shares = vec![1_u32; seconds.len()];
    let members = u32::try_from(seconds.len()).unwrap_or(u32::MAX);
    for _ in 0..workers.saturating_sub(members) {
        let left = |place: usize| seconds[place] / f64::from(shares[place]);
        let busiest = (0..seconds.len()).max_by(|a, b| left(*a).total_cmp(&left(*b)));
        if let Some(place) = busiest {
            shares[place] += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_and_the_busiest_have_more() {
        assert_eq!(share(2, &[5.0, 1.0, 0.0]), [1, 1, 1]);
        assert_eq!(share(8, &[60.0, 20.0, 0.0]), [5, 2, 1]);
        assert_eq!(share(8, &[]), Vec::<u32>::new());
    }
}
