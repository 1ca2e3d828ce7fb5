//! Functions and procedures: known by name and number of arguments in the catalog, by their signature
//! in what is captured and inverted.

use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AlterFunctionStmt, CreateFunctionStmt, DropStmt, FunctionParameter, FunctionParameterMode,
        ObjectType, ObjectWithArgs, RenameStmt,
    },
};
use upshift_shared::{
    catalog::{Function, Volatility},
    pg::ident::{QualifiedName, ident},
    plan::{Capture, Hide},
};

use super::{
    alter_table::cascades,
    draft::{Draft, Outcome},
    drop::{Dropped, words},
    named, object, type_name,
};
use crate::compile::error::BindError;

/// A function by schema, name and the types of its input arguments.
struct Signature {
    name: QualifiedName,
    arguments: Vec<String>,
}

impl Signature {
    /// `"schema"."name"(integer, text)`, as `to_regprocedure` reads it.
    fn text(&self) -> String {
        format!("{}({})", self.name, self.arguments.join(", "))
    }
}

/// CREATE [OR REPLACE] FUNCTION | PROCEDURE
pub(super) fn create(
    draft: &mut Draft<'_>,
    stmt: &CreateFunctionStmt,
) -> Result<Outcome, BindError> {
    let (schema, name) = object::split(&object::strings(&stmt.funcname));
    let schema = draft.creation_schema(&schema)?;
    let mut arguments = Vec::new();
    for parameter in stmt.parameters.iter().filter_map(parameter) {
        if is_input(parameter)
            && let Some(own) = &parameter.arg_type
        {
            arguments.push(type_name::text(draft, own)?);
        }
    }
    let signature = Signature {
        name: QualifiedName::new(&schema, &name),
        arguments,
    };
    draft.writes_object("function", &signature.name);
    named::mentions(draft);
    let count = u16::try_from(signature.arguments.len()).unwrap_or(u16::MAX);
    let functions = draft.catalog.functions.entry(name).or_default();
    let function = Function {
        schema: schema.clone(),
        volatility: volatility(&stmt.options).unwrap_or(Volatility::Volatile),
        aggregate: false,
        window: false,
        returns_set: stmt.return_type.as_ref().is_some_and(|t| t.setof),
        builtin: false,
        arguments: count,
    };
    let same = |f: &&mut Function| f.schema == schema && f.arguments == count;
    let known = functions.iter_mut().filter(same).count();
    match functions.iter_mut().find(same) {
        // Which of several overloads is replaced cannot be told from the number of arguments: then the
        // old one stays beside the new one, and the worse of them counts.
        Some(replaced) if stmt.replace && known == 1 => *replaced = function,
        _ => functions.push(function),
    }
    let known = known > 0;
    if stmt.replace && known {
        return draft.done_captured(vec![Capture::Function {
            function: signature.text(),
        }]);
    }
    let word = if stmt.is_procedure {
        "PROCEDURE"
    } else {
        "FUNCTION"
    };
    draft.done(vec![format!("DROP {word} {}", signature.text())])
}

fn parameter(node: &Node) -> Option<&FunctionParameter> {
    match &node.node {
        Some(NodeEnum::FunctionParameter(parameter)) => Some(parameter),
        _ => None,
    }
}

/// Whether a parameter belongs to the signature.
fn is_input(parameter: &FunctionParameter) -> bool {
    use FunctionParameterMode as Mode;
    !matches!(
        Mode::try_from(parameter.mode),
        Ok(Mode::FuncParamOut | Mode::FuncParamTable)
    )
}

fn volatility(options: &[Node]) -> Option<Volatility> {
    let word = options.iter().find_map(|option| match &option.node {
        Some(NodeEnum::DefElem(option)) if option.defname == "volatility" => {
            match &option.arg.as_ref()?.node {
                Some(NodeEnum::String(word)) => Some(word.sval.clone()),
                _ => None,
            }
        }
        _ => None,
    });
    Some(match word?.as_str() {
        "immutable" => Volatility::Immutable,
        "stable" => Volatility::Stable,
        _ => Volatility::Volatile,
    })
}

/// The signature that a statement names, its schema found through the search path; `None` where it
/// cannot be told which function is meant.
fn resolve(draft: &Draft<'_>, object: &ObjectWithArgs) -> Option<Signature> {
    let (schema, name) = object::split(&object::strings(&object.objname));
    let known = draft.catalog.functions.get(&name)?;
    let schema = if schema.is_empty() {
        let mut path = draft.path.iter();
        path.find(|schema| known.iter().any(|f| f.schema == **schema && !f.builtin))?
            .clone()
    } else {
        known.iter().find(|f| f.schema == schema)?.schema.clone()
    };
    let mut arguments = Vec::new();
    if object.args_unspecified {
        let mut same = known.iter().filter(|f| f.schema == schema);
        let only = same.next()?;
        // Without arguments its signature is known only to PostgreSQL.
        if same.next().is_some() || only.arguments > 0 {
            return None;
        }
    }
    for node in &object.objargs {
        let Some(NodeEnum::TypeName(own)) = &node.node else {
            return None;
        };
        arguments.push(type_name::text(draft, own).ok()?);
    }
    Some(Signature {
        name: QualifiedName::new(schema, name),
        arguments,
    })
}

fn with_args(node: &Node) -> Option<&ObjectWithArgs> {
    match &node.node {
        Some(NodeEnum::ObjectWithArgs(object)) => Some(object),
        _ => None,
    }
}

/// The signature of a function that a statement is about, which it is then ordered by.
pub(super) fn signature_of(draft: &mut Draft<'_>, node: &Node) -> Option<String> {
    let signature = resolve(draft, with_args(node)?)?;
    draft.writes_object("function", &signature.name);
    Some(signature.text())
}

