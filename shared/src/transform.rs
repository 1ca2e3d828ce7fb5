//! The functions of the transform operator: their names and the arguments that they take. The pack's
//! loader checks calls against these declarations; the code is in the worker (`worker/src/transform/`,
//! one file for each function).

pub(crate) mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use check::pattern;

/// A function by its name, with arguments that were checked against its declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name: one of [`FUNCTIONS`].
    pub function: String,
    /// By name; those that were left out and have no default are not there.
    pub arguments: BTreeMap<String, Value>,
}

impl Call {
    /// A text argument.
    #[must_use]
    pub fn text(&self, argument: &str) -> Option<&str> {
        match self.arguments.get(argument) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A text.
    Text(String),
    /// Patterns and what replaces them, in order.
    Rules(Vec<Rule>),
    /// What is done to a JSON value, in order.
    Paths(Vec<PathChange>),
    /// Old and new values, from a CSV file of the pack.
    Map(Vec<(String, String)>),
}

/// A pattern and what replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// In the syntax of the crate `regex`.
    pub pattern: String,
    /// `$1` and `${name}` stand for what a group of the pattern matched.
    pub replacement: String,
}

/// A change to a JSON value. A path is a list of keys; `None` stands for every element of an array
/// or object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathChange {
    /// Takes what is at `from` to another place.
    Move {
        /// From where.
        from: Vec<Option<String>>,
        /// To where; without `*`.
        to: Vec<Option<String>>,
    },
    /// Gives the last key of a path another name.
    Rename {
        /// The path.
        path: Vec<Option<String>>,
        /// The new name of its last key.
        to: String,
    },
    /// Removes what is there.
    Delete {
        /// The path.
        path: Vec<Option<String>>,
    },
}

/// What a function can be applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Text of any type that holds text.
    Text,
    /// Text that is JSON.
    Json,
    /// The text form of any type.
    Any,
}

/// A function, declared.
#[derive(Debug)]
pub struct Declaration {
    /// How packs call it.
    pub name: &'static str,
    /// What it can be applied to.
    pub takes: Takes,
    /// Its arguments.
    pub arguments: &'static [Argument],
}

/// An argument, declared.
#[derive(Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it has to be.
    pub kind: Kind,
}

/// What an argument has to be.
#[derive(Debug)]
pub enum Kind {
    /// One of these words; the first where it is left out.
    Word(&'static [&'static str]),
    /// A text that must be given and pass this check, which says what is wrong.
    Text(fn(&str) -> Result<(), String>),
    /// A text that may be left out, with the same check.
    OptionalText(fn(&str) -> Result<(), String>),
    /// `[{ pattern = "…", replacement = "…" }, …]`
    Rules,
    /// `[{ move = "…", to = "…" }, { rename = "…", to = "…" }, { delete = "…" }, …]`
    Paths,
    /// The path of a CSV file with the columns `old` and `new`, from the folder of the step's file.
    Map,
}

const UNREADABLE: Argument = Argument {
    name: "invalid",
    kind: Kind::Word(&["keep", "null", "error"]),
};

/// Every function, by name.
pub const FUNCTIONS: &[Declaration] = &[
    Declaration {
        name: "bootstrap_4_to_5",
        takes: Takes::Text,
        arguments: &[],
    },
    Declaration {
        name: "email_normalise",
        takes: Takes::Text,
        arguments: &[
            Argument {
                name: "local",
                kind: Kind::Word(&["keep", "lower"]),
            },
            UNREADABLE,
        ],
    },
    Declaration {
        name: "html_to_text",
        takes: Takes::Text,
        arguments: &[Argument {
            name: "links",
            kind: Kind::Word(&["drop", "keep"]),
        }],
    },
    Declaration {
        name: "json_path_map",
        takes: Takes::Json,
        arguments: &[Argument {
            name: "paths",
            kind: Kind::Paths,
        }],
    },
    Declaration {
        name: "phone_normalise",
        takes: Takes::Text,
        arguments: &[
            Argument {
                name: "country",
                kind: Kind::Text(check::country_code),
            },
            Argument {
                name: "trunk",
                kind: Kind::OptionalText(check::trunk_prefix),
            },
            UNREADABLE,
        ],
    },
    Declaration {
        name: "regex_replace",
        takes: Takes::Text,
        arguments: &[Argument {
            name: "rules",
            kind: Kind::Rules,
        }],
    },
    Declaration {
        name: "text_to_html",
        takes: Takes::Text,
        arguments: &[Argument {
            name: "line_break",
            kind: Kind::Word(&["<br>", "<br/>"]),
        }],
    },
    Declaration {
        name: "value_map",
        takes: Takes::Any,
        arguments: &[
            Argument {
                name: "file",
                kind: Kind::Map,
            },
            Argument {
                name: "unmapped",
                kind: Kind::Word(&["keep", "null", "error"]),
            },
        ],
    },
];

/// The declaration of a function.
#[must_use]
pub fn find(name: &str) -> Option<&'static Declaration> {
    FUNCTIONS.iter().find(|function| function.name == name)
}
