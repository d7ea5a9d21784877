//! What a call's headers say: its deadline, its trace, how its messages are compressed.

use std::time::{Duration, Instant};

use http::HeaderMap;

use super::compression::Encoding;
use super::names::{GRPC_TIMEOUT, TRACEPARENT};
use crate::error::{Error, Result};
use crate::infer::TraceContext;

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a call that brings no deadline.
    pub default: Duration,
    /// The longest; a longer one is cut to it.
    pub max: Duration,
}

/// The headers of a call, understood.
#[derive(Debug)]
pub struct Metadata {
    /// When the caller must have its answer.
    pub deadline: Instant,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
    /// How its messages are compressed, where they say that they are.
    pub encoding: Encoding,
    /// How its answers are compressed.
    pub answer_encoding: Encoding,
}

impl Metadata {
    /// Reads the headers of a call that came at `now`.
    ///
    /// # Errors
    /// `Invalid` for a malformed `grpc-timeout`, `Unsupported` for an encoding that is not served.
    pub fn read(headers: &HeaderMap, deadlines: Deadlines, now: Instant) -> Result<Metadata> {
        let timeout = match headers.get(GRPC_TIMEOUT) {
            Some(value) => parse_timeout(value.as_bytes())?,
            None => deadlines.default,
        };
        let encoding = Encoding::of(headers)?;
        Ok(Metadata {
            deadline: now + timeout.min(deadlines.max),
            trace: headers.get(TRACEPARENT).and_then(|value| parse_traceparent(value.as_bytes())),
            encoding,
            answer_encoding: encoding.of_answers(headers),
        })
    }
}

/// A `grpc-timeout`: one to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Result<Duration> {
    let malformed = || {
        let shown = String::from_utf8_lossy(&value[..value.len().min(20)]).into_owned();
        Error::invalid(format!(
            "malformed grpc-timeout {shown:?}, expected one to eight digits and one of H, M, S, m, u, n"
        ))
    };
    let (unit, digits) = value.split_last().ok_or_else(malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
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

/// A W3C `traceparent` of version 00, or of a later one as far as that is the same. Anything else is no trace.
fn parse_traceparent(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.splitn(4, '-');
    let (version, trace, span, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = hex(version, 2)?;
    let (flags, extra) = rest.split_at_checked(2)?;
    let well_formed = if version == 0 { extra.is_empty() } else { extra.is_empty() || extra.starts_with('-') };
    let (trace_id, span_id, flags) = (hex(trace, 32)?, hex(span, 16)?, hex(flags, 2)?);
    let valid = well_formed && version != 0xff && trace_id != 0 && span_id != 0;
    valid.then_some(TraceContext { trace_id, span_id: span_id as u64, sampled: flags & 1 == 1 })
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(parse_timeout(b"250m").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_timeout(b"99999999H").unwrap(), Duration::from_secs(99_999_999 * 3600));
        for malformed in [&b""[..], b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"1s", b"1 S", b"\xff"] {
            let error = parse_timeout(malformed).unwrap_err();
            assert!(error.message().starts_with("malformed grpc-timeout"), "{error}");
        }
    }

    #[test]
    fn a_deadline_is_the_callers_the_default_or_the_longest() {
        let deadlines = Deadlines { default: Duration::from_secs(60), max: Duration::from_secs(600) };
        let now = Instant::now();
        let deadline = |timeout: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            timeout.map(|timeout| headers.insert("grpc-timeout", timeout.parse().unwrap()));
            Metadata::read(&headers, deadlines, now).unwrap().deadline - now
        };
        assert_eq!(deadline(None), Duration::from_secs(60));
        assert_eq!(deadline(Some("5S")), Duration::from_secs(5));
        assert_eq!(deadline(Some("5H")), Duration::from_secs(600));
    }

    #[test]
    fn a_trace_is_read_and_junk_is_none() {
        let trace = parse_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(trace.trace_id, 0x0af7651916cd43dd8448eb211c80319c);
        assert_eq!((trace.span_id, trace.sampled), (0xb7ad6b7169203331, true));
        for junk in [
            &b"00-00000000000000000000000000000000-b7ad6b7169203331-01"[..],
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            b"00-0af7651916cd43dd8448eb211c80319c",
            "00-é".as_bytes(),
        ] {
            assert_eq!(parse_traceparent(junk), None);
        }
        assert!(parse_traceparent(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-future").is_some());
    }
}
