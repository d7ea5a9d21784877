//! A histogram of durations: fixed bounds, and nothing but additions to atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds in nanoseconds: three to a decade, from 10 us to 60 s.
pub(super) const BOUNDS: [u64; 21] = {
    let mut bounds = [0; 21];
    let mut at = 0;
    let mut decade = 10_000;
    while at < 18 {
        bounds[at] = decade;
        bounds[at + 1] = 2 * decade;
        bounds[at + 2] = 5 * decade;
        decade *= 10;
        at += 3;
    }
    bounds[18] = 10_000_000_000;
    bounds[19] = 20_000_000_000;
    bounds[20] = 60_000_000_000;
    bounds
};

/// One for each bound, and one for what is over the last.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of the shortest duration that has so many bits.
const FIRST: [u8; u64::BITS as usize + 1] = {
    let mut first = [0; u64::BITS as usize + 1];
    let mut bits = 1;
    while bits < first.len() {
        let mut bucket = first[bits - 1];
        while (bucket as usize) < BOUNDS.len() && BOUNDS[bucket as usize] < 1 << (bits - 1) {
            bucket += 1;
        }
        first[bits] = bucket;
        bits += 1;
    }
    first
};

/// The bucket of a duration. Bounds lie so far apart that among durations of as many bits there is one at most.
pub(super) fn bucket(nanos: u64) -> usize {
    let first = usize::from(FIRST[(u64::BITS - nanos.leading_zeros()) as usize]);
    first + usize::from(BOUNDS.get(first).is_some_and(|bound| *bound < nanos))
}

/// Durations that are counted.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Histogram {
    pub(super) fn add(&self, nanos: u64) {
        self.counts[bucket(nanos)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

/// What several histograms have counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) counts: [u64; BUCKETS],
    pub(super) nanos: u64,
}

impl Counted {
    pub(super) fn include(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.load(Relaxed);
        }
        self.nanos += histogram.nanos.load(Relaxed);
    }

    /// Adds what was counted elsewhere.
    pub(super) fn join(&mut self, other: &Counted) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.nanos += other.nanos;
    }

    /// How many durations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket_and_what_is_over_the_last_to_none() {
        assert!(BOUNDS.is_sorted());
        for nanos in BOUNDS.into_iter().chain((0..u64::BITS).map(|bit| 1 << bit)) {
            for nanos in [nanos - 1, nanos, nanos + 1] {
                assert_eq!(bucket(nanos), BOUNDS.partition_point(|bound| *bound < nanos), "{nanos}");
            }
        }
        assert_eq!((bucket(0), bucket(10_000), bucket(10_001), bucket(20_000)), (0, 0, 1, 1));
        assert_eq!((bucket(60_000_000_000), bucket(u64::MAX)), (BOUNDS.len() - 1, BOUNDS.len()));
        let histogram = Histogram::default();
        [3, 30_000, 30_001].into_iter().for_each(|nanos| histogram.add(nanos));
        let mut counted = Counted::default();
        counted.include(&histogram);
        assert_eq!((counted.count(), counted.counts[0], counted.counts[2], counted.nanos), (3, 1, 2, 60_004));
    }
}
