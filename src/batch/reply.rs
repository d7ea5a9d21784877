//! Where the answer of a call goes, and of one that is run in parts.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::batcher::now;
use crate::error::{Error, Kind, Result};
use crate::infer::{InferResponse, Outcome, Stage, Timeline};
use crate::tensor::{BatchAxis, Signature, Tensor, Tensors};

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// To the caller.
    Call(oneshot::Sender<Outcome>),
    /// To the others of the call's parts.
    Part(Arc<Assembly>, usize),
}

impl Reply {
    /// Hands the answer over; nothing happens where nobody waits for it any more.
    pub(super) fn send(self, outcome: Outcome) {
        match self {
            Reply::Call(caller) => drop(caller.send(outcome)),
            Reply::Part(assembly, index) => assembly.add(index, outcome),
        }
    }
}

/// The parts of a call that had more rows than a batch may have.
#[derive(Debug)]
pub(super) struct Assembly {
    signature: Arc<Signature>,
    axis: BatchAxis,
    timeline: Timeline,
    state: Mutex<Assembled>,
}

#[derive(Debug)]
struct Assembled {
    parts: Vec<Option<InferResponse>>,
    missing: usize,
    caller: Option<oneshot::Sender<Outcome>>,
}

impl Assembly {
    /// An assembly of so many parts whose whole goes to `caller`, and whose times to `timeline`.
    pub(super) fn of(
        parts: usize,
        signature: Arc<Signature>,
        axis: BatchAxis,
        timeline: Timeline,
        caller: oneshot::Sender<Outcome>,
    ) -> Arc<Assembly> {
        let parts = (0..parts).map(|_| None).collect::<Vec<_>>();
        let missing = parts.len();
        let state = Mutex::new(Assembled { parts, missing, caller: Some(caller) });
        Arc::new(Assembly { signature, axis, timeline, state })
    }

    /// Takes a part; the last one, or the first that failed, ends the call.
    fn add(&self, index: usize, outcome: Outcome) {
        let mut state = self.state.lock().expect("nothing panics while parts are added");
        let Some(caller) = state.caller.take() else { return };
        match outcome {
            Err(error) => drop(caller.send(Err(error))),
            Ok(part) => {
                state.missing -= 1;
                state.parts[index] = Some(*part);
                if state.missing > 0 {
                    state.caller = Some(caller);
                    return;
                }
                let parts = std::mem::take(&mut state.parts);
                drop(state);
                let _ = caller.send(self.whole(parts.into_iter().flatten().collect()));
            }
        }
    }

    /// The parts' outputs put together. What is told of how it ran is that of the part that was done last.
    fn whole(&self, mut parts: Vec<InferResponse>) -> Outcome {
        let (first, last) = (parts.iter().map(|part| part.execution.taken).min(), parts.len() - 1);
        let latest = (0..=last).max_by_key(|index| parts[*index].execution.executed).unwrap_or(last);
        let rows = parts.iter().map(|part| part.rows).sum();
        let outputs = (0..parts[0].outputs.len()).map(|index| self.output(&parts, index)).collect::<Result<_>>()?;
        let mut whole = parts.swap_remove(latest);
        (whole.rows, whole.outputs, whole.received) = (rows, outputs, None);
        self.timeline.end(Stage::Queue, first.unwrap_or(whole.execution.taken));
        self.timeline.end(Stage::Execute, whole.execution.executed);
        self.timeline.end(Stage::Split, now());
        Ok(Box::new(whole))
    }

    fn output(&self, parts: &[InferResponse], index: usize) -> Result<Tensor> {
        let missing = || Error::new(Kind::Engine, "parts of one call had different outputs");
        let tensors: Tensors =
            parts.iter().map(|part| part.outputs.get(index).cloned().ok_or_else(missing)).collect::<Result<_>>()?;
        let place = self.signature.output_index(tensors[0].name(), index).ok_or_else(missing)?;
        let dim = self.axis.outputs()[place];
        Tensor::concatenated(tensors, dim).map_err(|error| Error::new(Kind::Engine, error.to_string()))
    }
}
