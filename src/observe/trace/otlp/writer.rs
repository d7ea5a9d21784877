//! Protobuf as it is written: fields, messages within messages, attributes.

use prost::encoding::{encode_varint, encoded_len_varint};
use smallvec::SmallVec;

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub(in crate::observe::trace) enum Value<'a> {
    Text(&'a str),
    /// An id of a span, as text.
    Id(u64),
    /// A number, as text.
    Number(u64),
    /// Dimensions, as text such as `[4,3]`.
    Dims(&'a [i64]),
    Truth(bool),
    Integer(i64),
    Double(f64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value::Text(text)
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Value::Truth(truth)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Value::Double(number)
    }
}

/// A message of protobuf that is being written.
#[derive(Debug)]
pub(super) struct Writer(pub(super) Vec<u8>);

/// Where the content of a message within it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun(usize);

/// Bytes of a length that is filled in when it is known: a varint may be longer than it need be, and this is enough for
/// 256 MiB.
const LENGTH: usize = 4;

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

impl Writer {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, value: u64) {
        encode_varint(value, &mut self.0);
    }

    #[inline(always)]
    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint((number << 3 | wire_type).into());
    }

    #[inline(always)]
    pub(super) fn integer(&mut self, number: u32, value: u64) {
        self.key(number, VARINT);
        self.varint(value);
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.key(number, FIXED64);
        self.put(&value.to_le_bytes());
    }

    #[inline(always)]
    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        self.key(number, FIXED32);
        self.put(&value.to_le_bytes());
    }

    #[inline(always)]
    fn head(&mut self, number: u32, len: usize) {
        let key = (number << 3 | BYTES) as u8;
        match u8::try_from(len) {
            // The usual case.
            Ok(len) if len < 0x80 => self.put(&[key, len]),
            _ => {
                self.0.push(key);
                self.varint(len as u64);
            }
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.head(number, bytes.len());
        self.put(bytes);
    }

    /// Begins a message within this one.
    pub(super) fn begin(&mut self, number: u32) -> Begun {
        self.head(number, 0);
        self.put(&[0; LENGTH - 1]);
        Begun(self.0.len())
    }

    /// Ends it.
    pub(super) fn end(&mut self, Begun(from): Begun) {
        let len = (self.0.len() - from) as u32;
        let digit = |at: usize| (len >> (7 * at)) as u8 & 0x7f;
        self.0[from - LENGTH..from].copy_from_slice(&[digit(0) | 0x80, digit(1) | 0x80, digit(2) | 0x80, digit(3)]);
    }

    /// An attribute, as field `number`.
    pub(super) fn attribute(&mut self, number: u32, name: &str, value: Value<'_>) {
        let mut text = Digits::new();
        match value {
            Value::Text(text) => self.text(number, name, text.as_bytes()),
            Value::Id(id) => self.text(number, name, &hex(id)),
            Value::Number(integer) => {
                decimal(&mut text, integer);
                self.text(number, name, &text);
            }
            Value::Dims(dims) => {
                shape(&mut text, dims);
                self.text(number, name, &text);
            }
            Value::Truth(truth) => {
                self.named(number, name, 2);
                self.integer(2, truth.into());
            }
            Value::Integer(integer) => {
                self.named(number, name, 1 + encoded_len_varint(integer as u64));
                self.integer(3, integer as u64);
            }
            Value::Double(double) => {
                self.named(number, name, 9);
                self.fixed64(4, double.to_bits());
            }
        }
    }

    #[inline(always)]
    fn text(&mut self, number: u32, name: &str, text: &[u8]) {
        self.named(number, name, field_len(text.len()));
        self.bytes(1, text);
    }

    /// Begins an attribute whose value is so long.
    #[inline(always)]
    fn named(&mut self, number: u32, name: &str, value_len: usize) {
        let len = field_len(name.len()) + field_len(value_len);
        self.head(number, len);
        self.bytes(1, name.as_bytes());
        self.head(2, value_len);
    }
}

/// Of bytes of that length behind their key, which is one byte.
#[inline]
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

/// A text of few digits. The standard library's formatting takes several times as long.
type Digits = SmallVec<[u8; 64]>;

fn hex(id: u64) -> [u8; 16] {
    std::array::from_fn(|at| b"0123456789abcdef"[(id >> (60 - 4 * at)) as usize & 0xf])
}

fn decimal(text: &mut Digits, mut number: u64) {
    let from = text.len();
    loop {
        text.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break text[from..].reverse();
        }
    }
}

fn shape(text: &mut Digits, dims: &[i64]) {
    text.push(b'[');
    for (at, dim) in dims.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        decimal(text, dim.unsigned_abs());
    }
    text.push(b']');
}
