//! One try of a call at one endpoint: the request into the backend's form, the reply back into ours.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::endpoint::{Failed, Reply};
use super::member::Sent;
use super::now;
use super::pool::Tactics;
use super::retry::Ran;
use crate::error::{Error, Kind, Result, Retry};
use crate::infer::{Close, Composition, Execution, InferRequest, InferResponse, LoadReport, Member as Caller, Stage};
use crate::tensor::Rope;
use crate::wire::{oip, orca, origin, status, timeout, trace};

/// What is kept back of a call's time for the way there and back: a fiftieth, and no more than this.
const MARGIN: Duration = Duration::from_millis(1);

/// How often a call was tried before (gRFC A6).
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

static MODEL_INFER: LazyLock<PathAndQuery> =
    LazyLock::new(|| PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer"));

/// A call in the form in which backends take it; made once, sent as often as it takes.
pub(super) struct Outgoing {
    /// The message with its prefix.
    message: Rope,
    pub(super) deadline: Instant,
    /// Rows along the batch axis, as far as the gateway knows one.
    pub(super) rows: u32,
    /// How often tiers in front have tried it.
    pub(super) earlier: u32,
    /// Whether a second endpoint may be asked where the first is slow.
    pub(super) hedges: bool,
    traceparent: Option<HeaderValue>,
    origin: HeaderValue,
    message_size: usize,
}

impl Outgoing {
    /// `request` for a backend. One that nothing has changed goes out as the bytes that it came in.
    pub(super) fn of(request: &InferRequest, rows: u32, tactics: &Tactics) -> Outgoing {
        let message = match &request.received {
            Some(received) => oip::forward(received),
            None => oip::request(request),
        };
        let first = &request.members[0];
        Outgoing {
            message,
            deadline: request.deadline(),
            rows,
            earlier: first.previous_attempts,
            hedges: true,
            traceparent: first.trace.as_ref().map(trace::traceparent),
            origin: tactics.origin.clone(),
            message_size: tactics.message_size,
        }
    }

    /// What is left of its time.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    fn headers(&self, number: u32, now: Instant) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        let left = self.left(now);
        headers.insert(timeout::GRPC_TIMEOUT, timeout::timeout(left - MARGIN.min(left / 50)));
        headers.insert(origin::HEADER, self.origin.clone());
        if let Some(traceparent) = &self.traceparent {
            headers.insert(trace::TRACEPARENT, traceparent.clone());
        }
        let previous = self.earlier + number - 1;
        if previous > 0 {
            headers.insert(PREVIOUS_ATTEMPTS, previous.into());
        }
        headers
    }

    /// Sends the call, as attempt `number` from one on, to where `sent` was let in.
    pub(super) fn send(&self, sent: Sent, number: u32) -> impl Future<Output = Result<InferResponse, Failed>> + Send {
        let (endpoint, began) = (sent.member.endpoint.clone(), now());
        async move {
            let reply = endpoint.call(&MODEL_INFER, &self.headers(number, began), &self.message).await;
            let answer = reply.and_then(|reply| self.understood(reply, endpoint.name(), began));
            match &answer {
                Ok((_, report)) => sent.answered(report.as_ref(), now()),
                Err(failed) => sent.failed(&said(&failed.error), now()),
            }
            answer.map(|(response, _)| response)
        }
    }

    fn understood(
        &self,
        reply: Reply,
        backend: &ByteString,
        began: Instant,
    ) -> Result<(InferResponse, Option<LoadReport>), Failed> {
        status::failure(&reply.trailers).map_err(|error| {
            let ran = if error.kind().retry() == Retry::Safe { Ran::Never } else { Ran::Maybe };
            Failed { error, ran }
        })?;
        let wrong = |error: Error| Failed { error, ran: Ran::Maybe };
        let message = reply.message.ok_or_else(|| wrong(Error::new(Kind::Engine, "the backend's answer is empty")))?;
        let answer = oip::answer(message.clone(), self.message_size).map_err(wrong)?;
        let report = reply.trailers.get(orca::TRAILER).and_then(|value| orca::read(value.to_str().ok()?));
        let response = InferResponse {
            model: answer.model,
            version: answer.version,
            outputs: answer.outputs,
            parameters: answer.parameters,
            rows: self.rows as usize,
            received: Some(message),
            execution: execution(backend, self.rows, began, report.unwrap_or_default()),
        };
        Ok((response, report))
    }
}

/// A failure as it is held against the endpoint that told it. Who says itself that the deadline has passed is alive and has
/// too much to do; silence, which only our own timer finds, is something else.
fn said(error: &Error) -> Error {
    match error.kind() {
        Kind::Late => Error::new(Kind::Overloaded, error.message().to_owned()),
        _ => error.clone(),
    }
}

/// How a call ran that another process ran: all of it between sending and answer.
fn execution(backend: &ByteString, rows: u32, began: Instant, load: LoadReport) -> Execution {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Execution {
        batch: NUMBER.fetch_add(1, Relaxed),
        composition: Composition { rows: rows as usize, elements: 0, padding: 0, closed: Close::SlotFree },
        members: 1,
        device: backend.clone(),
        taken: began,
        merged: began,
        executed: now(),
        load,
    }
}

/// Ends a stage of every call that is sent as one.
pub(super) fn stamp(callers: &[Caller], stage: Stage) {
    let now = now();
    callers.iter().for_each(|caller| caller.timeline.end(stage, now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_says_itself_that_it_is_late_has_too_much_to_do_and_is_not_silent() {
        assert_eq!(said(&Error::late("waiting for an instance")).kind(), Kind::Overloaded);
        assert_eq!(said(&Error::new(Kind::Engine, "broken")).kind(), Kind::Engine);
    }
}
