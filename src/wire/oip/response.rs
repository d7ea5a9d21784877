//! `ModelInferResponse` on its way out.

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::{Form, contents};
use crate::infer::{InferResponse, Parameter, Parameters};
use crate::tensor::{Rope, Tensor};
use crate::wire::message::{MessageWriter, PREFIX};
use crate::wire::protobuf::{field_len, put_bytes, put_head, put_integer, put_varint, varint_len};

/// An answer as a gRPC message with its prefix. Large raw outputs are shared, not copied. The typed form is used where
/// the request used it and every output's type exists in it.
pub fn encode(response: &InferResponse, id: &str, form: Form) -> Rope {
    let typed = form == Form::Typed && response.outputs.iter().all(|tensor| contents::carries(tensor.dtype()));
    let form = if typed { Form::Typed } else { Form::Raw };
    let mut message = MessageWriter::default();
    let head = message.head();
    put_bytes(head, 1, response.model.as_str().as_bytes());
    put_bytes(head, 2, response.version.to_string().as_bytes());
    put_bytes(head, 3, id.as_bytes());
    put_parameters(head, 4, &response.parameters);
    for tensor in &response.outputs {
        put_output(head, tensor, form);
    }
    if form == Form::Raw {
        response.outputs.iter().for_each(|tensor| message.put_field(6, tensor.data()));
    }
    message.finish()
}

/// One `InferOutputTensor`.
fn put_output(out: &mut BytesMut, tensor: &Tensor, form: Form) {
    let (name, datatype) = (tensor.name().as_bytes(), tensor.dtype().name().as_bytes());
    let dims: usize = tensor.shape().iter().map(|dim| varint_len(*dim as u64)).sum();
    let contents = if form == Form::Typed { contents::encode(tensor) } else { Vec::new() };
    let field = |len: usize| if len == 0 { 0 } else { field_len(len) };
    // Contents are there even where they are empty, in the typed form: they say which form it is.
    let contents_len = if form == Form::Typed { field_len(contents.len()) } else { 0 };
    put_head(out, 5, field(name.len()) + field(datatype.len()) + field(dims) + contents_len);
    put_bytes(out, 1, name);
    put_bytes(out, 2, datatype);
    if dims > 0 {
        put_head(out, 3, dims);
        tensor.shape().iter().for_each(|dim| put_varint(out, *dim as u64));
    }
    if form == Form::Typed {
        put_head(out, 5, contents.len());
        out.extend_from_slice(&contents);
    }
}

/// A `map<string, InferParameter>` as field `number`.
fn put_parameters(out: &mut BytesMut, number: u32, parameters: &Parameters) {
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
