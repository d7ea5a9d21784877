//! What spans are drawn on: those of one call, all in its trace, but work whose place is in another's.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use super::{Anchor, Ended};
use crate::infer::{TraceContext, new_span_id};
use crate::observe::trace::names;

static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("infergate").with_version(env!("CARGO_PKG_VERSION")).build());

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
}

/// A span that is being drawn.
pub(super) struct Drawn<'a>(&'a mut SpanData);

impl Drawn<'_> {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) -> &mut Self {
        self.0.attributes.push(KeyValue::new(name, value));
        self
    }

    /// Where there is something to set.
    pub(super) fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    pub(super) fn seconds(&mut self, name: &'static str, time: Duration) -> &mut Self {
        self.set(name, time.as_secs_f64())
    }

    /// It failed: `kind` is its `error.type`. What backends say may be long.
    pub(super) fn fail(&mut self, kind: &'static str, message: &str) -> &mut Self {
        let end = message.floor_char_boundary(MOST_TEXT);
        self.0.status = Status::Error { description: Cow::Owned(message[..end].to_owned()) };
        self.set(names::ERROR_TYPE, kind)
    }

    /// Its parent is in another process.
    pub(super) fn is_called_from_outside(&mut self) {
        self.0.parent_span_is_remote = true;
    }

    pub(super) fn link(&mut self, all: &[TraceContext]) -> &mut Self {
        let link =
            |of: &TraceContext| Link::new(context(of.trace_id, of.span_id, of.sampled, &TraceState::NONE), vec![], 0);
        let mut links = SpanLinks::default();
        links.links = all.iter().take(MOST_LINKS).map(link).collect();
        links.dropped_count = u32::try_from(all.len().saturating_sub(MOST_LINKS)).unwrap_or(u32::MAX);
        self.0.links = links;
        self
    }
}

pub(super) struct Canvas<'a> {
    pub(super) ended: &'a Ended,
    anchor: Anchor,
    state: TraceState,
    spans: Vec<SpanData>,
}

impl<'a> Canvas<'a> {
    pub(super) fn of(ended: &'a Ended, anchor: Anchor) -> Canvas<'a> {
        let state = ended.trace.state.as_ref().and_then(|state| state.to_str().ok()?.parse().ok());
        Canvas { ended, anchor, state: state.unwrap_or_default(), spans: Vec::with_capacity(8) }
    }

    pub(super) fn finish(self) -> Vec<SpanData> {
        self.spans
    }

    /// The call's own span.
    pub(super) fn own(&self) -> TraceContext {
        self.ended.trace.context
    }

    /// Inside of a span of the call's trace.
    pub(super) fn inside(&self, parent: u64) -> Place {
        Place { trace_id: self.own().trace_id, parent: Some(parent) }
    }

    /// A stretch of time inside of the call, which nobody else knows.
    pub(super) fn stretch(&mut self, name: &'static str, parent: u64, times: (Instant, Instant)) -> Drawn<'_> {
        let place = self.inside(parent);
        self.span(name, SpanKind::Internal, new_span_id(), place, times)
    }

    /// A span.
    pub(super) fn span(
        &mut self,
        name: &'static str,
        kind: SpanKind,
        id: u64,
        place: Place,
        (from, until): (Instant, Instant),
    ) -> Drawn<'_> {
        // What vendors say goes with their trace.
        let state = if place.trace_id == self.own().trace_id { &self.state } else { &TraceState::NONE };
        self.spans.push(SpanData {
            span_context: context(place.trace_id, id, true, state),
            parent_span_id: place.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: false,
            span_kind: kind,
            name: Cow::Borrowed(name),
            start_time: self.anchor.at(from),
            end_time: self.anchor.at(until.max(from)),
            attributes: Vec::with_capacity(8),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: SCOPE.clone(),
        });
        Drawn(self.spans.last_mut().expect("one was just pushed"))
    }
}

fn context(trace_id: u128, span_id: u64, sampled: bool, state: &TraceState) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(TraceId::from(trace_id), SpanId::from(span_id), flags, false, state.clone())
}
