//! Lists whose places are numbers that others keep: what is not used any more makes room for what is new.

/// Puts something new where something is not used any more, else at the end; its place.
pub(super) fn put<T>(all: &mut Vec<T>, new: T, is_unused: impl Fn(&T) -> bool) -> usize {
    match all.iter().position(is_unused) {
        Some(place) => {
            all[place] = new;
            place
        }
        None => {
            all.push(new);
            all.len() - 1
        }
    }
}
