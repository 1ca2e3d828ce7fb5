//! Where traces go: an OpenTelemetry collector, by OTLP over gRPC. Spans wait in a queue of bounded length
//! (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048 where unsaid) which a thread of its own empties; where that is full, because
//! the collector is slow, hangs or is not there, spans are lost, and nothing waits for them.
//!
//! Of the variables of OpenTelemetry's specification these are heeded: endpoint, protocol (`grpc` alone),
//! headers, timeout, compression (none), certificates and `INSECURE` of `OTEL_EXPORTER_OTLP_…`, of all signals
//! and of `TRACES_…`; `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_TRACES_SAMPLER` with its argument,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`, `OTEL_SPAN_…`.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter as Exporter},
};
use tonic::transport::{ClientTlsConfig, Uri};

use super::trace::TRACING;
use crate::{
    Error, Result,
    config::{Environment, TelemetrySettings, TlsFiles},
    tls,
};

/// So long a process that ends waits until the collector has taken what is left.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Traces on their way.
#[derive(Debug)]
pub struct Exporting(SdkTracerProvider);

/// Begins to trace, where configuration or environment say whereto. `service`: what this process is, unless
/// `OTEL_SERVICE_NAME` says otherwise. To be called once, on the runtime.
///
/// # Errors
/// Where what is said cannot be heeded.
pub fn begin(
    settings: &TelemetrySettings,
    environment: &Environment,
    service: &'static str,
) -> Result<Option<Exporting>> {
    let Some(uri) = endpoint(settings, environment)? else {
        return Ok(None);
    };
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(uri.to_string());
    if uri.scheme_str() == Some("https") {
        exporter = exporter.with_tls_config(tls_config(settings, environment)?);
    }
    let exporter = exporter.build().map_err(|error| {
        Error::Config(format!("traces cannot be sent to the collector: {error}"))
    })?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Told {
            exporter,
            fails: AtomicBool::new(false),
        })
        .with_resource(resource(environment, service))
        .build();
    let tracer = provider.tracer("upshift");
    // A second call would find the first one's.
    let _first = TRACING.set((tracer, settings.max_spans));
    Ok(Some(Exporting(provider)))
}

impl Exporting {
    /// Sends what is left, as long as the collector takes it in time. May block that long.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the collector has not taken all traces");
        }
    }
}

/// A variable of OTLP: of traces, else of all signals.
fn variable<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment
        .variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
        .or_else(|| environment.variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

fn says(value: Option<&str>, word: &str) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case(word))
}

