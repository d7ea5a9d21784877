//! The life of a connection and of its endpoint: what is owed, when it was last heard of, and whether to doubt it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::Rules;
use super::pings::Pings;
use super::pulse::Pulse;
use crate::balance::now;

/// An answer may take so many times as long as the slowest of late before silence is suspicious.
const SLOWER: u32 = 3;
/// So many times the least silence are suspicious whatever answers take, where questions cost nothing.
const LONGEST: u32 = 2;
/// Of what is known of the slowest answer, this part is forgotten with each that was faster.
const FORGET: u64 = 64;

/// The life of one connection.
pub(super) struct Life {
    in_flight: AtomicUsize,
    /// Calls that were answered.
    answers: AtomicU64,
    /// A call began while there was none.
    busy: Notify,
    pulse: Pulse,
    vitals: Arc<Vitals>,
}

impl Life {
    pub(super) fn new(pulse: Pulse, vitals: Arc<Vitals>) -> Life {
        Life { in_flight: AtomicUsize::new(0), answers: AtomicU64::new(0), busy: Notify::new(), pulse, vitals }
    }

    /// Calls can begin on it.
    pub(super) fn opened(&self) {
        // Whoever sees the number finds the connection.
        self.vitals.open.fetch_add(1, Release);
    }

    /// They can no more.
    pub(super) fn shut(&self) {
        self.vitals.open.fetch_sub(1, Relaxed);
    }

    /// Calls that are owed their answers.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// A call begins.
    pub(super) fn begin(&self, now: Instant) {
        if self.in_flight.fetch_add(1, Relaxed) == 0 {
            self.pulse.beat(now);
            self.busy.notify_one();
        }
    }

    /// Its answer has come, after so long.
    pub(super) fn answered_in(&self, took: Duration) {
        self.answers.fetch_add(1, Relaxed);
        self.vitals.answered_in(took);
    }

    /// It has ended, answered or not.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Ends when the backend seems dead. Calls `look` now and then.
    pub(super) async fn watch(&self, mut ping: PingPong, rules: &Rules, look: impl Fn()) {
        let mut suspicion = Suspicion { vitals: &self.vitals, raised: false };
        let mut pings = Pings::default();
        loop {
            look();
            if self.in_flight.load(Relaxed) == 0 {
                self.busy.notified().await;
                continue;
            }
            let (now, patience) = (now(), self.vitals.patience(rules));
            let answers = self.answers.load(Relaxed);
            let takes_pings = self.vitals.takes_pings.load(Relaxed);
            let due = pings.due(answers, takes_pings).max(Some(self.pulse.last() + patience));
            if let Some(due) = due.filter(|due| now < *due) {
                // An answer, or what else is learned meanwhile, may bring it forward.
                sleep_until(due.min(now + patience).into()).await;
                continue;
            }
            pings.sent(answers, now);
            if ping.send_ping(Ping::opaque()).is_err() {
                // The connection is at its end, which its own task tells.
                return std::future::pending().await;
            }
            if !self.is_answered(&mut ping, &mut suspicion, rules.ping_timeout).await {
                return;
            }
        }
    }

    /// Whether the backend shows a sign of life after a ping.
    async fn is_answered(&self, ping: &mut PingPong, suspicion: &mut Suspicion<'_>, timeout: Duration) -> bool {
        let mut asked = now();
        loop {
            let patience = timeout / if suspicion.raised { 1 } else { 3 };
            tokio::select! {
                Ok(_) = std::future::poll_fn(|cx| ping.poll_pong(cx)) => {
                    suspicion.lower();
                    return true;
                }
                () = sleep_until((asked + patience).into()) => {}
            }
            if self.pulse.last() > asked {
                // Bytes came, only the pong is still behind them.
                suspicion.lower();
                asked = now();
            } else if suspicion.raised {
                return false;
            } else {
                suspicion.raise();
            }
        }
    }
}

/// What is known of an endpoint's life over all its connections.
#[derive(Default)]
pub(super) struct Vitals {
    /// Nanoseconds that the slowest of the latest answers took.
    slowest: AtomicU64,
    /// Its connections that calls can begin on.
    open: AtomicUsize,
    /// Connections whose ping has gone unanswered for suspiciously long.
    suspected: AtomicUsize,
    /// One more is.
    suspicion: Notify,
    /// Whether it takes as many pings as it gets.
    takes_pings: AtomicBool,
}

impl Vitals {
    /// Whether calls can begin, on a connection of which nothing is suspected. All that a pick asks of an endpoint, and it
    /// asks it of several for each call.
    #[inline]
    pub(super) fn is_well(&self) -> bool {
        self.open.load(Acquire) > 0 && !self.is_suspected()
    }

    /// Whether some connection of it seems dead.
    #[inline]
    pub(super) fn is_suspected(&self) -> bool {
        self.suspected.load(Relaxed) > 0
    }

    /// Waits until some connection of it seems dead.
    pub(super) async fn suspected(&self) {
        loop {
            // Made before the look, it tells also of what comes between.
            let suspicion = self.suspicion.notified();
            if self.is_suspected() {
                return;
            }
            suspicion.await;
        }
    }

    /// Notes whether the endpoint takes as many pings as it gets.
    pub(super) fn set_takes_pings(&self, takes: bool) {
        self.takes_pings.store(takes, Relaxed);
    }

    fn answered_in(&self, took: Duration) {
        let known = self.slowest.load(Relaxed);
        // Not one atomic exchange: that one of two answers at one time is forgotten does no harm.
        self.slowest.store((took.as_nanos() as u64).max(known - known / FORGET), Relaxed);
    }

    fn patience(&self, rules: &Rules) -> Duration {
        let slower = Duration::from_nanos(self.slowest.load(Relaxed)) * SLOWER;
        let longest = if self.takes_pings.load(Relaxed) { rules.silence * LONGEST } else { Duration::MAX };
        slower.min(longest).max(rules.silence)
    }
}

/// A doubt that is taken back when it is dropped.
struct Suspicion<'a> {
    vitals: &'a Vitals,
    raised: bool,
}

impl Suspicion<'_> {
    fn raise(&mut self) {
        if !std::mem::replace(&mut self.raised, true) {
            self.vitals.suspected.fetch_add(1, Relaxed);
            self.vitals.suspicion.notify_waiters();
        }
    }

    fn lower(&mut self) {
        if std::mem::take(&mut self.raised) {
            self.vitals.suspected.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        self.lower();
    }
}
