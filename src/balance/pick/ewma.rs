//! By the peaks of the round trip, times what is in flight: for endpoints that report nothing. What failures cost is
//! added, or an endpoint that fails at once would look like the fastest of all.

use super::sample::Sample;
use super::{Candidate, Costs};

pub(super) fn costs<M: Candidate>(sample: &Sample<'_, M>, _rows: u32, now: u64) -> Costs {
    sample.costs(|load| load.cost_by_round_trip(now))
}
