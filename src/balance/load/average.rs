//! Averages that forget with time: round trips, which jump to each peak, and what failures cost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Time in which what was seen loses all but 1/e of its weight, in nanoseconds: Finagle's and Linkerd's 10 s, so that an
/// endpoint that was slow once is tried again within the same minute.
const DECAY: f64 = 10e9;
/// How much one call's end counts for what failures cost: the last 16 make up two thirds.
const SHARE: f64 = 1.0 / 16.0;

/// What is left of a weight after so long.
#[inline]
pub(super) fn kept(nanos: f64) -> f64 {
    let age = nanos * (1.0 / DECAY);
    // On the path of a pick: an exponential only where the straight line is off by more than 1 in 10 000.
    if age < 0.014 { 1.0 - age } else { (-age).exp() }
}

/// A value with the time of its last change.
#[derive(Debug)]
struct Stamped {
    value: AtomicU64,
    at: AtomicU64,
}

impl Default for Stamped {
    fn default() -> Self {
        Stamped { value: AtomicU64::new(f64::NAN.to_bits()), at: AtomicU64::new(0) }
    }
}

impl Stamped {
    fn read(&self, now: u64) -> (f64, f64) {
        let value = f64::from_bits(self.value.load(Relaxed));
        (value, kept(now.saturating_sub(self.at.load(Relaxed)) as i64 as f64))
    }

    #[inline]
    fn is_unset(&self) -> bool {
        f64::from_bits(self.value.load(Relaxed)).is_nan()
    }

    fn forget(&self) {
        self.value.store(f64::NAN.to_bits(), Relaxed);
    }

    fn write(&self, value: f64, now: u64) {
        self.value.store(value.to_bits(), Relaxed);
        self.at.fetch_max(now, Relaxed);
    }
}

/// A mean of round trips that follows a longer one at once and a shorter one slowly, and that shrinks while nothing
/// comes, so that an endpoint that is not used is tried again.
#[derive(Debug, Default)]
pub(super) struct PeakAverage(Stamped);

impl PeakAverage {
    pub(super) fn add(&self, took: f64, now: u64) {
        let (mean, kept) = self.0.read(now);
        let next = if mean.is_nan() || took > mean { took } else { mean * kept + took * (1.0 - kept) };
        self.0.write(next, now);
    }

    #[inline]
    pub(super) fn is_known(&self) -> bool {
        !self.0.is_unset()
    }

    /// It takes no less than that.
    pub(super) fn at_least(&self, took: f64, now: u64) {
        if self.at(now).is_some_and(|mean| took > mean) {
            self.0.write(took, now);
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.0.forget();
    }

    pub(super) fn at(&self, now: u64) -> Option<f64> {
        let (mean, kept) = self.0.read(now);
        (!mean.is_nan()).then_some(mean * kept)
    }
}

/// What failures cost a call on average: the share of calls that fail, times what each of them loses. In proportion, so
/// that an endpoint with one failure in a thousand is not left aside for most of a minute, as it would be if each
/// failure counted as one long round trip.
#[derive(Debug, Default)]
pub(super) struct Failing(Stamped);

impl Failing {
    pub(super) fn add(&self, penalty: f64, now: u64) {
        let cost = self.at(now);
        if penalty > 0.0 || cost > 0.0 {
            self.0.write(cost * (1.0 - SHARE) + penalty * SHARE, now);
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.0.forget();
    }

    #[inline]
    pub(super) fn at(&self, now: u64) -> f64 {
        if self.0.is_unset() {
            return 0.0;
        }
        let (cost, kept) = self.0.read(now);
        cost * kept
    }
}
