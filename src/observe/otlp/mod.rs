//! How collectors of OpenTelemetry are told anything: what its variables say of them, and messages on their way there. What
//! is in a message is the business of whoever sends it.

mod again;
mod environment;
mod exporter;
mod task;

use bytes::Bytes;

pub use environment::{Address, Exports, PREFIX, Protocol, SERVICE_NAME, Variables};
pub use exporter::Collector;

pub(super) use exporter::Exporter;
pub(super) use task::{Closing, Task};

/// What is told. Each has its own service, path and variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans of calls.
    Traces,
    /// Numbers.
    Metrics,
}

impl Signal {
    /// Its name in variables.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
        }
    }

    /// Where it is taken by HTTP, beneath the address of all signals.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        }
    }

    /// Where it is taken by gRPC.
    fn method(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Whoever takes messages.
pub(super) trait Export: Send {
    /// Takes what is told of this process.
    fn export(&self, message: Bytes) -> impl Future<Output = Sent> + Send;
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// How often it was sent again.
    pub(super) retries: u32,
    /// Whether it was taken, or why not.
    pub(super) taken: Result<Taken, String>,
}

/// What a collector says of a message that it has taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Taken {
    /// Spans, or points of metrics, in it that it has not.
    pub(super) rejected: u64,
    /// What it has to say.
    pub(super) why: String,
}
