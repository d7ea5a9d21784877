//! When a backend that is not connected is dialled again.

use std::time::Duration;

use crate::discover::{Backoff, Pace};

/// The first wait, and the longest (gRPC's connection backoff has 1 s and 120 s; a process that restarts is back sooner,
/// and one that is gone is told by discovery), with gRPC's factor and its jitter, so that gateways do not dial in step. On
/// average a backend is found again after a third longer than it was away.
const PACE: Pace =
    Pace { first: Duration::from_millis(25), longest: Duration::from_secs(10), factor: 1.6, spread: 0.8..=1.2 };
/// A connection that stood for less was none.
const LASTING: Duration = Duration::from_millis(100);

/// Waits between attempts that fail.
pub(super) fn backoff() -> Backoff {
    Backoff::new(PACE, fastrand::Rng::new())
}

/// Whether a connection that stood for so long was worth having, so that the next is dialled at once: not that of a
/// backend that ends each at its beginning, which would be dialled without end.
pub(super) fn is_lasting(stood: Duration) -> bool {
    stood >= LASTING
}
