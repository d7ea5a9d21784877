//! `grpc-timeout`: how much of a call's time is left, as its headers say it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::error::{Error, Result};

/// The header's name.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The digits that a timeout may have.
const MAX_DIGITS: usize = 8;

/// Units by length in nanoseconds, the finest first.
const UNITS: [(u128, u8); 6] = [
    (1, b'n'),
    (1_000, b'u'),
    (1_000_000, b'm'),
    (1_000_000_000, b'S'),
    (60_000_000_000, b'M'),
    (3_600_000_000_000, b'H'),
];

/// Reads a timeout: one to eight digits and a unit.
///
/// # Errors
/// `Invalid` for anything else.
pub fn read(value: &[u8]) -> Result<Duration> {
    let malformed = || {
        let shown = String::from_utf8_lossy(&value[..value.len().min(20)]).into_owned();
        Error::invalid(format!(
            "malformed grpc-timeout {shown:?}, expected one to eight digits and one of H, M, S, m, u, n"
        ))
    };
    let (unit, digits) = value.split_last().ok_or_else(malformed)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let count = digits.iter().fold(0u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(count * 3600)),
        b'M' => Ok(Duration::from_secs(count * 60)),
        b'S' => Ok(Duration::from_secs(count)),
        b'm' => Ok(Duration::from_millis(count)),
        b'u' => Ok(Duration::from_micros(count)),
        b'n' => Ok(Duration::from_nanos(count)),
        _ => Err(malformed()),
    }
}

/// The timeout of a call that has so much time `left`, in the finest unit that its digits have room for. It is never
/// longer than what is left, and shorter by a hundred-thousandth at most. What goes beyond 99999999 hours is cut to
/// those.
pub fn timeout(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let fits = |(length, _): &&(u128, u8)| nanos / length < 10u128.pow(MAX_DIGITS as u32);
    let (length, unit) = UNITS.iter().find(fits).copied().unwrap_or(UNITS[UNITS.len() - 1]);
    let mut rest = (nanos / length).min(99_999_999);
    let mut text = [b'0'; MAX_DIGITS + 1];
    let mut start = MAX_DIGITS;
    text[start] = unit;
    while rest > 0 || start == MAX_DIGITS {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut value = HeaderValue::from_bytes(&text[start..]).expect("digits and a letter make a header value");
    // No value comes twice, so that none should push others out of the connection's table of headers.
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_timeout_is_what_is_left_or_hardly_less(
            (secs, shift) in (0..=300_000_000_000u64, 0..40u32),
            nanos in 0..1_000_000_000u32,
        ) {
            let left = Duration::new(secs >> shift, nanos);
            let told = read(timeout(left).as_bytes()).unwrap();
            prop_assert!(told <= left);
            // From one unit to the next, six digits are left at least.
            prop_assert!(left - told <= left / 100_000, "{left:?} became {told:?}");
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..12)) {
            _ = read(&value);
        }
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(read(b"250m").unwrap(), Duration::from_millis(250));
        assert_eq!(read(b"99999999H").unwrap(), Duration::from_secs(99_999_999 * 3600));
        for malformed in [&b""[..], b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"1s", b"1 S", b"\xff"] {
            let error = read(malformed).unwrap_err();
            assert!(error.message().starts_with("malformed grpc-timeout"), "{error}");
        }
    }

    #[test]
    fn the_finest_unit_that_fits_is_written() {
        for (left, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(60), "60000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(timeout(left), text);
        }
    }
}
