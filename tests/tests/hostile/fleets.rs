//! Fleets of operators who mean harm.

use std::fs;

use anyhow::{Result, ensure};
use tonic::Code;
use upshift_proto::v1::{
    FleetHead, FleetMembers, FleetOrderRequest, FleetPart, FleetReportRequest, FleetStatusRequest,
    ListFleetsRequest, PackFile, fleet_order_request::What, fleet_part::Part,
};

use crate::rig::{FORGED, Rig, refused};

const ID: &str = "01900000-0000-7000-8000-000000000000";
/// A pack that there is nothing wrong with.
const PACK: &[u8] = b"name = \"x\"\n[installed]\nquery = \"SELECT 'm', '1.0'\"\n";
/// Refusals of what is asked for, whichever way.
const REFUSED: &[Code] = &[
    Code::InvalidArgument,
    Code::FailedPrecondition,
    Code::ResourceExhausted,
    Code::Aborted,
];

fn head() -> FleetHead {
    FleetHead {
        submission: ID.to_owned(),
        file: "fleet.toml".to_owned(),
        options: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        yes: false,
        anew: false,
        workers: 0,
    }
}

fn piece(path: &str, content: &[u8]) -> PackFile {
    PackFile {
        path: path.to_owned(),
        content: content.to_vec(),
    }
}

/// A fleet of this order.
fn ordered(order: &str) -> Vec<Part> {
    vec![
        Part::Head(head()),
        Part::Order(piece("fleet.toml", order.as_bytes())),
        Part::Pack(piece("pack.toml", PACK)),
        Part::Pack(piece("m/module.toml", b"name = \"m\"\nversion = \"2.0\"\n")),
    ]
}

/// With these members.
fn members(members: &str) -> Vec<Part> {
    ordered(&format!("pack = \"p\"\n[[members]]\n{members}\n"))
}

/// `planned`: what it would do is asked only.
async fn submit(
    rig: &Rig,
    from: u8,
    (parts, planned): (Vec<Part>, bool),
) -> Result<(), tonic::Status> {
    let operator = rig.operator(from).await;
    let mut operator = operator.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let part = |part| FleetPart { part: Some(part) };
    let parts: Vec<FleetPart> = parts.into_iter().map(part).collect();
    if planned {
        let planned = operator.plan_fleet(tokio_stream::iter(parts)).await;
        return planned.map(|_| ());
    }
    let submitted = operator.submit_fleet(tokio_stream::iter(parts)).await;
    submitted.map(|_| ())
}

/// What their orders must not say.
fn wrong_orders() -> Vec<(&'static str, Vec<Part>)> {
    let long = format!("databases = [\"{}{FORGED}\"", "x".repeat(1 << 20));
    vec![
        ("no TOML", ordered(FORGED)),
        ("a long line that is no TOML", ordered(&long)),
        ("no members", ordered("pack = \"p\"")),
        (
            "a name that is a path",
            ordered("name = \"../x\"\npack = \"p\"\n[[members]]\ndatabases = [\"erp\"]"),
        ),
        (
            "a file of the coordinator",
            members("file = \"/etc/passwd\"\nserver = \"erp\""),
        ),
        (
            "one above",
            members("file = \"../../../etc/passwd\"\nserver = \"erp\""),
        ),
        ("an unknown entry", members("databases = [\"other\"]")),
        (
            "an unknown server",
            members("servers = [\"other\"]\nlike = [\"*\"]"),
        ),
        (
            "a server to ask that is unknown",
            members("server = \"other\"\nquery = \"SELECT 1\""),
        ),
        (
            "a URL for a member",
            members("databases = [\"postgres://upshift:s3cret-password@x/erp\"]"),
        ),
        (
            "a connection string for a server",
            members("server = \"host=x password=s3cret-password\"\ndatabases = [\"x\"]"),
        ),
        (
            "hooks",
            members(
                "databases = [\"erp\"]\n[hooks]\nbefore = { command = [\"touch\", \"/tmp/upshift-hostile-hook\"] }",
            ),
        ),
    ]
}

