//! The journey of a unary call through the door: headers, message, answer, trailers. The same for every protocol.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use http::{Request, Response};
use http_body::Body;

use super::access::{Access, Noted};
use super::answer::Answer;
use super::budget::{ByteBudget, Taken};
use super::gateways::Gateways;
use super::message::{BodyRules, Message, Messages};
use super::metadata::{Deadlines, Metadata};
use super::peer::Peer;
use super::phase::Phases;
use super::protocol::Protocol;
use super::timing::{self, Breakdown};
use super::tracing::{Tracing, failed_with};
use super::trailers::{report, trailers};
use crate::error::Result;
use crate::infer::{Execution, Infer, InferResponse, Member, Spent, Stage, Timeline, Version, call};
use crate::observe::log::Within;
use crate::observe::trace::{Followed, Status};
use crate::observe::{CallTable, Entry, Ledger, Measured};
use crate::tensor::Rope;

/// An answer that is being made. Dropping it abandons the call.
pub type Answering<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// What every call meets at the door.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long calls may take.
    pub deadlines: Deadlines,
    /// What a body may do.
    pub body: BodyRules,
    /// Calls in flight on one stream.
    pub stream_in_flight: usize,
    /// Whether answers carry a load report.
    pub load_report: bool,
    /// Whether callers are told where their time went.
    pub server_timing: bool,
    /// How long a stream may wait for its next message.
    pub stream_idle: std::time::Duration,
}

/// Answers calls: what is behind the door, and the rules and counts at it.
#[derive(Debug)]
pub struct Calls<S> {
    /// The stages behind the door.
    pub service: S,
    /// What every call meets.
    pub rules: Rules,
    /// Bytes of messages in memory.
    pub budget: Arc<ByteBudget>,
    /// Counts of calls by their end.
    pub ledger: Arc<Ledger>,
    /// How far the process is in stopping.
    pub phases: Phases,
    /// Traces of calls.
    pub tracing: Tracing,
    /// Lines of calls in the log.
    pub access: Access,
    /// What calls are measured by, where they are.
    measures: Option<Arc<CallTable>>,
    gateways: Gateways,
}

impl<S> Calls<S> {
    /// Calls to `service`, of which none has come yet.
    pub fn new(
        service: S,
        rules: Rules,
        budget: Arc<ByteBudget>,
        ledger: Arc<Ledger>,
        phases: Phases,
        tracing: Tracing,
    ) -> Calls<S> {
        let (access, measures, gateways) = (Access::default(), None, Gateways::new(Instant::now()));
        Calls { service, rules, budget, ledger, phases, tracing, access, measures, gateways }
    }

    /// The same with lines in the log.
    pub fn noted_in(self, access: Access) -> Calls<S> {
        Calls { access, ..self }
    }

    /// The same, measured.
    pub fn measured_by(self, table: Option<Arc<CallTable>>) -> Calls<S> {
        Calls { measures: table, ..self }
    }

    /// Takes a call in, of which nothing else is known yet.
    pub(super) fn enter(&self) -> (Timeline, Entry, Measured) {
        let timeline = Timeline::start(Instant::now());
        let measured = self.measures.as_ref().map_or(Measured::OFF, |table| table.measure(&timeline));
        (timeline, self.ledger.accept(), measured)
    }
}

