//! The protocols that carry calls: what differs between them, and nothing else.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::infer::{InferRequest, InferResponse, Member, Parameters, Target, WantedOutput};
use crate::tensor::{Rope, Tensor};
use crate::wire::{oip, tfs};

/// How one RPC carries a call and its answer.
pub trait Protocol: Send + 'static {
    /// What the answer needs to know of its request.
    type Reply: Send + Sync + 'static;

    /// The RPC, as `service/method`.
    const METHOD: &'static str;

    /// The fields that lead to the large bytes of a request.
    const LARGE_BYTES: &'static [u32];

    /// Walks a message to its end; lists in it are filled up to `limit` bytes at most.
    ///
    /// # Errors
    /// Whatever is wrong with the message.
    fn decode(message: Bytes, limit: usize) -> Result<(Call, Self::Reply)>;

    /// Puts an answer into the protocol's form, as a gRPC message with its prefix.
    fn encode(response: &InferResponse, reply: &Self::Reply) -> Rope;

    /// Adds a parameter to an answer of [`Protocol::encode`]; false where the protocol has none.
    fn add_parameter(answer: &mut Rope, name: &'static str, value: ByteString) -> bool;
}

/// A call as its message said it, whatever the protocol.
#[derive(Debug)]
pub struct Call {
    target: Target,
    parameters: Parameters,
    inputs: SmallVec<[Tensor; 1]>,
    outputs: Vec<WantedOutput>,
    id: ByteString,
    /// The message itself, where it is one that backends take.
    received: Option<Bytes>,
}

impl Call {
    /// Bytes of its inputs.
    pub fn bytes(&self) -> usize {
        self.inputs.iter().map(|tensor| tensor.data().len()).sum()
    }

    /// The request that goes through the stages, of one member.
    pub fn request(self, member: Member) -> InferRequest {
        let member = Member { id: self.id, ..member };
        InferRequest {
            outputs: self.outputs,
            parameters: self.parameters,
            received: self.received,
            ..InferRequest::new(self.target, self.inputs, member)
        }
    }
}

/// `inference.GRPCInferenceService/ModelInfer`.
pub struct OpenInference;

/// What the answer of a `ModelInfer` mirrors.
pub struct OpenInferenceReply {
    /// The caller's id of the call.
    pub id: ByteString,
    /// How its tensors were carried.
    pub form: oip::Form,
}

/// Parameters that begin so are the protocol's own, and no model's.
const RESERVED: &str = "triton_";

/// The only one of them that is known: the caller wants to be told which answer of a stream is its call's last. On a
/// stream it is told anyway.
const TELL_FINAL: &str = "triton_enable_empty_final_response";

fn refuse_reserved(parameters: &Parameters) -> Result<()> {
    match parameters.iter().find(|(name, _)| name.starts_with(RESERVED) && *name != TELL_FINAL) {
        None => Ok(()),
        Some((name, _)) => {
            let shown: String = name.chars().take(60).collect();
            let message =
                format!("parameter {shown:?} is not known, and names that begin with {RESERVED:?} are reserved");
            Err(Error::invalid(message))
        }
    }
}

impl Protocol for OpenInference {
    type Reply = OpenInferenceReply;
    const METHOD: &'static str = "inference.GRPCInferenceService/ModelInfer";
    const LARGE_BYTES: &'static [u32] = &[oip::RAW_CONTENTS];

    fn decode(message: Bytes, limit: usize) -> Result<(Call, OpenInferenceReply)> {
        let received = message.clone();
        let oip::Call { target, id, parameters, inputs, outputs, form } = oip::decode(message, limit)?;
        refuse_reserved(&parameters)?;
        let reply = OpenInferenceReply { id: id.clone(), form };
        Ok((Call { target, parameters, inputs, outputs, id, received: Some(received) }, reply))
    }

    fn encode(response: &InferResponse, reply: &OpenInferenceReply) -> Rope {
        match &response.received {
            Some(message) if oip::mirrors(message, &reply.id, reply.form) => oip::forward(message),
            _ => oip::encode(response, &reply.id, reply.form),
        }
    }

    fn add_parameter(answer: &mut Rope, name: &'static str, value: ByteString) -> bool {
        *answer = oip::with_parameter(answer, name, value);
        true
    }
}

/// `tensorflow.serving.PredictionService/Predict`.
pub struct TensorFlowServing;

impl Protocol for TensorFlowServing {
    type Reply = tfs::Form;
    const METHOD: &'static str = "tensorflow.serving.PredictionService/Predict";
    const LARGE_BYTES: &'static [u32] = &tfs::CONTENT_PATH;

    fn decode(message: Bytes, limit: usize) -> Result<(Call, tfs::Form)> {
        let tfs::Call { target, inputs, outputs, form } = tfs::decode(message, limit)?;
        let (parameters, id) = (Parameters::default(), ByteString::new());
        Ok((Call { target, parameters, inputs, outputs, id, received: None }, form))
    }

    fn encode(response: &InferResponse, form: &tfs::Form) -> Rope {
        tfs::encode(response, *form)
    }

    fn add_parameter(_answer: &mut Rope, _name: &'static str, _value: ByteString) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::answer;

    /// A backend's answer, forwarded or not: what is sent for it to a caller who gave this id and form.
    fn sent(received: oip::Form, id: &'static str, form: oip::Form) -> (Rope, InferResponse) {
        let tensor = |name: &'static str, len: usize| {
            let shape = crate::tensor::Shape::new(&[len as i64]).unwrap();
            Tensor::new(name.into(), crate::tensor::DType::Uint8, shape, vec![7; len].into()).unwrap()
        };
        let mut response = answer([tensor("y", 100_000)], Parameters::default());
        let message = oip::encode(&response, "mine", received);
        response.received = Some(message.slice(crate::wire::PREFIX..message.len()).to_bytes());
        (OpenInference::encode(&response, &OpenInferenceReply { id: id.into(), form }), response)
    }

    fn shares(sent: &Rope, received: &Bytes) -> bool {
        sent.parts().iter().any(|part| part.as_ptr() == received.as_ptr())
    }

    #[test]
    fn an_answer_that_nothing_has_changed_is_forwarded_where_it_is_the_callers() {
        for form in [oip::Form::Raw, oip::Form::Typed] {
            let (sent, mut response) = sent(form, "mine", form);
            assert!(shares(&sent, response.received.as_ref().unwrap()));
            response.received = None;
            assert_eq!(sent, oip::encode(&response, "mine", form));
        }
    }

    #[test]
    fn an_answer_in_another_form_or_of_another_id_is_written_anew() {
        use oip::Form::{Raw, Typed};
        for (received, id, form) in [(Raw, "mine", Typed), (Typed, "mine", Raw), (Raw, "", Raw)] {
            let (sent, response) = sent(received, id, form);
            assert!(!shares(&sent, response.received.as_ref().unwrap()));
            assert_eq!(sent, oip::encode(&response, id, form));
        }
    }
}
