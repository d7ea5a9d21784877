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
    /// For how long it was silent all the while that calls waited which have ended unanswered, in nanoseconds; and up to
    /// when that is counted, so that calls that waited at one time do not count twice.
    unanswered: AtomicU64,
    counted: AtomicU64,
    /// What nearly all calls take, in nanoseconds; zero where that is not known.
    p99: AtomicU64,
}

/// What a call says that ended unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nothing: callers choose their deadlines, and this one ended before nearly all calls would have.
    Early,
    /// It waited longer than nearly all, but not so long that it must have been forgotten: so it is where there is too
    /// much to do, since then those that are answered take long too.
    Late {
        /// For how long nothing was heard of the endpoint while calls waited.
        silent: Duration,
    },
    /// It waited three times as long as nearly all that are answered.
    Overdue {
        /// Likewise.
        silent: Duration,
    },
}

impl Silence {
    pub(super) fn new(start: Instant) -> Silence {
        let [since, unanswered, counted, p99] = Default::default();
        Silence { start, waiting: AtomicU32::new(0), since, unanswered, counted, p99 }
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

    /// A call ended unanswered that began then.
    pub(super) fn unanswered(&self, began: Instant, now: Instant) -> Unanswered {
        self.waiting.fetch_sub(1, SeqCst);
        let (waited, p99) = (now.saturating_duration_since(began), self.p99.load(SeqCst));
        let usual = if p99 == 0 { LEAST_PATIENCE } else { Duration::from_nanos(p99) };
        if waited < usual {
            return Unanswered::Early;
        }
        let silent = self.count_silence(self.nanos(began), self.nanos(now));
        if waited < usual * 3 { Unanswered::Late { silent } } else { Unanswered::Overdue { silent } }
    }

    /// A call was dropped, nobody knows when.
    pub(super) fn forgotten(&self) {
        self.waiting.fetch_sub(1, SeqCst);
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

    /// How long it may be silent while calls wait.
    pub(super) fn patience(&self) -> Duration {
        patience(Some(Duration::from_nanos(self.p99.load(SeqCst))))
    }

    /// Silence before this is not held against it.
    pub(super) fn forgive(&self) {
        self.unanswered.store(0, SeqCst);
    }

    /// Adds the time from `began` on, if nothing was heard in it, and tells what there is then.
    fn count_silence(&self, began: u64, now: u64) -> Duration {
        let mut silent = self.unanswered.load(SeqCst);
        if began >= self.since.load(SeqCst) {
            let more = now.saturating_sub(began.max(self.counted.fetch_max(now, SeqCst)));
            silent = self.unanswered.fetch_add(more, SeqCst) + more;
        }
        Duration::from_nanos(silent)
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

    /// A silence that expects calls to take 50 ms, and calls that began at these milliseconds.
    fn waiting(begins: &[u32]) -> (Silence, Instant) {
        let start = Instant::now();
        let silence = Silence::new(start);
        silence.expect(Some(MS * 50));
        begins.iter().for_each(|begin| silence.begin(start + MS * *begin));
        (silence, start)
    }

    #[test]
    fn calls_whose_callers_left_early_say_nothing() {
        let (silence, start) = waiting(&[0, 0, 0]);
        assert_eq!(silence.unanswered(start, start + MS * 49), Unanswered::Early);
        assert_eq!(silence.unanswered(start, start + MS * 50), Unanswered::Late { silent: MS * 50 });
        assert_eq!(silence.unanswered(start, start + MS * 150), Unanswered::Overdue { silent: MS * 150 });
    }

    #[test]
    fn calls_that_waited_at_one_time_count_once() {
        let (silence, start) = waiting(&[0, 50, 1000]);
        let end = |begin, end| silence.unanswered(start + MS * begin, start + MS * end);
        assert_eq!(end(0, 100), Unanswered::Late { silent: MS * 100 });
        assert_eq!(end(50, 120), Unanswered::Late { silent: MS * 120 });
        assert_eq!(end(1000, 1060), Unanswered::Late { silent: MS * 180 });
    }

    #[test]
    fn of_an_endpoint_that_was_heard_of_meanwhile_unanswered_calls_tell_no_silence() {
        let (silence, start) = waiting(&[0, 0]);
        silence.heard(start + MS * 90);
        assert_eq!(silence.unanswered(start, start + MS * 100), Unanswered::Late { silent: Duration::ZERO });
    }

    #[test]
    fn patience_is_a_second_or_three_times_what_calls_take() {
        assert_eq!(patience(None), MS * 1000);
        assert_eq!(patience(Some(MS * 20)), MS * 1000);
        assert_eq!(patience(Some(MS * 900)), MS * 2700);
    }
}
