//! What became of pushes: each is taken or failed, and counted as that once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

/// Counts of pushes by their end.
#[derive(Debug, Default)]
pub struct Counts {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// Pushes that a collector has taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Those that it has not, or not in time.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// A push begins. It has failed unless it is taken.
    pub(super) fn begin(self: &Arc<Self>) -> Fate {
        Fate { counts: self.clone(), is_taken: false }
    }
}

/// What becomes of a push, counted when this is dropped.
pub(super) struct Fate {
    counts: Arc<Counts>,
    is_taken: bool,
}

impl Fate {
    pub(super) fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        let count = if self.is_taken { &self.counts.taken } else { &self.counts.failed };
        count.fetch_add(1, Relaxed);
    }
}

/// Tells them as metrics.
#[derive(Debug)]
pub(super) struct Telling(pub(super) Arc<Counts>);

impl Collector for Telling {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let none: Option<&Exemplar<[(String, String); 0], f64>> = None;
        let help = "Pushes of metrics to a collector, by whether it has taken them";
        let mut family = encoder.encode_descriptor("metrics_pushes", help, None, MetricType::Counter)?;
        for (end, count) in [("taken", self.0.taken()), ("failed", self.0.failed())] {
            family.encode_family(&[("end", end)])?.encode_counter(&count, none)?;
        }
        Ok(())
    }
}
