//! What is counted. Nothing here names a row, a value
//! or a statement; labels are few and of our own making.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use upshift_worker::exposition;

use crate::{
    engine::Load,
    progress::{ProgressEvent, Waiter},
};

/// What a wait is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct About {
    about: &'static str,
}

/// Counters and gauges of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    units: Counter,
    rows: Counter,
    unit_seconds: Histogram,
    retries: Counter,
    splits: Counter,
    tasks: Counter,
    checkpoints: Counter,
    waits: Family<About, Counter>,
    throttles: Counter,
    runs: Gauge,
    units_in_flight: Gauge,
    units_ready: Gauge,
    slots: Gauge,
    workers: Gauge,
    leads: Gauge,
    leader_changes: Counter,
    requests: Family<Asked, Counter>,
}

/// A request of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("upshift");
        let unit_seconds = exposition::unit_seconds(&mut registry);
        let mut metrics = Self {
            registry,
            units: Counter::default(),
            rows: Counter::default(),
            unit_seconds,
            retries: Counter::default(),
            splits: Counter::default(),
            tasks: Counter::default(),
            checkpoints: Counter::default(),
            waits: Family::default(),
            throttles: Counter::default(),
            runs: Gauge::default(),
            units_in_flight: Gauge::default(),
            units_ready: Gauge::default(),
            slots: Gauge::default(),
            workers: Gauge::default(),
            leads: Gauge::default(),
            leader_changes: Counter::default(),
            requests: Family::default(),
        };
        metrics.register_counters();
        metrics.register_gauges();
        metrics
    }
}

impl Metrics {
    fn register_counters(&mut self) {
        let counters = [
            ("units", "Units that were done", &self.units),
            ("rows", "Rows that units have written", &self.rows),
            (
                "retries",
                "Units that failed and are tried again",
                &self.retries,
            ),
            (
                "splits",
                "Units that were cut in two for their time",
                &self.splits,
            ),
            ("tasks", "Tasks that were recorded", &self.tasks),
            (
                "checkpoints",
                "Checkpoints that were prepared",
                &self.checkpoints,
            ),
            (
                "throttles",
                "Times that the health of a server has slowed a run down",
                &self.throttles,
            ),
            (
                "leader_changes",
                "Times that this process has come to lead",
                &self.leader_changes,
            ),
        ];
        exposition::register(&mut self.registry, &counters);
        let waits = "Waits of some seconds, by what waits";
        self.registry.register("waits", waits, self.waits.clone());
        let requests = "What operators have asked for";
        self.registry
            .register("requests", requests, self.requests.clone());
    }

    fn register_gauges(&mut self) {
        let gauges = [
            ("runs", "Runs that are driven", &self.runs),
            (
                "units_in_flight",
                "Units in the hands of workers",
                &self.units_in_flight,
            ),
            (
                "units_ready",
                "Units that wait for a worker",
                &self.units_ready,
            ),
            (
                "slots",
                "Units that all workers together run at once",
                &self.slots,
            ),
            ("workers", "Workers that have a session", &self.workers),
            ("leads", "Whether this process leads", &self.leads),
        ];
        exposition::register(&mut self.registry, &gauges);
    }

    /// A unit was done.
    pub fn unit_done(&self, rows: u64, elapsed: Duration) {
        self.units.inc();
        self.rows.inc_by(rows);
        self.unit_seconds.observe(elapsed.as_secs_f64());
    }

    /// Something happened to a run.
    pub fn shown(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Retry { .. } => {
                self.retries.inc();
            }
            ProgressEvent::UnitSplit { .. } => {
                self.splits.inc();
            }
            ProgressEvent::TaskDone { .. } => {
                self.tasks.inc();
            }
            ProgressEvent::CheckpointPrepared { .. } => {
                self.checkpoints.inc();
            }
            ProgressEvent::Throttled { .. } => {
                self.throttles.inc();
            }
            ProgressEvent::Waiting { about, .. } => {
                let about = match about {
                    Waiter::Workers => "workers",
                    Waiter::Driver => "driver",
                    Waiter::Unit => "unit",
                };
                self.waits.get_or_create(&About { about }).inc();
            }
            _ => {}
        }
    }

    /// An operator has asked for something.
    pub fn asked(&self, verb: &'static str, granted: bool) {
        let outcome = if granted { "granted" } else { "refused" };
        self.requests.get_or_create(&Asked { verb, outcome }).inc();
    }

    /// This process leads from now on (`true`), or no longer does.
    pub fn leads(&self, leads: bool) {
        if leads {
            self.leader_changes.inc();
        }
        self.leads.set(i64::from(leads));
    }

    /// All of it as text.
    #[must_use]
    pub fn text(&self, load: Load, workers: usize) -> String {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.runs.set(number(load.runs));
        self.units_in_flight.set(number(load.units_in_flight));
        self.units_ready.set(number(load.units_ready));
        self.slots.set(number(load.capacity));
        self.workers.set(number(workers as u64));
        exposition::text(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::default();
        metrics.unit_done(500, Duration::from_millis(20));
        metrics.unit_done(1, Duration::from_secs(2));
        metrics.asked("pause", true);
        metrics.leads(true);
        let load = Load {
            runs: 3,
            units_ready: 7,
            ..Load::default()
        };
        let text = metrics.text(load, 2);
        for line in [
            "upshift_units_total 2",
            "upshift_rows_total 501",
            "upshift_unit_seconds_count 2",
            "upshift_requests_total{verb=\"pause\",outcome=\"granted\"} 1",
            "upshift_leads 1",
            "upshift_leader_changes_total 1",
            "upshift_runs 3",
            "upshift_units_ready 7",
            "upshift_workers 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
