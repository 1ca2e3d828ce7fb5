//! Both services over TCP: TLS with certificates of both sides, and limits for those who mean harm.
//!
//! Plain text is spoken on loopback only, or where the configuration says so in words.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig},
};
use upshift_proto::v1::{operator_server::OperatorServer, session_server::SessionServer};
use upshift_shared::{
    Error, Result,
    config::{ClusterSettings, TlsFiles},
};

use super::{OperatorService, SessionService, connection::Counted, identity::Doorman, rates::Log};

/// A message may be so large: a unit's bounds and a piece of a pack are far smaller.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Messages of workers are smaller still: the longest says what PostgreSQL said.
const WORKER_MESSAGE_BYTES: usize = 256 * 1024;
/// Headers of a request, all together.
const HEADER_BYTES: u32 = 16 * 1024;
/// Streams that one connection may have open.
const STREAMS: u32 = 64;
/// Streams that a client may open and reset before they are taken up (CVE-2023-44487).
const RESETS: usize = 20;
/// Connections, of all and of one address.
const CONNECTIONS: usize = 4_096;
const CONNECTIONS_OF_ONE: usize = 512;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection that is silent for so long is asked whether it lives, and given so long to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What listens.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<ServerTlsConfig>,
    doorman: Doorman,
}

impl Listener {
    /// Begins to listen where `[cluster]` says.
    ///
    /// # Errors
    /// Where it may not listen, or cannot.
    pub async fn bind(cluster: &ClusterSettings) -> Result<Self> {
        let Some(address) = cluster.listen else {
            return Err(Error::Config(
                "[cluster] listen is missing: where this coordinator listens, such as \
                 \"127.0.0.1:7432\""
                    .to_owned(),
            ));
        };
        let tls = match &cluster.tls {
            Some(files) => Some(server_tls(files, !cluster.tokens.is_empty())?),
            None => {
                refuse_plain(address, cluster.insecure, "listen")?;
                None
            }
        };
        let tcp = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Io {
                context: format!("listening on {address}"),
                source,
            })?;
        Ok(Self {
            tcp,
            doorman: Doorman::new(cluster.tokens.clone(), tls.is_none()),
            tls,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.tcp.local_addr().map_err(|source| Error::Io {
            context: "asking where it listens".to_owned(),
            source,
        })
    }

    /// Serves both services, health and reflection until `stop`.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(
        self,
        session: SessionService,
        operator: OperatorService,
        stop: CancellationToken,
    ) -> Result<()> {
        let failed = |error: tonic::transport::Error| Error::Io {
            context: "serving".to_owned(),
            source: io::Error::other(error),
        };
        let mut builder = Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_max_pending_accept_reset_streams(Some(RESETS))
            .http2_max_header_list_size(HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE));
        if let Some(tls) = self.tls {
            builder = builder.tls_config(tls).map_err(failed)?;
        }
        let connections = self.doorman.connections();
        let session = SessionServer::new(session).max_decoding_message_size(WORKER_MESSAGE_BYTES);
        let operator = OperatorServer::new(operator).max_decoding_message_size(MESSAGE_BYTES);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<SessionServer<SessionService>>().await;
        health
            .set_serving::<OperatorServer<OperatorService>>()
            .await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(upshift_proto::DESCRIPTORS)
            .build_v1()
            .map_err(|error| Error::Format(error.to_string()))?;
        builder
            .add_service(InterceptedService::new(session, self.doorman.clone()))
            .add_service(InterceptedService::new(operator, self.doorman.clone()))
            .add_service(InterceptedService::new(reflection, self.doorman))
            .add_service(health_service)
            .serve_with_incoming_shutdown(incoming(self.tcp, connections), stop.cancelled_owned())
            .await
            .map_err(failed)
    }
}

