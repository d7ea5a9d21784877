//! For how long an endpoint is left alone.

use std::time::Duration;

use fastrand::Rng;

/// The first time out, as in Linkerd.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);

/// No time is longer, but for its jitter. As in Linkerd: a backend that comes back waits for a minute at most.
const LONGEST: Duration = Duration::from_secs(60);

/// For each such time without an ejection the next one is half as long (gRFC A50 takes one off its multiplier with
/// each sweep of 10 s).
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// Doublings from the shortest to beyond the longest.
const MOST_DOUBLINGS: u32 = 6;

/// Up to this share is added by chance, so that many gateways do not probe at one time. Nothing is taken off: a probe
/// a second is the most that an endpoint gets.
const JITTER: f64 = 0.5;

/// Times out that double with each failure and shrink again after good time.
#[derive(Debug)]
pub(super) struct Penalty {
    doublings: u32,
    random: Rng,
}

impl Penalty {
    pub(super) fn new(seed: u64) -> Penalty {
        Penalty { doublings: 0, random: Rng::with_seed(seed) }
    }

    /// The next time out, after `good` without one.
    pub(super) fn next(&mut self, good: Duration) -> Duration {
        let forgiven = (good.as_secs() / FORGIVEN_AFTER.as_secs()).min(u64::from(MOST_DOUBLINGS)) as u32;
        self.doublings = self.doublings.saturating_sub(forgiven);
        let time = (SHORTEST * 2u32.pow(self.doublings)).min(LONGEST);
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        self.jitter(time)
    }

    /// A shortest time out that makes no later one longer.
    pub(super) fn shortest(&mut self) -> Duration {
        self.jitter(SHORTEST)
    }

    fn jitter(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + JITTER * self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(time: Duration, shortest: u64) -> bool {
        let shortest = Duration::from_secs(shortest);
        (shortest..=shortest.mul_f64(1.0 + JITTER)).contains(&time)
    }

    #[test]
    fn it_doubles_up_to_a_minute_and_shrinks_after_good_time() {
        let mut penalty = Penalty::new(1);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let time = penalty.next(Duration::ZERO);
            assert!(between(time, expected), "{time:?} for {expected} s");
        }
        assert!(between(penalty.next(Duration::from_secs(39)), 8));
        assert!(between(penalty.next(Duration::from_secs(1000)), 1));
    }

    #[test]
    fn gateways_with_other_seeds_do_not_probe_at_one_time() {
        let times: Vec<_> = (0..20).map(|seed| Penalty::new(seed).next(Duration::ZERO)).collect();
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*last - *first > Duration::from_millis(200), "{times:?}");
    }
}
