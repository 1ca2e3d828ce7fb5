//! Fleets on their way to the coordinator that leads: the order and the files that it names, which are kept
//! in memory and never looked for on disk, and the pack.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;
use tonic::{Status, Streaming};
use upshift_proto::v1::{
    FleetHead, FleetMembers, FleetOrderRequest, FleetPart, PackFile, fleet_order_request::What,
    fleet_part::Part,
};

use super::{
    operator::{OPTIONS, fits, of_our_version, parse},
    upload::Upload,
};

/// How long the next part may take.
const PART_DEADLINE: Duration = Duration::from_secs(30);
/// The order and the files that it names may be so large.
const ORDER_BYTES: usize = 4 * 1024 * 1024;
/// And so many.
const ORDER_FILES: usize = 64;
/// Databases that an order names one by one.
const NAMED: usize = 10_000;

/// A fleet that an operator submits.
#[derive(Debug)]
pub struct FleetUpload {
    /// What was said of it.
    pub head: FleetHead,
    /// fleet.toml and the files that it names, by their paths.
    pub order: BTreeMap<String, String>,
    /// The pack.
    pub pack: Upload,
}

/// Receives a fleet. `kept`: it is submitted, and not only looked at.
pub(super) async fn receive(
    parts: &mut Streaming<FleetPart>,
    max_pack_bytes: u64,
    kept: bool,
) -> Result<FleetUpload, Status> {
    let Some(Part::Head(head)) = next_part(parts).await? else {
        return Err(Status::invalid_argument(
            "the first part has to be the head",
        ));
    };
    if kept {
        parse(&head.submission)?;
    }
    of_our_version(&head.version)?;
    fits(&head.file)?;
    if head.options.len() > OPTIONS {
        let message = format!("more than {OPTIONS} options");
        return Err(Status::invalid_argument(message));
    }
    head.options.iter().try_for_each(|option| fits(option))?;
    let mut order = Texts::default();
    let mut pack = Upload::begin(max_pack_bytes)?;
    while let Some(part) = next_part(parts).await? {
        match part {
            Part::Order(piece) => order.take(&piece)?,
            Part::Pack(piece) => pack.take(&piece)?,
            Part::Head(_) => return Err(Status::invalid_argument("a second head")),
        }
    }
    Ok(FleetUpload {
        head,
        order: order.whole()?,
        pack,
    })
}

async fn next_part(parts: &mut Streaming<FleetPart>) -> Result<Option<Part>, Status> {
    let part = timeout(PART_DEADLINE, parts.message()).await;
    match part.map_err(|_| Status::deadline_exceeded("the next part of the fleet is late"))?? {
        None => Ok(None),
        Some(FleetPart { part: Some(part) }) => Ok(Some(part)),
        Some(FleetPart { part: None }) => Err(Status::invalid_argument("an empty part")),
    }
}

/// Files in pieces.
#[derive(Default)]
struct Texts {
    files: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Texts {
    fn take(&mut self, piece: &PackFile) -> Result<(), Status> {
        fits(&piece.path)?;
        self.bytes = self
            .bytes
            .saturating_add(piece.content.len() + piece.path.len());
        if self.bytes > ORDER_BYTES {
            return Err(Status::resource_exhausted(format!(
                "fleet.toml and the files that it names have more than {ORDER_BYTES} bytes: name databases \
                 by like or by a query"
            )));
        }
        let file = self.files.entry(piece.path.clone()).or_default();
        file.extend_from_slice(&piece.content);
        match self.files.len() > ORDER_FILES {
            true => Err(Status::invalid_argument(format!(
                "the order names more than {ORDER_FILES} files"
            ))),
            false => Ok(()),
        }
    }

    fn whole(self) -> Result<BTreeMap<String, String>, Status> {
        let text = |(path, bytes): (String, Vec<u8>)| match String::from_utf8(bytes) {
            Ok(text) => Ok((path, text)),
            Err(_) => Err(Status::invalid_argument(format!("{path} is not UTF-8"))),
        };
        self.files.into_iter().map(text).collect()
    }
}

/// An order for a fleet that is not out of all bounds.
pub(super) fn bounded(request: &FleetOrderRequest) -> Result<(), Status> {
    fits(&request.fleet)?;
    parse(&request.order)?;
    let members = |members: &FleetMembers| {
        fits(&members.wave)?;
        if members.members.len() > NAMED {
            return Err(Status::invalid_argument(format!(
                "more than {NAMED} databases are named: say a wave, or all"
            )));
        }
        members.members.iter().try_for_each(|name| fits(name))
    };
    match &request.what {
        None => Err(Status::invalid_argument("the order says nothing")),
        Some(What::Approve(wave)) => fits(wave),
        Some(What::Retry(which) | What::Rollback(which) | What::Commit(which)) => members(which),
        Some(What::Pause(_) | What::Resume(_) | What::Abort(_)) => Ok(()),
    }
}
