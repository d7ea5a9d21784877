//! What a call's headers say: its deadline, its trace, how its messages are compressed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::access::Facts;
use super::compression::Encoding;
use super::timing::Breakdown;
use crate::error::Result;
use crate::infer::Trace;
use crate::wire::origin;
use crate::wire::timeout::{self, GRPC_TIMEOUT};

/// How often a call was tried before by whoever is in front (gRFC A6).
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

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
    /// The call's trace, which is not in here when the headers were just read.
    pub trace: Option<Arc<Trace>>,
    /// What is told of it in the log, where it has a line there; likewise.
    pub(super) facts: Option<Arc<Facts>>,
    /// How often a process in front of this one has tried it; junk is no time.
    pub previous_attempts: u32,
    /// The id of the gateway that it comes from, where it comes from one.
    pub origin: Option<u64>,
    /// How its messages are compressed, where they say that they are.
    pub encoding: Encoding,
    /// How its answers are compressed.
    pub answer_encoding: Encoding,
    /// Where it wants to be told where its time went.
    pub breakdown: Breakdown,
}

impl Metadata {
    /// Reads the headers of a call that came at `now`.
    ///
    /// # Errors
    /// `Invalid` for a malformed `grpc-timeout` or `infergate-timing`, `Unsupported` for an encoding that is not served.
    pub fn read(headers: &HeaderMap, deadlines: Deadlines, now: Instant) -> Result<Metadata> {
        let timeout = match headers.get(GRPC_TIMEOUT) {
            Some(value) => timeout::read(value.as_bytes())?,
            None => deadlines.default,
        };
        let encoding = Encoding::of(headers)?;
        Ok(Metadata {
            deadline: now + timeout.min(deadlines.max),
            trace: None,
            facts: None,
            previous_attempts: headers.get(PREVIOUS_ATTEMPTS).map_or(0, |value| count(value.as_bytes())),
            origin: headers.get(origin::HEADER).and_then(|value| origin::read(value.as_bytes())),
            encoding,
            answer_encoding: encoding.of_answers(headers),
            breakdown: Breakdown::wanted(headers)?,
        })
    }
}

/// A small decimal number. Larger ones than any client sends are as large as that.
fn count(value: &[u8]) -> u32 {
    const MOST: u32 = 1000;
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
