//! Packs whose folders and files are wrong.

use super::case::{Case, SCRIPT};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "pack.toml without a name",
        files: &[("pack.toml", b"target_version = \"1.1\"\n")],
        expected: &["pack.toml:1:1: pack.toml lacks name = \"…\""],
    },
    Case {
        name: "an empty name",
        files: &[("pack.toml", b"name = \" \"\n")],
        expected: &["pack.toml:1:8: the pack's name is empty: write one"],
    },
    Case {
        name: "an unknown key in pack.toml",
        files: &[("pack.toml", b"name = \"p\"\ntarget_versoin = \"1.1\"\n")],
        expected: &[
            "pack.toml:2:1: unknown key \"target_versoin\" in pack.toml: did you mean \"target_version\"?",
        ],
    },
    Case {
        name: "a wrong target version",
        files: &[("pack.toml", b"name = \"p\"\ntarget_version = \"next\"\n")],
        expected: &[
            "pack.toml:2:18: \"next\" is not a version: write numbers between dots, such as 17.0.1.2",
        ],
    },
    Case {
        name: "a version that is a number",
        files: &[("pack.toml", b"name = \"p\"\ntarget_version = 17.0\n")],
        expected: &[
            "pack.toml:2:18: target_version needs a text in quotes, and this is of type float",
        ],
    },
    Case {
        name: "a wrong scheme",
        files: &[("pack.toml", b"name = \"p\"\nversions = \"semver\"\n")],
        expected: &["pack.toml:2:12: \"semver\" is not a value of versions: known are plain, odoo"],
    },
    Case {
        name: "Odoo's scheme without a series",
        files: &[("pack.toml", b"name = \"p\"\nversions = \"odoo\"\n")],
        expected: &[
            "pack.toml:2:12: versions = \"odoo\" needs a series as target_version, such as \"18.0\"",
        ],
    },
    Case {
        name: "installed without a source",
        files: &[("pack.toml", b"name = \"p\"\n[installed]\n")],
        expected: &["pack.toml:2:1: [installed] needs table = \"…\" or query = \"…\""],
    },
    Case {
        name: "installed by both",
        files: &[(
            "pack.toml",
            b"name = \"p\"\n[installed]\ntable = \"m\"\nquery = \"SELECT 1\"\n",
        )],
        expected: &["pack.toml:4:9: [installed] takes table or query, not both: remove one"],
    },
    Case {
        name: "installed in a table with a hostile name",
        files: &[(
            "pack.toml",
            b"name = \"p\"\n[installed]\ntable = \"m; DROP TABLE m\"\n",
        )],
        expected: &[
            "pack.toml:3:9: \"m; DROP TABLE m\" is not a table's name: write table or schema.table",
        ],
    },
    Case {
        name: "installed by a query that writes",
        files: &[(
            "pack.toml",
            b"name = \"p\"\n[installed]\nquery = \"DELETE FROM m\"\n",
        )],
        expected: &[
            "pack.toml:3:9: in query: a query that changes nothing is needed here: write a SELECT",
        ],
    },
    Case {
        name: "a wrong default",
        files: &[(
            "pack.toml",
            b"name = \"p\"\n[defaults]\nexec_timeout = \"soon\"\n",
        )],
        expected: &[
            "pack.toml:3:16: \"soon\" is not a length of time: write a number and s, m, h or d, such as 90s or 1h 30m",
        ],
    },
    Case {
        name: "pack.toml and a script both wrong",
        files: &[("pack.toml", b"nam = \"p\"\n"), (SCRIPT, b"SELEC 1;\n")],
        expected: &[
            "a/migrations/1.1/pre-a.sql:1:1: syntax error at or near \"SELEC\"",
            "pack.toml:1:1: pack.toml lacks name = \"…\"",
            "pack.toml:1:1: unknown key \"nam\" in pack.toml: did you mean \"name\"?",
        ],
    },
    Case {
        name: "a module without a version",
        files: &[("a/module.toml", b"depends = []\n")],
        expected: &["a/module.toml:1:1: module.toml lacks version = \"…\""],
    },
    Case {
        name: "a module with a wrong version",
        files: &[("a/module.toml", b"version = \"1.x\"\n")],
        expected: &[
            "a/module.toml:1:11: \"1.x\" is not a version: write numbers between dots, such as 17.0.1.2",
        ],
    },
    Case {
        name: "a module under another name",
        files: &[("a/module.toml", b"name = \"b\"\nversion = \"1.1\"\n")],
        expected: &[
            "a/module.toml:1:8: the module's name is that of its folder, a, and not b: change one of them",
        ],
    },
    Case {
        name: "a module that depends on itself",
        files: &[("a/module.toml", b"version = \"1.1\"\ndepends = [\"a\"]\n")],
        expected: &["a/module.toml:2:12: a depends on itself: remove it from the list"],
    },
    Case {
        name: "a dependency given twice",
        files: &[(
            "a/module.toml",
            b"version = \"1.1\"\ndepends = [\"b\", \"b\"]\n",
        )],
        expected: &["a/module.toml:2:17: b is in this list twice: keep one"],
    },
    Case {
        name: "an empty dependency",
        files: &[("a/module.toml", b"version = \"1.1\"\ndepends = [\"\"]\n")],
        expected: &["a/module.toml:2:12: an empty name: write a module's, or remove it"],
    },
    Case {
        name: "dependencies that are no list",
        files: &[("a/module.toml", b"version = \"1.1\"\ndepends = \"b\"\n")],
        expected: &[
            "a/module.toml:2:11: depends needs a list of texts, and this is of type string",
        ],
    },
    Case {
        name: "an unknown key in module.toml",
        files: &[("a/module.toml", b"version = \"1.1\"\ndepend = [\"b\"]\n")],
        expected: &[
            "a/module.toml:2:1: unknown key \"depend\" in module.toml: did you mean \"depends\"?",
        ],
    },
    Case {
        name: "module.toml that is no TOML",
        files: &[("a/module.toml", b"version = 1.1.1\n")],
        expected: &["a/module.toml:1:14: this is not TOML: invalid float, expected nothing"],
    },
    Case {
        name: "migrations without module.toml",
        files: &[("b/migrations/1.0/pre-a.sql", b"SELECT 1;")],
        expected: &[
            "b:1:1: this folder has migrations and no module.toml: write one with version = \"…\"",
        ],
    },
    Case {
        name: "a folder that is no version",
        files: &[("a/migrations/next/pre-a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/next:1:1: \"next\" is not a version: write numbers between dots, such as 17.0.1.2",
        ],
    },
    Case {
        name: "a folder above the module's version",
        files: &[("a/migrations/1.2/pre-a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/1.2:1:1: version 1.2 is above the module's version 1.1, so it would never run: raise the module's version, or rename the folder",
        ],
    },
    Case {
        name: "two folders of one version",
        files: &[
            ("a/migrations/1.1/pre-a.sql", b"SELECT 1;"),
            ("a/migrations/1.1.0/pre-a.sql", b"SELECT 1;"),
        ],
        expected: &[
            "a/migrations/1.1.0:1:1: version 1.1.0 has another folder, 1.1: put both in one",
        ],
    },
    Case {
        name: "a script without a phase",
        files: &[("a/migrations/1.1/a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/1.1/a.sql:1:1: a script's name begins with pre-, post- or end-: rename it",
        ],
    },
    Case {
        name: "a script with an underscore",
        files: &[("a/migrations/1.1/pre_a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/1.1/pre_a.sql:1:1: a script's name begins with pre-, post- or end-: rename it",
        ],
    },
    Case {
        name: "a script in capitals",
        files: &[("a/migrations/1.1/pre-a.SQL", b"SELECT 1;")],
        expected: &["a/migrations/1.1/pre-a.SQL:1:1: a script ends in .sql or .toml: rename it"],
    },
    Case {
        name: "a Python script",
        files: &[(
            "a/migrations/1.1/pre-a.py",
            b"def migrate(cr, version): pass",
        )],
        expected: &[
            "a/migrations/1.1/pre-a.py:1:1: Upshift does not run Python: write SQL, or start a program from an [[exec]] step of a .toml file",
        ],
    },
    Case {
        name: "a shell script",
        files: &[("a/migrations/1.1/post-a.sh", b"true")],
        expected: &["a/migrations/1.1/post-a.sh:1:1: a script ends in .sql or .toml: rename it"],
    },
    Case {
        name: "a script outside of a version",
        files: &[("a/migrations/pre-a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/pre-a.sql:1:1: a script lies in the folder of the version that it leads to: move it to migrations/<version>/",
        ],
    },
    Case {
        name: "a folder inside of a version",
        files: &[("a/migrations/1.1/sub/pre-a.sql", b"SELECT 1;")],
        expected: &[
            "a/migrations/1.1/sub:1:1: a version's folder holds scripts only: move its files up, or remove it",
        ],
    },
    Case {
        name: "Odoo's other folder",
        files: &[("a/upgrades/1.1/pre-a.sql", b"SELECT 1;")],
        expected: &["a/upgrades:1:1: scripts are read from migrations/ only: move them there"],
    },
];
