//! Leads each call to the model that it names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use crate::error::{Error, Result};
use crate::infer::{Infer, InferRequest, InferResponse, VersionChoice};
use crate::models::{Catalog, Served};

/// The models of a catalog behind one service. A call goes to the version that is right when it comes; should that be
/// swapped for another meanwhile, the call still ends where it began.
pub struct Router<S: Infer> {
    catalog: Catalog<S>,
}

impl<S: Infer> Router<S> {
    /// Routes over `catalog`.
    pub fn new(catalog: Catalog<S>) -> Self {
        Router { catalog }
    }
}

impl<S: Infer> Clone for Router<S> {
    fn clone(&self) -> Self {
        Router { catalog: self.catalog.clone() }
    }
}

impl<S: Infer> Service<InferRequest> for Router<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Routed<S>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: InferRequest) -> Self::Future {
        match self.catalog.resolve(&request.model) {
            Ok(served) => {
                request.model.version = VersionChoice::Exact(served.version);
                let members = request.members.iter();
                members.for_each(|call| call.timeline.taken_by(&served.name, Some(served.version)));
                let answer = served.service().clone().call(request);
                Routed::Going { answer, _served: served }
            }
            Err(error) => Routed::Refused { error: Some(error) },
        }
    }
}

pin_project_lite::pin_project! {
    /// The future of one call on its way to its model.
    #[project = RoutedProjected]
    pub enum Routed<S: Infer> {
        /// It found its model, and holds it until it is answered.
        Going { #[pin] answer: S::Future, _served: Arc<Served<S>> },
        /// There is none for it.
        Refused { error: Option<Error> },
    }
}

impl<S: Infer> Future for Routed<S> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            RoutedProjected::Going { answer, .. } => answer.poll(cx),
            RoutedProjected::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after its end")))
            }
        }
    }
}
