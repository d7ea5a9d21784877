//! What a run costs: execution time as a line over rows, fitted while a model runs. Plain numbers that know no clock;
//! `now` is passed in.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// How much a run counts when the next one is learnt: the last 33 make up two thirds of a fit.
const DECAY: f64 = 0.97;
/// A fit of fewer runs says nothing.
const ENOUGH: u32 = 3;
/// A run that took so many times longer, or shorter, than predicted is taken for an outlier and counts as this much.
const OUTLIER: f64 = 3.0;
/// So many outliers in a row are no outliers: the model or the machine has changed, and the fit begins anew.
const CHANGED: u32 = 3;
/// The runs must differ by this much of their mean size (as a standard deviation) for a slope to be told from them.
const SPREAD: f64 = 0.05;
/// The part of the time by row that a larger run must save to be worth the wait of those in it.
const WORTH: f64 = 0.04;
/// Shapes with a fit of their own.
const MAX_SHAPES: usize = 256;

/// A line through recent runs: `time = fixed + slope × size`, by least squares whose weights decay, neither part
/// negative. Where all runs have one size, the last known slope is kept; without one, a larger run is taken to cost in
/// proportion and a smaller one as much.
#[derive(Debug, Clone, Default)]
pub struct Fit {
    weight: f64,
    size: f64,
    time: f64,
    square: f64,
    product: f64,
    slope: Option<f64>,
    runs: u32,
    outliers: u32,
    last: Option<Instant>,
}

impl Fit {
    /// Learns that a run of `size` took so long.
    pub fn learn(&mut self, size: f64, took: Duration, now: Instant) {
        let mut nanos = took.as_nanos() as f64;
        if let Some(predicted) = self.predict(size).map(|predicted| predicted.as_nanos() as f64) {
            let bounded = nanos.clamp(predicted / OUTLIER, predicted * OUTLIER);
            self.outliers = if bounded == nanos { 0 } else { self.outliers + 1 };
            if self.outliers == CHANGED {
                *self = Fit::default();
            } else {
                nanos = bounded;
            }
        }
        for (sum, newest) in [
            (&mut self.weight, 1.0),
            (&mut self.size, size),
            (&mut self.time, nanos),
            (&mut self.square, size * size),
            (&mut self.product, size * nanos),
        ] {
            *sum = *sum * DECAY + newest;
        }
        self.runs = self.runs.saturating_add(1);
        self.last = Some(now);
        self.slope = self.measured_slope().or(self.slope);
    }

    fn measured_slope(&self) -> Option<f64> {
        let (size, time) = (self.size / self.weight, self.time / self.weight);
        let variance = self.square / self.weight - size * size;
        // The line must not leave the quadrant: at size 0 a run takes no less than nothing.
        let through_zero = if size > 0.0 { time / size } else { 0.0 };
        let told_apart = variance > (SPREAD * size) * (SPREAD * size) && variance > 0.0;
        told_apart.then(|| ((self.product / self.weight - size * time) / variance).clamp(0.0, through_zero))
    }

    /// How long a run of `size` takes; `None` before enough were seen.
    pub fn predict(&self, size: f64) -> Option<Duration> {
        if self.runs < ENOUGH {
            return None;
        }
        let (mean_size, mean_time) = (self.size / self.weight, self.time / self.weight);
        let nanos = match self.slope {
            Some(slope) => (mean_time + slope * (size - mean_size)).max(0.0),
            // Runs of nothing say what any run takes at least.
            None => mean_time * (size / mean_size.max(1.0)).max(1.0),
        };
        Some(Duration::from_nanos(nanos as u64))
    }

    /// The size beyond which a larger run saves next to nothing of the time by size, where `beside` is what every
    /// run costs beside its execution; `None` where that is not known.
    pub fn worth(&self, beside: Duration) -> Option<f64> {
        let slope = self.slope.filter(|_| self.runs >= ENOUGH)?;
        let fixed = (self.time / self.weight - slope * self.size / self.weight).max(0.0) + beside.as_nanos() as f64;
        Some(fixed / (WORTH * slope))
    }
}

/// A run before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Its shape without the rows, as a hash: runs of one shape are learnt together.
    pub shape: u64,
    /// Its rows.
    pub rows: usize,
    /// Elements of all its inputs.
    pub elements: usize,
}

/// Shapes come as hashes, so that they need not be hashed again.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What the runs of one model version cost: a fit over rows for each shape, and one over elements for shapes that are
/// not known yet.
#[derive(Debug, Default)]
pub struct Cost {
    shapes: HashMap<u64, Fit, BuildHasherDefault<Hashed>>,
    any: Fit,
}

impl Cost {
    /// Learns that a run took so long.
    pub fn learn(&mut self, work: Work, took: Duration, now: Instant) {
        if self.shapes.len() >= MAX_SHAPES && !self.shapes.contains_key(&work.shape) {
            let oldest = self.shapes.iter().min_by_key(|(_, fit)| fit.last).map(|(shape, _)| *shape);
            oldest.and_then(|shape| self.shapes.remove(&shape));
        }
        self.shapes.entry(work.shape).or_default().learn(work.rows as f64, took, now);
        self.any.learn(work.elements as f64, took, now);
    }

    /// How long a run takes, on average; `None` where nothing like it was seen.
    pub fn predict(&self, work: Work) -> Option<Duration> {
        let own = self.shapes.get(&work.shape).and_then(|fit| fit.predict(work.rows as f64));
        own.or_else(|| self.any.predict(work.elements as f64))
    }