/// Plain text where others can listen has to be said in words. `key` names what listens.
///
/// # Errors
/// Where it is not said.
pub fn refuse_plain(address: SocketAddr, insecure: bool, key: &str) -> Result<()> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    Err(Error::Config(format!(
        "[cluster] {key} = \"{address}\" can be reached by other machines, and there is no \
         [cluster.tls]: `upshift certs` makes certificates to try it with; insecure = true allows \
         plain text"
    )))
}

/// Certificates are asked for; where there are tokens, one may do without.
fn server_tls(files: &TlsFiles, optional: bool) -> Result<ServerTlsConfig> {
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Err(Error::Config(
            "[cluster.tls] of a coordinator needs certificate and key".to_owned(),
        ));
    };
    let read = |path: &std::path::Path| {
        fs::read(path).map_err(|source| Error::Io {
            context: format!("cannot read {}", path.display()),
            source,
        })
    };
    let identity = TlsIdentity::from_pem(read(certificate)?, read(key)?);
    Ok(ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(Certificate::from_pem(read(&files.ca)?))
        .client_auth_optional(optional)
        .timeout(HANDSHAKE))
}

/// Which connections there are: by address and port of who has made them, whether somebody was let in.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<IpAddr, HashMap<u16, Arc<AtomicBool>>>>);

impl Connections {
    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, HashMap<u16, Arc<AtomicBool>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more: where it is told that somebody was let in. `None` where that would be too many.
    fn admit(&self, from: SocketAddr) -> Option<Arc<AtomicBool>> {
        let mut all = self.all();
        let sum: usize = all.values().map(HashMap::len).sum();
        let own = all.get(&from.ip()).map_or(0, HashMap::len);
        // Whoever is turned away leaves nothing behind.
        (sum < CONNECTIONS && own < CONNECTIONS_OF_ONE).then(|| {
            let let_in = Arc::new(AtomicBool::new(false));
            let of_one = all.entry(from.ip()).or_default();
            of_one.insert(from.port(), Arc::clone(&let_in));
            let_in
        })
    }

    /// Somebody who is known asks over this one.
    pub(super) fn let_in(&self, from: SocketAddr) {
        let all = self.all();
        if let Some(let_in) = all.get(&from.ip()).and_then(|own| own.get(&from.port())) {
            let_in.store(true, Ordering::Relaxed);
        }
    }

    /// It has ended. Its port may be that of another one by now.
    pub(super) fn leave(&self, from: SocketAddr, let_in: &Arc<AtomicBool>) {
        let mut all = self.all();
        if let Some(own) = all.get_mut(&from.ip()) {
            if own
                .get(&from.port())
                .is_some_and(|there| Arc::ptr_eq(there, let_in))
            {
                own.remove(&from.port());
            }
            if own.is_empty() {
                all.remove(&from.ip());
            }
        }
    }
}

/// Connections as they come, as far as there are not too many.
fn incoming(
    tcp: TcpListener,
    connections: Arc<Connections>,
) -> impl Stream<Item = io::Result<Counted>> {
    let log = Arc::new(Log::default());
    stream::unfold(tcp, |tcp| async move {
        let accepted = tcp.accept().await;
        Some((accepted, tcp))
    })
    .filter_map(move |accepted: io::Result<(TcpStream, SocketAddr)>| {
        let (connections, log) = (Arc::clone(&connections), Arc::clone(&log));
        async move {
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                // One that was gone before it was taken up, or no descriptor is left: the next one.
                Err(error) => {
                    if log.has_room() {
                        tracing::warn!(%error, "a connection could not be taken up");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return None;
                }
            };
            let Some(let_in) = connections.admit(from) else {
                if log.has_room() {
                    tracing::warn!(from = %from.ip(), "too many connections: one was turned away");
                }
                return None;
            };
            let counted = Counted::new(stream, from, (connections, let_in));
            // Without it, small messages would wait for each other.
            let _slower = counted.stream().set_nodelay(true);
            Some(Ok(counted))
        }
    })
}
