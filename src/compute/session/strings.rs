//! BYTES tensors in and out of ONNX Runtime, always with their lengths, so that a NUL and bytes that are not UTF-8
//! survive.

use std::ptr;

use ort::sys;

use super::handle::{Fault, Handle, api, check};
use super::signature::default_allocator;
use crate::error::{Error, Kind, Result};
use crate::tensor::Tensor;
use crate::tensor::strings::PREFIX;

/// Copies a tensor's strings into a value.
pub(super) fn fill(tensor: &Tensor) -> Result<Handle<sys::OrtValue>, Fault> {
    let shape = tensor.shape();
    let allocator = default_allocator()?;
    let value = Handle::make(api().ReleaseValue, |out| {
        let element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
        // SAFETY: the shape lives for the length of the call, and the allocator always.
        #[allow(unsafe_code)]
        unsafe {
            (api().CreateTensorAsOrtValue)(allocator, shape.as_ptr(), shape.len(), element, out)
        }
    })?;
    for (index, element) in tensor.elements().take(shape.elements()).enumerate() {
        let mut buffer = ptr::null_mut();
        // SAFETY: the value is a tensor of that many strings. The buffer has room for as many bytes as were asked for
        // and stays where it is until the string is resized again.
        #[allow(unsafe_code)]
        unsafe {
            check((api().GetResizedStringTensorElementBuffer)(value.as_ptr(), index, element.len(), &mut buffer))?;
            if buffer.is_null() {
                return Err(Fault::new("a null pointer instead of a string"));
            }
            ptr::copy_nonoverlapping(element.as_ptr(), buffer.cast(), element.len());
        }
    }
    Ok(value)
}

/// Copies a value's `count` strings into the raw form of a BYTES tensor.
///
/// # Errors
/// `TooLarge` for a string of 4 GiB or more, which the form cannot carry.
pub(super) fn read(value: &Handle<sys::OrtValue>, count: usize) -> Result<Vec<u8>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut length = 0;
    // SAFETY: the value lives, and the length is stored where there is room for it.
    #[allow(unsafe_code)]
    check(unsafe { (api().GetStringTensorDataLength)(value.as_ptr(), &mut length) }).map_err(Fault::of_run)?;
    let mut raw = vec![0; count * PREFIX + length];
    let mut starts = vec![0; count];
    let behind = &mut raw[count * PREFIX..];
    // SAFETY: the value has `count` strings of `length` bytes in all, for which there is room.
    #[allow(unsafe_code)]
    let status = unsafe {
        let bytes = behind.as_mut_ptr().cast();
        (api().GetStringTensorContent)(value.as_ptr(), bytes, length, starts.as_mut_ptr(), count)
    };
    check(status).map_err(Fault::of_run)?;
    space_out(&mut raw, &starts)?;
    Ok(raw)
}

/// Puts each string's length before it. They lie at the end of `raw` without a gap, each beginning at its one of
/// `starts`, behind room for all the lengths.
fn space_out(raw: &mut [u8], starts: &[usize]) -> Result<()> {
    let first = starts.len() * PREFIX;
    let ends = starts.iter().skip(1).copied().chain([raw.len() - first]);
    for (index, (&start, end)) in starts.iter().zip(ends).enumerate() {
        let length = end.saturating_sub(start);
        let prefix = u32::try_from(length)
            .map_err(|_| Error::new(Kind::TooLarge, format!("a BYTES element of {length} bytes")))?;
        // Never over what is still to be moved: there is room for one length before each string to come.
        let at = index * PREFIX + start;
        raw[at..at + PREFIX].copy_from_slice(&prefix.to_le_bytes());
        raw.copy_within(first + start..first + end, at + PREFIX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::strings;

    proptest! {
        #[test]
        fn spaced_out_strings_are_the_raw_form(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..10),
        ) {
            let mut expected = Vec::new();
            let mut starts = Vec::new();
            let mut content = Vec::new();
            for element in &elements {
                strings::push(&mut expected, element).unwrap();
                starts.push(content.len());
                content.extend_from_slice(element);
            }
            let mut raw = vec![0xff; elements.len() * PREFIX];
            raw.extend(content);
            space_out(&mut raw, &starts).unwrap();
            prop_assert_eq!(raw, expected);
        }
    }
}
