//! The service in front of a place: checks a call, lets it wait, and starts it, alone or with others, once the place
//! grants a slot.
//!
//! There is no task that drives the queue. Whoever changes something drives it in place: a call that comes in, and the
//! place when it wakes the queue's waker, which for an instance is its own thread between two runs. Only where calls
//! are to wait for company although a slot is free, a timer does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tower::Service;

use super::call::{Ask, Entry};
use super::closing::{Moment, Taken};
use super::lane::Waiting;
use super::margin::Margin;
use super::queue::Queue;
use super::rules::Rules;
use super::running;
use super::shape::Shaper;
use super::tuner::Tuner;
use super::waiter::{Answering, Waiter};
use crate::error::{Error, Kind, Result, Room};
use crate::infer::{InferRequest, InferResponse, Place, Slot};
use crate::observe::QueueGauges;
use crate::tensor::Signature;

/// Queues calls in front of a place. Clones share the queue; the place is dropped with the last of them, once what
/// waits has been answered.
pub struct Batcher<P: Place> {
    shared: Arc<Shared<P>>,
}

pub(super) struct Shared<P: Place> {
    pub(super) rules: Rules,
    pub(super) shaper: Shaper,
    state: Mutex<State<P>>,
    /// Drives the queue when the place wakes it; holds the queue weakly, since the place may keep it for long.
    waker: Waker,
    pub(super) margin: Margin,
    pub(super) gauges: Arc<QueueGauges>,
    /// How long the last run took, in nanoseconds.
    pub(super) last_run: AtomicU64,
    leaving: watch::Receiver<bool>,
    /// Whether an answer could not be cut apart: then calls are merged no more.
    pub(super) unmergeable: AtomicBool,
    /// Where timers run: the queue may be driven on a thread that is not the runtime's.
    runtime: OnceLock<Handle>,
}

pub(super) struct State<P> {
    pub(super) queue: Queue,
    pub(super) tuner: Option<Tuner>,
    /// Batches that were started and are not over.
    pub(super) in_flight: usize,
    /// Whether calls may wait for the second time, in places that their callers do not know.
    pub(super) put_back: bool,
    place: P,
    /// When the timer rings that was set first of those that have not.
    timer: Option<Instant>,
}

impl<P: Place> Batcher<P> {
    /// A queue in front of `place`, for calls that fit `signature`. `gauges` tell of it; once `leaving` says so, nothing
    /// waits for company any more.
    ///
    /// # Errors
    /// A sentence where the rules name a dimension or an input that the model does not have.
    pub fn new(
        place: P,
        signature: Arc<Signature>,
        rules: Rules,
        gauges: Arc<QueueGauges>,
        leaving: watch::Receiver<bool>,
    ) -> Result<Batcher<P>, String> {
        let shaper = Shaper::new(signature, &rules)?;
        let tuner = rules.slo_p99.map(|slo| Tuner::new(slo, rules.max_delay));
        gauges.delay(if tuner.is_some() { Duration::ZERO } else { rules.max_delay });
        let shared = Arc::new_cyclic(|queue: &Weak<Shared<P>>| Shared {
            state: Mutex::new(State {
                queue: Queue::new(&rules),
                tuner,
                in_flight: 0,
                put_back: false,
                place,
                timer: None,
            }),
            rules,
            shaper,
            waker: Waker::from(Arc::new(DriveInPlace(queue.clone()))),
            margin: Margin::default(),
            gauges,
            last_run: AtomicU64::new(0),
            leaving,
            unmergeable: AtomicBool::new(false),
            runtime: OnceLock::new(),
        });
        Ok(Batcher { shared })
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
            Ok(waiter) => Answering::waiting(waiter),
            Err(error) => Answering::refused(error),
        }
    }
}

/// The time. The runtime's clock stands still and leaps in tests; elsewhere it is the system's.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What is to be done next.
#[allow(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
enum Step<S> {
    /// These calls are to be run.
    Run(S, Taken),
    /// All that waited was late.
    Again(S),
    /// Nothing before that time, unless something happens.
    Hold(Instant),
    /// Nothing until something happens.
    Rest,
}

impl<P: Place> Shared<P> {
    fn accept(self: &Arc<Self>, mut request: InferRequest) -> Result<Waiter<P>> {
        let now = now();
        let ask = Ask::of(&request.parameters, &self.rules)?;
        self.shaper.signature.check_inputs(&request.inputs)?;
        self.shaper.signature.check_outputs(request.outputs.iter().map(|wanted| &wanted.name))?;
        let mut measured = self.shaper.measure(&mut request);
        if self.unmergeable.load(Relaxed) {
            measured.stay_alone();
        }
        let entry = Entry::new(request, measured, ask, &self.rules, &self.shaper, now)?;
        let tickets = {
            let mut state = self.state();
            state.refuse(&entry, &self.rules, &self.moment(&state))?;
            entry
                .calls
                .into_iter()
                .map(|(alike, waiting)| {
                    let interest = waiting.interest.clone();
                    (state.queue.push(alike, waiting), interest)
                })
                .collect()
        };
        if self.delays() {
            self.runtime.get_or_init(Handle::current);
        }
        self.drive();
        Ok(Waiter::new(self.clone(), tickets, entry.answer, entry.wait))
    }

