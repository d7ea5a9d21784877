//! Buffers laid out so that a tensor inside them starts where vector instructions and engines like it.

use bytes::BytesMut;

/// Where tensors start: a multiple of a cache line, which is also the widest vector register in use.
pub const ALIGNMENT: usize = 64;

/// An empty buffer with room for `len` bytes, whose byte number `offset` will lie at a multiple of [`ALIGNMENT`].
pub fn buffer(len: usize, offset: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(len + ALIGNMENT);
    let address = buffer.as_ptr() as usize + offset;
    let padding = address.next_multiple_of(ALIGNMENT) - address;
    buffer.resize(padding, 0);
    let _ = buffer.split_to(padding);
    buffer
}

/// Whether the bytes start at a multiple of `alignment`. An empty slice lies nowhere and so anywhere.
pub fn is_aligned(bytes: &[u8], alignment: usize) -> bool {
    bytes.is_empty() || (bytes.as_ptr() as usize).is_multiple_of(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_byte_is_aligned_whatever_comes_before_it_and_nothing_moves_while_it_is_filled() {
        for offset in 0..130 {
            let mut buffer = buffer(1000, offset);
            let start = buffer.as_ptr();
            buffer.extend_from_slice(&[7; 1000]);
            assert_eq!(buffer.as_ptr(), start);
            assert!(is_aligned(&buffer[offset..], ALIGNMENT), "offset {offset}");
        }
    }
}
