//! The test room of the queue: signatures, calls and rules in a few words, and a place that is scripted. Runs take time
//! on the paused clock of a test only.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use smallvec::SmallVec;

use super::batcher::now;
use super::call::{Ask, Entry};
use super::lane::Waiting;
use super::rules::{Bounds, Level, Rules};
use super::shape::{Alike, Shaper};
use crate::error::Error;
use crate::infer::{
    Backlog, Batch, Close, Execution, InferRequest, InferResponse, Member, ModelName, Outcome, Parameter, Place, Slot,
    Target, Timeline, Version,
};
use crate::tensor::{BatchAxis, DType, Dim, Shape, Signature, Tensor, TensorSpec, strings};

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;

/// A name, a type, and dimensions: a number is fixed, `-1` is free, all else is a symbol. A name that ends with `?` is
/// that of an input that may be left out.
pub(super) type Spec<'a> = (&'static str, DType, &'a [&'a str]);

pub(super) fn spec((name, dtype, dims): Spec<'_>) -> TensorSpec {
    let dim = |text: &&str| match text.parse() {
        Ok(-1) => Dim::Free(None),
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Free(Some((*text).to_owned().into())),
    };
    let plain = name.trim_end_matches('?');
    TensorSpec { name: plain.into(), dtype, dims: dims.iter().map(dim).collect(), optional: plain != name }
}

pub(super) fn signature(inputs: &[Spec<'_>], outputs: &[Spec<'_>]) -> Arc<Signature> {
    let specs = |all: &[Spec<'_>]| all.iter().copied().map(spec).collect();
    Arc::new(Signature { inputs: specs(inputs), outputs: specs(outputs) })
}

/// One input and one output of bytes, with rows of any length.
pub(super) fn plain() -> Arc<Signature> {
    signature(&[("x", DType::Uint8, &["batch", "-1"])], &[("y", DType::Uint8, &["batch", "-1"])])
}

/// The rules of a model whose calls are merged, with nothing else asked for.
pub(super) fn rules(signature: &Signature, max_batch: usize) -> Rules {
    let axis = BatchAxis::find(signature, None, true).ok();
    Rules { axis, max_batch, ..Rules::call_by_call(Bounds { calls: 10_000, bytes: 1 << 30 }) }
}

/// A tensor whose content is told by `seed`; strings have different lengths, some none.
pub(super) fn tensor(name: &str, dtype: DType, dims: &[i64], seed: u64) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut data = Vec::new();
    for _ in 0..shape.elements() {
        match dtype.size() {
            Some(size) => data.extend((0..size).map(|_| random.u8(..))),
            None => strings::push(&mut data, &vec![random.u8(..); random.usize(0..5)]).unwrap(),
        }
    }
    Tensor::new(name.to_owned().into(), dtype, shape, data.into()).unwrap()
}

pub(super) fn request(inputs: impl IntoIterator<Item = Tensor>, deadline: Instant) -> InferRequest {
    let member =
        Member { id: ByteString::new(), deadline, trace: None, previous_attempts: 0, timeline: Timeline::start(now()) };
    InferRequest::new(Target::parse("m".into(), "").unwrap(), inputs, member)
}

/// A call of [`plain`], as tests think of one: all times are milliseconds after the room's start.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) rows: usize,
    pub(super) length: i64,
    pub(super) version: &'static str,
    pub(super) parameter: Option<i64>,
    pub(super) level: usize,
    pub(super) arrived: u64,
    pub(super) deadline: u64,
    /// How long it wants to wait.
    pub(super) timeout: Option<u64>,
    pub(super) merges: bool,
}

impl Default for Call {
    fn default() -> Call {
        let (version, parameter, timeout) = ("", None, None);
        Call { rows: 1, length: 4, version, parameter, level: 0, arrived: 0, deadline: 1000, timeout, merges: true }
    }
}

/// Where calls are made ready to wait without a batcher.
pub(super) struct Room {
    pub(super) rules: Rules,
    pub(super) shaper: Shaper,
    pub(super) start: Instant,
}

impl Room {
    pub(super) fn of(rules: Rules) -> Room {
        Room::with(plain(), rules)
    }

