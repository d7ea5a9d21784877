//! The breakdown of a call's time for its caller, in the style of the Server-Timing header.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::infer::{Spent, Stage};

/// `receive;dur=0.012, execute;dur=0.150, other;dur=0.000, total;dur=0.162` in milliseconds: stages, what none accounts
/// for, and the whole, which is their sum to the last digit.
pub fn server_timing(spent: &Spent) -> Bytes {
    let (mut text, mut total) = (Text::new(), 0u64);
    spent.tell::<1000>(|stage, micros| {
        entry(&mut text, ENTRIES[stage.map_or(Stage::COUNT, |stage| stage as usize)], micros);
        total = total.saturating_add(micros);
    });
    entry(&mut text, ", total;dur=", total);
    Bytes::copy_from_slice(&text[SEPARATOR.len()..])
}

/// All stages of a call find room in it.
type Text = SmallVec<[u8; 256]>;

const SEPARATOR: &str = ", ";

/// How entries begin, those of the stages and of what none accounts for: each is written in two pieces, and with every call.
const ENTRIES: [&str; Stage::COUNT + 1] = [
    ", receive;dur=",
    ", admit;dur=",
    ", pick;dur=",
    ", connect;dur=",
    ", send;dur=",
    ", queue;dur=",
    ", merge;dur=",
    ", execute;dur=",
    ", split;dur=",
    ", return;dur=",
    ", encode;dur=",
    ", other;dur=",
];

fn entry(text: &mut Text, beginning: &str, micros: u64) {
    text.extend_from_slice(beginning.as_bytes());
    let (mut digits, mut at, mut left) = ([b'0'; 24], 24, micros);
    // Thousandths, the point, and at least one digit before it.
    for place in 0.. {
        if place == 3 {
            at -= 1;
            digits[at] = b'.';
        } else if place > 3 && left == 0 {
            break;
        }
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    text.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::infer::Timeline;

    #[test]
    fn stages_are_told_in_order_in_milliseconds_and_add_up_to_the_whole() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Receive, start + Duration::from_nanos(12_600));
        timeline.end(Stage::Execute, start + Duration::from_nanos(1_234_012_300));
        let text = server_timing(&timeline.spent_until(start + Duration::from_nanos(1_234_512_900)));
        assert_eq!(text, "receive;dur=0.012, execute;dur=1234.000, other;dur=0.500, total;dur=1234.512");
    }

    #[test]
    fn each_stage_has_its_entry_and_every_number_its_digits() {
        for (stage, entry) in Stage::ALL.into_iter().zip(ENTRIES) {
            assert_eq!(entry, format!("{SEPARATOR}{};dur=", stage.name()));
        }
        for (micros, digits) in [(0, "0.000"), (7, "0.007"), (999, "0.999"), (1000, "1.000"), (1_234_567, "1234.567")] {
            let mut text = Text::new();
            entry(&mut text, "", micros);
            assert_eq!(&*text, digits.as_bytes());
        }
        let mut text = Text::new();
        entry(&mut text, "", u64::MAX);
        assert_eq!(&*text, b"18446744073709551.615");
    }
}
