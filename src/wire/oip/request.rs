//! `ModelInferRequest` on its way in.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::Form;
use super::parameters::{Entries, classes, parameter, refuse_shared_memory};
use super::tensor::{HEADS, Side, Tensors};
use crate::error::{Error, Result};
use crate::infer::{Parameters, Target, WantedOutput};
use crate::tensor::Tensor;
use crate::wire::protobuf::Fields;

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
    let (inputs, form) = message.inputs.understood(limit)?;
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

/// The fields of the message before they are understood.
struct Message {
    model_name: ByteString,
    model_version: ByteString,
    id: ByteString,
    parameters: Parameters,
    inputs: Tensors,
    outputs: Vec<WantedOutput>,
}

impl Message {
    fn walk(message: Bytes) -> Result<Message> {
        let mut walked = Message {
            model_name: ByteString::new(),
            model_version: ByteString::new(),
            id: ByteString::new(),
            parameters: Parameters::default(),
            inputs: Tensors::of(Side::Input),
            outputs: Vec::new(),
        };
        let mut fields = Fields::new(message);
        let mut entries = Entries::default();
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => walked.model_name = value.text()?,
                2 => walked.model_version = value.text()?,
                3 => walked.id = value.text()?,
                4 => parameter(&mut walked.parameters, value.bytes()?, &mut entries)?,
                HEADS => walked.inputs.push_head(value.bytes()?, &mut entries)?,
                6 => walked.outputs.push(wanted_output(value.bytes()?, &mut entries)?),
                RAW_CONTENTS => walked.inputs.push_raw(value.bytes()?, &mut entries)?,
                _ => {}
            }
        }
        Ok(walked)
    }
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
