//! `now()` and its kin: where they stand in the text, and what to write instead so that every unit of
//! a step sees one instant.

use pg_query::protobuf::{ScanToken, SqlValueFunction, SqlValueFunctionOp, Token};

use super::walker::Walker;
use crate::compile::model::NowCall;

/// A call of `now()` or its kin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instant {
    /// First byte.
    location: i32,
    /// The type that the pinned instant is cast to; empty for timestamptz.
    cast: String,
    /// Whether parentheses follow the name.
    parentheses: bool,
    /// The column name that it gives to the select list that it stands in.
    column_name: Option<&'static str>,
}

/// The functions without special syntax that return the instant at which the transaction (or, for a
/// statement of its own, the statement) began.
const FUNCTIONS: [&str; 3] = ["now", "transaction_timestamp", "statement_timestamp"];

impl Walker<'_> {
    /// Notes a call of `now()`; `false` where the function is another.
    pub(super) fn instant_call(&mut self, name: &str, location: i32) -> bool {
        let Some(known) = FUNCTIONS.iter().find(|known| **known == name) else {
            return false;
        };
        self.found.instants.push(Instant {
            location,
            cast: String::new(),
            parentheses: true,
            column_name: self.names_column.then_some(*known),
        });
        true
    }

    /// CURRENT_TIMESTAMP and the like.
    pub(super) fn value_function(&mut self, function: &SqlValueFunction) {
        let Ok(op) = SqlValueFunctionOp::try_from(function.op) else {
            return;
        };
        let base = match op {
            SqlValueFunctionOp::SvfopCurrentDate => "date",
            SqlValueFunctionOp::SvfopCurrentTime | SqlValueFunctionOp::SvfopCurrentTimeN => {
                "timetz"
            }
            SqlValueFunctionOp::SvfopCurrentTimestamp => "",
            SqlValueFunctionOp::SvfopCurrentTimestampN => "timestamptz",
            SqlValueFunctionOp::SvfopLocaltime | SqlValueFunctionOp::SvfopLocaltimeN => "time",
            SqlValueFunctionOp::SvfopLocaltimestamp | SqlValueFunctionOp::SvfopLocaltimestampN => {
                "timestamp"
            }
            _ => return,
        };
        let with_precision = matches!(
            op,
            SqlValueFunctionOp::SvfopCurrentTimeN
                | SqlValueFunctionOp::SvfopCurrentTimestampN
                | SqlValueFunctionOp::SvfopLocaltimeN
                | SqlValueFunctionOp::SvfopLocaltimestampN
        );
        let cast = if with_precision {
            format!("{base}({})", function.typmod)
        } else {
            base.to_owned()
        };
        self.found.instants.push(Instant {
            location: function.location,
            cast,
            parentheses: with_precision,
            column_name: self.names_column.then(|| value_function_name(op)),
        });
    }

    /// The calls with their byte ranges. `None` where the text does not have them where the parse
    /// tree says.
    pub(crate) fn now_calls(&self) -> Option<Vec<NowCall>> {
        if self.found.instants.is_empty() {
            return Some(Vec::new());
        }
        let tokens = pg_query::scan(self.text).ok()?.tokens;
        let mut calls: Vec<NowCall> = self
            .found
            .instants
            .iter()
            .map(|instant| instant.in_text(&tokens))
            .collect::<Option<_>>()?;
        calls.sort_by_key(|call| call.start);
        calls.dedup_by_key(|call| call.start);
        Some(calls)
    }
}

impl Instant {
    fn in_text(&self, tokens: &[ScanToken]) -> Option<NowCall> {
        let first = tokens
            .iter()
            .position(|token| token.start == self.location)?;
        let last = if self.parentheses {
            let closes = |token: &ScanToken| token.token == Token::Ascii41 as i32;
            first + tokens[first..].iter().position(closes)?
        } else {
            first
        };
        let pinned = "($1)::text::timestamptz";
        let value = if self.cast.is_empty() {
            format!("({pinned})")
        } else {
            format!("(({pinned})::{})", self.cast)
        };
        Some(NowCall {
            start: usize::try_from(self.location).ok()?,
            end: usize::try_from(tokens[last].end).ok()?,
            replacement: match self.column_name {
                // A column of a subquery that other parts of the statement know by this name.
                Some(name) => format!("(SELECT {value} AS {name})"),
                None => value,
            },
        })
    }
}

/// The name of such a function, which is also that of a column made of it.
pub(super) fn value_function_name(op: SqlValueFunctionOp) -> &'static str {
    match op {
        SqlValueFunctionOp::SvfopCurrentDate => "current_date",
        SqlValueFunctionOp::SvfopCurrentTime | SqlValueFunctionOp::SvfopCurrentTimeN => {
            "current_time"
        }
        SqlValueFunctionOp::SvfopCurrentTimestamp | SqlValueFunctionOp::SvfopCurrentTimestampN => {
            "current_timestamp"
        }
        SqlValueFunctionOp::SvfopLocaltime | SqlValueFunctionOp::SvfopLocaltimeN => "localtime",
        SqlValueFunctionOp::SvfopLocaltimestamp | SqlValueFunctionOp::SvfopLocaltimestampN => {
            "localtimestamp"
        }
        SqlValueFunctionOp::SvfopCurrentRole => "current_role",
        SqlValueFunctionOp::SvfopCurrentUser => "current_user",
        SqlValueFunctionOp::SvfopUser => "user",
        SqlValueFunctionOp::SvfopSessionUser => "session_user",
        SqlValueFunctionOp::SvfopCurrentCatalog => "current_catalog",
        SqlValueFunctionOp::SvfopCurrentSchema => "current_schema",
        SqlValueFunctionOp::SqlvalueFunctionOpUndefined => "?column?",
    }
}
