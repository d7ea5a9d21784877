//! Names of attributes as they stand in a message, made when this is compiled.

use std::fmt;

use super::field::ATTRIBUTE;

/// Bytes before and behind a name: the attribute's key and length, the name's, and the value's key.
const BESIDE: usize = 5;

/// The name of an attribute of spans, with all that stands before its value: so that writing it is one copy of a fixed
/// size.
#[derive(Debug)]
pub(in crate::observe::trace) struct Key {
    pub(super) bytes: [u8; Key::ROOM],
    pub(super) len: usize,
}

impl Key {
    /// What is copied, whatever the name.
    pub(super) const ROOM: usize = 64;
    /// Where the attribute's length stands, which counts what comes behind it.
    pub(super) const LENGTH_AT: usize = 1;

    /// # Panics
    /// Where the name is too long, which is when it is compiled.
    pub(in crate::observe::trace) const fn of(name: &str) -> Key {
        assert!(name.len() + BESIDE <= Key::ROOM, "the name has room");
        let mut bytes = [0; Key::ROOM];
        bytes[0] = (ATTRIBUTE << 3 | 2) as u8;
        bytes[2] = 1 << 3 | 2;
        bytes[3] = name.len() as u8;
        let mut at = 0;
        while at < name.len() {
            bytes[4 + at] = name.as_bytes()[at];
            at += 1;
        }
        bytes[4 + at] = 2 << 3 | 2;
        Key { bytes, len: name.len() + BESIDE }
    }

    /// The name.
    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[4..self.len - 1]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.name()))
    }
}
