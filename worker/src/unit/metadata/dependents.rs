//! What a DROP would take with it: found by letting PostgreSQL do it inside a savepoint that is
//! rolled back. So PostgreSQL itself says whether the DROP may happen, and exactly what would go.

use sqlx::{PgConnection, Row, postgres::PgRow};
use upshift_shared::{Error, Result, pg::execute_raw, plan::Capture};

use super::capture;

/// An object in `pg_depend`'s terms.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Its catalog, such as `pg_class`.
    pub(super) class: String,
    /// Its oid there.
    pub(super) oid: i64,
    /// A column's number, or 0.
    pub(super) part: i32,
}

/// Something that depends on the object, near or far.
#[derive(Debug)]
pub(super) struct Dependent {
    class: String,
    oid: i64,
    part: i32,
    depth: i32,
    description: String,
}

/// Something that goes with the object, and how it is dropped and made again.
#[derive(Debug)]
pub(super) struct Gone {
    /// What it is.
    pub(super) kind: Kind,
    depth: i32,
    /// Quoted, qualified: the table that it is on, or the object itself.
    pub(super) object: String,
    /// Its own name on its table, not quoted.
    pub(super) name: Option<String>,
    /// The statement that drops it, where it has one.
    pub(super) remove: Option<String>,
    /// `pg_class.oid` of the table that it belongs to, or 0.
    pub(super) relation: i64,
    /// Its own oid.
    pub(super) oid: i64,
}

/// Kinds of things that go, in the order in which they are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A sequence that the column owns.
    Sequence,
    /// A DEFAULT, of this or another table's column.
    Default,
    /// A primary key, unique or exclusion constraint.
    Constraint,
    /// An index.
    Index,
    /// A CHECK constraint.
    Check,
    /// An identity column.
    Identity,
    /// A foreign key.
    ForeignKey,
    /// Extended statistics.
    Statistics,
    /// A view or materialized view.
    View,
    /// A function or procedure.
    Function,
    /// A trigger.
    Trigger,
    /// A row-level security policy.
    Policy,
}

impl Gone {
    /// The statements that make it again, as it is now.
    pub(super) async fn definition(&self, tx: &mut PgConnection) -> Result<Vec<String>> {
        let table = || self.object.clone();
        let name = || self.name.clone().unwrap_or_default();
        let capture = match self.kind {
            // Moved, not made again.
            Kind::Sequence => return Ok(Vec::new()),
            Kind::Default => Capture::Default {
                table: table(),
                column: name(),
            },
            Kind::Constraint | Kind::Check | Kind::ForeignKey => Capture::Constraint {
                table: table(),
                constraint: name(),
            },
            Kind::Index => Capture::Index { index: table() },
            Kind::Identity => Capture::Identity {
                table: table(),
                column: name(),
            },
            Kind::Statistics => {
                let query = include_str!("capture/statistics.sql");
                return capture::texts(tx, query, &[Some(&name())]).await;
            }
            Kind::View => Capture::View { view: table() },
            Kind::Function => Capture::Function { function: name() },
            Kind::Trigger => Capture::Trigger {
                table: table(),
                trigger: name(),
            },
            Kind::Policy => Capture::Policy {
                table: table(),
                policy: name(),
            },
        };
        capture::definition(tx, &capture).await
    }
}

