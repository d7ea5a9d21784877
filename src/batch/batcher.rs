//! The service in front of a place: checks a call, lets it wait, and starts it once the place grants a slot.
//!
//! There is no task that drives the queue. Whoever changes something drives it in place: a call that comes in, and the
//! place when it wakes the queue's waker, which for an instance is its own thread between two runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tower::Service;

use super::queue::{Bounds, Queue, Ticket, Waiting};
use crate::error::{Error, Kind, Result};
use crate::infer::{
    Batch, InferRequest, InferResponse, Interest, Outcome, Parameter, Parameters, Place, Slot, Stage, Timeline,
};
use crate::tensor::Signature;

/// Queues calls in front of a place. Clones share the queue; the place is dropped with the last of them, once what
/// waits has been answered.
pub struct Batcher<P: Place> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: Place> {
    signature: Arc<Signature>,
    state: Mutex<State<P>>,
    /// Drives the queue when the place wakes it; holds the queue weakly, since the place may keep it for long.
    waker: Waker,
    /// A moving mean of how long the engine takes, for the hint of a refusal.
    execution_nanos: AtomicU64,
    /// How many waited when the queue was last driven, for reports: they need not wait for its lock.
    waiting: AtomicU32,
}

struct State<P> {
    queue: Queue,
    place: P,
}

impl<P: Place> Batcher<P> {
    /// A queue within `bounds` in front of `place`, for calls that fit `signature`.
    pub fn new(place: P, signature: Arc<Signature>, bounds: Bounds) -> Batcher<P> {
        let shared = Arc::new_cyclic(|queue: &Weak<Shared<P>>| Shared {
            signature,
            state: Mutex::new(State { queue: Queue::new(bounds), place }),
            waker: Waker::from(Arc::new(DriveInPlace(queue.clone()))),
            execution_nanos: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
        });
        Batcher { shared }
    }
}

impl<P: Place> Clone for Batcher<P> {
    fn clone(&self) -> Self {
        Batcher { shared: self.shared.clone() }
    }
}

impl<P: Place> Service<InferRequest> for Batcher<P> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Answering<P>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Answering<P> {
        match self.shared.accept(request) {
            Ok(waiter) => Answering { state: Answer::Waited(waiter) },
            Err(error) => Answering { state: Answer::Refused(Some(error)) },
        }
    }
}

impl<P: Place> Shared<P> {
    fn accept(self: &Arc<Self>, request: InferRequest) -> Result<Waiter<P>> {
        refuse_sequences(&request.parameters)?;
        self.signature.check_inputs(&request.inputs)?;
        self.signature.check_outputs(request.outputs.iter().map(|wanted| &wanted.name))?;
        let now = Instant::now();
        request.members.iter().for_each(|member| member.timeline.end(Stage::Admit, now));
        let timeline = request.members[0].timeline.clone();
        let rows = self.signature.rows(&request.inputs) as usize;
        let (reply, answer) = oneshot::channel();
        let interest = Interest::of(1);
        let ticket = {
            let queue = &mut self.state().queue;
            if !queue.has_room(request.bytes()) {
                return Err(self.full(queue.len()));
            }
            queue.push(Waiting { request: Box::new(request), rows, reply, interest: interest.clone() })
        };
        self.drive();
        Ok(Waiter { shared: self.clone(), ticket, interest, answer, timeline, answered: false })
    }

