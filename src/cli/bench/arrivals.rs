//! When calls are due in an open loop: seconds from the start of the run, whatever became of the calls before.

use std::time::Duration;

use clap::ValueEnum;

/// How the times between calls are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spacing {
    /// At random, as many callers who know nothing of one another come
    Poisson,
    /// All alike
    Constant,
}

impl Spacing {
    /// Its name, as the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Spacing::Poisson => "poisson",
            Spacing::Constant => "constant",
        }
    }
}

/// The times at which calls are due, without an end. The same seed gives the same times.
#[derive(Debug, Clone)]
pub struct Arrivals {
    spacing: Spacing,
    rate: f64,
    random: fastrand::Rng,
    given: u64,
    last: f64,
}

impl Arrivals {
    /// So many calls in a second, in the mean.
    pub fn new(spacing: Spacing, rate: f64, seed: u64) -> Arrivals {
        Arrivals { spacing, rate, random: fastrand::Rng::with_seed(seed), given: 0, last: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.last = match self.spacing {
            // Not a sum, in which roundings would add up.
            Spacing::Constant => self.given as f64 / self.rate,
            // The random number is below 1, so that the logarithm is of a number above 0.
            Spacing::Poisson => self.last - (1.0 - self.random.f64()).ln() / self.rate,
        };
        self.given += 1;
        Duration::try_from_secs_f64(self.last).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_equally_far_apart() {
        let millis: Vec<u128> = Arrivals::new(Spacing::Constant, 250.0, 1).take(4).map(|at| at.as_millis()).collect();
        assert_eq!(millis, [0, 4, 8, 12]);
        let last = Arrivals::new(Spacing::Constant, 3.0, 1).nth(3_000_000).unwrap();
        assert_eq!(last, Duration::from_secs(1_000_000));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_in_the_mean_and_a_spread_of_the_same_size() {
        let times: Vec<f64> =
            Arrivals::new(Spacing::Poisson, 100.0, 7).take(100_000).map(|at| at.as_secs_f64()).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 100.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
        assert!(gaps.iter().all(|gap| *gap >= 0.0));
    }

    #[test]
    fn a_seed_gives_the_same_times_again_and_another_gives_others() {
        let times = |seed| Arrivals::new(Spacing::Poisson, 10.0, seed).take(5).collect::<Vec<_>>();
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }
}
