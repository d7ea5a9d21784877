//! A share that grows from little to all of its due for an endpoint that was just found: its caches are cold, and its
//! model may just be warming up.

use std::time::Duration;

use fastrand::Rng;

/// The share that an endpoint gets at once, of what it would get without slow start (Envoy's default).
const LEAST: f64 = 0.1;

/// How long the slow start of an endpoint lasts; none where that is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlowStart {
    /// Until when its share grows, in proportion to time.
    pub window: Duration,
}

impl SlowStart {
    /// The part of its share that an endpoint of that age gets: Envoy's `max(10 %, age / window)`, its aggression at 1.
    pub fn share(&self, age: Duration) -> f64 {
        match age >= self.window {
            true => 1.0,
            false => (age.as_secs_f64() / self.window.as_secs_f64()).max(LEAST),
        }
    }

    /// Whether an endpoint of that age, in nanoseconds, is looked at this time.
    pub(super) fn admits(&self, age: u64, rng: &mut Rng) -> bool {
        let age = Duration::from_nanos(age);
        age >= self.window || rng.f64() < self.share(age)
    }
}
