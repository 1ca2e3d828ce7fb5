//! Directives that are wrong.

use super::case::{Case, SCRIPT};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "unknown",
        files: &[(SCRIPT, b"-- upshift: undoo = \"SELECT 1\"\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:13: unknown directive \"undoo\": did you mean \"undo\"?",
        ],
    },
    Case {
        name: "unknown, far from all",
        files: &[(SCRIPT, b"-- upshift: parallel = 4\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:13: unknown directive \"parallel\": known are undo, when, chunk, strategy, irreversible, label, checkpoint",
        ],
    },
    Case {
        name: "no statement follows",
        files: &[(SCRIPT, b"SELECT 1;\n-- upshift: label = \"x\"\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:12: no statement follows this directive: put it directly before one, or remove it",
        ],
    },
    Case {
        name: "only a directive",
        files: &[(SCRIPT, b"-- upshift: irreversible\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:12: no statement follows this directive: put it directly before one, or remove it",
        ],
    },
    Case {
        name: "behind a statement",
        files: &[(SCRIPT, b"SELECT 1; -- upshift: label = \"x\"\nSELECT 2;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:22: this directive stands behind a statement: put it on a line of its own before the statement that it is about",
        ],
    },
    Case {
        name: "inside of a statement",
        files: &[(SCRIPT, b"SELECT\n  -- upshift: label = \"x\"\n  1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:14: a directive inside of a statement has no effect: put it before the statement's first word",
        ],
    },
    Case {
        name: "before a setting",
        files: &[(
            SCRIPT,
            b"-- upshift: label = \"x\"\nSET work_mem = '1MB';\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:12: a setting is no step and takes no directive: put it before a statement, or remove it",
        ],
    },
    Case {
        name: "given twice",
        files: &[(
            SCRIPT,
            b"-- upshift: label = \"x\"\n-- upshift: label = \"y\"\nSELECT 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:13: directive \"label\" is given twice for one statement: keep one",
        ],
    },
    Case {
        name: "no value",
        files: &[(SCRIPT, b"-- upshift: undo\nSELECT 1;\n")],
        expected: &["a/migrations/1.1/pre-a.sql:1:13: undo needs a value: write undo = \"SQL\""],
    },
    Case {
        name: "no quotes",
        files: &[(
            SCRIPT,
            b"-- upshift: undo = DROP TABLE t\nCREATE TABLE t (a int);\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: the value of undo needs quotes: write undo = \"SQL\"",
        ],
    },
    Case {
        name: "an open quote",
        files: &[(
            SCRIPT,
            b"-- upshift: undo = \"DROP TABLE t\nCREATE TABLE t (a int);\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: this string is not closed: a directive's value ends with its comment",
        ],
    },
    Case {
        name: "an unknown escape",
        files: &[(SCRIPT, b"-- upshift: label = \"a\\qb\"\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:23: unknown escape in a string: write \\\" for a quote and \\\\ for a backslash",
        ],
    },
    Case {
        name: "an empty label",
        files: &[(SCRIPT, b"-- upshift: label = \"\"\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:21: an empty label says nothing: write one, or remove it",
        ],
    },
    Case {
        name: "checkpoints",
        files: &[(
            SCRIPT,
            b"-- upshift: checkpoint = \"a\"\nSELECT 1;\n-- upshift: checkpoint = \"x\"\nSELECT 2;\n\
              -- upshift: checkpoint = \"x\"\nSELECT 3;\n-- upshift: checkpoint = x\nSELECT 4;\n\
              -- upshift: checkpoint = \" x\"\nSELECT 5;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:1: the checkpoint at the end of module a is called \"a\": choose another name",
            "a/migrations/1.1/pre-a.sql:6:1: checkpoint \"x\" is also at a/migrations/1.1/pre-a.sql:4:1: choose another name",
            "a/migrations/1.1/pre-a.sql:7:26: the value of checkpoint needs quotes: write checkpoint = \"name\"",
            "a/migrations/1.1/pre-a.sql:9:26: a checkpoint's name is not empty, begins with neither a dash nor a space, ends with no space, and is on one line",
        ],
    },
    Case {
        name: "a checkpoint after which nothing comes",
        files: &[(SCRIPT, b"SELECT 1;\n-- upshift: checkpoint = \"x\"\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:12: no statement follows this directive: put it directly before one, or remove it",
        ],
    },
    Case {
        name: "no comma",
        files: &[(
            SCRIPT,
            b"-- upshift: label = \"x\" irreversible\nSELECT 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:25: directives of one line are separated by commas: write a comma here, or a new line",
        ],
    },
    Case {
        name: "a comma too many",
        files: &[(SCRIPT, b"-- upshift: label = \"x\",\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:25: a directive is missing here: known are undo, when, chunk, strategy, irreversible, label, checkpoint",
        ],
    },
    Case {
        name: "empty",
        files: &[(SCRIPT, b"-- upshift:\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:12: a directive is missing here: known are undo, when, chunk, strategy, irreversible, label, checkpoint",
        ],
    },
    Case {
        name: "undo that is no SQL",
        files: &[(SCRIPT, b"-- upshift: undo = \"DROPP TABLE t\"\nSELECT 1;\n")],
        expected: &["a/migrations/1.1/pre-a.sql:1:20: in undo: syntax error at or near \"DROPP\""],
    },
    Case {
        name: "undo that is empty",
        files: &[(SCRIPT, b"-- upshift: undo = \" ; \"\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: in undo: there is no statement: write one, or mark the step irreversible",
        ],
    },
    Case {
        name: "undo that may not be in a pack",
        files: &[(SCRIPT, b"-- upshift: undo = \"ROLLBACK\"\nSELECT 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: in undo: ROLLBACK does not belong in a pack: Upshift gives every statement a transaction, remove it",
        ],
    },
    Case {
        name: "undo with an open string",
        files: &[(SCRIPT, b"-- upshift: undo = \"SELECT 'a\"\nSELECT 1;\n")],
        expected: &["a/migrations/1.1/pre-a.sql:1:20: in undo: unterminated quoted string"],
    },
    Case {
        name: "a wrong chunk",
        files: &[(SCRIPT, b"-- upshift: chunk = maybe\nUPDATE t SET a = 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:21: \"maybe\" is not a value of chunk: write chunk = none or chunk = by(column)",
        ],
    },
    Case {
        name: "a chunk by two columns",
        files: &[(
            SCRIPT,
            b"-- upshift: chunk = by(a, b)\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:21: \"by(a, b)\" is not a value of chunk: write chunk = none or chunk = by(column)",
        ],
    },
    Case {
        name: "a wrong strategy",
        files: &[(
            SCRIPT,
            b"-- upshift: strategy = fast\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:24: \"fast\" is not a value of strategy: write strategy = in_place, shadow or single",
        ],
    },
    Case {
        name: "a wrong condition",
        files: &[(
            SCRIPT,
            b"-- upshift: when = column_exist(t.c)\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: unknown condition \"column_exist\": did you mean \"column_exists\"?",
        ],
    },
    Case {
        name: "no condition",
        files: &[(SCRIPT, b"-- upshift: when = true\nUPDATE t SET a = 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: \"true\" is not a condition: write when = column_exists(table.column), table_exists(table) or module_installed(name)",
        ],
    },
    Case {
        name: "column_exists without a table",
        files: &[(
            SCRIPT,
            b"-- upshift: when = not column_exists(c)\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: column_exists takes table.column or schema.table.column",
        ],
    },
    Case {
        name: "table_exists of three parts",
        files: &[(
            SCRIPT,
            b"-- upshift: when = table_exists(a.b.c)\nUPDATE t SET a = 1;\n",
        )],
        expected: &["a/migrations/1.1/pre-a.sql:1:20: table_exists takes table or schema.table"],
    },
    Case {
        name: "module_installed of nothing",
        files: &[(
            SCRIPT,
            b"-- upshift: when = module_installed()\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:20: module_installed takes the name of one module",
        ],
    },
    Case {
        name: "irreversible with a value",
        files: &[(
            SCRIPT,
            b"-- upshift: irreversible = maybe\nUPDATE t SET a = 1;\n",
        )],
        expected: &["a/migrations/1.1/pre-a.sql:1:28: irreversible takes no value: remove it"],
    },
    Case {
        name: "irreversible and undo",
        files: &[(
            SCRIPT,
            b"-- upshift: undo = \"SELECT 1\", irreversible\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:32: a statement with undo is not irreversible: keep one of the two",
        ],
    },
    Case {
        name: "chunk and single",
        files: &[(
            SCRIPT,
            b"-- upshift: strategy = single\n-- upshift: chunk = by(id)\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:13: strategy = single runs the statement whole: remove chunk = by(…) or the strategy",
        ],
    },
    Case {
        name: "in a block comment, on its second line",
        files: &[(
            SCRIPT,
            b"/* upshift: label = \"x\",\n   chnk = none */\nUPDATE t SET a = 1;\n",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.sql:2:4: unknown directive \"chnk\": did you mean \"chunk\"?",
        ],
    },
    Case {
        name: "a single brace beside the marker",
        files: &[(SCRIPT, b"UPDATE t SET a = '{}' WHERE {parallel_filter};\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:19: a single brace in a statement with {parallel_filter}: write {{ for { and }} for }",
        ],
    },
    Case {
        name: "bad SQL behind the marker",
        files: &[(
            SCRIPT,
            b"UPDATE t SET a = '{{}}'\nWHERE {parallel_filter} AND AND b;\n",
        )],
        expected: &["a/migrations/1.1/pre-a.sql:2:29: syntax error at or near \"AND\""],
    },
    Case {
        name: "another marker",
        files: &[(SCRIPT, b"UPDATE t SET a = 1 WHERE {filter};\n")],
        expected: &["a/migrations/1.1/pre-a.sql:1:26: syntax error at or near \"{\""],
    },
];
