//! The calls: messages made once, and the inputs in them for bare ONNX Runtime.

use bytes::Bytes;
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use prost::Message;

/// An input of one row.
#[derive(Clone)]
pub struct Input {
    pub name: &'static str,
    pub shape: Vec<i64>,
    pub data: Data,
}

#[derive(Clone)]
pub enum Data {
    Floats(Vec<f32>),
    Numbers(Vec<i64>),
}

impl Data {
    fn raw(&self) -> Vec<u8> {
        match self {
            Data::Floats(floats) => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
            Data::Numbers(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }

    fn datatype(&self) -> &'static str {
        match self {
            Data::Floats(_) => "FP32",
            Data::Numbers(_) => "INT64",
        }
    }
}

pub type Call = Vec<Input>;

fn floats(count: usize) -> Data {
    let mut random = fastrand::Rng::with_seed(7);
    Data::Floats((0..count).map(|_| random.f32()).collect())
}

pub fn mlp() -> Vec<Call> {
    vec![vec![Input { name: "x", shape: vec![1, 512], data: floats(512) }]]
}

pub fn cnn() -> Vec<Call> {
    vec![vec![Input { name: "image", shape: vec![1, 3, 32, 32], data: floats(3 * 32 * 32) }]]
}

/// Calls of these lengths.
pub fn encoder(lengths: impl Iterator<Item = usize>) -> Vec<Call> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut call = |length: usize| {
        let shape = vec![1, length as i64];
        let ids = (0..length).map(|_| random.i64(1..1000)).collect();
        vec![
            Input { name: "input_ids", shape: shape.clone(), data: Data::Numbers(ids) },
            Input { name: "attention_mask", shape, data: Data::Numbers(vec![1; length]) },
        ]
    };
    lengths.map(&mut call).collect()
}

/// Rows of floats of these lengths, for scripted engines.
pub fn rows(lengths: impl Iterator<Item = usize>) -> Vec<Call> {
    lengths.map(|length| vec![Input { name: "x", shape: vec![1, length as i64], data: floats(length) }]).collect()
}

/// As messages for `model`; of its outputs only `output` is asked for where one is named.
pub fn messages(model: &str, calls: &[Call], output: Option<&str>) -> Vec<Bytes> {
    let wanted =
        output.map(|name| infergate::wire::proto::inference::model_infer_request::InferRequestedOutputTensor {
            name: name.into(),
            ..Default::default()
        });
    let message = |call: &Call| {
        let input = |input: &Input| InferInputTensor {
            name: input.name.into(),
            datatype: input.data.datatype().into(),
            shape: input.shape.clone(),
            ..Default::default()
        };
        let request = ModelInferRequest {
            model_name: model.into(),
            inputs: call.iter().map(input).collect(),
            outputs: wanted.clone().into_iter().collect(),
            raw_input_contents: call.iter().map(|input| input.data.raw().into()).collect(),
            ..Default::default()
        };
        request.encode_to_vec().into()
    };
    calls.iter().map(message).collect()
}
