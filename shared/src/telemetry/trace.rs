//! Spans of a trace (OpenTelemetry): from an order that is submitted to the units that a worker runs. Off
//! unless [`super::export`] has begun: then what is here costs one look.
//!
//! What a span says is numbers, names of the configuration and of the pack, and outcomes. No message, no SQL
//! and nothing that was read from a database goes into one.

use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState, Tracer,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::{clock, config::Environment};

/// The metadata of a request that says what trace it belongs to (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// Where spans go, and how many a drive may have.
pub(super) static TRACING: OnceLock<(SdkTracer, u32)> = OnceLock::new();

/// What a span stands for: names are few, so that a store of traces can sum over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An operator's program hands an order in.
    Submit,
    /// The coordinator takes it: the pack is compiled, the run stored.
    Accept,
    /// A run is driven, from one state to another.
    Run,
    /// A checkpoint is recorded.
    Checkpoint,
    /// One task, from its preparation until it is recorded.
    Task,
    /// One attempt at a unit.
    Unit,
}

impl Stage {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Accept => "accept",
            Self::Run => "run",
            Self::Checkpoint => "checkpoint",
            Self::Task => "task",
            Self::Unit => "unit",
        }
    }

    /// As OpenTelemetry's specification has them, by who waits for whom.
    fn kind(self) -> SpanKind {
        match self {
            Self::Submit => SpanKind::Client,
            Self::Accept => SpanKind::Server,
            Self::Run | Self::Unit => SpanKind::Consumer,
            Self::Task => SpanKind::Producer,
            Self::Checkpoint => SpanKind::Internal,
        }
    }
}

/// What a span may say: all keys that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The run's id.
    Run,
    /// A fleet's name.
    Fleet,
    /// The database's name, as configuration knows it.
    Database,
    /// The run's fencing number.
    Epoch,
    /// Which way: `forward`, `back`, `commit`.
    Direction,
    /// A checkpoint's name, which is that of a module.
    Checkpoint,
    /// A task's number.
    Task,
    /// What kind of task.
    Operator,
    /// A task's module.
    Module,
    /// A unit's number.
    Unit,
    /// The attempt, from 1.
    Attempt,
    /// Rows.
    Rows,
    /// How many units were done.
    Units,
    /// How many tasks have no span: more than the run may have.
    TasksLeftOut,
    /// What became of it, in one word.
    Outcome,
    /// The SQLSTATE that the server reported.
    Sqlstate,
}

impl Key {
    /// Its name: of `db.…`, that of OpenTelemetry's conventions for databases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "upshift.run",
            Self::Fleet => "upshift.fleet",
            Self::Database => "upshift.database",
            Self::Epoch => "upshift.epoch",
            Self::Direction => "upshift.direction",
            Self::Checkpoint => "upshift.checkpoint",
            Self::Task => "upshift.task",
            Self::Operator => "upshift.operator",
            Self::Module => "upshift.module",
            Self::Unit => "upshift.unit",
            Self::Attempt => "upshift.attempt",
            Self::Rows => "upshift.rows",
            Self::Units => "upshift.units",
            Self::TasksLeftOut => "upshift.tasks_left_out",
            Self::Outcome => "upshift.outcome",
            Self::Sqlstate => "db.response.status_code",
        }
    }
}

/// What a span belongs to; nothing for the first one of a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parent(Option<SpanContext>);

impl Parent {
    /// As a `traceparent` says; what cannot be understood, or is empty, says nothing. Of versions to come, what
    /// they have in common with this one is heeded (W3C Trace Context, 3.2.4).
    #[must_use]
    pub fn parse(traceparent: &str) -> Self {
        Self(context(traceparent))
    }

    /// What started this process says in `TRACEPARENT` what it is part of.
    #[must_use]
    pub fn of_environment(environment: &Environment) -> Self {
        environment
            .variable("TRACEPARENT")
            .map_or_else(Self::default, Self::parse)
    }

    /// As it travels.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        Some(format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags() & TraceFlags::SAMPLED
        ))
    }
}

/// `VERSION-TRACE-SPAN-FLAGS`, in lower-case hexadecimal digits.
fn context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let mut digits = |many: usize| {
        let part = parts.next()?;
        let plain = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (part.len() == many && part.chars().all(plain)).then_some(part)
    };
    let (version, trace, span, flags) = (digits(2)?, digits(32)?, digits(16)?, digits(2)?);
    let more = parts.next().is_some();
    if version == "ff" || (version == "00" && more) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// Spans of tasks and units that a drive of a run may have; `None` where there are no traces.
