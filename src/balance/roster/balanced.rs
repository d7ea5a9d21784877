//! The stage: leads each call to the pool of the model that it names.

use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

use super::Roster;
use crate::error::{Error, Result};
use crate::infer::{InferRequest, InferResponse};

/// The models of a roster behind one service.
#[derive(Clone)]
pub struct Balanced {
    roster: Roster,
}

impl Balanced {
    /// Leads calls to the pools of `roster`.
    pub fn new(roster: Roster) -> Balanced {
        Balanced { roster }
    }
}

impl Service<InferRequest> for Balanced {
    type Response = InferResponse;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<InferResponse>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        match self.roster.resolve(&request.model) {
            Ok(pool) => Box::pin(pool.answer(request)),
            Err(_) => {
                let roster = self.roster.clone();
                Box::pin(async move { roster.look_up(&request.model).await?.answer(request).await })
            }
        }
    }
}
