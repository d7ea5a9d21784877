//! `tensorflow.TensorProto` to a tensor and back, with TensorFlow's rules for lists that are shorter than the shape.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::Form;
use crate::error::{Error, Kind, Result};
use crate::tensor::{DType, Dims, Rope, Shape, Tensor, strings};
use crate::wire::elements::{Elements, packed};
use crate::wire::protobuf::{Fields, put_head, put_integer, varint_len};

const DTYPE: u32 = 1;
const SHAPE: u32 = 2;
const CONTENT: u32 = 4;

/// TensorFlow's number of an element type.
pub fn data_type(dtype: DType) -> i32 {
    match dtype {
        DType::Fp32 => 1,
        DType::Fp64 => 2,
        DType::Int32 => 3,
        DType::Uint8 => 4,
        DType::Int16 => 5,
        DType::Int8 => 6,
        DType::Bytes => 7,
        DType::Int64 => 9,
        DType::Bool => 10,
        DType::Bf16 => 14,
        DType::Uint16 => 17,
        DType::Fp16 => 19,
        DType::Uint32 => 22,
        DType::Uint64 => 23,
    }
}

/// The element type of TensorFlow's number.
pub fn dtype(data_type: i32) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| self::data_type(*dtype) == data_type)
}

/// The list that carries elements of a type.
fn values_field(dtype: DType) -> u32 {
    match dtype {
        DType::Fp32 => 5,
        DType::Fp64 => 6,
        DType::Int32 | DType::Int16 | DType::Int8 | DType::Uint16 | DType::Uint8 => 7,
        DType::Bytes => 8,
        DType::Int64 => 10,
        DType::Bool => 11,
        DType::Fp16 | DType::Bf16 => 13,
        DType::Uint32 => 16,
        DType::Uint64 => 17,
    }
}

/// A `TensorProto` cut in more pieces than this is refused: a writer needs one.
const MAX_PIECES: usize = 1024;

/// The fields of a `TensorProto` before they are understood.
#[derive(Default)]
pub(super) struct Proto {
    dtype: i32,
    dims: Dims,
    unknown_rank: bool,
    content: Bytes,
    /// Each occurrence of the message. They are walked again for the lists, since the type that says how to read them
    /// may come last, and keeping each element as it comes would take many times its size.
    occurrences: SmallVec<[Bytes; 1]>,
}

impl Proto {
    /// Adds the fields of one occurrence of the message.
    pub(super) fn merge(&mut self, message: Bytes) -> Result<()> {
        if self.occurrences.len() == MAX_PIECES {
            return Err(Error::invalid(format!("a tensor is in more than {MAX_PIECES} pieces")));
        }
        self.occurrences.push(message.clone());
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                DTYPE => self.dtype = value.varint()? as i32,
                SHAPE => self.shape(value.bytes()?)?,
                CONTENT => self.content = value.bytes()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn shape(&mut self, message: Bytes) -> Result<()> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => self.dims.push(dim(value.bytes()?)?),
                3 => self.unknown_rank = value.varint()? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn dim(message: Bytes) -> Result<i64> {
    let mut size = 0;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            size = value.varint()? as i64;
        }
    }
    Ok(size)
}

/// The tensor that the fields describe, of `room` bytes at most.
pub(super) fn decode(name: ByteString, proto: Proto, room: usize) -> Result<(Tensor, Form)> {
    let Some(dtype) = dtype(proto.dtype) else {
        return Err(Error::invalid(format!("TensorFlow's data type {} is not served", proto.dtype)));
    };
    if proto.unknown_rank {
        return Err(Error::invalid("a tensor of unknown rank"));
    }
    let shape = proto.dims.shape()?;
    let (data, form) = match proto.content.is_empty() {
        false if dtype == DType::Bytes => return Err(Error::invalid("strings belong into string_val")),
        false => (proto.content.into(), Form::Content),
        true => (Rope::from(values(dtype, &shape, proto.occurrences, room)?), Form::Values),
    };
    let tensor = Tensor::new(name.clone(), dtype, shape, data).map_err(|error| without_name(error, &name))?;
    Ok((tensor, form))
}

/// The name is put before the message by whoever knows which input it is.
fn without_name(error: Error, name: &str) -> Error {
    match error.message().strip_prefix(&format!("tensor {name:?}: ")) {
        Some(rest) => Error::new(error.kind(), rest.to_owned()),
        None => error,
    }
}

