//! A limit on calls in flight: past it a call is refused at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use crate::error::{Error, Result, Room};
use crate::infer::{Infer, InferRequest, InferResponse};

/// What a refused caller is told to wait where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A count of calls in flight with its limit.
#[derive(Debug)]
pub struct InFlight {
    calls: AtomicUsize,
    limit: usize,
    of: &'static str,
    room: Room,
}

/// One call's place under the limit, given back on drop.
#[derive(Debug)]
struct Permit(Arc<InFlight>);

impl InFlight {
    /// At most `limit` calls in flight `of` something, such as `"the server"`, which is that room.
    pub fn new(limit: usize, of: &'static str, room: Room) -> Arc<InFlight> {
        Arc::new(InFlight { calls: AtomicUsize::new(0), limit, of, room })
    }

    fn enter(self: &Arc<Self>) -> Result<Permit> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.clone());
        if before >= self.limit {
            let InFlight { limit, of, room, .. } = **self;
            return Err(Error::overloaded(room, format!("{of} has {limit} calls in flight, its limit"), RETRY_AFTER));
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Refuses calls past a limit.
#[derive(Debug, Clone)]
pub struct Limit<S> {
    inner: S,
    in_flight: Arc<InFlight>,
}

impl<S> Limit<S> {
    /// The limit in front of `inner`.
    pub fn new(in_flight: Arc<InFlight>, inner: S) -> Self {
        Limit { inner, in_flight }
    }
}

impl<S: Infer> Service<InferRequest> for Limit<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Permitted<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        match self.in_flight.enter() {
            Ok(permit) => Permitted { answer: Some(self.inner.call(request)), refusal: None, _permit: Some(permit) },
            Err(refusal) => Permitted { answer: None, refusal: Some(refusal), _permit: None },
        }
    }
}

pin_project_lite::pin_project! {
    /// The future of one call, which holds its place under the limit.
    pub struct Permitted<F> {
        #[pin]
        answer: Option<F>,
        refusal: Option<Error>,
        _permit: Option<Permit>,
    }
}

impl<F: Future<Output = Result<InferResponse>>> Future for Permitted<F> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.answer.as_pin_mut() {
            Some(answer) => answer.poll(cx),
            None => Poll::Ready(Err(this.refusal.take().expect("a future is not polled after its end"))),
        }
    }
}
