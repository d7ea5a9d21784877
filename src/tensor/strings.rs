//! The elements of a BYTES tensor in their raw form: each is a 4-byte little-endian length and that many bytes.

use crate::error::{Error, Result};

/// Bytes of the length before each element.
pub const PREFIX: usize = 4;

/// Walks over raw elements, one part of a rope at a time (elements never straddle two parts).
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements in `raw`.
    pub fn new(raw: &'a [u8]) -> Self {
        Self { rest: raw }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((prefix, rest)) = self.rest.split_first_chunk::<PREFIX>() else {
            let left = std::mem::take(&mut self.rest).len();
            return Some(Err(Error::invalid(format!("a BYTES length needs 4 bytes, {left} are left"))));
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        let Some((element, rest)) = rest.split_at_checked(len) else {
            self.rest = &[];
            return Some(Err(Error::invalid(format!("a BYTES element says {len} bytes, {} are left", rest.len()))));
        };
        self.rest = rest;
        Some(Ok(element))
    }
}

/// Appends one element in its raw form.
///
/// # Errors
/// `TooLarge` for an element of 4 GiB or more, which the form cannot carry.
pub fn push(raw: &mut Vec<u8>, element: &[u8]) -> Result<()> {
    let len = u32::try_from(element.len())
        .map_err(|_| Error::new(crate::error::Kind::TooLarge, format!("a BYTES element of {} bytes", element.len())))?;
    raw.extend_from_slice(&len.to_le_bytes());
    raw.extend_from_slice(element);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn elements_come_back_as_they_were_pushed(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
        ) {
            let mut raw = Vec::new();
            for element in &elements {
                push(&mut raw, element).unwrap();
            }
            let back: Vec<_> = Elements::new(&raw).map(|element| element.unwrap().to_vec()).collect();
            prop_assert_eq!(back, elements);
        }

        #[test]
        fn any_bytes_end_the_walk_without_a_panic(raw in prop::collection::vec(any::<u8>(), 0..40)) {
            let errors = Elements::new(&raw).filter(|element| element.is_err()).count();
            prop_assert!(errors <= 1);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_named_with_both_values() {
        let error = Elements::new(&[9, 0, 0, 0, 1, 2]).next().unwrap().unwrap_err();
        assert_eq!(error.message(), "a BYTES element says 9 bytes, 2 are left");
    }
}
