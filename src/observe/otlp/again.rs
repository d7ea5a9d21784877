//! When a collector that refuses a message wants to be asked again.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use prost::Message;

/// A `google.rpc.Status`, of which only the details are read.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    all: Vec<prost_types::Any>,
}

/// A `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, tag = "1")]
    delay: Option<prost_types::Duration>,
}

/// What the details of a status of gRPC say of it.
pub(super) fn in_details(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?.all;
    let info = details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.delay.unwrap_or_default();
    // One below zero is none.
    Some(delay.try_into().unwrap_or_default())
}

/// What the headers of an answer by HTTP say of it, in seconds. A date is not read: it would need both clocks to agree.
pub(super) fn in_headers(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_are_read_and_anything_else_is_nothing() {
        let of = |value: &'static str| in_headers(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!((of("7"), of(" 0 ")), (Some(Duration::from_secs(7)), Some(Duration::ZERO)));
        for junk in ["", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999999"] {
            assert_eq!(of(junk), None, "{junk}");
        }
        assert_eq!(in_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn the_first_delay_among_the_details_counts_and_details_of_another_kind_do_not() {
        let any = |url: &str, delay: Option<(i64, i32)>| prost_types::Any {
            type_url: format!("type.googleapis.com/google.rpc.{url}"),
            value: RetryInfo { delay: delay.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }) }
                .encode_to_vec(),
        };
        let of = |all: Vec<prost_types::Any>| in_details(&Details { all }.encode_to_vec());
        let second = any("RetryInfo", Some((1, 500_000_000)));
        assert_eq!(of(vec![any("BadRequest", Some((9, 0))), second]), Some(Duration::from_millis(1500)));
        assert_eq!(of(vec![any("RetryInfo", None)]), Some(Duration::ZERO));
        assert_eq!(of(vec![any("RetryInfo", Some((-3, 0)))]), Some(Duration::ZERO));
        assert_eq!((of(vec![any("BadRequest", None)]), of(vec![])), (None, None));
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            _ = in_details(&bytes);
        }
    }
}
