//! `PredictRequest` on its way in.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::{Form, SIGNATURE, tensor};
use crate::error::{Error, Result};
use crate::infer::{ModelName, Target, Version, VersionChoice, WantedOutput};
use crate::tensor::Tensor;
use crate::wire::protobuf::Fields;

/// More inputs and filters than this are refused before they are kept: a lookup among them is a walk over all of them.
const MAX_ENTRIES: usize = 1024;

/// A call as its message says it.
#[derive(Debug)]
pub struct Call {
    /// Which model.
    pub target: Target,
    /// What goes in.
    pub inputs: SmallVec<[Tensor; 1]>,
    /// What is wanted; empty for all.
    pub outputs: Vec<WantedOutput>,
    /// How the tensors were carried.
    pub form: Form,
}

/// Walks a `PredictRequest` to its end. Short lists of values are filled up to `limit` bytes in all.
///
/// # Errors
/// `Invalid` where it is no such message or contradicts itself, `UnknownModel` for another signature than the default
/// one, `TooLarge` where filling up would take more than `limit`, `Unsupported` for streamed options.
pub fn decode(message: Bytes, limit: usize) -> Result<Call> {
    let (mut spec, mut inputs, mut outputs) = (ModelSpec::default(), SmallVec::<[Entry; 2]>::new(), Vec::new());
    let mut fields = Fields::new(message);
    let mut entries = 0;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => spec.merge(value.bytes()?)?,
            2 => insert(&mut inputs, Entry::walk(value.bytes()?)?),
            3 => outputs.push(WantedOutput { name: value.text()?, classes: None }),
            5 => return Err(Error::unsupported("streamed prediction is not served")),
            _ => continue,
        }
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(Error::invalid(format!("more than {MAX_ENTRIES} inputs and output filters")));
        }
    }
    let target = spec.target()?;
    let (inputs, form) = tensors(inputs, limit)?;
    Ok(Call { target, inputs, outputs, form })
}

/// The last of equal keys counts, as in every protobuf map.
fn insert(inputs: &mut SmallVec<[Entry; 2]>, entry: Entry) {
    match inputs.iter_mut().find(|known| known.name == entry.name) {
        Some(known) => *known = entry,
        None => inputs.push(entry),
    }
}

fn tensors(entries: SmallVec<[Entry; 2]>, limit: usize) -> Result<(SmallVec<[Tensor; 1]>, Form)> {
    let mut form = Form::Values;
    let mut room = limit;
    let mut inputs = SmallVec::with_capacity(entries.len());
    for Entry { name, proto } in entries {
        let blamed = |error: Error| error.within(format_args!("input {name:?}"));
        let (input, used) = tensor::decode(name.clone(), proto, room).map_err(blamed)?;
        if used == Form::Content {
            form = Form::Content;
        }
        room = room.saturating_sub(input.data().len());
        inputs.push(input);
    }
    Ok((inputs, form))
}

/// `ModelSpec`.
#[derive(Default)]
struct ModelSpec {
    name: ByteString,
    version: VersionChoice,
    signature: ByteString,
}

impl ModelSpec {
    fn merge(&mut self, message: Bytes) -> Result<()> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.name = value.text()?,
                2 => self.version = VersionChoice::Exact(self.wrapped_version(value.bytes()?)?),
                3 => self.signature = value.text()?,
                4 => self.version = VersionChoice::Label(value.text()?),
                _ => {}
            }
        }
        Ok(())
    }

    /// `google.protobuf.Int64Value`, merged into the version that is there.
    fn wrapped_version(&self, message: Bytes) -> Result<Version> {
        let mut number = match self.version {
            VersionChoice::Exact(version) => version.number() as u64,
            _ => 0,
        };
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                number = value.varint()?;
            }
        }
        Version::new(number).ok_or_else(|| Error::invalid(format!("model version {} is negative", number as i64)))
    }

    fn target(self) -> Result<Target> {
        let name = ModelName::new(self.name)?;
        if !self.signature.is_empty() && self.signature != SIGNATURE {
            let signature: String = self.signature.chars().take(40).collect();
            return Err(Error::new(
                crate::error::Kind::UnknownModel,
                format!("signature {signature:?} is not known, the model has {SIGNATURE:?}"),
            ));
        }
        Ok(Target { name, version: self.version })
    }
}

/// One entry of `inputs`.
struct Entry {
    name: ByteString,
    proto: tensor::Proto,
}

impl Entry {
    fn walk(entry: Bytes) -> Result<Entry> {
        let (mut name, mut proto) = (ByteString::new(), tensor::Proto::default());
        let mut fields = Fields::new(entry);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => name = value.text()?,
                2 => proto.merge(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(Entry { name, proto })
    }
}
