//! The numbers of one model version: how its calls ended, and how long each of their stages took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use super::cells::{BUCKETS, bucket};
use super::histogram::{Counted, Histogram};
use crate::error::Kind;
use crate::infer::{Spent, Stage};

/// What is timed: each stage, what none accounts for, and the whole call.
pub(super) const TIMES: usize = Stage::COUNT + 2;
pub(super) const OTHER: usize = Stage::COUNT;
pub(super) const WHOLE: usize = Stage::COUNT + 1;

/// How calls end: well, or with each kind of failure.
pub(super) const ENDS: usize = 1 + Kind::ALL.len();

/// Threads share so many sets of numbers, lest they wait for one another's caches.
const STRIPES: usize = 8;

/// How many sets a series may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sets {
    One = 1,
    Striped = STRIPES as isize,
}

/// What one end of a call is counted as.
pub(super) fn end_of(failure: Option<Kind>) -> usize {
    failure.map_or(0, |kind| 1 + kind as usize)
}

/// The numbers that some threads move.
#[derive(Debug, Default)]
struct Stripe {
    ends: [AtomicU64; ENDS],
    times: [Histogram; TIMES],
    /// When the last call ended, in seconds since the table was made.
    last: AtomicU64,
}

// Each model version has one for each thread that ends its calls, up to `STRIPES`; docs/metrics.md says what that comes to.
const _: () = assert!(size_of::<Stripe>() <= 15_000);

/// A call that was as long, and whose trace can be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example {
    pub(super) trace_id: u128,
    pub(super) nanos: u64,
    pub(super) at: SystemTime,
}

/// The numbers of one model version.
#[derive(Debug)]
pub(super) struct Series {
    /// Made with the first call of a thread that has it.
    stripes: [OnceLock<Box<Stripe>>; STRIPES],
    /// The second, counted from 1, of the last call that became an example, by the bucket of the whole call.
    exemplified: [AtomicU64; BUCKETS],
    /// By what is timed and bucket.
    examples: Mutex<BTreeMap<(usize, usize), Example>>,
    since: SystemTime,
    sets: Sets,
}

/// All of them now.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) ends: [u64; ENDS],
    pub(super) times: [Counted; TIMES],
}

impl Series {
    /// No call has ended yet.
    pub(super) fn of(sets: Sets) -> Series {
        let since = SystemTime::now();
        Series { stripes: Default::default(), exemplified: Default::default(), examples: Mutex::default(), since, sets }
    }

    /// Since when calls are counted.
    pub(super) fn since(&self) -> SystemTime {
        self.since
    }

    /// A call has ended, so many seconds after the table was made.
    pub(super) fn add(&self, failure: Option<Kind>, spent: &Spent, second: u64) {
        let stripe = self.stripes[stripe() & (self.sets as usize - 1)].get_or_init(Box::default);
        stripe.ends[end_of(failure)].fetch_add(1, Relaxed);
        each(spent, |time, nanos| stripe.times[time].add(nanos));
        stripe.last.store(second, Relaxed);
    }

    /// The trace of that call is exported. Of calls about as long one in a second is enough, since nobody reads them more
    /// often; one that is longer than others are is always taken.
    pub(super) fn exemplify(&self, spent: &Spent, trace_id: u128, second: u64) {
        let last = &self.exemplified[bucket(spent.total().as_nanos() as u64)];
        if last.swap(second + 1, Relaxed) == second + 1 {
            return;
        }
        // Of two at once one is enough.
        let Ok(mut examples) = self.examples.try_lock() else { return };
        let at = SystemTime::now();
        each(spent, |time, nanos| _ = examples.insert((time, bucket(nanos)), Example { trace_id, nanos, at }));
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for stripe in self.stripes.iter().filter_map(OnceLock::get) {
            for (sum, count) in sums.ends.iter_mut().zip(&stripe.ends) {
                *sum += count.load(Relaxed);
            }
            for (sum, time) in sums.times.iter_mut().zip(&stripe.times) {
                sum.include(time);
            }
        }
        sums
    }

    /// When the last call ended, in seconds since the table was made.
    pub(super) fn last(&self) -> u64 {
        let made = self.stripes.iter().filter_map(OnceLock::get);
        made.map(|stripe| stripe.last.load(Relaxed)).max().unwrap_or_default()
    }

    pub(super) fn examples(&self) -> BTreeMap<(usize, usize), Example> {
        self.examples.lock().expect("nothing panics while examples are taken").clone()
    }
}

/// Tells what took any time, and the whole.
fn each(spent: &Spent, mut tell: impl FnMut(usize, u64)) {
    let mut whole = 0u64;
    spent.tell::<1>(|stage, nanos| {
        whole = whole.saturating_add(nanos);
        if nanos > 0 {
            tell(stage.map_or(OTHER, |stage| stage as usize), nanos);
        }
    });
    tell(WHOLE, whole);
}

thread_local! {
    static HERE: u8 = const { 0 };
}

/// This thread's stripe: by where its own memory lies, which is as good as a number and needs no count of threads.
fn stripe() -> usize {
    let at = HERE.with(|here| std::ptr::from_ref(here) as u64);
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - STRIPES.ilog2())) as usize
}
