//! Calls that run together, from the port to the engine and back: who goes with whom, that each gets its own answer,
//! and that nobody waits for more than was asked for.

mod leaving;
mod odd;
mod padding;
mod protocols;
mod settings;
mod sizes;
mod together;
mod turns;

use infergate::error::{Error, Kind, Result};
use infergate::tensor::{DType, Tensor};
use infergate::wire::proto::inference::{ModelInferRequest, ModelInferResponse};
use tonic::Code;

use crate::harness::{
    Answer, FREE, Gate, INFER, Log, Model, Pending, Raw, Run, Serving, echoed, floats, framed, raw, tensor, unframed,
};

/// `rows`, with one instance: rows of floats come back as they are. A run whose first value is 0 is held at the gate.
fn rows(gate: &Gate) -> Model {
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).settings("instances = 1");
    holding(model, gate, |run| run.identity())
}

/// A model whose runs do this, where those whose first value is 0 are held at the gate before.
fn holding(model: Model, gate: &Gate, act: impl Fn(&Run<'_>) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Model {
    let passage = gate.passage();
    model.acting(move |run| {
        if run.first() == "0" {
            passage.pass("0");
        }
        act(run)
    })
}

/// Whether the value is anywhere in the first input of the run.
fn has(run: &Run<'_>, value: f32) -> bool {
    values(&run.inputs[0].data().to_bytes()).contains(&value)
}

/// `identity`, but runs with a 13 in them fail.
fn fears_thirteen(run: &Run<'_>, kind: Kind) -> Result<Vec<Tensor>> {
    match has(run, 13.0) {
        true => Err(Error::new(kind, "thirteen is not served")),
        false => run.identity(),
    }
}

/// A call of `rows` with these values, a row each.
fn call(values: &[f32]) -> ModelInferRequest {
    wide(values, 1)
}

/// A call of `rows` with these values, so many in each row.
fn wide(values: &[f32], width: usize) -> ModelInferRequest {
    let shape = [(values.len() / width) as i64, width as i64];
    raw("rows", [(tensor("x", DType::Fp32, &shape), floats(values))])
}

fn values(data: &[u8]) -> Vec<f32> {
    let (values, _) = data.as_chunks();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The first input of each run so far.
fn ran(log: &Log) -> Vec<Vec<f32>> {
    log.seen().iter().map(|seen| values(&seen.inputs[0].tensor.data().to_bytes())).collect()
}

/// Begins a call and sends all of it.
async fn begun(raw: &Raw, call: &ModelInferRequest, headers: &[(&str, &str)]) -> Pending {
    let mut pending = raw.begin(INFER, headers).await.unwrap();
    pending.put(framed(call), true);
    pending
}

/// Once this is answered, what was sent before it on the same connection waits in its queue or runs.
async fn have_come(raw: &Raw) {
    let live = raw.call("/inference.GRPCInferenceService/ServerLive", &[], vec![0; 5]).await;
    assert_eq!(live.code(), Code::Ok);
}

fn good(answer: &Answer) -> ModelInferResponse {
    assert_eq!(answer.code(), Code::Ok, "{}", answer.message());
    unframed(answer.body.clone()).remove(0)
}

/// The answer to a call that goes well.
async fn answered(pending: Pending) -> ModelInferResponse {
    good(&pending.answer().await.unwrap())
}

/// A server whose one instance is busy with a run of 0, so that every other call waits until the gate is opened.
struct Busy {
    serving: Serving,
    raw: Raw,
    gate: Gate,
    log: Log,
    first: Pending,
}

impl Busy {
    /// Serves `rows` with these settings.
    async fn with(settings: &str) -> Busy {
        let gate = Gate::closed();
        let model = rows(&gate).settings(settings);
        Busy::of(model, gate, &call(&[0.0])).await
    }

    /// Serves a model which holds the run of `first`.
    async fn of(model: Model, mut gate: Gate, first: &ModelInferRequest) -> Busy {
        let log = model.log();
        let serving = Serving::of([model]).await;
        let raw = serving.raw().await;
        let first = begun(&raw, first, &[]).await;
        gate.next().await;
        Busy { serving, raw, gate, log, first }
    }

    /// Lets calls wait, one behind the other.
    async fn queue<const N: usize>(&self, calls: [&ModelInferRequest; N]) -> [Pending; N] {
        let mut waiting = Vec::new();
        for call in calls {
            waiting.push(begun(&self.raw, call, &[]).await);
            have_come(&self.raw).await;
        }
        waiting.try_into().unwrap_or_else(|_| unreachable!("as many wait as were given"))
    }

    /// Lets everything run, and sees that the first call was answered.
    async fn release(self) -> Released {
        self.gate.open();
        assert_eq!(echoed(&answered(self.first).await), [0.0]);
        Released { serving: self.serving, raw: self.raw, log: self.log }
    }
}

/// A server on which nothing is held any more.
struct Released {
    serving: Serving,
    raw: Raw,
    log: Log,
}

impl Released {
    /// The runs since the first, each by its values.
    fn later_runs(&self) -> Vec<Vec<f32>> {
        ran(&self.log).split_off(1)
    }

    /// Sees that calls are still answered, and ends the test.
    async fn finish(self) {
        let after = begun(&self.raw, &call(&[77.0]), &[]).await;
        assert_eq!(echoed(&answered(after).await), [77.0]);
        self.serving.finish().await;
    }
}
