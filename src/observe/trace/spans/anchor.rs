//! Times of day for readings of the monotonic clock.

use std::time::{Instant, SystemTime};

/// One moment on both clocks. All spans of a message are drawn with the same, so that their lengths are those that were
/// measured, whatever becomes of the time of day meanwhile.
#[derive(Debug, Clone, Copy)]
pub(in crate::observe::trace) struct Anchor {
    instant: Instant,
    /// Nanoseconds since 1970.
    time: u64,
}

impl Anchor {
    /// Now.
    pub(in crate::observe::trace) fn now() -> Anchor {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Anchor { instant: Instant::now(), time: time.as_nanos() as u64 }
    }

    /// The time of day at that reading, in nanoseconds since 1970.
    pub(super) fn at(&self, instant: Instant) -> u64 {
        match self.instant.checked_duration_since(instant) {
            Some(before) => self.time.saturating_sub(before.as_nanos() as u64),
            None => self.time.saturating_add((instant - self.instant).as_nanos() as u64),
        }
    }
}
