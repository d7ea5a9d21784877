//! The walk and the writer against the generated messages: whatever prost writes is read, in every spelling that
//! protobuf allows and with TensorFlow's rules for short lists, and whatever is written is read by prost.

mod refusals;
mod requests;
mod responses;

use prost::encoding::WireType::{self, SixtyFourBit, ThirtyTwoBit};

use crate::tensor::DType;
use crate::wire::proto::tensorflow::tensor_shape_proto::Dim;
use crate::wire::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use crate::wire::samples::Sample;
use crate::wire::scramble::{Field, Schema};

const VARINT: WireType = WireType::Varint;
const SHAPE: Schema = &[(2, Field::Each(&[(1, Field::Last), (2, Field::Last)])), (3, Field::Last)];
const TENSOR: Schema = &[
    (1, Field::Last),
    (2, Field::Merged(SHAPE)),
    (3, Field::Last),
    (4, Field::Last),
    (5, Field::Packed(ThirtyTwoBit)),
    (6, Field::Packed(SixtyFourBit)),
    (7, Field::Packed(VARINT)),
    (8, Field::Kept),
    (10, Field::Packed(VARINT)),
    (11, Field::Packed(VARINT)),
    (13, Field::Packed(VARINT)),
    (16, Field::Packed(VARINT)),
    (17, Field::Packed(VARINT)),
];
const SPEC: Schema = &[(1, Field::Last), (2, Field::Merged(&[(1, Field::Last)])), (3, Field::Last), (4, Field::Last)];
/// Everything that may be spelled in another way in a `PredictRequest`.
const REQUEST: Schema =
    &[(1, Field::Merged(SPEC)), (2, Field::Each(&[(1, Field::Last), (2, Field::Merged(TENSOR))])), (3, Field::Kept)];

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::DtBool,
        DType::Uint8 => DataType::DtUint8,
        DType::Uint16 => DataType::DtUint16,
        DType::Uint32 => DataType::DtUint32,
        DType::Uint64 => DataType::DtUint64,
        DType::Int8 => DataType::DtInt8,
        DType::Int16 => DataType::DtInt16,
        DType::Int32 => DataType::DtInt32,
        DType::Int64 => DataType::DtInt64,
        DType::Fp16 => DataType::DtHalf,
        DType::Bf16 => DataType::DtBfloat16,
        DType::Fp32 => DataType::DtFloat,
        DType::Fp64 => DataType::DtDouble,
        DType::Bytes => DataType::DtString,
    }
}

/// Type and shape without elements.
fn empty(dtype: DType, dims: &[i64]) -> TensorProto {
    let dim = dims.iter().map(|size| Dim { size: *size, name: String::new() }).collect();
    let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
    TensorProto { dtype: data_type(dtype).into(), tensor_shape, ..Default::default() }
}

/// The form with raw bytes.
fn content(sample: &Sample) -> TensorProto {
    TensorProto { tensor_content: sample.raw().into(), ..empty(sample.dtype, &sample.dims) }
}

/// The form with lists, each written out by hand, of the first `count` elements.
fn values(sample: &Sample, count: usize) -> TensorProto {
    let mut proto = empty(sample.dtype, &sample.dims);
    for element in sample.elements.iter().take(count) {
        let mut wide = [0; 8];
        if sample.dtype != DType::Bytes {
            wide[..element.len()].copy_from_slice(element);
        }
        let bits = u64::from_le_bytes(wide);
        match sample.dtype {
            DType::Bool => proto.bool_val.push(bits != 0),
            DType::Int8 => proto.int_val.push(i32::from(bits as i8)),
            DType::Int16 => proto.int_val.push(i32::from(bits as i16)),
            DType::Int32 | DType::Uint8 | DType::Uint16 => proto.int_val.push(bits as i32),
            DType::Int64 => proto.int64_val.push(bits as i64),
            DType::Uint32 => proto.uint32_val.push(bits as u32),
            DType::Uint64 => proto.uint64_val.push(bits),
            DType::Fp16 | DType::Bf16 => proto.half_val.push(bits as i32),
            DType::Fp32 => proto.float_val.push(f32::from_bits(bits as u32)),
            DType::Fp64 => proto.double_val.push(f64::from_bits(bits)),
            DType::Bytes => proto.string_val.push(element.clone().into()),
        }
    }
    proto
}
