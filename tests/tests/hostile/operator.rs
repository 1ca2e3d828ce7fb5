//! Orders and packs of operators who mean harm.

use std::fs;

use anyhow::{Result, ensure};
use tonic::Code;
use upshift_proto::v1::{
    DrainRequest, PackFile, PauseRequest, RollbackRequest, StatusRequest, SubmitOrder, SubmitPart,
    WatchRequest, submit_part::Part,
};

use crate::rig::{FORGED, Rig, refused};

const RUN: &str = "01900000-0000-7000-8000-000000000000";
/// Refusals of what is asked for, whichever way.
const REFUSED: &[Code] = &[
    Code::InvalidArgument,
    Code::FailedPrecondition,
    Code::Aborted,
];

fn order() -> SubmitOrder {
    SubmitOrder {
        run: RUN.to_owned(),
        database: "erp".to_owned(),
        options: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn file(path: &str, content: &[u8]) -> Part {
    Part::File(PackFile {
        path: path.to_owned(),
        content: content.to_vec(),
    })
}

/// What comes of a submission of these parts.
async fn submit(rig: &Rig, from: u8, parts: Vec<Part>) -> Result<(), tonic::Status> {
    let operator = rig.operator(from).await;
    let mut operator = operator.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let parts = parts
        .into_iter()
        .map(|part| SubmitPart { part: Some(part) });
    let parts = tokio_stream::iter(parts.collect::<Vec<_>>());
    operator.submit(parts).await.map(|_| ())
}

fn wrong_orders() -> Vec<(&'static str, Vec<Part>)> {
    let ordered = |change: &dyn Fn(&mut SubmitOrder)| {
        let mut order = order();
        change(&mut order);
        vec![Part::Order(order)]
    };
    let files = || file("pack.toml", b"name = \"x\"");
    vec![
        ("nothing", vec![]),
        ("a file without an order", vec![files()]),
        (
            "two orders",
            vec![Part::Order(order()), files(), Part::Order(order())],
        ),
        ("an order without a pack", vec![Part::Order(order())]),
        ("no run", ordered(&|o| o.run.clear())),
        (
            "a path for a run",
            ordered(&|o| o.run = "../../x".to_owned()),
        ),
        (
            "a run of two lines",
            ordered(&|o| o.run = FORGED.to_owned()),
        ),
        ("no version", ordered(&|o| o.version.clear())),
        (
            "another version",
            ordered(&|o| o.version = format!("0.0.1{FORGED}")),
        ),
        ("no database", ordered(&|o| o.database.clear())),
        (
            "an unknown database",
            ordered(&|o| o.database = "other".to_owned()),
        ),
        (
            "a database of two lines",
            ordered(&|o| o.database = FORGED.to_owned()),
        ),
        (
            "a path for a database",
            ordered(&|o| o.database = "../erp".to_owned()),
        ),
        (
            "a long database",
            ordered(&|o| o.database = "x".repeat(100_000)),
        ),
        (
            "a URL for a database",
            ordered(&|o| {
                o.database = "postgres://upshift:s3cret-password@127.0.0.1/erp".to_owned()
            }),
        ),
        (
            "a connection string for a database",
            ordered(&|o| o.database = "host=127.0.0.1 password=s3cret-password".to_owned()),
        ),
        (
            "many options",
            ordered(&|o| o.options = vec!["--yes".to_owned(); 10_000]),
        ),
        (
            "a long option",
            ordered(&|o| o.options = vec!["x".repeat(100_000)]),
        ),
    ]
}

#[tokio::test]
async fn orders_that_are_none_are_refused() -> Result<()> {
    let mut rig = Rig::new("").await?;
    for (what, parts) in wrong_orders() {
        let status = refused(submit(&rig, 2, parts).await, REFUSED, what)?;
        ensure!(!status.message().contains("s3cret"), "{what}: {status:?}");
    }
    rig.is_well("wrong orders").await?;
    let elsewhere = rig.cluster.folder().join("elsewhere").display().to_string();
    for options in [
        vec!["--database", "other"],
        vec!["--database=postgres://upshift:s3cret-password@127.0.0.1/erp"],
        vec!["-d", "erp"],
        vec!["--config", "/etc/passwd"],
        vec!["--config=/etc/passwd"],
        vec!["--group", "/etc/passwd"],
        vec!["--group=/etc/passwd"],
        vec!["--json"],
        vec!["--help"],
        vec!["-h"],
        vec!["--version"],
        vec!["/etc"],
        vec!["--", "/etc"],
        vec!["--"],
        vec!["@/etc/passwd"],
        vec!["--unit-rows", "0"],
        vec!["--unit-rows", "99999999999999999999"],
        vec!["--workers", "4294967295"],
        vec!["--trace", &elsewhere],
        vec![FORGED],
        vec![""],
    ] {
        let order = SubmitOrder {
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..order()
        };
        // A pack that is none: whatever the options do, nothing begins.
        let parts = vec![Part::Order(order), file("pack.toml", b"name = ")];
        let what = format!("{options:?}");
        let status = refused(submit(&rig, 3, parts).await, REFUSED, &what)?;
        let leaks = ["s3cret", "root:", "Usage: upshift"];
        ensure!(
            !leaks.iter().any(|leak| status.message().contains(leak)),
            "{what}: {status:?}"
        );
    }
    ensure!(!fs::exists(&elsewhere)?, "nothing is written elsewhere");
    rig.is_well("wrong options").await?;
    wishes(&rig).await?;
    rig.is_well("wrong wishes").await?;
    let said = rig.end().await?;
    ensure!(
        said.contains("\"granted\":false"),
        "refusals are audited: {said}"
    );
    Ok(())
}

/// What is wished of runs and workers that do not exist, in whatever words.
async fn wishes(rig: &Rig) -> Result<()> {
    let mut operator = rig.operator(4).await?;
    let any = &[Code::InvalidArgument, Code::FailedPrecondition];
    for run in [RUN, "", "x", FORGED, "../../x"] {
        for reason in [
            FORGED.to_owned(),
            "x".repeat(100_000),
            "month end".to_owned(),
        ] {
            let pause = PauseRequest {
                run: run.to_owned(),
                reason: reason.clone(),
            };
            refused(operator.pause(pause).await, any, run)?;
            let rollback = RollbackRequest {
                run: run.to_owned(),
                to: reason,
                force: true,
            };
            refused(operator.rollback(rollback).await, any, run)?;
        }
    }
    let drain = DrainRequest { worker: u32::MAX };
    refused(operator.drain(drain).await, any, "no such worker")?;
    for run in ["x", FORGED, RUN] {
        let run = run.to_owned();
        refused(operator.status(StatusRequest { run }).await, any, "status")?;
    }
    let run = FORGED.to_owned();
    refused(
        operator.watch(WatchRequest { run }).await.map(|_| ()),
        any,
        "watch",
    )?;
    Ok(())
}

#[tokio::test]
async fn packs_stay_where_they_are_put() -> Result<()> {
    let mut rig = Rig::new("max_pack = \"1MB\"").await?;
    let long = "x".repeat(2_000);
    let deep = "x/".repeat(40) + "x";
    let paths = [
        "../x",
        "a/../../x",
        "/tmp/upshift-hostile",
        "//x",
        "a//b",
        "./x",
        ".",
        "..",
        "",
        "a/",
        "a\0b",
        "..\\x",
        "C:\\x",
        "a\\..\\..\\x",
        FORGED,
        &long,
        &deep,
    ];
    for path in paths {
        let parts = vec![Part::Order(order()), file(path, b"x")];
        refused(submit(&rig, 2, parts).await, &[Code::InvalidArgument], path)?;
    }
    ensure!(!fs::exists("/tmp/upshift-hostile")?, "it was let out");
    ensure!(
        !fs::exists(rig.cluster.folder().join("x"))?,
        "it was let out"
    );
    for (what, paths) in [
        ("the same twice", ["a", "b", "a"]),
        ("a file that is a folder", ["a", "b", "a/c"]),
        ("a folder that is a file", ["a/b", "c", "a"]),
    ] {
        let files = paths.map(|path| file(path, b"/etc/passwd"));
        let parts = [vec![Part::Order(order())], files.into()].concat();
        refused(submit(&rig, 3, parts).await, &[Code::InvalidArgument], what)?;
    }
    rig.is_well("paths").await?;
    rig.end().await?;
    Ok(())
}

#[tokio::test]
async fn packs_have_an_end() -> Result<()> {
    let mut rig = Rig::new("max_pack = \"1MB\"").await?;
    let large = |count: usize, part: &dyn Fn(usize) -> Part| {
        let parts = (0..count).map(part);
        [Part::Order(order())]
            .into_iter()
            .chain(parts)
            .collect::<Vec<_>>()
    };
    let megabyte = vec![b'x'; 1 << 18];
    let many = "x/".repeat(15);
    for (what, parts) in [
        ("a large file", large(8, &|_| file("a", &megabyte))),
        (
            "large files",
            large(8, &|i| file(&i.to_string(), &megabyte)),
        ),
        (
            "many files",
            large(40_000, &|i| file(&format!("{many}{i}"), b"")),
        ),
        (
            "a file without an end",
            large(8_000, &|_| file(&"a".repeat(200), b"")),
        ),
    ] {
        refused(
            submit(&rig, 4, parts).await,
            &[Code::ResourceExhausted],
            what,
        )?;
        rig.is_well(what).await?;
    }
    rig.end().await?;
    Ok(())
}
