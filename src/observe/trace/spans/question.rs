//! The span of a question, and those of the endpoints that were asked for it.

use std::sync::Arc;
use std::time::Instant;

use super::canvas::{Drawn, Place};
use super::{Anchor, Kept, Status};
use crate::observe::trace::names;
use crate::observe::trace::otlp::{Head, Kind, Spans};
use crate::observe::trace::question::{Noted, Question, Rpc};

/// What an errand ended with that was given up.
const GIVEN_UP: &str = "CANCELLED";

/// A question that is over and kept.
#[derive(Debug)]
pub(in crate::observe::trace) struct OfQuestion {
    pub(in crate::observe::trace) question: Arc<Question>,
    pub(in crate::observe::trace) rpc: Rpc,
    pub(in crate::observe::trace) began: Instant,
    pub(in crate::observe::trace) at: Instant,
    pub(in crate::observe::trace) status: Status,
    pub(in crate::observe::trace) kept: Kept,
}

/// Draws all of a question.
pub(super) fn draw(ended: &OfQuestion, anchor: Anchor, spans: &mut Spans) {
    let OfQuestion { question, rpc, began, at, status, kept } = ended;
    let own = question.trace.context;
    let place = Place { trace_id: own.trace_id, parent: question.parent, is_remote: question.parent.is_some() };
    // The method's name, where it is one (semantic conventions for spans of RPCs).
    let name = if rpc.original.is_none() { rpc.name } else { names::GRPC };
    let times = (anchor.at(*began), anchor.at(*at));
    let Some(errands) = question.errands() else { return };
    let mut span = begin(spans, question, (name, Kind::Server), own.span_id, place, times);
    span.set(&names::RPC_SYSTEM, names::GRPC).set(&names::RPC_METHOD, rpc.name).set(&names::RPC_STATUS, status.code);
    span.set(&names::KEPT, kept.name());
    if let Some(original) = &rpc.original {
        span.set(&names::RPC_METHOD_ORIGINAL, &**original);
    }
    if names::is_server_error(status.code) {
        span.fail(status.code, status.failure.as_ref().map_or("", |failure| failure.message()));
    }
    if let Some(model) = question.model.get() {
        span.set(&names::MODEL_NAME, model.as_str());
    }
    if errands.beyond > 0 {
        span.set(&names::WORKS_DROPPED, errands.beyond as i64);
    }
    for noted in &errands.kept {
        let until = noted.ended.as_ref().map_or(*at, |(at, _)| *at);
        draw_errand(spans, question, noted, (anchor.at(noted.errand.began), anchor.at(until)));
    }
}

fn draw_errand(spans: &mut Spans, question: &Question, noted: &Noted, times: (u64, u64)) {
    let Noted { errand, span_id, ended } = noted;
    let place = Place::inside(question.trace.context);
    let mut span = begin(spans, question, (errand.method, Kind::Client), *span_id, place, times);
    span.set(&names::RPC_SYSTEM, names::GRPC)
        .set(&names::RPC_METHOD, errand.method)
        .set(&names::SERVER_ADDRESS, &*errand.address.ip().to_string())
        .set(&names::SERVER_PORT, i64::from(errand.address.port()))
        .set(&names::ENDPOINT, &*errand.endpoint);
    if let Some(zone) = &errand.zone {
        span.set(&names::ZONE, &**zone);
    }
    match ended {
        None => _ = span.set(&names::RPC_STATUS, GIVEN_UP),
        Some((_, None)) => _ = span.set(&names::RPC_STATUS, "OK"),
        Some((_, Some((code, error)))) => _ = span.set(&names::RPC_STATUS, *code).fail(code, error.message()),
    }
}

fn begin<'a>(
    spans: &'a mut Spans,
    question: &Question,
    (name, kind): (&str, Kind),
    id: u64,
    Place { trace_id, parent, is_remote }: Place,
    (from, until): (u64, u64),
) -> Drawn<'a> {
    let state = question.trace.state.as_ref().and_then(|state| state.to_str().ok()).unwrap_or_default().as_bytes();
    let times = (from, until.max(from));
    Drawn::begin(spans, &Head { trace_id, id, state, parent, is_remote, name, kind, times })
}
