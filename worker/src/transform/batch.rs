//! A batch of rows: changed on all cores, and written as COPY data where the value is another one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;
use tokio::sync::oneshot;

use super::{
    Function,
    binary::{self, Field},
};

/// Bytes of values that are changed at once. A value that is larger is a batch of its own.
pub(crate) const BYTES: usize = 8 * 1024 * 1024;

/// How rows are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Columns of the key; the old value follows, and where `compares` what stands in the target.
    pub(crate) key: usize,
    /// Whether the new value goes into another column.
    pub(crate) compares: bool,
    /// Characters that the target takes.
    pub(crate) longest: Option<u32>,
}

impl Shape {
    /// Columns of a row.
    pub(crate) fn columns(self) -> usize {
        self.key + 1 + usize::from(self.compares)
    }
}

/// Rows gathered until they are a batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: Vec<Vec<Field>>,
    bytes: usize,
}

impl Batch {
    /// Adds a row; gives back the batch before it where it would have grown too large with it.
    pub(crate) fn push(&mut self, row: Vec<Field>) -> Option<Self> {
        let bytes: usize = row
            .iter()
            .map(|f| f.as_ref().map_or(0, Vec::len) + 32)
            .sum();
        let full = !self.rows.is_empty() && self.bytes + bytes > BYTES;
        let before = full.then(|| std::mem::take(self));
        self.bytes += bytes;
        self.rows.push(row);
        before
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The rows of a batch whose value changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// As COPY data, without what it begins and ends with.
    pub(crate) bytes: Vec<u8>,
    /// How many.
    pub(crate) rows: u64,
}

/// A row whose value cannot be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its key.
    pub(crate) key: Vec<Field>,
    /// Why, without the value.
    pub(crate) why: String,
}

/// Changes a batch, away from the threads that wait.
pub(crate) fn start(
    function: std::sync::Arc<dyn Function>,
    batch: Batch,
    shape: Shape,
) -> oneshot::Receiver<Result<Changed, Failure>> {
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        let changed = change(&*function, &batch, shape);
        // Nobody waits any more where the unit was given up.
        let _ = sender.send(changed);
    });
    receiver
}

fn change(function: &dyn Function, batch: &Batch, shape: Shape) -> Result<Changed, Failure> {
    let values: Vec<Result<Option<Field>, String>> = batch
        .rows
        .par_iter()
        .map(|row| {
            // A panic would end the process, and with it everybody else's units.
            let value = catch_unwind(AssertUnwindSafe(|| value(function, row, shape)));
            value.unwrap_or_else(|_| {
                Err("the function broke on its value: please report this".into())
            })
        })
        .collect();
    let mut changed = Changed::default();
    for (row, value) in batch.rows.iter().zip(values) {
        let key = &row[..shape.key];
        let failed = |why: String| Failure {
            key: key.to_vec(),
            why,
        };
        let Some(value) = value.map_err(failed)? else {
            continue;
        };
        let fields: Vec<Option<&[u8]>> = key
            .iter()
            .chain(std::iter::once(&value))
            .map(Option::as_deref)
            .collect();
        binary::row(&mut changed.bytes, fields.into_iter()).map_err(|e| failed(e.to_string()))?;
        changed.rows += 1;
    }
    Ok(changed)
}

/// The new value; the outer `None` where it is what stands there already.
fn value(function: &dyn Function, row: &[Field], shape: Shape) -> Result<Option<Field>, String> {
    let old = row.get(shape.key).and_then(Option::as_deref);
    let text = old.map(std::str::from_utf8).transpose();
    let text = text.map_err(|_| "its value is not UTF-8".to_owned())?;
    let new = function.apply(text)?;
    let there = if shape.compares {
        row.get(shape.key + 1).and_then(Option::as_deref)
    } else {
        old
    };
    if new.as_deref().map(str::as_bytes) == there {
        return Ok(None);
    }
    if let (Some(new), Some(longest)) = (&new, shape.longest) {
        // PostgreSQL lets white space go that does not fit.
        let characters = new.trim_end_matches(' ').chars().count();
        if characters > longest as usize {
            return Err(format!(
                "its new value has {characters} characters, and the column takes {longest}"
            ));
        }
    }
    Ok(Some(new.map(String::into_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Upper;

    impl Function for Upper {
        fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
            match value {
                Some("bad") => Err("no".to_owned()),
                Some("panic") => panic!("on purpose"),
                value => Ok(value.map(str::to_uppercase)),
            }
        }
    }

    const SHAPE: Shape = Shape {
        key: 1,
        compares: false,
        longest: Some(4),
    };

    fn batch(values: &[Option<&str>]) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in (0_u8..).zip(values) {
            let row = vec![Some(vec![key]), value.map(|v| v.as_bytes().to_vec())];
            assert!(batch.push(row).is_none());
        }
        batch
    }

    #[tokio::test]
    async fn only_what_changes_is_written() {
        let rows = batch(&[Some("a"), Some("B"), None, Some("c")]);
        let changed = start(std::sync::Arc::new(Upper), rows, SHAPE).await;
        let changed = changed.expect("it answers").expect("it passes");
        assert_eq!(changed.rows, 2);
        assert_eq!(
            changed.bytes,
            b"\0\x02\0\0\0\x01\0\0\0\0\x01A\0\x02\0\0\0\x01\x03\0\0\0\x01C"
        );
    }

    #[test]
    fn the_first_bad_row_is_told_by_its_key() {
        for (value, why) in [("bad", "no"), ("panic", "broke"), ("abcde", "5 characters")] {
            let failure = change(
                &Upper,
                &batch(&[Some("a"), Some(value), Some("bad")]),
                SHAPE,
            );
            let failure = failure.expect_err("it fails");
            assert_eq!(failure.key, [Some(vec![1])]);
            assert!(failure.why.contains(why), "{}", failure.why);
        }
    }

    #[test]
    fn another_column_is_compared_with_what_stands_there() {
        let shape = Shape {
            compares: true,
            ..SHAPE
        };
        let mut batch = Batch::default();
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        batch.push(vec![bytes("k"), bytes("a"), bytes("A")]);
        batch.push(vec![bytes("l"), bytes("a"), None]);
        let changed = change(&Upper, &batch, shape).expect("it passes");
        assert_eq!(changed.rows, 1);
    }

    #[test]
    fn batches_are_bounded_in_bytes() {
        let row = |bytes: usize| vec![Some(vec![0]), Some(vec![b'x'; bytes])];
        let mut batch = Batch::default();
        assert!(batch.push(row(BYTES * 2)).is_none(), "by itself");
        let before = batch.push(row(1)).expect("the large one goes first");
        assert_eq!(before.rows.len(), 1);
        assert!(batch.push(row(BYTES / 2)).is_none());
        assert_eq!(batch.push(row(BYTES / 2)).map(|b| b.rows.len()), Some(2));
        assert!(!batch.is_empty());
    }
}