    /// The rows beyond which a larger run of that shape saves next to nothing by row, at least 2; where runs are not
    /// known, as many as there are.
    pub fn worth(&self, work: Work, beside: Duration) -> usize {
        let own = self.shapes.get(&work.shape).and_then(|fit| fit.worth(beside));
        let by_row = (work.elements / work.rows.max(1)).max(1) as f64;
        let rows = own.or_else(|| self.any.worth(beside).map(|elements| elements / by_row));
        rows.map_or(usize::MAX, |rows| (rows.ceil() as usize).max(2))
    }

    /// Whether a run was seen no longer ago than `age`. What was predicted from older ones should turn nobody away.
    pub fn is_fresh(&self, age: Duration, now: Instant) -> bool {
        self.any.last.is_some_and(|last| now.saturating_duration_since(last) <= age)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MICROS: fn(u64) -> Duration = Duration::from_micros;

    fn learnt(runs: impl IntoIterator<Item = (f64, u64)>) -> Fit {
        let mut fit = Fit::default();
        runs.into_iter().for_each(|(size, micros)| fit.learn(size, MICROS(micros), Instant::now()));
        fit
    }

    #[test]
    fn runs_on_a_line_are_predicted_also_between_and_beyond_the_sizes_seen() {
        let fit = learnt((1..40).map(|run| (f64::from(run % 4 + 1), 100 + 10 * (run as u64 % 4 + 1))));
        for rows in [1, 3, 16, 32] {
            let off = fit.predict(rows as f64).unwrap().abs_diff(MICROS(100 + 10 * rows));
            assert!(off < MICROS(1), "{rows} rows are off by {off:?}");
        }
    }

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        assert_eq!(learnt([(1.0, 5), (1.0, 5)]).predict(1.0), None);
        assert_eq!(learnt([(2.0, 5); 3]).predict(2.0), Some(MICROS(5)));
    }

    #[test]
    fn with_one_size_seen_more_rows_cost_in_proportion_and_fewer_the_same() {
        let fit = learnt([(4.0, 100); 5]);
        assert_eq!(fit.predict(8.0), Some(MICROS(200)));
        assert_eq!(fit.predict(1.0), Some(MICROS(100)));
    }

    #[test]
    fn runs_of_nothing_make_no_other_run_endless() {
        let fit = learnt([(0.0, 100); 5]);
        assert_eq!(fit.predict(0.0), Some(MICROS(100)));
        assert_eq!(fit.predict(8.0), Some(MICROS(800)));
    }

    #[test]
    fn a_slope_once_known_outlives_a_long_time_of_one_size() {
        let fit = learnt([(1.0, 110), (8.0, 180)].into_iter().cycle().take(20).chain([(4.0, 140); 300]));
        let off = fit.predict(8.0).unwrap().abs_diff(MICROS(180));
        assert!(off < MICROS(2), "off by {off:?}");
    }

    #[test]
    fn an_outlier_moves_little_and_a_change_is_followed_at_once() {
        let steady = [(1.0, 100); 30];
        let once = learnt(steady.into_iter().chain([(1.0, 100_000)]));
        assert!(once.predict(1.0).unwrap() < MICROS(120), "{:?}", once.predict(1.0));
        let changed = learnt(steady.into_iter().chain([(1.0, 2000); 5]));
        assert_eq!(changed.predict(1.0), Some(MICROS(2000)));
    }

    #[test]
    fn a_shape_that_is_not_known_is_predicted_from_the_elements_of_the_others() {
        let mut cost = Cost::default();
        for run in 0..40 {
            let length = 16 << (run % 3);
            let work = Work { shape: length as u64, rows: 2, elements: 2 * length };
            cost.learn(work, MICROS(2 * length as u64), Instant::now());
        }
        let unknown = Work { shape: 7, rows: 4, elements: 4 * 20 };
        let off = cost.predict(unknown).unwrap().abs_diff(MICROS(80));
        assert!(off < MICROS(2), "off by {off:?}");
    }

    #[test]
    fn runs_are_worth_their_size_as_long_as_a_row_gets_cheaper() {
        let line = |fixed: u64, row: u64| {
            let mut cost = Cost::default();
            for run in 0..40usize {
                let rows = run % 4 + 1;
                let work = Work { shape: 7, rows, elements: 10 * rows };
                cost.learn(work, MICROS(fixed + row * rows as u64), Instant::now());
            }
            cost.worth(Work { shape: 7, rows: 1, elements: 10 }, Duration::ZERO)
        };
        assert!((25..=26).contains(&line(100, 100)), "{}", line(100, 100));
        assert_eq!(line(4000, 0), usize::MAX);
        assert_eq!(line(0, 100), 2);
        assert_eq!(Cost::default().worth(Work { shape: 7, rows: 1, elements: 10 }, MICROS(9)), usize::MAX);
    }

    #[test]
    fn shapes_that_callers_think_up_take_no_more_than_their_room() {
        let mut cost = Cost::default();
        for shape in 0..10_000 {
            cost.learn(Work { shape, rows: 1, elements: 1 }, MICROS(1), Instant::now());
        }
        assert_eq!(cost.shapes.len(), MAX_SHAPES);
    }

    proptest! {
        #[test]
        fn whatever_is_learnt_a_prediction_is_finite_and_grows_with_the_rows(
            runs in prop::collection::vec((0..64u32, 0..10_000_000u64), 0..60),
            rows in 0..64u32,
        ) {
            let fit = learnt(runs.into_iter().map(|(size, micros)| (f64::from(size), micros)));
            if let (Some(few), Some(more)) = (fit.predict(f64::from(rows)), fit.predict(f64::from(rows + 1))) {
                prop_assert!(few <= more);
                prop_assert!(more < Duration::from_secs(1_000_000));
            }
        }
    }
}
