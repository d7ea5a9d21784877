//! By the peaks of the round trip, times what is in flight: for endpoints that report nothing. What failures cost is
//! added, or an endpoint that fails at once would look like the fastest of all.

use crate::balance::load::{Cost, Load};

pub(super) fn cost(load: &Load, _rows: u32, now: u64) -> Cost {
    load.cost_by_round_trip(now)
}
