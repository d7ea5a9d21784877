//! How long to wait after a failure: longer after each, and never as long as somebody else who failed at the same time.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How waits grow.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The first step, and the longest.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// How many times as long each step is as the one before it.
    pub factor: f64,
    /// Which part of a step is waited; where in it is left to chance.
    pub spread: RangeInclusive<f64>,
}

impl Pace {
    /// Steps that double; between half and all of each is waited.
    pub const fn doubling(first: Duration, longest: Duration) -> Pace {
        Pace { first, longest, factor: 2.0, spread: 0.5..=1.0 }
    }
}

/// Waits that grow from failure to failure, up to a limit, with jitter.
#[derive(Debug)]
pub struct Backoff {
    pace: Pace,
    step: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Before the first failure.
    pub fn new(pace: Pace, random: fastrand::Rng) -> Backoff {
        let step = pace.first.min(pace.longest);
        Backoff { pace, step, random }
    }

    /// The wait after one more failure.
    pub fn wait(&mut self) -> Duration {
        let (step, spread) = (self.step, &self.pace.spread);
        let part = spread.start() + (spread.end() - spread.start()) * self.random.f64();
        self.step = step.mul_f64(self.pace.factor).min(self.pace.longest);
        step.mul_f64(part)
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.step = self.pace.first.min(self.pace.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(pace: Pace, seed: u64) -> Backoff {
        Backoff::new(pace, fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn waits_double_up_to_the_limit_and_begin_again_after_a_success() {
        let mut backoff = backoff(Pace::doubling(Duration::from_secs(1), Duration::from_secs(10)), 7);
        for step in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let wait = backoff.wait().as_secs_f64();
            assert!((step / 2.0..=step).contains(&wait), "{wait} s of {step} s");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }

    #[test]
    fn waits_grow_and_spread_as_they_are_told_to() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(2));
        for seed in 0..100 {
            let mut backoff = backoff(Pace { first, longest, factor: 1.6, spread: 0.8..=1.2 }, seed);
            for step in [1.0, 1.6, 2.0, 2.0] {
                let wait = backoff.wait().as_secs_f64();
                assert!((step * 0.8..=step * 1.2).contains(&wait), "{wait} s of {step} s");
            }
        }
    }

    #[test]
    fn two_that_fail_together_do_not_come_back_together() {
        let wait = |seed| backoff(Pace::doubling(Duration::from_secs(1), Duration::from_secs(9)), seed).wait();
        assert_ne!(wait(1), wait(2));
    }
}
