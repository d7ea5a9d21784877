//! Histograms whose buckets are powers of two, cut into steps: what Prometheus calls native, and OpenTelemetry exponential.

/// So many halvings of a doubling's exponent: a bucket ends 19 % above its beginning.
pub(super) const SCHEMA: i32 = 2;

/// Values that are counted so.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Exponential {
    /// Up to here they are told as nothing.
    pub(super) zero_threshold: f64,
    pub(super) zero: u64,
    /// Each bucket in which anything is, in order. Number `n` ends at two to the power of `n` steps.
    pub(super) buckets: Vec<(i32, u64)>,
}

/// Smaller than any value that is counted, and no edge of a bucket.
const TINY: f64 = f64::from_bits((1023 - 128) << 52);

impl Exponential {
    /// So many values each, in rising order; none is below one.
    pub(super) fn of(values: impl IntoIterator<Item = (u64, u64)>) -> Exponential {
        let mut counted = Exponential { zero_threshold: TINY, ..Exponential::default() };
        for (value, count) in values {
            let number = number(value);
            match counted.buckets.last_mut() {
                Some((last, sum)) if *last == number => *sum += count,
                _ => counted.buckets.push((number, count)),
            }
        }
        counted
    }

    /// As Prometheus has them: gaps with the lengths of what follows, then each count less the one before it.
    pub(super) fn spans(&self) -> (Vec<(i32, u32)>, Vec<i64>) {
        let (mut spans, mut deltas) = (Vec::<(i32, u32)>::new(), Vec::new());
        let (mut next, mut before) = (0, 0);
        for (number, count) in &self.buckets {
            match spans.last_mut() {
                Some((_, length)) if *number == next => *length += 1,
                _ => spans.push((number - next, 1)),
            }
            next = number + 1;
            deltas.push(*count as i64 - before);
            before = *count as i64;
        }
        (spans, deltas)
    }
}

/// The bucket of a whole number.
fn number(value: u64) -> i32 {
    let steps = f64::from(1 << SCHEMA);
    let number = ((value.max(1) as f64).log2() * steps).ceil() as i32;
    // A power of two is the end of its own bucket, whatever its logarithm is rounded to.
    if value.is_power_of_two() { value.ilog2() as i32 * steps as i32 } else { number }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_one_span_and_a_gap_begins_another() {
        let counted = Exponential { buckets: vec![(-3, 2), (-2, 5), (4, 1)], ..Exponential::default() };
        assert_eq!(counted.spans(), (vec![(-3, 2), (5, 1)], vec![2, 3, -4]));
        assert_eq!(Exponential::default().spans(), (vec![], vec![]));
    }

    #[test]
    fn whole_numbers_are_counted_by_their_powers_of_two() {
        let counted = Exponential::of([(1, 3), (2, 1), (5, 1), (1000, 1), (1024, 4)]);
        assert_eq!(counted.buckets, [(0, 3), (4, 1), (10, 1), (40, 5)]);
    }

    proptest! {
        #[test]
        fn a_number_lies_between_the_edges_of_its_bucket(value in 1u64..2000) {
            let edge = |number: i32| (f64::from(number) / 4.0).exp2();
            let number = number(value);
            prop_assert!(edge(number - 1) < value as f64 && value as f64 <= edge(number), "{} {}", value, number);
        }
    }
}
