//! `[telemetry]`: where traces go. The field's own variables (`OTEL_…`) say so as well, and win.

use toml::{Spanned, de::DeValue};

use super::{cluster::TlsFiles, file::Source};
use crate::Result;

/// Spans of one drive of a run, where nothing else is said.
const SPANS: u32 = 10_000;

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Where an OpenTelemetry collector takes traces by OTLP over gRPC, `http://HOST:PORT` or `https://…`;
    /// nowhere, where nothing is said.
    pub otlp: Option<String>,
    /// Whether plain text is allowed where others than this machine can listen.
    pub insecure: bool,
    /// `[telemetry.tls]`: whom the collector's certificate is signed by, and what is shown to it. Without, the
    /// certificates that the system trusts.
    pub tls: Option<TlsFiles>,
    /// A run, each time that it is driven, has so many spans of tasks and units at most; one task at most a
    /// hundredth of them, those of its first units.
    pub max_spans: u32,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp: None,
            insecure: false,
            tls: None,
            max_spans: SPANS,
        }
    }
}

impl Source<'_> {
    /// `[telemetry]`
    pub(super) fn telemetry(&self, value: &Spanned<DeValue<'_>>) -> Result<TelemetrySettings> {
        let mut telemetry = TelemetrySettings::default();
        for (key, value) in self.table(value, "[telemetry]")? {
            match key.get_ref().as_ref() {
                "otlp" => telemetry.otlp = Some(self.url(value)?),
                "insecure" => telemetry.insecure = self.boolean(value)?,
                "tls" => telemetry.tls = Some(self.tls(value, "[telemetry.tls]")?),
                "max_spans" => telemetry.max_spans = self.count(value)?,
                _ => return Err(self.unknown(key, ["otlp", "insecure", "tls", "max_spans"])),
            }
        }
        Ok(telemetry)
    }
}
