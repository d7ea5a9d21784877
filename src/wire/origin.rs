//! Who calls: gateways say it with each call, so that a worker can tell how many share it.

use http::{HeaderName, HeaderValue};

/// The header that names a gateway by its id.
pub const HEADER: HeaderName = HeaderName::from_static("infergate-gateway");

/// The id of a gateway as it is written: hexadecimal.
pub fn origin(id: u64) -> HeaderValue {
    HeaderValue::try_from(format!("{id:016x}")).expect("digits are a header's value")
}

/// The id in a value of [`HEADER`]; `None` where that is none.
pub fn read(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok().filter(|text| text.len() <= 16)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_junk_is_none() {
        for id in [0, 7, u64::MAX] {
            assert_eq!(read(origin(id).as_bytes()), Some(id));
        }
        for junk in [&b""[..], b"g", b"00000000000000001", b"\xff"] {
            assert_eq!(read(junk), None);
        }
    }
}
