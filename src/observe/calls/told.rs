//! What has been counted, gathered once for every form in which it is told.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::CallTable;
use super::cells::{BOUNDS, BUCKETS};
use super::histogram::Counted;
use super::series::{ENDS, Example, OTHER, Sums, WHOLE, end_of};
use crate::error::Kind;
use crate::infer::Stage;

/// The model of calls that no model took, and of those beyond the most that are told apart: no model is called so.
const OTHERS: &str = "_other";

/// Of stages every second bound is told: with two hundred models all of them would be twice as many lines.
const STAGE_STEP: usize = 2;

pub(super) const CALLS: Head =
    Head { name: "inference_calls", help: "Calls that have ended, by what their callers were told" };
pub(super) const CALL_DURATION: Head = Head {
    name: "inference_call_duration_seconds",
    help: "How long calls took, from their first byte to their answer",
};
pub(super) const STAGE_DURATION: Head = Head {
    name: "inference_stage_duration_seconds",
    help: "How long each stage of a call took; what no stage accounts for is other",
};

/// What a family of metrics is called and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// One model version.
pub(super) struct Told {
    pub(super) model: String,
    /// Empty where nobody named one.
    pub(super) version: String,
    /// Since when its calls are counted.
    pub(super) since: SystemTime,
    pub(super) sums: Sums,
    examples: BTreeMap<(usize, usize), Example>,
}

/// How long something took.
pub(super) struct Timed<'a> {
    /// None of whole calls.
    pub(super) stage: Option<&'static str>,
    pub(super) count: u64,
    pub(super) counted: &'a Counted,
    pub(super) buckets: Vec<Bucket>,
}

/// A bucket of the classic view.
pub(super) struct Bucket {
    /// Its upper bound in nanoseconds; none of the last.
    pub(super) bound: Option<u64>,
    /// How many lie in it and in those before.
    pub(super) below: u64,
    pub(super) example: Option<Example>,
}

impl CallTable {
    /// Every series in which a call was counted, by name and version.
    pub(super) fn told(&self) -> Vec<Told> {
        let known = self.known.load();
        let mut all: Vec<_> = known
            .iter()
            .flat_map(|(model, versions)| {
                versions.iter().map(move |(version, series)| (model.as_str(), *version, &**series))
            })
            .collect();
        all.sort_by_key(|(model, version, _)| (*model, *version));
        all.push((OTHERS, None, &self.others));
        let told = all.into_iter().map(|(model, version, series)| {
            let version = version.map_or_else(String::new, |version| version.to_string());
            let (sums, examples) = (series.sums(), series.examples());
            Told { model: model.to_owned(), version, since: series.since(), sums, examples }
        });
        told.filter(|told| told.sums.ends.iter().any(|count| *count > 0)).collect()
    }

    /// Those codes with which any call has ended.
    pub(super) fn by_code(&self, ends: &[u64; ENDS]) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::from([("OK", ends[end_of(None)])]);
        for kind in Kind::ALL {
            *codes.entry((self.code)(kind)).or_default() += ends[end_of(Some(kind))];
        }
        codes.retain(|_, count| *count > 0);
        codes
    }
}

impl Told {
    /// How long whole calls took.
    pub(super) fn whole(&self) -> Option<Timed<'_>> {
        self.timed(None, WHOLE, 1)
    }

    /// How long the stages took that took any time, and what none accounts for.
    pub(super) fn stages(&self) -> impl Iterator<Item = Timed<'_>> {
        let name = |time| Stage::ALL.get(time).map_or("other", |stage: &Stage| stage.name());
        (0..=OTHER).filter_map(move |time| self.timed(Some(name(time)), time, STAGE_STEP))
    }

    /// A histogram of `time`, if anything has taken any, with every so manieth bound.
    fn timed(&self, stage: Option<&'static str>, time: usize, step: usize) -> Option<Timed<'_>> {
        let counted = &self.sums.times[time];
        let count = counted.count();
        (count > 0).then(|| Timed { stage, count, counted, buckets: self.buckets(time, step) })
    }

    fn buckets(&self, time: usize, step: usize) -> Vec<Bucket> {
        let mut buckets = Vec::with_capacity(BUCKETS);
        let (mut below, mut example) = (0, None);
        for (bucket, count) in self.sums.times[time].classic().iter().enumerate() {
            below += count;
            // The largest of those that fall into a bucket as it is told.
            example = self.examples.get(&(time, bucket)).copied().or(example);
            if bucket % step == 0 || bucket + 1 == BUCKETS {
                buckets.push(Bucket { bound: BOUNDS.get(bucket).copied(), below, example: example.take() });
            }
        }
        buckets
    }
}
