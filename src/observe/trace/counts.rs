//! What became of the calls, and questions, that were kept: each is exported or dropped, and counted as that once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

/// Why a call that was kept was not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Too many others waited for it already.
    QueueFull,
    /// The collector could not be reached, did not answer in time, or refused.
    Failed,
    /// The process ended before.
    Shutdown,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Dropped; 3] = [Dropped::QueueFull, Dropped::Failed, Dropped::Shutdown];

    /// Its name, a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Dropped::QueueFull => "queue_full",
            Dropped::Failed => "failed",
            Dropped::Shutdown => "shutdown",
        }
    }
}

/// Counts of calls whose spans are exported.
#[derive(Debug, Default)]
pub struct Counts {
    kept: AtomicU64,
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    spans: AtomicU64,
    rejected: AtomicU64,
    retries: AtomicU64,
}

impl Counts {
    pub(super) fn keep(&self) {
        self.kept.fetch_add(1, Relaxed);
    }

    pub(super) fn export(&self) {
        self.exported.fetch_add(1, Relaxed);
    }

    pub(super) fn lose(&self, why: Dropped) {
        self.dropped[why as usize].fetch_add(1, Relaxed);
    }

    /// Of so many spans in a message that was taken, these were not.
    pub(super) fn export_spans(&self, count: usize, rejected: u64) {
        let rejected = rejected.min(count as u64);
        self.spans.fetch_add(count as u64 - rejected, Relaxed);
        self.rejected.fetch_add(rejected, Relaxed);
    }

    pub(super) fn retry(&self, times: u32) {
        self.retries.fetch_add(times.into(), Relaxed);
    }

    /// Calls that were kept; once none of them waits any more, as many as were exported and dropped together.
    pub fn kept(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    /// Calls whose spans a collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Spans that a collector has taken.
    pub fn spans(&self) -> u64 {
        self.spans.load(Relaxed)
    }

    /// Spans that it has not, of messages that it has.
    pub fn spans_rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// How often messages were sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Calls whose spans were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Relaxed)
    }
}

/// Tells them as metrics.
#[derive(Debug)]
pub(super) struct Telling(pub(super) Arc<Counts>);

impl Collector for Telling {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let none: Option<&Exemplar<[(String, String); 0], f64>> = None;
        let counts = &self.0;
        for (name, help, count) in [
            ("tracing_calls_kept", "Calls whose spans are to be exported", counts.kept()),
            ("tracing_calls_exported", "Calls whose spans a collector has taken", counts.exported()),
            ("tracing_spans_exported", "Spans that a collector has taken", counts.spans()),
            ("tracing_spans_rejected", "Spans that it has not taken, of messages that it has", counts.spans_rejected()),
            ("tracing_exports_retried", "Messages of spans that were sent again", counts.retries()),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter(&count, none)?;
        }
        let help = "Calls whose spans were dropped";
        let mut family = encoder.encode_descriptor("tracing_calls_dropped", help, None, MetricType::Counter)?;
        for why in Dropped::ALL {
            family.encode_family(&[("why", why.name())])?.encode_counter(&counts.dropped(why), none)?;
        }
        Ok(())
    }
}
