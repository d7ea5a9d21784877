//! What spans are drawn on: those of one call, all in its trace, but work whose place is in another's.

use std::time::{Duration, Instant};

use super::{Anchor, OfCall};
use crate::infer::{TraceContext, new_span_id};
use crate::observe::trace::names;
use crate::observe::trace::otlp::{Head, Key, Kind, Spans, Value};

/// A link is some fifty bytes on the wire, and no batch of calls that matter one by one is larger. What is beyond is
/// counted.
const MOST_LINKS: usize = 512;

/// Bytes of the sentence on a failure.
const MOST_TEXT: usize = 1024;

/// Where a span hangs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) trace_id: u128,
    pub(super) parent: Option<u64>,
    /// Whether the parent is in another process.
    pub(super) is_remote: bool,
}

impl Place {
    /// Inside of that span.
    pub(super) fn inside(TraceContext { trace_id, span_id, .. }: TraceContext) -> Place {
        Place { trace_id, parent: Some(span_id), is_remote: false }
    }
}

/// A span that is being drawn.
pub(super) struct Drawn<'a>(&'a mut Spans);

impl<'a> Drawn<'a> {
    pub(super) fn begin(spans: &'a mut Spans, head: &Head<'_>) -> Drawn<'a> {
        spans.begin(head);
        Drawn(spans)
    }

    #[inline(always)]
    pub(super) fn set<'v>(&mut self, name: &Key, value: impl Into<Value<'v>>) -> &mut Self {
        self.0.attribute(name, value.into());
        self
    }

    #[inline(always)]
    pub(super) fn seconds(&mut self, name: &Key, time: Duration) -> &mut Self {
        self.nanos(name, time.as_nanos() as u64)
    }

    /// Seconds that are known in nanoseconds.
    #[inline(always)]
    pub(super) fn nanos(&mut self, name: &Key, nanos: u64) -> &mut Self {
        self.set(name, nanos as f64 / 1e9)
    }

    /// It failed: `kind` is its `error.type`. What backends say may be long.
    pub(super) fn fail(&mut self, kind: &'static str, message: &str) -> &mut Self {
        self.0.fail(&message[..message.floor_char_boundary(MOST_TEXT)]);
        self.set(&names::ERROR_TYPE, kind)
    }

    pub(super) fn link(&mut self, all: &[TraceContext]) -> &mut Self {
        for TraceContext { trace_id, span_id, sampled } in all.iter().take(MOST_LINKS) {
            self.0.link(*trace_id, *span_id, *sampled);
        }
        if all.len() > MOST_LINKS {
            self.0.dropped_links(all.len() - MOST_LINKS);
        }
        self
    }
}

pub(super) struct Canvas<'a> {
    pub(super) ended: &'a OfCall,
    /// When the call began, in nanoseconds since 1970.
    began: u64,
    spans: &'a mut Spans,
}

impl<'a> Canvas<'a> {
    pub(super) fn of(ended: &'a OfCall, anchor: Anchor, spans: &'a mut Spans) -> Canvas<'a> {
        Canvas { ended, began: anchor.at(ended.timeline.started()), spans }
    }

    /// The call's own span.
    pub(super) fn own(&self) -> TraceContext {
        self.ended.trace.context
    }

    /// The time of day at that reading of the clock, in nanoseconds since 1970.
    pub(super) fn at(&self, instant: Instant) -> u64 {
        let started = self.ended.timeline.started();
        match instant.checked_duration_since(started) {
            Some(after) => self.after(after.as_nanos() as u64),
            // A run that began before one of its calls came, by a clock that is not quite the same everywhere.
            None => self.began.saturating_sub((started - instant).as_nanos() as u64),
        }
    }

    /// The same so many nanoseconds after the call began.
    pub(super) fn after(&self, nanos: u64) -> u64 {
        self.began.saturating_add(nanos)
    }

    /// A stretch of time inside of a span of the call's trace, which nobody else knows.
    pub(super) fn stretch(&mut self, name: &'static str, parent: u64, times: (u64, u64)) -> Drawn<'_> {
        let place = Place::inside(TraceContext { span_id: parent, ..self.own() });
        self.span(name, Kind::Internal, new_span_id(), place, times)
    }

    /// A span, which is drawn until the next one is begun.
    pub(super) fn span(
        &mut self,
        name: &'static str,
        kind: Kind,
        id: u64,
        Place { trace_id, parent, is_remote }: Place,
        (from, until): (u64, u64),
    ) -> Drawn<'_> {
        // What vendors say goes with their trace.
        let trace = &self.ended.trace;
        let state = trace.state.as_ref().filter(|_| trace_id == trace.context.trace_id);
        // What is not text would make the whole message illegible.
        let state = state.and_then(|state| state.to_str().ok()).unwrap_or_default().as_bytes();
        let times = (from, until.max(from));
        self.spans.begin(&Head { trace_id, id, state, parent, is_remote, name, kind, times });
        Drawn(self.spans)
    }
}
