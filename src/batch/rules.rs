//! What calls of a model go by while they wait: plain data, made from the model's settings by whoever assembles it.

use std::time::Duration;

use bytestring::ByteString;

use crate::tensor::BatchAxis;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Calls.
    pub calls: usize,
    /// Bytes of their inputs.
    pub bytes: usize,
}

/// The rules of one model version.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How much may wait in all.
    pub bounds: Bounds,
    /// Along which calls are merged; `None` for a model that is served call by call.
    pub axis: Option<BatchAxis>,
    /// Rows that a batch may have, at least 1.
    pub max_batch: usize,
    /// Whether somebody asked for that many: then no run has more. Else a larger call is run as it came, alone.
    pub max_batch_is_firm: bool,
    /// The only sizes of a batch that are run, rising; empty for any.
    pub allowed_sizes: Vec<usize>,
    /// Whether a call with more rows than a batch may have is run in parts, or refused.
    pub splits_oversized: bool,
    /// Dimensions that may be padded.
    pub pads: Vec<Pad>,
    /// How long a call may wait for others while a slot is free.
    pub max_delay: Duration,
    /// Where given, the delay tunes itself so that 99 of 100 calls are through within this time.
    pub slo_p99: Option<Duration>,
    /// Levels of priority, the most urgent first, at least one.
    pub levels: Vec<Level>,
    /// The level of a call that asks for none, or for one that there is not: an index.
    pub default_level: usize,
}

impl Rules {
    /// The rules of a model that is served call by call within `bounds`.
    pub fn call_by_call(bounds: Bounds) -> Rules {
        Rules {
            bounds,
            axis: None,
            max_batch: 1,
            max_batch_is_firm: true,
            allowed_sizes: Vec::new(),
            splits_oversized: true,
            pads: Vec::new(),
            max_delay: Duration::ZERO,
            slo_p99: None,
            levels: vec![Level::default()],
            default_level: 0,
        }
    }
}

/// How calls of one level of priority wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How long a call may wait that does not say so itself; `None` for as long as its deadline allows.
    pub timeout: Option<Duration>,
    /// Whether a call whose time to wait is over is answered so; else it waits on behind the others.
    pub rejects: bool,
    /// Whether a call may set the time itself, by the parameter `timeout`.
    pub heeds_callers: bool,
    /// Calls that may wait, beside the bounds of all.
    pub calls: usize,
}

impl Default for Level {
    fn default() -> Level {
        Level { timeout: None, rejects: true, heeds_callers: true, calls: usize::MAX }
    }
}

/// How one dimension is padded.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// The dimension's symbol.
    pub symbol: ByteString,
    /// The sizes to pad to, rising.
    pub buckets: Vec<usize>,
    /// What inputs are padded with; strings are padded with the empty one.
    pub value: f64,
    /// The input that tells padding from content, which is padded with 0.
    pub mask: Option<ByteString>,
}
