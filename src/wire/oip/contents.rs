//! `InferTensorContents`, the typed form of a tensor's data: converted to raw bytes on the way in, back on the way out.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::tensor::{DType, Rope, Tensor};
use crate::wire::elements::{Elements, packed};
use crate::wire::protobuf::{Fields, put_head};

/// The field of `InferTensorContents` that carries elements of a type; half floats exist only as raw bytes.
fn field(dtype: DType) -> Option<u32> {
    match dtype {
        DType::Bool => Some(1),
        DType::Int8 | DType::Int16 | DType::Int32 => Some(2),
        DType::Int64 => Some(3),
        DType::Uint8 | DType::Uint16 | DType::Uint32 => Some(4),
        DType::Uint64 => Some(5),
        DType::Fp32 => Some(6),
        DType::Fp64 => Some(7),
        DType::Bytes => Some(8),
        DType::Fp16 | DType::Bf16 => None,
    }
}

const NAMES: [&str; 8] = [
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// Whether the typed form can carry elements of this type.
pub(super) fn carries(dtype: DType) -> bool {
    field(dtype).is_some()
}

/// The raw bytes of typed `contents` (each occurrence of the message, which protobuf concatenates); `raw` is the field
/// for what has no typed form.
///
/// # Errors
/// `Invalid` where another list than the type's is filled, or the type has none, `TooLarge` where the elements take
/// more than `room` bytes.
pub(super) fn decode(dtype: DType, contents: &[Bytes], raw: &str, room: usize) -> Result<Rope> {
    let expected = field(dtype).ok_or_else(|| Error::invalid(format!("{dtype} data can only be given in {raw}")))?;
    let mut elements = Elements::new(dtype, contents.iter().map(Bytes::len).sum(), room);
    for occurrence in contents {
        let mut fields = Fields::new(occurrence.clone());
        while let Some((number, value)) = fields.next()? {
            match number {
                number if number == expected => elements.append(value)?,
                1..=8 => {
                    let (expected, got) = (NAMES[expected as usize - 1], NAMES[number as usize - 1]);
                    return Err(Error::invalid(format!("{dtype} data belongs into {expected}, got {got}")));
                }
                _ => {}
            }
        }
    }
    Ok(elements.into_raw().into())
}

/// An `InferTensorContents` of the tensor's elements.
pub(super) fn encode(tensor: &Tensor) -> Vec<u8> {
    let list = field(tensor.dtype()).expect("the form was chosen by `carries`");
    let mut contents = Vec::with_capacity(tensor.data().len() + 8);
    match tensor.dtype() {
        DType::Bytes => {
            for element in tensor.elements() {
                put_head(&mut contents, list, element.len());
                contents.extend_from_slice(element);
            }
        }
        dtype => {
            let packed = packed(dtype, &tensor.data().to_bytes());
            if !packed.is_empty() {
                put_head(&mut contents, list, packed.len());
                contents.extend_from_slice(&packed);
            }
        }
    }
    contents
}
