//! A call's place in a distributed trace.

use http::HeaderValue;

/// A span as other processes know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

/// The forms in which a place in a trace is told to the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forms {
    /// The W3C's `traceparent` and `tracestate`.
    pub w3c: bool,
    /// `b3`.
    pub b3: bool,
    /// `x-b3-traceid` and those beside it.
    pub b3_multi: bool,
}

/// The trace that a call belongs to, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The span that calls made for this one belong to.
    pub context: TraceContext,
    /// Whether whoever called left it to others whether it is recorded.
    pub is_undecided: bool,
    /// What vendors say of it (`tracestate`): passed on, never looked into.
    pub state: Option<HeaderValue>,
    /// What the application says with it (`baggage`), likewise.
    pub baggage: Option<HeaderValue>,
    /// How it is told to the next process.
    pub forms: Forms,
}
