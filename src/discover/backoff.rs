//! How long to wait after a failure: longer after each, and never as long as somebody else who failed at the same time.

use std::time::Duration;

/// Waits that double from failure to failure, up to a limit, with jitter.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// The first wait is of about `first`, none is longer than `longest`.
    pub fn new(first: Duration, longest: Duration, random: fastrand::Rng) -> Backoff {
        Backoff { first, longest, failures: 0, random }
    }

    /// The wait after one more failure: between half and all of its step.
    pub fn next(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        step.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10), fastrand::Rng::with_seed(7));
        for step in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let wait = backoff.next().as_secs_f64();
            assert!((step / 2.0..=step).contains(&wait), "{wait} s of {step} s");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }

    #[test]
    fn two_that_fail_together_do_not_come_back_together() {
        let wait = |seed| Backoff::new(Duration::from_secs(1), Duration::MAX, fastrand::Rng::with_seed(seed)).next();
        assert_ne!(wait(1), wait(2));
    }
}
