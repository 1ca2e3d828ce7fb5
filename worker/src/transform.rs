//! What the transform operator does between COPY and COPY: named functions on values, on all cores.
//! No database here, and nothing that waits.
//!
//! One file for each function. A new one is its file, its line in [`build`], and its declaration in
//! `shared/src/transform.rs`, which says what arguments it takes.

pub(crate) mod batch;
pub(crate) mod binary;
pub(crate) mod translated;

mod bootstrap;
mod email;
mod html_text;
mod json_paths;
mod phone;
mod regex_replace;
mod text_html;
mod value_map;

use upshift_shared::transform::Call;

/// A function on values.
pub(crate) trait Function: Send + Sync {
    /// The new value; `None` is NULL. What is wrong with a value is told without quoting it: errors
    /// are logged.
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String>;
}

/// The function of a call, with its arguments.
///
/// # Errors
/// Where the plan holds what its reader does not know: it is another version's.
pub(crate) fn build(call: &Call) -> Result<Box<dyn Function>, String> {
    let function: Box<dyn Function> = match call.function.as_str() {
        "bootstrap_4_to_5" => Box::new(bootstrap::Bootstrap4To5),
        "email_normalise" => Box::new(email::EmailNormalise::new(call)?),
        "html_to_text" => Box::new(html_text::HtmlToText::new(call)?),
        "json_path_map" => Box::new(json_paths::JsonPathMap::new(call)?),
        "phone_normalise" => Box::new(phone::PhoneNormalise::new(call)?),
        "regex_replace" => Box::new(regex_replace::RegexReplace::new(call)?),
        "text_to_html" => Box::new(text_html::TextToHtml::new(call)?),
        "value_map" => Box::new(value_map::ValueMap::new(call)?),
        other => {
            return Err(format!(
                "this worker has no function {other}: the plan is of another version"
            ));
        }
    };
    Ok(function)
}

/// An argument that the declaration promises.
fn text<'a>(call: &'a Call, argument: &str) -> Result<&'a str, String> {
    call.text(argument).ok_or_else(|| missing(call, argument))
}

fn missing(call: &Call, argument: &str) -> String {
    format!(
        "{} lacks its argument {argument}: the plan is of another version",
        call.function
    )
}

/// What becomes of a value that a function cannot make sense of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    /// It stays.
    Keep,
    /// It becomes NULL.
    Null,
    /// The unit fails.
    Fail,
}

impl Otherwise {
    fn of(call: &Call, argument: &str) -> Result<Self, String> {
        match text(call, argument)? {
            "keep" => Ok(Self::Keep),
            "null" => Ok(Self::Null),
            "error" => Ok(Self::Fail),
            _ => Err(missing(call, argument)),
        }
    }

    fn apply(self, value: &str, why: &str) -> Result<Option<String>, String> {
        match self {
            Self::Keep => Ok(Some(value.to_owned())),
            Self::Null => Ok(None),
            Self::Fail => Err(why.to_owned()),
        }
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_function_is_here() {
        for function in upshift_shared::transform::FUNCTIONS {
            let call = Call {
                function: function.name.to_owned(),
                arguments: std::collections::BTreeMap::new(),
            };
            if let Err(why) = build(&call) {
                assert!(!why.contains("has no function"), "{why}");
            }
        }
    }
}
