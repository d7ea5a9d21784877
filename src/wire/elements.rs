//! Elements of repeated protobuf fields, one by one or packed, to raw bytes and back. Both protocols' typed forms are
//! made of these.

use bytes::{Buf, BufMut};

use crate::error::{Error, Result};
use crate::tensor::{DType, strings};
use crate::wire::protobuf::{Value, malformed, put_varint, varint, varint_len};

/// Appends one occurrence of a list: one element, or packed ones.
pub(super) fn append(raw: &mut Vec<u8>, dtype: DType, value: Value) -> Result<()> {
    match (dtype, value) {
        (DType::Bytes, value) => strings::push(raw, &value.bytes()?),
        (DType::Fp32, Value::Fixed32(bits)) => {
            raw.put_u32_le(bits);
            Ok(())
        }
        (DType::Fp64, Value::Fixed64(bits)) => {
            raw.put_u64_le(bits);
            Ok(())
        }
        (DType::Fp32 | DType::Fp64, Value::Bytes(packed)) => append_packed_fixed(raw, dtype, &packed),
        (DType::Fp32 | DType::Fp64, _) => Err(wrong_type()),
        (_, Value::Varint(number)) => append_integer(raw, dtype, number),
        (_, Value::Bytes(mut packed)) => {
            while packed.has_remaining() {
                append_integer(raw, dtype, varint(&mut packed)?)?;
            }
            Ok(())
        }
        _ => Err(wrong_type()),
    }
}

fn wrong_type() -> Error {
    malformed("a list of elements has another wire type than its number says")
}

fn append_packed_fixed(raw: &mut Vec<u8>, dtype: DType, packed: &[u8]) -> Result<()> {
    if !packed.len().is_multiple_of(dtype.size().expect("floats have a size")) {
        return Err(malformed("a packed list ends inside an element"));
    }
    raw.extend_from_slice(packed);
    Ok(())
}

/// Narrow integers take the low bytes of what was sent, as the protocol's other servers do.
fn append_integer(raw: &mut Vec<u8>, dtype: DType, number: u64) -> Result<()> {
    let number = if dtype == DType::Bool { u64::from(number != 0) } else { number };
    let size = dtype.size().expect("integers have a size");
    raw.extend_from_slice(&number.to_le_bytes()[..size]);
    Ok(())
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
