//! Failures as gRPC statuses: the only place where a `Kind` becomes a code.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::Code;

use crate::error::{Error, Kind};

/// Longer messages are cut: clients bound the size of their trailers, and some turn a long text into another error.
const MAX_MESSAGE: usize = 1024;

/// Milliseconds after which trying again may help (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The code of each kind of failure.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::UnknownModel => Code::NotFound,
        Kind::NotReady | Kind::NoBackend | Kind::BackendLost | Kind::Draining => Code::Unavailable,
        Kind::Unloadable => Code::FailedPrecondition,
        Kind::TooLarge | Kind::Overloaded => Code::ResourceExhausted,
        Kind::Late => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Engine => Code::Internal,
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> tonic::Status {
        let mut status = tonic::Status::new(code(error.kind()), cut(error.message()));
        if let Some(wait) = error.retry_after() {
            status.metadata_mut().insert(PUSHBACK, millis(wait).into());
        }
        status
    }
}

/// The trailers of a call that failed.
pub fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    // A status has a text of a kilobyte at most and metadata of our own making, which always fit into headers.
    tonic::Status::from(error).add_header(&mut trailers).expect("our own status is made of legal header values");
    trailers
}

/// The trailers of a call that went well.
pub fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The message, cut between characters so that it fits into trailers.
pub fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let trailers = trailers(Error::overloaded("the queue is full", Duration::from_micros(12_300)));
        assert_eq!(trailers["grpc-status"], "8");
        assert_eq!(trailers[PUSHBACK], "12");
        assert_eq!(trailers["grpc-message"], "the%20queue%20is%20full");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = tonic::Status::from(Error::invalid("é".repeat(2000)));
        assert_eq!(status.message().len(), MAX_MESSAGE);
        assert!(cut(&format!("a{}", "é".repeat(2000))).len() < MAX_MESSAGE);
    }
}
