//! A backend's `ModelInferResponse` on its way in.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::Form;
use super::parameters::{Entries, parameter};
use super::tensor::{HEADS, Side, Tensors};
use crate::error::{Error, Kind, Result};
use crate::infer::{ModelName, Parameters, Version};
use crate::tensor::Tensor;
use crate::wire::protobuf::Fields;

/// The number of `raw_output_contents`, the field that holds the large bytes.
pub const RAW_OUTPUTS: u32 = 6;

/// An answer as its message says it. What some servers add to single outputs, such as how to show them, is only in the
/// message itself.
#[derive(Debug)]
pub struct Answer {
    /// The model that answered.
    pub model: ModelName,
    /// The version that answered; `None` where none is named, or one that is no number. Some servers name versions as
    /// they like.
    pub version: Option<Version>,
    /// The id of the call. Some servers make one up where the call had none.
    pub id: ByteString,
    /// Parameters of the answer.
    pub parameters: Parameters,
    /// What came out.
    pub outputs: SmallVec<[Tensor; 1]>,
    /// How the tensors were carried.
    pub form: Form,
}

/// Walks a `ModelInferResponse` to its end.
///
/// # Errors
/// `Engine` where it is no such message, names no legal model, its tensors contradict themselves or lie in shared
/// memory, or typed elements take more than `limit` bytes: whatever is wrong with it, it was not the caller.
pub fn answer(message: Bytes, limit: usize) -> Result<Answer> {
    walk(message, limit).map_err(|error| Error::new(Kind::Engine, format!("the backend's answer: {error}")))
}

fn walk(message: Bytes, limit: usize) -> Result<Answer> {
    let (mut model, mut version, mut id) = (ByteString::new(), ByteString::new(), ByteString::new());
    let (mut parameters, mut outputs) = (Parameters::default(), Tensors::of(Side::Output));
    let (mut fields, mut entries) = (Fields::new(message), Entries::default());
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => model = value.text()?,
            2 => version = value.text()?,
            3 => id = value.text()?,
            4 => parameter(&mut parameters, value.bytes()?, &mut entries)?,
            HEADS => outputs.push_head(value.bytes()?, &mut entries)?,
            RAW_OUTPUTS => outputs.push_raw(value.bytes()?, &mut entries)?,
            _ => {}
        }
    }
    let (model, version) = (ModelName::new(model)?, version.parse().ok());
    let (outputs, form) = outputs.understood(limit)?;
    Ok(Answer { model, version, id, parameters, outputs, form })
}

/// Whether a `ModelInferResponse` that [`answer`] has read answers a call of this id in this form, so that it may be
/// forwarded as it came.
pub fn mirrors(message: &Bytes, id: &str, form: Form) -> bool {
    let (mut has_id, mut has_outputs, mut is_raw) = (id.is_empty(), false, false);
    let mut fields = Fields::new(message.clone());
    while let Ok(Some((number, value))) = fields.next() {
        match number {
            3 => has_id = value.bytes().is_ok_and(|told| told == id.as_bytes()),
            HEADS => has_outputs = true,
            RAW_OUTPUTS => is_raw = true,
            _ => {}
        }
    }
    has_id && (!has_outputs || is_raw == (form == Form::Raw))
}
