//! A distribution of times in a few buckets whose bounds are round numbers, each some factor above the one before.

use hdrhistogram::Histogram;

/// The most buckets, the last of which holds all that is longer.
const MOST: usize = 16;

/// Steps within a factor of ten, the finest first.
const STEPS: [&[f64]; 5] = [
    &[
        1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5,
        8.2, 9.1,
    ],
    &[1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2],
    &[1.0, 1.5, 2.2, 3.3, 4.7, 6.8],
    &[1.0, 2.0, 5.0],
    &[1.0],
];

/// The times from a bound to the next, that one left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The lower bound in nanoseconds.
    pub from: u64,
    /// The upper bound in nanoseconds.
    pub to: u64,
    /// How many times lie between them.
    pub count: u64,
}

/// The distribution: as fine as fits for all but the slowest hundredth, of which the rest shares the last bucket.
pub fn buckets(times: &Histogram<u64>) -> Vec<Bucket> {
    if times.is_empty() {
        return Vec::new();
    }
    // A time is known as the largest of those that the histogram does not tell apart.
    let least = times.highest_equivalent(times.min());
    let (most, usual) = (times.max(), times.value_at_quantile(0.99));
    let mut bounds = STEPS.iter().map(|steps| bounds(steps, least, usual)).find(|bounds| bounds.len() <= MOST);
    let mut bounds = bounds.take().unwrap_or_else(|| self::bounds(STEPS[STEPS.len() - 1], least, usual));
    if most >= bounds[bounds.len() - 1] {
        bounds.push(most + 1);
    }
    let mut buckets: Vec<Bucket> =
        bounds.windows(2).map(|pair| Bucket { from: pair[0], to: pair[1], count: 0 }).collect();
    for recorded in times.iter_recorded() {
        let value = recorded.value_iterated_to().clamp(least, most);
        let at = buckets.partition_point(|bucket| bucket.to <= value);
        buckets[at].count += recorded.count_since_last_iteration();
    }
    buckets
}

/// Bounds around all times from `least` to `most`: the first is not above `least`, and the last above `most`.
fn bounds(steps: &[f64], least: u64, most: u64) -> Vec<u64> {
    let mut bounds: Vec<u64> = Vec::new();
    for decade in (least.ilog10()).. {
        for step in steps {
            let bound = (step * 10f64.powi(decade as i32)).round() as u64;
            if bound <= least {
                bounds.clear();
            }
            bounds.push(bound);
            if bound > most {
                bounds.dedup();
                return bounds;
            }
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000_000, 3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    #[test]
    fn every_time_is_in_one_bucket_and_the_buckets_lie_side_by_side() {
        let mut random = fastrand::Rng::with_seed(1);
        let values: Vec<u64> = (0..10_000).map(|_| (1e5 * (random.f64() * 7.0).exp()) as u64).collect();
        let buckets = buckets(&histogram(&values));
        assert!(buckets.len() <= MOST, "{buckets:?}");
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 10_000);
        assert!(buckets.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].from < pair[0].to), "{buckets:?}");
        assert!(buckets[0].count > 0);
    }

    #[test]
    fn times_close_together_are_told_apart_and_the_few_slow_ones_are_not() {
        let mut values = [vec![100_000; 50], vec![121_000; 49]].concat();
        values.extend([5_000_000_000]);
        let buckets = buckets(&histogram(&values));
        let bounds: Vec<(u64, u64)> = buckets.iter().map(|bucket| (bucket.from, bucket.count)).collect();
        assert_eq!(bounds, [(100_000, 50), (110_000, 0), (120_000, 49), (130_000, 1)]);
        assert!(buckets[3].to > 5_000_000_000);
    }

    #[test]
    fn one_time_is_one_bucket_and_none_is_none() {
        let one = buckets(&histogram(&[42_000]));
        assert_eq!(one, [Bucket { from: 39_000, to: 43_000, count: 1 }]);
        assert_eq!(buckets(&histogram(&[])), []);
    }
}
