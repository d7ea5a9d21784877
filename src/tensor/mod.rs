//! Tensors as every stage sees them: a name, an element type, a shape and a rope of raw bytes that agree with one
//! another. Nothing here knows a protocol or an engine.

/// Buffers in which a tensor starts at a multiple of a cache line.
pub mod aligned;
mod axis;
mod dtype;
mod join;
mod rope;
mod shape;
mod signature;
/// The elements of BYTES tensors.
pub mod strings;

use bytestring::ByteString;

pub use axis::BatchAxis;
pub use dtype::DType;
pub use join::{Padding, Tensors};
pub use rope::Rope;
pub use shape::{Dims, MAX_RANK, Shape};
pub use signature::{Dim, Signature, TensorSpec};

use crate::error::{Error, Result};

/// One tensor. Its data is little-endian and row-major without padding, BYTES elements each behind their length
/// ([`strings`]); its length and, for BYTES, its count of elements agree with the shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    name: ByteString,
    dtype: DType,
    shape: Shape,
    data: Rope,
}

impl Tensor {
    /// A tensor whose data was checked against its type and shape.
    ///
    /// # Errors
    /// `Invalid`, naming the tensor and both values, where they disagree.
    pub fn new(name: ByteString, dtype: DType, shape: Shape, data: Rope) -> Result<Tensor> {
        check_data(dtype, &shape, &data).map_err(|error| error.within(format_args!("tensor {name:?}")))?;
        Ok(Tensor { name, dtype, shape, data })
    }

    /// Its name.
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its raw bytes.
    pub fn data(&self) -> &Rope {
        &self.data
    }

    /// Gives it another shape of as many elements.
    ///
    /// # Errors
    /// `Invalid`, naming both shapes, where there are more or fewer.
    pub fn reshape(&mut self, shape: Shape) -> Result<()> {
        if shape.elements() != self.shape.elements() {
            return Err(Error::invalid(format!("shape {} has other elements than {shape}", self.shape)));
        }
        self.shape = shape;
        Ok(())
    }

    /// The same tensor with its data in one piece at a multiple of [`aligned::ALIGNMENT`].
    pub fn laid_out(self) -> Tensor {
        let mut copy = aligned::buffer(self.data.len(), 0);
        self.data.parts().iter().for_each(|part| copy.extend_from_slice(part));
        self.relocated(copy.freeze().into())
    }

    /// The same tensor with its data elsewhere in memory.
    ///
    /// # Panics
    /// Where the length differs: only a copy of the same bytes may take their place.
    pub fn relocated(self, data: Rope) -> Tensor {
        assert_eq!(self.data.len(), data.len(), "tensor {:?} was relocated to other bytes", self.name);
        Tensor { data, ..self }
    }

    /// The elements of a BYTES tensor.
    pub fn elements(&self) -> impl Iterator<Item = &[u8]> {
        // The walk was made once when the tensor was, so that an error cannot come up here.
        self.data.parts().iter().flat_map(|part| strings::Elements::new(part)).map_while(Result::ok)
    }
}

fn check_data(dtype: DType, shape: &Shape, data: &Rope) -> Result<()> {
    match dtype.size() {
        Some(size) => check_length(dtype, size, shape, data),
        None => check_elements(shape, data),
    }
}

fn check_length(dtype: DType, size: usize, shape: &Shape, data: &Rope) -> Result<()> {
    let Some(expected) = shape.elements().checked_mul(size) else {
        return Err(Error::invalid(format!("shape {shape} of {dtype} overflows")));
    };
    if data.len() != expected {
        let got = data.len();
        return Err(Error::invalid(format!("shape {shape} of {dtype} takes {expected} bytes, got {got}")));
    }
    Ok(())
}

fn check_elements(shape: &Shape, data: &Rope) -> Result<()> {
    let expected = shape.elements();
    let mut count = 0usize;
    for element in data.parts().iter().flat_map(|part| strings::Elements::new(part)) {
        element?;
        count += 1;
    }
    if count != expected {
        return Err(Error::invalid(format!("shape {shape} takes {expected} BYTES elements, got {count}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DType, dims: &[i64], data: Vec<u8>) -> Result<Tensor> {
        Tensor::new("x".into(), dtype, Shape::new(dims)?, data.into())
    }

    #[test]
    fn a_wrong_byte_count_names_the_tensor_and_both_values() {
        let error = tensor(DType::Fp32, &[2, 2], vec![0; 15]).unwrap_err();
        assert_eq!(error.message(), "tensor \"x\": shape [2,2] of FP32 takes 16 bytes, got 15");
    }

    #[test]
    fn a_wrong_count_of_strings_names_both_values() {
        let error = tensor(DType::Bytes, &[2], vec![1, 0, 0, 0, b'a']).unwrap_err();
        assert_eq!(error.message(), "tensor \"x\": shape [2] takes 2 BYTES elements, got 1");
    }

    #[test]
    fn scalars_and_empty_tensors_are_tensors() {
        assert!(tensor(DType::Int8, &[], vec![7]).is_ok());
        assert!(tensor(DType::Fp64, &[0, 3], vec![]).is_ok());
        assert!(tensor(DType::Bytes, &[0], vec![]).is_ok());
    }

    #[test]
    fn another_shape_has_as_many_elements() {
        let mut tensor = tensor(DType::Int8, &[2, 3], vec![7; 6]).unwrap();
        tensor.reshape(Shape::new(&[1, 6, 1]).unwrap()).unwrap();
        assert_eq!((&**tensor.shape(), tensor.data().len()), (&[1, 6, 1][..], 6));
        let error = tensor.reshape(Shape::new(&[5]).unwrap()).unwrap_err();
        assert_eq!(error.message(), "shape [1,6,1] has other elements than [5]");
    }

    #[test]
    fn a_shape_whose_bytes_overflow_is_refused() {
        let error = tensor(DType::Fp64, &[i64::MAX / 2], vec![]).unwrap_err();
        assert!(error.message().contains("overflows"), "{error}");
    }

    #[test]
    fn strings_keep_nul_and_invalid_utf8() {
        let strings = tensor(DType::Bytes, &[2], vec![2, 0, 0, 0, 0, 0xff, 0, 0, 0, 0]).unwrap();
        assert_eq!(strings.elements().collect::<Vec<_>>(), [&[0, 0xff][..], &[]]);
    }
}
