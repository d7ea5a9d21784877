//! Load: calls that are made one way or another until the run is over, and counted. Nothing here knows what a call is.

mod closed;
mod open;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::arrivals::{Arrivals, Spacing};
use super::tally::{End, Tally};

/// How long calls that are outstanding may still take once somebody wants the run to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Callers of which each waits for its answer before it calls again.
    Closed {
        /// How many.
        concurrency: usize,
    },
    /// Calls at their times, whatever became of those before.
    Open {
        /// Calls in a second.
        rate: f64,
        /// How their times are drawn.
        spacing: Spacing,
        /// The most calls that may be outstanding.
        most: usize,
    },
}

/// When a run ends by itself: at the earlier of the two, where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// After this time.
    pub time: Option<Duration>,
    /// After so many calls.
    pub calls: Option<u64>,
}

/// Says that somebody wants to have the end of it now.
pub type Stop = watch::Receiver<bool>;

/// Something that can be called with the number of the call.
pub trait Call: Clone + Send + Sync + 'static {
    /// Calls once.
    fn call(&self, number: u64) -> impl Future<Output = End> + Send;
}

/// A run: its end, and what became of its calls so far.
#[derive(Debug)]
pub struct Run {
    started: Instant,
    until: Option<Instant>,
    left: AtomicU64,
    stop: Stop,
    deadline: Option<Duration>,
    tally: Mutex<Tally>,
}

impl Run {
    /// A run that begins now. Answers after the deadline are late.
    pub fn start(length: Length, deadline: Option<Duration>, stop: Stop) -> Arc<Run> {
        let started = Instant::now();
        let until = length.time.map(|time| started + time);
        let left = AtomicU64::new(length.calls.unwrap_or(u64::MAX));
        Arc::new(Run { started, until, left, stop, deadline, tally: Mutex::default() })
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What became of the calls so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes calls until the end of the run, and waits for their answers; where the run is stopped, not for long.
    pub async fn load(self: &Arc<Run>, load: Load, seed: u64, call: impl Call) {
        let mut stop = self.stop.clone();
        let loaded = async {
            match load {
                Load::Closed { concurrency } => closed::run(self, concurrency, call).await,
                Load::Open { rate, spacing, most } => {
                    open::run(self, Arrivals::new(spacing, rate, seed), most, call).await;
                }
            }
        };
        tokio::pin!(loaded);
        tokio::select! {
            () = &mut loaded => {}
            () = stopped(&mut stop) => {
                let _ = timeout(PATIENCE, loaded).await;
            }
        }
    }

    /// Whether a call that is due at `now` belongs to the run. Each yes is one of its calls.
    fn takes(&self, now: Instant) -> bool {
        let is_over = self.until.is_some_and(|until| now >= until) || *self.stop.borrow();
        let take = |left: u64| left.checked_sub(1);
        !is_over && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Makes one call, which counts from `since`, and says whether there was a server to take it.
    async fn call(&self, number: u64, since: Instant, call: &impl Call) -> bool {
        self.tally().send();
        let end = call.call(number).await;
        let is_reached = !matches!(&end, End::Failed(status) if is_unreached(status));
        self.tally().end(since, Instant::now(), end, self.deadline);
        is_reached
    }
}

/// Whether there is no server any more. A status that a server sent comes from no error of this side.
fn is_unreached(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.source().is_some()
}

/// Waits until somebody wants the end.
pub async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could want it.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at its next turn, but never where the number of the call says so.
    #[derive(Clone)]
    struct Answering {
        never: fn(u64) -> bool,
    }

    impl Call for Answering {
        async fn call(&self, number: u64) -> End {
            if (self.never)(number) {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            End::Answered
        }
    }

    const CLOSED: Load = Load::Closed { concurrency: 3 };

    fn open(most: usize) -> Load {
        Load::Open { rate: 1e6, spacing: Spacing::Poisson, most }
    }

    fn calls(calls: u64) -> Length {
        Length { time: None, calls: Some(calls) }
    }

    #[tokio::test]
    async fn a_run_has_as_many_calls_as_were_asked_for() {
        let (_stop, stop) = watch::channel(false);
        for load in [CLOSED, open(1000)] {
            let run = Run::start(calls(100), None, stop.clone());
            run.load(load, 1, Answering { never: |_| false }).await;
            let tally = run.tally();
            assert_eq!((tally.sent(), tally.answered(), tally.not_sent), (100, 100, 0), "{load:?}");
        }
    }

    #[tokio::test]
    async fn a_run_without_time_has_no_calls() {
        let (_stop, stop) = watch::channel(false);
        for load in [CLOSED, open(1000)] {
            let run = Run::start(Length { time: Some(Duration::ZERO), calls: None }, None, stop.clone());
            run.load(load, 1, Answering { never: |_| false }).await;
            let tally = run.tally();
            assert_eq!((tally.sent(), tally.not_sent), (0, 0), "{load:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_stopped_gives_up_what_is_not_answered() {
        for load in [CLOSED, open(1000)] {
            let (stopping, stop) = watch::channel(false);
            let run = Run::start(Length { time: None, calls: Some(50) }, None, stop);
            let loading = run.load(load, 1, Answering { never: |number| number == 2 });
            tokio::pin!(loading);
            // Until all but one call have ended.
            let ended = async {
                while run.tally().answered() + 1 < 50 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! { () = &mut loading => unreachable!("a call is outstanding"), () = ended => {} }
            stopping.send_replace(true);
            loading.await;
            let tally = run.tally();
            assert_eq!((tally.answered(), tally.given_up()), (49, 1), "{load:?}");
        }
    }

    #[tokio::test]
    async fn calls_that_find_too_many_outstanding_are_counted_and_not_sent_later() {
        let (stopping, stop) = watch::channel(false);
        let run = Run::start(calls(20), None, stop);
        let loading = run.load(open(4), 1, Answering { never: |_| true });
        let turned_away = async {
            while run.tally().not_sent < 16 {
                tokio::task::yield_now().await;
            }
            stopping.send_replace(true);
        };
        tokio::join!(loading, turned_away);
        let tally = run.tally();
        assert_eq!((tally.sent(), tally.not_sent, tally.given_up()), (4, 16, 4));
    }
}
