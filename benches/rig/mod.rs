//! What benchmarks share: servers as processes, the client that loads them, floors to compare them with, and ratios.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod client;
pub mod collector;
pub mod cores;
pub mod floor;
pub mod load;
pub mod process;
pub mod stub;

/// Bytes of one message, and of all on a connection, that may be under way before they are read; of clients and of what
/// they are compared with.
pub const WINDOW: u32 = 4 << 20;
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame.
pub const MAX_FRAME: u32 = 1 << 20;

/// The middle of some values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Ours against another, round by round: the median of the ratios with the least and the most, and whether the bound
/// is kept.
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Ratio {
    pub fn of(ours: &[f64], other: &[f64]) -> Ratio {
        let mut ratios: Vec<f64> = ours.iter().zip(other).map(|(ours, other)| ours / other).collect();
        let median = median(&mut ratios);
        Ratio { median, least: ratios[0], most: ratios[ratios.len() - 1] }
    }
}

/// `met` or `MISSED`.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
