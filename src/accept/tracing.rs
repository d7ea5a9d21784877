//! Traces at the door: what a caller says of its own, and whether the call is followed here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Networks;
use crate::error::Error;
use crate::infer::{Notes, Trace};
use crate::observe::trace::{Asked, Caller, Question, Rpc, Status, Tracer};
use crate::wire::status;
use crate::wire::trace::{Carried, Propagators};

/// How the traces of calls are read and begun.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// In which forms.
    pub propagators: Propagators,
    /// Whom to tell of them.
    pub tracer: Tracer,
    /// Callers who decide whether their calls are recorded.
    pub trusted: Networks,
}

impl Tracing {
    /// Traces are passed on, and none is begun.
    pub fn passing() -> Tracing {
        Tracing { propagators: Propagators::PASSING, tracer: Tracer::default(), trusted: Networks::default() }
    }

    /// Whether a caller there decides whether its calls are recorded.
    pub(super) fn trusts(&self, caller: IpAddr) -> bool {
        self.tracer.is_on() && self.trusted.contain(caller)
    }

    /// The trace of a call whose caller said this.
    pub(super) fn begin(&self, carried: Option<Carried>, is_trusted: bool) -> Option<Arc<Trace>> {
        let caller = |carried: &Carried| caller(carried, is_trusted);
        let trace = match self.tracer.begin(carried.as_ref().map(caller).as_ref()) {
            Some(context) => {
                let notes = Notes::begin(carried.as_ref().map(|caller| caller.context.span_id));
                self.propagators.trace(context, carried, Some(notes))
            }
            None => self.propagators.pass(carried?),
        };
        Some(Arc::new(trace))
    }

    /// A question that came at `began` and whose caller said this, where it has a place in a trace, and what follows it where
    /// that is its own.
    pub(super) fn question(
        &self,
        rpc: Rpc,
        carried: Option<Carried>,
        is_trusted: bool,
        began: Instant,
    ) -> Option<(Arc<Question>, Option<Asked>)> {
        let parent = carried.as_ref().map(|carried| carried.context.span_id);
        let caller = carried.as_ref().map(|carried| caller(carried, is_trusted));
        match self.tracer.begin_question(caller.as_ref(), rpc.manner) {
            None => Some((Arc::new(Question::passing(self.propagators.pass(carried?))), None)),
            Some(own) => {
                let question = Arc::new(Question::new(self.propagators.trace(own, carried, None), parent));
                let asked = self.tracer.follow_question(question.clone(), rpc, began);
                Some((question, Some(asked)))
            }
        }
    }
}

fn caller(carried: &Carried, is_trusted: bool) -> Caller {
    let Carried { context, is_undecided, .. } = *carried;
    Caller { context, is_undecided, is_trusted }
}

/// How a call ended that failed, for its trace.
pub(super) fn failed_with(error: &Error) -> Status {
    Status { code: status::name(error.kind()), failure: Some(error.clone()) }
}