fn wrong_fleets() -> Vec<(&'static str, Vec<Part>)> {
    let headed = |change: &dyn Fn(&mut FleetHead)| {
        let mut parts = members("databases = [\"erp\"]");
        let mut head = head();
        change(&mut head);
        parts[0] = Part::Head(head);
        parts
    };
    let more = |part: Part| [members("databases = [\"erp\"]"), vec![part]].concat();
    let order = |path: &str, content: &[u8]| Part::Order(piece(path, content));
    vec![
        ("nothing", vec![]),
        ("an order without a head", vec![order("fleet.toml", b"")]),
        ("two heads", more(Part::Head(head()))),
        ("a head alone", vec![Part::Head(head())]),
        ("no number", headed(&|h| h.submission.clear())),
        (
            "another version",
            headed(&|h| h.version = FORGED.to_owned()),
        ),
        (
            "a file of two lines",
            headed(&|h| h.file = FORGED.to_owned()),
        ),
        (
            "a file that has not come",
            headed(&|h| h.file = "/etc/passwd".to_owned()),
        ),
        (
            "many options",
            headed(&|h| h.options = vec!["--yes".to_owned(); 10_000]),
        ),
        (
            "a group",
            headed(&|h| h.options = vec!["--group=x".to_owned()]),
        ),
        (
            "a URL",
            headed(&|h| h.options = vec!["--database=postgres://s3cret-password@x".to_owned()]),
        ),
        ("no text", more(order("more", b"\xff\xfe"))),
        (
            "an order of 5 MB",
            [
                vec![Part::Head(head())],
                vec![order("fleet.toml", &[b'#'; 1 << 20]); 5],
            ]
            .concat(),
        ),
        (
            "a pack that leads out",
            more(Part::Pack(piece("../x", b"x"))),
        ),
        (
            "a pack with a path of the system",
            more(Part::Pack(piece("/etc/upshift", b"x"))),
        ),
    ]
}

#[tokio::test]
async fn fleets_that_are_none_are_refused() -> Result<()> {
    let mut rig = Rig::new("").await?;
    for (what, parts) in wrong_fleets().into_iter().chain(wrong_orders()) {
        for planned in [false, true] {
            // Nothing is kept of a plan, so it needs none.
            if planned && what == "no number" {
                continue;
            }
            let submitted = submit(&rig, 2, (parts.clone(), planned)).await;
            let status = refused(submitted, REFUSED, what)?;
            let message = status.message();
            ensure!(
                !message.contains("root:") && !message.contains("s3cret"),
                "{what}: {status:?}"
            );
        }
    }
    ensure!(!fs::exists("/tmp/upshift-hostile-hook")?, "a hook has run");
    let listed = rig
        .operator(2)
        .await?
        .list_fleets(ListFleetsRequest {})
        .await?;
    ensure!(listed.into_inner().fleets.is_empty(), "something was kept");
    rig.is_well("wrong fleets").await?;
    rig.end().await?;
    Ok(())
}

#[tokio::test]
async fn orders_for_fleets_that_are_none_are_refused() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let mut operator = rig.operator(2).await?;
    let none = || FleetMembers::default();
    let named = |members: Vec<String>| FleetMembers { members, ..none() };
    let of = |wave: &str| FleetMembers {
        wave: wave.to_owned(),
        ..none()
    };
    let orders = [
        ("an unknown fleet", "night", ID, Some(What::Pause(true))),
        ("a path", "../leader", ID, Some(What::Abort(true))),
        ("two lines", FORGED, ID, Some(What::Resume(true))),
        ("no number", "night", "", Some(What::Resume(true))),
        ("nothing", "night", ID, None),
        (
            "a wave of two lines",
            "night",
            ID,
            Some(What::Approve(FORGED.to_owned())),
        ),
        (
            "members of two lines",
            "night",
            ID,
            Some(What::Retry(named(vec![FORGED.to_owned()]))),
        ),
        (
            "many members",
            "night",
            ID,
            Some(What::Commit(named(vec!["x".to_owned(); 20_000]))),
        ),
        (
            "a long wave",
            "night",
            ID,
            Some(What::Rollback(of(&"x".repeat(100_000)))),
        ),
    ];
    for (what, fleet, order, wanted) in orders {
        let request = FleetOrderRequest {
            fleet: fleet.to_owned(),
            order: order.to_owned(),
            what: wanted,
        };
        refused(operator.order_fleet(request).await, REFUSED, what)?;
    }
    for fleet in ["night", "", "../leader", FORGED] {
        let request = FleetStatusRequest {
            fleet: fleet.to_owned(),
            brief: false,
        };
        refused(operator.fleet_status(request).await, REFUSED, fleet)?;
        let request = FleetReportRequest {
            fleet: fleet.to_owned(),
        };
        refused(operator.fleet_report(request).await, REFUSED, fleet)?;
    }
    rig.is_well("wrong orders for fleets").await?;
    rig.end().await?;
    Ok(())
}
