//! Memory in which the inputs of a run are put together: kept from run to run, and let go of when the instance is idle.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::tensor::Tensor;
use crate::tensor::aligned::{ALIGNMENT, is_aligned};

/// Buffers that are kept; more than a model has inputs are of no use.
const KEPT: usize = 16;

/// The buffers of one instance. A tensor's bytes go back when the last of those that share them is gone, which may be
/// long after the run: outputs may lie within inputs.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// The same tensor with its data in one piece that starts at a multiple of its element size: itself where that is
    /// so already, else a copy that starts at a multiple of [`ALIGNMENT`].
    pub(super) fn laid_out(&self, tensor: Tensor) -> Tensor {
        let alignment = tensor.dtype().size().unwrap_or(1);
        match tensor.data().parts() {
            [] => tensor,
            [whole] if is_aligned(whole, alignment) => tensor,
            _ => {
                let copy = self.copy(&tensor);
                tensor.relocated(copy.into())
            }
        }
    }

    /// Lets go of what is kept.
    pub(super) fn release(&self) {
        let kept = std::mem::take(&mut *lock(&self.free));
        drop(kept);
    }

    /// Whether anything is kept.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.free).is_empty()
    }

    fn copy(&self, tensor: &Tensor) -> Bytes {
        let needed = tensor.data().len() + ALIGNMENT;
        let mut memory = self.take(needed);
        memory.clear();
        memory.reserve(needed);
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        memory.resize(start, 0);
        tensor.data().parts().iter().for_each(|part| memory.extend_from_slice(part));
        Bytes::from_owner(Lent { memory, start, home: self.free.clone() })
    }

    /// The smallest that is large enough, else the largest, to grow.
    fn take(&self, needed: usize) -> Vec<u8> {
        let mut free = lock(&self.free);
        let fitting = (0..free.len()).filter(|index| free[*index].capacity() >= needed);
        let best = fitting.min_by_key(|index| free[*index].capacity());
        let best = best.or_else(|| (0..free.len()).max_by_key(|index| free[*index].capacity()));
        best.map(|index| free.swap_remove(index)).unwrap_or_default()
    }
}

fn lock(free: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    free.lock().expect("nothing panics while buffers are taken and given back")
}

/// A buffer that goes back where it came from.
struct Lent {
    memory: Vec<u8>,
    start: usize,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = lock(&self.home);
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Rope, Shape};

    fn in_parts(parts: &[&'static [u8]]) -> Tensor {
        let mut data = Rope::default();
        parts.iter().for_each(|part| data.push(Bytes::from_static(part)));
        let shape = Shape::new(&[data.len() as i64]).unwrap();
        Tensor::new("x".into(), DType::Uint8, shape, data).unwrap()
    }

    #[test]
    fn parts_are_put_together_in_memory_that_is_aligned_and_used_again() {
        let buffers = Buffers::default();
        let first = buffers.laid_out(in_parts(&[&[1, 2], &[3]]));
        let whole = first.data().contiguous().unwrap();
        assert_eq!(whole, [1, 2, 3][..]);
        assert!(is_aligned(&whole, ALIGNMENT));
        let place = whole.as_ptr();
        let other = buffers.laid_out(in_parts(&[&[4], &[5]]));
        assert_ne!(other.data().contiguous().unwrap().as_ptr(), place, "the first is still in use");
        drop((first, whole));
        let again = buffers.laid_out(in_parts(&[&[6], &[7]]));
        assert_eq!(again.data().contiguous().unwrap().as_ptr(), place);
    }

    #[test]
    fn what_lies_well_is_not_copied() {
        let tensor = in_parts(&[&[1, 2, 3]]);
        let place = tensor.data().contiguous().unwrap().as_ptr();
        let laid_out = Buffers::default().laid_out(tensor);
        assert_eq!(laid_out.data().contiguous().unwrap().as_ptr(), place);
    }

    #[test]
    fn an_idle_instance_keeps_nothing() {
        let buffers = Buffers::default();
        drop(buffers.laid_out(in_parts(&[&[1], &[2]])));
        assert!(!buffers.is_empty());
        buffers.release();
        assert!(buffers.is_empty());
    }
}
