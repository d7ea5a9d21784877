//! A quantile of recent round trips in constant memory, recorded without a lock.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Buckets within each doubling: a quantile is told at most an eighth too high, and never too low.
const PER_DOUBLING: usize = 8;

/// Doublings from a microsecond (2^10 ns) to two minutes (2^37 ns); what is outside counts in the outermost bucket.
const DOUBLINGS: usize = 27;
const LOWEST: u32 = 10;

const BUCKETS: usize = PER_DOUBLING * DOUBLINGS;

/// How long one half is recorded into. What is told rests on the last 10 to 20 s: a model that becomes slower or faster
/// is known anew within the time over which budgets look back too.
const HALF: Duration = Duration::from_secs(10);

/// The quantile is computed again after so many round trips, since it takes two hundred loads and more.
const EACH: u64 = 32;

/// A histogram with buckets of equal ratio, in two halves that take turns.
#[derive(Debug)]
pub(super) struct Quantile {
    start: Instant,
    share: f64,
    least: u64,
    halves: [Half; 2],
    /// Since the start, to know when to compute.
    recorded: AtomicU64,
    /// In nanoseconds; zero where too little is known.
    computed: AtomicU64,
}

#[derive(Debug)]
struct Half {
    /// Which turn it holds, from one on.
    turn: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Half {
    fn new() -> Half {
        Half { turn: AtomicU64::new(0), buckets: array::from_fn(|_| AtomicU32::new(0)) }
    }

    /// Empties it when its next turn comes. Round trips that end at that moment may be lost.
    fn begin(&self, turn: u64) {
        let last = self.turn.load(Relaxed);
        if last < turn && self.turn.compare_exchange(last, turn, Relaxed, Relaxed).is_ok() {
            self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
    }
}

impl Quantile {
    /// The quantile at `share` (0.95 for the p95), told from `least` round trips on.
    pub(super) fn new(share: f64, least: u64, start: Instant) -> Quantile {
        let (recorded, computed) = (AtomicU64::new(0), AtomicU64::new(0));
        Quantile { start, share, least, halves: [Half::new(), Half::new()], recorded, computed }
    }

    pub(super) fn record(&self, round_trip: Duration, now: Instant) {
        let turn = self.turn(now);
        let half = &self.halves[turn as usize % 2];
        half.begin(turn);
        half.buckets[bucket(round_trip)].fetch_add(1, Relaxed);
        if self.recorded.fetch_add(1, Relaxed) % EACH == EACH - 1 {
            self.computed.store(self.compute(turn), Relaxed);
        }
    }

    /// The quantile, or `None` where too few round trips were recorded of late. It lags by some thirty of them.
    pub(super) fn get(&self, now: Instant) -> Option<Duration> {
        let last = self.halves.iter().map(|half| half.turn.load(Relaxed)).max().unwrap_or(0);
        let nanos = self.computed.load(Relaxed);
        (nanos > 0 && last + 1 >= self.turn(now)).then(|| Duration::from_nanos(nanos))
    }

    fn compute(&self, turn: u64) -> u64 {
        let recent: Vec<&Half> = self.halves.iter().filter(|half| half.turn.load(Relaxed) + 1 >= turn).collect();
        let count = |at: usize| recent.iter().map(|half| u64::from(half.buckets[at].load(Relaxed))).sum::<u64>();
        let counts: [u64; BUCKETS] = array::from_fn(count);
        let all: u64 = counts.iter().sum();
        if all < self.least {
            return 0;
        }
        let (wanted, mut passed) = ((all as f64 * self.share).ceil() as u64, 0);
        let reached = counts.iter().position(|count| {
            passed += count;
            passed >= wanted
        });
        upper_edge(reached.unwrap_or(BUCKETS - 1))
    }

    fn turn(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / HALF.as_secs() + 1
    }
}

fn bucket(round_trip: Duration) -> usize {
    let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX).max(1 << LOWEST);
    let doubling = nanos.ilog2();
    let within = (nanos >> (doubling - PER_DOUBLING.ilog2())) as usize % PER_DOUBLING;
    ((doubling - LOWEST) as usize * PER_DOUBLING + within).min(BUCKETS - 1)
}

/// Nanoseconds that all of a bucket are below.
fn upper_edge(bucket: usize) -> u64 {
    let (doubling, within) = (bucket / PER_DOUBLING, bucket % PER_DOUBLING);
    ((PER_DOUBLING + within + 1) as u64) << (doubling + LOWEST as usize - PER_DOUBLING.ilog2() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_never_below_the_true_quantile_and_at_most_an_eighth_above(
            micros in prop::collection::vec(2u64..2_000_000, 96..320)
        ) {
            let now = Instant::now();
            let quantile = Quantile::new(0.95, 32, now);
            // Whole rounds, so that nothing recorded is still to be computed.
            let recorded = micros.len() / 32 * 32;
            micros[..recorded].iter().for_each(|micros| quantile.record(Duration::from_micros(*micros), now));
            let mut sorted = micros[..recorded].to_vec();
            sorted.sort_unstable();
            let exact = Duration::from_micros(sorted[(recorded as f64 * 0.95).ceil() as usize - 1]);
            let told = quantile.get(now).unwrap();
            prop_assert!(exact < told && told <= exact.mul_f64(1.126), "{exact:?} told as {told:?}");
        }

        #[test]
        fn every_round_trip_is_below_the_edge_of_its_bucket_and_not_below_that_of_the_one_before(
            nanos in (1u64 << LOWEST)..(1 << 37)
        ) {
            let bucket = bucket(Duration::from_nanos(nanos));
            prop_assert!(nanos < upper_edge(bucket));
            prop_assert!(bucket == 0 || nanos >= upper_edge(bucket - 1));
        }
    }

    #[test]
    fn what_is_beyond_either_end_counts_at_that_end() {
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn the_past_is_forgotten() {
        let start = Instant::now();
        let quantile = Quantile::new(0.95, 32, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let record = |millis, now| (0..64).for_each(|_| quantile.record(Duration::from_millis(millis), now));
        record(800, at(1));
        assert!(quantile.get(at(2)).unwrap() >= Duration::from_millis(800));
        record(10, at(12));
        record(10, at(22));
        assert!(quantile.get(at(22)).unwrap() < Duration::from_millis(12));
        assert_eq!(quantile.get(at(41)), None);
    }
}
