//! Calls by their end and by where their time went, for each model version that took any. What a call pays is one look
//! into a table that is exchanged and never locked, and a few additions.

mod cells;
mod families;
mod histogram;
mod series;
mod tensorflow;
mod text;
mod told;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fnv::FnvHashMap;
use smallvec::SmallVec;

use crate::error::Kind;
use crate::infer::{ModelName, Spent, Timeline, Version};
use series::{Series, Sets};

/// Model versions that are told apart at one time. What comes beyond is told as one.
const MOST: usize = 1024;

/// A version without a call for so long may be forgotten where there is no room for another.
const QUIET: Duration = Duration::from_secs(3600);

type Versions = SmallVec<[(Option<Version>, Arc<Series>); 1]>;
/// Only names that are served are in it, and nobody can choose them for their hashes.
type Known = FnvHashMap<ModelName, Versions>;

/// The numbers of all calls.
#[derive(Debug)]
pub struct CallTable {
    known: ArcSwap<Known>,
    /// Calls that no model took, and those of models beyond the most.
    others: Series,
    began: Instant,
    /// Names of codes, which are the wire's.
    code: fn(Kind) -> &'static str,
    growing: Mutex<()>,
    sets: Sets,
}

impl CallTable {
    /// No call has ended yet. `code` names what callers are told of a failure.
    pub fn new(code: fn(Kind) -> &'static str) -> CallTable {
        CallTable::of(code, Sets::Striped)
    }

    /// The same with one set of numbers for all threads, to see what several are worth.
    pub fn unstriped(code: fn(Kind) -> &'static str) -> CallTable {
        CallTable::of(code, Sets::One)
    }

    fn of(code: fn(Kind) -> &'static str, sets: Sets) -> CallTable {
        let (known, others) = (ArcSwap::default(), Series::of(sets));
        CallTable { known, others, began: Instant::now(), code, growing: Mutex::new(()), sets }
    }

    /// Measures a call to its end.
    pub fn measure(self: &Arc<Self>, timeline: &Timeline) -> Measured {
        Measured(Some((self.clone(), timeline.clone())))
    }

    /// A call has ended so at `now`, after its time was spent so, and its trace is exported under that id.
    pub fn ended(
        &self,
        timeline: &Timeline,
        now: Instant,
        spent: &Spent,
        failure: Option<Kind>,
        exported: Option<u128>,
    ) {
        let second = now.saturating_duration_since(self.began).as_secs();
        let add = |series: &Series| {
            series.add(failure, spent, second);
            if let Some(trace_id) = exported {
                series.exemplify(spent, trace_id, second);
            }
        };
        let Some(model) = timeline.model() else { return add(&self.others) };
        let version = timeline.version();
        match find(&self.known.load(), model, version) {
            Some(series) => add(series),
            None => match self.grown(model, version, second) {
                Some(series) => add(&series),
                None => add(&self.others),
            },
        }
    }

    /// The series of a version that has had none; none where there is no room for it.
    fn grown(&self, model: &ModelName, version: Option<Version>, second: u64) -> Option<Arc<Series>> {
        let _growing = self.growing.lock().expect("nothing panics while the table grows");
        let mut known = Known::clone(&self.known.load());
        if let Some(series) = find(&known, model, version) {
            return Some(series.clone());
        }
        if known.values().map(SmallVec::len).sum::<usize>() >= MOST && !forget_one(&mut known, second) {
            return None;
        }
        let series = Arc::new(Series::of(self.sets));
        known.entry(model.clone()).or_default().push((version, series.clone()));
        self.known.store(Arc::new(known));
        Some(series)
    }
}

fn find<'a>(known: &'a Known, model: &ModelName, version: Option<Version>) -> Option<&'a Arc<Series>> {
    known.get(model)?.iter().find(|(other, _)| *other == version).map(|(_, series)| series)
}

/// Forgets the version that was not called for longest, if that is long enough.
fn forget_one(known: &mut Known, second: u64) -> bool {
    let all = known.iter().flat_map(|(model, versions)| versions.iter().map(move |entry| (model, entry)));
    let quietest = all.map(|(model, (version, series))| (series.last(), model.clone(), *version)).min();
    let is_quiet = |(last, ..): &(u64, ModelName, Option<Version>)| last + QUIET.as_secs() < second;
    let Some((_, model, version)) = quietest.filter(is_quiet) else { return false };
    if let Some(versions) = known.get_mut(&model) {
        versions.retain(|(other, _)| *other != version);
        if versions.is_empty() {
            known.remove(&model);
        }
    }
    true
}

/// A call that is measured. Dropped without an end, its caller has left.
#[derive(Debug)]
pub struct Measured(Option<(Arc<CallTable>, Timeline)>);

impl Measured {
    /// A call that is not.
    pub const OFF: Measured = Measured(None);

    /// It has failed so at `now`, or ended well, and its trace is exported under that id.
    pub fn end(mut self, now: Instant, failure: Option<Kind>, exported: Option<u128>) {
        if let Some((table, timeline)) = self.0.take() {
            table.ended(&timeline, now, &timeline.spent_until(now), failure, exported);
        }
    }

    /// It was answered at `now` after its time was spent so, and its trace is exported under that id.
    pub fn answered(mut self, now: Instant, spent: &Spent, exported: Option<u128>) {
        if let Some((table, timeline)) = self.0.take() {
            table.ended(&timeline, now, spent, None, exported);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some((table, timeline)) = self.0.take() {
            let now = Instant::now();
            table.ended(&timeline, now, &timeline.spent_until(now), Some(Kind::Cancelled), None);
        }
    }
}

#[cfg(test)]
mod tests;
