//! A collector of traces in the test's own process: OTLP over gRPC, on loopback.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig},
};
use upshift_tests::harness::{Authority, Identity};

/// A span, as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrived {
    /// Its name.
    pub(crate) name: String,
    /// Its trace, its own id and its parent's, in hexadecimal digits; of a root the last is empty.
    pub(crate) trace: String,
    /// Its own id.
    pub(crate) id: String,
    /// Its parent's id.
    pub(crate) parent: String,
    /// The process that it came from.
    pub(crate) service: String,
    /// What it says, as text.
    pub(crate) says: BTreeMap<String, String>,
    /// Whether it is marked as an error.
    pub(crate) is_error: bool,
    /// How long it took, in nanoseconds.
    pub(crate) nanos: u64,
    /// All of it as text, with what was said of its process.
    pub(crate) whole: String,
}

/// The collector; it goes with this.
#[derive(Debug)]
pub(crate) struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where there is no port.
    pub(crate) async fn start() -> Result<Self> {
        Self::serve("http", Server::builder()).await
    }

    /// The same, with TLS, as that; it lets in whom this authority knows.
    ///
    /// # Errors
    /// Where there is no port.
    pub(crate) async fn start_with_tls(own: &Identity, authority: &Authority) -> Result<Self> {
        let tls = ServerTlsConfig::new()
            .identity(TlsIdentity::from_pem(&own.certificate, &own.key))
            .client_ca_root(Certificate::from_pem(authority.certificate()));
        Self::serve("https", Server::builder().tls_config(tls)?).await
    }

    async fn serve(scheme: &'static str, mut server: Server) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let arrived = Arc::new(Mutex::default());
        let service = TraceServiceServer::new(Service(Arc::clone(&arrived)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let served = server
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            // Whoever asks for spans finds none.
            let _failed = served.await;
        });
        Ok(Self {
            scheme,
            address,
            arrived,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// All spans so far.
    #[must_use]
    pub(crate) fn spans(&self) -> Vec<Arrived> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Those of that name.
    #[must_use]
    pub(crate) fn named(&self, name: &str) -> Vec<Arrived> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }
}

struct Service(Arc<Mutex<Vec<Arrived>>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_process in request.into_inner().resource_spans {
            let said = of_process.resource.unwrap_or_default().attributes;
            let service = texts(&said).remove("service.name").unwrap_or_default();
            let scopes = of_process.scope_spans.into_iter();
            let spans = scopes.flat_map(|scope| scope.spans);
            arrived.extend(spans.map(|span| read(span, &service, &said)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(span: Span, service: &str, said: &[KeyValue]) -> Arrived {
    let whole = format!("{span:?} {said:?}");
    let status = span.status.unwrap_or_default();
    Arrived {
        name: span.name,
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        service: service.to_owned(),
        says: texts(&span.attributes),
        is_error: status.code == StatusCode::Error as i32,
        nanos: span
            .end_time_unix_nano
            .saturating_sub(span.start_time_unix_nano),
        whole,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(pair)))
        .collect()
}
