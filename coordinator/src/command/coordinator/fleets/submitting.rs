//! Fleets that operators submit: looked through, kept in the cluster's store, and from there conducted.

use std::sync::Arc;

use upshift_shared::{
    clock,
    fleet::{FleetFile, MembersSource},
    ids::RunId,
    telemetry::trace::{Key, Parent, Span, Stage},
};

use super::{
    super::{
        super::{
            Failure, compiling,
            fleet::{Given, run_arguments},
            host::Host,
        },
        leader::Leading,
    },
    Fleets,
    known::Known,
    submission::Submission,
};
use crate::{
    coordination::{FleetEntry, GivenOrder},
    fleet::{FleetOrder, FleetPlace},
    server::{FleetUpload, Identity},
};

/// So many fleets are known, those that have ended among them.
const FLEETS: usize = 64;
/// And so much of the store do they take.
const BYTES: u64 = 256 * 1024 * 1024;

impl Leading {
    /// Keeps a fleet and begins to conduct it, as a part of the trace that the order is part of; what the
    /// operator is told.
    pub(in super::super) async fn submitted_fleet(
        self: &Arc<Self>,
        by: &Identity,
        upload: FleetUpload,
        trace: &Parent,
    ) -> Result<String, Failure> {
        let mut span = Span::begin(Stage::Accept, trace);
        let trace = span.context().traceparent();
        let accepted = Box::pin(self.accept_fleet(by, upload, trace)).await;
        match &accepted {
            Ok((fleet, _)) => {
                span.text(Key::Fleet, fleet);
                span.end("accepted", false);
            }
            Err(_) => span.end("refused", true),
        }
        accepted.map(|(_, told)| told)
    }

    /// The fleet's name, and what the operator is told.
    async fn accept_fleet(
        self: &Arc<Self>,
        by: &Identity,
        upload: FleetUpload,
        traceparent: Option<String>,
    ) -> Result<(String, String), Failure> {
        let head = upload.head.clone();
        let id: RunId = head
            .submission
            .parse()
            .map_err(|_| Failure::usage("the submission's number is no id"))?;
        let (order, bytes) = self.looked_through(upload)?;
        let _turn = self.fleets.submitting.lock().await;
        let there = self.fleets.known().get(&order.name).cloned();
        let stands = there.as_ref().map(|known| known.entry());
        let under_way = format!(
            "fleet {} is under way; how it goes: upshift fleet status {} --watch",
            order.name, head.file
        );
        match &stands {
            Some(stands) if stands.submission == id => return Ok((order.name, under_way)),
            Some(stands) if stands.under_way => {
                return Err(Failure::refused(format!(
                    "fleet {} is under way already: wait until it has ended, or abort it",
                    order.name
                )));
            }
            _ => {}
        }
        self.fleets
            .make_room(&order.name, bytes.len() as u64)
            .await?;
        let entry = FleetEntry {
            traceparent,
            ..entry((id, bytes.len() as u64), (by, &order), stands.as_ref())
        };
        let given = Given {
            options: head.options,
            anew: head.anew,
        };
        let entry = begun(entry, &given, head.yes.then_some(by));
        let fits = entry.place.fits(&order);
        fits.map_err(|refusal| Failure::refused(refusal.to_string()))?;
        entry.fits()?;
        Submission::keep(&bytes, id, &*self.fleets.coordination).await?;
        let known = match there {
            Some(known) => {
                let changed = known.change(|stands| {
                    *stands = entry;
                    Ok(())
                });
                changed.await?;
                known.show(None);
                known
            }
            None => {
                self.fleets.coordination.put_fleet(&entry).await?;
                let known = Known::new(Arc::clone(&self.fleets.coordination), entry);
                let known_too = Arc::clone(&known);
                self.fleets.known().insert(order.name.clone(), known_too);
                known
            }
        };
        self.conduct_fleet(&known);
        if let Some(before) = stands {
            // Where that fails the next leader does it.
            let stands = known.look(|entry| entry.notes);
            let notes = before.notes.filter(|notes| stands != Some(*notes));
            for gone in [Some(before.submission), notes].into_iter().flatten() {
                if let Err(error) = self.fleets.coordination.forget_submission(gone).await {
                    tracing::warn!(%error, "an old submission of a fleet is still kept");
                }
            }
        }
        Ok((order.name, under_way))
    }

    /// The order, and all of it as it is kept, where it may be carried out.
    fn looked_through(
        self: &Arc<Self>,
        upload: FleetUpload,
    ) -> Result<(FleetFile, Vec<u8>), Failure> {
        // What is wrong with the pack its operator is told, with file and line.
        tokio::task::block_in_place(|| compiling::load(upload.pack.folder()))?;
        let submission = tokio::task::block_in_place(|| Submission::of(upload))?;
        let order = submission.order()?;
        self.refuse_hooks(&order)?;
        self.refuse_unknown(&order)?;
        self.refuse_options(&submission.options)?;
        Ok((order, submission.to_keep()?))
    }

