//! Answers each call by its deadline, whatever is behind.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use crate::error::{Error, Result};
use crate::infer::{Infer, InferRequest, InferResponse};

/// Answers `Late` the moment a call's deadline passes and abandons what runs for it.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Deadline<S> {
    /// Deadlines kept in front of `inner`.
    pub fn new(inner: S) -> Self {
        Deadline { inner }
    }
}

impl<S: Infer> Service<InferRequest> for Deadline<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Bounded<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        let deadline = Instant::from_std(request.deadline());
        if deadline <= Instant::now() {
            return Bounded { answer: None, deadline: None };
        }
        Bounded { answer: Some(self.inner.call(request)), deadline: Some(sleep_until(deadline)) }
    }
}

pin_project_lite::pin_project! {
    /// The future of one call, bounded by its deadline.
    pub struct Bounded<F> {
        #[pin]
        answer: Option<F>,
        #[pin]
        deadline: Option<Sleep>,
    }
}

impl<F: Future<Output = Result<InferResponse>>> Future for Bounded<F> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(answer), Some(deadline)) = (this.answer.as_mut().as_pin_mut(), this.deadline.as_pin_mut()) else {
            return Poll::Ready(Err(Error::late("being admitted")));
        };
        if let Poll::Ready(result) = answer.poll(cx) {
            return Poll::Ready(result);
        }
        match deadline.poll(cx) {
            Poll::Ready(()) => {
                // What was held for the call is freed now, not when the caller gets round to dropping this future.
                this.answer.set(None);
                Poll::Ready(Err(Error::late("waiting for an answer")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
