//! The breakdown of a call's time for its caller, in the style of the Server-Timing header.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use crate::infer::Timeline;

/// `receive;dur=0.012, execute;dur=0.150, total;dur=0.170` in milliseconds, of a call that ended at `now`. What no
/// stage accounts for is the difference.
pub fn server_timing(timeline: &Timeline, now: Instant) -> Bytes {
    let mut text = BytesMut::with_capacity(192);
    for (stage, spent) in timeline.stages() {
        entry(&mut text, stage.name(), spent);
        text.put_slice(b", ");
    }
    entry(&mut text, "total", now.saturating_duration_since(timeline.started()));
    text.freeze()
}

fn entry(text: &mut BytesMut, name: &str, spent: Duration) {
    text.put_slice(name.as_bytes());
    text.put_slice(b";dur=");
    let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
    decimal(text, micros / 1000, 1);
    text.put_u8(b'.');
    decimal(text, micros % 1000, 3);
}

/// At least `digits` digits. The standard formatter does the same at several times the cost, on the path of each call.
fn decimal(text: &mut BytesMut, number: u64, digits: usize) {
    let mut reversed = [0u8; 20];
    let (mut rest, mut len) = (number, 0);
    while rest > 0 || len < digits {
        reversed[len] = b'0' + (rest % 10) as u8;
        rest /= 10;
        len += 1;
    }
    reversed[..len].iter().rev().for_each(|digit| text.put_u8(*digit));
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
