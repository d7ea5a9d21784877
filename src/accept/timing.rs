//! The breakdown of a call's time for its caller, in the style of the Server-Timing header.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::infer::{Spent, Stage, Version};

/// Where a caller wants the breakdown.
const HEADER: HeaderName = HeaderName::from_static("infergate-timing");

/// The answer's parameter with the breakdown.
pub const PARAMETER: &str = "server_timing";

/// Where a caller finds the breakdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakdown {
    /// In the trailers of a unary answer.
    Trailer,
    /// Among the answer's parameters, for callers that see no trailers; where the protocol has none, in the trailers.
    Parameter,
    /// Nowhere.
    Nowhere,
}

impl Breakdown {
    /// Where the caller wants it: it says so in `infergate-timing`, or in the trailers.
    ///
    /// # Errors
    /// `Invalid` for anything else than `trailer`, `parameter` or `off`.
    pub fn wanted(headers: &HeaderMap) -> Result<Breakdown> {
        match headers.get(HEADER).map(|value| value.as_bytes()) {
            None | Some(b"trailer") => Ok(Breakdown::Trailer),
            Some(b"parameter") => Ok(Breakdown::Parameter),
            Some(b"off") => Ok(Breakdown::Nowhere),
            Some(_) => Err(Error::new(Kind::Invalid, "infergate-timing is one of trailer, parameter and off")),
        }
    }
}

/// `receive;dur=0.012, execute;dur=0.150, other;dur=0.000, total;dur=0.162, version;desc="3", at;desc="cpu"`: stages in
/// milliseconds, what none accounts for, and the whole, which is their sum to the last digit; then which version has
/// answered, where that is known, and where it ran: on which device, or behind a gateway at which endpoint.
pub fn server_timing(spent: &Spent, version: Option<Version>, at: &str) -> Bytes {
    let (mut text, mut total) = (Text::new(), 0u64);
    spent.tell::<1000>(|stage, micros| {
        entry(&mut text, ENTRIES[stage.map_or(Stage::COUNT, |stage| stage as usize)], micros);
        total = total.saturating_add(micros);
    });
    entry(&mut text, ", total;dur=", total);
    if let Some(version) = version {
        text.extend_from_slice(b", version;desc=\"");
        digits(&mut text, version.number() as u64, None);
        text.push(b'"');
    }
    text.extend_from_slice(b", at;desc=\"");
    match at.bytes().all(is_plain) {
        true => text.extend_from_slice(at.as_bytes()),
        false => text.extend(at.bytes().map(|byte| if is_plain(byte) { byte } else { b'?' })),
    }
    text.push(b'"');
    Bytes::copy_from_slice(&text[SEPARATOR.len()..])
}

/// Whether it means itself in a quoted string of a header.
fn is_plain(byte: u8) -> bool {
    byte == b' ' || (byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// All stages of a call find room in it, and a name of where it ran.
type Text = SmallVec<[u8; 384]>;

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
    // Thousandths, the point, and at least one digit before it.
    digits(text, micros, Some(3));
}

/// A number, with a point before so many of its digits.
fn digits(text: &mut Text, number: u64, point: Option<usize>) {
    let (mut digits, mut at, mut left) = ([b'0'; 24], 24, number);
    for place in 0.. {
        if Some(place) == point {
            at -= 1;
            digits[at] = b'.';
        } else if left == 0 && place > point.unwrap_or(0) {
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
        let spent = timeline.spent_until(start + Duration::from_nanos(1_234_512_900));
        let stages = "receive;dur=0.012, execute;dur=1234.000, other;dur=0.500, total;dur=1234.512";
        let version = Version::new(3);
        assert_eq!(server_timing(&spent, version, "cpu"), format!("{stages}, version;desc=\"3\", at;desc=\"cpu\""));
        assert_eq!(server_timing(&spent, None, "a\"b\\c\u{e9}"), format!("{stages}, at;desc=\"a?b?c??\""));
    }

    #[test]
    fn a_caller_says_where_it_wants_the_breakdown_and_is_told_where_it_may() {
        let wanted = |value: &'static str| Breakdown::wanted(&HeaderMap::from_iter([(HEADER, value.parse().unwrap())]));
        assert_eq!(Breakdown::wanted(&HeaderMap::new()).unwrap(), Breakdown::Trailer);
        assert_eq!(wanted("parameter").unwrap(), Breakdown::Parameter);
        assert_eq!(wanted("off").unwrap(), Breakdown::Nowhere);
        let error = wanted("never").unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains("trailer, parameter and off"));
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
