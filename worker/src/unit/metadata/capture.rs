//! Captures: definitions read from the live catalog before DDL changes or drops them, as the
//! statements that restore them. Everything is read with an empty search path, so that every name in
//! the statements is qualified.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    pg::{ident::literal, sql},
    plan::Capture,
};

use super::super::reparse;

/// A capture, read before its action.
pub(super) struct Captured<'c> {
    capture: &'c Capture,
    /// What restores it.
    restore: Vec<String>,
    /// For a view: what CREATE OR REPLACE could not change.
    shape: Option<String>,
    /// For a view: it and those built on it, in order.
    family: Vec<ViewDefinition>,
}

struct ViewDefinition {
    view: String,
    statements: Vec<String>,
}

/// Rows of one text column, definitions among them so that they can be parsed again ([`reparse::exactly`]).
pub(in crate::unit) async fn texts(
    tx: &mut PgConnection,
    query: impl Into<String>,
    parameters: &[Option<&str>],
) -> Result<Vec<String>> {
    let mut query = sqlx::query(sql(query)).persistent(false);
    for parameter in parameters {
        query = query.bind(*parameter);
    }
    let rows = query
        .fetch_all(tx)
        .await
        .map_err(Error::database("reading definitions from the catalog"))?;
    rows.iter()
        .map(|row| row.try_get(0).map(reparse::exactly))
        .collect::<sqlx::Result<_>>()
        .map_err(Error::database("reading definitions from the catalog"))
}

/// Runs with an empty search path from [`leave_qualified`] back.
pub(in crate::unit) async fn enter_qualified(tx: &mut PgConnection) -> Result<String> {
    let old = texts(
        tx,
        "-- the search path\nSELECT current_setting('search_path')",
        &[],
    )
    .await?;
    texts(
        tx,
        // Large as they are, these queries touch few rows: compiling them would take seconds, under a lock.
        "-- qualify all names\nSELECT set_config('search_path', '', true), set_config('jit', 'off', true)",
        &[],
    )
    .await?;
    Ok(old.into_iter().next().unwrap_or_default())
}

/// Puts the search path back.
pub(in crate::unit) async fn leave_qualified(tx: &mut PgConnection, old: &str) -> Result<()> {
    let query = "-- put the search path back\nSELECT set_config('search_path', $1, true)";
    texts(tx, query, &[Some(old)]).await?;
    Ok(())
}

/// Reads what restores an object.
pub(super) async fn before<'c>(
    tx: &mut PgConnection,
    capture: &'c Capture,
) -> Result<Captured<'c>> {
    let mut captured = Captured {
        capture,
        restore: Vec::new(),
        shape: None,
        family: Vec::new(),
    };
    match capture {
        Capture::View { view } => {
            captured.shape = shape(tx, view).await?;
            captured.family = family(tx, view).await?;
        }
        Capture::Comment { object, query } => {
            captured.restore = vec![comment(tx, object, query).await?];
        }
        other => captured.restore = definition(tx, other).await?,
    }
    Ok(captured)
}

/// What takes the action back, in order: read after it, because some of it depends on what the action
/// did.
pub(super) async fn after(tx: &mut PgConnection, captured: Captured<'_>) -> Result<Vec<String>> {
    let mut undo = match captured.capture {
        Capture::Options { object } => {
            texts(
                tx,
                include_str!("capture/options_after.sql"),
                &[Some(object)],
            )
            .await?
        }
        Capture::Privileges { object } => {
            texts(
                tx,
                include_str!("capture/privileges_after.sql"),
                &[Some(object)],
            )
            .await?
        }
        Capture::ColumnAttributes { table, column } => {
            let query = include_str!("capture/column_attributes_after.sql");
            texts(tx, query, &[Some(table), Some(column)]).await?
        }
        Capture::Function { function } if captured.restore.is_empty() => {
            let query = include_str!("capture/function_after.sql");
            texts(tx, query, &[Some(function)]).await?
        }
        Capture::View { view } => {
            return view_after(tx, view, captured.shape, captured.family).await;
        }
        _ => Vec::new(),
    };
    undo.extend(captured.restore);
    Ok(undo)
}

