//! A tensor's head in a message, which inputs and outputs spell alike, and its data inside or beside it.

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use super::parameters::{Entries, parameter, refuse_shared_memory};
use super::{Form, contents};
use crate::error::{Error, Result};
use crate::infer::Parameters;
use crate::tensor::{DType, Dims, Shape, Tensor};
use crate::wire::protobuf::{Fields, Value, field_len, malformed, put_bytes, put_head, put_varint, varint, varint_len};

/// The number of the tensors' heads, in requests and answers alike.
pub(super) const HEADS: u32 = 5;

/// What a message calls its tensors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Input,
    Output,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Input => "input",
            Side::Output => "output",
        }
    }

    /// The field that carries data beside the heads.
    fn raw_contents(self) -> &'static str {
        match self {
            Side::Input => "raw_input_contents",
            Side::Output => "raw_output_contents",
        }
    }
}

/// The tensors of a message before their heads and their data are brought together.
pub(super) struct Tensors {
    side: Side,
    heads: SmallVec<[Head; 2]>,
    raw: SmallVec<[Bytes; 2]>,
}

impl Tensors {
    /// None yet.
    pub(super) fn of(side: Side) -> Tensors {
        Tensors { side, heads: SmallVec::new(), raw: SmallVec::new() }
    }

    /// Takes the next head.
    pub(super) fn push_head(&mut self, message: Bytes, entries: &mut Entries) -> Result<()> {
        self.heads.push(Head::walk(self.side, message, entries)?);
        Ok(())
    }

    /// Takes the next data beside the heads.
    pub(super) fn push_raw(&mut self, raw: Bytes, entries: &mut Entries) -> Result<()> {
        self.raw.push(entries.count(raw)?);
        Ok(())
    }

    /// Heads and data brought together, and how the data was carried.
    ///
    /// # Errors
    /// `Invalid` where they contradict each other, `TooLarge` where typed elements take more than `limit` bytes.
    pub(super) fn understood(self, limit: usize) -> Result<(SmallVec<[Tensor; 1]>, Form)> {
        if self.raw.is_empty() && !self.heads.is_empty() {
            Ok((self.typed(limit)?, Form::Typed))
        } else {
            Ok((self.raw()?, Form::Raw))
        }
    }

    fn typed(self, limit: usize) -> Result<SmallVec<[Tensor; 1]>> {
        let mut room = limit;
        let typed = |head: Head| {
            let tensor = head.typed(self.side, room)?;
            room -= tensor.data().len();
            Ok(tensor)
        };
        self.heads.into_iter().map(typed).collect()
    }

    fn raw(self) -> Result<SmallVec<[Tensor; 1]>> {
        let (side, field) = (self.side.name(), self.side.raw_contents());
        if let Some(head) = self.heads.iter().find(|head| !head.contents.is_empty()) {
            let name = &head.name;
            return Err(Error::invalid(format!("{side} {name:?} has contents, but {field} are used")));
        }
        if self.heads.len() != self.raw.len() {
            let (heads, raw) = (self.heads.len(), self.raw.len());
            return Err(Error::invalid(format!("{heads} {side}s, but {raw} {field}")));
        }
        self.heads.into_iter().zip(self.raw).map(|(head, raw)| head.raw(self.side, raw)).collect()
    }
}

/// `InferInputTensor` or `InferOutputTensor`: a tensor before its data is understood.
struct Head {
    name: ByteString,
    dtype: DType,
    shape: Shape,
    contents: SmallVec<[Bytes; 1]>,
}

impl Head {
    fn walk(side: Side, message: Bytes, entries: &mut Entries) -> Result<Head> {
        let (mut name, mut datatype) = (ByteString::new(), ByteString::new());
        let (mut dims, mut contents, mut parameters) = (Dims::default(), SmallVec::new(), Parameters::default());
        let mut fields = Fields::new(entries.count(message)?);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => name = value.text()?,
                2 => datatype = value.text()?,
                3 => append_dims(&mut dims, value)?,
                4 => parameter(&mut parameters, value.bytes()?, entries)?,
                5 => contents.push(entries.count(value.bytes()?)?),
                _ => {}
            }
        }
        let blamed = |error: Error| error.within(format_args!("{} {name:?}", side.name()));
        refuse_shared_memory(&parameters).map_err(blamed)?;
        let dtype = data_type(&datatype).map_err(blamed)?;
        let shape = dims.shape().map_err(blamed)?;
        Ok(Head { name, dtype, shape, contents })
    }

    fn raw(self, side: Side, raw: Bytes) -> Result<Tensor> {
        Tensor::new(self.name, self.dtype, self.shape, raw.into()).map_err(|error| of_side(side, error))
    }

    fn typed(self, side: Side, room: usize) -> Result<Tensor> {
        let data = contents::decode(self.dtype, &self.contents, side.raw_contents(), room)
            .map_err(|error| error.within(format_args!("{} {:?}", side.name(), self.name)))?;
        Tensor::new(self.name, self.dtype, self.shape, data).map_err(|error| of_side(side, error))
    }
}

fn data_type(name: &str) -> Result<DType> {
    DType::from_name(name).ok_or_else(|| {
        let shown: String = name.chars().take(20).collect();
        Error::invalid(format!("unknown datatype {shown:?}"))
    })
}

/// A tensor's error speaks of tensors in general; here it is an input or an output.
fn of_side(side: Side, error: Error) -> Error {
    match error.message().strip_prefix("tensor ") {
        Some(rest) => Error::new(error.kind(), format!("{} {rest}", side.name())),
        None => error,
    }
}

/// Appends one occurrence of `shape`: one dimension, or packed ones.
fn append_dims(dims: &mut Dims, value: Value) -> Result<()> {
    match value {
        Value::Varint(dim) => dims.push(dim as i64),
        Value::Bytes(mut packed) => {
            while packed.has_remaining() {
                dims.push(varint(&mut packed)? as i64);
            }
        }
        _ => return Err(malformed("a shape has another wire type than its number says")),
    }
    Ok(())
}

/// Writes a tensor's head, in the typed form with its data.
pub(super) fn put_tensor(out: &mut BytesMut, tensor: &Tensor, form: Form) {
    let (name, datatype) = (tensor.name().as_bytes(), tensor.dtype().name().as_bytes());
    let dims: usize = tensor.shape().iter().map(|dim| varint_len(*dim as u64)).sum();
    let contents = if form == Form::Typed { contents::encode(tensor) } else { Vec::new() };
    let field = |len: usize| if len == 0 { 0 } else { field_len(len) };
    // Contents are there even where they are empty, in the typed form: they say which form it is.
    let contents_len = if form == Form::Typed { field_len(contents.len()) } else { 0 };
    put_head(out, HEADS, field(name.len()) + field(datatype.len()) + field(dims) + contents_len);
    put_bytes(out, 1, name);
    put_bytes(out, 2, datatype);
    if dims > 0 {
        put_head(out, 3, dims);
        tensor.shape().iter().for_each(|dim| put_varint(out, *dim as u64));
    }
    if form == Form::Typed {
        put_head(out, 5, contents.len());
        out.extend_from_slice(&contents);
    }
}
