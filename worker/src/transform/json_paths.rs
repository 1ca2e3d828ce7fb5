//! `json_path_map`: moves, renames and deletes within JSON values, in the order of the step.
//!
//! Only what lies on a path is taken apart; the rest is carried along as it is written, so that numbers
//! keep their digits, objects the order of their keys, and equal keys their company. A path that leads
//! nowhere changes nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use upshift_shared::transform::{Call, PathChange, Value};

use super::{Function, missing};

pub(super) struct JsonPathMap {
    changes: Vec<PathChange>,
}

impl JsonPathMap {
    pub(super) fn new(call: &Call) -> Result<Self, String> {
        match call.arguments.get("paths") {
            Some(Value::Paths(changes)) => Ok(Self {
                changes: changes.clone(),
            }),
            _ => Err(missing(call, "paths")),
        }
    }
}

impl Function for JsonPathMap {
    fn apply(&self, value: Option<&str>) -> Result<Option<String>, String> {
        let Some(value) = value else {
            return Ok(None);
        };
        let raw: &RawValue =
            serde_json::from_str(value).map_err(|_| "its value is not JSON".to_owned())?;
        let mut root = Node::Raw(raw);
        let mut changed = false;
        for change in &self.changes {
            changed |= match change {
                PathChange::Delete { path } => delete(&mut root, path)?,
                PathChange::Rename { path, to } => rename(&mut root, path, to)?,
                PathChange::Move { from, to } => relocate(&mut root, from, to)?,
            };
        }
        if !changed {
            return Ok(Some(value.to_owned()));
        }
        let mut text = String::with_capacity(value.len());
        root.write(&mut text)?;
        Ok(Some(text))
    }
}

/// A JSON value, taken apart as far as paths led into it.
#[derive(Debug, Clone)]
pub(super) enum Node<'a> {
    Raw(&'a RawValue),
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

type Path = [Option<String>];

impl<'a> Node<'a> {
    /// Takes an object or array apart.
    fn open(&mut self) -> Result<(), String> {
        let Node::Raw(raw) = self else {
            return Ok(());
        };
        let text = raw.get();
        let unreadable = |_| "its JSON value has a key that is not Unicode".to_owned();
        if text.starts_with('{') {
            let entries: Entries<'a> = serde_json::from_str(text).map_err(unreadable)?;
            *self = Node::Object(entries.0);
        } else if text.starts_with('[') {
            let items: Items<'a> = serde_json::from_str(text).map_err(unreadable)?;
            *self = Node::Array(items.0);
        }
        Ok(())
    }

    /// What a key of a path leads to.
    fn children(&mut self, key: &Option<String>) -> Result<Vec<&mut Node<'a>>, String> {
        self.open()?;
        Ok(match (self, key) {
            (Node::Object(entries), Some(key)) => entries
                .iter_mut()
                .filter(|(name, _)| name == key)
                .map(|(_, node)| node)
                .collect(),
            (Node::Object(entries), None) => entries.iter_mut().map(|(_, node)| node).collect(),
            (Node::Array(items), None) => items.iter_mut().collect(),
            (Node::Array(items), Some(key)) => {
                let place = key.parse::<usize>().ok();
                place.and_then(|at| items.get_mut(at)).into_iter().collect()
            }
            (Node::Raw(_), _) => Vec::new(),
        })
    }

    fn write(&self, text: &mut String) -> Result<(), String> {
        match self {
            Node::Raw(raw) => text.push_str(raw.get()),
            Node::Object(entries) => {
                text.push('{');
                for (number, (key, node)) in entries.iter().enumerate() {
                    if number > 0 {
                        text.push_str(", ");
                    }
                    text.push_str(&serde_json::to_string(key).map_err(|e| e.to_string())?);
                    text.push_str(": ");
                    node.write(text)?;
                }
                text.push('}');
            }
            Node::Array(items) => {
                text.push('[');
                for (number, node) in items.iter().enumerate() {
                    if number > 0 {
                        text.push_str(", ");
                    }
                    node.write(text)?;
                }
                text.push(']');
            }
        }
        Ok(())
    }
}

/// Does something at the end of a path, wherever it leads; says whether anything was done.
fn at_end<'a>(
    node: &mut Node<'a>,
    path: &Path,
    act: &mut dyn FnMut(&mut Node<'a>, &Option<String>) -> bool,
) -> Result<bool, String> {
    let Some((key, rest)) = path.split_first() else {
        return Ok(false);
    };
    if rest.is_empty() {
        node.open()?;
        return Ok(act(node, key));
    }
    let mut done = false;
    for child in node.children(key)? {
        done |= at_end(child, rest, act)?;
    }
    Ok(done)
}

fn delete(root: &mut Node<'_>, path: &Path) -> Result<bool, String> {
    at_end(root, path, &mut |node, key| !take(node, key).is_empty())
}

fn rename(root: &mut Node<'_>, path: &Path, to: &str) -> Result<bool, String> {
    at_end(root, path, &mut |node, key| {
        let (Node::Object(entries), Some(key)) = (node, key) else {
            return false;
        };
        if key == to || !entries.iter().any(|(name, _)| name == key) {
            return false;
        }
        // What had the new name gives way, as with a move.
        entries.retain(|(name, _)| name != to);
        for (name, _) in entries.iter_mut().filter(|(name, _)| name == key) {
            to.clone_into(name);
        }
        true
    })
}

fn relocate<'a>(root: &mut Node<'a>, from: &Path, to: &Path) -> Result<bool, String> {
    if from == to {
        return Ok(false);
    }
    let mut moved: Vec<Node<'a>> = Vec::new();
    at_end(root, from, &mut |node, key| {
        moved.extend(take(node, key));
        true
    })?;
    // Of equal keys, JSON readers take the last.
    let Some(moved) = moved.pop() else {
        return Ok(false);
    };
    put(root, to, moved)?;
    Ok(true)
}