#[must_use]
pub fn max_spans() -> Option<u32> {
    TRACING.get().map(|(_, max_spans)| *max_spans)
}

/// Something that takes time; it ends when this is dropped. Nothing, where there are no traces: what belongs
/// to it then belongs to what it would belong to.
#[derive(Debug, Default)]
pub struct Span {
    /// Where it is recorded; one that is not sampled is not.
    recorded: Option<Box<SdkSpan>>,
    context: Parent,
}

impl Span {
    /// Begins.
    #[must_use]
    pub fn begin(stage: Stage, parent: &Parent) -> Self {
        Self::start(stage, parent, None)
    }

    /// Began so long ago.
    #[must_use]
    pub fn begun(stage: Stage, parent: &Parent, ago: Duration) -> Self {
        Self::start(stage, parent, Some(ago))
    }

    fn start(stage: Stage, parent: &Parent, ago: Option<Duration>) -> Self {
        let Some((tracer, _)) = TRACING.get() else {
            return Self {
                recorded: None,
                context: parent.clone(),
            };
        };
        let mut builder = SpanBuilder::from_name(stage.name()).with_kind(stage.kind());
        if let Some(ago) = ago {
            let since_epoch = clock::since_epoch().saturating_sub(ago);
            builder = builder.with_start_time(SystemTime::UNIX_EPOCH + since_epoch);
        }
        let within = match &parent.0 {
            Some(context) => Context::new().with_remote_span_context(context.clone()),
            None => Context::new(),
        };
        let span = tracer.build_with_context(builder, &within);
        Self {
            context: Parent(Some(span.span_context().clone())),
            recorded: span.is_recording().then(|| Box::new(span)),
        }
    }

    /// What belongs to it has this parent.
    #[must_use]
    pub fn context(&self) -> &Parent {
        &self.context
    }

    /// Says something of it: a number.
    pub fn number(&mut self, key: Key, number: u64) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.set(key, || Value::I64(number));
    }

    /// A name, or a word.
    pub fn text(&mut self, key: Key, text: &str) {
        self.set(key, || text.to_owned().into());
    }

    fn set(&mut self, key: Key, value: impl FnOnce() -> Value) {
        if let Some(span) = &mut self.recorded {
            span.set_attribute(KeyValue::new(key.name(), value()));
        }
    }

    /// Ends, with what became of it.
    pub fn end(mut self, outcome: &'static str, is_failure: bool) {
        if let Some(span) = &mut self.recorded {
            span.set_attribute(KeyValue::new(Key::Outcome.name(), outcome));
            if is_failure {
                // Without a description: messages stay in the log of events.
                span.set_status(Status::Error {
                    description: Cow::Borrowed(""),
                });
            }
            span.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(
            Parent::parse(&sampled).traceparent().as_deref(),
            Some(sampled.as_str())
        );
        // Of flags only the one that is known goes on, of a version to come only what is known.
        for (given, written) in [("00", "00"), ("03", "01"), ("fe", "00")] {
            let given = Parent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-{given}"));
            let written = format!("00-{TRACE}-00f067aa0ba902b7-{written}");
            assert_eq!(given.traceparent(), Some(written));
        }
        let later = format!("01-{TRACE}-00f067aa0ba902b7-01-what-comes");
        assert_eq!(Parent::parse(&later).traceparent(), Some(sampled));
    }

    #[test]
    fn what_is_no_traceparent_says_nothing() {
        let zeros = "0".repeat(32);
        let upper = TRACE.to_uppercase();
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{upper}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-0\u{e9}"),
            format!("00-{TRACE}\r\nx: y-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(Parent::parse(&text), Parent::default(), "{text}");
        }
    }

    #[test]
    fn without_traces_what_belongs_to_a_span_belongs_to_its_parent() {
        let parent = Parent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-01"));
        let mut span = Span::begin(Stage::Run, &parent);
        span.number(Key::Rows, u64::MAX);
        assert_eq!(span.context(), &parent);
        assert!(span.recorded.is_none());
        span.end("done", false);
        assert_eq!(max_spans(), None);
    }
}
