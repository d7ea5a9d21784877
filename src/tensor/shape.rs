//! Shapes: dimensions that were checked once and can be multiplied without fear ever after.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// The highest rank that is accepted. ONNX Runtime has no limit of its own; nothing real comes near this one.
pub const MAX_RANK: usize = 16;

/// The dimensions of one tensor, outermost first; empty for a scalar. Each is at least 0 and their product fits an
/// `i64`, also when a zero dimension hides an overflow among the others.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[i64; 4]>);

impl Clone for Shape {
    /// As one piece, where a derived one would go number by number.
    fn clone(&self) -> Shape {
        Shape(SmallVec::from_slice(&self.0))
    }
}

impl Shape {
    /// Checks dimensions that a peer sent.
    ///
    /// # Errors
    /// `Invalid` for a negative dimension, a rank over [`MAX_RANK`], or a product over `i64::MAX`.
    pub fn new(dims: &[i64]) -> Result<Shape> {
        check_rank(dims.len())?;
        if let Some(dim) = dims.iter().find(|dim| **dim < 0) {
            return Err(Error::invalid(format!("shape {} has the negative dimension {dim}", Shown(dims))));
        }
        let product = dims.iter().try_fold(1i64, |product, dim| product.checked_mul((*dim).max(1)));
        if product.is_none() {
            return Err(Error::invalid(format!("shape {} overflows", Shown(dims))));
        }
        Ok(Shape(SmallVec::from_slice(dims)))
    }

    /// How many elements there are: 1 for a scalar, 0 where a dimension is 0.
    pub fn elements(&self) -> usize {
        self.0.iter().product::<i64>() as usize
    }
}

impl Deref for Shape {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

/// Dimensions as they come in, one by one. No more are kept than a shape may have, however many come.
#[derive(Debug, Default)]
pub struct Dims {
    kept: SmallVec<[i64; 4]>,
    rank: usize,
}

impl Dims {
    /// Takes the next one.
    pub fn push(&mut self, dim: i64) {
        self.rank += 1;
        if self.rank <= MAX_RANK {
            self.kept.push(dim);
        }
    }

    /// The shape that they make.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn shape(&self) -> Result<Shape> {
        check_rank(self.rank)?;
        Shape::new(&self.kept)
    }
}

fn check_rank(rank: usize) -> Result<()> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(Error::invalid(format!("rank {rank} is over the limit of {MAX_RANK}")))
}

/// Dimensions for a message: `[1,3,224,224]`, cut after a few so that a hostile rank does not make a long text.
struct Shown<'a>(&'a [i64]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dim) in self.0.iter().take(MAX_RANK).enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str(if self.0.len() > MAX_RANK { ",…]" } else { "]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_one_element_and_a_zero_dimension_none() {
        assert_eq!(Shape::new(&[]).unwrap().elements(), 1);
        assert_eq!(Shape::new(&[3, 0, 5]).unwrap().elements(), 0);
        assert_eq!(Shape::new(&[2, 3]).unwrap().elements(), 6);
    }

    #[test]
    fn negative_overflowing_and_endless_shapes_are_refused() {
        let messages = [&[-1, 4][..], &[1 << 40, 1 << 40], &[0, i64::MAX, 2], &[1; 17]]
            .map(|dims| Shape::new(dims).unwrap_err().to_string());
        assert_eq!(messages[0], "shape [-1,4] has the negative dimension -1");
        assert_eq!(messages[1], "shape [1099511627776,1099511627776] overflows");
        assert!(messages[2].ends_with("overflows"));
        assert_eq!(messages[3], "rank 17 is over the limit of 16");
    }
}
