//! The way from a worker or an operator to a coordinator: TLS with a certificate of one's own, a token, and
//! deadlines.

use std::{io, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint, Uri},
};
use upshift_shared::{
    Error, Result,
    config::{ClusterSettings, Environment},
    telemetry::trace::{Parent, TRACEPARENT},
    tls::{self, causes, is_loopback},
};

/// How long a connection, its handshake included, may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection is asked so often whether it lives, and given so long to answer.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// The metadata of a request that says of what version of Upshift it comes.
pub const VERSION: &str = "upshift-version";

/// The metadata of a refusal that says by what URL the coordinator that leads is reached.
pub const LEADER: &str = "upshift-leader";

/// A connection to a coordinator that says who asks.
pub type Line = InterceptedService<Channel, Credentials>;

/// What is said with every request.
#[derive(Clone, Default)]
pub struct Credentials {
    token: Option<MetadataValue<Ascii>>,
    trace: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        let version = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
        metadata.insert(VERSION, version);
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.clone());
        }
        if let Some(trace) = &self.trace {
            metadata.insert(TRACEPARENT, trace.clone());
        }
        Ok(request)
    }
}

/// How coordinators of a cluster are reached.
#[derive(Clone)]
pub struct Link {
    tls: Option<ClientTlsConfig>,
    credentials: Credentials,
    insecure: bool,
}

impl Link {
    /// As `[cluster]` says.
    ///
    /// # Errors
    /// Where a file or the token cannot be read.
    pub fn new(cluster: &ClusterSettings, environment: &Environment) -> Result<Self> {
        let token = cluster.token(environment)?;
        let bearer = token.map(|token| {
            let mut value =
                MetadataValue::try_from(format!("Bearer {}", token.reveal())).map_err(|_| {
                    Error::Config("the token of [cluster] is no line of text".to_owned())
                })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let files = cluster.tls.as_ref();
        Ok(Self {
            tls: files.map(|files| tls::client(files, CONNECT)).transpose()?,
            credentials: Credentials {
                token: bearer.transpose()?,
                trace: None,
            },
            insecure: cluster.insecure,
        })
    }

    /// Says with every request what it belongs to.
    #[must_use]
    pub fn within(mut self, parent: &Parent) -> Self {
        let trace = parent.traceparent();
        self.credentials.trace = trace.and_then(|trace| MetadataValue::try_from(trace).ok());
        self
    }

    /// Connects to the coordinator of that URL.
    ///
    /// # Errors
    /// Where it cannot be reached, or not in the way that the configuration wants. The kind of an I/O error
    /// is `PermissionDenied` where one side has refused the certificate of the other.
    pub async fn connect(&self, url: &str) -> Result<Line> {
        let bad = |why: String| Error::Config(format!("coordinator \"{url}\": {why}"));
        let uri: Uri = url
            .parse()
            .map_err(|error| bad(format!("it is no URL: {error}")))?;
        let endpoint = self.endpoint(uri).map_err(bad)?;
        let channel = endpoint.connect().await.map_err(|error| Error::Io {
            context: format!("connecting to coordinator {url}"),
            source: if refuses_certificate(&error) {
                io::Error::new(io::ErrorKind::PermissionDenied, causes(&error))
            } else {
                io::Error::other(causes(&error))
            },
        })?;
        Ok(InterceptedService::new(channel, self.credentials.clone()))
    }

    /// Connects to the coordinator of this process, over a socket that nobody else can reach.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn local(address: &str) -> Result<Line> {
        let failed = |error: tonic::transport::Error| Error::Io {
            context: "connecting a worker to the private socket".to_owned(),
            source: io::Error::other(error),
        };
        let endpoint = Endpoint::try_from(address.to_owned()).map_err(failed)?;
        let channel = endpoint.connect().await.map_err(failed)?;
        Ok(InterceptedService::new(channel, Credentials::default()))
    }

    fn endpoint(&self, uri: Uri) -> Result<Endpoint, String> {
        let tls = match (uri.scheme_str(), &self.tls) {
            (Some("https"), Some(tls)) => Some(tls.clone()),
            (Some("https"), None) => {
                return Err(
                    "[cluster.tls] is missing: who signed its certificate, and whose is shown to it"
                        .to_owned(),
                );
            }
            (Some("http"), _) if self.insecure || is_loopback(&uri) => None,
            (Some("http"), _) => {
                return Err(
                    "plain text to another machine has to be allowed in words: insecure = true of \
                     [cluster]"
                        .to_owned(),
                );
            }
            _ => return Err("it has to begin with https:// or http://".to_owned()),
        };
        let endpoint = Channel::builder(uri)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        match tls {
            Some(tls) => endpoint.tls_config(tls).map_err(|error| causes(&error)),
            None => Ok(endpoint),
        }
    }
}

/// Whether one side has refused the certificate of the other, which trying again does not mend. With TLS 1.3 a
/// server's refusal comes when the client believes the connection made (RFC 8446, section 4.4.2.4), so the
/// first request may fail for it too.
#[must_use]
pub fn refuses_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_tls = |error: &rustls::Error| {
        use rustls::Error as Tls;
        matches!(
            error,
            Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented | Tls::AlertReceived(_)
        )
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        let within = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if error.downcast_ref().or(within).is_some_and(of_tls) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_to_other_machines_is_refused() {
        let link = |insecure| Link {
            tls: None,
            credentials: Credentials::default(),
            insecure,
        };
        let endpoint = |link: Link, url: &str| link.endpoint(url.parse().expect("a URL")).is_ok();
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(endpoint(link(false), url), "{url}");
        }
        assert!(!endpoint(link(false), "http://10.0.0.5:7432"));
        assert!(endpoint(link(true), "http://10.0.0.5:7432"));
        assert!(!endpoint(link(true), "https://10.0.0.5:7432"), "no CA");
    }
}
