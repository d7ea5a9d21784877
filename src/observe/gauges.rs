//! The state of a queue now, as whoever is asked tells it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What changes in a queue while it works. Set by the queue, read by whoever tells of it.
#[derive(Debug, Default)]
pub struct QueueGauges {
    waiting: AtomicU64,
    wait_nanos: AtomicU64,
    delay_nanos: AtomicU64,
}

impl QueueGauges {
    /// So many calls wait.
    pub fn waiting(&self, calls: usize) {
        self.waiting.store(calls as u64, Relaxed);
    }

    /// A call that comes now is predicted to wait so long.
    pub fn wait(&self, wait: Duration) {
        self.wait_nanos.store(wait.as_nanos() as u64, Relaxed);
    }

    /// Calls wait at most so long for others while there is room to run them.
    pub fn delay(&self, delay: Duration) {
        self.delay_nanos.store(delay.as_nanos() as u64, Relaxed);
    }

    /// Calls that wait.
    pub fn waiting_now(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// How long a call that comes now is predicted to wait.
    pub fn wait_now(&self) -> Duration {
        Duration::from_nanos(self.wait_nanos.load(Relaxed))
    }

    /// How long calls wait for others at most while there is room to run them.
    pub fn delay_now(&self) -> Duration {
        Duration::from_nanos(self.delay_nanos.load(Relaxed))
    }
}
