//! Calls of different lengths that run as one, where padding them is worth it.

use std::thread;
use std::time::{Duration, Instant};

use infergate::tensor::DType;
use infergate::wire::proto::inference::ModelInferRequest;

use super::{Busy, answered, begun, holding};
use crate::harness::{Gate, Model, Serving, floats, raw, tensor};

/// What each run costs, however large it is.
const COST: Duration = Duration::from_millis(20);

const BUCKETS: &str = "[batch.dims.width]\nbuckets = [8, 16]\nmask = \"mask\"\npad = -1.0\n";

/// `x` and a mask of any width come back, and how wide they were; a run costs the same whatever it holds.
fn flat(gate: &Gate) -> Model {
    let (dims, wide) = (&["batch", "width"], &["batch", "width", "1"]);
    let model = Model::new("flat").takes("x", DType::Fp32, dims).takes("mask", DType::Int64, dims);
    let model = model.takes("side", DType::Int32, wide);
    let model = model.gives("y", DType::Fp32, dims).gives("kept", DType::Int64, dims).gives("w", DType::Int32, wide);
    holding(model.settings("instances = 1").settings(BUCKETS), gate, |run| {
        let began = Instant::now();
        while let Some(left) = COST.checked_sub(began.elapsed()) {
            thread::park_timeout(left);
        }
        run.identity()
    })
}

fn numbers<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    values.flatten().collect()
}

/// A call of so many rows of so many values, the first one being `first`.
fn of_width(first: f32, rows: usize, width: usize) -> ModelInferRequest {
    let shape = [rows as i64, width as i64];
    let values: Vec<f32> = (0..rows * width).map(|index| first + index as f32).collect();
    let mask = numbers((0..rows * width).map(|_| 1_i64.to_le_bytes()));
    let side = numbers((0..rows * width).map(|index| (index as i32).to_le_bytes()));
    let inputs = [
        (tensor("x", DType::Fp32, &shape), floats(&values)),
        (tensor("mask", DType::Int64, &shape), mask.into()),
        (tensor("side", DType::Int32, &[rows as i64, width as i64, 1]), side.into()),
    ];
    raw("flat", inputs)
}

/// A server that knows what its runs cost and is busy with another.
async fn taught() -> Busy {
    let mut gate = Gate::closed();
    let model = flat(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    for (rows, width) in [(1, 1), (4, 8), (2, 16), (8, 16), (1, 7), (16, 16), (1, 4), (12, 16), (1, 8), (20, 16)] {
        answered(begun(&raw, &of_width(1.0, rows, width), &[]).await).await;
    }
    let first = begun(&raw, &of_width(0.0, 1, 1), &[]).await;
    gate.next().await;
    Busy { serving, raw, gate, log, first }
}

#[tokio::test]
async fn lengths_of_one_bucket_run_as_one_and_each_is_cut_back() {
    let busy = taught().await;
    let calls = [of_width(10.0, 1, 3), of_width(20.0, 2, 5), of_width(50.0, 1, 12)];
    let [three, five, twelve] = busy.queue(calls.each_ref()).await;
    let before = busy.log.runs();
    let released = busy.release().await;
    for (waiting, call) in [three, five, twelve].into_iter().zip(&calls) {
        let answer = answered(waiting).await;
        let shapes =
            answer.outputs.iter().map(|output| &output.shape).zip(call.inputs.iter().map(|input| &input.shape));
        shapes.for_each(|(output, input)| assert_eq!(output, input));
        assert_eq!(answer.raw_output_contents, call.raw_input_contents);
    }
    let mut runs = released.log.seen().split_off(before);
    runs.sort_by_key(|run| run.inputs[0].tensor.shape()[1]);
    assert_eq!(runs[0].inputs[0].tensor.shape()[..], [3, 8]);
    assert_eq!(runs[1].inputs[0].tensor.shape()[..], [1, 12], "another bucket is another batch");
    let padded = |input: usize| runs[0].inputs[input].tensor.data().to_bytes();
    let rows = [[10., 11., 12.].as_slice(), &[20., 21., 22., 23., 24.], &[25., 26., 27., 28., 29.]];
    let filled = |pad: f32| rows.iter().flat_map(move |row| row.iter().copied().chain([pad; 8]).take(8));
    assert_eq!(padded(0), floats(&filled(-1.0).collect::<Vec<_>>()));
    let mask = rows.iter().flat_map(|row| (0..8).map(|at| i64::from(at < row.len()).to_le_bytes()));
    assert_eq!(padded(1), numbers(mask));
    assert_eq!(runs[0].inputs[2].tensor.shape()[..], [3, 8, 1]);
    released.serving.finish().await;
}

#[tokio::test]
async fn a_call_alone_and_lengths_above_the_last_bucket_run_as_they_are() {
    let busy = taught().await;
    let calls = [of_width(10.0, 1, 3), of_width(20.0, 1, 17), of_width(30.0, 1, 18), of_width(40.0, 1, 17)];
    let waiting = busy.queue(calls.each_ref()).await;
    let before = busy.log.runs();
    let released = busy.release().await;
    for (waiting, call) in waiting.into_iter().zip(&calls) {
        assert_eq!(answered(waiting).await.raw_output_contents, call.raw_input_contents);
    }
    let runs = released.log.seen().split_off(before);
    let mut shapes: Vec<_> = runs.iter().map(|run| run.inputs[0].tensor.shape().to_vec()).collect();
    shapes.sort();
    assert_eq!(shapes, [[1, 3], [1, 18], [2, 17]]);
    released.serving.finish().await;
}

#[tokio::test]
async fn inputs_that_disagree_about_a_padded_length_are_not_padded() {
    let busy = taught().await;
    // The model may make sense of them; the queue does not.
    let unlike = |first: f32| {
        let mut call = of_width(first, 1, 3);
        call.inputs[1].shape = vec![1, 2];
        call.raw_input_contents[1] = vec![1; 16].into();
        call
    };
    let calls = [unlike(10.0), of_width(20.0, 1, 5), unlike(30.0)];
    let waiting = busy.queue(calls.each_ref()).await;
    let before = busy.log.runs();
    let released = busy.release().await;
    for (waiting, call) in waiting.into_iter().zip(&calls) {
        assert_eq!(answered(waiting).await.raw_output_contents, call.raw_input_contents);
    }
    let runs = released.log.seen().split_off(before);
    let mut shapes: Vec<_> = runs.iter().map(|run| run.inputs[1].tensor.shape().to_vec()).collect();
    shapes.sort();
    assert_eq!(shapes, [[1, 5], [2, 2]]);
    released.serving.finish().await;
}
