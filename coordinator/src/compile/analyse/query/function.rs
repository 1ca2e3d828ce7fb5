//! Function calls: what PostgreSQL's own functions do beyond computing a value, and how far others
//! can be trusted.

use pg_query::protobuf::FuncCall;
use upshift_shared::{
    catalog::{Function, Volatility},
    pg::ident::QualifiedName,
};

use super::{naming::strings, source::Span, walker::Walker};
use crate::compile::{error::BindError, model::Resource};

/// Volatile functions of PostgreSQL's own that neither read nor write the database.
const HARMLESS_VOLATILE: &[&str] = &[
    "clock_timestamp",
    "gen_random_uuid",
    "pg_backend_pid",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// Run a query given as text, or read tables by name.
const RUN_QUERIES: &[&str] = &[
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

/// Look at what describes the database, at its files or at other sessions.
const READ_CATALOG: &[&str] = &[
    "col_description",
    "current_schemas",
    "format_type",
    "obj_description",
    "shobj_description",
    "txid_current_snapshot",
    "txid_snapshot_xmin",
];
const READ_CATALOG_PREFIXES: &[&str] = &["has_", "pg_", "to_reg", "row_security_active"];

/// Functions whose names begin like those that read the catalog, and do not.
const PURE_DESPITE_PREFIX: &[&str] = &[
    "pg_client_encoding",
    "pg_column_compression",
    "pg_column_size",
    "pg_size_bytes",
    "pg_size_pretty",
    "pg_typeof",
];

/// Leave a lock behind in the session that ran the statement.
const SESSION_LOCKS: &[&str] = &[
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
];

impl<'a> Walker<'a> {
    pub(super) fn call(&mut self, call: &FuncCall) -> Result<(), BindError> {
        let names = strings(&call.funcname);
        let name = names.last().copied().unwrap_or_default();
        let schema = names.len().checked_sub(2).map(|place| names[place]);
        let candidates = self.candidates(schema, name, call);
        let own = candidates.iter().all(|function| function.builtin) && !candidates.is_empty();
        if own && self.sequence_call(name, call)? {
            return Ok(());
        }
        self.arguments(call)?;
        self.shape(call, &candidates);
        let (builtin, foreign): (Vec<&Function>, Vec<&Function>) =
            candidates.iter().partition(|function| function.builtin);
        if !foreign.is_empty() || builtin.is_empty() {
            self.foreign_function(name, &foreign);
        }
        if builtin.is_empty() {
            return Ok(());
        }
        self.own_function(name, call, &builtin)
    }

    fn arguments(&mut self, call: &FuncCall) -> Result<(), BindError> {
        let outer = std::mem::replace(&mut self.names_column, false);
        let walked = self.expressions(&call.args).and_then(|()| {
            self.expressions(&call.agg_order)?;
            self.optional_expression(call.agg_filter.as_deref())?;
            match &call.over {
                Some(window) => self.window(window),
                None => Ok(()),
            }
        });
        self.names_column = outer;
        walked
    }

    /// The functions that a call may mean: those of that name that the search path finds and that
    /// take that many arguments, or all of that name where none does (defaults, VARIADIC).
    fn candidates(&self, schema: Option<&str>, name: &str, call: &FuncCall) -> Vec<&'a Function> {
        let catalog = self.catalog;
        let named = catalog.functions.get(name).map_or(&[][..], Vec::as_slice);
        let found: Vec<&'a Function> = named
            .iter()
            .filter(|function| match schema {
                Some(schema) => function.schema == schema,
                None => function.builtin || self.path.contains(&function.schema),
            })
            .collect();
        let fitting = |function: &&&'a Function| usize::from(function.arguments) == call.args.len();
        let fit: Vec<&'a Function> = found.iter().filter(fitting).copied().collect();
        if fit.is_empty() { found } else { fit }
    }

    fn own_function(
        &mut self,
        name: &str,
        call: &FuncCall,
        candidates: &[&Function],
    ) -> Result<(), BindError> {
        if self.instant_call(name, call.location) {
            return Ok(());
        }
        let volatile = candidates
            .iter()
            .any(|f| f.volatility == Volatility::Volatile);
        let immutable = candidates
            .iter()
            .all(|f| f.volatility == Volatility::Immutable);
        if SESSION_LOCKS.contains(&name) {
            return Err(BindError::at(
                call.location,
                format!(
                    "{name}() leaves a lock in a session that other steps share: use \
                     pg_advisory_xact_lock, or leave it out"
                ),
            ));
        }
        if name == "set_config" {
            return Err(BindError::at(
                call.location,
                "set_config() changes the session, which ends with the step: write SET … = … as a \
                 statement of its own",
            ));
        }
        if RUN_QUERIES.contains(&name) {
            self.found
                .make_opaque(format!("{name}() may read any table"));
        } else if HARMLESS_VOLATILE.contains(&name) {
            self.volatile(name);
        } else if volatile {
            self.found
                .make_opaque(format!("{name}() may do more than compute a value"));
        } else if name == "age" && call.args.len() == 1 {
            self.found.clock.get_or_insert_with(|| "age()".to_owned());
        } else if !immutable && reads_catalog(name) {
            self.found
                .reads_anything
                .get_or_insert_with(|| format!("{name}() looks at the database itself"));
        }
        Ok(())
    }

    /// Aggregates, window functions, functions that return several rows.
    fn shape(&mut self, call: &FuncCall, candidates: &[&Function]) {
        let aggregate = candidates.iter().any(|function| function.aggregate);
        let window = candidates.iter().any(|function| function.window);
        let many = candidates.iter().any(|function| function.returns_set);
        if call.over.is_some() || window {
            self.here().spans.insert(Span::Window);
        } else if aggregate {
            self.here().spans.insert(Span::Aggregate);
        }
        if many && !self.in_from {
            self.here().multiplies = true;
        }
    }

    fn foreign_function(&mut self, name: &str, candidates: &[&Function]) {
        if candidates.is_empty() {
            self.found
                .make_opaque(format!("the function {name}() is not known"));
            return;
        }
        for function in candidates {
            self.found.reads.insert(Resource::Object(
                "function".to_owned(),
                QualifiedName::new(function.schema.clone(), name).to_string(),
            ));
        }
        let worst = candidates.iter().map(|f| f.volatility);
        match worst.max_by_key(|volatility| rank(*volatility)) {
            Some(Volatility::Immutable) | None => {
                self.found.promises.insert(format!("{name}()"));
            }
            // PostgreSQL keeps functions that are not VOLATILE from writing.
            Some(Volatility::Stable) => {
                self.found.reads_anything.get_or_insert_with(|| {
                    format!("the user-defined function {name}() is STABLE: it may read any table")
                });
            }
            Some(Volatility::Volatile) => self.found.make_opaque(format!(
                "the user-defined function {name}() is VOLATILE: it may read and write any table"
            )),
        }
    }

    fn volatile(&mut self, name: &str) {
        let call = format!("{name}()");
        self.found.volatile.insert(call.clone());
        let in_from = self.in_from;
        let level = self.here();
        let noted = if in_from {
            &mut level.volatile_in_from
        } else {
            &mut level.volatile
        };
        noted.get_or_insert(call);
    }
}

fn reads_catalog(name: &str) -> bool {
    let prefixed = READ_CATALOG_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix));
    (prefixed && !PURE_DESPITE_PREFIX.contains(&name)) || READ_CATALOG.contains(&name)
}

fn rank(volatility: Volatility) -> u8 {
    match volatility {
        Volatility::Immutable => 0,
        Volatility::Stable => 1,
        Volatility::Volatile => 2,
    }
}
