//! Questions that are followed: RPCs that are no calls, such as the load of a model. They come seldom, so that what is noted
//! of them need not be cheap; nothing of them is on the path of a call.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use bytestring::ByteString;

use super::sampler::{Caller, Decision, Sampler};
use super::spans::{Ended, Kept, OfQuestion, Status};
use super::{Inner, Tracer, names};
use crate::error::{Blame, Error, Kind};
use crate::infer::{ModelName, Trace, TraceContext, new_span_id};

/// Endpoints that were asked for one question, of which there may be thousands. What is beyond is counted.
const MOST: usize = 128;

/// How an RPC is used, and so which of them are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Asked by somebody who wants to know: kept as calls are.
    Asked,
    /// A conversation that lasts as long as its caller likes: never slow.
    Open,
    /// Asked by machines again and again: kept where its caller has its trace recorded, or where it failed. It is drawn of
    /// none, and never slow.
    Probe,
}

/// Which RPC it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// As `service/method`.
    pub name: &'static str,
    /// How it is used.
    pub manner: Manner,
    /// What its caller named where nobody knows that.
    pub original: Option<String>,
}

/// An endpoint that was asked for a question.
#[derive(Debug, Clone)]
pub struct Errand {
    /// The RPC, as `service/method`.
    pub method: &'static str,
    /// What people call the endpoint.
    pub endpoint: ByteString,
    /// Where it is.
    pub address: SocketAddr,
    /// Its zone.
    pub zone: Option<ByteString>,
    /// When it was asked.
    pub began: Instant,
}

/// An errand, its span, and what came of it; nothing where it was given up with its question.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) errand: Errand,
    pub(super) span_id: u64,
    pub(super) ended: Option<(Instant, Option<(&'static str, Error)>)>,
}

#[derive(Debug, Default)]
pub(super) struct Errands {
    pub(super) kept: Vec<Noted>,
    pub(super) beyond: usize,
}

/// A question, as those know it who answer it.
#[derive(Debug)]
pub struct Question {
    /// Its place in its trace: a span of its own where it is followed, else its caller's.
    pub trace: Arc<Trace>,
    /// The span that asks, where it is known.
    pub(super) parent: Option<u64>,
    pub(super) model: OnceLock<ModelName>,
    /// None where it is not followed, and only passed on.
    errands: Option<Mutex<Errands>>,
}

impl Question {
    /// A question whose own span that is, and which this one asks.
    pub fn new(trace: Trace, parent: Option<u64>) -> Question {
        Question { trace: Arc::new(trace), parent, model: OnceLock::new(), errands: Some(Mutex::default()) }
    }

    /// A question that is not followed: whoever is asked for it is told of its caller's span.
    pub fn passing(trace: Trace) -> Question {
        Question { trace: Arc::new(trace), parent: None, model: OnceLock::new(), errands: None }
    }

    /// It is about this model.
    pub fn is_about(&self, model: &ModelName) {
        let _ = self.model.set(model.clone());
    }

    /// An endpoint is asked; the span that it is to be told of.
    pub fn asks(&self, errand: Errand) -> u64 {
        let Some(mut errands) = self.errands() else { return self.trace.context.span_id };
        let span_id = new_span_id();
        if errands.kept.len() < MOST {
            errands.kept.push(Noted { errand, span_id, ended: None });
        } else {
            errands.beyond += 1;
        }
        span_id
    }

    /// The errand with this span has ended, as a failure of which gRPC has that name.
    pub fn has_asked(&self, span_id: u64, now: Instant, failure: Option<(&'static str, Error)>) {
        let Some(mut errands) = self.errands() else { return };
        if let Some(noted) = errands.kept.iter_mut().find(|noted| noted.span_id == span_id) {
            noted.ended = Some((now, failure));
        }
    }

    pub(super) fn errands(&self) -> Option<MutexGuard<'_, Errands>> {
        let errands = self.errands.as_ref()?;
        Some(errands.lock().expect("nothing panics while errands are noted"))
    }
}

impl Tracer {
    /// The span of a question that comes; none where it is not followed.
    pub fn begin_question(&self, caller: Option<&Caller>, manner: Manner) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        let pace = inner.paced.get();
        if !pace.is_on {
            return None;
        }
        let ratio = if manner == Manner::Probe { 0.0 } else { pace.ratio };
        let decision = Sampler { ratio, ..inner.rules.sampler }.decide(caller, fastrand::f64());
        let trace_id = caller.map_or_else(|| fastrand::u128(1..), |caller| caller.context.trace_id);
        let sampled = decision == Decision::Record;
        (decision != Decision::Leave).then(|| TraceContext { trace_id, span_id: new_span_id(), sampled })
    }

    /// Follows a question to its end, whose span is its own.
    pub fn follow_question(&self, question: Arc<Question>, rpc: Rpc, began: Instant) -> Asked {
        Asked(self.0.clone().map(|tracer| Following { tracer, question, rpc, began }))
    }
}

/// A question that is followed. Dropped without an end, its caller has left.
pub struct Asked(Option<Following>);

struct Following {
    tracer: Arc<Inner>,
    question: Arc<Question>,
    rpc: Rpc,
    began: Instant,
}

impl Asked {
    /// It has ended so.
    pub fn end(mut self, status: Status) {
        if let Some(following) = self.0.take() {
            following.end(status);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(following) = self.0.take() {
            let failure = Some(Error::new(Kind::Cancelled, "the caller left"));
            following.end(Status { code: "CANCELLED", failure });
        }
    }
}

impl Following {
    fn end(self, status: Status) {
        let at = Instant::now();
        let Some(kept) = self.kept(&status, at) else { return };
        let Following { tracer, question, rpc, began } = self;
        tracer.queue.put(Ended::Question(Box::new(OfQuestion { question, rpc, began, at, status, kept })));
    }

    /// Why it is kept, where it is.
    fn kept(&self, status: &Status, at: Instant) -> Option<Kept> {
        if self.question.trace.context.sampled {
            return Some(Kept::Sampled);
        }
        let is_ours = status.failure.as_ref().is_some_and(|failure| failure.kind().blame() != Blame::Caller);
        let is_slow = || self.rpc.manner == Manner::Asked && at - self.began >= self.tracer.rules.slow;
        let late = if is_ours && names::is_server_error(status.code) {
            Kept::Error
        } else if is_slow() {
            Kept::Slow
        } else {
            return None;
        };
        self.tracer.late.take(at).then_some(late)
    }
}
