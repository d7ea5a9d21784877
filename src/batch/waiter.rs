//! The caller's end of a call that waits: its future, and what happens when that is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::batcher::{Shared, now};
use super::call::Wait;
use super::queue::Ticket;
use crate::error::{Error, Kind, Result};
use crate::infer::{InferResponse, Interest, Outcome, Place, Stage};

/// The future of one call. Dropping it takes the call out of the queue, or stops its run where nobody else waits.
pub struct Answering<P: Place> {
    state: Answer<P>,
}

enum Answer<P: Place> {
    Refused(Option<Error>),
    Waited(Waiter<P>),
}

impl<P: Place> Answering<P> {
    pub(super) fn waiting(waiter: Waiter<P>) -> Answering<P> {
        Answering { state: Answer::Waited(waiter) }
    }

    pub(super) fn refused(error: Error) -> Answering<P> {
        Answering { state: Answer::Refused(Some(error)) }
    }
}

/// The places of a call's parts in the queue; most calls have one.
pub(super) type Seats = SmallVec<[(Ticket, Arc<Interest>); 1]>;

pub(super) struct Waiter<P: Place> {
    shared: Arc<Shared<P>>,
    seats: Seats,
    answer: oneshot::Receiver<Outcome>,
    wait: Wait,
    /// Rings when its place in the queue ends.
    due: Option<Pin<Box<Sleep>>>,
}

impl<P: Place> Waiter<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        seats: Seats,
        answer: oneshot::Receiver<Outcome>,
        wait: Wait,
    ) -> Waiter<P> {
        let due = wait.due.map(|due| Box::pin(tokio::time::sleep_until(due.into())));
        Waiter { shared, seats, answer, wait, due }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            let answer = answer.unwrap_or_else(|_| Err(Error::new(Kind::Draining, "the model was unloaded")));
            let now = now();
            self.wait.timeline.end(Stage::Return, now);
            match &answer {
                Ok(_) => {
                    self.seats.clear();
                    self.answered(now);
                }
                // Of a call that ran in parts, others may be left.
                Err(_) => _ = self.leave(),
            }
            return Poll::Ready(answer);
        }
        if !self.due.as_mut().is_some_and(|due| due.as_mut().poll(cx).is_ready()) {
            return Poll::Pending;
        }
        self.due = None;
        // What runs already is waited for, unless a part of it never will.
        match self.leave_the_queue() {
            0 => Poll::Pending,
            _ => Poll::Ready(Err(Error::late("waiting for an instance"))),
        }
    }

    fn answered(&self, now: Instant) {
        match now <= self.wait.deadline {
            true => self.shared.margin.in_time(),
            false => self.shared.margin.late(self.shared.run_time()),
        }
    }

    /// Gives up what is left of the call; whether some of it ran, or runs.
    fn leave(&mut self) -> bool {
        self.leave_the_queue();
        let ran = !self.seats.is_empty();
        self.seats.drain(..).for_each(|(_, interest)| interest.leave());
        if ran {
            // It may have been put back since, into a place that is not known here.
            let abandoned = {
                let mut state = self.shared.state();
                let abandoned = if state.put_back { state.queue.remove_abandoned() } else { Vec::new() };
                self.shared.gauges.waiting(state.queue.len());
                abandoned
            };
            drop(abandoned);
        }
        ran
    }

    /// Takes what still waits out of the queue; how much that was.
    fn leave_the_queue(&mut self) -> usize {
        // Whatever it held is freed outside of the lock.
        let mut queued = SmallVec::<[_; 1]>::new();
        let mut state = self.shared.state();
        self.seats.retain(|(ticket, _)| match state.queue.remove(*ticket) {
            Some(waiting) => {
                queued.push(waiting);
                false
            }
            None => true,
        });
        self.shared.gauges.waiting(state.queue.len());
        drop(state);
        queued.len()
    }
}

impl<P: Place> Future for Answering<P> {
    type Output = Result<InferResponse>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            Answer::Refused(error) => Poll::Ready(Err(error.take().expect("a future is not polled after its end"))),
            Answer::Waited(waiter) => waiter.poll(cx).map_ok(|response| *response),
        }
    }
}

impl<P: Place> Drop for Waiter<P> {
    fn drop(&mut self) {
        // What ran, or runs, is answered too late.
        if !self.seats.is_empty() && self.leave() && now() >= self.wait.deadline {
            self.shared.margin.late(self.shared.run_time());
        }
    }
}
