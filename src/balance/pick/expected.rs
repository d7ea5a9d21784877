//! By when a call would be answered, as predicted from what endpoints report.

use super::sample::Sample;
use super::{Candidate, Cost, Question, ewma};
use crate::balance::load::Load;

/// Predictions where all of them can be predicted. Otherwise all are judged by their round trips: what is in flight
/// weighs more there, so that calls would rush to whatever is measured by the other scale.
pub(super) fn scale<M: Candidate>(sample: &Sample<'_, M>, question: &Question<'_>) -> Cost {
    match sample.iter().all(|candidate| candidate.load().is_predictable(question.now)) {
        true => cost,
        false => ewma::cost,
    }
}

fn cost(load: &Load, question: &Question<'_>) -> f64 {
    load.cost(question.rows, question.now)
}