/// ALTER FUNCTION
pub(super) fn alter(draft: &mut Draft<'_>, stmt: &AlterFunctionStmt) -> Result<Outcome, BindError> {
    let signature = stmt.func.as_ref().and_then(|f| resolve(draft, f));
    let Some(signature) = signature else {
        draft.touches_everything();
        return draft.done_without_inverse("ALTER FUNCTION without its arguments");
    };
    draft.writes_object("function", &signature.name);
    if let Some(volatility) = volatility(&stmt.actions) {
        let functions = draft.catalog.functions.get_mut(&signature.name.name);
        for function in functions.into_iter().flatten() {
            if function.schema == signature.name.schema
                && usize::from(function.arguments) == signature.arguments.len()
            {
                function.volatility = volatility;
            }
        }
    }
    draft.done_captured(vec![Capture::Function {
        function: signature.text(),
    }])
}

/// DROP FUNCTION
pub(super) fn drop(
    draft: &mut Draft<'_>,
    stmt: &DropStmt,
    node: &Node,
) -> Result<Dropped, BindError> {
    let Some(object) = with_args(node) else {
        return Err(BindError::new("DROP FUNCTION needs a function"));
    };
    let kind = ObjectType::try_from(stmt.remove_type).unwrap_or(ObjectType::Undefined);
    let (schema, name) = object::split(&object::strings(&object.objname));
    let known = draft.catalog.functions.get(&name);
    let is_known = known.is_some_and(|functions| {
        functions.iter().any(|f| {
            let in_schema = if schema.is_empty() {
                draft.path.contains(&f.schema)
            } else {
                f.schema == schema
            };
            let count = usize::from(f.arguments);
            in_schema && !f.builtin && (object.args_unspecified || count == object.objargs.len())
        })
    });
    if !is_known {
        let user = draft.catalog.functions.iter();
        let user = user.filter(|(_, functions)| functions.iter().any(|f| !f.builtin));
        let hint = object::did_you_mean(&name, user.map(|(name, _)| name.as_str()));
        return Ok(Dropped::Missing(format!(
            "{} \"{name}\" does not exist{hint}",
            words(kind).to_lowercase()
        )));
    }
    draft.frees_dependents();
    if cascades(stmt.behavior) {
        draft.no_inverse(format!("DROP {} … CASCADE", words(kind)));
    }
    let text = match resolve(draft, object) {
        Some(signature) => {
            draft.writes_object("function", &signature.name);
            forget(draft, &signature);
            if object.args_unspecified {
                signature.name.to_string()
            } else {
                signature.text()
            }
        }
        None => {
            draft.touches_everything();
            draft.no_inverse(format!("DROP {} without its arguments", words(kind)));
            object::quote_parts(&object::strings(&object.objname))
        }
    };
    draft.hide(
        format!("DROP {} {text}", words(kind)),
        Hide::Object {
            class: words(kind).to_owned(),
            object: text,
        },
    );
    Ok(Dropped::Yes)
}

fn forget(draft: &mut Draft<'_>, signature: &Signature) {
    let count = signature.arguments.len();
    if let Some(functions) = draft.catalog.functions.get_mut(&signature.name.name) {
        let same = functions
            .iter()
            .position(|f| f.schema == signature.name.schema && usize::from(f.arguments) == count);
        if let Some(place) = same {
            functions.remove(place);
        }
        if functions.is_empty() {
            draft.catalog.functions.remove(&signature.name.name);
        }
    }
}

/// ALTER FUNCTION … RENAME TO
pub(super) fn rename(
    draft: &mut Draft<'_>,
    stmt: &RenameStmt,
    kind: ObjectType,
) -> Result<Outcome, BindError> {
    let object = stmt.object.as_deref().and_then(with_args);
    let Some(old) = object.and_then(|object| resolve(draft, object)) else {
        draft.touches_everything();
        return draft.done_without_inverse("RENAME of a function without its arguments");
    };
    let new = Signature {
        name: QualifiedName::new(&old.name.schema, &stmt.newname),
        arguments: old.arguments.clone(),
    };
    relocate(draft, &old, &new);
    draft.done(vec![format!(
        "ALTER {} {} RENAME TO {}",
        words(kind),
        new.text(),
        ident(&old.name.name)
    )])
}

/// ALTER FUNCTION … SET SCHEMA
pub(super) fn set_schema(
    draft: &mut Draft<'_>,
    node: &Node,
    kind: ObjectType,
    schema: &str,
) -> Result<Outcome, BindError> {
    let Some(old) = with_args(node).and_then(|object| resolve(draft, object)) else {
        draft.touches_everything();
        return draft.done_without_inverse("SET SCHEMA of a function without its arguments");
    };
    let new = Signature {
        name: QualifiedName::new(schema, &old.name.name),
        arguments: old.arguments.clone(),
    };
    relocate(draft, &old, &new);
    draft.done(vec![format!(
        "ALTER {} {} SET SCHEMA {}",
        words(kind),
        new.text(),
        ident(&old.name.schema)
    )])
}

fn relocate(draft: &mut Draft<'_>, old: &Signature, new: &Signature) {
    draft.writes_object("function", &old.name);
    draft.writes_object("function", &new.name);
    let count = old.arguments.len();
    let functions = draft.catalog.functions.get(&old.name.name);
    let function = functions
        .into_iter()
        .flatten()
        .find(|f| f.schema == old.name.schema && usize::from(f.arguments) == count)
        .cloned();
    forget(draft, old);
    if let Some(function) = function {
        let functions = &mut draft.catalog.functions;
        functions
            .entry(new.name.name.clone())
            .or_default()
            .push(Function {
                schema: new.name.schema.clone(),
                ..function
            });
    }
}