/// The statements that make an object what it is now.
pub(super) async fn definition(tx: &mut PgConnection, capture: &Capture) -> Result<Vec<String>> {
    let (query, parameters): (&str, Vec<&str>) = match capture {
        Capture::Default { table, column } => {
            (include_str!("capture/default.sql"), vec![table, column])
        }
        Capture::NotNull { table, column } => {
            (include_str!("capture/not_null.sql"), vec![table, column])
        }
        Capture::Type { table, column } => return column_type(tx, table, column, None).await,
        Capture::Identity { table, column } => return identity(tx, table, column).await,
        Capture::ColumnAttributes { table, column } => (
            include_str!("capture/column_attributes.sql"),
            vec![table, column],
        ),
        Capture::Constraint { table, constraint } => {
            return self::constraint(tx, table, constraint).await;
        }
        Capture::Index { index } => return self::index(tx, index).await,
        Capture::Trigger { table, trigger } => {
            (include_str!("capture/trigger.sql"), vec![table, trigger])
        }
        Capture::TriggerStates { table } => {
            (include_str!("capture/trigger_states.sql"), vec![table])
        }
        Capture::Policy { table, policy } => {
            (include_str!("capture/policy.sql"), vec![table, policy])
        }
        Capture::RowSecurity { table } => (include_str!("capture/row_security.sql"), vec![table]),
        Capture::Options { object } => (include_str!("capture/options.sql"), vec![object]),
        Capture::Owner { object } => return owner(tx, object).await,
        Capture::Privileges { object } => (include_str!("capture/privileges.sql"), vec![object]),
        Capture::Function { function } => (include_str!("capture/function.sql"), vec![function]),
        Capture::Sequence { sequence } => return self::sequence(tx, sequence).await,
        Capture::View { view } => return view_definition(tx, view).await,
        Capture::Comment { object, query } => return Ok(vec![comment(tx, object, query).await?]),
    };
    let parameters: Vec<Option<&str>> = parameters.into_iter().map(Some).collect();
    texts(tx, query, &parameters).await
}

/// A column's type, collation, default, storage. `using` is the expression that gives the old values.
pub(super) async fn column_type(
    tx: &mut PgConnection,
    table: &str,
    column: &str,
    using: Option<&str>,
) -> Result<Vec<String>> {
    let query = include_str!("capture/type.sql");
    let change = texts(tx, query, &[Some(table), Some(column), using]).await?;
    // Expressions over the column are parsed again for the other type, and get casts that do not go
    // away with it: constraints and indexes that have any are made anew.
    let both = [Some(table), Some(column)];
    let (mut statements, mut again) = (Vec::new(), Vec::new());
    let query = include_str!("capture/type_indexes.sql");
    for name in texts(tx, query, &both).await? {
        let mut made = index(tx, &name).await?;
        again.extend(made.drain(1.min(made.len())..));
        statements.extend(made);
    }
    let query = include_str!("capture/type_constraints.sql");
    for name in texts(tx, query, &both).await? {
        let mut made = constraint(tx, table, &name).await?;
        again.extend(made.drain(1.min(made.len())..));
        statements.extend(made);
    }
    statements.extend(change);
    statements.extend(again);
    // A change of type sets storage and compression to those of the new type.
    let query = include_str!("capture/column_attributes.sql");
    statements.extend(texts(tx, query, &[Some(table), Some(column)]).await?);
    Ok(statements)
}

async fn identity(tx: &mut PgConnection, table: &str, column: &str) -> Result<Vec<String>> {
    let both = [Some(table), Some(column)];
    let mut statements = texts(tx, include_str!("capture/identity.sql"), &both).await?;
    let query = include_str!("capture/identity_sequence.sql");
    for sequence in texts(tx, query, &both).await? {
        statements.extend(privileges(tx, &sequence).await?);
        statements.push(sequence_state(tx, &sequence).await?);
    }
    Ok(statements)
}

async fn sequence(tx: &mut PgConnection, sequence: &str) -> Result<Vec<String>> {
    let query = include_str!("capture/sequence.sql");
    let mut statements = texts(tx, query, &[Some(sequence)]).await?;
    if !statements.is_empty() {
        statements.push(sequence_state(tx, sequence).await?);
    }
    Ok(statements)
}

async fn sequence_state(tx: &mut PgConnection, sequence: &str) -> Result<String> {
    let query = format!(
        "-- capture a sequence's state
        SELECT format('SELECT pg_catalog.setval(%L, %s, %L)', $1, last_value, is_called) \
         FROM {sequence}"
    );
    let states = texts(tx, query, &[Some(sequence)]).await?;
    states
        .into_iter()
        .next()
        .ok_or_else(|| Error::Refused(format!("sequence {sequence} is broken: it has no row")))
}

