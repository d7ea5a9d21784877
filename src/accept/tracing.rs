//! Traces at the door: what a caller says of its own, and whether the call is followed here.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Networks;
use crate::error::Error;
use crate::infer::{Notes, Trace};
use crate::observe::trace::{Caller, Status, Tracer};
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
        let caller = |carried: &Carried| {
            let Carried { context, is_undecided, .. } = *carried;
            Caller { context, is_undecided, is_trusted }
        };
        let trace = match self.tracer.begin(carried.as_ref().map(caller).as_ref()) {
            Some(context) => {
                let notes = Notes::begin(carried.as_ref().map(|caller| caller.context.span_id));
                self.propagators.trace(context, carried, Some(notes))
            }
            None => self.propagators.pass(carried?),
        };
        Some(Arc::new(trace))
    }
}

/// How a call ended that failed, for its trace.
pub(super) fn failed_with(error: &Error) -> Status {
    Status { code: status::name(error.kind()), failure: Some(error.clone()) }
}
