//! Work on its way to a slot: one call or several merged, with where its answer goes and whether anyone still waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use tokio::sync::Notify;

use super::{InferRequest, InferResponse};
use crate::error::{Error, Kind, Result};

/// What waits in a queue, as plain data for whoever grants slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Calls.
    pub calls: usize,
    /// Rows along the batch axis.
    pub rows: usize,
    /// Bytes of their inputs.
    pub bytes: usize,
    /// The earliest deadline among them.
    pub earliest_deadline: Instant,
}

/// What a batch came to. Requests and responses are boxed from here on: they change hands a dozen times before they
/// are through, and are hundreds of bytes long.
pub type Outcome = Result<Box<InferResponse>>;

type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// Why a batch was closed when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// A slot was free, and these were all that could go together.
    SlotFree,
    /// It had as many rows as it may, or as get cheaper by being run together.
    Full,
    /// Its calls had waited for others as long as they should.
    Delay,
    /// With more rows, or later, one of its calls would have been late.
    Deadline,
    /// The process was leaving, so that nothing was to be waited for.
    Drain,
}

impl Close {
    /// Every reason.
    pub const ALL: [Close; 5] = [Close::SlotFree, Close::Full, Close::Delay, Close::Deadline, Close::Drain];

    /// Its name, such as `slot_free`: a metric label and a span attribute.
    pub fn name(self) -> &'static str {
        match self {
            Close::SlotFree => "slot_free",
            Close::Full => "full",
            Close::Delay => "delay",
            Close::Deadline => "deadline",
            Close::Drain => "drain",
        }
    }
}

/// How a batch came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composition {
    /// Rows of its calls along the batch axis, padding left out; 1 where the model has no such axis.
    pub rows: usize,
    /// Elements of all inputs as the engine gets them.
    pub elements: usize,
    /// How many of those are padding.
    pub padding: usize,
    /// Why it was closed.
    pub closed: Close,
}

/// A request together with the obligation to answer it. A batch that is dropped answers an error, so that no call is
/// ever left without an end.
pub struct Batch {
    /// What to run. Its model's version is settled and it was checked against that version's signature.
    pub request: Box<InferRequest>,
    /// Whether anyone still waits for it.
    pub interest: Arc<Interest>,
    /// How it came about.
    pub composition: Composition,
    answer: Option<Answer>,
}

impl Batch {
    /// A batch whose result goes to `answer`, on whatever thread it comes up.
    pub fn new(
        request: Box<InferRequest>,
        interest: Arc<Interest>,
        composition: Composition,
        answer: impl FnOnce(Outcome) + Send + 'static,
    ) -> Batch {
        Batch { request, interest, composition, answer: Some(Box::new(answer)) }
    }

    /// Ends the batch.
    pub fn answer(mut self, result: Outcome) {
        if let Some(answer) = self.answer.take() {
            answer(result);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(Err(Error::new(Kind::Engine, "the batch was dropped before it was run")));
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("request", &self.request).finish_non_exhaustive()
    }
}

/// How many callers still wait for a batch, and what to do when the last one leaves.
#[derive(Default)]
pub struct Interest {
    waiting: AtomicUsize,
    when_gone: Mutex<Option<Stop>>,
    joined: OnceLock<Arc<Interest>>,
    /// Whether what it was joined with knows that it is gone.
    has_told: AtomicBool,
}

type Stop = Box<dyn Fn() + Send>;

impl Interest {
    /// Interest of `waiting` callers, each of which leaves once.
    pub fn of(waiting: usize) -> Arc<Interest> {
        Arc::new(Interest { waiting: AtomicUsize::new(waiting), ..Interest::default() })
    }

    /// Interest in what is run for all of `members` together: each of them that ends, or has ended, leaves it. None of
    /// them may have been joined with others before.
    pub fn joined<'a>(members: impl ExactSizeIterator<Item = &'a Arc<Interest>>) -> Arc<Interest> {
        let joined = Interest::of(members.len());
        for member in members {
            let first = member.joined.set(joined.clone()).is_ok();
            debug_assert!(first, "a call is merged once");
            fence(Ordering::SeqCst);
            if member.is_gone() {
                member.tell();
            }
        }
        joined
    }

