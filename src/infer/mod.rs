//! The two seams of the system and the types of a call that cross them.
//!
//! `Infer` is anything that can answer one call; `Place` is where batches run. Everything between the wire and an
//! engine is built from these two.

mod batch;
mod model;
mod request;
mod response;
mod timeline;
mod trace;

use std::future::Future;
use std::task::{Context, Poll};

use tower::Service;

pub use batch::{Backlog, Batch, Close, Composition, Interest, Outcome};
pub use model::{ModelName, Target, Version, VersionChoice};
pub use request::{InferRequest, Member, Parameter, Parameters, WantedOutput};
pub use response::{Execution, InferResponse, LoadReport};
pub use timeline::{Mark, Spent, Stage, Timeline};
pub use trace::{Attempt, Ending, Forms, Hop, Joint, Notes, Run, Trace, TraceContext, Why, Work, Works, new_span_id};

use crate::error::{Error, Result};

/// Anything that can answer one call: a stage with all that is behind it.
///
/// `poll_ready` is never a reservation and says nothing about a request: a stage is always ready, and refuses in
/// `call`. Dropping the future abandons the call and frees whatever it held at once.
pub trait Infer:
    Service<InferRequest, Response = InferResponse, Error = Error, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Infer for S where
    S: Service<InferRequest, Response = InferResponse, Error = Error, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Calls a stage that, as every [`Infer`], is always ready.
pub fn call<S: Infer>(
    service: &S,
    request: InferRequest,
) -> impl Future<Output = Result<InferResponse>> + Send + use<S> {
    service.clone().call(request)
}

/// Where batches run: the instances of one model, or the fleet behind a gateway. The queue does not push, the place
/// pulls: it grants a slot only where a batch could start now.
pub trait Place: Send + 'static {
    /// What a place grants.
    type Slot: Slot;

    /// Grants a slot for some of what waits, or keeps the waker and wakes it once that may have changed.
    ///
    /// The waker may act at once and in place: it is never woken while the place holds a lock that `poll_slot` takes.
    fn poll_slot(&mut self, cx: &mut Context<'_>, waiting: &Backlog) -> Poll<Self::Slot>;
}

/// The right to run one batch now. Dropping it unused gives it back.
pub trait Slot: Send {
    /// How many rows the batch may have.
    fn rows(&self) -> usize;

    /// Starts the batch and returns at once; the batch carries where its answer goes.
    fn run(self, batch: Batch);
}
