//! A call's place in a distributed trace, and what is noted down for the spans that may be made of it at its end.
//!
//! Nothing here knows what a span looks like, or whether the call is kept: that is decided when it is over. Where no traces
//! are begun there are no notes, and none of this is made.

mod hop;
mod joint;
mod notes;
mod run;

use http::HeaderValue;

pub use hop::{Attempt, Ending, Hop, Why};
pub use joint::Joint;
pub use notes::{Notes, Work, Works};
pub use run::Run;

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
#[derive(Debug)]
pub struct Trace {
    /// The span that calls made for this one belong to: the call's own where notes are taken, else its caller's.
    pub context: TraceContext,
    /// What vendors say of it (`tracestate`): passed on, never looked into.
    pub state: Option<HeaderValue>,
    /// What the application says with it (`baggage`), likewise.
    pub baggage: Option<HeaderValue>,
    /// How it is told to the next process.
    pub forms: Forms,
    /// What is noted down of the call, where it may be kept.
    pub notes: Option<Notes>,
}

/// An id of a span, of which 0 is none.
pub fn new_span_id() -> u64 {
    fastrand::u64(..).max(1)
}
