//! The tables of a case, as they are when a statement's turn comes, and the SQL that makes them with
//! all that hangs on them.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

/// The tables that exist.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) tables: Vec<Table>,
    /// The one that most statements are about.
    pub(super) hot: usize,
    /// Nothing is in this case that no pass takes in, so that passes grow long.
    pub(super) easy: bool,
    counter: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// Statements name its schema.
    qualified: bool,
    pub(super) key: Key,
    pub(super) columns: Vec<Column>,
    pub(super) rows: u32,
    /// Names of constraints and indexes that a step may drop.
    pub(super) constraints: Vec<String>,
    pub(super) indexes: Vec<String>,
    /// Something hangs on it that keeps columns from being dropped or changed.
    pub(super) stiff: bool,
}

/// How rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `id serial PRIMARY KEY`
    Serial,
    /// `id integer GENERATED … AS IDENTITY PRIMARY KEY`
    Identity(&'static str),
    /// `(id, part)`
    Composite,
    /// `code text PRIMARY KEY`, and `id` as any column
    Text,
    /// None at all.
    None,
}

impl Key {
    /// Whether `id` alone tells rows apart.
    pub(super) fn is_id(self) -> bool {
        matches!(self, Self::Serial | Self::Identity(_))
    }

    /// The condition that two names mean the same row.
    pub(super) fn same_row(self, a: &str, b: &str) -> Option<String> {
        match self {
            Self::Serial | Self::Identity(_) => Some(format!("{a}.id = {b}.id")),
            Self::Composite => Some(format!("{a}.id = {b}.id AND {b}.part = {a}.part")),
            Self::Text => Some(format!("{b}.code = {a}.code")),
            Self::None => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
    /// The table whose `id` it holds.
    pub(super) references: Option<usize>,
    /// Something else is made of it: it is neither dropped nor given another type.
    pub(super) fixed: bool,
    /// Nobody assigns it.
    pub(super) computed: bool,
}

/// The types that columns have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Small,
    Int,
    Big,
    Money,
    Number,
    Double,
    Text,
    Varchar(u32),
    Char,
    Bool,
    Date,
    Stamp,
    Zoned,
    Json,
    Ints,
    Mood,
    Positive,
    Uuid,
    Bits,
    /// Text with a collation of its own.
    Plain,
}

pub(super) const KINDS: &[Kind] = &[
    Kind::Int,
    Kind::Int,
    Kind::Text,
    Kind::Text,
    Kind::Varchar(6),
    Kind::Varchar(24),
    Kind::Money,
    Kind::Bool,
    Kind::Bool,
    Kind::Date,
    Kind::Small,
    Kind::Big,
    Kind::Number,
    Kind::Double,
    Kind::Char,
    Kind::Stamp,
    Kind::Zoned,
    Kind::Json,
    Kind::Ints,
    Kind::Mood,
    Kind::Positive,
    Kind::Uuid,
    Kind::Bits,
    Kind::Plain,
];

impl Kind {
    pub(super) fn sql(self) -> String {
        match self {
            Self::Small => "smallint",
            Self::Int => "integer",
            Self::Big => "bigint",
            Self::Money => "numeric(12,2)",
            Self::Number => "numeric",
            Self::Double => "double precision",
            Self::Text => "text",
            Self::Varchar(length) => return format!("varchar({length})"),
            Self::Char => "char(4)",
            Self::Bool => "boolean",
            Self::Date => "date",
            Self::Stamp => "timestamp(3)",
            Self::Zoned => "timestamptz",
            Self::Json => "jsonb",
            Self::Ints => "integer[]",
            Self::Mood => "mood",
            Self::Positive => "positive",
            Self::Uuid => "uuid",
            Self::Bits => "bit(3)",
            Self::Plain => "text COLLATE \"POSIX\"",
        }
        .to_owned()
    }

