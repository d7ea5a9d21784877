//! What ONNX Runtime says of the type of an input or an output.

use std::ptr;

use bytestring::ByteString;
use ort::sys::{self, ONNXType};

use super::handle::{Fault, Handle, api, check, text};
use crate::tensor::Dim;

/// The type of an input or an output. An element type is kept as its number.
pub(super) enum ValueType {
    /// A tensor, with what is known of its shape. A shape of which nothing is known looks like a scalar's at this API
    /// level.
    Tensor { element: i32, dims: Vec<Dim> },
    /// Anything else: what it is, and what can be done to have a tensor instead.
    Other { what: &'static str, cure: &'static str },
}

const SEQUENCE: i32 = ONNXType::ONNX_TYPE_SEQUENCE as i32;
const MAP: i32 = ONNXType::ONNX_TYPE_MAP as i32;
const SPARSE: i32 = ONNXType::ONNX_TYPE_SPARSETENSOR as i32;
const OPTIONAL: i32 = ONNXType::ONNX_TYPE_OPTIONAL as i32;

/// Classifiers that scikit-learn's converter exports give their probabilities like this unless told not to.
const NO_ZIPMAP: &str = "export with zipmap=False (skl2onnx: options={id(model): {\"zipmap\": False}})";

impl ValueType {
    /// Reads a description.
    pub(super) fn of(info: &Handle<sys::OrtTypeInfo>) -> Result<ValueType, Fault> {
        let kind = kind(info)?;
        if kind == ONNXType::ONNX_TYPE_TENSOR as i32 {
            return tensor(info);
        }
        let (what, cure) = match kind {
            SEQUENCE if elements_kind(info)? == MAP => ("a sequence of maps", NO_ZIPMAP),
            SEQUENCE => ("a sequence", "stack it into one tensor in the model (ConcatFromSequence)"),
            MAP => ("a map", NO_ZIPMAP),
            SPARSE => ("a sparse tensor", "make it dense in the model"),
            OPTIONAL => ("an optional value", "make it a plain tensor in the model"),
            _ => ("of an unknown type", "make it a tensor in the model"),
        };
        Ok(ValueType::Other { what, cure })
    }
}

fn kind(info: &Handle<sys::OrtTypeInfo>) -> Result<i32, Fault> {
    let mut kind = 0i32;
    // SAFETY: the description lives. The kind is a C enum and stored as the i32 that it is, so that one which `ort`
    // does not know is only a number.
    #[allow(unsafe_code)]
    let status = unsafe { (api().GetOnnxTypeFromTypeInfo)(info.as_ptr(), ptr::from_mut(&mut kind).cast()) };
    check(status).map(|()| kind)
}

fn elements_kind(sequence: &Handle<sys::OrtTypeInfo>) -> Result<i32, Fault> {
    let mut inner = ptr::null();
    // SAFETY: the description lives, and what is stored in `inner` is a part of it.
    #[allow(unsafe_code)]
    check(unsafe { (api().CastTypeInfoToSequenceTypeInfo)(sequence.as_ptr(), &mut inner) })?;
    let elements = Handle::make(api().ReleaseTypeInfo, |out| {
        // SAFETY: as above; a null `inner` is answered with an error.
        #[allow(unsafe_code)]
        unsafe {
            (api().GetSequenceElementType)(inner, out)
        }
    })?;
    kind(&elements)
}

fn tensor(info: &Handle<sys::OrtTypeInfo>) -> Result<ValueType, Fault> {
    let mut shaped = ptr::null();
    // SAFETY: the description lives, and what is stored in `shaped` is a part of it.
    #[allow(unsafe_code)]
    check(unsafe { (api().CastTypeInfoToTensorInfo)(info.as_ptr(), &mut shaped) })?;
    if shaped.is_null() {
        return Err(Fault::new("a tensor without a description"));
    }
    // SAFETY: `shaped` is not null and lives as long as `info`.
    #[allow(unsafe_code)]
    let (element, sizes, symbols) = unsafe { (element(shaped)?, sizes(shaped)?, symbols(shaped)?) };
    let dims = sizes.into_iter().zip(symbols).map(|(size, symbol)| match size {
        0.. => Dim::Fixed(size),
        _ => Dim::Free(Some(symbol).filter(|symbol| !symbol.is_empty())),
    });
    Ok(ValueType::Tensor { element, dims: dims.collect() })
}

/// The number of a tensor's element type.
///
/// # Safety
/// `shaped` leads to a description that lives.
#[allow(unsafe_code)]
pub(super) unsafe fn element(shaped: *const sys::OrtTensorTypeAndShapeInfo) -> Result<i32, Fault> {
    let mut element = 0i32;
    // SAFETY: the caller's; stored as the i32 that a C enum is.
    check(unsafe { (api().GetTensorElementType)(shaped, ptr::from_mut(&mut element).cast()) })?;
    Ok(element)
}

/// A tensor's dimensions, negative where they are free.
///
/// # Safety
/// `shaped` leads to a description that lives.
#[allow(unsafe_code)]
pub(super) unsafe fn sizes(shaped: *const sys::OrtTensorTypeAndShapeInfo) -> Result<Vec<i64>, Fault> {
    let mut rank = 0;
    // SAFETY: the caller's.
    check(unsafe { (api().GetDimensionsCount)(shaped, &mut rank) })?;
    let mut sizes = vec![0; rank];
    // SAFETY: the caller's; there is room for as many as are asked for.
    check(unsafe { (api().GetDimensions)(shaped, sizes.as_mut_ptr(), rank) })?;
    Ok(sizes)
}

/// The names of a tensor's dimensions, empty where they have none.
///
/// # Safety
/// `shaped` leads to a description that lives.
#[allow(unsafe_code)]
unsafe fn symbols(shaped: *const sys::OrtTensorTypeAndShapeInfo) -> Result<Vec<ByteString>, Fault> {
    let mut rank = 0;
    // SAFETY: the caller's.
    check(unsafe { (api().GetDimensionsCount)(shaped, &mut rank) })?;
    let mut symbols = vec![ptr::null(); rank];
    // SAFETY: the caller's; there is room for as many as are asked for.
    check(unsafe { (api().GetSymbolicDimensions)(shaped, symbols.as_mut_ptr(), rank) })?;
    // SAFETY: each is a C string that belongs to the description.
    Ok(symbols.into_iter().map(|symbol| unsafe { text(symbol) }.into()).collect())
}
