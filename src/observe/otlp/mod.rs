//! How collectors of OpenTelemetry are told anything: what its variables say of them, and messages on their way there. What
//! is in a message is the business of whoever sends it.

mod environment;
mod exporter;

pub use environment::{Address, Exports, PREFIX, Protocol, SERVICE_NAME, Variables};
pub use exporter::Collector;

pub(super) use exporter::{Export, Exporter};

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
