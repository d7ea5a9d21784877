//! Tensors in and out of ONNX Runtime without a copy: a value borrows an input's bytes for one run, and an output's
//! bytes leave inside the value that owns them.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use ort::sys;

use super::handle::{Fault, Handle, api, check};
use super::open::OpenSession;
use super::{elements, strings, types};
use crate::error::{Error, Kind, Result};
use crate::tensor::aligned::is_aligned;
use crate::tensor::{DType, Rope, Shape, Tensor, TensorSpec};

/// Where an empty tensor's data lies: nowhere, but aligned and not null.
#[repr(align(64))]
struct Nowhere([u8; 64]);
static NOWHERE: Nowhere = Nowhere([0; 64]);

/// An input as ONNX Runtime sees it, for as long as the tensor is borrowed.
pub(super) struct Input<'a> {
    value: Handle<sys::OrtValue>,
    _tensor: PhantomData<&'a Tensor>,
}

impl<'a> Input<'a> {
    /// Makes a value of a tensor. `memory` is that of the processor.
    ///
    /// # Errors
    /// `Invalid` for a BOOL that is neither 0 nor 1, `Engine` for what ONNX Runtime refuses.
    pub(super) fn of(tensor: &'a Tensor, memory: &Handle<sys::OrtMemoryInfo>) -> Result<Input<'a>> {
        let value = match tensor.dtype().size() {
            None => strings::fill(tensor).map_err(Fault::of_run)?,
            Some(size) => {
                let data = in_place(tensor, size)?;
                check_bools(tensor, data)?;
                borrow(tensor, data, memory).map_err(Fault::of_run)?
            }
        };
        Ok(Input { value, _tensor: PhantomData })
    }

    pub(super) fn as_ptr(&self) -> *const sys::OrtValue {
        self.value.as_ptr()
    }
}

/// A tensor's bytes, in one piece and aligned, as whoever runs an engine has put them.
fn in_place(tensor: &Tensor, align: usize) -> Result<&[u8]> {
    let data = match tensor.data().parts() {
        [] => &NOWHERE.0[..0],
        [part] => part,
        parts => return Err(misplaced(tensor, format!("lies in {} pieces", parts.len()))),
    };
    match is_aligned(data, align) {
        true => Ok(data),
        false => Err(misplaced(tensor, format!("does not lie at a multiple of {align}"))),
    }
}

fn misplaced(tensor: &Tensor, how: String) -> Error {
    Error::new(Kind::Engine, format!("input {:?} came to the engine as it must not: its data {how}", tensor.name()))
}

/// C++ allows a `bool` no other bytes.
fn check_bools(tensor: &Tensor, data: &[u8]) -> Result<()> {
    if tensor.dtype() != DType::Bool {
        return Ok(());
    }
    match data.iter().position(|byte| *byte > 1) {
        None => Ok(()),
        Some(index) => {
            let (name, byte) = (tensor.name(), data[index]);
            Err(Error::invalid(format!("input {name:?}: BOOL element {index} is {byte}, expected 0 or 1")))
        }
    }
}

fn borrow(tensor: &Tensor, data: &[u8], memory: &Handle<sys::OrtMemoryInfo>) -> Result<Handle<sys::OrtValue>, Fault> {
    let (shape, element) = (tensor.shape(), elements::of(tensor.dtype()));
    Handle::make(api().ReleaseValue, |out| {
        let bytes = data.as_ptr().cast_mut().cast();
        // SAFETY: the bytes are as many as type and shape take and aligned for the type; the value is used only while
        // they are borrowed. ONNX Runtime takes them mutably but does not write to a run's inputs: it never reuses
        // their memory for another value.
        #[allow(unsafe_code)]
        unsafe {
            let (dims, rank) = (shape.as_ptr(), shape.len());
            (api().CreateTensorWithDataAsOrtValue)(memory.as_ptr(), bytes, data.len(), dims, rank, element, out)
        }
    })
}

/// Makes a tensor of what a run gave for `spec`. `inputs` are those of the run.
///
/// # Errors
/// `Engine` where the output is not what the signature promised.
pub(super) fn output(
    spec: &TensorSpec,
    value: Handle<sys::OrtValue>,
    inputs: &[Tensor],
    session: &Arc<OpenSession>,
) -> Result<Tensor> {
    let broken = |what: &str| Error::new(Kind::Engine, format!("output {:?} {what}", spec.name));
    let (element, sizes) = described(&value).map_err(Fault::of_run)?;
    let dtype = elements::dtype(element).ok_or_else(|| broken("changed its element type"))?;
    let shape = Shape::new(&sizes).map_err(|error| broken(&format!("has a shape of no use: {error}")))?;
    let data = match dtype.size() {
        None => strings::read(&value, shape.elements())?.into(),
        Some(size) => {
            let length = shape.elements().checked_mul(size).ok_or_else(|| broken("overflows"))?;
            taken(value, length, inputs, session).map_err(Fault::of_run)?
        }
    };
    Tensor::new(spec.name.clone(), dtype, shape, data).map_err(|error| broken(error.message()))
}

fn described(value: &Handle<sys::OrtValue>) -> Result<(i32, Vec<i64>), Fault> {
    let shaped = Handle::make(api().ReleaseTensorTypeAndShapeInfo, |out| {
        // SAFETY: the value lives.
        #[allow(unsafe_code)]
        unsafe {
            (api().GetTensorTypeAndShape)(value.as_ptr(), out)
        }
    })?;
    // SAFETY: the description lives.
    #[allow(unsafe_code)]
    unsafe {
        Ok((types::element(shaped.as_ptr())?, types::sizes(shaped.as_ptr())?))
    }
}

/// Takes the bytes of a value, and with them the value.
fn taken(
    value: Handle<sys::OrtValue>,
    length: usize,
    inputs: &[Tensor],
    session: &Arc<OpenSession>,
) -> Result<Rope, Fault> {
    if length == 0 {
        return Ok(Rope::default());
    }
    let mut data = ptr::null_mut();
    // SAFETY: the value lives and is a tensor whose elements are not strings.
    #[allow(unsafe_code)]
    check(unsafe { (api().GetTensorMutableData)(value.as_ptr(), &mut data) })?;
    let data = NonNull::new(data.cast::<u8>()).ok_or_else(|| Fault::new("an output without data"))?;
    if let Some(bytes) = within(inputs, data.as_ptr().addr(), length) {
        return Ok(bytes.into());
    }
    let output = Output { data, length, _value: value, _session: session.clone() };
    Ok(Bytes::from_owner(output).into())
}

/// The part of an input that lies at this address. A model may name an input among its outputs; that output is then
/// not ONNX Runtime's memory but the borrowed bytes, and has to keep those alive instead.
fn within(inputs: &[Tensor], start: usize, length: usize) -> Option<Bytes> {
    inputs.iter().flat_map(|tensor| tensor.data().parts()).find_map(|part| {
        let offset = start.checked_sub(part.as_ptr().addr())?;
        let end = offset.checked_add(length)?;
        (end <= part.len()).then(|| part.slice(offset..end))
    })
}

/// An output's bytes with all that they live in.
struct Output {
    data: NonNull<u8>,
    length: usize,
    /// Released before the session, whose allocator its memory goes back to.
    _value: Handle<sys::OrtValue>,
    _session: Arc<OpenSession>,
}

// SAFETY: the bytes are only read. Handing them to another thread means that the value is released there, which is
// allowed: its memory goes back to an allocator that locks, and the session's last owner may be any thread.
#[allow(unsafe_code)]
unsafe impl Send for Output {}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the value owns so many bytes in the processor's memory, which is where a run leaves outputs that
        // nobody bound elsewhere. Once the run is over nothing writes to them.
        #[allow(unsafe_code)]
        unsafe {
            slice::from_raw_parts(self.data.as_ptr(), self.length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DType, parts: &[Bytes]) -> Tensor {
        let mut data = Rope::default();
        parts.iter().for_each(|part| data.push(part.clone()));
        let elements = (data.len() / dtype.size().unwrap()) as i64;
        Tensor::new("x".into(), dtype, Shape::new(&[elements]).unwrap(), data).unwrap()
    }

    fn aligned(bytes: &[u8]) -> Bytes {
        let mut whole = vec![0; bytes.len() + 8];
        let start = whole.as_ptr().align_offset(8);
        whole[start..start + bytes.len()].copy_from_slice(bytes);
        Bytes::from(whole).slice(start..start + bytes.len())
    }

    #[test]
    fn data_in_pieces_or_at_an_odd_address_is_refused_as_our_doing() {
        let whole = aligned(&[0; 16]);
        assert_eq!(in_place(&tensor(DType::Fp32, &[whole.slice(..8)]), 4), Ok(&whole[..8]));
        let pieces = tensor(DType::Fp32, &[whole.slice(..4), whole.slice(4..8)]);
        let error = in_place(&pieces, 4).unwrap_err();
        assert_eq!(error.kind(), Kind::Engine);
        assert!(error.message().ends_with("its data lies in 2 pieces"), "{error}");
        let odd = tensor(DType::Fp32, &[whole.slice(1..9)]);
        assert!(in_place(&odd, 4).unwrap_err().message().ends_with("does not lie at a multiple of 4"));
        assert_eq!(in_place(&tensor(DType::Fp64, &[]), 8), Ok(&[][..]));
    }

    #[test]
    fn a_bool_of_other_bits_is_the_callers_fault() {
        let bools = |bytes: &'static [u8]| {
            let tensor = tensor(DType::Bool, &[Bytes::from_static(bytes)]);
            check_bools(&tensor, bytes).map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(bools(&[0, 1, 1, 0]), Ok(()));
        let refusal = "input \"x\": BOOL element 1 is 255, expected 0 or 1".to_owned();
        assert_eq!(bools(&[1, 255]), Err((Kind::Invalid, refusal)));
    }

    #[test]
    fn an_output_inside_an_input_is_a_part_of_it() {
        let input = tensor(DType::Uint8, &[aligned(&[1, 2, 3, 4])]);
        let start = input.data().parts()[0].as_ptr().addr();
        assert_eq!(within(std::slice::from_ref(&input), start + 1, 2), Some(Bytes::from_static(&[2, 3])));
        assert_eq!(within(std::slice::from_ref(&input), start + 1, 4), None);
        assert_eq!(within(&[input], start - 1, 2), None);
    }
}
