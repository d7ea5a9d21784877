//! The breakdown of a call's time for its caller, in the style of the Server-Timing header.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::infer::{Spent, Stage};

/// `receive;dur=0.012, execute;dur=0.150, other;dur=0.000, total;dur=0.162` in milliseconds: stages, what none accounts
/// for, and the whole, which is their sum to the last digit.
pub fn server_timing(spent: &Spent) -> Bytes {
    let (mut text, mut total) = (Text::new(), 0u64);
    for (stage, micros) in spent.in_units(Duration::from_micros(1)) {
        entry(&mut text, stage.map_or("other", Stage::name), micros);
        text.extend_from_slice(b", ");
        total = total.saturating_add(micros);
    }
    entry(&mut text, "total", total);
    Bytes::copy_from_slice(&text)
}

/// All stages of a call find room in it.
type Text = SmallVec<[u8; 256]>;

fn entry(text: &mut Text, name: &str, micros: u64) {
    let thousandths = (micros % 1000) as u16;
    let digit = |unit: u16| b'0' + (thousandths / unit % 10) as u8;
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b";dur=");
    text.extend_from_slice(itoa::Buffer::new().format(micros / 1000).as_bytes());
    text.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
}