    /// A value that depends on the row number `i` only.
    pub(super) fn of_row(self, salt: u32) -> String {
        let n = format!("(i * {salt})");
        match self {
            Self::Small | Self::Int | Self::Positive => format!("{n} % 97"),
            Self::Big => format!("{n}::bigint % 100003"),
            Self::Money => format!("{n} % 10007 / 8.0"),
            Self::Number => format!("{n} % 10007 / 16.0"),
            Self::Double => format!("{n} % 1009 / 4.0"),
            Self::Text => format!("'text ' || {n} % 53"),
            Self::Plain => format!("chr(65 + {n} % 60) || 'x'"),
            Self::Bits => format!("({n} % 8)::bit(3)"),
            Self::Varchar(length) => format!("left(md5({n}::text), {})", length.min(5)),
            Self::Char => format!("left(md5({n}::text), 1 + i % 4)"),
            Self::Bool => format!("{n} % 3 = 0"),
            Self::Date => format!("date '2020-01-01' + {n} % 700"),
            Self::Stamp => format!("timestamp '2020-01-01' + {n} % 70000 * interval '1.2345 s'"),
            Self::Zoned => {
                format!("timestamptz '2020-01-01 00:00+00' + {n} % 7000 * interval '1 h'")
            }
            Self::Json => format!("jsonb_build_object('a', {n} % 7, 'b', {n} % 3 = 0)"),
            Self::Ints => format!("ARRAY[{n} % 5, {n} % 11]"),
            Self::Mood => format!("(ARRAY['sad', 'ok', 'happy']::mood[])[1 + {n} % 3]"),
            Self::Uuid => format!("md5({n}::text)::uuid"),
        }
    }
}

const STEMS: &[&str] = &[
    "amount", "state", "name", "ref", "order", "Größe", "it's", "a\"b", "user", "l", "u", "o",
];

impl World {
    pub(super) fn generate(random: &mut StdRng) -> Self {
        let mut world = Self {
            tables: Vec::new(),
            hot: 0,
            easy: random.random_bool(0.5),
            counter: 0,
        };
        for place in 0..random.random_range(2..=4) {
            let table = world.new_table(random, place);
            world.tables.push(table);
        }
        world.hot = random.random_range(0..world.tables.len());
        world
    }

    fn new_table(&mut self, random: &mut StdRng, place: usize) -> Table {
        let key = match random.random_range(0..12) {
            0 => Key::None,
            1 => Key::Composite,
            2 => Key::Text,
            3 | 4 => Key::Identity("ALWAYS"),
            5 => Key::Identity("BY DEFAULT"),
            _ => Key::Serial,
        };
        let mut columns: Vec<Column> = (0..random.random_range(3..=8))
            .map(|_| self.new_column(random))
            .collect();
        let targets: Vec<usize> = (0..place).filter(|t| self.tables[*t].key.is_id()).collect();
        for _ in 0..random.random_range(0..=2) {
            if let Some(target) = targets.choose(random) {
                columns.push(self.link(*target));
            }
        }
        if key.is_id() && random.random_bool(0.25) {
            columns.push(self.link(place));
        }
        let stem = ["data", "line", "Order", "user", "l", "we;ird"];
        Table {
            name: self.fresh(stem.choose(random).unwrap_or(&"data")),
            qualified: random.random_bool(0.2),
            key,
            columns,
            rows: random.random_range(0..400),
            constraints: Vec::new(),
            indexes: Vec::new(),
            stiff: false,
        }
    }

    fn link(&mut self, target: usize) -> Column {
        Column {
            name: self.fresh("parent"),
            kind: Kind::Int,
            not_null: false,
            references: Some(target),
            fixed: true,
            computed: false,
        }
    }

    pub(super) fn new_column(&mut self, random: &mut StdRng) -> Column {
        let kind = *KINDS.choose(random).unwrap_or(&Kind::Text);
        Column {
            name: self.fresh(STEMS.choose(random).unwrap_or(&"name")),
            kind,
            not_null: random.random_bool(0.2),
            references: None,
            fixed: false,
            computed: false,
        }
    }

    pub(super) fn fresh(&mut self, stem: &str) -> String {
        self.counter += 1;
        format!("{stem}_{}", self.counter)
    }

