//! Which of several endpoints gets a call that goes out now. No state but a turn, no lock, nothing allocated: what is
//! known of the endpoints is in their [`Load`]s.

mod equals;
mod ewma;
mod expected;
mod least;
mod sample;
mod slow_start;
#[cfg(test)]
mod tests;
mod turn;
mod zones;

use std::fmt;
use std::time::Instant;

use fastrand::Rng;

use equals::Tolerance;
use sample::{CHOICES, Sample};
pub use slow_start::SlowStart;
use turn::Turn;
pub use zones::Zones;

use super::load::{Cost, Load};

/// An endpoint, as far as picking goes.
pub trait Candidate {
    /// How busy it is. Those that are picked from together have loads of one zero.
    fn load(&self) -> &Load;

    /// Whether it may get a call now: what a breaker says.
    fn admits(&self, now: Instant) -> bool;
}

/// A rule by which endpoints are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// Of three at random the one whose answer is predicted to come first, from the load that endpoints report; those
    /// that report none are judged by their round trips. Any of those that are predicted to take as long, or nearly.
    #[default]
    ExpectedCompletion,
    /// Of three at random the one with the least product of round trip (its peaks, decaying) and calls in flight.
    PeakEwma,
    /// Of three at random the one with the fewest calls in flight from here.
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Policy; 4] =
        [Policy::ExpectedCompletion, Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin];

    /// Its name in a configuration, such as `expected-completion`.
    pub fn name(self) -> &'static str {
        match self {
            Policy::ExpectedCompletion => "expected-completion",
            Policy::PeakEwma => "peak-ewma",
            Policy::LeastRequest => "least-request",
            Policy::RoundRobin => "round-robin",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Picks endpoints by one policy. Shared by all calls of a model.
#[derive(Debug, Default)]
pub struct Picker {
    policy: Policy,
    zones: Zones,
    slow_start: SlowStart,
    turn: Turn,
}

/// One call's question.
struct Question<'a> {
    rows: u32,
    now: Instant,
    slow_start: &'a SlowStart,
}

impl Picker {
    /// Picks by `policy`.
    pub fn new(policy: Policy, zones: Zones, slow_start: SlowStart) -> Picker {
        Picker { policy, zones, slow_start, turn: Turn::default() }
    }

    /// By which policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The endpoint that gets a call of so many rows now: of `near`, unless what is left of `far` is enough better. Those
    /// that are `excluded`, as the call failed there before, or that do not admit calls are not picked; `None` where
    /// that is all.
    pub fn pick<'a, M: Candidate>(
        &self,
        near: &'a [M],
        far: &'a [M],
        excluded: impl Fn(&M) -> bool,
        rows: u32,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<&'a M> {
        let question = Question { rows, now, slow_start: &self.slow_start };
        let open = |candidate: &M| candidate.admits(now) && !excluded(candidate);
        match self.policy {
            Policy::ExpectedCompletion => self
                .zones
                .nearer(near, far, |set| best(set, &open, &question, expected::costs, expected::TOLERANCE, rng)),
            Policy::PeakEwma => {
                self.zones.nearer(near, far, |set| best(set, &open, &question, ewma::costs, Tolerance::NONE, rng))
            }
            Policy::LeastRequest => {
                self.zones.balanced(near, far, |set| best(set, &open, &question, least::costs, Tolerance::NONE, rng))
            }
            Policy::RoundRobin => self.turn.next(near, far, &open, &question, rng),
        }
    }
}

/// What a call costs at each of a sample; no number where there are fewer.
type Costs = [Cost; CHOICES];

/// The cheapest of a few at random, with its cost. `costs` says what a call of so many rows costs at each of them at that
/// time, in nanoseconds from the endpoints' zero, on the scale that is right for those few.
fn best<'a, M: Candidate>(
    set: &'a [M],
    open: &impl Fn(&M) -> bool,
    question: &Question<'_>,
    costs: impl Fn(&Sample<'a, M>, u32, u64) -> Costs,
    tolerance: Tolerance,
    rng: &mut Rng,
) -> Option<(&'a M, f64)> {
    let at = set.first()?.load().nanos(question.now);
    let warm =
        |candidate: &M, rng: &mut Rng| open(candidate) && question.slow_start.admits(candidate.load().age(at), rng);
    let mut sample = Sample::default();
    sample.fill(set, warm, rng);
    if sample.is_empty() {
        sample.fill(set, |candidate: &M, _: &mut Rng| open(candidate), rng);
    }
    let cheapest = tolerance.cheapest(&sample, costs(&sample, question.rows, at), rng);
    // Doubt makes no call leave its zone.
    cheapest.map(|(candidate, cost)| (candidate, cost.known))
}
