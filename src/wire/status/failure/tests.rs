//! Failures of backends: what we wrote comes back, what others write is understood, junk does no harm.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::error::{Retry, Room};
use crate::wire::status::trailers;

/// How a call with these trailers failed.
fn failed(pairs: &[(&'static str, &str)]) -> Error {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    failure(&headers).unwrap_err()
}

#[test]
fn a_failure_of_ours_comes_back_as_it_was() {
    for kind in Kind::ALL {
        let plain = Error::new(kind, "model \"ä\": 100 % full");
        for error in [plain.clone(), plain.clone().after(Duration::from_millis(1500)), plain.never_again()] {
            let back = failure(&trailers(error.clone())).unwrap_err();
            assert_eq!(code(back.kind()), code(kind));
            assert_eq!(back, error);
        }
    }
}

#[test]
fn each_code_of_any_server_keeps_its_meaning() {
    for number in 1..=16 {
        let status = Code::from(number);
        let kept = match status {
            Code::Unknown | Code::AlreadyExists | Code::Aborted | Code::DataLoss => Code::Internal,
            Code::OutOfRange => Code::ResourceExhausted,
            kept => kept,
        };
        assert_eq!(code(failed(&[("grpc-status", &number.to_string())]).kind()), kept, "{status:?}");
    }
}

#[test]
fn what_is_no_code_is_the_backends_failure_and_what_has_none_was_lost() {
    for junk in ["17", "-1", "", "ok", "0 "] {
        assert_eq!(failed(&[("grpc-status", junk)]).kind(), Kind::Engine, "{junk:?}");
    }
    let lost = failed(&[("grpc-message", "gone")]);
    assert_eq!((lost.kind(), lost.message()), (Kind::BackendLost, "the backend's answer ended without a status"));
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    assert_eq!(failure(&headers), Ok(()));
}

#[test]
fn an_unavailable_backend_may_have_run_the_call_unless_it_says_otherwise() {
    let unavailable = ("grpc-status", "14");
    assert_eq!(failed(&[unavailable]).retry(), Retry::IfPure);
    let invited = failed(&[unavailable, (PUSHBACK, "20")]);
    assert_eq!((invited.kind(), invited.retry()), (Kind::NotReady, Retry::Safe));
    assert_eq!(failed(&[unavailable, (FAILURE, "draining")]).kind(), Kind::Draining);
    // Who names a kind of another code is not believed.
    assert_eq!(failed(&[unavailable, (FAILURE, "overloaded")]).kind(), Kind::BackendLost);
    assert_eq!(failed(&[("grpc-status", "13"), (FAILURE, "draining")]).kind(), Kind::Engine);
}

#[test]
fn pushback_is_a_wait_or_a_request_never_to_come_back() {
    let full = |pushback| failed(&[("grpc-status", "8"), (PUSHBACK, pushback)]);
    assert_eq!(full("0").retry_after(), Some(Duration::ZERO));
    assert_eq!(full("250").retry_after(), Some(Duration::from_millis(250)));
    assert_eq!(full("18446744073709551615").retry_after(), Some(LONGEST));
    for never in ["-1", "soon", "1.5", "", "99999999999999999999999"] {
        let error = full(never);
        assert_eq!(
            (error.kind(), error.retry(), error.retry_after()),
            (Kind::Overloaded, Retry::Never, None),
            "{never}"
        );
    }
    assert_eq!(failed(&[("grpc-status", "8")]).retry(), Retry::Safe);
}

#[test]
fn details_say_when_to_come_back_where_no_pushback_does() {
    let mut headers = trailers(Error::overloaded(Room::QueueCalls, "full", Duration::from_millis(1500)));
    headers.insert(PUSHBACK, HeaderValue::from_static("20"));
    assert_eq!(failure(&headers).unwrap_err().retry_after(), Some(Duration::from_millis(20)));
    headers.remove(PUSHBACK);
    assert_eq!(failure(&headers).unwrap_err().retry_after(), Some(Duration::from_millis(1500)));
    headers.insert("grpc-status-details-bin", HeaderValue::from_static("////"));
    assert_eq!(failure(&headers).unwrap_err().retry_after(), None);
}

#[test]
fn a_message_is_decoded_kept_where_it_is_malformed_and_cut_where_it_is_long() {
    let said = |message: &str| failed(&[("grpc-status", "3"), ("grpc-message", message)]).message().to_owned();
    assert_eq!(said("100%25 of %C3%A4%0A"), "100% of ä\n");
    assert_eq!(said("100% %zz %4"), "100% %zz %4");
    assert_eq!(said("%FF"), "\u{fffd}");
    assert_eq!(said(&"%C3%A4".repeat(5000)), "ä".repeat(512));
    assert_eq!(said(&"a".repeat(5000)).len(), MAX_MESSAGE);
    assert_eq!(said(""), "the backend failed the call without a message: Client specified an invalid argument");
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were_sent(message in "\\PC{1,40}") {
        let error = Error::invalid(message);
        prop_assert_eq!(failure(&trailers(error.clone())), Err(error));
    }

    #[test]
    fn any_trailers_are_read_without_a_panic(
        status in prop::sample::select(vec!["8", "14", "x"]),
        values in prop::collection::vec("[ -~é]{0,60}", 4),
        details in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let details = binary::encode(&details);
        _ = failed(&[("grpc-status", status), ("grpc-message", &values[0]), (PUSHBACK, &values[1])]);
        _ = failed(&[("grpc-status", status), (FAILURE, &values[2]), ("grpc-status-details-bin", &values[3])]);
        _ = failed(&[("grpc-status", status), ("grpc-status-details-bin", &details)]);
    }
}
