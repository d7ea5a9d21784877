//! Protobuf's wire format, as much of it as a walk needs: fields in any order, sharing the bytes of the message.
//! Nothing is allocated by what a length says; every read is bounded by the bytes that are there.

use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;

use crate::error::{Error, Result};

/// The deepest nesting of unknown groups that is skipped.
const MAX_GROUPS: usize = 32;

/// The value of one field as it stands on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A variable-length integer: integers, booleans, enums.
    Varint(u64),
    /// Eight bytes: doubles and fixed 64-bit integers.
    Fixed64(u64),
    /// Bytes behind their length: bytes, strings, messages, packed lists. Shared with the message.
    Bytes(Bytes),
    /// Four bytes: floats and fixed 32-bit integers.
    Fixed32(u32),
}

impl Value {
    /// The integer.
    ///
    /// # Errors
    /// `Invalid` where the field has another wire type.
    pub fn varint(&self) -> Result<u64> {
        match self {
            Value::Varint(value) => Ok(*value),
            _ => Err(wrong_type()),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `Invalid` where the field has another wire type.
    pub fn bytes(self) -> Result<Bytes> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong_type()),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// `Invalid` where the field has another wire type or is not UTF-8.
    pub fn text(self) -> Result<ByteString> {
        ByteString::try_from(self.bytes()?).map_err(|_| malformed("a string is not UTF-8"))
    }
}

fn wrong_type() -> Error {
    malformed("a field has another wire type than its number says")
}

/// The error for a message that is not protobuf of the expected type.
pub fn malformed(what: &str) -> Error {
    Error::invalid(format!("malformed message: {what}"))
}

/// Walks over the fields of one message in the order in which they came.
#[derive(Debug, Clone)]
pub struct Fields {
    rest: Bytes,
}

impl Fields {
    /// The fields of `message`.
    pub fn new(message: Bytes) -> Fields {
        Fields { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    ///
    /// # Errors
    /// `Invalid` where the bytes are no protobuf.
    #[allow(clippy::should_implement_trait, reason = "an Iterator of Results is read with `?` at every turn anyway")]
    pub fn next(&mut self) -> Result<Option<(u32, Value)>> {
        while !self.rest.is_empty() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                3 => self.skip_group(number)?,
                _ => return Ok(Some((number, self.value(wire_type)?))),
            }
        }
        Ok(None)
    }

    fn tag(&mut self) -> Result<(u32, u64)> {
        let tag = varint(&mut self.rest)?;
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 && number < 1 << 29 => Ok((number, tag & 7)),
            _ => Err(malformed("a field number is out of range")),
        }
    }

    fn value(&mut self, wire_type: u64) -> Result<Value> {
        match wire_type {
            0 => Ok(Value::Varint(varint(&mut self.rest)?)),
            1 => self.rest.try_get_u64_le().map(Value::Fixed64).map_err(|_| cut_off()),
            2 => self.length_delimited().map(Value::Bytes),
            5 => self.rest.try_get_u32_le().map(Value::Fixed32).map_err(|_| cut_off()),
            _ => Err(malformed("an unknown wire type")),
        }
    }

    fn length_delimited(&mut self) -> Result<Bytes> {
        let len = varint(&mut self.rest)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => Ok(self.rest.split_to(len)),
            _ => Err(cut_off()),
        }
    }

    fn skip_group(&mut self, number: u32) -> Result<()> {
        let mut open = vec![number];
        while let Some(innermost) = open.last() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                3 if open.len() >= MAX_GROUPS => return Err(malformed("groups are nested too deeply")),
                3 => open.push(number),
                4 if number == *innermost => _ = open.pop(),
                4 => return Err(malformed("a group ends that is not open")),
                _ => _ = self.value(wire_type)?,
            }
        }
        Ok(())
    }
}

fn cut_off() -> Error {
    malformed("it ends inside a field")
}

