//! Times of day for readings of the monotonic clock.

use std::time::{Instant, SystemTime};

/// One moment on both clocks. All spans of a call are drawn with the same, so that their lengths are those that were
/// measured, whatever becomes of the time of day meanwhile.
#[derive(Debug, Clone, Copy)]
pub(in crate::observe::trace) struct Anchor {
    instant: Instant,
    time: SystemTime,
}

impl Anchor {
    /// Now.
    pub(in crate::observe::trace) fn now() -> Anchor {
        Anchor { instant: Instant::now(), time: SystemTime::now() }
    }

    /// The time of day at that reading.
    pub(super) fn at(&self, instant: Instant) -> SystemTime {
        let time = match instant.checked_duration_since(self.instant) {
            Some(after) => self.time.checked_add(after),
            None => self.time.checked_sub(self.instant - instant),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
