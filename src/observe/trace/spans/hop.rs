//! What was asked of another process: one span, with one for each attempt inside.

use std::time::{Duration, Instant};

use super::canvas::{Canvas, Drawn, Place};
use crate::infer::{Attempt, Ending, Hop, Spent, Stage, TraceContext, Why};
use crate::observe::trace::names;
use crate::observe::trace::otlp::Kind;

/// Gateways ask in one way only, whatever they were asked.
const METHOD: &str = "inference.GRPCInferenceService/ModelInfer";
const ATTEMPT: &str = "Attempt.inference.GRPCInferenceService/ModelInfer";

/// What an attempt ended with that was given up.
const GIVEN_UP: &str = "CANCELLED";

/// Draws a hop, where no other of its calls did.
pub(super) fn draw(canvas: &mut Canvas<'_>, hop: &Hop) {
    let home = hop.joint.home_for(canvas.own());
    if !hop.joint.is_to_be_told() {
        return;
    }
    let attempts = hop.attempts();
    let Some(first) = attempts.first() else { return };
    let until = attempts.iter().filter_map(ended_at).max().unwrap_or(canvas.ended.at);
    let times = (canvas.at(first.began), canvas.at(until));
    let mut span = canvas.span(METHOD, Kind::Client, hop.joint.span_id(), Place::inside(home), times);
    rpc(&mut span);
    span.set(&names::PICKER, hop.picker).set(&names::ATTEMPTS, attempts.len() as i64);
    if hop.joint.calls() > 1 {
        span.set(&names::BATCH_CALLS, hop.joint.calls() as i64).link(hop.joint.members());
    }
    outcome(&mut span, &attempts);
    for attempt in &attempts {
        let place = Place::inside(TraceContext { span_id: hop.joint.span_id(), ..home });
        draw_attempt(canvas, attempt, place, until);
    }
}

fn rpc(span: &mut Drawn<'_>) {
    span.set(&names::RPC_SYSTEM, "grpc").set(&names::RPC_METHOD, METHOD);
}

fn ended_at(attempt: &Attempt) -> Option<Instant> {
    attempt.ended.as_ref().map(|(at, _)| *at)
}

/// What became of it all: the good answer, else the last failure.
fn outcome(span: &mut Drawn<'_>, attempts: &[Attempt]) {
    let endings = || attempts.iter().filter_map(|attempt| attempt.ended.as_ref());
    let answered = endings().find(|(_, ending)| matches!(ending, Ending::Answered { .. }));
    let last = answered.or_else(|| endings().max_by_key(|(at, _)| *at));
    status(span, last.map(|(_, ending)| ending));
}

/// To whoever calls, everything but a good answer is an error, unless it was given up.
fn status(span: &mut Drawn<'_>, ending: Option<&Ending>) {
    match ending {
        None => _ = span.set(&names::RPC_STATUS, GIVEN_UP),
        Some(Ending::Answered { .. }) => _ = span.set(&names::RPC_STATUS, "OK"),
        Some(Ending::Failed(code, error)) => _ = span.set(&names::RPC_STATUS, *code).fail(code, error.message()),
    }
}

fn draw_attempt(canvas: &mut Canvas<'_>, attempt: &Attempt, place: Place, hop_until: Instant) {
    // One that was given up for another has waited until that one was answered.
    let until = ended_at(attempt).unwrap_or(hop_until);
    let times = (canvas.at(attempt.began), canvas.at(until));
    let mut span = canvas.span(ATTEMPT, Kind::Client, attempt.span_id, place, times);
    rpc(&mut span);
    span.set(&names::SERVER_ADDRESS, &*attempt.address.ip().to_string())
        .set(&names::SERVER_PORT, i64::from(attempt.address.port()))
        .set(&names::ENDPOINT, &*attempt.endpoint)
        .set(&names::BREAKER, if attempt.is_probe { "probe" } else { "closed" })
        .set(&names::PREVIOUS_ATTEMPTS, i64::from(attempt.earlier));
    if let Some(zone) = &attempt.zone {
        span.set(&names::ZONE, &**zone);
    }
    let (why, never_ran) = match attempt.why {
        Why::First => ("first", None),
        Why::Retry { never_ran } => ("retry", Some(never_ran)),
        Why::Hedge => ("hedge", None),
        Why::Silence => ("silence", None),
    };
    span.set(&names::ATTEMPT_WHY, why);
    if let Some(never_ran) = never_ran {
        span.set(&names::TRANSPARENT_RETRY, never_ran);
    }
    let ending = attempt.ended.as_ref().map(|(_, ending)| ending);
    status(&mut span, ending);
    let Some(Ending::Answered { connected, sent, spent, rows, calls }) = ending else { return };
    span.seconds(&names::STAGES[Stage::Connect as usize], connected.saturating_duration_since(attempt.began))
        .seconds(&names::STAGES[Stage::Send as usize], sent.saturating_duration_since(*connected));
    if let Some(spent) = spent {
        behind(&mut span, spent, until.saturating_duration_since(*sent));
        span.set(&names::BATCH_SIZE, *rows as i64).set(&names::BATCH_CALLS, i64::from(*calls));
    }
    let (connected, began, id) = (*connected, attempt.began, attempt.span_id);
    if connected > began {
        let times = (canvas.at(began), canvas.at(connected));
        canvas.stretch(Stage::Connect.name(), id, times);
    }
}

/// What the endpoint said of where the time went, and what is left of it for the way there and back.
fn behind(span: &mut Drawn<'_>, spent: &Spent, hop: Duration) {
    span.seconds(&names::QUEUE_DURATION, spent.of(Stage::Queue))
        .seconds(&names::EXECUTE_DURATION, spent.of(Stage::Execute))
        .seconds(&names::STAGES[Stage::Return as usize], hop.saturating_sub(spent.total()));
}
