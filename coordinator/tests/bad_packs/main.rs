//! Bad packs, each with the exact complaint: file, line, column and message.

mod case;
mod directives;
mod layout;
mod manifests;
mod sql;
mod typed;

use case::{Case, SCRIPT, complaints, complaints_in, write};

#[test]
fn every_bad_pack_is_told_what_is_wrong_and_where() {
    let cases: Vec<&Case> = [
        sql::CASES,
        directives::CASES,
        typed::CASES,
        layout::CASES,
        manifests::CASES,
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() >= 45, "only {} cases", cases.len());
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|case| {
            let found = complaints(case.files);
            (found != case.expected).then(|| {
                format!(
                    "{}: found {found:#?}, expected {:#?}",
                    case.name, case.expected
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
#[test]
fn a_folder_that_is_no_pack() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        complaints_in(folder.path()),
        [
            "pack.toml:1:1: there is no pack.toml: a pack is a folder with a pack.toml, which says name = \"…\""
        ]
    );
    let nowhere = folder.path().join("nowhere");
    let found = complaints_in(&nowhere);
    assert!(
        found[0].contains(":1:1: this folder cannot be read: No such file"),
        "{found:?}"
    );
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(complaints_in(&file)[0].contains("this is not a folder"));
}

#[test]
fn links_may_not_leave_the_pack() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x.sql"), "SELECT 1;").unwrap();
    let pack = write(&[(SCRIPT, b"SELECT 1;")]);
    let version = pack.path().join("a/migrations/1.1");
    symlink("pre-a.sql", version.join("pre-inside.sql")).unwrap();
    assert_eq!(complaints_in(pack.path()), [""; 0]);
    symlink(outside.path().join("x.sql"), version.join("pre-out.sql")).unwrap();
    symlink("gone.sql", version.join("pre-gone.sql")).unwrap();
    symlink(outside.path(), pack.path().join("b")).unwrap();
    // A socket: reading it would fail, and reading a pipe would wait for ever.
    let socket = std::os::unix::net::UnixListener::bind(version.join("pre-a.socket"));
    assert!(socket.is_ok());
    assert_eq!(
        complaints_in(pack.path()),
        [
            "a/migrations/1.1/pre-a.socket:1:1: this is neither a file nor a folder: remove it",
            "a/migrations/1.1/pre-gone.sql:1:1: this link leads nowhere: No such file or directory (os error 2)",
            "a/migrations/1.1/pre-out.sql:1:1: this link leads out of the pack: copy what it points to",
            "b:1:1: this link leads out of the pack: copy what it points to",
        ]
    );
}

#[test]
fn a_name_that_is_not_utf_8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let pack = write(&[(SCRIPT, b"SELECT 1;")]);
    let name = OsStr::from_bytes(b"pre-\xe9.sql");
    std::fs::write(pack.path().join("a/migrations/1.1").join(name), "SELECT 1;").unwrap();
    assert_eq!(
        complaints_in(pack.path()),
        ["a/migrations/1.1/pre-\u{fffd}.sql:1:1: this file's name is not UTF-8: rename it"]
    );
}

#[test]
fn a_complaint_shows_its_line() {
    let pack = write(&[(SCRIPT, b"SELECT 1;\r\n  SELEC 2;\r\n")]);
    let Err(error) = upshift_shared::pack::load(pack.path()) else {
        panic!("this is no SQL");
    };
    assert_eq!(
        error.to_string(),
        "syntax error at or near \"SELEC\"\n  --> a/migrations/1.1/pre-a.sql:2:3\n2 |   SELEC 2;\n  |   ^"
    );
}
