//! A call on its way out, with all that statistics, traces and reports need to know of how it ran.

use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::{Composition, ModelName, Parameters, Version};
use crate::tensor::Tensor;

/// The answer to a call.
#[derive(Debug, Clone)]
pub struct InferResponse {
    /// The model that answered.
    pub model: ModelName,
    /// The version that answered; `None` where a backend named none, or one that is no number.
    pub version: Option<Version>,
    /// What came out, in the order asked for, else in the model's.
    pub outputs: SmallVec<[Tensor; 1]>,
    /// Parameters of the answer.
    pub parameters: Parameters,
    /// Rows of this call along the batch axis; 1 where the model has no such axis.
    pub rows: usize,
    /// The message as it came from a backend, where it may be forwarded. Whoever changes anything that is in it takes it
    /// away.
    pub received: Option<Bytes>,
    /// How it ran.
    pub execution: Execution,
}

/// One run of an engine, shared by the calls that were merged into it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The batch: unique in this process, so that the calls of one batch can be told.
    pub batch: u64,
    /// How the batch came about.
    pub composition: Composition,
    /// Calls in the batch.
    pub members: u32,
    /// Where it ran, such as `cpu` or `cuda:0`.
    pub device: ByteString,
    /// When it was taken out of the queue.
    pub taken: Instant,
    /// When its inputs lay ready for the engine.
    pub merged: Instant,
    /// When the engine was done.
    pub executed: Instant,
    /// What else waited and ran behind the same queue when it was done.
    pub load: LoadReport,
}

/// How busy the place is that answered: what a balancer needs to predict its next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Rows along the batch axis of the calls that wait.
    pub waiting: u32,
    /// Instances that run.
    pub running: u32,
    /// Instances that are idle.
    pub free_slots: u32,
    /// How long the engine took for this batch.
    pub execution: Duration,
    /// How long a call that comes now is predicted to wait.
    pub wait: Duration,
    /// What a run is predicted to take beside its rows.
    pub run: Duration,
    /// What each row of a run is predicted to take.
    pub row: Duration,
    /// Gateways that have lately called this model here, so that they can share; 0 where that is not known.
    pub gateways: u32,
}
