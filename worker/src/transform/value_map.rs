//! `value_map`: old values to new ones, as a CSV file of the pack says. NULL stays NULL.

use std::collections::HashMap;

use upshift_shared::transform::{Call, Value};

use super::{Function, Otherwise, missing};

pub(super) struct ValueMap {
    values: HashMap<String, String>,
    unmapped: Otherwise,
}

impl ValueMap {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        let Some(Value::Map(pairs)) = call.arguments.get("file") else {
            return Err(missing(call, "file"));
        };
        Ok(Self {
            values: pairs.iter().cloned().collect(),
            unmapped: Otherwise::of(call, "unmapped")?,
        })
    }
}

impl Function for ValueMap {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        match self.values.get(value) {
            Some(new) => Ok(Some(new.clone())),
            None => self
                .unmapped
                .apply(value, "the value map has no line for its value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::transform::Value;

    use crate::transform::testing::{built, expect};

    #[test]
    fn values_are_mapped() {
        let map = |unmapped: &str| {
            let pairs = [("open", "draft"), ("", "none")];
            let pairs = pairs.map(|(old, new)| (old.to_owned(), new.to_owned()));
            let arguments = vec![
                ("file".to_owned(), Value::Map(pairs.to_vec())),
                ("unmapped".to_owned(), Value::Text(unmapped.to_owned())),
            ];
            built("value_map", arguments)
        };
        let keep = map("keep");
        expect(&*keep, &[("open", "draft"), ("", "none"), ("Open", "Open")]);
        assert_eq!(keep.apply(None), Ok(None));
        assert_eq!(map("null").apply(Some("other")), Ok(None));
        let error = map("error").apply(Some("secret"));
        assert!(error.is_err_and(|why| !why.contains("secret")));
    }
}
