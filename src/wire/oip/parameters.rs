//! Parameters of a call, an answer or a tensor, and what they ask for.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::error::{Error, Result};
use crate::infer::{Parameter, Parameters};
use crate::wire::protobuf::{Fields, Value, malformed, put_bytes, put_head, put_integer};

/// More tensors, outputs and parameters than this in one message, at all depths, are refused before they are kept: a
/// lookup among them is a walk over all of them.
const MAX_ENTRIES: usize = 4096;

/// The parameter of an output that asks for classes.
pub(super) const CLASSIFICATION: &str = "classification";

/// How many entries a message has had so far.
#[derive(Default)]
pub(super) struct Entries(usize);

impl Entries {
    /// Lets one more through.
    pub(super) fn count(&mut self, entry: Bytes) -> Result<Bytes> {
        self.0 += 1;
        if self.0 > MAX_ENTRIES {
            return Err(Error::invalid(format!("more than {MAX_ENTRIES} tensors, outputs and parameters")));
        }
        Ok(entry)
    }
}

/// One entry of a `map<string, InferParameter>`.
pub(super) fn parameter(parameters: &mut Parameters, entry: Bytes, entries: &mut Entries) -> Result<()> {
    let (mut name, mut parsed) = (ByteString::new(), None);
    let mut fields = Fields::new(entries.count(entry)?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => parsed = parameter_value(value.bytes()?)?.or(parsed),
            _ => {}
        }
    }
    match parsed {
        Some(value) => parameters.set(name, value),
        None => return Err(Error::invalid(format!("parameter {name:?} has no value"))),
    }
    Ok(())
}

fn parameter_value(message: Bytes) -> Result<Option<Parameter>> {
    let mut parsed = None;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        parsed = Some(match (number, value) {
            (1, value) => Parameter::Bool(value.varint()? != 0),
            (2, value) => Parameter::Int(value.varint()? as i64),
            (3, value) => Parameter::String(value.text()?),
            (4, Value::Fixed64(bits)) => Parameter::Double(f64::from_bits(bits)),
            (5, value) => Parameter::Uint(value.varint()?),
            (4, _) => return Err(malformed("a double parameter has another wire type")),
            _ => continue,
        });
    }
    Ok(parsed)
}

/// Refuses a tensor that lies in shared memory.
pub(super) fn refuse_shared_memory(parameters: &Parameters) -> Result<()> {
    match parameters.get("shared_memory_region") {
        Some(_) => Err(Error::unsupported("tensors in shared memory are not served")),
        None => Ok(()),
    }
}

/// The `classification` parameter: how many classes are wanted.
pub(super) fn classes(parameters: &Parameters) -> Result<Option<u32>> {
    let count = match parameters.get(CLASSIFICATION) {
        None => return Ok(None),
        Some(Parameter::Int(count)) => u32::try_from(*count).ok(),
        Some(Parameter::Uint(count)) => u32::try_from(*count).ok(),
        Some(_) => None,
    };
    match count {
        Some(count) if count > 0 => Ok(Some(count)),
        _ => Err(Error::invalid("parameter \"classification\" must be a positive integer")),
    }
}

/// Writes a `map<string, InferParameter>` as field `number`.
pub(super) fn put_parameters(out: &mut BytesMut, number: u32, parameters: &Parameters) {
    for (name, value) in parameters.iter() {
        let mut parameter = Vec::new();
        match value {
            Parameter::Bool(value) => put_integer(&mut parameter, 1, u64::from(*value)),
            Parameter::Int(value) => put_integer(&mut parameter, 2, *value as u64),
            Parameter::String(value) => {
                put_head(&mut parameter, 3, value.len());
                parameter.extend_from_slice(value.as_bytes());
            }
            Parameter::Double(value) => {
                parameter.put_u8(4 << 3 | 1);
                parameter.put_f64_le(*value);
            }
            Parameter::Uint(value) => put_integer(&mut parameter, 5, *value),
        }
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, name.as_bytes());
        put_head(&mut entry, 2, parameter.len());
        entry.extend_from_slice(&parameter);
        put_head(out, number, entry.len());
        out.extend_from_slice(&entry);
    }
}