impl<S: Infer> Calls<S> {
    /// Answers one unary call of protocol `P`. What the call needs of its head is read before the future is made, which
    /// is allocated and moved for each call and therefore small.
    pub fn unary<P, B>(self: &Arc<Self>, request: Request<B>, peer: Peer) -> Answering<Answer>
    where
        P: Protocol,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let (timeline, entry, measured) = self.enter();
        let (head, body) = request.into_parts();
        let trace = self.tracing.begin(self.tracing.propagators.read(&head.headers), peer.is_trusted);
        let followed = self.tracing.tracer.follow(trace.as_ref(), P::METHOD, &timeline);
        let (noted, facts) = self.access.begin(P::METHOD, peer.address, trace.as_ref(), &timeline);
        let ending = Ending { entry, measured, followed, noted };
        let metadata = match Metadata::read(&head.headers, self.rules.deadlines, timeline.started()) {
            Ok(metadata) => Metadata { trace, facts, ..metadata },
            Err(error) => return Box::pin(ready(ending.with(Err(error)))),
        };
        let within = metadata.trace.clone();
        let encoding = metadata.encoding;
        let mut messages = Messages::new(body, encoding, self.rules.body, self.budget.clone(), P::LARGE_BYTES);
        let calls = self.clone();
        Box::pin(Within::new(within, async move {
            let answer = calls.answer::<P, B>(&mut messages, &metadata, &timeline).await;
            ending.with(answer)
        }))
    }

    async fn answer<P, B>(&self, messages: &mut Messages<B>, metadata: &Metadata, timeline: &Timeline) -> Result<Ready>
    where
        P: Protocol,
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let message = messages.only(metadata.deadline).await?;
        let made = self.one::<P>(message, metadata, timeline).await?;
        let answer = metadata.answer_encoding.deflated(made.answer).await;
        let now = Instant::now();
        timeline.end(Stage::Encode, now);
        let spent = timeline.spent_until(now);
        let breakdown = match self.breakdown(metadata) {
            Breakdown::Nowhere => None,
            _ if made.is_told => None,
            _ => Some(breakdown(&spent, made.version, &made.execution)),
        };
        let mut trailers = trailers(&spent, &made.execution, metadata, breakdown);
        if self.rules.load_report {
            report(&mut trailers, &made.execution.load, metadata);
        }
        let answer = Answer::ok(answer, trailers, metadata.answer_encoding, made.taken);
        Ok(Ready { answer, at: now, spent })
    }

    /// One message to its answer, in the protocol's form.
    pub(super) async fn one<P: Protocol>(
        &self,
        message: Message,
        metadata: &Metadata,
        timeline: &Timeline,
    ) -> Result<Made> {
        let (calling, mut taken, reply) = self.begin::<P>(message, metadata, timeline)?;
        let mut response: InferResponse = calling.await?;
        timeline.taken_by(&response.model, response.version);
        let mut answer = P::encode(&response, &reply);
        let mut is_told = false;
        if self.breakdown(metadata) == Breakdown::Parameter {
            let now = Instant::now();
            timeline.end(Stage::Encode, now);
            let breakdown = breakdown(&timeline.spent_until(now), response.version, &response.execution);
            let breakdown = ByteString::try_from(breakdown).expect("it is ASCII");
            is_told = P::add_parameter(&mut answer, timing::PARAMETER, breakdown);
        }
        taken.overdraw(answer.len());
        if let Some(facts) = &metadata.facts {
            facts.answered(&response, answer.len());
        }
        // Nobody else is told.
        if let Some(gateway) = metadata.origin.filter(|_| self.rules.load_report) {
            response.execution.load.gateways = self.gateways.count(&response.model, gateway, Instant::now());
        }
        Ok(Made { answer, is_told, taken, version: response.version, execution: response.execution })
    }

    /// Where this caller is told where its time went. Gateways are told in their own way.
    fn breakdown(&self, metadata: &Metadata) -> Breakdown {
        match self.rules.server_timing && metadata.origin.is_none() {
            true => metadata.breakdown,
            false => Breakdown::Nowhere,
        }
    }

    /// Decodes a message and hands its call to the stages.
    fn begin<P: Protocol>(
        &self,
        message: Message,
        metadata: &Metadata,
        timeline: &Timeline,
    ) -> Result<(impl Future<Output = Result<InferResponse>> + use<S, P>, Taken, P::Reply)> {
        let Message { bytes, mut taken } = message;
        let received = bytes.len();
        if let Some(facts) = &metadata.facts {
            facts.received(received);
        }
        let (decoded, reply) = P::decode(bytes, self.rules.body.message_size)?;
        // Lists may have grown on their way into tensors.
        taken.grow(decoded.bytes().saturating_sub(received))?;
        timeline.end(Stage::Receive, Instant::now());
        let member = Member {
            id: ByteString::new(),
            deadline: metadata.deadline,
            trace: metadata.trace.clone(),
            previous_attempts: metadata.previous_attempts,
            timeline: timeline.clone(),
        };
        let request = decoded.request(member);
        if let Some(facts) = &metadata.facts {
            facts.is_for(&request.model);
        }
        Ok((call(&self.service, request), taken, reply))
    }
}

/// An answer in the protocol's form.
pub(super) struct Made {
    pub(super) answer: Rope,
    /// Whether it has the breakdown among its parameters.
    is_told: bool,
    pub(super) taken: Taken,
    version: Option<Version>,
    execution: Execution,
}

fn breakdown(spent: &Spent, version: Option<Version>, execution: &Execution) -> Bytes {
    timing::server_timing(spent, version, &execution.device)
}

/// Who is told how a call ends. Dropped, its caller has left.
struct Ending {
    entry: Entry,
    measured: Measured,
    followed: Followed,
    noted: Noted,
}

impl Ending {
    /// Tells them that it ended with this.
    fn with(self, result: Result<Ready>) -> Response<Answer> {
        self.entry.end(&result);
        match result {
            Ok(Ready { answer, at, spent }) => {
                let exported = self.followed.end(at, || Status::OK);
                self.measured.answered(at, &spent, exported);
                self.noted.end(None);
                answer
            }
            Err(error) => {
                let (now, failure) = (Instant::now(), Some(error.kind()));
                let exported = self.followed.end(now, || failed_with(&error));
                self.measured.end(now, failure, exported);
                self.noted.end(failure);
                Answer::failed(error)
            }
        }
    }
}

/// An answer, and when it was ready: its caller, metrics and traces are told the same times.
struct Ready {
    answer: Response<Answer>,
    at: Instant,
    spent: Spent,
}