/// Runs a DROP inside a savepoint that is rolled back; what went with the object, in the order in
/// which it is to be made again. To be called with an empty search path to [`capture::leave_qualified`]
/// for the DROP itself.
///
/// # Errors
/// What PostgreSQL says to the DROP; or the names of things that Upshift cannot make again.
pub(super) async fn probe(
    tx: &mut PgConnection,
    object: &Object,
    drop: &str,
    context: &str,
) -> Result<Vec<Gone>> {
    let path = capture::enter_qualified(tx).await?;
    let candidates = candidates(tx, object).await?;
    let known = classify(tx, &candidates).await?;
    capture::leave_qualified(tx, &path).await?;
    let failed = || Error::database(context.to_owned());
    execute_raw(tx, "SAVEPOINT upshift_probe")
        .await
        .map_err(failed())?;
    let dropped = execute_raw(tx, drop).await.map_err(failed());
    let alive = match &dropped {
        Ok(_) => alive(tx, &candidates).await?,
        Err(_) => Vec::new(),
    };
    execute_raw(
        tx,
        "ROLLBACK TO SAVEPOINT upshift_probe; RELEASE SAVEPOINT upshift_probe",
    )
    .await
    .map_err(failed())?;
    if let Err(error) = dropped {
        let hidden_only = error.sqlstate().as_deref() == Some("2BP01")
            && visible_dependents(tx, object).await? == 0;
        return if hidden_only {
            Ok(Vec::new())
        } else {
            Err(error)
        };
    }
    let mut gone = Vec::new();
    let mut unknown = Vec::new();
    for ((candidate, known), alive) in candidates.iter().zip(known).zip(alive) {
        match known {
            _ if alive => {}
            Known::Ignored => {}
            Known::Gone(one) => gone.push(one),
            Known::Unknown => unknown.push(candidate.description.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(Error::Refused(format!(
            "{context} would also drop what upshift cannot make again: {}; drop it in a statement of \
             its own before, marked -- upshift: irreversible or with an undo",
            unknown.join(", ")
        )));
    }
    gone.sort_by_key(|one: &Gone| (one.kind, one.depth, one.oid));
    Ok(gone)
}

async fn candidates(tx: &mut PgConnection, object: &Object) -> Result<Vec<Dependent>> {
    let failed = || Error::database("reading what depends on an object");
    let rows = sqlx::query(include_str!("dependents.sql"))
        .bind(&object.class)
        .bind(object.oid)
        .bind(object.part)
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Dependent {
                class: row.try_get("class")?,
                oid: row.try_get("oid")?,
                part: row.try_get("part")?,
                depth: row.try_get("depth")?,
                description: row
                    .try_get::<Option<String>, _>("description")?
                    .unwrap_or_default(),
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// Which of the candidates are still there.
async fn alive(tx: &mut PgConnection, candidates: &[Dependent]) -> Result<Vec<bool>> {
    let failed = || Error::database("reading what a DROP takes with it");
    let (mut classes, mut oids, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates {
        classes.push(candidate.class.as_str());
        oids.push(candidate.oid);
        parts.push(candidate.part);
    }
    let rows = sqlx::query(
        "-- which objects are still there
        SELECT pg_describe_object(('pg_catalog.' || o.class)::regclass, o.oid::oid, o.part)
                   IS NOT NULL AS alive
        FROM unnest($1::text[], $2::bigint[], $3::integer[]) WITH ORDINALITY
                 AS o (class, oid, part, place)
        ORDER BY o.place",
    )
    .bind(classes)
    .bind(oids)
    .bind(parts)
    .persistent(false)
    .fetch_all(tx)
    .await
    .map_err(failed())?;
    rows.iter()
        .map(|row| row.try_get("alive"))
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

enum Known {
    Ignored,
    Gone(Gone),
    Unknown,
}

/// What each of them is.
async fn classify(tx: &mut PgConnection, candidates: &[Dependent]) -> Result<Vec<Known>> {
    let failed = || Error::database("reading what depends on an object");
    let mut known: Vec<Known> = candidates.iter().map(|_| Known::Unknown).collect();
    // A column, of a view, which goes as a whole, or of another table, stays unknown.
    let asked: Vec<usize> = (0..candidates.len())
        .filter(|place| candidates[*place].part == 0)
        .collect();
    if asked.is_empty() {
        return Ok(known);
    }
    let of = |place: &usize| &candidates[*place];
    let rows = sqlx::query(include_str!("classify.sql"))
        .bind(
            asked
                .iter()
                .map(|p| of(p).class.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(asked.iter().map(|p| of(p).oid).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(failed())?;
    for row in &rows {
        let place: i32 = row.try_get("place").map_err(failed())?;
        let place = usize::try_from(place - 1).ok().and_then(|p| asked.get(p));
        if let Some(&place) = place
            && matches!(known[place], Known::Unknown)
        {
            known[place] = read(row, &candidates[place]).map_err(failed())?;
        }
    }
    Ok(known)
}

fn read(row: &PgRow, candidate: &Dependent) -> sqlx::Result<Known> {
    let kind = match row.try_get::<&str, _>("kind")? {
        "sequence" => Kind::Sequence,
        "default" => Kind::Default,
        "constraint" => Kind::Constraint,
        "index" => Kind::Index,
        "check" => Kind::Check,
        "identity" => Kind::Identity,
        "foreign_key" => Kind::ForeignKey,
        "statistics" => Kind::Statistics,
        "view" => Kind::View,
        "function" => Kind::Function,
        "trigger" => Kind::Trigger,
        "policy" => Kind::Policy,
        _ => return Ok(Known::Ignored),
    };
    let object: Option<String> = row.try_get("object")?;
    Ok(Known::Gone(Gone {
        kind,
        depth: candidate.depth,
        object: object.unwrap_or_default(),
        name: row.try_get("name")?,
        remove: row.try_get("remove")?,
        relation: row.try_get("relation")?,
        oid: candidate.oid,
    }))
}

async fn visible_dependents(tx: &mut PgConnection, object: &Object) -> Result<i64> {
    let failed = || Error::database("reading what depends on an object");
    sqlx::query(include_str!("visible_dependents.sql"))
        .bind(&object.class)
        .bind(object.oid)
        .bind(object.part)
        .persistent(false)
        .fetch_one(tx)
        .await
        .and_then(|row| row.try_get("visible"))
        .map_err(failed())
}
