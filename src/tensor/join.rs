//! Tensors put together and cut apart along a dimension, and padded: by sharing parts of ropes, so that no element is
//! copied here.

use bytes::Bytes;
use smallvec::SmallVec;

use super::strings::PREFIX;
use super::{Rope, Shape, Tensor};
use crate::error::{Error, Result};

/// Tensors that were one, or will be.
pub type Tensors = SmallVec<[Tensor; 1]>;

/// What lies behind each other in memory when a dimension is looked at: `outer` times (dimension × `inner`) elements.
#[derive(Clone, Copy)]
struct Blocks {
    outer: usize,
    inner: usize,
}

impl Blocks {
    fn around(shape: &Shape, dim: usize) -> Blocks {
        let product = |dims: &[i64]| dims.iter().product::<i64>() as usize;
        let inner = product(&shape[dim + 1..]);
        // Shapes without elements may be long, and nothing is to be done for them.
        let outer = if inner == 0 { 0 } else { product(&shape[..dim]) };
        Blocks { outer, inner }
    }
}

impl Tensor {
    /// Puts tensors of one name and type, whose shapes differ at most in `dim`, together along it.
    ///
    /// # Errors
    /// `Invalid` where there is none, where their shapes do not go together, or where the whole is larger than a shape
    /// may be.
    pub fn concatenated(tensors: Tensors, dim: usize) -> Result<Tensor> {
        let first = tensors.first().ok_or_else(|| Error::invalid("no tensors to put together"))?;
        let mut dims: SmallVec<[i64; 4]> = SmallVec::from_slice(first.shape());
        dims[dim] = 0;
        for tensor in &tensors {
            let goes = tensor.dtype == first.dtype && tensor.shape.len() == dims.len();
            let same = |(at, (one, other)): (usize, (&i64, &i64))| at == dim || one == other;
            if !goes || !tensor.shape.iter().zip(first.shape.iter()).enumerate().all(same) {
                return Err(Error::invalid(format!(
                    "{} of {} and {} of {} do not go together",
                    first.shape, first.dtype, tensor.shape, tensor.dtype
                )));
            }
            dims[dim] = dims[dim].saturating_add(tensor.shape[dim]);
        }
        let (name, dtype, shape) = (first.name.clone(), first.dtype, Shape::new(&dims)?);
        let blocks = Blocks::around(&shape, dim);
        let parts: usize = tensors.iter().map(|tensor| tensor.data.parts().len()).sum();
        let mut data = Rope::with_room_for(parts);
        if blocks.outer == 1 {
            tensors.into_iter().for_each(|tensor| data.append(tensor.data));
        } else {
            let sizes: SmallVec<[usize; 8]> =
                tensors.iter().map(|tensor| tensor.shape[dim] as usize * blocks.inner).collect();
            let mut readers: SmallVec<[Reader<'_>; 8]> = tensors.iter().map(Reader::new).collect();
            for _ in 0..blocks.outer {
                readers.iter_mut().zip(&sizes).for_each(|(reader, size)| reader.pass(*size, &mut data));
            }
        }
        Ok(Tensor { name, dtype, shape, data })
    }

    /// Cuts a tensor along `dim` into as many as there are `sizes`.
    ///
    /// # Errors
    /// `Invalid` where the sizes do not add up to its own.
    pub fn divided(&self, dim: usize, sizes: &[usize]) -> Result<Tensors> {
        let whole: usize = sizes.iter().sum();
        if self.shape.get(dim).is_none_or(|own| *own as usize != whole) {
            return Err(Error::invalid(format!(
                "shape {} cannot be cut into {whole} along dimension {dim}",
                self.shape
            )));
        }
        let blocks = Blocks::around(&self.shape, dim);
        let mut ropes: SmallVec<[Rope; 1]> = sizes.iter().map(|_| Rope::default()).collect();
        let mut reader = Reader::new(self);
        for _ in 0..blocks.outer {
            for (rope, size) in ropes.iter_mut().zip(sizes) {
                reader.pass(size * blocks.inner, rope);
            }
        }
        let parts = ropes.into_iter().zip(sizes).map(|(data, size)| self.with(dim, *size, data));
        Ok(parts.collect())
    }

    /// The first `size` entries along `dim`.
    ///
    /// # Errors
    /// `Invalid` where there are fewer.
    pub fn trimmed(&self, dim: usize, size: usize) -> Result<Tensor> {
        match self.shape.get(dim).map(|own| *own as usize) {
            Some(own) if own == size => Ok(self.clone()),
            Some(own) if own > size => Ok(self.divided(dim, &[size, own - size])?.swap_remove(0)),
            _ => Err(Error::invalid(format!("shape {} has no {size} entries along dimension {dim}", self.shape))),
        }
    }

    /// The same with `padding` behind its entries along `dim`, so that there are `size`.
    ///
    /// # Errors
    /// `Invalid` where it has more than that already, or where the shape overflows.
    pub fn padded(&self, dim: usize, size: usize, padding: &Padding) -> Result<Tensor> {
        let own = self.shape.get(dim).map_or(0, |own| *own as usize);
        let missing = size.checked_sub(own);
        let missing = missing.ok_or_else(|| Error::invalid(format!("shape {} is padded to {size}", self.shape)))?;
        let mut dims: SmallVec<[i64; 4]> = SmallVec::from_slice(&self.shape);
        dims[dim] = size as i64;
        let (shape, blocks) = (Shape::new(&dims)?, Blocks::around(&self.shape, dim));
        let mut data = Rope::default();
        let mut reader = Reader::new(self);
        for _ in 0..blocks.outer {
            reader.pass(own * blocks.inner, &mut data);
            padding.put(missing * blocks.inner, &mut data);
        }
        Ok(Tensor { shape, data, ..self.clone() })
    }

    fn with(&self, dim: usize, size: usize, data: Rope) -> Tensor {
        let mut dims: SmallVec<[i64; 4]> = SmallVec::from_slice(&self.shape);
        dims[dim] = size as i64;
        let shape = Shape::new(&dims).expect("a part is not larger than the whole");
        Tensor { name: self.name.clone(), dtype: self.dtype, shape, data }
    }
}

/// A tensor's elements from front to back.
struct Reader<'a> {
    size: Option<usize>,
    parts: &'a [Bytes],
    /// Within the first of the parts.
    offset: usize,
}