/// Where the collector is, if anywhere. Messages do not repeat what is said: it may hold a password.
fn endpoint(settings: &TelemetrySettings, environment: &Environment) -> Result<Option<Uri>> {
    let exporter = environment.variable("OTEL_TRACES_EXPORTER");
    if says(environment.variable("OTEL_SDK_DISABLED"), "true")
        || exporter.is_some_and(|exporter| exporter != "otlp")
    {
        return Ok(None);
    }
    let (text, place) = match (variable(environment, "ENDPOINT"), &settings.otlp) {
        (Some(text), _) => (text, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (None, Some(text)) => (text.as_str(), "[telemetry] otlp"),
        (None, None) => return Ok(None),
    };
    let bad = |why: &str| Err(Error::Config(format!("{place}: {why}")));
    if variable(environment, "PROTOCOL").is_some_and(|protocol| protocol != "grpc") {
        return bad(
            "upshift speaks OTLP over gRPC alone: OTEL_EXPORTER_OTLP_PROTOCOL=grpc, and the port for it",
        );
    }
    if variable(environment, "COMPRESSION").is_some_and(|compression| compression != "none") {
        return bad("upshift does not compress: OTEL_EXPORTER_OTLP_COMPRESSION=none");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return bad("it is no URL");
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return bad("what the collector wants to see goes into OTEL_EXPORTER_OTLP_HEADERS");
    }
    let insecure = settings.insecure || says(variable(environment, "INSECURE"), "true");
    match uri.scheme_str() {
        Some("https") => Ok(Some(uri)),
        Some("http") if insecure || tls::is_loopback(&uri) => Ok(Some(uri)),
        Some("http") => bad(
            "plain text to another machine has to be allowed in words: insecure = true of [telemetry], or \
             OTEL_EXPORTER_OTLP_INSECURE=true",
        ),
        _ => bad("it has to begin with https:// or http://"),
    }
}

fn tls_config(settings: &TelemetrySettings, environment: &Environment) -> Result<ClientTlsConfig> {
    let file = |name| variable(environment, name).map(PathBuf::from);
    let said = file("CERTIFICATE").map(|ca| TlsFiles {
        ca,
        certificate: file("CLIENT_CERTIFICATE"),
        key: file("CLIENT_KEY"),
    });
    match said.as_ref().or(settings.tls.as_ref()) {
        Some(files) => tls::client(files, HANDSHAKE),
        None => Ok(ClientTlsConfig::new()
            .with_native_roots()
            .timeout(HANDSHAKE)),
    }
}

/// What is said of the process once, beside its spans.
fn resource(environment: &Environment, service: &'static str) -> Resource {
    let more = environment.variable("OTEL_RESOURCE_ATTRIBUTES");
    let is_named = environment.variable("OTEL_SERVICE_NAME").is_some()
        || more.is_some_and(|more| more.contains("service.name="));
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        // Which of several workers.
        KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
    ]);
    if !is_named {
        resource = resource.with_service_name(service);
    }
    resource.build()
}

/// Says once that the collector takes nothing, and once that it does again.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    fails: AtomicBool,
}

impl Exporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        let failed = self.fails.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !failed => {
                tracing::warn!(%error, "the collector takes no traces: they are lost until it does");
            }
            Ok(()) if failed => tracing::info!("the collector takes traces again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(otlp: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let settings = TelemetrySettings {
            otlp: otlp.map(str::to_owned),
            ..TelemetrySettings::default()
        };
        let environment = Environment::of(None, "somebody", variables);
        let uri = endpoint(&settings, &environment);
        uri.map(|uri| uri.map(|uri| uri.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_traced_unless_it_is_said_where() {
        let local = "http://127.0.0.1:4317";
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", local);
        assert_eq!(of(None, &[]), Ok(None));
        assert_eq!(of(None, &[("OTEL_SERVICE_NAME", "x")]), Ok(None));
        let there = Ok(Some("http://127.0.0.1:4317/".to_owned()));
        assert_eq!(of(None, &[endpoint]), there);
        assert_eq!(of(Some(local), &[]), there);
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", local);
        let of_all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
        assert_eq!(of(Some("http://[::1]:2"), &[of_traces, of_all]), there);
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(of(Some(local), &[off, endpoint]), Ok(None));
        }
    }

    #[test]
    fn plain_text_to_other_machines_has_to_be_allowed_in_words() {
        let far = "http://collector:4317";
        let refused = of(Some(far), &[]).expect_err("nobody has allowed it");
        assert!(refused.contains("insecure = true"), "{refused}");
        for allowed in [
            "OTEL_EXPORTER_OTLP_INSECURE",
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        ] {
            let there = Ok(Some("http://collector:4317/".to_owned()));
            assert_eq!(of(Some(far), &[(allowed, "true")]), there);
        }
        assert!(of(Some("https://collector:4317"), &[]).is_ok());
    }

    #[test]
    fn what_cannot_be_heeded_is_said_without_repeating_it() {
        for url in [
            "http://who:hush@127.0.0.1:4317",
            "hush",
            "ftp://hush",
            "http://[hush",
        ] {
            let refused = of(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).expect_err(url);
            assert!(!refused.contains("hush"), "{refused}");
            assert!(refused.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{refused}");
        }
        for other in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ] {
            assert!(of(Some("http://127.0.0.1:4318"), &[other]).is_err());
        }
    }
}
