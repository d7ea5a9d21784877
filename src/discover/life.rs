//! When each source last gave a sign of life, and what it said that could not be used: for gauges and for people.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The signs of life of all sources. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lives(Arc<[Life]>);

/// What is known about one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLife<'a> {
    /// The source as in its flag.
    pub source: &'a str,
    /// How long ago it last gave a sign of life, counted from the start where it never did; `None` where nobody is
    /// asked, as for addresses that are written down.
    pub stale_for: Option<Duration>,
    /// Entries of its last answer that could not be used: junk addresses, slices without the port, kinds of addresses
    /// that are not dialled.
    pub skipped: u64,
}

#[derive(Debug)]
struct Life {
    source: String,
    is_asked: bool,
    start: Instant,
    /// Milliseconds from `start` to the last sign of life.
    last: AtomicU64,
    skipped: AtomicU64,
}

impl Lives {
    /// Of sources and whether anybody is asked for them, from `now` on.
    pub fn new(sources: impl IntoIterator<Item = (String, bool)>, now: Instant) -> Lives {
        let life = |(source, is_asked)| Life {
            source,
            is_asked,
            start: now,
            last: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        };
        Lives(sources.into_iter().map(life).collect())
    }

    /// Each source, in the order of its flag.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = SourceLife<'_>> {
        self.0.iter().map(move |life| SourceLife {
            source: &life.source,
            stale_for: life.is_asked.then(|| life.stale_for(now)),
            skipped: life.skipped.load(Relaxed),
        })
    }

    /// How long ago the source that has been silent for longest last gave a sign of life.
    pub fn stale_for(&self, now: Instant) -> Option<Duration> {
        self.iter(now).filter_map(|life| life.stale_for).max()
    }

    /// A source gave a sign of life.
    pub(super) fn seen(&self, source: usize, now: Instant) {
        let life = &self.0[source];
        life.last.store(now.saturating_duration_since(life.start).as_millis() as u64, Relaxed);
    }

    /// So many entries of a source's last answer could not be used.
    pub(super) fn skipped(&self, source: usize, entries: u64) {
        self.0[source].skipped.store(entries, Relaxed);
    }
}

impl Life {
    fn stale_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start + Duration::from_millis(self.last.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_source_that_was_silent_for_longest_says_how_stale_the_set_is() {
        let start = Instant::now();
        let asked = [("written down", false), ("a", true), ("b", true)];
        let lives = Lives::new(asked.map(|(name, is_asked)| (name.to_owned(), is_asked)), start);
        lives.seen(1, start + 5 * SECOND);
        lives.seen(2, start + 8 * SECOND);
        assert_eq!(lives.stale_for(start + 10 * SECOND), Some(5 * SECOND));
        let each: Vec<_> = lives.iter(start + 10 * SECOND).map(|life| (life.source, life.stale_for)).collect();
        assert_eq!(each, [("written down", None), ("a", Some(5 * SECOND)), ("b", Some(2 * SECOND))]);
    }

    #[test]
    fn a_list_that_is_written_down_is_never_stale() {
        let lives = Lives::new([("10.0.0.1:80".to_owned(), false)], Instant::now());
        assert_eq!(lives.stale_for(Instant::now() + SECOND), None);
    }
}
