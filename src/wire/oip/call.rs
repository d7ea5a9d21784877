//! A call on its way to a backend.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::parameters::{CLASSIFICATION, put_parameters};
use super::tensor::put_tensor;
use super::{Form, RAW_CONTENTS};
use crate::infer::{InferRequest, Parameter, Parameters, VersionChoice, WantedOutput};
use crate::tensor::Rope;
use crate::wire::message::{MessageWriter, framed};
use crate::wire::protobuf::{put_bytes, put_head};

/// A request as a `ModelInferRequest` with its prefix, tensors in the raw form; large ones are shared, not copied. It
/// has the id of its member where that is its only one.
///
/// The protocol has no labels of versions. One that nobody resolved before goes in the version's place, as text:
/// servers whose versions are texts may know it, and others refuse what is no number.
pub fn request(request: &InferRequest) -> Rope {
    let mut message = MessageWriter::default();
    let head = message.head();
    put_bytes(head, 1, request.model.name.as_str().as_bytes());
    match &request.model.version {
        VersionChoice::Latest => {}
        VersionChoice::Exact(version) => put_bytes(head, 2, version.to_string().as_bytes()),
        VersionChoice::Label(label) => put_bytes(head, 2, label.as_bytes()),
    }
    if let [only] = &request.members[..] {
        put_bytes(head, 3, only.id.as_bytes());
    }
    put_parameters(head, 4, &request.parameters);
    request.inputs.iter().for_each(|tensor| put_tensor(head, tensor, Form::Raw));
    request.outputs.iter().for_each(|wanted| put_wanted(head, wanted));
    request.inputs.iter().for_each(|tensor| message.put_field(RAW_CONTENTS, tensor.data()));
    message.finish()
}

/// One `InferRequestedOutputTensor`.
fn put_wanted(out: &mut BytesMut, wanted: &WantedOutput) {
    let mut output = BytesMut::new();
    put_bytes(&mut output, 1, wanted.name.as_bytes());
    if let Some(classes) = wanted.classes {
        let mut parameters = Parameters::default();
        parameters.set(ByteString::from_static(CLASSIFICATION), Parameter::Int(classes.into()));
        put_parameters(&mut output, 2, &parameters);
    }
    put_head(out, 6, output.len());
    out.extend_from_slice(&output);
}

/// A message unchanged, with its prefix: a call as it was received, or a backend's answer. A large one is shared.
pub fn forward(received: &Bytes) -> Rope {
    framed(received)
}