    pub(super) fn with(signature: Arc<Signature>, rules: Rules) -> Room {
        Room { shaper: Shaper::new(signature, &rules).unwrap(), rules, start: Instant::now() }
    }

    pub(super) fn at(&self, millis: u64) -> Instant {
        self.start + MS(millis)
    }

    /// A call ready to wait. It has to fit into one batch.
    pub(super) fn waiting(&self, call: &Call) -> (Alike, Waiting) {
        let input = tensor("x", DType::Uint8, &[call.rows as i64, call.length], 0);
        let mut request = request([input], self.at(call.deadline));
        request.model = Target::parse("m".into(), call.version).unwrap();
        request.parameters.set("priority".into(), Parameter::Uint(call.level as u64 + 1));
        let mut set = |name: &'static str, value: Option<Parameter>| {
            value.into_iter().for_each(|value| request.parameters.set(name.into(), value));
        };
        set("style", call.parameter.map(Parameter::Int));
        set("timeout", call.timeout.map(|millis| Parameter::Uint(millis * 1000)));
        let (alike, mut waiting) = self.ready(request, self.at(call.arrived));
        waiting.merges &= call.merges;
        // Without the time for the way back, so that tests tell times as they are.
        waiting.deadline = self.at(call.deadline);
        (alike, waiting)
    }

    /// Any call ready to wait.
    pub(super) fn ready(&self, mut request: InferRequest, now: Instant) -> (Alike, Waiting) {
        let ask = Ask::of(&request.parameters, &self.rules).unwrap();
        self.shaper.signature.check_inputs(&request.inputs).unwrap();
        let measured = self.shaper.measure(&mut request);
        let mut entry = Entry::new(request, measured, ask, &self.rules, &self.shaper, now).unwrap();
        assert_eq!(entry.calls.len(), 1, "the call has more rows than a batch may have");
        entry.calls.remove(0)
    }
}

pub(super) fn levels(count: usize) -> Vec<Level> {
    vec![Level::default(); count]
}

/// A place of so many slots. Its engine answers each output with the input of the same position, after a time that the
/// script tells; what it ran can be looked at.
#[derive(Clone)]
pub(super) struct Script {
    stage: Arc<Mutex<Stage>>,
}

type Time = Box<dyn Fn(usize) -> Duration + Send>;
type Failure = Box<dyn Fn(&InferRequest) -> Option<Error> + Send>;

struct Stage {
    free: usize,
    waker: Option<Waker>,
    rows: usize,
    time: Time,
    fails: Failure,
    runs: Vec<Run>,
    /// Batches that are kept until they are asked for, where the script says so.
    kept: Option<Vec<Batch>>,
}

/// What was run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Rows of the calls.
    pub(super) rows: usize,
    /// Rows as the engine got them.
    pub(super) run_at: usize,
    pub(super) closed: Close,
    pub(super) taken: Instant,
}

impl Script {
    /// A place whose run of so many rows takes `time` of them.
    pub(super) fn new(slots: usize, time: impl Fn(usize) -> Duration + Send + 'static) -> Script {
        let (time, fails) = (Box::new(time), Box::new(|_: &InferRequest| None));
        let stage = Stage { free: slots, waker: None, rows: usize::MAX, time, fails, runs: Vec::new(), kept: None };
        Script { stage: Arc::new(Mutex::new(stage)) }
    }

    /// The same, but a run of what `fails` says so of fails.
    pub(super) fn failing(self, fails: impl Fn(&InferRequest) -> Option<Error> + Send + 'static) -> Script {
        self.stage().fails = Box::new(fails);
        self
    }

    /// The same, but batches are kept until they are asked for.
    pub(super) fn keeping(self) -> Script {
        self.stage().kept = Some(Vec::new());
        self
    }

    /// Takes out a batch that was kept.
    pub(super) fn kept(&self) -> Batch {
        self.stage().kept.as_mut().and_then(Vec::pop).expect("a batch was started")
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.stage().runs.clone()
    }

    /// The rows of each run.
    pub(super) fn rows(&self) -> Vec<usize> {
        self.stage().runs.iter().map(|run| run.rows).collect()
    }

