//! The demo's database: what an ERP of some years holds, generated, the same every time.

use upshift_shared::{
    Error, Result,
    pg::{self, PgConnection},
};

/// Fewer rows than this in the largest table make no sense of the others' proportions.
pub const LEAST_ROWS: u32 = 1000;

/// The application's modules and the SQL that makes and fills their tables, in order.
const MODULES: &[(&str, &str)] = &[
    ("base", include_str!("database/base.sql")),
    ("partner", include_str!("database/partner.sql")),
    ("product", include_str!("database/product.sql")),
    ("account", include_str!("database/account.sql")),
    ("sale", include_str!("database/sale.sql")),
    ("stock", include_str!("database/stock.sql")),
    ("mail", include_str!("database/mail.sql")),
];

/// Makes and fills the application's tables in an empty database, with about `rows` rows in the largest
/// (`account_move_line`); tells `begins` which module it is at.
///
/// # Errors
/// As the server reports.
pub async fn generate(
    connection: &mut PgConnection,
    rows: u32,
    mut begins: impl FnMut(&str),
) -> Result<()> {
    let rows = rows.max(LEAST_ROWS);
    sqlx::query("/* upshift: size of the demo */ SELECT set_config('demo.rows', $1, false)")
        .bind(rows.to_string())
        .execute(&mut *connection)
        .await
        .map_err(Error::database("setting the demo's size"))?;
    for (module, sql) in MODULES {
        begins(module);
        pg::execute_raw(connection, *sql)
            .await
            .map_err(Error::database(format!("generating module {module}")))?;
    }
    // The planner, PostgreSQL's and ours, goes by statistics.
    pg::execute_raw(connection, "ANALYZE")
        .await
        .map_err(Error::database("analysing the generated tables"))?;
    Ok(())
}
