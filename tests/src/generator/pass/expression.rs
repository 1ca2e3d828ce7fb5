//! Random expressions of a type over the columns in sight. Numbers stay small, so that most of them
//! can be computed; what fails for its data is guarded the way people guard it.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

use super::schema::{Kind, Table};

/// The columns in sight.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    columns: Vec<(String, Kind)>,
    /// What tables are called.
    names: Vec<String>,
    /// Expressions of type integer that stand for a row elsewhere: scalar subqueries.
    pub(super) subqueries: Vec<(String, Kind)>,
}

impl Scope {
    /// A table under a name; without one, its columns by themselves.
    pub(super) fn with(mut self, table: &Table, alias: &str) -> Self {
        let prefix = if alias.is_empty() {
            String::new()
        } else {
            format!("{}.", ident(alias))
        };
        if !alias.is_empty() {
            self.names.push(ident(alias));
        }
        self.columns.push((format!("{prefix}id"), Kind::Int));
        for column in &table.columns {
            // What refers to others is data like any other to read.
            self.columns
                .push((format!("{prefix}{}", ident(&column.name)), column.kind));
        }
        self
    }

    /// What the first of the tables is called.
    pub(super) fn alias(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    fn column(&self, random: &mut StdRng, wanted: impl Fn(Kind) -> bool) -> Option<String> {
        let found: Vec<&String> = self
            .columns
            .iter()
            .chain(&self.subqueries)
            .filter(|(_, kind)| wanted(*kind))
            .map(|(text, _)| text)
            .collect();
        found.choose(random).map(|text| (*text).clone())
    }

    /// An expression that can be assigned to a column of this type.
    pub(super) fn value(&self, random: &mut StdRng, kind: Kind) -> String {
        match random.random_range(0..12) {
            0 => return constant(random, kind),
            1 => return "NULL".to_owned(),
            2..=4 => {
                if let Some(column) = self.column(random, |k| k == kind) {
                    return column;
                }
            }
            5 => {
                let condition = self.condition(random, 1);
                let (yes, no) = (self.of(random, kind), self.of(random, kind));
                return format!("CASE WHEN {condition} THEN {yes} ELSE {no} END");
            }
            6 => {
                let (one, two) = (self.of(random, kind), self.of(random, kind));
                return format!("coalesce({one}, {two})");
            }
            _ => {}
        }
        self.of(random, kind)
    }

    fn of(&self, random: &mut StdRng, kind: Kind) -> String {
        match kind {
            Kind::Int => self.integer(random),
            // An assignment cast.
            Kind::Small => self.integer(random),
            Kind::Positive => format!("abs({})", self.integer(random)),
            Kind::Big => format!("{}::bigint * 3", self.integer(random)),
            Kind::Money | Kind::Number => self.number(random),
            Kind::Double => format!("{} / 4.0", self.integer(random)),
            Kind::Text | Kind::Plain => format!("left({}, 40)", self.text(random)),
            Kind::Bits => match random.random_range(0..8) {
                0 => "B'10'".to_owned(),
                _ => format!("({})::bit(3)", self.integer(random)),
            },
            Kind::Varchar(length) => self.varchar(random, length),
            Kind::Char => format!("left({}, 4)", self.text(random)),
            Kind::Bool => self.condition(random, 1),
            Kind::Date => self.date(random),
            Kind::Stamp => format!("{}::timestamp + interval '1.23456 s'", self.date(random)),
            Kind::Zoned => match random.random_range(0..3) {
                0 => "date_trunc('century', now())".to_owned(),
                1 => format!(
                    "timestamptz '2021-05-05 00:00+00' + {} * interval '1 h'",
                    self.integer(random)
                ),
                _ => self.column(random, |k| k == Kind::Zoned).map_or_else(
                    || constant(random, kind),
                    |c| format!("{c} + interval '1 d'"),
                ),
            },
            Kind::Json => match self.column(random, |k| k == Kind::Json) {
                Some(column) => format!(
                    "{column} || jsonb_build_object('c', {})",
                    self.integer(random)
                ),
                None => format!("to_jsonb({})", self.integer(random)),
            },
            Kind::Ints => match self.column(random, |k| k == Kind::Ints) {
                Some(column) => format!("({column} || {})[1:4]", self.integer(random)),
                None => format!("ARRAY[{}]", self.integer(random)),
            },
            Kind::Mood => format!(
                "CASE WHEN {} THEN 'ok'::mood ELSE 'sad' END",
                self.condition(random, 0)
            ),
            Kind::Uuid => format!("md5({})::uuid", self.text(random)),
        }
    }

    /// What is too long, and what has only spaces too much.
    fn varchar(&self, random: &mut StdRng, length: u32) -> String {
        let text = self.text(random);
        match random.random_range(0..16) {
            0 => text,
            1 | 2 => format!("rpad(left({text}, {length}), {})", length + 3),
            3 => format!("{}::varchar", self.integer(random)),
            4 => format!("{text}::varchar({length})"),
            _ => format!("left({text}, {length})"),
        }
    }

    /// An integer, mostly below 1000.
    fn integer(&self, random: &mut StdRng) -> String {
        let small = |kind: Kind| matches!(kind, Kind::Int | Kind::Small | Kind::Positive);
        let column = self
            .column(random, small)
            .unwrap_or_else(|| random.random_range(0..90).to_string());
        let other = self.column(random, small).unwrap_or_else(|| "7".to_owned());
        let n = random.random_range(1..60);
        match random.random_range(0..16) {
            0 | 1 => column,
            2 => format!("({column} + {n}) % 1000"),
            3 => format!("({column} * {n} - {other}) % 1000"),
            4 => format!("coalesce({column}, {other}, {n})"),
            5 => format!("CASE WHEN {other} <> 0 THEN {n} / {other} ELSE {column} END"),
            6 => format!("{n} / nullif({column}, 0)"),
            7 => format!("abs({column})"),
            8 => format!("greatest({column}, {other})"),
            9 => format!("length({})", self.text(random)),
            // Rounded by an assignment or a cast.
            10 => format!("round({})::integer", self.number(random)),
            11 => self
                .column(random, |k| k == Kind::Bool)
                .map_or(column, |c| format!("{c}::integer")),
            12 => format!("length(gen_random_uuid()::text) + {n}"),
            13 => format!("nullif({column}, {n})"),
            14 => self
                .column(random, |k| k == Kind::Date)
                .map_or(column, |c| format!("extract(day FROM {c})::integer")),
            _ => n.to_string(),
        }
    }

    fn number(&self, random: &mut StdRng) -> String {
        let exact = |kind: Kind| matches!(kind, Kind::Money | Kind::Number);
        match self.column(random, exact) {
            Some(column) => match random.random_range(0..5) {
                0 => column,
                1 => format!("{column} * 1.19 % 10000"),
                2 => format!("round({column} / 3, 1)"),
                3 => format!("{column}::numeric(12,1)"),
                _ => format!("coalesce({column}, 0) % 1000 + 0.005"),
            },
            None => format!("{} / 8.0", random.random_range(0..500)),
        }
    }

    fn text(&self, random: &mut StdRng) -> String {
        let words = |kind: Kind| matches!(kind, Kind::Text | Kind::Plain | Kind::Varchar(_));
        let column = self
            .column(random, words)
            .unwrap_or_else(|| format!("'w{}'", random.random_range(0..40)));
        let any = self
            .column(random, |_| true)
            .unwrap_or_else(|| "'x'".to_owned());
        let other = self
            .column(random, words)
            .unwrap_or_else(|| "'z'".to_owned());
        match random.random_range(0..60) {
            // The whole row, columns and their order.
            59 if !self.names.is_empty() => format!(
                "md5({}::text)",
                self.names.choose(random).map_or("'x'", String::as_str)
            ),
            n => Self::words(random, n % 11, [column, any, other]),
        }
    }

    fn words(random: &mut StdRng, way: u32, [column, any, other]: [String; 3]) -> String {
        match way {
            0 | 1 => column,
            2 => format!("upper({column})"),
            3 => format!("{column} || '-' || {other}"),
            4 => format!("concat({any}, {column})"),
            5 => format!("md5({any}::text)"),
            6 => format!("coalesce({column}, {other}, 'none')"),
            7 => format!("replace({column}, 'e', 'E')"),
            8 => format!("({any})::text"),
            9 => format!("nullif({column}, {other})"),
            _ => format!("'text {}'", random.random_range(0..60)),
        }
    }

    fn date(&self, random: &mut StdRng) -> String {
        match self.column(random, |k| k == Kind::Date) {
            Some(column) => match random.random_range(0..3) {
                0 => column,
                1 => format!("({column} + {})", random.random_range(1..50)),
                _ => format!("coalesce({column}, date '2022-02-02')"),
            },
            None => format!("(date '2020-02-03' + {})", random.random_range(1..50)),
        }
    }

    /// A condition, which is often NULL.
    pub(super) fn condition(&self, random: &mut StdRng, depth: u32) -> String {
        if depth > 0 && random.random_bool(0.35) {
            let (a, b) = (
                self.condition(random, depth - 1),
                self.condition(random, depth - 1),
            );
            return match random.random_range(0..4) {
                0 => format!("({a} AND {b})"),
                1 => format!("({a} OR {b})"),
                2 => format!("NOT ({a})"),
                _ => format!("({a}) IS NOT TRUE"),
            };
        }
        let n = random.random_range(1..90);
        match random.random_range(0..15) {
            0 => format!("{} > {n}", self.integer(random)),
            // By whose collation?
            13 => format!("{} < {}", self.text(random), self.text(random)),
            1 => format!("NOT ({} > {n})", self.integer(random)),
            2 => format!("{} NOT IN ({n}, {}, NULL)", self.integer(random), n + 1),
            3 => format!("{} % 3 IN (0, NULL)", self.integer(random)),
            4 => format!(
                "{} IS DISTINCT FROM {}",
                self.integer(random),
                self.integer(random)
            ),
            5 => format!(
                "{} LIKE '%{}%'",
                self.text(random),
                random.random_range(1..6)
            ),
            6 => format!("{} <> {}", self.text(random), self.text(random)),
            7 => self
                .column(random, |k| k == Kind::Bool)
                .unwrap_or_else(|| "NULL::boolean".to_owned()),
            8 => self
                .column(random, |_| true)
                .map_or("true".to_owned(), |c| format!("{c} IS NULL")),
            9 => format!("{} BETWEEN {n} AND {}", self.integer(random), n + 30),
            10 => format!("{} > {}", self.number(random), random.random_range(0..900)),
            11 => format!("{} < now()", self.date(random)),
            12 => self
                .column(random, |k| k == Kind::Mood)
                .map_or("false".to_owned(), |c| format!("{c} > 'sad'")),
            _ => format!("{} = {}", self.integer(random), self.integer(random)),
        }
    }
}

/// A constant of a type.
pub(super) fn constant(random: &mut StdRng, kind: Kind) -> String {
    let n = random.random_range(0..90);
    match kind {
        Kind::Small | Kind::Int | Kind::Big | Kind::Positive => n.to_string(),
        Kind::Money | Kind::Number => format!("{n}.125"),
        Kind::Double => format!("{n}.5"),
        Kind::Text | Kind::Plain | Kind::Varchar(_) | Kind::Char => format!("'v{n}'"),
        Kind::Bits => format!("B'{:03b}'", n % 8),
        Kind::Bool => (n % 2 == 0).to_string(),
        Kind::Date => format!("'2020-02-{:02}'::date", 1 + n % 28),
        Kind::Stamp => format!("'2020-02-{:02} 01:02:03.45678'::timestamp", 1 + n % 28),
        Kind::Zoned => format!("'2020-02-{:02} 01:02:03+01'::timestamptz", 1 + n % 28),
        Kind::Json => format!("'{{\"n\": {n}}}'::jsonb"),
        Kind::Ints => format!("'{{{n}}}'::integer[]"),
        Kind::Mood => "'ok'::mood".to_owned(),
        Kind::Uuid => format!("'00000000-0000-0000-0000-0000000000{n:02}'::uuid"),
    }
}
