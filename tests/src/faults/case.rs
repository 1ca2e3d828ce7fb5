//! One small pack and database for every kind of operator, in which that operator does real work. A kind
//! that no case names fails `tests/tests/faults.rs`.

use anyhow::Result;
use tempfile::TempDir;

use crate::harness::pack;

/// A pack and a database.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// The kinds of operators that it is about, as
    /// [`Operator::KINDS`](upshift_shared::plan::Operator::KINDS) has them.
    pub kinds: &'static [&'static str],
    /// Makes and fills the tables, beside those that every case has.
    tables: &'static str,
    /// Name and text of the scripts of module `m`.
    scripts: &'static [(&'static str, &'static str)],
    /// `--passes`
    pub passes: &'static str,
    /// More arguments of `run`.
    pub options: &'static [&'static str],
    /// Whether there is a way back.
    pub reversible: bool,
}

/// What every case has: a table with a key, what points at it, and one without a key.
const TABLES: &str = "
CREATE TABLE mark (a integer);
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 5);
CREATE TABLE t (id serial PRIMARY KEY, parent_id integer REFERENCES parent, a integer, note text, gone text,
    state varchar(9) DEFAULT 'draft' CHECK (state IN ('draft', 'done')));
INSERT INTO t (parent_id, a, note, gone) SELECT 1 + i % 5, i, 'Person ' || i, 'g' || i FROM generate_series(1, 60) i;
CREATE INDEX t_note ON t (note);
CREATE INDEX t_open ON t (a) WHERE state IN ('draft', 'it''s');
CREATE TABLE child (id integer PRIMARY KEY, t_id integer REFERENCES t ON DELETE CASCADE);
INSERT INTO child SELECT i, i FROM generate_series(1, 40) i;
CREATE TABLE loose (a integer, b text);
INSERT INTO loose SELECT i % 7, 'l' || i FROM generate_series(1, 30) i;
CREATE SEQUENCE number;
COMMENT ON TABLE t IS 'what the operator changes';
";

const STAGES: &[&str] = &[
    "shadow build",
    "shadow fill",
    "shadow index",
    "shadow before",
    "shadow swap",
    "shadow validate",
    "shadow settle",
];

