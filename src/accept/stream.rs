//! ModelStreamInfer: each message is a call of its own. Answers keep the order of their messages, a failure is an
//! answer too, and no more than so many calls of one stream are in flight.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, Stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};

use super::answer::response;
use super::budget::Taken;
use super::calls::{Calls, Rules};
use super::message::{BodyRules, Message, Messages};
use super::metadata::Metadata;
use super::peer::Peer;
use super::phase::{Phase, PhaseWatch};
use super::protocol::{OpenInference, Protocol};
use super::tracing::failed_with;
use crate::error::{Error, Kind, Result};
use crate::infer::{Infer, Stage, Trace};
use crate::observe::log::Within;
use crate::observe::trace::Status;
use crate::tensor::Rope;
use crate::wire::timeout::GRPC_TIMEOUT;
use crate::wire::trace::Carried;
use crate::wire::{oip, status};

const METHOD: &str = "inference.GRPCInferenceService/ModelStreamInfer";

type Reading<B> = Pin<Box<dyn Future<Output = (Messages<B>, Result<Option<Message>>)> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// One answer on its way out.
struct Answered {
    message: Rope,
    /// The failure, where the caller asked for failures to end the stream.
    fatal: Option<Error>,
    taken: Option<Taken>,
}

/// The body of a stream's answers. Everything about the stream happens while it is polled, so that dropping it, as
/// when the caller leaves, ends its calls at once.
pub struct Answers<B, S> {
    calls: Arc<Calls<S>>,
    metadata: Arc<Metadata>,
    /// The caller's trace, which is that of each call.
    carried: Option<Carried>,
    peer: Peer,
    /// Failures end the stream with a status of their own (Triton's `triton_grpc_error`).
    failures_are_final: bool,
    reading: Option<Reading<B>>,
    answering: FuturesOrdered<Answering>,
    outgoing: VecDeque<Bytes>,
    held: Option<Taken>,
    end: End,
    /// Done once the process leaves: a stream then ends as soon as none of its calls is in flight.
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a message of a stream is answered with.
struct InStream {
    metadata: Arc<Metadata>,
    trace: Option<Arc<Trace>>,
    peer: Peer,
    fatal: bool,
}

enum End {
    /// The stream goes on.
    Open,
    /// It ends so once what is in flight was answered.
    With(Option<Error>),
    /// It has ended.
    Sent,
}

impl<S: Infer> Calls<S> {
    /// Answers a stream of calls.
    pub fn stream<B>(self: &Arc<Self>, request: Request<B>, peer: Peer) -> Result<Response<Answers<B, S>>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        let metadata = Metadata::read(&head.headers, self.rules.deadlines, Instant::now())?;
        // The stream itself lives as long as its caller's deadline; each call in it has its own beside that.
        let deadline = if head.headers.contains_key(GRPC_TIMEOUT) { metadata.deadline } else { far_away() };
        let metadata = Arc::new(Metadata { deadline, ..metadata });
        let rules = BodyRules { first_byte: self.rules.stream_idle, ..self.rules.body };
        let path = OpenInference::LARGE_BYTES;
        let messages = Messages::new(body, metadata.encoding, rules, self.budget.clone(), path);
        let failures_are_final = head.headers.get("triton_grpc_error").is_some_and(|value| value == "true");
        let encoding = metadata.answer_encoding;
        let answers = Answers {
            calls: self.clone(),
            reading: Some(read(messages, deadline)),
            metadata,
            carried: self.tracing.propagators.read(&head.headers),
            peer,
            failures_are_final,
            answering: FuturesOrdered::new(),
            outgoing: VecDeque::new(),
            held: None,
            end: End::Open,
            leaving: leaving(self.phases.watch()),
        };
        Ok(response(answers, encoding))
    }

