//! Which call a thread is working on, as far as its log goes. A span of `tracing` would say the same, and cost every call
//! that writes no line.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::infer::{Trace, TraceContext};

/// A call's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace_id: u128,
    /// The call's own span where there is one, else its caller's.
    pub span_id: u64,
}

impl From<&Trace> for Place {
    fn from(trace: &Trace) -> Place {
        let TraceContext { trace_id, span_id, .. } = trace.context;
        Place { trace_id, span_id }
    }
}

thread_local! {
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// The place of the call that this thread is working on.
pub(super) fn place() -> Option<Place> {
    PLACE.get()
}

/// Puts back what was before, also where what is done within panics.
struct Entered(Option<Place>);

impl Drop for Entered {
    fn drop(&mut self) {
        PLACE.set(self.0);
    }
}

/// Does something within a call, where that has a place.
pub fn within<T>(place: Option<Place>, inner: impl FnOnce() -> T) -> T {
    let _entered = place.map(|place| Entered(PLACE.replace(Some(place))));
    inner()
}

pin_project_lite::pin_project! {
    /// A future that is polled within a call.
    pub struct Within<F> {
        place: Option<Place>,
        #[pin]
        inner: F,
    }
}

impl<F> Within<F> {
    /// `inner` within a call at `place`.
    pub fn new(place: Option<Place>, inner: F) -> Within<F> {
        Within { place, inner }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        within(*this.place, || this.inner.poll(cx))
    }
}