/// The raw bytes of the lists: the last value repeats until the shape is full, none at all means zeros, and what is too
/// much is left out.
fn values(dtype: DType, shape: &Shape, occurrences: SmallVec<[Bytes; 1]>, room: usize) -> Result<Vec<u8>> {
    let expected = values_field(dtype);
    let mut listed = Elements::new(dtype, occurrences.iter().map(Bytes::len).sum(), room);
    for occurrence in occurrences {
        let mut fields = Fields::new(occurrence);
        while let Some((number, value)) = fields.next()? {
            if number == expected {
                listed.append(value)?;
            }
        }
    }
    let (raw, elements) = (listed.into_raw(), shape.elements());
    match dtype.size() {
        Some(size) => fill(raw, size, elements, room),
        None => fill_strings(raw, elements, room),
    }
}

fn fill(mut raw: Vec<u8>, size: usize, elements: usize, room: usize) -> Result<Vec<u8>> {
    let wanted =
        elements.checked_mul(size).filter(|wanted| *wanted <= room).ok_or_else(|| too_large(elements, room))?;
    raw.truncate(wanted);
    let last = match raw.len().checked_sub(size) {
        Some(start) => raw[start..].to_vec(),
        None => vec![0; size],
    };
    repeat(&mut raw, &last, wanted);
    Ok(raw)
}

/// Looks first at what it would take: a request of some bytes may ask for a tensor of any size.
fn fill_strings(mut raw: Vec<u8>, elements: usize, room: usize) -> Result<Vec<u8>> {
    let (mut count, mut end, mut last) = (0, 0, &[0; strings::PREFIX][..]);
    for element in strings::Elements::new(&raw).take(elements) {
        let len = strings::PREFIX + element?.len();
        (count, end, last) = (count + 1, end + len, &raw[end..end + len]);
    }
    let wanted = (elements - count).checked_mul(last.len()).and_then(|missing| missing.checked_add(end));
    let wanted = wanted.filter(|wanted| *wanted <= room).ok_or_else(|| too_large(elements, room))?;
    let last = last.to_vec();
    raw.truncate(end);
    repeat(&mut raw, &last, wanted);
    Ok(raw)
}

/// Appends `last` until there are `wanted` bytes, each time as much as there is already.
fn repeat(raw: &mut Vec<u8>, last: &[u8], wanted: usize) {
    let from = raw.len();
    raw.reserve_exact(wanted - from);
    if from < wanted {
        raw.extend_from_slice(last);
    }
    while raw.len() < wanted {
        let more = (raw.len() - from).min(wanted - raw.len());
        raw.extend_from_within(from..from + more);
    }
}

fn too_large(elements: usize, room: usize) -> Error {
    Error::new(Kind::TooLarge, format!("{elements} elements take more than the {room} bytes that a message may have"))
}

/// The tensor's message. A content in raw form is shared and makes parts of its own.
pub(super) fn encode(tensor: &Tensor, form: Form) -> Rope {
    let mut head = Vec::with_capacity(64);
    put_integer(&mut head, DTYPE, data_type(tensor.dtype()) as u64);
    put_shape(&mut head, tensor.shape());
    if form == Form::Content && tensor.dtype() != DType::Bytes && !tensor.data().is_empty() {
        put_head(&mut head, CONTENT, tensor.data().len());
        let mut message = Rope::from(head);
        message.append(tensor.data().clone());
        return message;
    }
    put_values(&mut head, tensor);
    head.into()
}

fn put_shape(out: &mut Vec<u8>, shape: &Shape) {
    let mut dims = Vec::with_capacity(shape.len() * 4);
    for size in shape.iter() {
        put_head(&mut dims, 2, 1 + varint_len(*size as u64));
        put_integer(&mut dims, 1, *size as u64);
    }
    put_head(out, SHAPE, dims.len());
    out.extend_from_slice(&dims);
}

fn put_values(out: &mut Vec<u8>, tensor: &Tensor) {
    let field = values_field(tensor.dtype());
    if tensor.dtype() == DType::Bytes {
        for element in tensor.elements() {
            put_head(out, field, element.len());
            out.extend_from_slice(element);
        }
        return;
    }
    let packed = packed(tensor.dtype(), &tensor.data().to_bytes());
    if !packed.is_empty() {
        put_head(out, field, packed.len());
        out.extend_from_slice(&packed);
    }
}