    pub(super) fn free(&self) -> usize {
        self.stage().free
    }

    /// Ends a run and gives its slot back.
    pub(super) fn end(&self, batch: Batch, taken: Instant) {
        let outcome = self.outcome(&batch, taken);
        batch.answer(outcome);
        self.release();
    }

    /// Gives a slot back whose batch is over.
    pub(super) fn give_back(&self) {
        self.release();
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap()
    }

    fn outcome(&self, batch: &Batch, taken: Instant) -> Outcome {
        let request = &batch.request;
        if let Some(error) = (self.stage().fails)(request) {
            return Err(error);
        }
        let wanted =
            |name: &str| request.outputs.is_empty() || request.outputs.iter().any(|output| output.name == name);
        let outputs: SmallVec<[Tensor; 1]> = request
            .inputs
            .iter()
            .map(|input| renamed(input, &answer_of(input.name())))
            .filter(|output| wanted(output.name()))
            .collect();
        let members = request.members.len() as u32;
        Ok(Box::new(InferResponse { rows: batch.composition.rows, ..response(outputs, batch, members, taken) }))
    }

    fn release(&self) {
        let waker = {
            let mut stage = self.stage();
            stage.free += 1;
            stage.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The output that the engine answers an input with.
pub(super) fn answer_of(input: &str) -> String {
    if input == "x" { "y".to_owned() } else { input.to_uppercase() }
}

pub(super) fn renamed(tensor: &Tensor, name: &str) -> Tensor {
    Tensor::new(name.to_owned().into(), tensor.dtype(), tensor.shape().clone(), tensor.data().clone()).unwrap()
}

fn response(outputs: SmallVec<[Tensor; 1]>, batch: &Batch, members: u32, taken: Instant) -> InferResponse {
    let (composition, executed, load) = (batch.composition, now(), Default::default());
    let device = "script".into();
    let execution = Execution { batch: 1, composition, members, device, taken, merged: taken, executed, load };
    let (model, version, received) = (ModelName::new("m".into()).unwrap(), Version::new(1), None);
    InferResponse { model, version, outputs, parameters: Default::default(), rows: 1, received, execution }
}

impl Place for Script {
    type Slot = ScriptSlot;

    fn poll_slot(&mut self, cx: &mut Context<'_>, waiting: &Backlog) -> Poll<ScriptSlot> {
        assert!(waiting.calls > 0, "nobody asks for a slot with nothing to run");
        let mut stage = self.stage();
        if stage.free == 0 {
            stage.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        stage.free -= 1;
        Poll::Ready(ScriptSlot { place: Some(self.clone()), rows: stage.rows })
    }
}

pub(super) struct ScriptSlot {
    place: Option<Script>,
    rows: usize,
}

impl Slot for ScriptSlot {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(mut self, batch: Batch) {
        let (place, taken) = (self.place.take().expect("a slot is used once"), now());
        let run_at = well_formed(&batch);
        let run = Run { rows: batch.composition.rows, run_at, closed: batch.composition.closed, taken };
        let until = {
            let mut stage = place.stage();
            stage.runs.push(run);
            if let Some(kept) = &mut stage.kept {
                return kept.push(batch);
            }
            taken + (stage.time)(run_at)
        };
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            place.end(batch, taken);
        });
    }
}

impl Drop for ScriptSlot {
    fn drop(&mut self) {
        self.place.take().into_iter().for_each(|place| place.release());
    }
}

/// Checks a batch as an engine would, and tells its rows.
fn well_formed(batch: &Batch) -> usize {
    let request = &batch.request;
    let run_at = request.inputs.iter().map(|input| input.shape().first().copied().unwrap_or(1) as usize);
    let run_at =
        run_at.reduce(|one, other| if one == other { one } else { panic!("inputs of one run differ in rows") });
    let (run_at, composition) = (run_at.unwrap_or(1), batch.composition);
    for input in &request.inputs {
        renamed(input, "checked");
    }
    assert!(composition.rows <= run_at && !request.members.is_empty());
    let elements: usize = request.inputs.iter().map(|input| input.shape().elements()).sum();
    assert_eq!(composition.elements, elements);
    run_at
}
