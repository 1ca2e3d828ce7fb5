//! Odoo manifests that are wrong.

use super::case::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "an empty manifest",
        files: &[("b/__manifest__.py", b"")],
        expected: &["b/__manifest__.py:1:1: the file ends where a value is needed"],
    },
    Case {
        name: "a comment only",
        files: &[("b/__manifest__.py", b"# nothing\n")],
        expected: &["b/__manifest__.py:2:1: the file ends where a value is needed"],
    },
    Case {
        name: "an open dict",
        files: &[("b/__manifest__.py", b"{\n  'name': 'B',\n")],
        expected: &["b/__manifest__.py:1:1: this { is not closed"],
    },
    Case {
        name: "code",
        files: &[("b/__manifest__.py", b"{'version': get_version()}")],
        expected: &[
            "b/__manifest__.py:1:13: a manifest holds only literals: write the value itself here",
        ],
    },
    Case {
        name: "no dict",
        files: &[("b/__manifest__.py", b"['a']\n")],
        expected: &["b/__manifest__.py:1:1: a manifest is a dict: write { 'name': …, … }"],
    },
    Case {
        name: "a wrong version",
        files: &[("b/__manifest__.py", b"{'version': '1.0-beta'}\n")],
        expected: &[
            "b/__manifest__.py:1:13: \"1.0-beta\" is not a version: write numbers between dots, such as 17.0.1.2",
        ],
    },
    Case {
        name: "a version that is a number",
        files: &[("b/__manifest__.py", b"{\n 'version': 1.0}\n")],
        expected: &["b/__manifest__.py:2:13: version is a text: put it in quotes"],
    },
    Case {
        name: "dependencies that are no list",
        files: &[("b/__manifest__.py", b"{'depends': 'base'}\n")],
        expected: &["b/__manifest__.py:1:13: depends is a list of names in quotes"],
    },
    Case {
        name: "depends on itself",
        files: &[("b/__manifest__.py", b"{'depends': ['a',\n'b']}\n")],
        expected: &["b/__manifest__.py:2:1: b depends on itself: remove it from the list"],
    },
    Case {
        name: "a string over two lines",
        files: &[("b/__manifest__.py", b"{'name': 'a\nb'}\n")],
        expected: &["b/__manifest__.py:1:10: this string is not closed on its line"],
    },
    Case {
        name: "something behind it",
        files: &[("b/__manifest__.py", b"{}\nimport os\n")],
        expected: &[
            "b/__manifest__.py:2:1: a manifest is one dict of literals: remove what follows it",
        ],
    },
    Case {
        name: "a version of another series",
        files: &[
            ("pack.toml", b"name = \"p\"\ntarget_version = \"18.0\"\n"),
            ("b/__manifest__.py", b"{'version': '17.0.1.0'}\n"),
        ],
        expected: &[
            "b/__manifest__.py:1:13: version 17.0.1.0 is of another series than the pack's target 18.0: write 18.0 and the module's own version",
        ],
    },
];