async fn constraint(tx: &mut PgConnection, table: &str, name: &str) -> Result<Vec<String>> {
    let both = [Some(table), Some(name)];
    let mut statements = texts(tx, include_str!("capture/constraint.sql"), &both).await?;
    let query = include_str!("capture/constraint_index.sql");
    for index in texts(tx, query, &both).await? {
        statements.extend(index_marks(tx, &index).await?);
    }
    Ok(statements)
}

async fn index(tx: &mut PgConnection, index: &str) -> Result<Vec<String>> {
    let mut statements = texts(tx, include_str!("capture/index.sql"), &[Some(index)]).await?;
    statements.extend(index_marks(tx, index).await?);
    Ok(statements)
}

pub(in crate::unit) async fn index_marks(
    tx: &mut PgConnection,
    index: &str,
) -> Result<Vec<String>> {
    texts(tx, include_str!("capture/index_marks.sql"), &[Some(index)]).await
}

/// A change of owner rewrites privileges: they are restored with it.
async fn owner(tx: &mut PgConnection, object: &str) -> Result<Vec<String>> {
    let query = include_str!("capture/owner.sql");
    let mut statements = texts(tx, query, &[Some(object)]).await?;
    statements.extend(privileges(tx, object).await?);
    Ok(statements)
}

/// Revokes whatever is there by default and grants what is there now.
pub(in crate::unit) async fn privileges(
    tx: &mut PgConnection,
    object: &str,
) -> Result<Vec<String>> {
    let query = include_str!("capture/privileges_after.sql");
    let mut statements = texts(tx, query, &[Some(object)]).await?;
    let query = include_str!("capture/privileges.sql");
    statements.extend(texts(tx, query, &[Some(object)]).await?);
    Ok(statements)
}

async fn comment(tx: &mut PgConnection, object: &str, query: &str) -> Result<String> {
    let rows = sqlx::query(sql(query))
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(Error::database(format!("reading the comment on {object}")))?;
    let text: Option<String> = match rows.first() {
        Some(row) => row
            .try_get(0)
            .map_err(Error::database(format!("reading the comment on {object}")))?,
        None => None,
    };
    let text = text.map_or_else(|| "NULL".to_owned(), |text| literal(&text));
    Ok(format!("COMMENT ON {object} IS {text}"))
}

async fn shape(tx: &mut PgConnection, view: &str) -> Result<Option<String>> {
    let shapes = texts(tx, include_str!("capture/view_shape.sql"), &[Some(view)]).await?;
    Ok(shapes.into_iter().next())
}

async fn family(tx: &mut PgConnection, view: &str) -> Result<Vec<ViewDefinition>> {
    let mut family = Vec::new();
    for view in texts(tx, include_str!("capture/view_family.sql"), &[Some(view)]).await? {
        let statements = view_definition(tx, &view).await?;
        family.push(ViewDefinition { view, statements });
    }
    Ok(family)
}

async fn view_definition(tx: &mut PgConnection, view: &str) -> Result<Vec<String>> {
    let mut statements = texts(tx, include_str!("capture/view.sql"), &[Some(view)]).await?;
    if statements.is_empty() {
        return Ok(statements);
    }
    statements.extend(privileges(tx, view).await?);
    let query = include_str!("capture/view_indexes.sql");
    for index in texts(tx, query, &[Some(view)]).await? {
        statements.extend(self::index(tx, &index).await?);
    }
    Ok(statements)
}

/// A view that was replaced is replaced back where it can be; else it and all that is built on it is
/// dropped and made again.
async fn view_after(
    tx: &mut PgConnection,
    view: &str,
    shape_before: Option<String>,
    family: Vec<ViewDefinition>,
) -> Result<Vec<String>> {
    let shape_now = shape(tx, view).await?;
    if let (Some(before), Some(now)) = (&shape_before, &shape_now)
        && before == now
        && before.starts_with('v')
    {
        let replaced = family.into_iter().next();
        return Ok(replaced
            .and_then(|view| view.statements.into_iter().next())
            .into_iter()
            .collect());
    }
    let mut undo = Vec::new();
    let query = include_str!("capture/view_family.sql");
    for view in texts(tx, query, &[Some(view)]).await?.into_iter().rev() {
        let materialized = shape(tx, &view).await?.is_some_and(|s| s.starts_with('m'));
        let class = if materialized {
            "MATERIALIZED VIEW"
        } else {
            "VIEW"
        };
        undo.push(format!("DROP {class} IF EXISTS {view}"));
    }
    for view in family {
        tracing::trace!(view = view.view, "view captured");
        undo.extend(view.statements);
    }
    Ok(undo)
}
