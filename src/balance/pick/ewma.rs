//! By the peaks of the round trip, times what is in flight: for endpoints that report nothing. What failures cost is
//! added, or an endpoint that fails at once would look like the fastest of all.

use super::Question;
use crate::balance::load::Load;

pub(super) fn cost(load: &Load, question: &Question<'_>) -> f64 {
    load.cost_by_round_trip(question.now)
}
