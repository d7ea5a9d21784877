//! The typed form of a tensor in the generated messages: a list for each type.

use bytes::Bytes;

use super::number::Number;
use crate::error::Result;
use crate::tensor::{DType, Tensor, strings};
use crate::wire::proto::inference::InferTensorContents;

/// The typed form; nothing where the type has none.
pub fn typed(tensor: &Tensor) -> Option<InferTensorContents> {
    let mut contents = InferTensorContents::default();
    if tensor.dtype() == DType::Bytes {
        contents.bytes_contents = tensor.elements().map(Bytes::copy_from_slice).collect();
        return Some(contents);
    }
    let raw = tensor.data().to_bytes();
    for element in raw.chunks_exact(tensor.dtype().size()?) {
        push(&mut contents, tensor.dtype(), Number::read(tensor.dtype(), element))?;
    }
    // Also where there are no elements, a type without a list has no typed form.
    carries(tensor.dtype()).then_some(contents)
}

fn carries(dtype: DType) -> bool {
    !matches!(dtype, DType::Fp16 | DType::Bf16)
}

fn push(contents: &mut InferTensorContents, dtype: DType, number: Number) -> Option<()> {
    match (dtype, number) {
        (_, Number::Bool(truth)) => contents.bool_contents.push(truth),
        (DType::Int64, Number::Int(number)) => contents.int64_contents.push(number as i64),
        (DType::Uint64, Number::Int(number)) => contents.uint64_contents.push(number as u64),
        (DType::Uint8 | DType::Uint16 | DType::Uint32, Number::Int(number)) => {
            contents.uint_contents.push(number as u32);
        }
        (_, Number::Int(number)) => contents.int_contents.push(number as i32),
        (DType::Fp32, Number::Single(number)) => contents.fp32_contents.push(number),
        (_, Number::Double(number)) => contents.fp64_contents.push(number),
        (_, Number::Single(_)) => return None,
    }
    Some(())
}

/// The raw form of what one of the lists holds.
///
/// # Errors
/// Where a number is none of the type's.
pub fn raw(dtype: DType, contents: &InferTensorContents) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    let mut write = |number: Number| number.write(dtype, &mut raw);
    match dtype {
        DType::Bool => contents.bool_contents.iter().try_for_each(|truth| write(Number::Bool(*truth)))?,
        DType::Int8 | DType::Int16 | DType::Int32 => {
            contents.int_contents.iter().try_for_each(|number| write(Number::Int((*number).into())))?;
        }
        DType::Int64 => contents.int64_contents.iter().try_for_each(|number| write(Number::Int((*number).into())))?,
        DType::Uint8 | DType::Uint16 | DType::Uint32 => {
            contents.uint_contents.iter().try_for_each(|number| write(Number::Int((*number).into())))?;
        }
        DType::Uint64 => contents.uint64_contents.iter().try_for_each(|number| write(Number::Int((*number).into())))?,
        DType::Fp32 => contents.fp32_contents.iter().for_each(|number| raw.extend(number.to_le_bytes())),
        DType::Fp64 => contents.fp64_contents.iter().for_each(|number| raw.extend(number.to_le_bytes())),
        DType::Bytes => contents.bytes_contents.iter().try_for_each(|element| strings::push(&mut raw, element))?,
        DType::Fp16 | DType::Bf16 => {}
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn tensor(dtype: DType, raw: Vec<u8>) -> Tensor {
        let count = dtype.size().map_or(1, |size| raw.len() / size);
        Tensor::new("x".into(), dtype, Shape::new(&[count as i64]).unwrap(), raw.into()).unwrap()
    }

    #[test]
    fn the_typed_form_of_every_type_that_has_one_leads_back() {
        for dtype in DType::ALL {
            let bytes = match dtype {
                DType::Bool => vec![1, 0],
                DType::Bytes => b"\x03\0\0\0a\0\xff".to_vec(),
                _ => vec![0xfe; 2 * dtype.size().unwrap()],
            };
            match typed(&tensor(dtype, bytes.clone())) {
                Some(contents) => assert_eq!(raw(dtype, &contents), Ok(bytes), "{dtype}"),
                None => assert!(!carries(dtype), "{dtype}"),
            }
        }
    }

    #[test]
    fn half_floats_have_no_typed_form_even_where_there_are_none() {
        assert_eq!(typed(&tensor(DType::Fp16, vec![])), None);
        assert_eq!(typed(&tensor(DType::Bf16, vec![0, 0])), None);
    }
}
