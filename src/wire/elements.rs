//! Elements of repeated protobuf fields, one by one or packed, to raw bytes and back. Both protocols' typed forms are
//! made of these.

use bytes::Buf;

use crate::error::{Error, Kind, Result};
use crate::tensor::{DType, strings};
use crate::wire::protobuf::{Value, malformed, put_varint, varint, varint_len};

/// Raw elements on their way in, no more than there is room for: a packed integer of one byte becomes up to eight.
#[derive(Debug)]
pub(super) struct Elements {
    raw: Vec<u8>,
    dtype: DType,
    room: usize,
}

impl Elements {
    /// None yet, of a type, for `room` bytes at most; `expected` of them are reserved where that many fit.
    pub(super) fn new(dtype: DType, expected: usize, room: usize) -> Elements {
        Elements { raw: Vec::with_capacity(expected.min(room)), dtype, room }
    }

    /// Appends one occurrence of a list: one element, or packed ones.
    ///
    /// # Errors
    /// `Invalid` for the wrong wire type, `TooLarge` where there is no room.
    pub(super) fn append(&mut self, value: Value) -> Result<()> {
        match (self.dtype, value) {
            (DType::Bytes, value) => {
                let element = value.bytes()?;
                self.need(strings::PREFIX + element.len())?;
                strings::push(&mut self.raw, &element)
            }
            (DType::Fp32, Value::Fixed32(bits)) => self.extend(&bits.to_le_bytes()),
            (DType::Fp64, Value::Fixed64(bits)) => self.extend(&bits.to_le_bytes()),
            (DType::Fp32 | DType::Fp64, Value::Bytes(packed)) => self.packed_floats(&packed),
            (DType::Fp32 | DType::Fp64, _) => Err(wrong_type()),
            (_, Value::Varint(number)) => self.integer(number),
            (_, Value::Bytes(mut packed)) => {
                while packed.has_remaining() {
                    self.integer(varint(&mut packed)?)?;
                }
                Ok(())
            }
            _ => Err(wrong_type()),
        }
    }

    /// The raw bytes.
    pub(super) fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    fn packed_floats(&mut self, packed: &[u8]) -> Result<()> {
        if !packed.len().is_multiple_of(self.dtype.size().expect("floats have a size")) {
            return Err(malformed("a packed list ends inside an element"));
        }
        self.extend(packed)
    }

    /// Narrow integers take the low bytes of what was sent, as the protocol's other servers do.
    fn integer(&mut self, number: u64) -> Result<()> {
        let number = if self.dtype == DType::Bool { u64::from(number != 0) } else { number };
        let size = self.dtype.size().expect("integers have a size");
        self.extend(&number.to_le_bytes()[..size])
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.need(bytes.len())?;
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    fn need(&self, bytes: usize) -> Result<()> {
        if self.raw.len() + bytes <= self.room {
            return Ok(());
        }
        let message = format!("the elements take more than the {} bytes that a message may have", self.room);
        Err(Error::new(Kind::TooLarge, message))
    }
}

fn wrong_type() -> Error {
    malformed("a list of elements has another wire type than its number says")
}

/// Elements in raw form as a packed list: floats as they are, integers as varints.
pub(super) fn packed(dtype: DType, raw: &[u8]) -> Vec<u8> {
    if matches!(dtype, DType::Fp32 | DType::Fp64) {
        return raw.to_vec();
    }
    let numbers = raw.chunks_exact(dtype.size().expect("strings are not packed")).map(|element| widen(dtype, element));
    let mut packed = Vec::with_capacity(numbers.clone().map(varint_len).sum());
    numbers.for_each(|number| put_varint(&mut packed, number));
    packed
}

/// One element as protobuf's varint sees it: signed ones extended to 64 bits.
fn widen(dtype: DType, element: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..element.len()].copy_from_slice(element);
    let bits = u64::from_le_bytes(wide);
    match dtype {
        DType::Int8 => bits as i8 as u64,
        DType::Int16 => bits as i16 as u64,
        DType::Int32 => bits as i32 as u64,
        _ => bits,
    }
}