/// Reads one variable-length integer.
///
/// # Errors
/// `Invalid` where it is longer than ten bytes or cut off.
pub fn varint(rest: &mut impl Buf) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = rest.try_get_u8().map_err(|_| cut_off())?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // The tenth byte holds one bit only.
            return if shift == 63 && byte > 1 { Err(malformed("an integer is too long")) } else { Ok(value) };
        }
    }
    Err(malformed("an integer is too long"))
}

/// Where the bytes of the large field lie that `path` leads to, counted from the start of the message: the first field
/// of `path[0]` of at least `large` bytes, in it the first of `path[1]`, and so on. `head` is the message's beginning,
/// as far as it has come; `None` where that does not reach to the field.
pub fn payload_offset(head: &[u8], path: &[u32], large: usize) -> Option<usize> {
    let (wanted, deeper) = path.split_first()?;
    let mut rest = head;
    while !rest.is_empty() {
        let tag = varint(&mut rest).ok()?;
        match tag & 7 {
            0 => _ = varint(&mut rest).ok()?,
            1 => rest = rest.get(8..)?,
            5 => rest = rest.get(4..)?,
            2 => {
                let len = usize::try_from(varint(&mut rest).ok()?).ok()?;
                if tag >> 3 == u64::from(*wanted) && len >= large {
                    let offset = head.len() - rest.len();
                    return if deeper.is_empty() {
                        Some(offset)
                    } else {
                        payload_offset(rest, deeper, large).map(|inner| offset + inner)
                    };
                }
                rest = rest.get(len..)?;
            }
            _ => return None,
        }
    }
    None
}

/// Bytes that a variable-length integer takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a variable-length integer.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes the tag and length of a length-delimited field; its `len` bytes follow.
pub fn put_head(out: &mut impl BufMut, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len as u64);
}

/// Writes a length-delimited field, or nothing where it is empty, as proto3 does.
pub fn put_bytes(out: &mut impl BufMut, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_head(out, number, bytes.len());
        out.put_slice(bytes);
    }
}

/// Writes an integer field.
pub fn put_integer(out: &mut impl BufMut, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Bytes that a length-delimited field of `len` bytes takes with its tag and length, for numbers under 16.
pub fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_come_back_and_take_the_bytes_that_were_counted(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(varint(&mut out.as_slice()).unwrap(), value);
        }

        #[test]
        fn any_bytes_end_the_walk_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut fields = Fields::new(bytes.into());
            while let Ok(Some(_)) = fields.next() {}
        }
    }

    #[test]
    fn unknown_groups_are_skipped_and_unbalanced_ones_refused() {
        // field 9 group { field 1 varint 5, field 2 group { } } then field 1 = 7
        let mut fields = Fields::new(Bytes::from_static(&[0x4b, 0x08, 5, 0x13, 0x14, 0x4c, 0x08, 7]));
        assert_eq!(fields.next().unwrap(), Some((1, Value::Varint(7))));
        assert!(Fields::new(Bytes::from_static(&[0x4b, 0x54])).next().is_err());
        assert!(Fields::new(Bytes::from(vec![0x4b; 1000])).next().is_err());
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error() {
        assert!(Fields::new(Bytes::from_static(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1])).next().is_err());
    }

    #[test]
    fn the_large_field_is_found_before_it_has_come() {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"name");
        put_bytes(&mut message, 7, &[1; 10]);
        put_head(&mut message, 7, 1 << 20);
        let offset = message.len();
        message.extend([9; 3]);
        assert_eq!(payload_offset(&message, &[7], 4096), Some(offset));
        assert_eq!(payload_offset(&message[..offset - 1], &[7], 4096), None);

        let mut outer = Vec::new();
        put_head(&mut outer, 2, (1 << 20) + 5);
        outer.extend(&message);
        assert_eq!(payload_offset(&outer, &[2, 7], 4096), Some(outer.len() - 3));
    }
}
