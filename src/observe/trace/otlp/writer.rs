//! Protobuf as it is written: fields, messages within messages, attributes.

use prost::encoding::{encode_varint, encoded_len_varint};
use smallvec::SmallVec;

use super::field::{ATTRIBUTE, TRACE_ID};
use super::key::Key;

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
pub(super) const LENGTH: usize = 4;

/// Most of a length that one byte holds.
const SHORT: usize = 0x7f;

/// Wire types.
pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const BYTES: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// The key of a field whose number is below 16, which is one byte.
pub(super) const fn key(number: u32, wire_type: u32) -> u8 {
    (number << 3 | wire_type) as u8
}

impl Writer {
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, value: u64) {
        encode_varint(value, &mut self.0);
    }

    #[inline(always)]
    pub(super) fn integer(&mut self, number: u32, value: u64) {
        self.0.push(key(number, VARINT));
        self.varint(value);
    }

    #[inline(always)]
    fn head(&mut self, number: u32, len: usize) {
        if len <= SHORT {
            self.put(&[key(number, BYTES), len as u8]);
        } else {
            self.0.push(key(number, BYTES));
            self.varint(len as u64);
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.head(number, bytes.len());
        self.put(bytes);
    }

    /// The id of a trace, by the number that it has in spans and in links.
    #[inline(always)]
    pub(super) fn trace(&mut self, id: u128) {
        // Put together with its key it would be moved byte by byte.
        self.put(&[key(TRACE_ID, BYTES), 16]);
        self.put(&id.to_be_bytes());
    }

    /// The id of a span.
    #[inline(always)]
    pub(super) fn id(&mut self, number: u32, id: u64) {
        self.put(&[key(number, BYTES), 8]);
        self.put(&id.to_be_bytes());
    }

    /// Begins a message within this one.
    #[inline(always)]
    pub(super) fn begin(&mut self, number: u32) -> Begun {
        self.put(&[key(number, BYTES), 0, 0, 0, 0]);
        Begun(self.0.len())
    }

    /// Ends it.
    #[inline(always)]
    pub(super) fn end(&mut self, Begun(from): Begun) {
        let len = (self.0.len() - from) as u32;
        let digit = |at: usize| (len >> (7 * at)) as u8 & 0x7f;
        self.0[from - LENGTH..from].copy_from_slice(&[digit(0) | 0x80, digit(1) | 0x80, digit(2) | 0x80, digit(3)]);
    }

    /// An attribute of a span.
    #[inline(always)]
    pub(super) fn attribute(&mut self, name: &Key, value: Value<'_>) {
        match value {
            Value::Text(text) => self.text(name, text.as_bytes()),
            Value::Id(id) => self.text(name, &hex(id)),
            Value::Number(integer) => self.text(name, Decimal::of(integer).digits()),
            Value::Dims(dims) => self.text(name, &shape(dims)),
            Value::Truth(truth) => self.fixed(name, [2, key(2, VARINT), truth.into()]),
            Value::Integer(integer @ 0..=0x7f) => self.fixed(name, [2, key(3, VARINT), integer as u8]),
            Value::Integer(integer) => self.long_integer(name, integer as u64),
            Value::Double(double) => {
                let mut value = [9, key(4, FIXED64), 0, 0, 0, 0, 0, 0, 0, 0];
                value[2..].copy_from_slice(&double.to_le_bytes());
                self.fixed(name, value);
            }
        }
    }

    /// An attribute whose value and its length take so many bytes.
    #[inline(always)]
    fn fixed<const LEN: usize>(&mut self, name: &Key, value: [u8; LEN]) {
        self.name(name, LEN);
        self.put(&value);
    }

    /// Begins an attribute whose value takes so many bytes with its length, and all of it no more than one byte counts.
    #[inline(always)]
    fn name(&mut self, name: &Key, value: usize) {
        let (until, mut bytes) = (self.0.len() + name.len, name.bytes);
        bytes[Key::LENGTH_AT] = (name.len - Key::LENGTH_AT - 1 + value) as u8;
        self.put(&bytes);
        self.0.truncate(until);
    }

    #[inline(always)]
    fn text(&mut self, name: &Key, text: &[u8]) {
        // Behind the name: the value's length, its key, the text's length, and that.
        if name.len + 3 + text.len() > SHORT {
            return self.long_text(name, text);
        }
        self.name(name, 3 + text.len());
        self.put(&[2 + text.len() as u8, key(1, BYTES), text.len() as u8]);
        self.put(text);
    }

    #[cold]
    #[inline(never)]
    fn long_text(&mut self, name: &Key, text: &[u8]) {
        self.named(ATTRIBUTE, name.name(), field_len(text.len()));
        self.bytes(1, text);
    }

    #[inline(never)]
    fn long_integer(&mut self, name: &Key, integer: u64) {
        self.named(ATTRIBUTE, name.name(), 1 + encoded_len_varint(integer));
        self.integer(3, integer);
    }

    /// An attribute as field `number`, of what is no span.
    pub(super) fn told(&mut self, number: u32, name: &str, text: &str) {
        self.named(number, name.as_bytes(), field_len(text.len()));
        self.bytes(1, text.as_bytes());
    }

    /// Begins an attribute whose value is so long.
    fn named(&mut self, number: u32, name: &[u8], value: usize) {
        self.head(number, field_len(name.len()) + field_len(value));
        self.bytes(1, name);
        self.head(2, value);
    }
}

/// Of bytes of that length behind their key, which is one byte.
#[inline]
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn hex(id: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (digits, byte) in text.chunks_exact_mut(2).zip(id.to_be_bytes()) {
        digits.copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < digits.len() {
        digits[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 0xf]];
        byte += 1;
    }
    digits
};

/// A number as text. The standard library's formatting takes several times as long.
struct Decimal {
    digits: [u8; Decimal::MOST],
    from: usize,
}

impl Decimal {
    /// Digits of the largest.
    const MOST: usize = 20;

    fn of(mut number: u64) -> Decimal {
        let (mut digits, mut from) = ([0; Decimal::MOST], Decimal::MOST);
        loop {
            from -= 1;
            digits[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break Decimal { digits, from };
            }
        }
    }

    fn digits(&self) -> &[u8] {
        &self.digits[self.from..]
    }
}

fn shape(dims: &[i64]) -> SmallVec<[u8; 64]> {
    let mut text = SmallVec::new();
    text.push(b'[');
    for (at, dim) in dims.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(Decimal::of(dim.unsigned_abs()).digits());
    }
    text.push(b']');
    text
}
