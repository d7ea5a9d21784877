//! `PredictResponse` on its way out.

use bytes::BytesMut;

use super::{Form, SIGNATURE, tensor};
use crate::infer::InferResponse;
use crate::tensor::Rope;
use crate::wire::message::MessageWriter;
use crate::wire::protobuf::{field_len, put_bytes, put_head, put_integer};

/// An answer as a gRPC message with its prefix: outputs by name, and the model with the version that answered where
/// that is known.
pub fn encode(response: &InferResponse, form: Form) -> Rope {
    let mut message = MessageWriter::default();
    for output in &response.outputs {
        let value = tensor::encode(output, form);
        let name = output.name().as_bytes();
        put_head(message.head(), 1, field_len(name.len()) + field_len(value.len()));
        put_head(message.head(), 1, name.len());
        message.head().extend_from_slice(name);
        message.put_field(2, &value);
    }
    let spec = model_spec(response);
    put_head(message.head(), 2, spec.len());
    message.head().extend_from_slice(&spec);
    message.finish()
}

fn model_spec(response: &InferResponse) -> BytesMut {
    let mut spec = BytesMut::new();
    put_bytes(&mut spec, 1, response.model.as_str().as_bytes());
    if let Some(answered) = response.version {
        let mut version = BytesMut::new();
        put_integer(&mut version, 1, answered.number() as u64);
        put_head(&mut spec, 2, version.len());
        spec.extend_from_slice(&version);
    }
    put_bytes(&mut spec, 3, SIGNATURE.as_bytes());
    spec
}
