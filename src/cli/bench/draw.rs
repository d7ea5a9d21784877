//! The distribution of times as bars, for the width of a terminal.

use hdrhistogram::Histogram;

use super::buckets::{Bucket, buckets};
use crate::cli::table::{bar_of, table};

/// The narrowest and the widest longest bar.
const NARROWEST: usize = 8;
const WIDEST: usize = 60;

/// Columns beside the bars.
const BESIDE: usize = 48;

/// Times that are marked at the bucket in which they lie.
const MARKS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// One line for each bucket, from its lower bound to its upper one in milliseconds; nothing where there are no times.
pub fn draw(times: &Histogram<u64>, width: usize) -> String {
    let cells = width.saturating_sub(BESIDE).clamp(NARROWEST, WIDEST);
    let buckets = buckets(times);
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let rows = buckets.iter().map(|bucket| {
        let bar = match bucket.count {
            0 => String::new(),
            // However few, some can be seen.
            count => bar_of((count as f64 / most as f64).max(0.125 / cells as f64), cells),
        };
        let marks = marks(times, bucket);
        let gap = if bar.is_empty() || marks.is_empty() { "" } else { " " };
        let share = 100.0 * bucket.count as f64 / times.len() as f64;
        [short(bucket.from), short(bucket.to), bucket.count.to_string(), format!("{share:.1}"), bar + gap + &marks]
    });
    table(["FROM MS ", "TO ", "CALLS ", "% ", ""], rows)
}

fn marks(times: &Histogram<u64>, bucket: &Bucket) -> String {
    let lies = |quantile: f64| (bucket.from..bucket.to).contains(&times.value_at_quantile(quantile).min(times.max()));
    let marks: Vec<&str> = MARKS.iter().filter(|(_, quantile)| lies(*quantile)).map(|(name, _)| *name).collect();
    marks.join(" ")
}

/// Milliseconds in two digits, or all of those before the point.
fn short(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    let digits = (1 - ms.max(1e-6).log10().floor() as i32).max(0) as usize;
    format!("{ms:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000_000, 3).unwrap();
        values.iter().for_each(|(value, count)| histogram.record_n(*value, *count).unwrap());
        histogram
    }

    #[test]
    fn bars_stand_beside_their_bounds_and_marks_beside_their_bars() {
        let times = histogram(&[(300_000, 600), (330_000, 380), (360_000, 19), (25_000_000, 1)]);
        let expected = "\
FROM MS    TO  CALLS     %
   0.30  0.33    600  60.0  ████████ p50
   0.33  0.36    380  38.0  █████▏ p90
   0.36  0.39     19   1.9  ▎ p99 p99.9
   0.39    25      1   0.1  ▏
";
        assert_eq!(draw(&times, 40), expected);
    }

    #[test]
    fn wide_terminals_have_longer_bars_and_narrow_ones_still_have_some() {
        let times = histogram(&[(1_000_000, 5)]);
        let cells = |width| draw(&times, width).matches('█').count();
        assert_eq!((cells(10), cells(80), cells(500)), (8, 32, 60));
    }

    #[test]
    fn bounds_keep_two_digits() {
        assert_eq!(
            [1_500, 39_000, 1_000_000, 8_200_000, 47_000_000, 330_000_000].map(short),
            ["0.0015", "0.039", "1.0", "8.2", "47", "330"]
        );
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(draw(&histogram(&[]), 80), "");
    }
}
