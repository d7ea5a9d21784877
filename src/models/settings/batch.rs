//! `[batch]` of `model.toml`: how calls of a model are merged, and in which order they are taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::problem;
use crate::config::keys::settings;
use crate::config::{Period, Problem, Setting};

/// The longest list of rows that can be a good idea.
const MOST_ROWS: usize = 65_536;
/// Longer than any caller would wait for company.
const LONGEST_DELAY: Period = Period::seconds(10);
/// Each level is a queue of its own in every shape.
const MOST_LEVELS: u32 = 16;
/// Sizes of one dimension; a list of all of them is what exact shapes are for.
const MOST_SIZES: usize = 256;

settings! {
    /// How calls are merged.
    pub struct BatchSettings {
        /// Rows along the batch axis; 1 turns merging off. Without it, 32 where the model allows it, and a call that has
        /// more runs alone as it came.
        max_batch: Option<usize> = None => "16",
        /// The symbol of the batch axis. Without it, the dimension that the model itself shows to be one.
        axis: Option<String> = None => "\"batch\"",
        /// How long a call may wait for others while there is room to run it.
        max_delay: Period = Period::ZERO,
        /// Where given, the delay tunes itself so that 99 of 100 calls are through within this time; max_delay, where
        /// it is not 0, bounds it.
        slo_p99: Option<Period> = None => "\"20ms\"",
        /// The only sizes of a batch that are run, for engines that want static ones: others are filled up.
        allowed_sizes: Vec<usize> = Vec::new(),
        /// What becomes of a call with more rows than max_batch, where that is given: "split" or "refuse".
        oversized: Oversized = Oversized::Split,
        /// Dimensions that may be padded, by symbol; others are merged where they are equal.
        dims: BTreeMap<String, DimSettings> = BTreeMap::new(),
        /// Levels of priority that a call may ask for, 1 being the most urgent.
        priority_levels: u32 = 1,
        /// The level of a call that asks for none. Without it, the middle one.
        default_priority: Option<u32> = None => "2",
        /// How calls may wait.
        queue: QueueSettings = QueueSettings::default(),
        /// How calls of a level may wait where it is not as in queue, by the level's number.
        levels: BTreeMap<String, QueueSettings> = BTreeMap::new(),
    }
}

/// What becomes of a call with more rows than a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oversized {
    /// It is run in parts.
    Split,
    /// It is refused.
    Refuse,
}

/// How one dimension is padded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimSettings {
    /// The sizes to pad to, rising. A size above the last is merged where it is equal.
    pub buckets: Vec<usize>,
    /// What inputs are padded with: a number, 0 and 1 being false and true. Strings are padded with the empty one.
    #[serde(default)]
    pub pad: f64,
    /// The input that tells padding from content, which is padded with 0.
    #[serde(default)]
    pub mask: Option<String>,
}

/// How calls may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// How long a call that does not say so itself may wait before it must have begun; without it, up to its deadline.
    pub timeout: Option<Period>,
    /// What becomes of a call whose time to wait is over.
    pub on_timeout: OnTimeout,
    /// Whether a call may set a shorter time than `timeout` by the parameter of that name.
    pub caller_timeout: CallerTimeout,
    /// Calls that may wait, within the limits of the process.
    pub calls: Option<usize>,
}

/// What becomes of a call whose time to wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It is answered that it is late.
    #[default]
    Reject,
    /// It waits on, behind those whose time is not over.
    Delay,
}

/// Whether a call's own timeout is heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerTimeout {
    /// It is.
    #[default]
    Heeded,
    /// It is not.
    Ignored,
}

impl Setting for Oversized {
    const ALLOWED: &'static str = "\"split\" or \"refuse\"";
}

impl Setting for Vec<usize> {
    const ALLOWED: &'static str = "a list of whole numbers, such as [1, 2, 4, 8]";
}

impl Setting for BTreeMap<String, DimSettings> {
    const ALLOWED: &'static str = "a table of symbols, such as \
                                   { sequence = { buckets = [16, 32, 64], pad = 0, mask = \"attention_mask\" } }";
}

impl Setting for QueueSettings {
    const ALLOWED: &'static str = "a table such as { timeout = \"10ms\", on_timeout = \"reject\", \
                                   caller_timeout = \"heeded\", calls = 100 }, where on_timeout may be \"delay\" and \
                                   caller_timeout \"ignored\"";
}

impl Setting for BTreeMap<String, QueueSettings> {
    const ALLOWED: &'static str = "a table of levels and how their calls wait, such as { 1 = { timeout = \"10ms\" } }";
}

impl BatchSettings {
    /// The level of a call that asks for none.
    pub fn default_level(&self) -> u32 {
        self.default_priority.unwrap_or(self.priority_levels.div_ceil(2))
    }

    /// How calls of a level may wait.
    pub fn queue_of(&self, level: u32) -> QueueSettings {
        self.levels.get(&level.to_string()).copied().unwrap_or(self.queue)
    }

    /// What no type says: ranges, and keys that must agree.
    pub(super) fn out_of_range(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut unless = |right: bool, key: &str, found: String, allowed: &str| {
            if !right {
                problems.push(problem(&format!("batch.{key}"), format!("found {found}, allowed is {allowed}")));
            }
        };
        if let Some(rows) = self.max_batch {
            unless((1..=MOST_ROWS).contains(&rows), "max_batch", rows.to_string(), &format!("1 to {MOST_ROWS}"));
        }
        let most = format!("at most {LONGEST_DELAY}");
        unless(self.max_delay <= LONGEST_DELAY, "max_delay", self.max_delay.to_string(), &most);
        if let Some(slo) = self.slo_p99 {
            unless(slo > Period::ZERO, "slo_p99", slo.to_string(), "more than 0");
        }
        let (levels, default) = (self.priority_levels, self.default_level());
        unless((1..=MOST_LEVELS).contains(&levels), "priority_levels", levels.to_string(), "1 to 16");
        unless((1..=levels.max(1)).contains(&default), "default_priority", default.to_string(), "1 to priority_levels");
        for level in self.levels.keys() {
            // Not by counting up to `levels`, which may be any number so far.
            let known =
                level.parse().is_ok_and(|number: u32| (1..=levels).contains(&number) && *level == number.to_string());
            unless(known, "levels", format!("{level:?}"), "a level of 1 to priority_levels");
        }
        let sizes = "whole numbers of 1 to 65536 that rise";
        unless(rises(&self.allowed_sizes), "allowed_sizes", format!("{:?}", self.allowed_sizes), sizes);
        if let (Some(rows), Some(last)) = (self.max_batch, self.allowed_sizes.last()) {
            unless(*last == rows, "max_batch", rows.to_string(), &format!("{last}, the last of allowed_sizes"));
        }
        for (symbol, dim) in &self.dims {
            let (key, found) = (format!("dims.{symbol}.buckets"), format!("{:?}", dim.buckets));
            unless(rises(&dim.buckets) && !dim.buckets.is_empty(), &key, found, sizes);
        }
        problems
    }
}

fn rises(sizes: &[usize]) -> bool {
    let in_range = sizes.iter().all(|size| (1..=MOST_ROWS).contains(size));
    in_range && sizes.len() <= MOST_SIZES && sizes.windows(2).all(|pair| pair[0] < pair[1])
}
