//! A call on its way in.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::{SmallVec, smallvec};

use super::{Target, Timeline, Trace};
use crate::tensor::Tensor;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A double.
    Double(f64),
    /// A text.
    String(ByteString),
}

/// Parameters by name; the last of equal names counts, as in a protobuf map.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters(SmallVec<[(ByteString, Parameter); 0]>);

impl Parameters {
    /// Sets one.
    pub fn set(&mut self, name: ByteString, value: Parameter) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &(ByteString, Parameter)> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An output that a call asks for by name.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedOutput {
    /// Its name.
    pub name: ByteString,
    /// Where given, answer the best so many classes as text instead of the tensor.
    pub classes: Option<u32>,
}

/// One call inside a request: what stays its own when calls are merged.
#[derive(Debug, Clone)]
pub struct Member {
    /// The caller's own id of the call; empty where it gave none.
    pub id: ByteString,
    /// When the caller must have its answer. A call without a deadline does not exist.
    pub deadline: Instant,
    /// Its place in a distributed trace, where it has one.
    pub trace: Option<Arc<Trace>>,
    /// How often a process in front of this one has tried it before (gRFC A6).
    pub previous_attempts: u32,
    /// Where its time went.
    pub timeline: Timeline,
}

/// A call, or several merged into one. One in hand is well-formed: its message was walked to the end, its counts and
/// byte lengths agree. Whoever runs or merges it checks it against the model's signature.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// Which model.
    pub model: Target,
    /// Which outputs; empty for all.
    pub outputs: Vec<WantedOutput>,
    /// Parameters of the call.
    pub parameters: Parameters,
    /// What goes in.
    pub inputs: SmallVec<[Tensor; 1]>,
    /// The message as it came, where it may be forwarded unchanged.
    pub received: Option<Bytes>,
    /// The calls in it, at least one.
    pub members: SmallVec<[Member; 1]>,
}

impl InferRequest {
    /// A call of one member that asks for every output.
    pub fn new(model: Target, inputs: impl IntoIterator<Item = Tensor>, member: Member) -> InferRequest {
        InferRequest {
            model,
            outputs: Vec::new(),
            parameters: Parameters::default(),
            inputs: inputs.into_iter().collect(),
            received: None,
            members: smallvec![member],
        }
    }

    /// When the last of its members must have its answer.
    pub fn deadline(&self) -> Instant {
        self.members.iter().map(|member| member.deadline).max().expect("a request has at least one member")
    }

    /// Bytes of all inputs.
    pub fn bytes(&self) -> usize {
        self.inputs.iter().map(|tensor| tensor.data().len()).sum()
    }
}
