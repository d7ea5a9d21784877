//! Merging and splitting are each other's inverse: behind an engine that answers what it was given, each call gets back
//! exactly what it gave, whatever the types, axes, padding and outputs.

use proptest::prelude::*;

use super::*;
use crate::batch::fixture::{Room, levels, renamed, request, rules, signature, tensor};
use crate::batch::rules::{Pad, Rules};
use crate::cost::Work;
use crate::infer::{Close, Execution, LoadReport, ModelName, Version};
use crate::tensor::{DType, Signature};
use std::sync::Arc;
use std::time::Instant;

/// A model with an output for each input, of the same type and shape.
fn identity(inputs: &[(DType, usize)], pads: bool) -> Arc<Signature> {
    let names = [("a", "A"), ("b", "B"), ("c", "C")];
    let length = if pads { "length" } else { "-1" };
    let dims: Vec<Vec<&str>> = inputs.iter().map(|(_, place)| dims_around("batch", [length, "2"], *place)).collect();
    let specs = |output: bool| {
        let specs = inputs.iter().zip(names).zip(&dims);
        specs
            .map(|(((dtype, _), (input, answer)), dims)| (if output { answer } else { input }, *dtype, &dims[..]))
            .collect::<Vec<_>>()
    };
    signature(&specs(false), &specs(true))
}

fn dims_around<T: Clone>(batch: T, others: [T; 2], place: usize) -> Vec<T> {
    let mut dims = others.to_vec();
    dims.insert(place, batch);
    dims
}

/// What is tried: calls, each with its rows, its length and the outputs that it wants, of a model of these inputs.
#[derive(Debug, Clone)]
struct Tried {
    inputs: Vec<(DType, usize)>,
    calls: Vec<(usize, usize, Vec<usize>)>,
    pads: bool,
    /// Rows beyond those of the calls.
    filled: usize,
}

fn tried() -> impl Strategy<Value = Tried> {
    let inputs = prop::collection::vec((prop::sample::select(DType::ALL.to_vec()), 0..3usize), 1..4);
    let wanted = prop::collection::vec(0..3usize, 0..4);
    let calls = prop::collection::vec((1..5usize, 1..9usize, wanted), 1..6);
    (inputs, calls, any::<bool>(), prop_oneof![Just(0), 0..6usize]).prop_map(|(inputs, calls, pads, filled)| Tried {
        inputs,
        calls,
        pads,
        filled,
    })
}

impl Tried {
    fn room(&self) -> Room {
        let signature = identity(&self.inputs, self.pads);
        let pad = Pad { symbol: "length".into(), buckets: vec![3, 8], value: 1.0, mask: None };
        let pads = if self.pads { vec![pad] } else { Vec::new() };
        let rules = Rules { pads, levels: levels(1), ..rules(&signature, 64) };
        assert_eq!(
            rules.axis.as_ref().unwrap().inputs(),
            self.inputs.iter().map(|(_, place)| *place).collect::<Vec<_>>()
        );
        Room::with(signature, rules)
    }

    fn request(&self, index: usize, now: Instant) -> InferRequest {
        let (rows, length, wanted) = &self.calls[index];
        // Without padding, calls of one batch have one length; with it, lengths of one bucket.
        let length = if self.pads { 4 + *length as i64 % 5 } else { self.calls[0].1 as i64 };
        let inputs = self.inputs.iter().zip(["a", "b", "c"]).enumerate().map(|(input, ((dtype, place), name))| {
            let dims = dims_around(*rows as i64, [length, 2], *place);
            tensor(name, *dtype, &dims, (index * 10 + input) as u64)
        });
        let mut request = request(inputs, now);
        for name in wanted.iter().filter(|output| **output < self.inputs.len()).map(|output| ["A", "B", "C"][*output]) {
            if request.outputs.iter().all(|known| known.name != name) {
                request.outputs.push(WantedOutput { name: name.into(), classes: None });
            }
        }
        request
    }

    /// The batch of all calls.
    fn taken(&self, room: &Room) -> Taken {
        let calls = (0..self.calls.len()).map(|index| room.ready(self.request(index, room.at(1000)), room.start));
        let (alikes, members): (Vec<_>, SmallVec<[Waiting; 1]>) = calls.unzip();
        assert!(alikes.iter().all(|alike| *alike == alikes[0]), "the calls go together");
        let rows = members.iter().map(|waiting| waiting.rows).sum();
        let elements = |waiting: &Waiting| if self.pads { waiting.padded_elements } else { waiting.elements };
        let elements = members.iter().map(elements).sum::<usize>() / rows * (rows + self.filled);
        let work = Work { shape: 0, rows: rows + self.filled, elements };
        Taken { members, rows, work, padded: self.pads, closed: Close::SlotFree }
    }
}

/// What the engine answers: each output that is wanted is the input of its name.
fn answered(request: &InferRequest) -> InferResponse {
    let wanted = |name: &str| request.outputs.is_empty() || request.outputs.iter().any(|output| output.name == name);
    let outputs = request.inputs.iter().map(|input| renamed(input, &input.name().to_uppercase()));
    response(outputs.filter(|output| wanted(output.name())).collect())
}

