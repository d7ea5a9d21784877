//! Failures as gRPC statuses, and back: the only place where a `Kind` becomes a code, and a code a `Kind`.

mod failure;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Code;
use tonic::metadata::MetadataValue;

pub use failure::failure;

use super::protobuf::{put_bytes, put_integer};
use crate::error::{Error, Kind};

/// Longer messages are cut: clients bound the size of their trailers, and some turn a long text into another error.
const MAX_MESSAGE: usize = 1024;

/// The code of a status. Parsed once and not with each call.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Milliseconds after which trying again may help, or -1 where it should not be tried (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Which kind of failure it was, by [`Kind::name`], where the code alone does not say: a gateway has to know whether
/// the call can have run before it tries it elsewhere.
const FAILURE: &str = "infergate-failure";

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

/// The name of that code, such as `DEADLINE_EXCEEDED`.
pub fn name(kind: Kind) -> &'static str {
    code_name(code(kind))
}

/// The protocol's name of a status code.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether other kinds have the same code.
fn shares_its_code(kind: Kind) -> bool {
    Kind::ALL.iter().any(|other| *other != kind && code(*other) == code(kind))
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> tonic::Status {
        let (code, message) = (code(error.kind()), cut(error.message()));
        let mut status = match error.retry_after() {
            Some(wait) => tonic::Status::with_details(code, message, retry_details(code, message, wait)),
            None => tonic::Status::new(code, message),
        };
        let metadata = status.metadata_mut();
        if let Some(wait) = error.retry_after() {
            metadata.insert(PUSHBACK, millis(wait).into());
        } else if error.forbids_retry() {
            metadata.insert(PUSHBACK, MetadataValue::from_static("-1"));
        }
        if shares_its_code(error.kind()) {
            metadata.insert(FAILURE, MetadataValue::from_static(error.kind().name()));
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

const OK: HeaderValue = HeaderValue::from_static("0");

/// The trailers of a call that went well.
pub fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    trailers.insert(GRPC_STATUS, OK);
    trailers
}

/// A `google.rpc.Status` with the same code and message and a `RetryInfo`, for clients that read details.
fn retry_details(code: Code, message: &str, wait: Duration) -> Bytes {
    let mut delay = BytesMut::new();
    put_integer(&mut delay, 1, wait.as_secs());
    put_integer(&mut delay, 2, wait.subsec_nanos().into());
    let mut info = BytesMut::new();
    put_bytes(&mut info, 1, &delay);
    let mut any = BytesMut::new();
    put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    put_bytes(&mut any, 2, &info);
    let mut status = BytesMut::new();
    put_integer(&mut status, 1, code as u64);
    put_bytes(&mut status, 2, message.as_bytes());
    put_bytes(&mut status, 3, &any);
    status.freeze()
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
    use prost::Message;

    use super::super::protobuf::{Fields, Value};
    use super::*;
    use crate::error::Room;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let trailers =
            trailers(Error::overloaded(Room::QueueCalls, "the queue is full", Duration::from_micros(12_300)));
        assert_eq!(trailers["grpc-status"], "8");
        assert_eq!(trailers[PUSHBACK], "12");
        assert_eq!(trailers["grpc-message"], "the%20queue%20is%20full");
    }

    #[test]
    fn the_details_say_the_same_for_clients_that_read_them() {
        let status = tonic::Status::from(Error::overloaded(Room::QueueCalls, "full", Duration::from_millis(1500)));
        let mut fields = Fields::new(Bytes::copy_from_slice(status.details()));
        assert_eq!(fields.next().unwrap(), Some((1, Value::Varint(8))));
        assert_eq!(fields.next().unwrap(), Some((2, Value::Bytes("full".into()))));
        let Some((3, Value::Bytes(any))) = fields.next().unwrap() else { panic!("no detail") };
        let any = prost_types::Any::decode(any).unwrap();
        assert_eq!(any.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        let Some((1, Value::Bytes(delay))) = Fields::new(any.value.into()).next().unwrap() else { panic!("no delay") };
        let delay = prost_types::Duration::decode(delay).unwrap();
        assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = tonic::Status::from(Error::invalid("é".repeat(2000)));
        assert_eq!(status.message().len(), MAX_MESSAGE);
        assert!(cut(&format!("a{}", "é".repeat(2000))).len() < MAX_MESSAGE);
    }
}
