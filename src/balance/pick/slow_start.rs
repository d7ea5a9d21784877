//! A share that grows from little to all of its due for an endpoint that was just found: its caches are cold, and its
//! model may just be warming up.

use std::time::Duration;

use fastrand::Rng;

/// The share that an endpoint gets at once, of what it would get without slow start (Envoy's default).
const LEAST: f64 = 0.1;

/// How long the slow start of an endpoint lasts; by default there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlowStart {
    nanos: u64,
}

impl SlowStart {
    /// One that lasts so long, during which the share grows in proportion to time.
    pub fn over(window: Duration) -> SlowStart {
        SlowStart { nanos: window.as_nanos() as u64 }
    }

    /// The part of its share that an endpoint of that age gets: Envoy's `max(10 %, age / window)`, its aggression at 1.
    pub fn share(&self, age: Duration) -> f64 {
        self.at(age.as_nanos() as u64)
    }

    fn at(&self, age: u64) -> f64 {
        if age >= self.nanos { 1.0 } else { (age as f64 / self.nanos as f64).max(LEAST) }
    }

    /// Whether an endpoint of that age, in nanoseconds, is looked at this time.
    pub(super) fn admits(&self, age: u64, rng: &mut Rng) -> bool {
        age >= self.nanos || rng.f64() < self.at(age)
    }
}
