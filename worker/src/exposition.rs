//! What the counters and gauges of all parts have in common: the text format of Prometheus (OpenMetrics 1.0).

use prometheus_client::{
    encoding::text::encode,
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Metric, Registry, Unit},
};

/// Registers metrics of one kind, each with its name and help.
pub fn register<M: Metric + Clone>(registry: &mut Registry, metrics: &[(&str, &str, &M)]) {
    for (name, help, metric) in metrics {
        registry.register(*name, *help, (*metric).clone());
    }
}

/// How long units took, in buckets from a millisecond to more than an hour; registered.
pub fn unit_seconds(registry: &mut Registry) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.001, 4.0, 12));
    let help = "How long units took that were done";
    registry.register_with_unit("unit", help, Unit::Seconds, histogram.clone());
    histogram
}

/// All of it as text.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // It is written into memory.
    let _never = encode(&mut text, registry);
    text
}