fn response(outputs: SmallVec<[Tensor; 1]>) -> InferResponse {
    let (now, composition) =
        (Instant::now(), Composition { rows: 1, elements: 1, padding: 0, closed: Close::SlotFree });
    let (device, load) = ("script".into(), LoadReport::default());
    let execution =
        Execution { batch: 1, composition, members: 1, device, taken: now, merged: now, executed: now, load };
    let (model, version) = (ModelName::new("m".into()).unwrap(), Version::new(1));
    let received = Some("as it came".into());
    InferResponse { model, version, outputs, parameters: Default::default(), rows: 1, received, execution }
}

proptest! {
    #[test]
    fn each_call_gets_back_what_it_gave_and_in_the_order_it_asked_for(tried in tried()) {
        let room = tried.room();
        let taken = tried.taken(&room);
        let axis = room.shaper.axis.as_ref().unwrap();
        let merged = merged(&room.shaper, axis, &taken).unwrap();
        prop_assert_eq!(merged.members.len(), tried.calls.len());
        for (input, place) in merged.inputs.iter().zip(axis.inputs()) {
            prop_assert_eq!(input.shape()[*place] as usize, taken.work.rows);
            // What an engine would find: data and shape agree.
            renamed(input, "checked");
        }
        let elements: usize = merged.inputs.iter().map(|input| input.shape().elements()).sum();
        let composition = composition(&taken);
        prop_assert_eq!(composition.elements, elements);
        let own: usize = taken.members.iter().map(|waiting| waiting.elements).sum();
        prop_assert_eq!(composition.padding, elements - own);

        let parts = split(&room.shaper, axis, &taken, &answered(&merged)).unwrap();
        for (index, part) in parts.iter().enumerate() {
            let own = tried.request(index, room.at(1000));
            prop_assert_eq!(part.rows, tried.calls[index].0);
            prop_assert_eq!(&part.received, &None, "the message answers all of them");
            let mut expected = answered(&own).outputs;
            expected.sort_by_key(|output| own.outputs.iter().position(|wanted| wanted.name == *output.name()));
            prop_assert_eq!(&part.outputs, &expected);
        }
    }
}

fn two_calls(wanted: [&[usize]; 2]) -> Tried {
    let inputs = vec![(DType::Fp32, 0), (DType::Bytes, 1), (DType::Bool, 2)];
    let calls = wanted.into_iter().map(|wanted| (2, 3, wanted.to_vec())).collect();
    Tried { inputs, calls, pads: false, filled: 0 }
}

fn asked_of_the_engine(tried: &Tried) -> Vec<String> {
    let room = tried.room();
    let merged = merged(&room.shaper, room.shaper.axis.as_ref().unwrap(), &tried.taken(&room)).unwrap();
    merged.outputs.iter().map(|wanted| wanted.name.to_string()).collect()
}

#[test]
fn the_engine_is_asked_for_what_any_of_the_calls_wants_and_for_all_where_one_wants_all() {
    assert_eq!(asked_of_the_engine(&two_calls([&[2], &[0, 2]])), ["C", "A"]);
    assert_eq!(asked_of_the_engine(&two_calls([&[2], &[]])), [""; 0]);
}

#[test]
fn rows_that_fill_a_batch_up_are_copies_of_the_last() {
    let tried = Tried { inputs: vec![(DType::Bytes, 0)], calls: vec![(2, 1, vec![])], pads: false, filled: 2 };
    let room = tried.room();
    let merged = merged(&room.shaper, room.shaper.axis.as_ref().unwrap(), &tried.taken(&room)).unwrap();
    let rows: Vec<Vec<u8>> =
        merged.inputs[0].divided(0, &[1; 4]).unwrap().iter().map(|row| row.data().to_bytes().to_vec()).collect();
    assert_eq!((&rows[2], &rows[3]), (&rows[1], &rows[1]));
}

#[test]
fn an_output_with_another_number_of_rows_is_a_failure_of_the_engine_that_says_what_to_do() {
    let tried = Tried { inputs: vec![(DType::Uint8, 0)], calls: vec![(2, 2, vec![]); 2], pads: false, filled: 0 };
    let room = tried.room();
    let outputs = SmallVec::from_iter([tensor("A", DType::Uint8, &[3, 2, 2], 0)]);
    let error = split(&room.shaper, room.shaper.axis.as_ref().unwrap(), &tried.taken(&room), &response(outputs));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Engine);
    assert_eq!(
        error.message(),
        "output \"A\" has the shape [3,2,2] after a run of 4 rows: calls of this model cannot be merged, set \
         batch.max_batch to 1"
    );
}

#[test]
fn an_output_that_is_shorter_than_the_padded_input_is_a_failure_of_the_engine() {
    let tried = Tried { inputs: vec![(DType::Uint8, 0)], calls: vec![(1, 1, vec![]); 2], pads: true, filled: 0 };
    let room = tried.room();
    let outputs = SmallVec::from_iter([tensor("A", DType::Uint8, &[2, 1, 2], 0)]);
    let parts = split(&room.shaper, room.shaper.axis.as_ref().unwrap(), &tried.taken(&room), &response(outputs));
    assert_eq!(parts.unwrap_err().kind(), Kind::Engine);
}

#[test]
fn one_call_as_it_is_needs_no_merging() {
    let alone = |pads, filled| {
        let tried = Tried { inputs: vec![(DType::Uint8, 0)], calls: vec![(1, 1, vec![])], pads, filled };
        is_plain(&tried.taken(&tried.room()))
    };
    assert!(alone(false, 0) && !alone(true, 0) && !alone(false, 1));
}
