//! A tensor's bytes as a rope: shared parts in order. Concatenating and slicing copy nothing.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Bytes in one or more shared parts. No part is empty, so a rope without parts is the empty one.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    parts: SmallVec<[Bytes; 1]>,
    len: usize,
}

impl Rope {
    /// An empty one with room for so many parts.
    pub fn with_room_for(parts: usize) -> Rope {
        Rope { parts: SmallVec::with_capacity(parts), len: 0 }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The parts in order, taken out.
    pub fn into_parts(self) -> SmallVec<[Bytes; 1]> {
        self.parts
    }

    /// Adds a part at the end.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push(part);
        }
    }

    /// Adds the parts of another rope at the end.
    pub fn append(&mut self, other: Rope) {
        self.len += other.len;
        self.parts.extend(other.parts);
    }

    /// The bytes in `range`, sharing the parts.
    ///
    /// # Panics
    /// Where `range` reaches past the end: ranges come from a shape that was checked against this rope.
    pub fn slice(&self, range: Range<usize>) -> Rope {
        assert!(range.start <= range.end && range.end <= self.len, "slice {range:?} of a rope of {}", self.len);
        let mut rope = Rope::default();
        let mut offset = 0;
        for part in &self.parts {
            let from = range.start.clamp(offset, offset + part.len()) - offset;
            let to = range.end.clamp(offset, offset + part.len()) - offset;
            rope.push(part.slice(from..to));
            offset += part.len();
        }
        rope
    }

    /// The bytes where they lie in one piece, as they do unless the rope was put together.
    pub fn contiguous(&self) -> Option<Bytes> {
        match self.parts.as_slice() {
            [] => Some(Bytes::new()),
            [part] => Some(part.clone()),
            _ => None,
        }
    }

    /// The bytes in one piece: the part itself, or a copy where there are several.
    pub fn to_bytes(&self) -> Bytes {
        self.contiguous().unwrap_or_else(|| {
            let mut whole = BytesMut::with_capacity(self.len);
            self.parts.iter().for_each(|part| whole.extend_from_slice(part));
            whole.freeze()
        })
    }
}

impl From<Bytes> for Rope {
    fn from(part: Bytes) -> Rope {
        let mut rope = Rope::default();
        rope.push(part);
        rope
    }
}

impl From<Vec<u8>> for Rope {
    fn from(part: Vec<u8>) -> Rope {
        Bytes::from(part).into()
    }
}

impl PartialEq for Rope {
    fn eq(&self, other: &Rope) -> bool {
        self.len == other.len && self.parts.iter().flatten().eq(other.parts.iter().flatten())
    }
}

impl Eq for Rope {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rope(parts: &[Vec<u8>]) -> Rope {
        let mut rope = Rope::default();
        parts.iter().for_each(|part| rope.push(Bytes::from(part.clone())));
        rope
    }

    proptest! {
        #[test]
        fn slices_that_meet_put_together_are_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = rope(&parts);
            prop_assert_eq!(whole.to_bytes().to_vec(), parts.concat());
            let cut = cut.index(whole.len() + 1);
            let (mut left, right) = (whole.slice(0..cut), whole.slice(cut..whole.len()));
            prop_assert_eq!(left.len(), cut);
            left.append(right);
            prop_assert_eq!(left, whole);
        }
    }

    #[test]
    fn a_slice_shares_the_memory_of_its_rope() {
        let whole = rope(&[vec![1, 2, 3], vec![4, 5]]);
        let part = whole.slice(1..3).contiguous().unwrap();
        assert_eq!(part.as_ptr(), whole.parts()[0][1..].as_ptr());
    }

    #[test]
    fn ropes_cut_in_other_places_are_equal() {
        assert_eq!(rope(&[vec![1], vec![2, 3]]), rope(&[vec![1, 2], vec![], vec![3]]));
    }
}
