//! A coordinator that is attacked, and those who speak to it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};
use upshift_proto::v1::{
    StatusRequest, WorkersRequest, operator_client::OperatorClient, session_client::SessionClient,
};
use upshift_tests::{
    cluster::{Cluster, leads},
    eventually_async,
    harness::{Database, Running, Upshift, Usage},
    small_erp,
};

/// Memory that the coordinator may have had resident at the most, whatever was sent, in MiB. A debug build
/// at rest has some 35; 48 were the most that was measured.
const MOST_MEMORY: u64 = 256;
/// Where honest people come from: limits are those of an address.
const HONEST: u8 = 250;
/// Nothing that has to happen may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// What attackers write into texts, on a line of its own where that is let through.
pub(crate) const FORGED: &str = "\n{\"audit\":\"FORGED\"}\r\n\u{1b}[2J\u{2028}FORGED";
/// What nobody may find in the coordinator's output.
pub(crate) const SECRETS: [&str; 2] = ["s3cret-token", "s3cret-password"];

/// The coordinator.
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    pub(crate) database: Database,
    pub(crate) address: SocketAddr,
    leader: Running,
}

impl Rig {
    /// One over plain text, with this in `[cluster]`.
    pub(crate) async fn new(more: &str) -> Result<Self> {
        let database = small_erp::database().await?;
        let cluster = Cluster::new(1, &[("erp", &database)], more)?;
        let coordinator = cluster.coordinator();
        let rig = Self::start(cluster, database, coordinator)?;
        rig.lets_in().await?;
        Ok(rig)
    }

    /// It says that it leads a moment before it does.
    async fn lets_in(&self) -> Result<()> {
        let operator = self.operator(HONEST).await?;
        eventually_async("somebody is let in", DEADLINE, async || {
            let answer = operator.clone().workers(WorkersRequest {}).await;
            Ok(answer.is_ok())
        })
        .await
    }

    /// The coordinator that `coordinator` starts, whose temporary files lie in a folder of the test's.
    pub(crate) fn start(
        cluster: Cluster,
        database: Database,
        coordinator: Upshift,
    ) -> Result<Self> {
        let temporary = cluster.folder().join("temporary");
        fs::create_dir_all(&temporary)?;
        let mut leader = coordinator
            .variable("TMPDIR", &temporary.display().to_string())
            .start()?;
        let mut address = None;
        leader.read_until(|line| {
            let after = line.split_once(" listens on ").map(|(_, after)| after);
            address = after.and_then(|after| after.split(',').next()?.parse().ok());
            address.is_some()
        })?;
        leads(&mut leader)?;
        Ok(Self {
            cluster,
            database,
            address: address.context("it says where it listens")?,
            leader,
        })
    }

    /// A bare connection from that address of loopback.
    pub(crate) async fn connect(&self, from: u8) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(loopback(from), 0))?;
        Ok(socket.connect(self.address).await?)
    }

    /// A channel from that address of loopback.
    pub(crate) async fn channel(&self, from: u8) -> Result<Channel> {
        let endpoint = Endpoint::try_from(format!("http://{}", self.address))?;
        Ok(endpoint
            .local_address(Some(loopback(from)))
            .connect()
            .await?)
    }

    /// An operator who comes from there.
    pub(crate) async fn operator(&self, from: u8) -> Result<OperatorClient<Channel>> {
        Ok(OperatorClient::new(self.channel(from).await?))
    }

    /// Something like a worker that comes from there.
    pub(crate) async fn session(&self, from: u8) -> Result<SessionClient<Channel>> {
        Ok(SessionClient::new(self.channel(from).await?))
    }

    /// After an attack: it answers, it leads, and its memory is bounded.
    pub(crate) async fn is_well(&mut self, after: &str) -> Result<()> {
        ensure!(!self.leader.has_ended()?, "it has ended: {after}");
        let asked = async {
            let mut operator = self.operator(HONEST).await?;
            let status = operator.status(StatusRequest::default()).await?;
            operator.workers(WorkersRequest {}).await?;
            anyhow::Ok(status.into_inner())
        };
        let answer = timeout(DEADLINE, asked).await;
        let answer = answer
            .with_context(|| format!("an honest operator waits in vain: {after}"))?
            .with_context(|| format!("an honest operator is refused: {after}"))?;
        ensure!(!answer.leader.is_empty(), "it does not lead: {after}");
        self.memory_is_bounded(after)
    }

    /// As far as memory goes.
    pub(crate) fn memory_is_bounded(&self, after: &str) -> Result<()> {
        let memory = self.memory()?;
        println!("{memory} MiB after {after}");
        ensure!(memory < MOST_MEMORY, "{memory} MiB were resident: {after}");
        Ok(())
    }

    fn memory(&self) -> Result<u64> {
        Ok(Usage::of(self.leader.id()).peak()? >> 20)
    }

    /// In the end: it stops in order, and its output is its own. What it has said.
    pub(crate) async fn end(self) -> Result<String> {
        let leader = self.leader;
        leader.signal(Signal::SIGTERM)?;
        // Beside it, clients that are left hear that it ends.
        let ended = tokio::task::spawn_blocking(|| leader.wait()).await?;
        let outcome = ended?.expect_code(0)?;
        let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
        for line in said.lines() {
            ensure!(
                !line.contains("panicked") && !line.trim_start().starts_with("{\"audit\":\"FORGED"),
                "{line}"
            );
            ensure!(
                !line.chars().any(|c| c.is_control() && c != '\t') && !line.contains('\u{2028}'),
                "{line:?}"
            );
        }
        for secret in SECRETS {
            ensure!(!said.contains(secret), "{said}");
        }
        let left = fs::read_dir(self.cluster.folder().join("temporary"))?.count();
        ensure!(left == 0, "it has left {left} temporary files");
        Ok(said)
    }
}

pub(crate) fn loopback(from: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, from))
}

/// Writes and ends; what the other side says until it ends too, which it has to.
pub(crate) async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let (from, to) = stream.split();
    let whole = async {
        let write = async {
            let mut to = to;
            // It may close while it is written to.
            let _closed = to.write_all(bytes).await;
            let _closed = to.shutdown().await;
        };
        let mut from = from.take(1 << 20);
        // A reset is an end as well.
        let (_, _reset) = tokio::join!(write, from.read_to_end(&mut answer));
    };
    let ended = timeout(DEADLINE, whole).await;
    ensure!(ended.is_ok(), "it does not end: {answer:?}");
    Ok(answer)
}

/// Whether the other side ends in time.
pub(crate) async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 4096];
    let reads = async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} };
    timeout(DEADLINE, reads).await.is_ok()
}

/// The refusal, which has to be there and have one of these codes.
pub(crate) fn refused<T: std::fmt::Debug>(
    answer: Result<T, tonic::Status>,
    codes: &[tonic::Code],
    what: &str,
) -> Result<tonic::Status> {
    let status = match answer {
        Ok(answer) => bail!("{what}: it was granted: {answer:?}"),
        Err(status) => status,
    };
    ensure!(codes.contains(&status.code()), "{what}: {status:?}");
    let message = status.message();
    ensure!(message.len() < 4096, "{what}: {} bytes", message.len());
    let plain = !message.chars().any(|c| c.is_control() && c != '\n') && !message.contains(FORGED);
    ensure!(plain, "{what}: {message:?}");
    Ok(status)
}
