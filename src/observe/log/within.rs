//! Which call a thread is working on, as far as its log goes. A span of `tracing` would say the same, and cost every call
//! that writes no line.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::infer::{Trace, TraceContext};

thread_local! {
    static HERE: Cell<Option<Arc<Trace>>> = const { Cell::new(None) };
}

/// The place in its trace of the call that this thread is working on: its own span where there is one, else its caller's.
pub(super) fn place() -> Option<TraceContext> {
    let here = HERE.take();
    let place = here.as_deref().map(|trace| trace.context);
    HERE.set(here);
    place
}

/// The trace is the thread's until this is dropped, also where what is done meanwhile panics. It is moved there and back, as
/// that costs each turn of a call less than a clone.
struct Entered<'a> {
    trace: &'a mut Option<Arc<Trace>>,
    before: Option<Arc<Trace>>,
}

impl<'a> Entered<'a> {
    fn enter(trace: &'a mut Option<Arc<Trace>>) -> Entered<'a> {
        let before = HERE.replace(trace.take());
        Entered { trace, before }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.trace = HERE.replace(self.before.take());
    }
}

/// Does something within a call, where that has a trace.
pub fn within<T>(mut trace: Option<Arc<Trace>>, inner: impl FnOnce() -> T) -> T {
    let _entered = trace.is_some().then(|| Entered::enter(&mut trace));
    inner()
}

pin_project_lite::pin_project! {
    /// A future that is polled within a call.
    pub struct Within<F> {
        trace: Option<Arc<Trace>>,
        #[pin]
        inner: F,
    }
}

impl<F> Within<F> {
    /// `inner` within a call of that trace.
    pub fn new(trace: Option<Arc<Trace>>, inner: F) -> Within<F> {
        Within { trace, inner }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.trace.is_some().then(|| Entered::enter(this.trace));
        this.inner.poll(cx)
    }
}
