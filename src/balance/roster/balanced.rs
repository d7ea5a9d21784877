//! The stage: leads each call to the pool of the model that it names.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::Roster;
use crate::balance::pool::Pool;
use crate::error::{Error, Kind, Result};
use crate::infer::{InferRequest, InferResponse, Target, VersionChoice};

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
        let (roster, target) = (self.roster.clone(), request.model.clone());
        match roster.route(&target) {
            // Nearly always; then the request is not kept beside its outgoing form.
            Ok(route) => {
                taken(&request, &route.pool);
                let (pool, answering) = (route.pool.clone(), route.answer(request));
                Box::pin(async move { learned(&roster, &target, &pool, answering.await) })
            }
            Err(_) => Box::pin(async move {
                let route = roster.look_up_route(&target).await?;
                let pool = route.pool.clone();
                taken(&request, &pool);
                learned(&roster, &target, &pool, route.answer(request).await)
            }),
        }
    }
}

/// Says who takes a call: what is in the table, in a version only where the caller wants one that is.
fn taken(request: &InferRequest, pool: &Pool) {
    let version = match &request.model.version {
        VersionChoice::Exact(version) => Some(*version),
        VersionChoice::Latest | VersionChoice::Label(_) => None,
    };
    request.members.iter().for_each(|call| call.timeline.taken_by(&pool.tactics().name, version));
}

/// What a call's answer says of the table that it was led by.
fn learned(roster: &Roster, target: &Target, pool: &Arc<Pool>, answer: Result<InferResponse>) -> Result<InferResponse> {
    match answer {
        // It lost its last member while the call was tried: why, the table knows.
        Err(error) if error.kind() == Kind::NoBackend && pool.members().is_empty() => {
            Err(roster.resolve(target).err().unwrap_or(error))
        }
        Err(error) if matches!(error.kind(), Kind::UnknownModel | Kind::NotReady) => {
            roster.doubt(pool);
            Err(error)
        }
        answer => answer,
    }
}