    /// Hooks are programs that an operator names, and that this machine runs.
    pub(super) fn refuse_hooks(&self, order: &FleetFile) -> Result<(), Failure> {
        let hooks = &order.hooks;
        if self.hooks || (hooks.before.is_none() && hooks.after.is_none()) {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "fleet {} has hooks, and this coordinator runs no programs that operators name: leave [hooks] \
             out, or say hooks = true in [cluster] of the configuration of all coordinators",
            order.name
        )))
    }

    /// Databases are reached by entries of this machine's configuration.
    pub(super) fn refuse_unknown(&self, order: &FleetFile) -> Result<(), Failure> {
        let config = tokio::task::block_in_place(|| self.config())?;
        let mut entries = Vec::new();
        for members in &order.members {
            match &members.source {
                MembersSource::Listed(names) => {
                    entries.extend(names.iter().map(|name| name.entry.as_str()));
                }
                MembersSource::Like { servers, .. } => {
                    entries.extend(servers.iter().map(String::as_str));
                }
                MembersSource::Query { server, .. } => entries.push(server),
                // They were put into the order.
                MembersSource::File { .. } => {}
            }
        }
        let unknown = entries
            .into_iter()
            .find(|entry| config.place(entry).is_none());
        let Some(unknown) = unknown else {
            return Ok(());
        };
        // What is no plain name may be a connection string, with a password.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let named = match unknown.chars().all(plain) {
            true => format!("\"{unknown}\" "),
            false => String::new(),
        };
        Err(Failure::usage(format!(
            "a member is reached by an entry {named}that is no [databases.NAME] of the coordinator's \
             configuration: members are named by entries that coordinators and workers know",
        )))
    }

    pub(super) fn refuse_options(self: &Arc<Self>, options: &[String]) -> Result<(), Failure> {
        if options.iter().any(|option| option.contains("://")) {
            return Err(Failure::usage(
                "an option holds a URL: databases of a cluster are named by entries of the coordinator's \
                 configuration",
            ));
        }
        let host = Host::Cluster(Box::new(self.host(false)));
        let arguments = run_arguments(options, "pack".as_ref(), host)?;
        arguments.refuse_values()
    }
}

/// What is written of a fleet that is submitted.
fn entry(
    (submission, bytes): (RunId, u64),
    (by, order): (&Identity, &FleetFile),
    before: Option<&FleetEntry>,
) -> FleetEntry {
    let waves = order.waves.iter().map(|wave| wave.name.clone());
    FleetEntry {
        fleet: order.name.clone(),
        submission,
        bytes,
        by: by.name.clone(),
        at: clock::since_epoch().as_secs(),
        waves: waves.collect(),
        place: before.map_or_else(FleetPlace::default, |before| before.place.clone()),
        orders: Vec::new(),
        taken: Vec::new(),
        under_way: true,
        only_orders: false,
        standing: String::new(),
        states: [].into(),
        failed: 0,
        failures: before
            .map(|before| before.failures.clone())
            .unwrap_or_default(),
        message: String::new(),
        traceparent: None,
        carried: before
            .map(|before| before.carried.clone())
            .unwrap_or_default(),
        notes: before.and_then(|before| before.notes),
        closed: false,
    }
}

/// The same with what is said at its beginning.
fn begun(mut entry: FleetEntry, given: &Given, approved: Option<&Identity>) -> FleetEntry {
    given.heed(&mut entry.place);
    if given.anew {
        entry.failures.clear();
        entry.carried.clear();
        // What hooks said before is gone with them.
        entry.notes = None;
    }
    if let Some(by) = approved {
        entry.orders.push(GivenOrder {
            id: RunId::generate(),
            order: FleetOrder::Approve { wave: None },
            by: by.name.clone(),
        });
    }
    entry
}

impl Fleets {
    /// Forgets the oldest of the fleets that nothing can be done with any more, as far as it takes for one
    /// more of that size.
    async fn make_room(&self, fleet: &str, bytes: u64) -> Result<(), Failure> {
        loop {
            let mut others: Vec<FleetEntry> =
                self.all().iter().map(|known| known.entry()).collect();
            others.retain(|entry| entry.fleet != fleet);
            let taken: u64 = others.iter().map(|entry| entry.bytes).sum();
            if others.len() < FLEETS && taken.saturating_add(bytes) <= BYTES {
                return Ok(());
            }
            let closed = others
                .iter()
                .filter(|entry| entry.closed && !entry.under_way);
            let Some(oldest) = closed.min_by_key(|entry| entry.at) else {
                return Err(Failure::refused(format!(
                    "the cluster keeps {} fleets of {taken} bytes, and {FLEETS} of {BYTES} bytes at the most; \
                     none of them can be forgotten: commit their databases, or take them back",
                    others.len()
                )));
            };
            self.coordination.forget_fleet(&oldest.fleet).await?;
            for gone in [Some(oldest.submission), oldest.notes]
                .into_iter()
                .flatten()
            {
                self.coordination.forget_submission(gone).await?;
            }
            self.known().remove(&oldest.fleet);
        }
    }
}
