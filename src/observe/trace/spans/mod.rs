//! What was noted of a call, or of a question, as spans: a pure function of the notes, run once for one that is kept, when it
//! is over.
//!
//! ```text
//! SERVER  the call                              at a gateway
//! ├ receive, pick, queue                        stages in which it can wait, where it did
//! └ CLIENT  the hop                             one, whatever it took
//!   ├ CLIENT  an attempt ─► SERVER at a worker  one child for each, its id told to the endpoint
//!   └ CLIENT  another (retry, hedge)
//!
//! SERVER  the call                              at a worker
//! ├ receive, queue, return
//! ├ batch                                       in one of its calls, linked to all of them
//! └ execute ─► batch                            in the others, linked to that
//!
//! SERVER  a question, such as RepositoryModelLoad
//! └ CLIENT  an endpoint that was asked for it   at a gateway
//! ```

mod anchor;
mod batch;
mod call;
mod canvas;
mod hop;
mod question;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub(super) use anchor::Anchor;
pub(super) use question::OfQuestion;

use crate::error::Error;
use crate::infer::{Timeline, Trace};
use crate::observe::trace::otlp::Spans;
use canvas::Canvas;

/// How a call or a question ended.
#[derive(Debug, Clone)]
pub struct Status {
    /// The name that gRPC has for it, such as `OK`.
    pub code: &'static str,
    /// Why it failed, where it did.
    pub failure: Option<Error>,
}

impl Status {
    /// It was answered.
    pub const OK: Status = Status { code: "OK", failure: None };
}

/// Why a call is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// That was decided when it came.
    Sampled,
    /// It failed by the server's doing.
    Error,
    /// It was slow.
    Slow,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Kept::Sampled => "sampled",
            Kept::Error => "error",
            Kept::Slow => "slow",
        }
    }
}

/// What is over and kept.
#[derive(Debug)]
pub(super) enum Ended {
    /// The usual case.
    Call(OfCall),
    Question(Box<OfQuestion>),
}

/// A call that is over and kept.
#[derive(Debug)]
pub(super) struct OfCall {
    pub(super) trace: Arc<Trace>,
    pub(super) timeline: Timeline,
    /// Its RPC, such as `inference.GRPCInferenceService/ModelInfer`.
    pub(super) method: &'static str,
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) kept: Kept,
}

/// Draws the spans of a call or a question among others, with `anchor` for times of day.
pub(super) fn draw(ended: &Ended, anchor: Anchor, spans: &mut Spans) {
    match ended {
        Ended::Call(call) => call::draw(&mut Canvas::of(call, anchor, spans)),
        Ended::Question(question) => question::draw(question, anchor, spans),
    }
}
