//! Binary metadata (names that end in `-bin`): base64, with padding or without.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;

/// Longer values are not read: no report and no status comes near this.
const MAX_VALUE: usize = 16 * 1024;

const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes as a value.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

/// The bytes of a value; `None` where it is malformed or over 16 KiB.
pub(super) fn decode(value: &[u8]) -> Option<Bytes> {
    if value.len() > MAX_VALUE {
        return None;
    }
    ANY_PADDING.decode(value).ok().map(Bytes::from)
}
