//! How many calls are recorded, as far as that can be changed while the process runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::Rules;

/// How many calls are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Whether any are followed at all; where not, what callers say of their traces is passed on.
    pub is_on: bool,
    /// Which part is recorded, where it is for us to decide.
    pub ratio: f64,
}

impl Pace {
    pub(super) fn of(rules: &Rules) -> Pace {
        Pace { is_on: true, ratio: rules.sampler.ratio }
    }
}

/// A pace that every call reads and somebody changes now and then. Its halves need not change at one moment.
#[derive(Debug)]
pub(super) struct Paced {
    is_on: AtomicBool,
    ratio: AtomicU64,
}

impl Paced {
    pub(super) fn new(pace: Pace) -> Paced {
        Paced { is_on: AtomicBool::new(pace.is_on), ratio: AtomicU64::new(pace.ratio.to_bits()) }
    }

    pub(super) fn get(&self) -> Pace {
        Pace { is_on: self.is_on.load(Relaxed), ratio: f64::from_bits(self.ratio.load(Relaxed)) }
    }

    pub(super) fn set(&self, pace: Pace) {
        self.ratio.store(pace.ratio.to_bits(), Relaxed);
        self.is_on.store(pace.is_on, Relaxed);
    }
}
