//! Coordination by etcd: what is held lives with the lease of the process that holds it; whoever leads
//! writes only while it does (every write of a leader compares the revision at which it began to lead);
//! a request whose answer was lost is sent again and recognised by its token.
//!
//! A process has one lease and at most one stream for it, however much it holds.

mod claim;
mod held;
mod keys;
mod lease;
mod patience;
mod reading;
mod settings;
mod values;
mod watching;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Identity, KeyValue,
    PutOptions, TlsOptions, Txn, TxnOp, TxnResponse,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::sleep,
};
use upshift_shared::{Error, Result, clock::Stopwatch, ids::RunId};

use super::{Coordination, FleetEntry, Held, Locked, Member, RunEntry, Topic, background};
use claim::Claim;
use held::HeldKey;
use keys::{FORMAT, Keys, Record};
use lease::Lease;
use patience::{Patience, is_unknown};
use values::{decode, encode, end_of, first, pairs, revision};
use watching::Watching;

/// A request that is not answered by then is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a connection asks whether its member still answers, where a stream waits. etcd ends the
/// connection of a client that does so more often than every five seconds (`--grpc-keepalive-min-time`)
/// or where no stream waits.
const PROBE: Duration = Duration::from_secs(6);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Whoever drops a lock, instead of releasing it, deletes it from the side.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How often a lock that is taken is asked for within that time.
const LOCK_AGAIN: Duration = Duration::from_millis(150);
/// A candidate looks so often even if the watch is silent.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So often a write is tried that finds that its key was written by somebody else meanwhile.
const WRITE_ATTEMPTS: u32 = 10;
/// Keys that are read at once.
const PAGE: usize = 1_000;
/// The same of those that may have a megabyte: an answer may have 4 MiB.
const LARGE_PAGE: usize = 3;
/// Between attempts to reach it at all.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// How to reach etcd.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://` or `https://` addresses of the members; any of them may be down.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// How long what a process holds outlives it; a standby takes over soon after. At least a second.
    pub lease: Duration,
    /// Name and password.
    pub user: Option<(String, String)>,
    /// For `https://`.
    pub tls: Option<EtcdTls>,
}

/// PEM texts.
#[derive(Clone)]
pub struct EtcdTls {
    /// Who signed the certificates of the members.
    pub authority: String,
    /// Certificate and key of this client.
    pub identity: Option<(String, String)>,
}

/// Coordination by etcd. Clones are clients of their own: each may lead.
pub struct Etcd {
    client: Arc<Client>,
    keys: Keys,
    lease_time: Duration,
    lease: Mutex<Option<Arc<Lease>>>,
    /// The revision at which this client began to lead, which fences its writes; kept when it no longer
    /// does, so that a write under way is not taken for one of somebody who never led. 0 where it never did.
    leads_since: AtomicI64,
    /// The newest revision of the store that this client has heard of.
    seen: AtomicI64,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").finish_non_exhaustive()
    }
}

impl Clone for Etcd {
    fn clone(&self) -> Self {
        Self {
            client: Arc::clone(&self.client),
            keys: self.keys.clone(),
            lease_time: self.lease_time,
            lease: Mutex::default(),
            leads_since: AtomicI64::default(),
            seen: AtomicI64::default(),
        }
    }
}

/// What became of a request for a key.
enum Acquired {
    Ours(HeldKey),
    /// Who has it.
    Taken(Member),
}

impl Etcd {
    /// Connects, and looks whether the layout of keys is one that this program knows.
    ///
    /// # Errors
    /// When no member answers, or a newer program wrote the store.
    pub async fn connect(options: &EtcdOptions) -> Result<Self> {
        let mut connect = ConnectOptions::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(PROBE, PROBE_TIMEOUT)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        if let Some(tls) = &options.tls {
            connect = connect.with_tls(tls_options(tls));
        }
        let what = format!("connecting to etcd at {}", options.endpoints.join(", "));
        let mut patience = Patience::default();
        let client = loop {
            match Client::connect(&options.endpoints, Some(connect.clone())).await {
                Ok(client) => break client,
                // With a user, this authenticates.
                Err(error) => patience.bear(None, &what, error).await?,
            }
        };
        let etcd = Self {
            client: Arc::new(client),
            keys: Keys::below(&options.prefix),
            lease_time: options.lease.max(Duration::from_secs(1)),
            lease: Mutex::default(),
            leads_since: AtomicI64::default(),
            seen: AtomicI64::default(),
        };
        etcd.expect_format(&what).await?;
        Ok(etcd)
    }

