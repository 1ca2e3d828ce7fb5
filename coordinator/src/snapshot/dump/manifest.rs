//! What pg_dump does not dump of a database, because it is about it: kept beside the dump as statements,
//! so that what the run did to it is taken back with the rest.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};
use sqlx::Row;
use upshift_shared::{
    Error, Result,
    ids::RunId,
    pg::{
        PgConnection,
        ident::{ident, literal},
    },
};

use super::{
    super::{Snapshot, carry, marker},
    files::at,
};

const NAME: &str = "upshift.json";

/// Columns differ between versions of PostgreSQL: datlocprovider is there from 15 on, daticulocale became
/// datlocale in 17, daticurules came in 16.
const FACTS: &str = "-- upshift: how the database was created
SELECT pg_get_userbyid(d.datdba)::text AS owner, pg_encoding_to_char(d.encoding)::text AS encoding,
       d.datcollate::text AS collate, d.datctype::text AS ctype,
       coalesce(j ->> 'datlocprovider', 'c') AS provider,
       coalesce(j ->> 'datlocale', j ->> 'daticulocale') AS locale, j ->> 'daticurules' AS rules,
       CASE WHEN d.dattablespace <> t.dattablespace THEN s.spcname::text END AS tablespace
  FROM pg_catalog.pg_database d
 CROSS JOIN LATERAL to_jsonb(d) AS j
  JOIN pg_catalog.pg_tablespace s ON s.oid = d.dattablespace
  JOIN pg_catalog.pg_database t ON t.datname = 'template0'
 WHERE d.datname = $1";

/// Beside a dump.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The run.
    run: RunId,
    /// Creates the database to restore to.
    pub(super) create: String,
    /// Give it what the database had.
    pub(super) properties: Vec<carry::Property>,
    /// The database's comment.
    pub(super) comment: Option<String>,
}

impl Manifest {
    /// Of the database as it is.
    pub(super) async fn read(conn: &mut PgConnection, snapshot: &Snapshot) -> Result<Self> {
        let (database, copy) = (snapshot.target.database(), snapshot.name());
        let comment = marker::own_comment(conn, database).await?;
        Ok(Self {
            run: snapshot.run,
            create: create(conn, database, &copy).await?,
            properties: carry::properties(conn, database, &copy).await?,
            comment,
        })
    }

    pub(super) fn write(&self, half: &Path) -> Result<()> {
        let path = half.join(NAME);
        let text = serde_json::to_vec_pretty(self).expect("it is plain data");
        let written = || -> io::Result<()> {
            let mut new = fs::OpenOptions::new();
            let mut file = new.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        written().map_err(at("writing", &path))
    }

    /// That of the whole dump at this place.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is none.
    pub(super) fn find(place: &Path, run: RunId) -> Result<Self> {
        let gone = |why: String| {
            Error::Refused(format!(
                "the snapshot is gone: there is no dump in {} ({why}); one can go back to a checkpoint behind \
                 what cannot be undone, or restore a backup",
                place.display()
            ))
        };
        let text = fs::read(place.join(NAME)).map_err(|error| gone(error.to_string()))?;
        let found: Self = serde_json::from_slice(&text).map_err(|error| gone(error.to_string()))?;
        match found.run == run {
            true => Ok(found),
            false => Err(gone(format!("it is of run {}", found.run))),
        }
    }
}

async fn create(conn: &mut PgConnection, database: &str, copy: &str) -> Result<String> {
    let context = "asking how the database was created";
    let row = sqlx::query(FACTS)
        .bind(database)
        .fetch_one(conn)
        .await
        .map_err(Error::database(context))?;
    let text = |column: &str| {
        row.try_get::<String, _>(column)
            .map_err(Error::database(context))
    };
    let option = |column: &str| {
        row.try_get::<Option<String>, _>(column)
            .map_err(Error::database(context))
    };
    let mut statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        ident(copy),
        ident(&text("owner")?),
        literal(&text("encoding")?),
        literal(&text("collate")?),
        literal(&text("ctype")?),
    );
    let locale = option("locale")?.map(|locale| literal(&locale));
    match (text("provider")?.as_str(), locale) {
        ("i", Some(locale)) => {
            statement.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {locale}"));
        }
        ("b", Some(locale)) => {
            statement.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}"));
        }
        _ => {}
    }
    if let Some(rules) = option("rules")? {
        statement.push_str(&format!(" ICU_RULES {}", literal(&rules)));
    }
    if let Some(tablespace) = option("tablespace")? {
        statement.push_str(&format!(" TABLESPACE {}", ident(&tablespace)));
    }
    Ok(statement)
}
