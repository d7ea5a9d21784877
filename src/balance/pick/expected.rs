//! By when a call would be answered, as predicted from what endpoints report.

use super::equals::Tolerance;
use super::sample::Sample;
use super::{Candidate, Costs, ewma};

/// Nothing is predicted better than that. Runs of one size differ by a tenth, of a process on a machine that it shares
/// (`benches/balance` has as much), and round trips by what a thread takes to wake up: some tens of microseconds.
pub(super) const TOLERANCE: Tolerance = Tolerance { part: 0.1, nanos: 50e3 };

/// Predictions, unless one of them is known by its round trips alone: then all are judged by their round trips: what is
/// in flight weighs more there, so that calls would rush to whatever is measured by the other scale.
#[inline]
pub(super) fn costs<M: Candidate>(sample: &Sample<'_, M>, rows: u32, now: u64) -> Costs {
    match sample.iter().any(|candidate| candidate.load().is_only_measured(now)) {
        true => ewma::costs(sample, rows, now),
        false => sample.costs(|load| load.cost(rows, now)),
    }
}
