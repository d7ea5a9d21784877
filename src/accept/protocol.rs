//! The protocols that carry calls: what differs between them, and nothing else.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::error::Result;
use crate::infer::{InferRequest, InferResponse, Member, Parameters, Target, WantedOutput};
use crate::tensor::{Rope, Tensor};
use crate::wire::{oip, tfs};

/// How one RPC carries a call and its answer.
pub trait Protocol: Send + 'static {
    /// What the answer needs to know of its request.
    type Reply: Send + Sync + 'static;

    /// The fields that lead to the large bytes of a request.
    const LARGE_BYTES: &'static [u32];

    /// Walks a message to its end; lists in it are filled up to `limit` bytes at most.
    ///
    /// # Errors
    /// Whatever is wrong with the message.
    fn decode(message: Bytes, limit: usize) -> Result<(Call, Self::Reply)>;

    /// Puts an answer into the protocol's form, as a gRPC message with its prefix.
    fn encode(response: &InferResponse, reply: &Self::Reply) -> Rope;
}

/// A call as its message said it, whatever the protocol.
#[derive(Debug)]
pub struct Call {
    target: Target,
    parameters: Parameters,
    inputs: SmallVec<[Tensor; 2]>,
    outputs: Vec<WantedOutput>,
    id: ByteString,
    received: Bytes,
}

impl Call {
    /// The request that goes through the stages, of one member.
    pub fn request(self, member: Member) -> InferRequest {
        let member = Member { id: self.id, ..member };
        InferRequest {
            outputs: self.outputs,
            parameters: self.parameters,
            received: Some(self.received),
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

impl Protocol for OpenInference {
    type Reply = OpenInferenceReply;
    const LARGE_BYTES: &'static [u32] = &[oip::RAW_CONTENTS];

    fn decode(message: Bytes, limit: usize) -> Result<(Call, OpenInferenceReply)> {
        let received = message.clone();
        let oip::Call { target, id, parameters, inputs, outputs, form } = oip::decode(message, limit)?;
        Ok((Call { target, parameters, inputs, outputs, id: id.clone(), received }, OpenInferenceReply { id, form }))
    }

    fn encode(response: &InferResponse, reply: &OpenInferenceReply) -> Rope {
        oip::encode(response, &reply.id, reply.form)
    }
}

/// `tensorflow.serving.PredictionService/Predict`.
pub struct TensorFlowServing;

impl Protocol for TensorFlowServing {
    type Reply = tfs::Form;
    const LARGE_BYTES: &'static [u32] = &tfs::CONTENT_PATH;

    fn decode(message: Bytes, limit: usize) -> Result<(Call, tfs::Form)> {
        let received = message.clone();
        let tfs::Call { target, inputs, outputs, form } = tfs::decode(message, limit)?;
        let (parameters, id) = (Parameters::default(), ByteString::new());
        Ok((Call { target, parameters, inputs, outputs, id, received }, form))
    }

    fn encode(response: &InferResponse, form: &tfs::Form) -> Rope {
        tfs::encode(response, *form)
    }
}