    /// The same as often as it takes, for somebody who has nothing to do without it.
    ///
    /// # Errors
    /// When a newer program wrote the store.
    pub async fn connect_in_time(options: &EtcdOptions) -> Result<Self> {
        loop {
            match Box::pin(Self::connect(options)).await {
                Err(error @ Error::Io { .. }) => {
                    tracing::warn!(%error, "etcd cannot be reached");
                    sleep(CONNECT_AGAIN).await;
                }
                done => return done,
            }
        }
    }

    async fn expect_format(&self, what: &str) -> Result<()> {
        let key = self.keys.format();
        let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let txn = Txn::new()
            .when([absent])
            .and_then([TxnOp::put(key.clone(), FORMAT.to_string(), None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.txn(txn, what).await?;
        let Some(found) = first(&answer) else {
            return Ok(());
        };
        let format: u32 = decode(&found)?;
        if format > FORMAT {
            return Err(Error::Format(format!(
                "etcd holds keys of format {format}, this program knows up to {FORMAT}: use a newer one"
            )));
        }
        Ok(())
    }

    /// Sends a transaction, again where it was not answered: each of ours may be done twice.
    async fn txn(&self, txn: Txn, what: &str) -> Result<TxnResponse> {
        self.txn_counted(txn, what, &mut 0).await
    }

    /// The same; counts the copies before they are sent.
    async fn txn_counted(&self, txn: Txn, what: &str, copies: &mut u32) -> Result<TxnResponse> {
        let mut patience = Patience::default();
        loop {
            *copies += 1;
            match self.client.kv_client().txn(txn.clone()).await {
                Ok(answer) => {
                    self.seen.fetch_max(revision(&answer), Ordering::AcqRel);
                    return Ok(answer);
                }
                Err(error) => {
                    patience.bear(Some(&self.client), what, error).await?;
                }
            }
        }
    }

    /// What a write of this client is conditional on.
    fn while_leading(&self) -> Option<Compare> {
        let since = self.leads_since.load(Ordering::Acquire);
        let leader = self.keys.leader();
        (since != 0).then(|| Compare::create_revision(leader, CompareOp::Equal, since))
    }

    /// The lease of this client; another where the last one was lost.
    async fn lease(&self) -> Result<Arc<Lease>> {
        let mut lease = self.lease.lock().await;
        match lease.as_ref().filter(|lease| lease.holds()) {
            Some(lease) => Ok(Arc::clone(lease)),
            None => {
                let granted = Lease::grant(&self.client, self.lease_time).await?;
                *lease = Some(Arc::clone(&granted));
                Ok(granted)
            }
        }
    }

    /// Writes a key that nobody has, to live with the lease.
    async fn acquire(&self, key: String, member: &Member) -> Result<Acquired> {
        let lease = self.lease().await?;
        match self.acquire_with(&lease, &key, member).await {
            // etcd has ended it before its time, which it tells nobody.
            Err(error) if is_unknown(&error) => {
                let mut current = self.lease.lock().await;
                if current.as_ref().is_some_and(|it| it.id == lease.id) {
                    *current = None;
                }
                drop(current);
                let other = self.lease().await?;
                self.acquire_with(&other, &key, member).await
            }
            done => done,
        }
    }

    async fn acquire_with(
        &self,
        lease: &Arc<Lease>,
        key: &str,
        member: &Member,
    ) -> Result<Acquired> {
        let record = Record {
            member: member.clone(),
            token: RunId::generate().to_string(),
        };
        let spent = self.keys.spent(&record.token);
        // To lead is not conditional on having led.
        let leads = self.while_leading().filter(|_| key != self.keys.leader());
        let with_lease = PutOptions::new().with_lease(lease.id);
        let put = TxnOp::put(key, encode(&record), Some(with_lease));
        let get = TxnOp::get(key, None);
        // From here on it may be granted, whether this call ends or is given up.
        let mut claim = Claim::new(
            &self.client,
            key.to_owned(),
            spent,
            encode(&record),
            Arc::clone(lease),
        );
        let txn = Txn::new()
            .when(
                claim
                    .conditions()
                    .into_iter()
                    .chain(leads)
                    .collect::<Vec<_>>(),
            )
            .and_then([put])
            .or_else([get]);
        let answer = self
            .txn_counted(txn, "asking for a key", claim.copies())
            .await?;
        if answer.succeeded() {
            return Ok(Acquired::Ours(claim.granted(revision(&answer))));
        }
        let Some(found) = first(&answer) else {
            claim.refused();
            return Err(Error::NotLeading);
        };
        let there: Record = decode(&found)?;
        if there.token == record.token {
            // An earlier copy had been carried out, and its answer lost.
            return Ok(Acquired::Ours(claim.granted(found.create_revision())));
        }
        claim.refused();
        Ok(Acquired::Taken(there.member))
    }

    /// Gives a key of the index that value.
    async fn put(&self, key: String, value: Vec<u8>) -> Result<()> {
        let put = TxnOp::put(key.clone(), value.clone(), None);
        let is_written = |found: Option<&KeyValue>| found.is_some_and(|pair| pair.value() == value);
        self.write(key, put, is_written).await
    }

    /// Writes a key of the index, unless it was written after this client has last seen the store: an
    /// earlier write of ours, of which a copy is carried out late, must not undo a later one.
    async fn write(
        &self,
        key: String,
        write: TxnOp,
        is_written: impl Fn(Option<&KeyValue>) -> bool,
    ) -> Result<()> {
        for _ in 0..WRITE_ATTEMPTS {
            let seen = self.seen.load(Ordering::Acquire);
            let unchanged = Compare::mod_revision(key.clone(), CompareOp::Less, seen + 1);
            let conditions: Vec<Compare> = std::iter::once(unchanged)
                .chain(self.while_leading())
                .collect();
            let txn = Txn::new()
                .when(conditions)
                .and_then([write.clone()])
                .or_else([
                    TxnOp::get(self.keys.leader(), None),
                    TxnOp::get(key.clone(), None),
                ]);
            let answer = self
                .txn(txn, "writing what the cluster has of runs and fleets")
                .await?;
            if answer.succeeded() {
                return Ok(());
            }
            let found = pairs(&answer);
            let at = |key: &str| found.iter().find(|pair| pair.key() == key.as_bytes());
            let since = self.leads_since.load(Ordering::Acquire);
            let leader = at(&self.keys.leader()).map_or(0, KeyValue::create_revision);
            if since != 0 && leader != since {
                return Err(Error::NotLeading);
            }
            if is_written(at(&key)) {
                return Ok(());
            }
        }
        Err(Error::Refused(
            "others write the same run or fleet at the same time: only who leads may".to_owned(),
        ))
    }
}

#[async_trait]
impl Coordination for Etcd {
    async fn campaign(&self, member: &Member) -> Result<Box<dyn Held>> {
        let mut changes = self.watch(Topic::Leader).await?;
        loop {
            match self.acquire(self.keys.leader(), member).await? {
                Acquired::Ours(key) => {
                    self.leads_since.store(key.created(), Ordering::Release);
                    return Ok(Box::new(key));
                }
                Acquired::Taken(_) => {
                    // A silent watch is no reason to wait for ever.
                    let _changed = tokio::time::timeout(LOOK_AGAIN, changes.recv()).await;
                }
            }
        }
    }

    async fn leader(&self) -> Result<Option<Member>> {
        let found = self.get(self.keys.leader(), None).await?;
        let record: Option<Record> = found.first().map(decode).transpose()?;
        Ok(record.map(|record| record.member))
    }

    async fn lock_database(&self, database: &str, holder: &Member) -> Result<Locked> {
        let begun = Stopwatch::start();
        loop {
            match self.acquire(self.keys.lock(database), holder).await? {
                Acquired::Ours(key) => return Ok(Locked::Granted(Box::new(key))),
                Acquired::Taken(by) if begun.elapsed() > LOCK_PATIENCE => {
                    return Ok(Locked::Taken { by: by.name });
                }
                Acquired::Taken(_) => sleep(LOCK_AGAIN).await,
            }
        }
    }

    async fn register_worker(&self, worker: &Member) -> Result<Box<dyn Held>> {
        let number = RunId::generate().to_string();
        match self.acquire(self.keys.worker(&number), worker).await? {
            Acquired::Ours(key) => Ok(Box::new(key)),
            Acquired::Taken(_) => Err(Error::Refused(
                "two workers have drawn the same number: try again".to_owned(),
            )),
        }
    }

    async fn workers(&self) -> Result<Vec<Member>> {
        let records: Vec<Record> = self.all(self.keys.workers()).await?;
        Ok(records.into_iter().map(|record| record.member).collect())
    }

    async fn decide(&self, question: &str, answer: &str) -> Result<String> {
        let key = self.keys.decision(question);
        let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let conditions: Vec<Compare> = std::iter::once(absent)
            .chain(self.while_leading())
            .collect();
        let txn = Txn::new()
            .when(conditions)
            .and_then([TxnOp::put(key.clone(), encode(answer), None)])
            .or_else([TxnOp::get(key, None)]);
        let response = self.txn(txn, "deciding").await?;
        if response.succeeded() {
            return Ok(answer.to_owned());
        }
        match first(&response) {
            Some(found) => decode(&found),
            None => Err(Error::NotLeading),
        }
    }

    async fn decision(&self, question: &str) -> Result<Option<String>> {
        let found = self.get(self.keys.decision(question), None).await?;
        found.first().map(decode).transpose()
    }

    async fn put_run(&self, entry: &RunEntry) -> Result<()> {
        self.put(self.keys.run(entry.run), encode(entry)).await
    }

    async fn forget_run(&self, run: RunId) -> Result<()> {
        let key = self.keys.run(run);
        let delete = TxnOp::delete(key.clone(), None);
        self.write(key, delete, |found| found.is_none()).await
    }

    async fn runs(&self) -> Result<Vec<RunEntry>> {
        self.all(self.keys.runs()).await
    }

    async fn put_fleet(&self, entry: &FleetEntry) -> Result<()> {
        entry.fits()?;
        self.put(self.keys.fleet(&entry.fleet), encode(entry)).await
    }

    async fn forget_fleet(&self, fleet: &str) -> Result<()> {
        let key = self.keys.fleet(fleet);
        let delete = TxnOp::delete(key.clone(), None);
        self.write(key, delete, |found| found.is_none()).await
    }

    async fn fleets(&self) -> Result<Vec<FleetEntry>> {
        let found = self.below(self.keys.fleets(), (LARGE_PAGE, false)).await?;
        found.iter().map(decode).collect()
    }

    async fn put_submission(&self, submission: RunId, part: u32, bytes: &[u8]) -> Result<()> {
        let key = self.keys.part(submission, part);
        self.put(key, bytes.to_vec()).await
    }

    async fn submission(&self, submission: RunId) -> Result<Vec<Vec<u8>>> {
        let parts = self.keys.parts(submission);
        let found = self.below(parts, (LARGE_PAGE, false)).await?;
        Ok(found.iter().map(|part| part.value().to_vec()).collect())
    }

    async fn submissions(&self) -> Result<Vec<RunId>> {
        let found = self.below(self.keys.submissions(), (PAGE, true)).await?;
        let of = |pair: &KeyValue| {
            self.keys
                .submission_of(&String::from_utf8_lossy(pair.key()))
        };
        let mut all: Vec<RunId> = found.iter().filter_map(of).collect();
        all.dedup();
        Ok(all)
    }

    async fn forget_submission(&self, submission: RunId) -> Result<()> {
        let parts = self.keys.parts(submission);
        let all = DeleteOptions::new().with_range(end_of(&parts));
        let delete = TxnOp::delete(parts.clone(), Some(all));
        // The first key of the range is none itself: nothing but the lead is compared.
        self.write(parts, delete, |_| false).await
    }

    async fn watch(&self, topic: Topic) -> Result<mpsc::Receiver<()>> {
        // From the revision of now on, so that nothing is missed until the stream is open.
        let txn = Txn::new().and_then([TxnOp::get(self.keys.format(), None)]);
        let now = self.txn(txn, "opening a watch").await?;
        let (tell, receiver) = mpsc::channel(1);
        let watching = Watching {
            client: Arc::clone(&self.client),
            prefix: self.keys.of_topic(topic),
            next: revision(&now) + 1,
            tell,
        };
        background::spawn(watching.go_on());
        Ok(receiver)
    }
}

fn tls_options(tls: &EtcdTls) -> TlsOptions {
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.authority));
    match &tls.identity {
        Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
        None => options,
    }
}
