//! How large a batch is, and how long it is waited for.

use infergate::error::Kind;
use infergate::tensor::DType;
use tonic::Code;

use super::{Busy, answered, begun, call, fears_thirteen, have_come, holding, ran, rows, wide};
use crate::harness::{FREE, Gate, Log, Model, Serving, echoed, floats, raw, tensor, within};

/// `rows` with these settings and one instance, nothing being held.
async fn free(settings: &str) -> (Serving, Log) {
    let gate = Gate::closed();
    let model = rows(&gate).settings(settings);
    let log = model.log();
    (Serving::of([model]).await, log)
}

#[tokio::test]
async fn a_batch_has_no_more_rows_than_it_may() {
    let busy = Busy::with("batch.max_batch = 3").await;
    let calls = [call(&[1.0, 2.0]), call(&[3.0]), call(&[4.0, 5.0]), call(&[6.0, 7.0])];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, expected) in waiting.into_iter().zip([&[1.0, 2.0][..], &[3.0], &[4.0, 5.0], &[6.0, 7.0]]) {
        assert_eq!(echoed(&answered(waiting).await), expected);
    }
    assert_eq!(released.later_runs(), [vec![1.0, 2.0, 3.0], vec![4.0, 5.0], vec![6.0, 7.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_call_that_is_larger_than_a_batch_runs_in_parts_and_comes_back_whole() {
    let (serving, log) = free("batch.max_batch = 4").await;
    let raw = serving.raw().await;
    let values: Vec<f32> = (1..=20).map(|value| value as f32).collect();
    let answer = answered(begun(&raw, &wide(&values, 2), &[]).await).await;
    assert_eq!((&*answer.outputs[0].shape, echoed(&answer)), (&[10, 2][..], values.clone()));
    assert_eq!(ran(&log), [&values[..8], &values[8..16], &values[16..]]);
    assert_eq!(serving.finish().await.answered, 1);
}

#[tokio::test]
async fn where_nobody_bounds_a_batch_large_calls_run_as_they_came_and_do_not_fill_the_queue() {
    let gate = Gate::closed();
    let model = rows(&gate);
    let (log, mut gate) = (model.log(), gate);
    let serving = Serving::with([model], |config| config.limits.queue_calls = 4).await;
    let raw = serving.raw().await;
    let first = begun(&raw, &call(&[0.0]), &[]).await;
    gate.next().await;
    let large = [1.0, 2.0, 3.0].map(|value| vec![value; 100]);
    let mut waiting = Vec::new();
    for values in large.iter().chain([&vec![4.0]]) {
        waiting.push(begun(&raw, &call(values), &[]).await);
        have_come(&raw).await;
    }
    gate.open();
    answered(first).await;
    for (waiting, values) in waiting.into_iter().zip(large.iter().chain([&vec![4.0]])) {
        assert_eq!(echoed(&answered(waiting).await), *values);
    }
    assert_eq!(ran(&log).iter().map(Vec::len).collect::<Vec<_>>(), [1, 100, 100, 100, 1]);
    serving.finish().await;
}

#[tokio::test]
async fn parts_of_a_large_call_run_with_others() {
    let busy = Busy::with("batch.max_batch = 4").await;
    let [large, small] = busy.queue([&call(&[1.0, 2.0, 3.0, 4.0, 5.0]), &call(&[6.0])]).await;
    let released = busy.release().await;
    assert_eq!(echoed(&answered(large).await), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(echoed(&answered(small).await), [6.0]);
    assert_eq!(released.later_runs(), [vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_large_call_fails_as_one_where_a_part_of_it_fails() {
    let gate = Gate::closed();
    let model = rows(&gate).settings("batch.max_batch = 2").acting(|run| fears_thirteen(run, Kind::Engine));
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let answer = begun(&raw, &call(&[1.0, 2.0, 13.0, 4.0, 5.0]), &[]).await.answer().await.unwrap();
    assert_eq!((answer.code(), &*answer.message()), (Code::Internal, "thirteen is not served"));
    assert_eq!(echoed(&answered(begun(&raw, &call(&[1.0]), &[]).await).await), [1.0]);
    let totals = serving.finish().await;
    assert_eq!((totals.answered, totals.failed), (1, 1));
}

#[tokio::test]
async fn a_call_that_is_too_large_is_refused_where_the_model_says_so() {
    let (serving, log) = free("batch = { max_batch = 4, oversized = \"refuse\" }").await;
    let raw = serving.raw().await;
    let answer = begun(&raw, &call(&[1.0; 10]), &[]).await.answer().await.unwrap();
    let expected = "the call has 10 rows, at most 4 are taken";
    assert_eq!((answer.code(), &*answer.message()), (Code::InvalidArgument, expected));
    assert_eq!(echoed(&answered(begun(&raw, &call(&[1.0; 4]), &[]).await).await), [1.0; 4]);
    assert_eq!(log.runs(), 1);
    assert_eq!(serving.finish().await.refused, 1);
}

#[tokio::test]
async fn the_engine_sees_only_the_sizes_that_are_allowed() {
    let busy = Busy::with("batch.allowed_sizes = [2, 4]").await;
    let calls = [call(&[1.0]), call(&[2.0, 3.0]), call(&[4.0]), call(&[5.0]), call(&[6.0])];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, expected) in waiting.into_iter().zip([&[1.0][..], &[2.0, 3.0], &[4.0], &[5.0], &[6.0]]) {
        assert_eq!(echoed(&answered(waiting).await), expected);
    }
    for rows in [1, 2, 3, 5, 9] {
        let values: Vec<f32> = (1..=rows).map(|row| row as f32).collect();
        assert_eq!(echoed(&answered(begun(&released.raw, &call(&values), &[]).await).await), values);
    }
    let runs = ran(&released.log);
    assert!(runs.iter().all(|run| [2, 4].contains(&run.len())), "{runs:?}");
    // What fills a batch up is a row of it again.
    assert_eq!(runs[..3], [vec![0.0, 0.0], vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_run_that_failed_is_repeated_in_the_sizes_that_are_allowed() {
    let gate = Gate::closed();
    let model = rows(&gate).settings("batch.allowed_sizes = [2, 4]");
    let model = holding(model, &gate, |run| fears_thirteen(run, Kind::Engine));
    let busy = Busy::of(model, gate, &call(&[0.0])).await;
    let [one, guilty, two] = busy.queue([&call(&[1.0]), &call(&[13.0]), &call(&[2.0])]).await;
    let released = busy.release().await;
    assert_eq!(echoed(&answered(one).await), [1.0]);
    assert_eq!(guilty.answer().await.unwrap().message(), "thirteen is not served");
    assert_eq!(echoed(&answered(two).await), [2.0]);
    let mut runs = released.later_runs();
    runs.sort_by(|one, other| one.partial_cmp(other).unwrap());
    assert_eq!(runs, [vec![1.0, 1.0], vec![1.0, 13.0, 2.0, 2.0], vec![2.0, 2.0], vec![13.0, 13.0]]);
    released.finish().await;
}

#[tokio::test]
async fn rows_that_are_no_batch_are_not_filled_up() {
    let (serving, log) = free("batch.allowed_sizes = [2, 4]").await;
    let raw = serving.raw().await;
    let answer = answered(begun(&raw, &wide(&[], 3), &[]).await).await;
    assert_eq!(answer.outputs[0].shape, [0, 3]);
    assert_eq!(log.seen()[0].inputs[0].tensor.shape()[..], [0, 3]);
    assert_eq!(echoed(&answered(begun(&raw, &call(&[1.0]), &[]).await).await), [1.0]);
    serving.finish().await;
}

#[tokio::test]
async fn a_call_waits_for_others_where_it_should_and_goes_with_them_once_the_batch_is_full() {
    let (serving, log) = free("batch = { max_batch = 2, max_delay = \"10s\" }").await;
    let raw = serving.raw().await;
    for round in [1.0, 3.0] {
        let one = begun(&raw, &call(&[round]), &[]).await;
        have_come(&raw).await;
        let two = begun(&raw, &call(&[round + 1.0]), &[]).await;
        assert_eq!(echoed(&answered(one).await), [round]);
        assert_eq!(echoed(&answered(two).await), [round + 1.0]);
    }
    assert_eq!(ran(&log), [[1.0, 2.0], [3.0, 4.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn a_call_waits_for_others_only_as_long_as_its_deadline_allows() {
    let (serving, log) = free("batch = { max_batch = 2, max_delay = \"10s\" }").await;
    let raw = serving.raw().await;
    let alone = begun(&raw, &call(&[1.0]), &[("grpc-timeout", "3S")]).await;
    assert_eq!(echoed(&answered(alone).await), [1.0]);
    assert_eq!(log.runs(), 1);
    serving.finish().await;
}

#[tokio::test]
async fn what_cannot_be_merged_waits_for_nobody_and_hurries_nobody() {
    let model = Model::new("two").input("a", DType::Fp32, &[FREE, 1]).input("b", DType::Fp32, &[FREE, 1]);
    let model = model.output("x", DType::Fp32, &[FREE, 1]).output("y", DType::Fp32, &[FREE, 1]);
    let model = model.settings("instances = 1\nbatch = { max_batch = 2, max_delay = \"10s\" }");
    let log = model.log();
    let serving = Serving::of([model]).await;
    let connection = serving.raw().await;
    let of = |a: &[f32], b: &[f32]| {
        let input = |name, values: &[f32]| (tensor(name, DType::Fp32, &[values.len() as i64, 1]), floats(values));
        raw("two", [input("a", a), input("b", b)])
    };
    // It waits for company, and would have given up before any that came later.
    let patient = begun(&connection, &of(&[1.0], &[1.0]), &[]).await;
    have_come(&connection).await;
    for (a, b) in [(&[][..], &[][..]), (&[2.0], &[2.0, 3.0])] {
        answered(begun(&connection, &of(a, b), &[]).await).await;
    }
    assert_eq!(ran(&log), [vec![], vec![2.0]]);
    let company = begun(&connection, &of(&[4.0], &[4.0]), &[]).await;
    answered(patient).await;
    answered(company).await;
    assert_eq!(ran(&log).split_off(2), [[1.0, 4.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn a_run_that_failed_is_repeated_without_waiting_for_others() {
    let gate = Gate::closed();
    let model = rows(&gate).settings("batch = { max_batch = 2, max_delay = \"10s\" }");
    let model = model.acting(|run| fears_thirteen(run, Kind::Engine));
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    // Of another shape. It waits for company, and would have given up before any that came later.
    let patient = begun(&raw, &wide(&[5.0, 6.0], 2), &[]).await;
    have_come(&raw).await;
    let guilty = begun(&raw, &call(&[13.0]), &[]).await;
    have_come(&raw).await;
    let innocent = begun(&raw, &call(&[1.0]), &[]).await;
    assert_eq!(guilty.answer().await.unwrap().message(), "thirteen is not served");
    assert_eq!(echoed(&answered(innocent).await), [1.0]);
    assert_eq!(ran(&log), [vec![13.0, 1.0], vec![13.0], vec![1.0]]);
    answered(begun(&raw, &wide(&[7.0, 8.0], 2), &[]).await).await;
    assert_eq!(echoed(&answered(patient).await), [5.0, 6.0]);
    serving.finish().await;
}

#[tokio::test]
async fn who_waits_for_others_goes_at_once_when_the_server_drains() {
    let gate = Gate::closed();
    let model = rows(&gate).settings("batch = { max_batch = 8, max_delay = \"10s\" }");
    // Long before the delay is over everything would be cut off.
    let mut serving = Serving::with([model], |config| config.drain.grace = "5s".parse().unwrap()).await;
    let raw = serving.raw().await;
    let waiting = [begun(&raw, &call(&[1.0]), &[]).await, begun(&raw, &call(&[2.0]), &[]).await];
    have_come(&raw).await;
    let drain = serving.drain();
    for (waiting, value) in waiting.into_iter().zip([1.0, 2.0]) {
        assert_eq!(echoed(&answered(waiting).await), [value]);
    }
    within(drain).await.unwrap();
    assert_eq!(serving.finish().await.answered, 2);
}
