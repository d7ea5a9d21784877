//! `ModelInferResponse` on its way out.

use bytes::BytesMut;
use bytestring::ByteString;

use super::parameters::put_parameters;
use super::tensor::put_tensor;
use super::{Form, RAW_OUTPUTS, contents};
use crate::infer::{InferResponse, Parameter, Parameters};
use crate::tensor::Rope;
use crate::wire::message::{MessageWriter, PREFIX};
use crate::wire::protobuf::{put_bytes, put_head};

/// An answer as a gRPC message with its prefix. Large raw outputs are shared, not copied. The typed form is used where
/// the request used it and every output's type exists in it.
pub fn encode(response: &InferResponse, id: &str, form: Form) -> Rope {
    let typed = form == Form::Typed && response.outputs.iter().all(|tensor| contents::carries(tensor.dtype()));
    let form = if typed { Form::Typed } else { Form::Raw };
    let mut message = MessageWriter::default();
    let head = message.head();
    put_bytes(head, 1, response.model.as_str().as_bytes());
    if let Some(version) = response.version {
        put_bytes(head, 2, version.to_string().as_bytes());
    }
    put_bytes(head, 3, id.as_bytes());
    put_parameters(head, 4, &response.parameters);
    for tensor in &response.outputs {
        put_tensor(head, tensor, form);
    }
    if form == Form::Raw {
        response.outputs.iter().for_each(|tensor| message.put_field(RAW_OUTPUTS, tensor.data()));
    }
    message.finish()
}

/// An answer of [`encode`] with one parameter more, as a gRPC message with its prefix.
pub fn with_parameter(answer: &Rope, name: &'static str, value: ByteString) -> Rope {
    let mut parameters = Parameters::default();
    parameters.set(ByteString::from_static(name), Parameter::String(value));
    let mut message = MessageWriter::default();
    message.put(&answer.slice(PREFIX..answer.len()));
    put_parameters(message.head(), 4, &parameters);
    message.finish()
}

/// A `ModelStreamInferResponse` around an answer of [`encode`], as a gRPC message with its prefix. It says that it is
/// its call's last, as each is here; some clients read on until they are told.
pub fn in_stream(answer: &Rope) -> Rope {
    let mut is_final = Parameters::default();
    is_final.set(ByteString::from_static("triton_final_response"), Parameter::Bool(true));
    let mut parameters = BytesMut::new();
    put_parameters(&mut parameters, 4, &is_final);

    let mut message = MessageWriter::default();
    put_head(message.head(), 2, answer.len() - PREFIX + parameters.len());
    message.put(&answer.slice(PREFIX..answer.len()));
    message.head().extend_from_slice(&parameters);
    message.finish()
}

/// A `ModelStreamInferResponse` that says why a call failed, with the call's id.
pub fn failed_in_stream(error: &str, id: &str) -> Rope {
    let mut message = MessageWriter::default();
    put_bytes(message.head(), 1, error.as_bytes());
    let mut answer = BytesMut::new();
    put_bytes(&mut answer, 3, id.as_bytes());
    put_head(message.head(), 2, answer.len());
    message.head().extend_from_slice(&answer);
    message.finish()
}
