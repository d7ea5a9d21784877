//! The elements of a tensor for a reader: all of them as JSON, or a few of them as text.

use std::fmt::Write;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cli::message::number::Number;
use crate::cli::table::cut;
use crate::tensor::{DType, Tensor};

/// Elements shown along the last axis, and along those before it.
const SHOWN: usize = 8;
const SHOWN_LISTS: usize = 4;

/// Characters shown of a string.
const SHOWN_TEXT: usize = 40;

/// All elements in row-major order, as the protocol's JSON form has them. Strings that are no UTF-8 are
/// `{"b64": …}`.
pub fn json(tensor: &Tensor) -> Value {
    elements(tensor)
        .map(|element| match element {
            Element::Number(number) => number.json(),
            Element::Text(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => text.into(),
                Err(_) => json!({ "b64": base64(&bytes) }),
            },
        })
        .collect()
}

/// The first elements, in the lists that the shape makes; those of the first axis on a line each.
pub fn short(tensor: &Tensor) -> String {
    let wanted = shown_elements(tensor.shape());
    let texts: Vec<String> = elements(tensor).take(wanted).map(|element| element.short()).collect();
    let mut text = String::new();
    put_axis(&mut text, tensor.shape(), 0, &texts, 0);
    text
}

enum Element {
    Number(Number),
    Text(Bytes),
}

impl Element {
    fn short(&self) -> String {
        match self {
            Element::Number(number) => number.short(),
            Element::Text(bytes) => format!("\"{}\"", cut(&String::from_utf8_lossy(bytes), SHOWN_TEXT)),
        }
    }
}

fn elements(tensor: &Tensor) -> Box<dyn Iterator<Item = Element> + '_> {
    match tensor.dtype().size() {
        None => Box::new(tensor.elements().map(|element| Element::Text(Bytes::copy_from_slice(element)))),
        Some(size) => Box::new(numbers(tensor.dtype(), tensor.data().to_bytes(), size)),
    }
}

fn numbers(dtype: DType, raw: Bytes, size: usize) -> impl Iterator<Item = Element> {
    (0..raw.len() / size).map(move |index| Element::Number(Number::read(dtype, &raw[index * size..][..size])))
}

/// How many of the first elements the shown ones lie among.
fn shown_elements(shape: &[i64]) -> usize {
    let Some((first, rest)) = shape.split_first() else { return 1 };
    let most = if rest.is_empty() { SHOWN } else { SHOWN_LISTS };
    let stride: usize = rest.iter().product::<i64>() as usize;
    (*first as usize).min(most).saturating_mul(stride)
}

/// Writes what is shown from one axis on; `offset` is where its elements begin.
fn put_axis(text: &mut String, shape: &[i64], depth: usize, elements: &[String], offset: usize) {
    let Some((size, rest)) = shape.split_first() else {
        text.push_str(elements.get(offset).map_or("", String::as_str));
        return;
    };
    let size = *size as usize;
    let shown = size.min(if rest.is_empty() { SHOWN } else { SHOWN_LISTS });
    let stride = rest.iter().product::<i64>() as usize;
    let separator = if depth == 0 && !rest.is_empty() { ",\n " } else { ", " };
    text.push('[');
    for index in 0..shown {
        if index > 0 {
            text.push_str(separator);
        }
        put_axis(text, rest, depth + 1, elements, offset + index * stride);
    }
    if shown < size {
        _ = write!(text, "{separator}… {} more", size - shown);
    }
    text.push(']');
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (bits >> (18 - 6 * index) & 63) as usize;
            text.push(if index <= chunk.len() { ALPHABET[sextet] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Shape, strings};

    fn tensor(dtype: DType, dims: &[i64], raw: Vec<u8>) -> Tensor {
        Tensor::new("y".into(), dtype, Shape::new(dims).unwrap(), raw.into()).unwrap()
    }

    fn bytes(elements: &[&[u8]]) -> Tensor {
        let mut raw = Vec::new();
        elements.iter().for_each(|element| strings::push(&mut raw, element).unwrap());
        tensor(DType::Bytes, &[elements.len() as i64], raw)
    }

    #[test]
    fn json_is_flat_and_whole() {
        let numbers = tensor(DType::Int8, &[2, 2], vec![1, 0xff, 3, 4]);
        assert_eq!(json(&numbers), json!([1, -1, 3, 4]));
        assert_eq!(json(&bytes(&[b"a\0", b"\xff\xfe", b""])), json!(["a\0", { "b64": "//4=" }, ""]));
    }

    #[test]
    fn base64_pads() {
        let cases: [(&[u8], &str); 4] = [(b"", ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain), encoded);
        }
    }

    #[test]
    fn a_long_axis_is_cut_and_says_how_much_is_left() {
        let long = tensor(DType::Uint8, &[100], (0..100).collect());
        assert_eq!(short(&long), "[0, 1, 2, 3, 4, 5, 6, 7, … 92 more]");
        let tall = tensor(DType::Uint8, &[6, 2], (0..12).collect());
        assert_eq!(short(&tall), "[[0, 1],\n [2, 3],\n [4, 5],\n [6, 7],\n … 2 more]");
    }

    #[test]
    fn scalars_and_empty_tensors_are_shown() {
        assert_eq!(short(&tensor(DType::Uint8, &[], vec![7])), "7");
        assert_eq!(short(&tensor(DType::Uint8, &[0], vec![])), "[]");
        assert_eq!(short(&tensor(DType::Fp32, &[2, 0], vec![])), "[[],\n []]");
        assert_eq!(short(&tensor(DType::Fp32, &[0, 2], vec![])), "[]");
    }

    #[test]
    fn strings_are_shown_without_what_moves_a_cursor() {
        assert_eq!(short(&bytes(&[b"a\x1bb", &[b'x'; 50]])), format!("[\"a\\u{{1b}}b\", \"{}…\"]", "x".repeat(40)));
    }
}
