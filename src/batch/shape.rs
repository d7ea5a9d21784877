//! Which calls go together: what must be equal, and where padding makes it so.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use half::{bf16, f16};
use smallvec::SmallVec;

use super::rules::{Pad, Rules};
use crate::infer::{InferRequest, Parameter, Parameters, VersionChoice};
use crate::tensor::{BatchAxis, DType, Dim, Padding, Signature, Tensor, strings};

/// What calls must have in common to be run as one: version, parameters, and the shapes of their inputs without the
/// batch axis, where a padded dimension counts as its bucket. Each model keeps to one signature, so that the shapes in
/// its order tell the inputs and their types as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Alike {
    version: VersionChoice,
    dims: SmallVec<[i64; 8]>,
    parameters: Vec<u8>,
    /// Whether it runs alone: such calls wait apart from those that wait for company.
    alone: bool,
}

/// A call as the queue sees it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) alike: Alike,
    /// Rows along the batch axis; 1 where there is none.
    pub(super) rows: usize,
    /// Whether it may be run with others.
    pub(super) merges: bool,
    /// Elements of its inputs.
    pub(super) elements: usize,
    /// The same with every padded dimension at its bucket.
    pub(super) padded_elements: usize,
    /// Its own shape without the rows and without padding, as a hash; of no meaning where nothing of it is padded.
    pub(super) own_shape: u64,
    /// Sizes of the padded dimensions, in the order of the rules; empty where nothing of it is padded.
    pub(super) sizes: SmallVec<[usize; 2]>,
}

/// Measures the calls of one model version.
pub(super) struct Shaper {
    pub(super) signature: Arc<Signature>,
    pub(super) axis: Option<BatchAxis>,
    merging: bool,
    pub(super) pads: Vec<Padded>,
}

/// A dimension that is padded, with the places where it stands.
pub(super) struct Padded {
    buckets: Vec<usize>,
    /// Input, dimension, and what it is padded with.
    pub(super) inputs: Vec<(usize, usize, Padding)>,
    /// Output and dimension.
    pub(super) outputs: Vec<(usize, usize)>,
}

/// No dimension has this size.
const ABSENT: i64 = -1;
/// Shapes without elements may say any number of rows, and padding of many dimensions is large quickly. No run is as
/// large, and sums of these do not overflow.
const MOST_ROWS: usize = u32::MAX as usize;
const MOST_ELEMENTS: usize = 1 << 40;

