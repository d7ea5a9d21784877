//! Messages of the Open Inference Protocol as tests write them.

use bytes::{Bytes, BytesMut};
use infergate::tensor::DType;
use infergate::tensor::strings::push;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use infergate::wire::proto::inference::{ModelInferRequest, ModelInferResponse};
use prost::Message;

/// The raw bytes of floats.
pub fn floats(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The raw bytes of BYTES elements.
pub fn strings(elements: &[&[u8]]) -> Bytes {
    let mut raw = Vec::new();
    elements.iter().for_each(|element| push(&mut raw, element).unwrap());
    raw.into()
}

/// An input without its data.
pub fn tensor(name: &str, dtype: DType, shape: &[i64]) -> InferInputTensor {
    let (name, datatype) = (name.to_owned(), dtype.name().to_owned());
    InferInputTensor { name, datatype, shape: shape.to_vec(), ..Default::default() }
}

/// A call with raw contents.
pub fn raw(model: &str, inputs: impl IntoIterator<Item = (InferInputTensor, Bytes)>) -> ModelInferRequest {
    let (inputs, raw_input_contents) = inputs.into_iter().unzip();
    ModelInferRequest { model_name: model.to_owned(), inputs, raw_input_contents, ..Default::default() }
}

/// A call of `echo`.
pub fn echo(values: &[f32]) -> ModelInferRequest {
    echo_of("echo", values)
}

/// A call of a model that is like `echo`.
pub fn echo_of(model: &str, values: &[f32]) -> ModelInferRequest {
    raw(model, [(tensor("x", DType::Fp32, &[values.len() as i64]), floats(values))])
}

/// The floats of an answer's first output.
pub fn echoed(response: &ModelInferResponse) -> Vec<f32> {
    let (values, rest) = response.raw_output_contents[0].as_chunks();
    assert!(rest.is_empty());
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A message behind gRPC's prefix.
pub fn framed(message: &impl Message) -> Bytes {
    let mut framed = BytesMut::zeroed(5);
    message.encode(&mut framed).unwrap();
    let len = (framed.len() - 5) as u32;
    framed[1..5].copy_from_slice(&len.to_be_bytes());
    framed.freeze()
}

/// The messages of a body.
pub fn unframed<M: Message + Default>(mut body: Bytes) -> Vec<M> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let prefix = body.split_to(5);
        assert_eq!(prefix[0], 0, "the message is compressed");
        let len = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        messages.push(M::decode(body.split_to(len as usize)).unwrap());
    }
    messages
}