    fn delays(&self) -> bool {
        self.rules.slo_p99.is_some() || !self.rules.max_delay.is_zero()
    }

    /// Starts as much of what waits as the place takes now.
    pub(super) fn drive(self: &Arc<Self>) {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            let mut late = Vec::new();
            let step = {
                let mut state = self.state();
                let moment = self.moment(&state);
                let step = state.next(&mut cx, &moment, &mut late);
                self.gauges.waiting(state.queue.len());
                step
            };
            // Answers wake tasks and a slot that is given back wakes others, so neither happens under the lock.
            late.into_iter().for_each(answer_late);
            match step {
                Step::Run(slot, taken) => match running::batch(self, taken) {
                    Some(batch) => slot.run(batch),
                    None => drop(slot),
                },
                Step::Again(slot) => drop(slot),
                Step::Hold(until) => return self.set_timer(until),
                Step::Rest => return,
            }
        }
    }

    fn moment(&self, state: &State<P>) -> Moment {
        let delay = state.tuner.as_ref().map_or(self.rules.max_delay, Tuner::delay);
        let leaving = !delay.is_zero() && *self.leaving.borrow();
        Moment { now: now(), delay, margin: self.margin.get(), leaving }
    }

    /// Drives the queue at `until`, or once the process is leaving.
    fn set_timer(self: &Arc<Self>, until: Instant) {
        {
            let timer = &mut self.state().timer;
            if timer.is_some_and(|rings| rings <= until) {
                return;
            }
            *timer = Some(until);
        }
        let (queue, mut leaving) = (Arc::downgrade(self), self.leaving.clone());
        let Some(runtime) = self.runtime.get() else { return };
        runtime.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                Ok(_) = leaving.wait_for(|leaving| *leaving) => {}
            }
            if let Some(queue) = queue.upgrade() {
                queue.state().timer.take_if(|rings| *rings == until);
                queue.drive();
            }
        });
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().expect("nothing panics while the queue is held")
    }

    /// How long a run takes that is made now.
    pub(super) fn run_time(&self) -> Duration {
        Duration::from_nanos(self.last_run.load(Relaxed))
    }
}

fn answer_late(waiting: Waiting) {
    let error = match waiting.due <= now() {
        true => Error::late("waiting for an instance"),
        false => Error::new(Kind::Late, "it could not be answered by its deadline any more"),
    };
    waiting.reply.send(Err(error));
}

impl<P: Place> State<P> {
    fn next(&mut self, cx: &mut Context<'_>, moment: &Moment, late: &mut Vec<Waiting>) -> Step<P::Slot> {
        let Some(backlog) = self.queue.backlog() else {
            self.put_back = false;
            return Step::Rest;
        };
        if !moment.delay.is_zero()
            && let Some(until) = self.queue.hold(moment)
        {
            return Step::Hold(until);
        }
        let Poll::Ready(slot) = self.place.poll_slot(cx, &backlog) else { return Step::Rest };
        match self.queue.take(slot.rows(), moment, late) {
            Some(taken) => {
                self.in_flight += 1;
                Step::Run(slot, taken)
            }
            None => Step::Again(slot),
        }
    }

    /// How long a call that comes now is predicted to wait.
    pub(super) fn wait(&self) -> Duration {
        self.queue.predicted(self.in_flight)
    }

    /// Refuses what there is no room for, or what would be answered too late behind all that waits.
    fn refuse(&self, entry: &Entry, rules: &Rules, moment: &Moment) -> Result<()> {
        let wait = self.wait();
        let (level, bytes) = (entry.level(), entry.bytes());
        if let Some(room) = self.queue.lacks(level, entry.calls.len(), bytes) {
            let waiting = self.queue.len();
            return Err(Error::overloaded(room, format!("the queue is full, {waiting} calls wait"), wait));
        }
        let last_level = level + 1 == rules.levels.len();
        if last_level && !self.queue.is_empty() && self.queue.is_hopeless(&entry.calls[0].1, wait, moment) {
            let (left, takes) = (entry.left(moment.now).as_millis(), wait.as_millis());
            let message = format!("the calls that wait take about {takes} ms, and this one has {left} ms");
            return Err(Error::overloaded(Room::QueueTime, message, wait));
        }
        Ok(())
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

#[cfg(test)]
mod tests;