impl Shaper {
    /// A shaper for calls that fit `signature`.
    ///
    /// # Errors
    /// A sentence where the rules name a dimension or an input that the model does not have.
    pub(super) fn new(signature: Arc<Signature>, rules: &Rules) -> Result<Shaper, String> {
        let axis = rules.axis.clone();
        let merging = rules.max_batch > 1 && axis.is_some();
        let pads = match &axis {
            Some(axis) if merging => {
                rules.pads.iter().map(|pad| padded(&signature, axis, pad)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        Ok(Shaper { signature, axis, merging, pads })
    }

    /// Measures a call that was checked against the signature, and puts its inputs into the signature's order.
    pub(super) fn measure(&self, request: &mut InferRequest) -> Measured {
        self.put_in_order(&mut request.inputs);
        let rows = self.axis.as_ref().map(|axis| axis.rows(&self.signature, &request.inputs));
        let sizes = self.sizes(&request.inputs);
        let (mut dims, mut own, mut padded_elements, mut elements) = (SmallVec::new(), DefaultHasher::new(), 0, 0);
        let mut given = request.inputs.iter().peekable();
        for (index, spec) in self.signature.inputs.iter().enumerate() {
            let Some(tensor) = given.next_if(|tensor| *tensor.name() == spec.name) else {
                dims.push(ABSENT);
                continue;
            };
            let mut padded = 1usize;
            for (dim, size) in tensor.shape().iter().enumerate() {
                let bucket = self.bucket(index, dim, *size, &sizes);
                padded = padded.saturating_mul(bucket as usize);
                if self.axis.as_ref().is_none_or(|axis| axis.inputs()[index] != dim) {
                    dims.push(bucket);
                    if !sizes.is_empty() {
                        size.hash(&mut own);
                    }
                }
            }
            elements += tensor.shape().elements();
            padded_elements = padded.saturating_add(padded_elements).min(MOST_ELEMENTS);
        }
        let (version, parameters) = (request.model.version.clone(), canonical(&request.parameters));
        let merges = self.merging && matches!(rows, Some(Some(1..)));
        let rows = rows.flatten().unwrap_or(1).min(MOST_ROWS);
        let alike = Alike { version, dims, parameters, alone: !merges };
        Measured { alike, rows, merges, elements, padded_elements, own_shape: own.finish(), sizes }
    }

    /// Callers may give inputs in any order; merged calls have one.
    fn put_in_order(&self, inputs: &mut [Tensor]) {
        let place = |index: usize, tensor: &Tensor| self.signature.input_index(tensor.name(), index);
        if inputs.iter().enumerate().any(|(index, tensor)| place(index, tensor) != Some(index)) {
            inputs.sort_by_key(|tensor| place(0, tensor));
        }
    }

    /// Sizes of the padded dimensions; none where an input disagrees with another about one, or where one is empty: what
    /// takes no bytes would be padded to any size.
    fn sizes(&self, inputs: &[Tensor]) -> SmallVec<[usize; 2]> {
        let mut sizes = SmallVec::new();
        for pad in &self.pads {
            let mut places = pad.inputs.iter().filter_map(|(input, dim, _)| {
                let spec = &self.signature.inputs[*input];
                let tensor = inputs.iter().find(|tensor| *tensor.name() == spec.name)?;
                Some(tensor.shape()[*dim] as usize)
            });
            match places.next() {
                Some(size) if size > 0 && places.all(|other| other == size) => sizes.push(size),
                _ => return SmallVec::new(),
            }
        }
        sizes
    }

    /// The size that a dimension of an input counts as.
    fn bucket(&self, input: usize, dim: usize, size: i64, sizes: &[usize]) -> i64 {
        let stands_here = |pad: &&Padded| pad.inputs.iter().any(|(at, place, _)| (*at, *place) == (input, dim));
        match self.pads.iter().find(stands_here) {
            Some(pad) if !sizes.is_empty() => pad.bucket(size as usize) as i64,
            _ => size,
        }
    }
}

impl Measured {
    /// It may not be run with others.
    pub(super) fn stay_alone(&mut self) {
        (self.merges, self.alike.alone) = (false, true);
    }
}

impl Padded {
    /// The smallest bucket that holds `size`, or itself above the largest.
    pub(super) fn bucket(&self, size: usize) -> usize {
        self.buckets.iter().copied().find(|bucket| *bucket >= size).unwrap_or(size)
    }
}

impl Alike {
    /// The same, to be run alone.
    pub(super) fn alone(self) -> Alike {
        Alike { alone: true, ..self }
    }

    /// As a hash that is the same in each run of the process.
    pub(super) fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.dims.hash(&mut hasher);
        hasher.finish()
    }
}

fn padded(signature: &Signature, axis: &BatchAxis, pad: &Pad) -> Result<Padded, String> {
    let symbol = &*pad.symbol;
    if axis.symbol().is_some_and(|batch| *batch == symbol) {
        return Err(format!("dims.{symbol}: it is the batch axis, whose sizes are allowed_sizes"));
    }
    if let Some(mask) = pad.mask.as_ref().filter(|mask| !signature.inputs.iter().any(|spec| spec.name == **mask)) {
        return Err(format!("dims.{symbol}.mask: the model has no input {mask:?}"));
    }
    let mut found = Padded { buckets: pad.buckets.clone(), inputs: Vec::new(), outputs: Vec::new() };
    for (index, spec) in signature.inputs.iter().enumerate() {
        let value = if pad.mask.as_ref() == Some(&spec.name) { 0.0 } else { pad.value };
        for dim in places(&spec.dims, symbol) {
            found.inputs.push((index, dim, Padding::of(&element(spec.dtype, value))));
        }
    }
    for (index, spec) in signature.outputs.iter().enumerate() {
        found.outputs.extend(places(&spec.dims, symbol).map(|dim| (index, dim)));
    }
    match found.inputs.is_empty() {
        true => Err(format!("dims.{symbol}: no input of the model has such a dimension")),
        false => Ok(found),
    }
}

fn places<'a>(dims: &'a [Dim], symbol: &'a str) -> impl Iterator<Item = usize> + 'a {
    dims.iter().enumerate().filter(move |(_, dim)| dim.symbol() == Some(symbol)).map(|(place, _)| place)
}

/// A number as an element of that type; numbers out of range become the nearest in it.
fn element(dtype: DType, value: f64) -> SmallVec<[u8; 8]> {
    match dtype {
        DType::Bool => SmallVec::from_slice(&[u8::from(value != 0.0)]),
        DType::Uint8 => SmallVec::from_slice(&(value as u8).to_le_bytes()),
        DType::Uint16 => SmallVec::from_slice(&(value as u16).to_le_bytes()),
        DType::Uint32 => SmallVec::from_slice(&(value as u32).to_le_bytes()),
        DType::Uint64 => SmallVec::from_slice(&(value as u64).to_le_bytes()),
        DType::Int8 => SmallVec::from_slice(&(value as i8).to_le_bytes()),
        DType::Int16 => SmallVec::from_slice(&(value as i16).to_le_bytes()),
        DType::Int32 => SmallVec::from_slice(&(value as i32).to_le_bytes()),
        DType::Int64 => SmallVec::from_slice(&(value as i64).to_le_bytes()),
        DType::Fp16 => SmallVec::from_slice(&f16::from_f64(value).to_le_bytes()),
        DType::Bf16 => SmallVec::from_slice(&bf16::from_f64(value).to_le_bytes()),
        DType::Fp32 => SmallVec::from_slice(&(value as f32).to_le_bytes()),
        DType::Fp64 => SmallVec::from_slice(&value.to_le_bytes()),
        DType::Bytes => SmallVec::from_slice(&[0; strings::PREFIX]),
    }
}

/// Parameters that concern a call's own way through the queue and never reach a model.
fn is_its_own(name: &str) -> bool {
    matches!(name, "priority" | "timeout" | "sequence_id" | "sequence_start" | "sequence_end")
        || name.starts_with("triton_")
}

/// Parameters that must be equal, as bytes in an order of their own; no memory where there are none.
fn canonical(parameters: &Parameters) -> Vec<u8> {
    let mut wanted: SmallVec<[_; 4]> = parameters.iter().filter(|(name, _)| !is_its_own(name)).collect();
    wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut bytes = Vec::new();
    for (name, value) in wanted {
        let (kind, value): (u8, SmallVec<[u8; 16]>) = match value {
            Parameter::Bool(value) => (0, SmallVec::from_slice(&[u8::from(*value)])),
            Parameter::Int(value) => (1, SmallVec::from_slice(&value.to_le_bytes())),
            Parameter::Uint(value) => (2, SmallVec::from_slice(&value.to_le_bytes())),
            Parameter::Double(value) => (3, SmallVec::from_slice(&value.to_bits().to_le_bytes())),
            Parameter::String(value) => (4, SmallVec::from_slice(value.as_bytes())),
        };
        for part in [&name.as_bytes()[..], &[kind], &value] {
            bytes.extend_from_slice(&part.len().to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