impl<'a> Reader<'a> {
    fn new(tensor: &'a Tensor) -> Reader<'a> {
        Reader { size: tensor.dtype.size(), parts: tensor.data.parts(), offset: 0 }
    }

    /// Adds the next `count` elements to `rope`. There are as many: the tensor's data agrees with its shape.
    fn pass(&mut self, count: usize, rope: &mut Rope) {
        match self.size {
            Some(size) => self.pass_bytes(count * size, rope),
            None => self.pass_strings(count, rope),
        }
    }

    fn pass_bytes(&mut self, mut bytes: usize, rope: &mut Rope) {
        while bytes > 0
            && let [part, rest @ ..] = self.parts
        {
            let end = part.len().min(self.offset + bytes);
            rope.push(part.slice(self.offset..end));
            bytes -= end - self.offset;
            (self.parts, self.offset) = if end == part.len() { (rest, 0) } else { (self.parts, end) };
        }
    }

    /// Strings never lie across two parts.
    fn pass_strings(&mut self, mut count: usize, rope: &mut Rope) {
        while count > 0
            && let [part, rest @ ..] = self.parts
        {
            let mut end = self.offset;
            while count > 0
                && let Some(prefix) = part[end..].first_chunk::<PREFIX>()
            {
                end += PREFIX + u32::from_le_bytes(*prefix) as usize;
                count -= 1;
            }
            rope.push(part.slice(self.offset..end));
            (self.parts, self.offset) = if end == part.len() { (rest, 0) } else { (self.parts, end) };
        }
    }
}

/// What is put where there is nothing: one element many times over.
#[derive(Debug, Clone)]
pub struct Padding {
    elements: Bytes,
    size: usize,
}

impl Padding {
    /// Bytes that are kept ready.
    const READY: usize = 4096;

    /// Padding with an element of these bytes: as many as one of its type has, for a string its length and content.
    pub fn of(element: &[u8]) -> Padding {
        let size = element.len().max(1);
        Padding { elements: element.repeat(Padding::READY / size).into(), size }
    }

