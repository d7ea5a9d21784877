//! A histogram of durations: nothing but additions to atomics, in cells that serve both of its views.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::cells::{self, BUCKETS, CELLS, cell};
use crate::observe::exponential::Exponential;

/// Durations that are counted.
#[derive(Debug)]
pub(super) struct Histogram {
    cells: [AtomicU64; CELLS],
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { cells: [const { AtomicU64::new(0) }; CELLS], nanos: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(super) fn add(&self, nanos: u64) {
        self.cells[cell(nanos)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }
}

/// What several histograms have counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    cells: [u64; CELLS],
    pub(super) nanos: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Counted { cells: [0; CELLS], nanos: 0 }
    }
}

impl Counted {
    pub(super) fn include(&mut self, histogram: &Histogram) {
        for (sum, count) in self.cells.iter_mut().zip(&histogram.cells) {
            *sum += count.load(Relaxed);
        }
        self.nanos += histogram.nanos.load(Relaxed);
    }

    /// Adds what was counted elsewhere.
    pub(super) fn join(&mut self, other: &Counted) {
        self.cells.iter_mut().zip(&other.cells).for_each(|(sum, count)| *sum += count);
        self.nanos += other.nanos;
    }

    /// How many durations.
    pub(super) fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// By the classic bounds.
    pub(super) fn classic(&self) -> [u64; BUCKETS] {
        cells::classic(&self.cells)
    }

    /// By powers of two, in seconds.
    pub(super) fn exponential(&self) -> Exponential {
        let (zero, buckets) = cells::exponential(&self.cells);
        Exponential { zero_threshold: cells::zero_threshold(), zero, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_in_both_views() {
        let histogram = Histogram::default();
        [3, 30_000, 30_001].into_iter().for_each(|nanos| histogram.add(nanos));
        let mut counted = Counted::default();
        counted.include(&histogram);
        let classic = counted.classic();
        assert_eq!((counted.count(), classic[0], classic[2], counted.nanos), (3, 1, 2, 60_004));
        let Exponential { zero, buckets, .. } = counted.exponential();
        assert_eq!((zero, buckets), (1, vec![(-60, 2)]));
    }
}
