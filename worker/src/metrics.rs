//! What a worker counts. Nothing here names a
//! database, a row or a value.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    exposition,
    unit::{UnitError, UnitReport},
};

/// What kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    class: &'static str,
}

/// Counters and gauges of one worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    units: Counter,
    rows: Counter,
    failures: Family<Kind, Counter>,
    unit_seconds: Histogram,
    units_in_flight: Gauge,
    connections: Gauge,
    slots: Gauge,
    connected: Gauge,
    sessions: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("upshift_worker");
        let unit_seconds = exposition::unit_seconds(&mut registry);
        let mut metrics = Self {
            registry,
            units: Counter::default(),
            rows: Counter::default(),
            failures: Family::default(),
            unit_seconds,
            units_in_flight: Gauge::default(),
            connections: Gauge::default(),
            slots: Gauge::default(),
            connected: Gauge::default(),
            sessions: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let counters = [
            ("units", "Units that were done", &self.units),
            ("rows", "Rows that units have written", &self.rows),
            (
                "sessions",
                "Sessions with coordinators that were opened",
                &self.sessions,
            ),
        ];
        exposition::register(&mut self.registry, &counters);
        let gauges = [
            ("units_in_flight", "Units that run", &self.units_in_flight),
            (
                "connections",
                "Connections to databases that are open, idle ones among them",
                &self.connections,
            ),
            ("slots", "Units that it runs at once", &self.slots),
            (
                "connected",
                "Whether it has a session with a coordinator",
                &self.connected,
            ),
        ];
        exposition::register(&mut self.registry, &gauges);
        let failures = "Units that failed, by when trying again may help";
        self.registry
            .register("failures", failures, self.failures.clone());
    }

    /// A session was opened (`true`), or has ended.
    pub(crate) fn session(&self, open: bool, slots: u32) {
        if open {
            self.sessions.inc();
            self.slots.set(i64::from(slots));
        }
        self.connected.set(i64::from(open));
    }

    /// So many units run.
    pub(crate) fn in_flight(&self, units: usize) {
        self.units_in_flight
            .set(i64::try_from(units).unwrap_or(i64::MAX));
    }

    /// A unit has ended.
    pub(crate) fn unit_ended(&self, outcome: &Result<UnitReport, UnitError>, elapsed: Duration) {
        match outcome {
            Ok(report) => {
                self.units.inc();
                self.rows.inc_by(report.rows);
                self.unit_seconds.observe(elapsed.as_secs_f64());
            }
            Err(error) => {
                let class = error.class.name();
                self.failures.get_or_create(&Kind { class }).inc();
            }
        }
    }

    /// Counts a connection as long as what is returned lives.
    pub(crate) fn connection(&self) -> Counted {
        self.connections.inc();
        Counted(self.connections.clone())
    }

    /// All of it as text.
    #[must_use]
    pub fn text(&self) -> String {
        exposition::text(&self.registry)
    }
}

/// A connection that is counted.
pub(crate) struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::FailureClass;

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::default();
        metrics.session(true, 4);
        let report = UnitReport {
            rows: 12,
            already_done: false,
            elapsed: Duration::from_millis(3),
        };
        metrics.unit_ended(&Ok(report), Duration::from_millis(5));
        let error = UnitError {
            class: FailureClass::TimedOut,
            message: "too slow".to_owned(),
            sqlstate: None,
        };
        metrics.unit_ended(&Err(error), Duration::from_secs(1));
        metrics.in_flight(2);
        let (one, _two) = (metrics.connection(), metrics.connection());
        drop(one);
        let text = metrics.text();
        for line in [
            "upshift_worker_units_total 1",
            "upshift_worker_rows_total 12",
            "upshift_worker_failures_total{class=\"timed_out\"} 1",
            "upshift_worker_unit_seconds_count 1",
            "upshift_worker_units_in_flight 2",
            "upshift_worker_connections 1",
            "upshift_worker_slots 4",
            "upshift_worker_connected 1",
            "upshift_worker_sessions_total 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
