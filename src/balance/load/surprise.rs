//! How far predictions have been off.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How much one answer counts: the last 32 make up two thirds.
const SHARE: f32 = 1.0 / 32.0;

#[derive(Debug, Default)]
pub(super) struct Surprise {
    /// Mean of what calls took and of how far the predictions were off, each as 32 bits.
    means: AtomicU64,
    distrust: AtomicU32,
}

impl Surprise {
    pub(super) fn add(&self, predicted: f32, took: f32) {
        let packed = self.means.load(Relaxed);
        let (mean, off) = (f32::from_bits((packed >> 32) as u32), f32::from_bits(packed as u32));
        let (mean, off) = (mean + SHARE * (took - mean), off + SHARE * ((took - predicted).abs() - off));
        self.means.store(u64::from(mean.to_bits()) << 32 | u64::from(off.to_bits()), Relaxed);
        let distrust = ((off / mean - super::knob("D0") as f32) / super::knob("DW") as f32).clamp(0.0, 1.0);
        if super::knob("DBG") > 0.0 && fastrand::u32(..5000) == 0 { println!("off {:.2} mean {:.1} {}", off / mean, mean / 1e6, took / 1e6); }
        self.distrust.store(distrust.to_bits(), Relaxed);
    }

    pub(super) fn distrust(&self) -> f64 {
        f64::from(f32::from_bits(self.distrust.load(Relaxed)))
    }
}
