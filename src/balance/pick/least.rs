//! By calls in flight from here.

use crate::balance::load::{Cost, Load};

pub(super) fn cost(load: &Load, _rows: u32, _now: u64) -> Cost {
    f64::from(load.calls()).into()
}
