//! Tables of tests: values and what becomes of them.

use upshift_shared::transform::{Call, Value};

use super::{Function, build};

/// A function with text arguments.
pub(super) fn function(name: &str, arguments: &[(&str, &str)]) -> Box<dyn Function> {
    let value =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Value::Text((*value).to_owned()));
    built(name, arguments.iter().map(value).collect())
}

/// A function with arguments of any kind.
pub(super) fn built(name: &str, arguments: Vec<(String, Value)>) -> Box<dyn Function> {
    build(&Call {
        function: name.to_owned(),
        arguments: arguments.into_iter().collect(),
    })
    .expect("a function")
}

/// Applies a function to each value of a table, and shows all that come out otherwise.
pub(super) fn expect(function: &dyn Function, table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(value, expected)| {
            let found = function.apply(Some(value));
            (found != Ok(Some((*expected).to_owned())))
                .then(|| format!("{value:?}: {found:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
