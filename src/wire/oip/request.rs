//! `ModelInferRequest` on its way in.

use bytes::{Buf, Bytes};
use bytestring::ByteString;
use smallvec::SmallVec;

use super::parameters::{Entries, classes, parameter, refuse_shared_memory};
use super::{Form, contents};
use crate::error::{Error, Result};
use crate::infer::{Parameters, Target, WantedOutput};
use crate::tensor::{DType, Dims, Shape, Tensor};
use crate::wire::protobuf::{Fields, Value, malformed, varint};

/// The number of `raw_input_contents`, the field that holds the large bytes.
pub const RAW_CONTENTS: u32 = 7;

/// A call as its message says it.
#[derive(Debug)]
pub struct Call {
    /// Which model.
    pub target: Target,
    /// The caller's id of the call, to be echoed.
    pub id: ByteString,
    /// Parameters of the call.
    pub parameters: Parameters,
    /// What goes in.
    pub inputs: SmallVec<[Tensor; 1]>,
    /// What is wanted; empty for all.
    pub outputs: Vec<WantedOutput>,
    /// How the tensors were carried.
    pub form: Form,
}

/// Walks a `ModelInferRequest` to its end.
///
/// # Errors
/// `Invalid` where it is no such message, names no legal model, or its tensors contradict themselves; `Unsupported`
/// for tensors in shared memory, `TooLarge` where typed elements take more than `limit` bytes.
pub fn decode(message: Bytes, limit: usize) -> Result<Call> {
    let message = Message::walk(message)?;
    let target = Target::parse(message.model_name, &message.model_version)?;
    let form = if message.raw.is_empty() && !message.inputs.is_empty() { Form::Typed } else { Form::Raw };
    let inputs = match form {
        Form::Raw => raw_inputs(message.inputs, message.raw)?,
        Form::Typed => typed_inputs(message.inputs, limit)?,
    };
    Ok(Call { target, id: message.id, parameters: message.parameters, inputs, outputs: message.outputs, form })
}

/// The caller's id in a message that may be malformed otherwise: empty where it cannot be told.
pub fn id(message: &Bytes) -> ByteString {
    let (mut id, mut fields) = (ByteString::new(), Fields::new(message.clone()));
    while let Ok(Some((number, value))) = fields.next() {
        if number == 3 {
            id = value.text().unwrap_or_default();
        }
    }
    id
}

fn typed_inputs(inputs: SmallVec<[Input; 2]>, limit: usize) -> Result<SmallVec<[Tensor; 1]>> {
    let mut room = limit;
    let typed = |input: Input| {
        let tensor = input.typed(room)?;
        room -= tensor.data().len();
        Ok(tensor)
    };
    inputs.into_iter().map(typed).collect()
}

fn raw_inputs(inputs: SmallVec<[Input; 2]>, raw: SmallVec<[Bytes; 2]>) -> Result<SmallVec<[Tensor; 1]>> {
    if let Some(input) = inputs.iter().find(|input| !input.contents.is_empty()) {
        let name = &input.name;
        return Err(Error::invalid(format!("input {name:?} has contents, but raw_input_contents are used")));
    }
    if inputs.len() != raw.len() {
        let (inputs, raw) = (inputs.len(), raw.len());
        return Err(Error::invalid(format!("{inputs} inputs, but {raw} raw_input_contents")));
    }
    inputs.into_iter().zip(raw).map(|(input, raw)| input.raw(raw)).collect()
}

/// The fields of the message before they are understood.
#[derive(Default)]
struct Message {
    model_name: ByteString,
    model_version: ByteString,
    id: ByteString,
    parameters: Parameters,
    inputs: SmallVec<[Input; 2]>,
    outputs: Vec<WantedOutput>,
    raw: SmallVec<[Bytes; 2]>,
}

impl Message {
    fn walk(message: Bytes) -> Result<Message> {
        let mut walked = Message::default();
        let mut fields = Fields::new(message);
        let mut entries = Entries::default();
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => walked.model_name = value.text()?,
                2 => walked.model_version = value.text()?,
                3 => walked.id = value.text()?,
                4 => parameter(&mut walked.parameters, value.bytes()?, &mut entries)?,
                5 => walked.inputs.push(Input::walk(value.bytes()?, &mut entries)?),
                6 => walked.outputs.push(wanted_output(value.bytes()?, &mut entries)?),
                RAW_CONTENTS => walked.raw.push(entries.count(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(walked)
    }
}

/// `InferInputTensor` before its type is understood.
struct Input {
    name: ByteString,
    dtype: DType,
    shape: Shape,
    contents: SmallVec<[Bytes; 1]>,
}

impl Input {
    fn walk(message: Bytes, entries: &mut Entries) -> Result<Input> {
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
        Input::understand(name, &datatype, &dims, &parameters, contents)
    }

    fn understand(
        name: ByteString,
        datatype: &str,
        dims: &Dims,
        parameters: &Parameters,
        contents: SmallVec<[Bytes; 1]>,
    ) -> Result<Input> {
        let blamed = |error: Error| error.within(format_args!("input {name:?}"));
        refuse_shared_memory(parameters).map_err(blamed)?;
        let dtype = DType::from_name(datatype).ok_or_else(|| {
            let shown: String = datatype.chars().take(20).collect();
            blamed(Error::invalid(format!("unknown datatype {shown:?}")))
        })?;
        let shape = dims.shape().map_err(blamed)?;
        Ok(Input { name, dtype, shape, contents })
    }

    fn raw(self, raw: Bytes) -> Result<Tensor> {
        Tensor::new(self.name, self.dtype, self.shape, raw.into()).map_err(as_input)
    }

    fn typed(self, room: usize) -> Result<Tensor> {
        let data = contents::decode(self.dtype, &self.contents, room)
            .map_err(|error| error.within(format_args!("input {:?}", self.name)))?;
        Tensor::new(self.name, self.dtype, self.shape, data).map_err(as_input)
    }
}

/// A tensor's error speaks of tensors in general; here it is an input.
fn as_input(error: Error) -> Error {
    match error.message().strip_prefix("tensor ") {
        Some(rest) => Error::new(error.kind(), format!("input {rest}")),
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

/// `InferRequestedOutputTensor`.
fn wanted_output(message: Bytes, entries: &mut Entries) -> Result<WantedOutput> {
    let (mut name, mut parameters) = (ByteString::new(), Parameters::default());
    let mut fields = Fields::new(entries.count(message)?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => parameter(&mut parameters, value.bytes()?, entries)?,
            _ => {}
        }
    }
    let blamed = |error: Error| error.within(format_args!("output {name:?}"));
    refuse_shared_memory(&parameters).map_err(blamed)?;
    let classes = classes(&parameters).map_err(blamed)?;
    Ok(WantedOutput { name, classes })
}
