//! The breakdown of a call's time for its caller, in the style of the Server-Timing header.

use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::infer::Timeline;

/// `receive;dur=0.012, execute;dur=0.150, total;dur=0.170` in milliseconds, of a call that ended at `now`. What no
/// stage accounts for is the difference.
pub fn server_timing(timeline: &Timeline, now: Instant) -> Bytes {
    let mut text = Text::new();
    for (stage, spent) in timeline.stages() {
        entry(&mut text, stage.name(), spent);
        text.extend_from_slice(b", ");
    }
    entry(&mut text, "total", now.saturating_duration_since(timeline.started()));
    Bytes::copy_from_slice(&text)
}

/// All stages of a call find room in it.
type Text = SmallVec<[u8; 256]>;

fn entry(text: &mut Text, name: &str, spent: Duration) {
    let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
    let thousandths = (micros % 1000) as u16;
    let digit = |unit: u16| b'0' + (thousandths / unit % 10) as u8;
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b";dur=");
    text.extend_from_slice(itoa::Buffer::new().format(micros / 1000).as_bytes());
    text.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Stage;

    #[test]
    fn stages_are_told_in_order_in_milliseconds() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Receive, start + Duration::from_micros(12));
        timeline.end(Stage::Execute, start + Duration::from_micros(1_234_012));
        let text = server_timing(&timeline, start + Duration::from_micros(1_234_512));
        assert_eq!(text, "receive;dur=0.012, execute;dur=1234.000, total;dur=1234.512");
    }
}
