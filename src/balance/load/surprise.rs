//! How far predictions have been off.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How much one answer counts: the last 32 make up two thirds.
const SHARE: f32 = 1.0 / 32.0;
/// Predictions that are off by more than that part of what calls take are no better than guesses. Sixteen gateways at
/// 95 % load come to 0.67; what takes 1 or 20 times as long and does not say so to more than 0.72 (`benches/balance`).
const LARGE: f32 = 0.7;

/// Means over answers, moved by whoever gets one; of two at the same time one may be lost.
#[derive(Debug, Default)]
pub(super) struct Surprise {
    /// What calls took, and how far predictions were off, each as 32 bits.
    means: AtomicU64,
    large: AtomicBool,
}

impl Surprise {
    pub(super) fn add(&self, predicted: f32, took: f32) {
        let packed = self.means.load(Relaxed);
        let [mean, off] = [(packed >> 32) as u32, packed as u32].map(f32::from_bits);
        // The first few say little, so that what is not known yet counts as right.
        let mean = if mean == 0.0 { took } else { mean };
        let (mean, off) = (mean + SHARE * (took - mean), off + SHARE * ((took - predicted).abs() - off));
        self.means.store(u64::from(mean.to_bits()) << 32 | u64::from(off.to_bits()), Relaxed);
        self.large.store(off > LARGE * mean, Relaxed);
    }

    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.large.load(Relaxed)
    }
}
