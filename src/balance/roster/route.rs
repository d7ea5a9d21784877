//! Where the calls of one model version go: at once to an endpoint, or into a queue in front of all of them.

use std::pin::Pin;
use std::sync::Arc;

use super::mergeable::Mergeable;
use crate::balance::fleet::Fleet;
use crate::balance::pool::Pool;
use crate::error::Result;
use crate::infer::{InferRequest, InferResponse, ModelName, Version};

type Answering = Pin<Box<dyn Future<Output = Result<InferResponse>> + Send>>;

/// Lets a call wait in front of a fleet, and answers it.
pub type Serve = Arc<dyn Fn(InferRequest) -> Answering + Send + Sync>;

/// Puts a queue for calls of that kind in front of a fleet: those that name this version, or those that name none. `None`
/// where that cannot be.
pub type Assemble = Arc<dyn Fn(Fleet, &Mergeable, Option<Version>) -> Option<Serve> + Send + Sync>;

/// What assembles the queue of a model whose calls wait; `None` for one whose calls do not.
pub type Assemblies = Arc<dyn Fn(&ModelName) -> Option<Assemble> + Send + Sync>;

/// Where calls go.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) pool: Arc<Pool>,
    queue: Option<Queue>,
}

/// What calls wait in, for as long as all endpoints say the same of the model.
#[derive(Clone)]
struct Queue {
    mergeable: Arc<Mergeable>,
    serve: Serve,
}

impl Route {
    /// To `pool`; with a queue where its calls can be put together, the one of `kept` where that is for the same kind.
    pub(super) fn of(
        pool: Arc<Pool>,
        kept: Option<&Route>,
        wanted: Option<Version>,
        queued: Option<(Arc<Mergeable>, &Assemble)>,
    ) -> Route {
        let queue = queued.and_then(|(mergeable, assemble)| {
            let same = |queue: &&Queue| queue.mergeable == mergeable;
            let kept = kept.and_then(|route| route.queue.as_ref()).filter(same).cloned();
            kept.or_else(|| {
                let serve = assemble(Fleet::new(pool.clone(), mergeable.max_batch), &mergeable, wanted)?;
                Some(Queue { mergeable, serve })
            })
        });
        Route { pool, queue }
    }

    /// Answers a call. One that the queue is not made for goes its way alone, so that it is the backend that says what
    /// is wrong with it.
    pub(super) fn answer(self, request: InferRequest) -> Answering {
        match &self.queue {
            Some(queue) if queue.mergeable.takes(&request) => (queue.serve)(request),
            _ => Box::pin(self.pool.answer(request)),
        }
    }
}