    /// SQL that makes and fills the tables.
    pub(super) fn definition(&mut self, random: &mut StdRng) -> String {
        let mut sql = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');\n\
                       CREATE DOMAIN positive AS integer CHECK (value >= 0);\n\
                       CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS \
                       'BEGIN RETURN NEW; END';\n"
            .to_owned();
        for place in 0..self.tables.len() {
            sql += &self.tables[place].create(random, &self.tables);
            sql += &self.tables[place].fill(random, &self.tables);
            sql += &self.hang(random, place);
        }
        sql
    }

    /// All that may hang on a table.
    fn hang(&mut self, random: &mut StdRng, place: usize) -> String {
        let mut sql = String::new();
        for _ in 0..random.random_range(0..4) {
            sql += &self.hang_index(random, place);
        }
        for _ in 0..random.random_range(0..3) {
            sql += &self.hang_view_or_trigger(random, place);
        }
        let table = self.tables[place].quoted();
        let column = self.tables[place]
            .columns
            .choose(random)
            .map(|c| ident(&c.name));
        let column = column.unwrap_or_else(|| "id".to_owned());
        let mut perhaps = |text: String| {
            if random.random_bool(0.2) {
                sql += &text;
                sql += ";\n";
            }
        };
        perhaps(format!("COMMENT ON TABLE {table} IS 'it''s a \"table\"'"));
        perhaps(format!("COMMENT ON COLUMN {table}.{column} IS 'a column'"));
        perhaps(format!("GRANT SELECT ON {table} TO PUBLIC"));
        perhaps(format!("GRANT UPDATE ({column}) ON {table} TO PUBLIC"));
        perhaps(format!("ALTER TABLE {table} SET (fillfactor = 70)"));
        perhaps(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 300"
        ));
        perhaps(format!("ALTER TABLE {table} REPLICA IDENTITY FULL"));
        perhaps(format!("CREATE POLICY p ON {table} USING (id > 0)"));
        perhaps(format!(
            "ALTER TABLE {table} ADD COLUMN hole text; ALTER TABLE {table} DROP COLUMN hole"
        ));
        perhaps(format!("ANALYZE {table}"));
        sql
    }

    fn hang_index(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = self.fresh("an idx");
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        let Some(column) = table.columns.choose(random) else {
            return String::new();
        };
        // PostgreSQL hashes no bit strings.
        let hashed = column.kind != Kind::Bits;
        let column = ident(&column.name);
        let on = match random.random_range(0..7) {
            0 => format!("({column} DESC NULLS LAST, id)"),
            1 => format!("(id) INCLUDE ({column})"),
            2 => format!("(id) WHERE {column} IS NOT NULL"),
            3 => "((id % 7), id)".to_owned(),
            4 if table.key.is_id() => {
                let name = ident(&name);
                table.constraints.push(name.clone());
                return format!(
                    "ALTER TABLE {quoted} ADD CONSTRAINT {name} UNIQUE (id, {column}) \
                     DEFERRABLE;\n"
                );
            }
            5 if hashed => format!("USING hash ({column})"),
            _ => format!("({column})"),
        };
        table.indexes.push(ident(&name));
        let method = if on.starts_with("USING") || random.random_bool(0.7) {
            on
        } else {
            format!("USING btree {on}")
        };
        format!("CREATE INDEX {} ON {quoted} {method};\n", ident(&name))
    }

    fn hang_view_or_trigger(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = ident(&self.fresh("hung"));
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        let column = table.columns.choose(random).map(|c| ident(&c.name));
        let column = column.unwrap_or_else(|| "id".to_owned());
        let from = if self.easy { 3 } else { 0 };
        match random.random_range(from..9) {
            0 => {
                table.stiff = true;
                format!(
                    "CREATE VIEW {name} WITH (security_barrier) AS SELECT t.id, t.{column} FROM \
                     {quoted} t;\nGRANT SELECT ON {name} TO PUBLIC;\n\
                     CREATE VIEW {} AS SELECT id FROM {name};\n",
                    ident(&format!("on {name}"))
                )
            }
            1 => {
                table.stiff = true;
                format!(
                    "CREATE TRIGGER {name} BEFORE INSERT ON {quoted} FOR EACH ROW EXECUTE FUNCTION \
                     on_insert();\n"
                )
            }
            2 => {
                table.stiff = true;
                format!(
                    "ALTER TABLE {quoted} ADD COLUMN {name} integer GENERATED ALWAYS AS (id * 2) \
                     STORED;\n"
                )
            }
            3 => format!("CREATE STATISTICS {name} ON id, {column} FROM {quoted};\n"),
            4 | 5 => {
                table.constraints.push(name.clone());
                format!(
                    "ALTER TABLE {quoted} ADD CONSTRAINT {name} CHECK (id IS NULL OR id >= 0);\n"
                )
            }
            _ => String::new(),
        }
    }
}

