//! Typed steps that are wrong.

use super::case::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "no TOML", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]\nquery = 1\n")], expected: &["a/migrations/1.1/pre-a.toml:1:9: this is not TOML: unclosed array table, expected `]`"] },
    Case { name: "an unknown step", files: &[("a/migrations/1.1/pre-a.toml", b"[[chek]]\nquery = \"SELECT 1\"\n")], expected: &["a/migrations/1.1/pre-a.toml:1:3: unknown key \"chek\" in a file of typed steps: did you mean \"check\"?"] },
    Case { name: "an unknown key", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"SELECT 1\"\nmessage = \"m\"\nmsg = \"x\"\n")], expected: &["a/migrations/1.1/pre-a.toml:4:1: unknown key \"msg\" in [[check]]: known are label, when, query, message"] },
    Case { name: "no message", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"SELECT 1\"\n")], expected: &["a/migrations/1.1/pre-a.toml:1:1: [[check]] lacks message = \"…\""] },
    Case { name: "a query that is no SQL", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"SELEC 1\"\nmessage = \"m\"\n")], expected: &["a/migrations/1.1/pre-a.toml:2:9: in query: syntax error at or near \"SELEC\""] },
    Case { name: "a query that writes", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"DELETE FROM t\"\nmessage = \"m\"\n")], expected: &["a/migrations/1.1/pre-a.toml:2:9: in query: a query that changes nothing is needed here: write a SELECT"] },
    Case { name: "a query that writes inside", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x\"\nmessage = \"m\"\n")], expected: &["a/migrations/1.1/pre-a.toml:2:9: in query: a query that changes nothing is needed here: write a SELECT"] },
    Case { name: "two queries", files: &[("a/migrations/1.1/pre-a.toml", b"[[check]]\nquery = \"SELECT 1; SELECT 2\"\nmessage = \"m\"\n")], expected: &["a/migrations/1.1/pre-a.toml:2:9: in query: one query is needed here, and there are 2"] },
    Case { name: "not a list of steps", files: &[("a/migrations/1.1/pre-a.toml", b"[check]\nquery = \"SELECT 1\"\n")], expected: &["a/migrations/1.1/pre-a.toml:1:1: steps are written [[check]]"] },
    Case { name: "a program without a name", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = []\n")], expected: &["a/migrations/1.1/pre-a.toml:2:11: the program's name is missing in this list"] },
    Case { name: "no program", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\nlabel = \"x\"\n")], expected: &["a/migrations/1.1/pre-a.toml:1:1: [[exec]] lacks command = [\"program\", \"argument\", …]"] },
    Case { name: "a command line", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = \"odoo-bin -u all\"\n")], expected: &["a/migrations/1.1/pre-a.toml:2:11: command needs a list of texts, and this is of type string"] },
    Case { name: "a wrong time", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = [\"true\"]\ntimeout = \"2 hours\"\n")], expected: &["a/migrations/1.1/pre-a.toml:3:11: \"2 hours\" is not a length of time: write a number and s, m, h or d, such as 90s or 1h 30m"] },
    Case { name: "a wrong condition", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = [\"true\"]\nwhen = \"table_exist(t)\"\n")], expected: &["a/migrations/1.1/pre-a.toml:3:8: unknown condition \"table_exist\": did you mean \"table_exists\"?"] },
    Case { name: "undo and irreversible", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = [\"true\"]\nundo = [\"false\"]\nirreversible = true\n")], expected: &["a/migrations/1.1/pre-a.toml:4:16: a step with undo is not irreversible: keep one of the two"] },
    Case { name: "a key given twice", files: &[("a/migrations/1.1/pre-a.toml", b"[[exec]]\ncommand = [\"true\"]\ncommand = [\"false\"]\n")], expected: &["a/migrations/1.1/pre-a.toml:3:1: this is not TOML: duplicate key"] },
];
