//! The status of a backend's answer as a failure of ours.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tonic::Code;

use super::{FAILURE, GRPC_STATUS, MAX_MESSAGE, PUSHBACK, code, cut};
use crate::error::{Error, Kind, Result};
use crate::wire::binary;
use crate::wire::protobuf::Fields;

/// Longer waits are cut to this, so that whoever adds them to a time of day need not fear for it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads how a call ended from its trailers, or from the headers of an answer that has nothing else. The failure has
/// the backend's sentence and what it said about trying again.
///
/// # Errors
/// Its failure, in the kind whose code is the backend's. UNKNOWN, ALREADY_EXISTS, ABORTED, DATA_LOSS and codes that do
/// not exist have none, and are `Engine` (INTERNAL); OUT_OF_RANGE, with which some servers refuse large messages, is
/// `TooLarge`.
///
/// Where several kinds have a code, a server of ours names the kind. RESOURCE_EXHAUSTED of others is `Overloaded`, and
/// UNAVAILABLE is `NotReady` where they say when to come back, else `BackendLost`: the call may have run, since a proxy
/// in between may have lost it. That it is too where there is no status.
pub fn failure(trailers: &HeaderMap) -> Result<()> {
    let Some(status) = trailers.get(GRPC_STATUS) else {
        return Err(Error::new(Kind::BackendLost, "the backend's answer ended without a status"));
    };
    let code = Code::from_bytes(status.as_bytes());
    if code == Code::Ok {
        return Ok(());
    }
    let hint = Hint::of(trailers);
    let error = Error::new(told(trailers, code).unwrap_or_else(|| understood(code, hint)), message(trailers, code));
    Err(match hint {
        Hint::None => error,
        Hint::After(wait) => error.after(wait),
        Hint::Never => error.never_again(),
    })
}

/// The kind that a server of ours names, where that agrees with the code.
fn told(trailers: &HeaderMap, status: Code) -> Option<Kind> {
    let name = trailers.get(FAILURE)?;
    Kind::ALL.into_iter().find(|kind| name == kind.name() && code(*kind) == status)
}

/// The kind that a code stands for where its server does not name one.
fn understood(code: Code, hint: Hint) -> Kind {
    match code {
        Code::InvalidArgument => Kind::Invalid,
        Code::NotFound => Kind::UnknownModel,
        Code::Unavailable if matches!(hint, Hint::After(_)) => Kind::NotReady,
        Code::Unavailable => Kind::BackendLost,
        Code::FailedPrecondition => Kind::Unloadable,
        Code::ResourceExhausted => Kind::Overloaded,
        Code::OutOfRange => Kind::TooLarge,
        Code::DeadlineExceeded => Kind::Late,
        Code::Cancelled => Kind::Cancelled,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::Forbidden,
        Code::Unimplemented => Kind::Unsupported,
        // Ok is no failure and does not come here.
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Aborted | Code::AlreadyExists | Code::Ok => {
            Kind::Engine
        }
    }
}

/// What a server says about trying again.
#[derive(Debug, Clone, Copy)]
enum Hint {
    None,
    After(Duration),
    Never,
}

impl Hint {
    /// The trailer of gRFC A6 goes before the details. There, what is no number of milliseconds means never.
    fn of(trailers: &HeaderMap) -> Hint {
        let Some(value) = trailers.get(PUSHBACK) else {
            let delay = trailers.get("grpc-status-details-bin").and_then(|details| retry_delay(details.as_bytes()));
            return delay.map_or(Hint::None, |delay| Hint::After(delay.min(LONGEST)));
        };
        match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(millis) => Hint::After(Duration::from_millis(millis).min(LONGEST)),
            None => Hint::Never,
        }
    }
}

/// The delay of the first `RetryInfo` among the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let mut fields = Fields::new(binary::decode(details)?);
    while let Some((number, value)) = fields.next().ok()? {
        if number == 3
            && let Some(info) = retry_info(value.bytes().ok()?)
        {
            return duration(last(info, 1)?);
        }
    }
    None
}

/// The message in an `Any`, where it is a `RetryInfo`.
fn retry_info(any: Bytes) -> Option<Bytes> {
    let url = last(any.clone(), 1)?;
    if url.ends_with(b"/google.rpc.RetryInfo") { last(any, 2) } else { None }
}

/// The last field of this number, which must be length-delimited.
fn last(message: Bytes, wanted: u32) -> Option<Bytes> {
    let (mut found, mut fields) = (None, Fields::new(message));
    while let Some((number, value)) = fields.next().ok()? {
        if number == wanted {
            found = Some(value.bytes().ok()?);
        }
    }
    found
}

/// A `google.protobuf.Duration`, where it is none below zero.
fn duration(message: Bytes) -> Option<Duration> {
    let (mut seconds, mut nanos, mut fields) = (0, 0, Fields::new(message));
    while let Some((number, value)) = fields.next().ok()? {
        match number {
            1 => seconds = value.varint().ok()? as i64,
            2 => nanos = value.varint().ok()? as i64,
            _ => {}
        }
    }
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// The backend's sentence, no longer than our own are.
fn message(trailers: &HeaderMap, code: Code) -> String {
    let encoded = trailers.get("grpc-message").map_or(&[][..], |message| message.as_bytes());
    if encoded.is_empty() {
        return format!("the backend failed the call without a message: {}", code.description());
    }
    // Each byte is three at most.
    let decoded = percent_decoded(&encoded[..encoded.len().min(3 * MAX_MESSAGE)]);
    cut(&String::from_utf8_lossy(&decoded)).to_owned()
}

/// What is no escape stands for itself: a bad message is better than none.
fn percent_decoded(encoded: &[u8]) -> Cow<'_, [u8]> {
    if !encoded.contains(&b'%') {
        return encoded.into();
    }
    let digit = |at: usize| encoded.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(encoded.len()), 0);
    while at < encoded.len() {
        match (encoded[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded.into()
}

#[cfg(test)]
mod tests;
