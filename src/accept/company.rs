//! A connection with its calls, all in one task: what several calls have to say when it is its turn is written at once,
//! and no call costs a task of its own.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::future::CatchUnwind;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream};
use hyper::rt::Executor;
use pin_project_lite::pin_project;

/// A call. One that panics ends alone, as a task would.
type Call = CatchUnwind<AssertUnwindSafe<Pin<Box<dyn Future<Output = ()> + Send>>>>;

/// Takes the calls that begin on a connection, for [`Company`] to run.
#[derive(Clone, Default)]
pub(super) struct Intake(Arc<Mutex<Vec<Call>>>);

impl Intake {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().expect("nothing panics while a call is noted"))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Intake {
    fn execute(&self, call: F) {
        let call: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(call);
        self.0.lock().expect("nothing panics while a call is noted").push(AssertUnwindSafe(call).catch_unwind());
    }
}

pin_project! {
    /// The future of a connection that runs its calls, too. Calls that are still running when it ends are dropped.
    pub(super) struct Company<C> {
        #[pin]
        connection: C,
        intake: Intake,
        calls: FuturesUnordered<Call>,
    }
}

impl<C> Company<C> {
    /// `connection` with the calls that it hands to `intake`.
    pub(super) fn of(connection: C, intake: Intake) -> Company<C> {
        Company { connection, intake, calls: FuturesUnordered::new() }
    }

    /// The connection.
    pub(super) fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.project().connection
    }
}

impl<C: Future> Future for Company<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        if let Poll::Ready(end) = this.connection.poll(cx) {
            // Those that came in this very turn: each may hold the intake that holds it.
            drop(this.intake.take());
            return Poll::Ready(end);
        }
        this.calls.extend(this.intake.take());
        // What the calls say wakes the connection, and so this task, which then writes it.
        while let Poll::Ready(Some(_)) = poll_next(this.calls, cx) {}
        Poll::Pending
    }
}

fn poll_next(
    calls: &mut FuturesUnordered<Call>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(), Box<dyn Any + Send>>>> {
    Pin::new(calls).poll_next(cx)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    /// A connection that brings calls, and ends when it is told to.
    struct Bringing {
        intake: Intake,
        calls: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
        end: oneshot::Receiver<()>,
    }

    impl Future for Bringing {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            for call in std::mem::take(&mut self.calls) {
                self.intake.execute(call);
            }
            Pin::new(&mut self.end).poll(cx).map(drop)
        }
    }

    fn company(calls: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>) -> (Company<Bringing>, oneshot::Sender<()>) {
        let (intake, (told, end)) = (Intake::default(), oneshot::channel());
        (Company::of(Bringing { intake: intake.clone(), calls, end }, intake), told)
    }

    fn turn(company: &mut Company<Bringing>) -> Poll<()> {
        Pin::new(company).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_call_begins_in_the_turn_in_which_it_came_and_one_that_panics_ends_alone() {
        let begun = Arc::new(AtomicUsize::new(0));
        let call = |panics: bool| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let begun = begun.clone();
            Box::pin(async move {
                begun.fetch_add(1, Relaxed);
                assert!(!panics, "one of the calls panics, as this test wants");
            })
        };
        let (mut company, end) = company(vec![call(false), call(true), call(false)]);
        assert!(turn(&mut company).is_pending());
        assert_eq!((begun.load(Relaxed), company.calls.len()), (3, 0));
        end.send(()).unwrap();
        assert!(turn(&mut company).is_ready());
    }

    #[test]
    fn a_call_that_came_in_the_turn_in_which_the_connection_ends_is_dropped_although_it_holds_its_intake() {
        let held = Arc::new(());
        let (mut company, end) = company(Vec::new());
        let (holds, intake) = (held.clone(), company.intake.clone());
        company.connection.calls.push(Box::pin(async move {
            let _held = (holds, intake);
            std::future::pending::<()>().await;
        }));
        end.send(()).unwrap();
        assert!(turn(&mut company).is_ready());
        drop(company);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn calls_that_still_run_when_the_connection_is_dropped_are_dropped_with_it() {
        let held = Arc::new(());
        let holds = held.clone();
        let call = Box::pin(async move {
            let _held = holds;
            std::future::pending::<()>().await;
        });
        let (mut company, _end) = company(vec![call]);
        assert!(turn(&mut company).is_pending());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(company);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
