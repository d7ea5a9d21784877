//! When a backend that is not connected is dialled again.

use std::time::Duration;

/// The first wait, and the longest (gRPC's connection backoff has 1 s and 120 s; a process that restarts is back sooner,
/// and one that is gone is told by discovery). On average a backend is found again after a third longer than it was away.
const FIRST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(10);
/// How much longer each wait is than the one before it (gRPC's factor).
const FACTOR: f64 = 1.6;
/// A connection that stood for less was none.
const LASTING: Duration = Duration::from_millis(100);
/// The part of a wait that is left to chance, so that gateways do not dial in step (gRPC's jitter).
const JITTER: f64 = 0.2;

/// Whether a connection that stood for so long was worth having, so that the next is dialled at once: not that of a
/// backend that ends each at its beginning, which would be dialled without end.
pub(super) fn is_lasting(stood: Duration) -> bool {
    stood >= LASTING
}

/// Waits between attempts that fail, each longer than the last.
#[derive(Debug, Clone)]
pub(super) struct Redial {
    wait: Duration,
}

impl Default for Redial {
    fn default() -> Redial {
        Redial { wait: FIRST }
    }
}

impl Redial {
    /// How long to wait after one more attempt that failed, for a random number from 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let wait = self.wait;
        self.wait = wait.mul_f64(FACTOR).min(LONGEST);
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_spread_around_their_length() {
        let mut redial = Redial::default();
        let waits: Vec<Duration> = (0..20).map(|_| redial.next(0.5)).collect();
        assert_eq!(waits[0], FIRST);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[19], LONGEST);
        assert_eq!(redial.clone().next(0.0), LONGEST.mul_f64(0.8));
        assert_eq!(redial.next(1.0), LONGEST.mul_f64(1.2));
    }
}