    fn put(&self, count: usize, rope: &mut Rope) {
        let mut bytes = count * self.size;
        while bytes > 0 {
            let part = bytes.min(self.elements.len());
            rope.push(self.elements.slice(..part));
            bytes -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::{DType, strings};

    /// A tensor of these dimensions whose elements differ, in several parts.
    fn tensor(dtype: DType, dims: &[i64], seed: u8) -> Tensor {
        let shape = Shape::new(dims).unwrap();
        let mut data = Rope::default();
        for index in 0..shape.elements() {
            let byte = seed.wrapping_add(index as u8);
            let mut element = Vec::new();
            match dtype.size() {
                Some(size) => element.resize(size, byte),
                None => strings::push(&mut element, &vec![byte; usize::from(byte % 4)]).unwrap(),
            }
            data.push(element.into());
        }
        Tensor::new("x".into(), dtype, shape, data).unwrap()
    }

    fn dims() -> impl Strategy<Value = (Vec<i64>, usize)> {
        prop::collection::vec(0..4i64, 1..4).prop_flat_map(|dims| (Just(dims.clone()), 0..dims.len()))
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_cut_into_the_same_again(
            dtype in prop::sample::select(&DType::ALL[..]),
            (dims, dim) in dims(),
            sizes in prop::collection::vec(0..4usize, 1..6),
        ) {
            let parts: Tensors = sizes.iter().enumerate().map(|(seed, size)| {
                let mut dims = dims.clone();
                dims[dim] = *size as i64;
                tensor(dtype, &dims, 50 * seed as u8)
            }).collect();
            let whole = Tensor::concatenated(parts.clone(), dim).unwrap();
            let checked = Tensor::new("x".into(), dtype, whole.shape().clone(), whole.data().clone());
            prop_assert_eq!(checked.as_ref(), Ok(&whole));
            prop_assert_eq!(whole.divided(dim, &sizes).unwrap(), parts);
        }

        #[test]
        fn what_was_padded_is_trimmed_to_the_same_again(
            dtype in prop::sample::select(&DType::ALL[..]), (dims, dim) in dims(), more in 0..5usize,
        ) {
            let padding = Padding::of(&vec![0; dtype.size().unwrap_or(strings::PREFIX)]);
            let (own, short) = (dims[dim] as usize, tensor(dtype, &dims, 9));
            let long = short.padded(dim, own + more, &padding).unwrap();
            let checked = Tensor::new("x".into(), dtype, long.shape().clone(), long.data().clone());
            prop_assert_eq!(checked.as_ref(), Ok(&long));
            prop_assert_eq!(long.trimmed(dim, own).unwrap(), short);
        }
    }

    fn bytes(tensor: &Tensor) -> Vec<u8> {
        tensor.data().to_bytes().to_vec()
    }

    #[test]
    fn rows_lie_where_the_dimension_says() {
        let (a, b) = (tensor(DType::Uint8, &[2, 1], 10), tensor(DType::Uint8, &[2, 2], 20));
        let side_by_side = Tensor::concatenated(Tensors::from_vec(vec![a.clone(), b]), 1).unwrap();
        assert_eq!((&**side_by_side.shape(), bytes(&side_by_side)), (&[2, 3][..], vec![10, 20, 21, 11, 22, 23]));
        let padded = a.padded(1, 3, &Padding::of(&[7])).unwrap();
        assert_eq!((&**padded.shape(), bytes(&padded)), (&[2, 3][..], vec![10, 7, 7, 11, 7, 7]));
    }

    #[test]
    fn padding_may_be_longer_than_what_is_kept_ready() {
        let padded = tensor(DType::Int32, &[1], 1).padded(0, 5000, &Padding::of(&9i32.to_le_bytes())).unwrap();
        assert_eq!(padded.data().len(), 20_000);
        assert!(bytes(&padded)[4..].chunks(4).all(|element| element == [9, 0, 0, 0]));
    }

    #[test]
    fn what_does_not_go_together_or_apart_is_an_error() {
        let together = |a: Tensor, b: Tensor| Tensor::concatenated(Tensors::from_vec(vec![a, b]), 0).unwrap_err();
        let error = together(tensor(DType::Int8, &[1, 2], 0), tensor(DType::Int8, &[1, 3], 0));
        assert_eq!(error.message(), "[1,2] of INT8 and [1,3] of INT8 do not go together");
        assert!(tensor(DType::Int8, &[5], 0).divided(0, &[2, 2]).is_err());
        assert!(tensor(DType::Int8, &[5], 0).trimmed(0, 6).is_err());
        assert!(tensor(DType::Int8, &[5], 0).padded(0, 4, &Padding::of(&[0])).is_err());
    }

    #[test]
    fn a_shape_that_is_long_and_empty_takes_no_time() {
        let shape = Shape::new(&[1 << 60, 2, 0]).unwrap();
        let tensor = Tensor::new("x".into(), DType::Uint8, shape, Rope::default()).unwrap();
        let parts = tensor.divided(1, &[1, 1]).unwrap();
        assert_eq!(Tensor::concatenated(parts, 1).unwrap(), tensor);
        let longer = tensor.padded(1, 3, &Padding::of(&[0])).unwrap();
        assert_eq!(longer.trimmed(1, 2).unwrap(), tensor);
    }
}
