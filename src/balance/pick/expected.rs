//! By when a call would be answered, as predicted from what endpoints report.

use super::Question;
use crate::balance::load::Load;

pub(super) fn cost(load: &Load, question: &Question<'_>) -> f64 {
    load.cost(question.rows, question.now)
}