    /// One caller waits no more. The last one to leave stops what runs.
    pub fn leave(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stop();
            // Either this sees what it is just being joined with, or that sees that this is gone.
            fence(Ordering::SeqCst);
            self.tell();
        }
    }

    /// Leaves what it was joined with, once.
    fn tell(&self) {
        if let Some(joined) = self.joined.get()
            && !self.has_told.swap(true, Ordering::AcqRel)
        {
            joined.leave();
        }
    }

    /// Whether nobody waits any more.
    pub fn is_gone(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Runs `work`, calling `stop` at once if the last caller has left or leaves meanwhile. Once this returns, `stop`
    /// is never called again.
    pub fn while_waited_for<T>(&self, stop: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        *self.when_gone() = Some(Box::new(stop));
        let _disarmed_at_the_end = Disarm(self);
        if self.is_gone() {
            // The last caller may have left just before the hook was there to be seen; stopping twice does no harm.
            self.stop();
        }
        work()
    }

    /// Ends once the last caller has left: the same for what is no thread. Dropped it forgets about it. Of this and
    /// [`Interest::while_waited_for`] there is one at a time.
    pub async fn gone(&self) {
        let left = Arc::new(Notify::new());
        let tell = left.clone();
        *self.when_gone() = Some(Box::new(move || tell.notify_one()));
        let _disarmed_at_the_end = Disarm(self);
        if !self.is_gone() {
            left.notified().await;
        }
    }

    fn stop(&self) {
        if let Some(stop) = &*self.when_gone() {
            stop();
        }
    }

    fn when_gone(&self) -> MutexGuard<'_, Option<Stop>> {
        self.when_gone.lock().expect("stopping a run does not panic")
    }
}

/// Takes the hook away again, also where the work panics: what it would stop then is somebody else's.
struct Disarm<'a>(&'a Interest);

impl Drop for Disarm<'_> {
    fn drop(&mut self) {
        *self.0.when_gone() = None;
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> (Arc<AtomicUsize>, impl Fn() + Send + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let stop = {
            let count = count.clone();
            move || {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        (count, stop)
    }

    #[test]
    fn the_last_caller_to_leave_stops_the_run() {
        let (stopped, stop) = counter();
        let interest = Interest::of(2);
        interest.while_waited_for(stop, || {
            interest.leave();
            assert_eq!(stopped.load(Ordering::Relaxed), 0);
            interest.leave();
            assert_eq!(stopped.load(Ordering::Relaxed), 1);
        });
    }

    #[tokio::test]
    async fn whoever_waits_for_the_last_caller_to_leave_is_told_also_where_that_was_before() {
        let interest = Interest::of(2);
        interest.leave();
        {
            let mut gone = std::pin::pin!(interest.gone());
            assert!(futures_util::poll!(gone.as_mut()).is_pending());
            interest.leave();
            assert!(futures_util::poll!(gone.as_mut()).is_ready());
        }
        interest.gone().await;
    }

    #[test]
    fn a_run_for_several_calls_is_stopped_when_the_last_of_them_is_left() {
        let (stopped, stop) = counter();
        let members = [Interest::of(1), Interest::of(1)];
        Interest::joined(members.iter()).while_waited_for(stop, || {
            members[0].leave();
            assert_eq!(stopped.load(Ordering::Relaxed), 0);
            members[1].leave();
            assert_eq!(stopped.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_call_that_was_left_before_it_was_joined_counts_as_left_once() {
        let members = [Interest::of(1), Interest::of(1)];
        members[0].leave();
        let joined = Interest::joined(members.iter());
        assert!(!joined.is_gone());
        members[1].leave();
        assert!(joined.is_gone());
    }

    #[test]
    fn a_call_that_is_left_while_it_is_joined_counts_as_left_once() {
        for _ in 0..200 {
            let members = [Interest::of(1), Interest::of(1), Interest::of(1)];
            let joined = std::thread::scope(|scope| {
                let leaving = scope.spawn(|| members[..2].iter().for_each(|member| member.leave()));
                let joined = Interest::joined(members.iter());
                leaving.join().unwrap();
                joined
            });
            assert_eq!(joined.waiting.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_run_that_nobody_waits_for_is_stopped_at_once_and_never_after_its_end() {
        let (stopped, stop) = counter();
        let interest = Interest::of(1);
        interest.leave();
        interest.while_waited_for(stop, || assert_eq!(stopped.load(Ordering::Relaxed), 1));

        let (stopped, stop) = counter();
        let interest = Interest::of(1);
        interest.while_waited_for(stop, || ());
        interest.leave();
        assert_eq!(stopped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_run_that_panicked_is_not_stopped_later_when_another_has_taken_its_place() {
        let (stopped, stop) = counter();
        let interest = Interest::of(1);
        let run = || interest.while_waited_for(stop, || panic!("as an engine might"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        interest.leave();
        assert_eq!(stopped.load(Ordering::Relaxed), 0);
    }
}
