//! One try of a call at one endpoint: the request into the backend's form, the reply back into ours.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
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
use crate::infer::{
    Attempt, Close, Composition, Ending, Execution, Hop, InferRequest, InferResponse, LoadReport, Member as Caller,
    Spent, Stage, Trace,
};
use crate::tensor::Rope;
use crate::wire::stages::{self, Told};
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
    trace: Option<Arc<Trace>>,
    /// Where its attempts are noted down, where they are.
    hop: Option<Arc<Hop>>,
    origin: HeaderValue,
    message_size: usize,
}

impl Outgoing {
    /// `request` for a backend, which `picker` picks. One that nothing has changed goes out as the bytes that it came in.
    pub(super) fn of(request: &InferRequest, rows: u32, tactics: &Tactics, picker: &'static str) -> Outgoing {
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
            trace: trace_of(&request.members).cloned(),
            hop: Hop::note(&request.members, picker),
            origin: tactics.origin.clone(),
            message_size: tactics.message_size,
        }
    }

    /// What is left of its time.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    fn headers(&self, number: u32, span_id: Option<u64>, now: Instant) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        let left = self.left(now);
        headers.insert(timeout::GRPC_TIMEOUT, timeout::timeout(left - MARGIN.min(left / 50)));
        headers.insert(origin::HEADER, self.origin.clone());
        if let Some(trace) = &self.trace {
            trace::write(trace, span_id.unwrap_or(trace.context.span_id), &mut headers);
        }
        let previous = self.earlier + number - 1;
        if previous > 0 {
            headers.insert(PREVIOUS_ATTEMPTS, previous.into());
        }
        headers
    }

    /// Sends the call, as attempt `number` from one on, to where `sent` was let in.
    pub(super) fn send(&self, sent: Sent, number: u32) -> impl Future<Output = Answer> + Send {
        let (endpoint, began) = (sent.member.endpoint.clone(), now());
        let noted = self.hop.as_ref().map(|hop| (hop, hop.begin(self.attempt(&sent, number, began))));
        async move {
            let headers = self.headers(number, noted.map(|(_, span_id)| span_id), began);
            let reply = endpoint.call(&MODEL_INFER, &headers, &self.message).await;
            let answer = reply.and_then(|reply| self.understood(reply, endpoint.name(), number, began));
            if let Some((hop, span_id)) = noted {
                hop.end(span_id, now(), ending(&answer));
            }
            match &answer {
                Ok((_, report)) => sent.answered(report.as_ref(), now()),
                Err(failed) => sent.failed(&said(&failed.error), now()),
            }
            answer.map(|(answered, _)| answered)
        }
    }

    /// What is noted down of an attempt when it begins.
    fn attempt(&self, sent: &Sent, number: u32, began: Instant) -> Attempt {
        let endpoint = &sent.member.endpoint;
        Attempt {
            span_id: 0,
            earlier: self.earlier + number - 1,
            why: sent.why,
            endpoint: endpoint.name().clone(),
            address: endpoint.address(),
            zone: endpoint.zone().cloned(),
            is_probe: sent.is_probe(),
            began,
            ended: None,
        }
    }

    fn understood(
        &self,
        reply: Reply,
        backend: &ByteString,
        number: u32,
        began: Instant,
    ) -> Result<(Answered, Option<LoadReport>), Failed> {
        status::failure(&reply.trailers).map_err(|error| {
            let ran = if error.kind().retry() == Retry::Safe { Ran::Never } else { Ran::Maybe };
            Failed { error, ran }
        })?;
        let wrong = |error: Error| Failed { error, ran: Ran::Maybe };
        let message = reply.message.ok_or_else(|| wrong(Error::new(Kind::Engine, "the backend's answer is empty")))?;
        let answer = oip::answer(message.clone(), self.message_size).map_err(wrong)?;
        let report = reply.trailers.get(orca::TRAILER).and_then(|value| orca::read(value.to_str().ok()?));
        let behind = reply.trailers.get(&stages::TRAILER).and_then(|value| stages::read(value.as_bytes()));
        let response = InferResponse {
            model: answer.model,
            version: answer.version,
            outputs: answer.outputs,
            parameters: answer.parameters,
            rows: self.rows as usize,
            received: Some(message),
            execution: execution(backend, self.rows, began, behind.as_ref(), report.unwrap_or_default()),
        };
        let (connected, sent) = (reply.connected, reply.sent);
        Ok((Answered { response, number, began, connected, sent, spent: behind.map(|behind| behind.spent) }, report))
    }
}

/// The trace in which calls are made for all of these: that of the first that is recorded, where one is.
fn trace_of(callers: &[Caller]) -> Option<&Arc<Trace>> {
    let mut traces = callers.iter().filter_map(|caller| caller.trace.as_ref());
    let recorded = traces.clone().find(|trace| trace.notes.is_some() && trace.context.sampled);
    recorded.or_else(|| traces.next())
}

/// How an attempt ended, as it is noted down.
fn ending(answer: &Result<(Answered, Option<LoadReport>), Failed>) -> Ending {
    match answer {
        Err(failed) => Ending::Failed(status::name(failed.error.kind()), failed.error.clone()),
        Ok((answered, _)) => {
            let Answered { connected, sent, ref spent, ref response, .. } = *answered;
            let (rows, calls) = (response.execution.composition.rows, response.execution.members);
            Ending::Answered { connected, sent, spent: spent.map(Box::new), rows, calls }
        }
    }
}

/// A good answer, and what is known of the way there and back.
pub(super) struct Answered {
    pub(super) response: InferResponse,
    /// The attempt's.
    pub(super) number: u32,
    began: Instant,
    connected: Instant,
    sent: Instant,
    /// Where the time went at the backend, where that tells it.
    spent: Option<Spent>,
}

/// What became of an attempt.
pub(super) type Answer = Result<Answered, Failed>;

impl Answered {
    /// Stamps the calls that it answers, of which the first attempt of late was `first`; when it was here.
    pub(super) fn stamp(&self, callers: &[Caller], first: u32) -> Instant {
        let now = now();
        for timeline in callers.iter().map(|caller| &caller.timeline) {
            if self.number != first {
                // Another attempt came to nothing meanwhile.
                timeline.end(Stage::Execute, self.began);
            }
            timeline.end(Stage::Connect, self.connected);
            timeline.end(Stage::Send, self.sent);
            match &self.spent {
                Some(spent) => timeline.fold(spent, now),
                None => timeline.end(Stage::Execute, now),
            }
        }
        now
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

/// How a call ran that another process ran: all of it between sending and answer, in the batch that it tells of.
fn execution(backend: &ByteString, rows: u32, began: Instant, behind: Option<&Told>, load: LoadReport) -> Execution {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let alone = Composition { rows: rows as usize, elements: 0, padding: 0, closed: Close::SlotFree };
    let told =
        |behind: &Told| Composition { rows: behind.rows, padding: behind.padding, closed: behind.closed, ..alone };
    Execution {
        batch: NUMBER.fetch_add(1, Relaxed),
        composition: behind.map_or(alone, told),
        members: behind.map_or(1, |behind| behind.members),
        device: backend.clone(),
        taken: began,
        merged: began,
        executed: now(),
        load,
    }
}

/// Ends a stage of every call that is sent as one; when that was.
pub(super) fn stamp(callers: &[Caller], stage: Stage) -> Instant {
    let now = now();
    callers.iter().for_each(|caller| caller.timeline.end(stage, now));
    now
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
