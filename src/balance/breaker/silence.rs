//! Whether an endpoint still answers anything at all. One that is frozen fails no call; its calls just never end.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How long an endpoint may be silent while calls wait for it: three times what nearly all calls take (`p99`), but a
/// second at least, since pauses of some hundred milliseconds are ordinary.
pub fn patience(p99: Option<Duration>) -> Duration {
    p99.unwrap_or_default().saturating_mul(3).max(LEAST_PATIENCE)
}

const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// When an endpoint last gave a sign of life, and how many calls have waited since.
#[derive(Debug)]
pub(super) struct Silence {
    start: Instant,
    waiting: AtomicU32,
    /// When it was last heard of, or the first of those that wait now was sent, in nanoseconds since the start.
    since: AtomicU64,
    /// Calls that waited longer than nearly all calls take, ended unanswered, and had no answer of another between them.
    unanswered: AtomicU32,
    /// What nearly all calls take, in nanoseconds; zero where that is not known.
    p99: AtomicU64,
}

impl Silence {
    pub(super) fn new(start: Instant) -> Silence {
        let (waiting, since) = (AtomicU32::new(0), AtomicU64::new(0));
        Silence { start, waiting, since, unanswered: AtomicU32::new(0), p99: AtomicU64::new(0) }
    }

    /// A call is sent.
    pub(super) fn begin(&self, now: Instant) {
        // The time goes first: whoever sees the call must not take it for one that waits since long ago.
        if self.waiting.load(SeqCst) == 0 {
            self.since.fetch_max(self.nanos(now), SeqCst);
        }
        self.waiting.fetch_add(1, SeqCst);
    }

    /// A call ended by an answer, good or bad.
    pub(super) fn heard(&self, now: Instant) {
        self.since.fetch_max(self.nanos(now), SeqCst);
        self.unanswered.store(0, SeqCst);
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// A call ended unanswered after it had waited for so long; tells how many have now done so in a row, where that
    /// was longer than is usual.
    pub(super) fn unanswered(&self, waited: Duration) -> Option<u32> {
        self.waiting.fetch_sub(1, SeqCst);
        self.is_overdue(waited).then(|| self.unanswered.fetch_add(1, SeqCst) + 1)
    }

    /// How long nothing was heard although calls wait; zero where none waits.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        match self.waiting() {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.nanos(now).saturating_sub(self.since.load(SeqCst))),
        }
    }

    /// Calls that wait for an answer.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// From now on nearly all calls take at most this long.
    pub(super) fn expect(&self, p99: Option<Duration>) {
        self.p99.store(p99.map_or(0, |p99| p99.as_nanos() as u64), SeqCst);
    }

    /// Unanswered calls before this are not held against it.
    pub(super) fn forgive(&self) {
        self.unanswered.store(0, SeqCst);
    }

    /// Callers choose their deadlines. What ends before most calls would have is their doing.
    fn is_overdue(&self, waited: Duration) -> bool {
        match self.p99.load(SeqCst) {
            0 => waited >= LEAST_PATIENCE,
            p99 => waited >= Duration::from_nanos(p99),
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_endpoint_is_silent_only_while_calls_wait_and_nothing_is_heard() {
        let start = Instant::now();
        let silence = Silence::new(start);
        assert_eq!(silence.silent_for(start + MS * 5000), Duration::ZERO);
        silence.begin(start + MS * 5000);
        silence.begin(start + MS * 5100);
        assert_eq!(silence.silent_for(start + MS * 5300), MS * 300);
        silence.heard(start + MS * 5400);
        assert_eq!(silence.silent_for(start + MS * 5500), MS * 100);
        silence.heard(start + MS * 5600);
        assert_eq!(silence.silent_for(start + MS * 9999), Duration::ZERO);
    }

    #[test]
    fn calls_whose_callers_left_early_say_nothing() {
        let silence = Silence::new(Instant::now());
        silence.expect(Some(MS * 50));
        (0..3).for_each(|_| silence.begin(Instant::now()));
        assert_eq!(silence.unanswered(MS * 49), None);
        assert_eq!(silence.unanswered(MS * 50), Some(1));
        assert_eq!(silence.unanswered(MS * 500), Some(2));
    }

    #[test]
    fn patience_is_a_second_or_three_times_what_calls_take() {
        assert_eq!(patience(None), MS * 1000);
        assert_eq!(patience(Some(MS * 20)), MS * 1000);
        assert_eq!(patience(Some(MS * 900)), MS * 2700);
    }
}