/// Every case.
pub const CASES: &[Case] = &[
    Case {
        name: "metadata",
        kinds: &["metadata"],
        tables: "",
        scripts: &[(
            "pre-a.sql",
            "ALTER TABLE t ADD COLUMN kind varchar(8) DEFAULT 'x' NOT NULL, DROP COLUMN gone;
             CREATE INDEX t_a ON t (a); ALTER TABLE loose RENAME COLUMN b TO c;
             DROP TABLE mark; CREATE VIEW seen AS SELECT id, kind FROM t;",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "update",
        kinds: &["in_place update"],
        tables: "",
        scripts: &[("pre-a.sql", "UPDATE t SET note = upper(note), a = a + 1 WHERE id > 3;")],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "delete",
        kinds: &["in_place delete"],
        tables: "",
        scripts: &[("pre-a.sql", "DELETE FROM child WHERE id % 2 = 0;")],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "transform",
        kinds: &["transform"],
        tables: "",
        scripts: &[(
            "pre-a.toml",
            "[[transform]]\ntable = \"t\"\nsource = \"note\"\ntarget = \"gone\"\nfunction = \"regex_replace\"\n\
             [transform.arguments]\nrules = [{ pattern = 'Person (\\d+)', replacement = \"$1 human\" }]\n",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "append",
        kinds: &["append"],
        tables: "CREATE TABLE log (id serial PRIMARY KEY, t_id integer, at timestamptz);
                 INSERT INTO log (t_id) VALUES (1);",
        scripts: &[(
            "pre-a.sql",
            "INSERT INTO t (id, a, note) SELECT id + 1000, a, note FROM t WHERE id <= 40;
             INSERT INTO log (t_id) SELECT id FROM child;",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "bad data",
        kinds: &["in_place update", "append", "transform"],
        tables: "ALTER TABLE t ADD COLUMN brief varchar(9);
                 CREATE TABLE copied (id integer PRIMARY KEY, brief varchar(9));
                 UPDATE t SET note = 'longer than nine' WHERE id IN (7, 33, 58);",
        scripts: &[
            (
                "pre-a.sql",
                "UPDATE t SET brief = note WHERE id > 0;
                 INSERT INTO copied SELECT id, note FROM t WHERE id > 0;",
            ),
            (
                "pre-b.toml",
                "[[transform]]\ntable = \"t\"\nsource = \"note\"\ntarget = \"brief\"\nfunction = \"regex_replace\"\n\
                 [transform.arguments]\nrules = [{ pattern = 'Person (\\d+)', replacement = \"P $1\" }]\n",
            ),
        ],
        passes: "in-place",
        options: &["--on-bad-data", "quarantine", "--verify", "full"],
        reversible: true,
    },
    Case {
        name: "statement with an undo",
        kinds: &["statement sql"],
        tables: "",
        scripts: &[(
            "pre-a.sql",
            "-- upshift: undo = \"UPDATE t SET a = a - 7\"\nUPDATE t SET a = a + 7;",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "statement outside a transaction",
        kinds: &["statement sql"],
        tables: "",
        scripts: &[("pre-a.sql", "CREATE INDEX CONCURRENTLY t_parent ON t (parent_id);")],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "statement with copies",
        kinds: &["statement copy"],
        tables: "",
        scripts: &[(
            "pre-a.sql",
            "UPDATE loose SET b = b || '!' WHERE a > 2;
             DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY a DESC LIMIT 5);",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "query",
        kinds: &["statement nothing"],
        tables: "",
        scripts: &[("pre-a.sql", "SELECT nextval('number'), count(*) FROM t;")],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "irreversible",
        kinds: &["statement irreversible"],
        tables: "",
        scripts: &[(
            "pre-a.sql",
            "-- upshift: irreversible\nDO $$ BEGIN INSERT INTO mark SELECT a FROM t; END $$;",
        )],
        passes: "in-place",
        options: &[],
        reversible: false,
    },
    Case {
        name: "check",
        kinds: &["check"],
        tables: "",
        scripts: &[(
            "post-a.toml",
            "[[check]]\nquery = \"SELECT id FROM t WHERE a IS NULL\"\nmessage = \"a row lacks its a\"\n",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "exec",
        kinds: &["exec"],
        tables: "",
        scripts: &[(
            "post-a.toml",
            "[[exec]]\n\
             command = [\"psql\", \"-Xqc\", \"DELETE FROM mark; INSERT INTO mark SELECT count(*) FROM t\"]\n\
             undo = [\"psql\", \"-Xqc\", \"DELETE FROM mark\"]\n",
        )],
        passes: "in-place",
        options: &[],
        reversible: true,
    },
    Case {
        name: "pass",
        kinds: STAGES,
        tables: "CREATE VIEW seen AS SELECT id, note FROM t WHERE a > 1 AND state NOT IN ('done', 'gone');
                 GRANT SELECT ON t TO PUBLIC;",
        scripts: &[
            ("pre-a.sql", "UPDATE t SET note = upper(note) WHERE parent_id > 1;"),
            (
                "pre-b.toml",
                "[[transform]]\ntable = \"t\"\ncolumn = \"gone\"\nfunction = \"regex_replace\"\n\
                 [transform.arguments]\nrules = [{ pattern = 'g(\\d+)', replacement = \"$1 gone\" }]\n",
            ),
            ("pre-c.sql", "UPDATE t SET a = a + 1, note = note || '!';"),
        ],
        passes: "shadow",
        options: &[],
        reversible: true,
    },
    Case {
        name: "pass over a partition",
        kinds: STAGES,
        tables: "CREATE TABLE whole (id integer NOT NULL, parent_id integer, a integer, note text, gone text, state varchar(9))
                     PARTITION BY RANGE (id);
                 CREATE TABLE later PARTITION OF whole FOR VALUES FROM (1000) TO (2000);
                 INSERT INTO whole SELECT 1000 + i, 1, i, 'later', 'g' FROM generate_series(1, 9) i;
                 ALTER TABLE whole ATTACH PARTITION t FOR VALUES FROM (0) TO (1000);",
        scripts: &[(
            "pre-a.sql",
            "UPDATE t SET note = upper(note) WHERE parent_id > 1; UPDATE t SET a = a + 1;",
        )],
        passes: "shadow",
        options: &[],
        reversible: true,
    },
    Case {
        name: "pass over a table that inherits",
        kinds: STAGES,
        tables: "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('later');
                 CREATE TABLE lines (parent_id integer) INHERITS (notes);
                 ALTER TABLE t INHERIT lines;",
        scripts: &[(
            "pre-a.sql",
            "UPDATE t SET note = upper(note) WHERE parent_id > 1; UPDATE t SET a = a + 1;",
        )],
        passes: "shadow",
        options: &[],
        reversible: true,
    },
];

impl Case {
    /// Makes and fills the tables.
    #[must_use]
    pub fn database(&self) -> String {
        format!("{TABLES}\n{}\nANALYZE;", self.tables)
    }

    /// The pack: module `first`, whose checkpoint one can come back to, and `m`, which depends on it.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn pack(&self) -> Result<TempDir> {
        let mut files = vec![
            (
                "pack.toml".to_owned(),
                "name = \"faults\"\n[installed]\n\
                 query = \"SELECT 'm', '1.0' UNION ALL SELECT 'first', '1.0'\"\n",
            ),
            ("first/module.toml".to_owned(), "version = \"2.0\"\n"),
            (
                "first/migrations/2.0/pre-a.sql".to_owned(),
                "CREATE TABLE of_first (a integer PRIMARY KEY);",
            ),
            (
                "m/module.toml".to_owned(),
                "version = \"2.0\"\ndepends = [\"first\"]\n",
            ),
        ];
        let scripts = self.scripts.iter();
        files.extend(scripts.map(|(name, text)| (format!("m/migrations/2.0/{name}"), *text)));
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        pack(&files)
    }
}
