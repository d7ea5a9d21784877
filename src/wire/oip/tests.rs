//! The walk and the writer against the generated messages: whatever prost writes is read, field by field, in every
//! spelling that protobuf allows, and whatever is written is read by prost.

mod answers;
mod calls;
mod refusals;
mod requests;
mod responses;

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost::encoding::WireType::{self, SixtyFourBit, ThirtyTwoBit};

use crate::error::Result;
use crate::infer::{Parameter, Parameters};
use crate::tensor::DType;
use crate::wire::oip::Call;
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::{InferParameter, InferTensorContents};
use crate::wire::samples::Sample;
use crate::wire::scramble::{Field, Schema};

/// More than any message here takes.
const ROOM: usize = 1 << 20;

/// Walks a message that is small enough.
fn decode(message: Bytes) -> Result<Call> {
    super::decode(message, ROOM)
}

const VARINT: WireType = WireType::Varint;
const PARAMETER: Schema = &[(1, Field::Last), (2, Field::Last), (3, Field::Last), (4, Field::Last), (5, Field::Last)];
const ENTRY: Schema = &[(1, Field::Last), (2, Field::Merged(PARAMETER))];
const CONTENTS: Schema = &[
    (1, Field::Packed(VARINT)),
    (2, Field::Packed(VARINT)),
    (3, Field::Packed(VARINT)),
    (4, Field::Packed(VARINT)),
    (5, Field::Packed(VARINT)),
    (6, Field::Packed(ThirtyTwoBit)),
    (7, Field::Packed(SixtyFourBit)),
    (8, Field::Kept),
];
const INPUT: Schema = &[
    (1, Field::Last),
    (2, Field::Last),
    (3, Field::Packed(VARINT)),
    (4, Field::Each(ENTRY)),
    (5, Field::Merged(CONTENTS)),
];
const OUTPUT: Schema = &[(1, Field::Last), (2, Field::Each(ENTRY))];
/// Everything that may be spelled in another way in a `ModelInferRequest`.
const REQUEST: Schema = &[
    (1, Field::Last),
    (2, Field::Last),
    (3, Field::Last),
    (4, Field::Each(ENTRY)),
    (5, Field::Each(INPUT)),
    (6, Field::Each(OUTPUT)),
    (7, Field::Kept),
];
/// Everything that may be spelled in another way in a `ModelInferResponse`.
const RESPONSE: Schema = &[
    (1, Field::Last),
    (2, Field::Last),
    (3, Field::Last),
    (4, Field::Each(ENTRY)),
    (5, Field::Each(INPUT)),
    (6, Field::Kept),
];

/// The types that `InferTensorContents` has a list for.
const TYPED: [DType; 12] = [
    DType::Bool,
    DType::Uint8,
    DType::Uint16,
    DType::Uint32,
    DType::Uint64,
    DType::Int8,
    DType::Int16,
    DType::Int32,
    DType::Int64,
    DType::Fp32,
    DType::Fp64,
    DType::Bytes,
];

/// The typed form of a tensor, each list written out by hand.
fn contents(sample: &Sample) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    for element in &sample.elements {
        let mut wide = [0; 8];
        if sample.dtype != DType::Bytes {
            wide[..element.len()].copy_from_slice(element);
        }
        let bits = u64::from_le_bytes(wide);
        match sample.dtype {
            DType::Bool => contents.bool_contents.push(bits != 0),
            DType::Int8 => contents.int_contents.push(i32::from(bits as i8)),
            DType::Int16 => contents.int_contents.push(i32::from(bits as i16)),
            DType::Int32 => contents.int_contents.push(bits as i32),
            DType::Int64 => contents.int64_contents.push(bits as i64),
            DType::Uint8 | DType::Uint16 | DType::Uint32 => contents.uint_contents.push(bits as u32),
            DType::Uint64 => contents.uint64_contents.push(bits),
            DType::Fp32 => contents.fp32_contents.push(f32::from_bits(bits as u32)),
            DType::Fp64 => contents.fp64_contents.push(f64::from_bits(bits)),
            DType::Bytes => contents.bytes_contents.push(element.clone().into()),
            DType::Fp16 | DType::Bf16 => panic!("{} has no typed form", sample.dtype),
        }
    }
    contents
}

fn parameters() -> impl Strategy<Value = HashMap<String, InferParameter>> {
    let value = prop_oneof![
        any::<bool>().prop_map(ParameterChoice::BoolParam),
        any::<i64>().prop_map(ParameterChoice::Int64Param),
        any::<u64>().prop_map(ParameterChoice::Uint64Param),
        any::<f64>().prop_map(ParameterChoice::DoubleParam),
        "\\PC{0,9}".prop_map(ParameterChoice::StringParam),
    ];
    let value = value.prop_map(|choice| InferParameter { parameter_choice: Some(choice) });
    prop::collection::hash_map("\\PC{0,9}", value, 0..4)
}

/// Whether the parameters that were read are those that were written.
fn same_parameters(read: &Parameters, written: &HashMap<String, InferParameter>) -> bool {
    read.iter().count() == written.len()
        && read.iter().all(|(name, value)| {
            let choice = written.get(&**name).and_then(|parameter| parameter.parameter_choice.as_ref());
            match (value, choice) {
                (Parameter::Bool(read), Some(ParameterChoice::BoolParam(written))) => read == written,
                (Parameter::Int(read), Some(ParameterChoice::Int64Param(written))) => read == written,
                (Parameter::Uint(read), Some(ParameterChoice::Uint64Param(written))) => read == written,
                (Parameter::Double(read), Some(ParameterChoice::DoubleParam(written))) => {
                    read.to_bits() == written.to_bits()
                }
                (Parameter::String(read), Some(ParameterChoice::StringParam(written))) => *read == **written,
                _ => false,
            }
        })
}
