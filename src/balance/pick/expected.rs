//! By when a call would be answered, as predicted from what endpoints report.

use super::sample::Sample;
use super::{Candidate, Cost, Question, ewma};
use crate::balance::load::Load;

/// Predictions, unless one of them is known by its round trips alone: then all are judged by their round trips: what is in flight
/// weighs more there, so that calls would rush to whatever is measured by the other scale.
pub(super) fn scale<M: Candidate>(sample: &Sample<'_, M>, question: &Question<'_>) -> Cost {
    match sample.iter().any(|candidate| candidate.load().is_only_measured(question.now)) {
        true => ewma::cost,
        false => cost,
    }
}

fn cost(load: &Load, question: &Question<'_>) -> f64 {
    load.cost(question.rows, question.now)
}