impl Table {
    pub(super) fn quoted(&self) -> String {
        let schema = if self.qualified { "public." } else { "" };
        format!("{schema}{}", ident(&self.name))
    }

    fn create(&self, random: &mut StdRng, tables: &[Self]) -> String {
        let mut parts = match self.key {
            Key::Serial => vec!["id serial PRIMARY KEY".to_owned()],
            Key::Identity(how) => {
                vec![format!(
                    "id integer GENERATED {how} AS IDENTITY PRIMARY KEY"
                )]
            }
            Key::Composite => vec!["id integer".to_owned(), "part integer".to_owned()],
            Key::Text => vec!["code text PRIMARY KEY".to_owned(), "id integer".to_owned()],
            Key::None => vec!["id integer".to_owned()],
        };
        for column in &self.columns {
            let mut part = format!("{} {}", ident(&column.name), column.kind.sql());
            if column.not_null {
                part += " NOT NULL";
            }
            if let Some(target) = column.references {
                part += &format!(" REFERENCES {}", tables[target].quoted());
                let actions = [
                    "",
                    "",
                    " ON DELETE CASCADE",
                    " ON DELETE SET NULL",
                    " DEFERRABLE",
                ];
                part += actions.choose(random).unwrap_or(&"");
            }
            parts.push(part);
        }
        if self.key == Key::Composite {
            parts.push("PRIMARY KEY (part, id)".to_owned());
        }
        format!("CREATE TABLE {} ({});\n", self.quoted(), parts.join(", "))
    }

    fn fill(&self, random: &mut StdRng, tables: &[Self]) -> String {
        let mut names = Vec::new();
        let mut values = Vec::new();
        match self.key {
            Key::Serial | Key::Identity(_) => {}
            Key::Composite => {
                names.extend(["id".to_owned(), "part".to_owned()]);
                values.extend(["i / 3".to_owned(), "i % 3".to_owned()]);
            }
            Key::Text => {
                names.extend(["code".to_owned(), "id".to_owned()]);
                values.extend(["'c ' || i".to_owned(), "i".to_owned()]);
            }
            Key::None => {
                names.push("id".to_owned());
                values.push("i / 2".to_owned());
            }
        }
        for column in self.columns.iter().filter(|c| !c.computed) {
            names.push(ident(&column.name));
            let salt = random.random_range(1..3000);
            let value = match column.references {
                Some(target) if tables[target].rows == 0 => "NULL".to_owned(),
                Some(target) => format!("1 + (i * {salt}) % {}", tables[target].rows),
                None => column.kind.of_row(salt),
            };
            values.push(if column.not_null {
                value
            } else {
                format!(
                    "CASE WHEN i % {} <> 0 THEN {value} END",
                    random.random_range(2..9)
                )
            });
        }
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) AS i ORDER BY i;\n",
            self.quoted(),
            names.join(", "),
            values.join(", "),
            self.rows
        )
    }

    /// A column that a statement may assign.
    pub(super) fn plain<'t>(&'t self, random: &mut StdRng) -> Option<&'t Column> {
        let columns: Vec<&Column> = self
            .columns
            .iter()
            .filter(|c| c.references.is_none() && !c.computed)
            .collect();
        columns.choose(random).copied()
    }

    /// The place of a column that DDL may do anything with.
    pub(super) fn free(&self, random: &mut StdRng) -> Option<usize> {
        let places: Vec<usize> = (0..self.columns.len())
            .filter(|c| !self.columns[*c].fixed && !self.columns[*c].computed)
            .collect();
        places.choose(random).copied()
    }
}