/// Takes out what a key leads to.
fn take<'a>(node: &mut Node<'a>, key: &Option<String>) -> Vec<Node<'a>> {
    match (node, key) {
        (Node::Object(entries), None) => entries.drain(..).map(|(_, node)| node).collect(),
        (Node::Object(entries), Some(key)) => {
            let taken = entries.extract_if(.., |(name, _)| name == key);
            taken.map(|(_, node)| node).collect()
        }
        (Node::Array(items), None) => std::mem::take(items),
        (Node::Array(items), Some(key)) => match key.parse::<usize>() {
            Ok(at) if at < items.len() => vec![items.remove(at)],
            _ => Vec::new(),
        },
        (Node::Raw(_), _) => Vec::new(),
    }
}

/// Puts a value where a path leads; objects on the way that are not there are made.
fn put<'a>(root: &mut Node<'a>, path: &Path, value: Node<'a>) -> Result<(), String> {
    let mut node = root;
    for key in path.iter().flatten() {
        node.open()?;
        let entries = match node {
            Node::Object(entries) => entries,
            Node::Array(items) => {
                let place = key.parse::<usize>().ok();
                let item = place.and_then(|at| items.get_mut(at));
                node = item.ok_or("a move leads into an array that has no such element")?;
                continue;
            }
            Node::Raw(_) => {
                return Err("a move leads into a value that is neither object nor array".to_owned());
            }
        };
        let place = match entries.iter().rposition(|(name, _)| name == key) {
            Some(place) => place,
            None => {
                entries.push((key.clone(), Node::Object(Vec::new())));
                entries.len() - 1
            }
        };
        node = &mut entries[place].1;
    }
    *node = value;
    Ok(())
}

/// The entries of an object, in order.
pub(super) struct Entries<'a>(pub(super) Vec<(String, Node<'a>)>);
/// The elements of an array.
struct Items<'a>(Vec<Node<'a>>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    entries.push((key, Node::Raw(value)));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(value) = seq.next_element::<&'de RawValue>()? {
                    items.push(Node::Raw(value));
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
mod tests {
    use upshift_shared::transform::Value;

    use super::*;
    use crate::transform::testing::{built, expect};

    fn path(text: &str) -> Vec<Option<String>> {
        let key = |key: &str| (key != "*").then(|| key.to_owned());
        text.split('.').map(key).collect()
    }

    fn function(changes: Vec<PathChange>) -> Box<dyn Function> {
        built(
            "json_path_map",
            vec![("paths".to_owned(), Value::Paths(changes))],
        )
    }

    fn relocated(from: &str, to: &str) -> PathChange {
        PathChange::Move {
            from: path(from),
            to: path(to),
        }
    }

    #[test]
    fn values_are_moved_renamed_and_deleted() {
        let moved = function(vec![relocated("a.b", "c.d.e")]);
        expect(
            &*moved,
            &[
                (
                    "{\"a\": {\"b\": 1, \"x\": 2}}",
                    "{\"a\": {\"x\": 2}, \"c\": {\"d\": {\"e\": 1}}}",
                ),
                (
                    "{\"a\":{\"b\":[1,2]},\"c\":{\"d\":{\"e\":0}}}",
                    "{\"a\": {}, \"c\": {\"d\": {\"e\": [1,2]}}}",
                ),
                ("{ \"x\" : 1.10 }", "{ \"x\" : 1.10 }"),
                ("[]", "[]"),
                ("null", "null"),
            ],
        );
        let renamed = function(vec![PathChange::Rename {
            path: path("items.*.old"),
            to: "new".to_owned(),
        }]);
        expect(
            &*renamed,
            &[
                (
                    "{\"items\": [{\"old\": 1}, {\"x\": 2}, 3]}",
                    "{\"items\": [{\"new\": 1}, {\"x\": 2}, 3]}",
                ),
                (
                    "{\"items\": {\"k\": {\"new\": 0, \"old\": 1}}}",
                    "{\"items\": {\"k\": {\"new\": 1}}}",
                ),
                ("{\"items\": 5}", "{\"items\": 5}"),
            ],
        );
        let deleted = function(vec![
            PathChange::Delete { path: path("a.1") },
            PathChange::Delete { path: path("b.*") },
        ]);
        expect(
            &*deleted,
            &[
                (
                    "{\"a\": [1, 2, 3], \"b\": {\"x\": 1}}",
                    "{\"a\": [1, 3], \"b\": {}}",
                ),
                ("{\"a\": {\"1\": true}}", "{\"a\": {}}"),
            ],
        );
        assert_eq!(moved.apply(None), Ok(None));
    }

    #[test]
    fn what_is_not_on_a_path_stays_as_it_is_written() {
        let deleted = function(vec![PathChange::Delete { path: path("x") }]);
        expect(
            &*deleted,
            &[(
                "{\"z\": 1.000, \"x\": 0, \"a\": 12345678901234567890.123, \"a\": \"\\u00e9\\/\", \"n\": {\"x\":  1}}",
                "{\"z\": 1.000, \"a\": 12345678901234567890.123, \"a\": \"\\u00e9\\/\", \"n\": {\"x\":  1}}",
            )],
        );
    }

    #[test]
    fn what_cannot_be_done_is_told_without_the_value() {
        let moved = function(vec![relocated("a", "b.c")]);
        for value in [
            "{\"a\": 1, \"b\": \"secret\"}",
            "secret",
            "{\"a\": 1, \"b\": []}",
        ] {
            let why = moved.apply(Some(value)).expect_err("it cannot be done");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
