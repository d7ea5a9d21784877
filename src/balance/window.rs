//! Counts over the last seconds, without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// Counts in buckets of one second. A bucket is one word, its second and its count together, so that it is begun anew
/// by whoever counts first in a new second and no count is ever read with another second's meaning. What is older than
/// [`Window::SECONDS`] is forgotten without anybody's doing. One that nothing was ever counted in has no buckets: of a
/// large fleet's members most are never called.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    buckets: OnceLock<Box<Buckets>>,
}

type Buckets = [AtomicU64; Window::SECONDS];

/// The bits of a bucket that hold its count; those above hold its second, which does not come round in 136 years.
const COUNT: u64 = u32::MAX as u64;

impl Window {
    /// As many buckets as are kept: those of a window of ten seconds, the one more that ten seconds touch where they do
    /// not begin with a bucket, and some for those that ask with a `now` of a moment ago.
    pub(super) const SECONDS: usize = 16;

    /// Empty, for times from `start` on.
    pub(super) fn new(start: Instant) -> Window {
        Window { start, buckets: OnceLock::new() }
    }

    /// Counts one.
    pub(super) fn add(&self, now: Instant) {
        let second = self.second(now);
        let bucket = &self.buckets()[second as usize % Window::SECONDS];
        let mut word = bucket.load(SeqCst);
        while let Err(other) = bucket.compare_exchange_weak(word, one_more(word, second), SeqCst, SeqCst) {
            word = other;
        }
    }

    /// Counts one more, if `allowed` says so of what is counted in the last `seconds` buckets. Of those that ask at one
    /// time each sees the count of those before it.
    pub(super) fn add_if(&self, now: Instant, seconds: usize, allowed: impl Fn(u64) -> bool) -> bool {
        let second = self.second(now);
        let bucket = &self.buckets()[second as usize % Window::SECONDS];
        loop {
            // Read before the sum: whoever counts in between makes the exchange fail.
            let word = bucket.load(SeqCst);
            if !allowed(self.sum(now, seconds)) {
                return false;
            }
            if bucket.compare_exchange_weak(word, one_more(word, second), SeqCst, SeqCst).is_ok() {
                return true;
            }
        }
    }

    /// What is counted in the last `seconds` buckets, the one of `now` among them.
    pub(super) fn sum(&self, now: Instant, seconds: usize) -> u64 {
        let last = self.second(now);
        let buckets = self.buckets.get().into_iter().flat_map(|buckets| buckets.iter());
        let buckets = buckets.map(|bucket| bucket.load(SeqCst));
        let recent = buckets.filter(|word| word >> 32 <= last && last - (word >> 32) < seconds as u64);
        recent.map(|word| word & COUNT).sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.buckets.get().into_iter().flat_map(|buckets| buckets.iter()).for_each(|bucket| bucket.store(0, SeqCst));
    }

    fn buckets(&self) -> &Buckets {
        self.buckets.get_or_init(Box::default)
    }

    /// Seconds since the start, from one on: zero is a bucket that was never used, and counts nothing anyway.
    fn second(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_secs() + 1).min(COUNT)
    }
}

/// A bucket with one more in it. One that comes too late to find its own second counts in the one that took its place.
fn one_more(word: u64, second: u64) -> u64 {
    if word >> 32 < second { second << 32 | 1 } else { word + u64::from(word & COUNT < COUNT) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_older_than_asked_for_is_not_counted() {
        let start = Instant::now();
        let window = Window::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        (0..30).for_each(|second| window.add(at(second)));
        assert_eq!(window.sum(at(29), 10), 10);
        assert_eq!(window.sum(at(34), 10), 5);
        assert_eq!(window.sum(at(40), 10), 0);
    }

    #[test]
    fn those_that_ask_at_once_do_not_get_more_than_there_is() {
        let start = Instant::now();
        let window = Window::new(start);
        let granted = || (0..1000).filter(|_| window.add_if(start, 10, |sum| sum < 500)).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(granted)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((all, window.sum(start, 10)), (500, 500));
    }
}
