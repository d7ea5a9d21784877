//! By when a call would be answered, as predicted from what endpoints report.

use super::sample::Sample;
use super::{Candidate, Cost, ewma};
use crate::balance::load::Load;

/// Predictions, unless one of them is known by its round trips alone: then all are judged by their round trips: what is in flight
/// weighs more there, so that calls would rush to whatever is measured by the other scale.
pub(super) fn scale<M: Candidate>(sample: &Sample<'_, M>, now: u64) -> Cost {
    match sample.iter().any(|candidate| candidate.load().is_only_measured(now)) {
        true => ewma::cost,
        false => Load::cost,
    }
}