    /// Starts as much of what waits as the place takes now.
    fn drive(self: &Arc<Self>) {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let mut late = Vec::new();
            let granted = {
                let mut state = self.state();
                let granted = state.next(&mut cx, &mut late);
                self.waiting.store(state.queue.len() as u32, Ordering::Relaxed);
                granted
            };
            // Answers wake tasks and a slot that is given back wakes others, so neither happens under the lock.
            for Waiting { reply, .. } in late {
                let _ = reply.send(Err(Error::late("waiting for an instance")));
            }
            match granted {
                Some((slot, Some(waiting))) => slot.run(self.batch(waiting)),
                Some((slot, None)) => drop(slot),
                None => return,
            }
        }
    }

    fn batch(self: &Arc<Self>, Waiting { request, reply, interest, .. }: Waiting) -> Batch {
        let shared = Arc::downgrade(self);
        let timelines: smallvec::SmallVec<[Timeline; 1]> =
            request.members.iter().map(|member| member.timeline.clone()).collect();
        Batch::new(request, interest, move |mut result| {
            if let (Ok(response), Some(shared)) = (&mut result, shared.upgrade()) {
                shared.learn(response.execution.load.execution);
                response.execution.load.waiting = shared.waiting.load(Ordering::Relaxed);
            }
            let now = Instant::now();
            timelines.iter().for_each(|timeline| timeline.end(Stage::Split, now));
            let _ = reply.send(result);
        })
    }

    /// Moves the mean by an eighth towards the newest run.
    fn learn(&self, execution: Duration) {
        let (mean, newest) = (self.execution_nanos.load(Ordering::Relaxed), execution.as_nanos() as u64);
        let mean = if mean == 0 { newest } else { mean - mean / 8 + newest / 8 };
        self.execution_nanos.store(mean, Ordering::Relaxed);
    }

    fn full(&self, waiting: usize) -> Error {
        let execution = Duration::from_nanos(self.execution_nanos.load(Ordering::Relaxed));
        Error::overloaded(format!("the queue is full, {waiting} calls wait"), execution * waiting as u32)
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().expect("nothing panics while the queue is held")
    }
}

/// A model that keeps state between the calls of a sequence would answer wrongly here, and nobody would know.
fn refuse_sequences(parameters: &Parameters) -> Result<()> {
    match parameters.get("sequence_id") {
        None | Some(Parameter::Int(0) | Parameter::Uint(0)) => Ok(()),
        Some(Parameter::String(id)) if id.is_empty() => Ok(()),
        Some(_) => Err(Error::unsupported("sequences are not served: leave out sequence_id")),
    }
}

impl<P: Place> State<P> {
    /// A granted slot with the call to run in it; without one where all that waited was late.
    fn next(&mut self, cx: &mut Context<'_>, late: &mut Vec<Waiting>) -> Option<(P::Slot, Option<Waiting>)> {
        let backlog = self.queue.backlog()?;
        match self.place.poll_slot(cx, &backlog) {
            Poll::Ready(slot) => Some((slot, self.queue.pop(Instant::now(), late))),
            Poll::Pending => None,
        }
    }
}

struct DriveInPlace<P: Place>(Weak<Shared<P>>);

impl<P: Place> Wake for DriveInPlace<P> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.drive();
        }
    }
}

/// The future of one call. Dropping it takes the call out of the queue, or stops its run where nobody else waits.
pub struct Answering<P: Place> {
    state: Answer<P>,
}

enum Answer<P: Place> {
    Refused(Option<Error>),
    Waited(Waiter<P>),
}

struct Waiter<P: Place> {
    shared: Arc<Shared<P>>,
    ticket: Ticket,
    interest: Arc<Interest>,
    answer: oneshot::Receiver<Outcome>,
    timeline: Timeline,
    answered: bool,
}

impl<P: Place> Future for Answering<P> {
    type Output = Result<InferResponse>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            Answer::Refused(error) => Poll::Ready(Err(error.take().expect("a future is not polled after its end"))),
            Answer::Waited(waiter) => {
                let answer = ready!(Pin::new(&mut waiter.answer).poll(cx));
                waiter.answered = true;
                waiter.timeline.end(Stage::Return, Instant::now());
                let answer = answer.unwrap_or_else(|_| Err(Error::new(Kind::Draining, "the model was unloaded")));
                Poll::Ready(answer.map(|response| *response))
            }
        }
    }
}

impl<P: Place> Drop for Waiter<P> {
    fn drop(&mut self) {
        if !self.answered {
            // Whatever it held is freed outside of the lock.
            let _queued = self.shared.state().queue.remove(self.ticket);
            self.interest.leave();
        }
    }
}
