//! Models in the words of the Open Inference Protocol.

use std::time::Duration;

use bytestring::ByteString;

use super::batching;
use crate::infer::Infer;
use crate::models::Served;
use crate::observe::{ModelTotals, Total};
use crate::tensor::{DType, TensorSpec};
use crate::wire::proto::inference as proto;
use proto::model_metadata_response::TensorMetadata;

/// What serves every model.
pub const PLATFORM: &str = "onnxruntime_onnx";

pub fn tensor_metadata(specs: &[TensorSpec]) -> Vec<TensorMetadata> {
    let metadata = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.to_string(),
        datatype: spec.dtype.name().to_owned(),
        shape: dims(spec),
    };
    specs.iter().map(metadata).collect()
}

pub fn dims(spec: &TensorSpec) -> Vec<i64> {
    spec.dims.iter().map(|dim| dim.wire()).collect()
}

/// A model's configuration. `delay` is how long its calls wait for one another now.
pub fn model_config<S: Infer>(served: &Served<S>, delay: Duration) -> proto::ModelConfig {
    let labels = |name: &ByteString| served.settings.labels.get(&**name).map_or("", |labels| labels.file()).to_owned();
    let input = |spec: &TensorSpec| proto::ModelInput {
        name: spec.name.to_string(),
        data_type: data_type(spec.dtype).into(),
        dims: dims(spec),
        reshape: served.declared.input_reshape(&spec.name).map(|shape| proto::ModelTensorReshape { shape }),
        optional: spec.optional,
        ..Default::default()
    };
    let output = |spec: &TensorSpec| proto::ModelOutput {
        name: spec.name.to_string(),
        data_type: data_type(spec.dtype).into(),
        dims: dims(spec),
        reshape: served.declared.output_reshape(&spec.name).map(|shape| proto::ModelTensorReshape { shape }),
        label_filename: labels(&spec.name),
        ..Default::default()
    };
    let said = |string_value: String| proto::ModelParameter { string_value };
    let pure = ("infergate.pure".to_owned(), said(served.settings.pure.to_string()));
    let nature = ("infergate.nature".to_owned(), said(served.nature.to_string()));
    let mut config = proto::ModelConfig {
        name: served.name.to_string(),
        platform: PLATFORM.to_owned(),
        backend: "onnxruntime".to_owned(),
        input: served.signature.inputs.iter().map(input).collect(),
        output: served.signature.outputs.iter().map(output).collect(),
        instance_group: vec![instance_group(served)],
        default_model_filename: served.declared.model_file().to_owned(),
        parameters: [pure, nature].into(),
        model_transaction_policy: Some(proto::ModelTransactionPolicy { decoupled: false }),
        ..Default::default()
    };
    batching::describe(&mut config, served, delay);
    config
}

fn instance_group<S: Infer>(served: &Served<S>) -> proto::ModelInstanceGroup {
    use proto::model_instance_group::Kind;
    let gpu = served.device.split_once(':').and_then(|(_, number)| number.parse().ok());
    proto::ModelInstanceGroup {
        name: served.name.to_string(),
        kind: if gpu.is_some() { Kind::Gpu } else { Kind::Cpu }.into(),
        count: i32::try_from(served.instances).unwrap_or(i32::MAX),
        gpus: gpu.into_iter().collect(),
        ..Default::default()
    }
}

fn data_type(dtype: DType) -> proto::DataType {
    match dtype {
        DType::Bool => proto::DataType::TypeBool,
        DType::Uint8 => proto::DataType::TypeUint8,
        DType::Uint16 => proto::DataType::TypeUint16,
        DType::Uint32 => proto::DataType::TypeUint32,
        DType::Uint64 => proto::DataType::TypeUint64,
        DType::Int8 => proto::DataType::TypeInt8,
        DType::Int16 => proto::DataType::TypeInt16,
        DType::Int32 => proto::DataType::TypeInt32,
        DType::Int64 => proto::DataType::TypeInt64,
        DType::Fp16 => proto::DataType::TypeFp16,
        DType::Bf16 => proto::DataType::TypeBf16,
        DType::Fp32 => proto::DataType::TypeFp32,
        DType::Fp64 => proto::DataType::TypeFp64,
        DType::Bytes => proto::DataType::TypeString,
    }
}

pub fn statistics(name: &str, version: String, totals: &ModelTotals) -> proto::ModelStatistics {
    let batch = |(rows, batch): (&u64, &crate::observe::BatchTotals)| proto::InferBatchStatistics {
        batch_size: *rows,
        compute_input: duration(batch.merge),
        compute_infer: duration(batch.execute),
        compute_output: duration(batch.split),
    };
    proto::ModelStatistics {
        name: name.to_owned(),
        version,
        last_inference: totals.last_inference,
        inference_count: totals.inferences,
        execution_count: totals.executions,
        inference_stats: Some(proto::InferStatistics {
            success: duration(totals.success),
            fail: duration(totals.fail),
            queue: duration(totals.queue),
            compute_input: duration(totals.merge),
            compute_infer: duration(totals.execute),
            compute_output: duration(totals.split),
            cache_hit: duration(Total::default()),
            cache_miss: duration(Total::default()),
        }),
        batch_stats: totals.batches.iter().map(batch).collect(),
        ..Default::default()
    }
}

fn duration(total: Total) -> Option<proto::StatisticDuration> {
    let ns = u64::try_from(total.time.as_nanos()).unwrap_or(u64::MAX);
    Some(proto::StatisticDuration { count: total.count, ns })
}