    /// One message of a stream to its answer.
    async fn answer_in_stream(
        self: Arc<Self>,
        message: Message,
        InStream { metadata, trace, peer, fatal }: InStream,
    ) -> Answered {
        let (timeline, entry, measured) = self.enter();
        let followed = self.tracing.tracer.follow(trace.as_ref(), METHOD, &timeline);
        let (noted, facts) = self.access.begin(METHOD, peer.address, trace.as_ref(), &timeline);
        let id = oip::id(&message.bytes);
        let deadline = metadata.deadline.min(timeline.started() + self.rules.deadlines.default);
        let metadata = Metadata { deadline, trace, facts, ..*metadata };
        let result = self.one::<OpenInference>(message, &metadata, &timeline).await;
        entry.end(&result);
        let failure = result.as_ref().err().map(Error::kind);
        let status = result.as_ref().err().filter(|_| followed.is_noted()).map(failed_with);
        let (message, taken) = match result {
            Ok(made) => (oip::in_stream(&made.answer), Some(made.taken)),
            Err(error) if fatal => {
                let now = Instant::now();
                measured.end(now, failure, followed.end(now, || status.unwrap_or(Status::OK)));
                noted.end(failure);
                return Answered { message: Rope::default(), fatal: Some(error), taken: None };
            }
            Err(error) => (oip::failed_in_stream(status::cut(error.message()), &id), None),
        };
        let message = metadata.answer_encoding.deflated(message).await;
        let now = Instant::now();
        timeline.end(Stage::Encode, now);
        measured.end(now, failure, followed.end(now, || status.unwrap_or(Status::OK)));
        noted.end(failure);
        Answered { message, fatal: None, taken }
    }
}

fn leaving(mut phase: PhaseWatch) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { phase.reached(Phase::Leaving).await })
}

fn far_away() -> Instant {
    Instant::now() + std::time::Duration::from_secs(365 * 24 * 3600)
}

fn read<B>(mut messages: Messages<B>, deadline: Instant) -> Reading<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    Box::pin(async move {
        let next = messages.next(deadline).await;
        (messages, next)
    })
}

impl<B, S> Answers<B, S>
where
    S: Infer,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    fn rules(&self) -> &Rules {
        &self.calls.rules
    }

    /// Takes messages in while there is room for their calls.
    fn poll_read(&mut self, cx: &mut Context<'_>) {
        while self.answering.len() < self.rules().stream_in_flight
            && let Some(reading) = &mut self.reading
            && let Poll::Ready((messages, next)) = reading.as_mut().poll(cx)
        {
            self.reading = None;
            match next {
                Ok(Some(message)) => {
                    let (calls, metadata) = (self.calls.clone(), self.metadata.clone());
                    let trace = calls.tracing.begin(self.carried.clone(), self.peer.is_trusted);
                    let within = trace.clone();
                    let member = InStream { metadata, trace, peer: self.peer, fatal: self.failures_are_final };
                    self.answering.push_back(Box::pin(Within::new(within, calls.answer_in_stream(message, member))));
                    self.reading = Some(read(messages, self.metadata.deadline));
                }
                Ok(None) => self.end = End::With(None),
                Err(error) => self.end = End::With(Some(error)),
            }
        }
    }

    fn put(&mut self, answered: Answered) {
        let Answered { message, fatal, taken } = answered;
        if let Some(error) = fatal {
            self.reading = None;
            self.answering = FuturesOrdered::new();
            self.end = End::With(Some(error));
            return;
        }
        self.outgoing.extend(message.parts().iter().cloned());
        self.held = taken;
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        match std::mem::replace(&mut self.end, End::Sent) {
            End::With(Some(error)) => Some(status::trailers(error)),
            End::With(None) => Some(status::ok_trailers()),
            End::Open | End::Sent => None,
        }
    }
}

impl<B, S> Body for Answers<B, S>
where
    S: Infer,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(part) = this.outgoing.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            this.held = None;
            this.poll_read(cx);
            match Pin::new(&mut this.answering).poll_next(cx) {
                Poll::Ready(Some(answered)) => this.put(answered),
                Poll::Ready(None) if matches!(this.end, End::Open) => {
                    if this.leaving.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.reading = None;
                    this.end = End::With(Some(Error::new(Kind::Draining, "the server is stopping")));
                }
                Poll::Ready(None) => return Poll::Ready(this.trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
