//! A transform bound: as the UPDATE with the same reads and writes, which says whether there is a key,
//! what fires, and whether it may be cut. What in-place cannot do, a transform cannot do either, and
//! there is no statement that could be run whole instead: it is refused.

use upshift_shared::{
    catalog::{Catalog, Column},
    pack::TransformStep,
    transform::{self, Takes},
};

use crate::compile::{
    error::BindError,
    model::{Bound, BoundDml, BoundTransform, Class},
};

/// The bound UPDATE as a transform.
///
/// # Errors
/// Why the column cannot be transformed.
pub(super) fn bind(
    step: &TransformStep,
    bound: Bound,
    catalog: &Catalog,
) -> Result<Bound, BindError> {
    let dml = match bound.class {
        Class::Update(dml) => dml,
        Class::Copying { why, .. } | Class::Opaque { why, .. } => {
            return Err(BindError::new(format!(
                "this column cannot be transformed row by row, with a way back: {why}"
            )));
        }
        _ => return Err(BindError::new("not an UPDATE: please report this")),
    };
    if !bound.now_calls.is_empty() {
        return Err(BindError::new(
            "now() and its like cannot stand in the where of a transform, whose rows come out by COPY: \
             write the instant as a literal, or mark the rows in a column first",
        ));
    }
    let source = column(&dml, catalog, &step.source)?;
    let target = column(&dml, catalog, &step.target)?;
    if target.generated.is_some() {
        return Err(BindError::new(format!(
            "{} is a generated column: transform what it is generated from",
            target.name
        )));
    }
    let translated = fits(step, (source, target), catalog)?;
    let holds = Holds::of(target, catalog);
    Ok(Bound {
        class: Class::Transform(BoundTransform {
            longest: longest(&target.type_name),
            cast: (!matches!(holds, Holds::Text | Holds::Domain)).then(|| target.type_name.clone()),
            distinct: holds == Holds::Jsonb,
            translated,
            dml,
        }),
        ..bound
    })
}

fn column<'c>(dml: &BoundDml, catalog: &'c Catalog, name: &str) -> Result<&'c Column, BindError> {
    let relation = catalog.relation(dml.relation);
    relation
        .and_then(|relation| relation.column(name))
        .ok_or_else(|| {
            BindError::new(format!(
                "{} has no column \"{name}\" of its own to transform",
                dml.table.plain()
            ))
        })
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Json,
    Jsonb,
    /// The snapshot does not tell what is under a domain; PostgreSQL will.
    Domain,
    Other,
}

impl Holds {
    fn of(column: &Column, catalog: &Catalog) -> Self {
        let name = column.type_name.replace('"', "");
        match name.split('(').next().unwrap_or_default() {
            "text" | "character varying" | "character" | "bpchar" | "name" => return Self::Text,
            "json" => return Self::Json,
            "jsonb" => return Self::Jsonb,
            other if other == "citext" || other.ends_with(".citext") => return Self::Text,
            _ => {}
        }
        let domain = catalog.types.iter().any(|known| {
            known.kind == 'd'
                && (known.name == name || format!("{}.{}", known.schema, known.name) == name)
        });
        if domain { Self::Domain } else { Self::Other }
    }

    fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonb)
    }
}

/// Whether the function is for such columns; `true` where it is applied to each text of a JSON object,
/// which is how Odoo keeps a text in several languages.
fn fits(
    step: &TransformStep,
    (source, target): (&Column, &Column),
    catalog: &Catalog,
) -> Result<bool, BindError> {
    let function = &step.call.function;
    let declared = transform::find(function)
        .ok_or_else(|| BindError::new(format!("there is no function {function}")))?;
    let holds = |column: &Column| Holds::of(column, catalog);
    let refuse = |what: &str, column: &Column| {
        Err(BindError::new(format!(
            "{function} is for {what}, and {} is of type {}",
            column.name, column.type_name
        )))
    };
    let is_text = |column: &Column| matches!(holds(column), Holds::Text | Holds::Domain);
    match declared.takes {
        Takes::Any => Ok(false),
        Takes::Json => {
            let other = [source, target].into_iter();
            let mut other = other.filter(|column| !holds(column).is_json() && !is_text(column));
            match other.next() {
                Some(other) => refuse("JSON", other),
                None => Ok(false),
            }
        }
        Takes::Text if holds(source).is_json() && holds(target).is_json() => Ok(true),
        Takes::Text if holds(source).is_json() => refuse("text", source),
        Takes::Text if !is_text(target) => refuse("text", target),
        Takes::Text => Ok(false),
    }
}

/// The length of `character varying(64)`.
fn longest(type_name: &str) -> Option<u32> {
    let length = type_name.strip_prefix("character")?;
    let length = length.strip_prefix(" varying").unwrap_or(length);
    length.strip_prefix('(')?.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::longest;

    #[test]
    fn lengths_are_read_from_the_type() {
        assert_eq!(longest("character varying(64)"), Some(64));
        assert_eq!(longest("character(3)"), Some(3));
        for none in ["text", "character varying", "numeric(5,2)", "citext"] {
            assert_eq!(longest(none), None, "{none}");
        }
    }
}
