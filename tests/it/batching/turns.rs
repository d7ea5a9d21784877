//! Who goes next: levels of priority, and times that calls say they can wait.

use infergate::tensor::DType;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::{InferParameter, ModelInferRequest};
use tonic::Code;

use super::{Busy, answered, begun, call};
use crate::harness::{FREE, Gate, Model, Serving, echoed, floats};

fn asking(value: f32, name: &str, choice: ParameterChoice) -> ModelInferRequest {
    let choice = InferParameter { parameter_choice: Some(choice) };
    ModelInferRequest { parameters: [(name.to_owned(), choice)].into(), ..call(&[value]) }
}

#[tokio::test]
async fn an_urgent_call_overtakes_and_a_level_that_there_is_not_is_the_default() {
    let busy = Busy::with("batch = { max_batch = 1, priority_levels = 3 }").await;
    let level = |value, level| asking(value, "priority", ParameterChoice::Uint64Param(level));
    let calls = [call(&[1.0]), level(2.0, 0), level(3.0, 1), level(4.0, 9), level(5.0, u64::MAX)];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, value) in waiting.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]) {
        assert_eq!(echoed(&answered(waiting).await), [value]);
    }
    assert_eq!(released.later_runs(), [[3.0], [1.0], [2.0], [4.0], [5.0]]);
    released.finish().await;
}

#[tokio::test]
async fn urgent_calls_take_others_of_their_shape_with_them_as_long_as_there_is_room() {
    let busy = Busy::with("batch = { max_batch = 2, priority_levels = 2, default_priority = 2 }").await;
    let urgent = asking(3.0, "priority", ParameterChoice::Int64Param(1));
    let waiting = busy.queue([&call(&[1.0]), &call(&[2.0]), &urgent]).await;
    let released = busy.release().await;
    for (waiting, value) in waiting.into_iter().zip([1.0, 2.0, 3.0]) {
        assert_eq!(echoed(&answered(waiting).await), [value]);
    }
    assert_eq!(released.later_runs(), [vec![3.0, 1.0], vec![2.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_priority_or_a_timeout_of_another_type_is_the_callers_mistake() {
    let busy = Busy::with("").await;
    for (name, choice) in [
        ("priority", ParameterChoice::StringParam("high".to_owned())),
        ("priority", ParameterChoice::Int64Param(-1)),
        ("timeout", ParameterChoice::DoubleParam(1.5)),
        ("timeout", ParameterChoice::BoolParam(true)),
    ] {
        let answer = begun(&busy.raw, &asking(1.0, name, choice), &[]).await.answer().await.unwrap();
        let expected = format!("parameter {name:?} must be a whole number of 0 or more");
        assert_eq!((answer.code(), answer.message()), (Code::InvalidArgument, expected));
    }
    busy.release().await.finish().await;
}

#[tokio::test]
async fn a_call_waits_no_longer_than_it_says_however_far_its_deadline_is() {
    let busy = Busy::with("").await;
    let hasty = asking(1.0, "timeout", ParameterChoice::Int64Param(50_000));
    let hasty = begun(&busy.raw, &hasty, &[("grpc-timeout", "1H")]).await;
    let answer = hasty.answer().await.unwrap();
    let expected = "deadline exceeded while waiting for an instance";
    assert_eq!((answer.code(), &*answer.message()), (Code::DeadlineExceeded, expected));
    let [patient] = busy.queue([&asking(2.0, "timeout", ParameterChoice::Int64Param(0))]).await;
    let released = busy.release().await;
    answered(patient).await;
    assert_eq!(released.later_runs(), [[2.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_call_in_parts_that_have_not_all_begun_in_its_time_is_told_so() {
    let mut gate = Gate::closed();
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).behind_while_waited_for(&gate);
    let serving = Serving::of([model.settings("instances = 1\nbatch.max_batch = 2")]).await;
    let raw = serving.raw().await;
    let mut hasty = asking(1.0, "timeout", ParameterChoice::Int64Param(1_000_000));
    hasty.inputs[0].shape[0] = 3;
    hasty.raw_input_contents[0] = floats(&[1.0, 2.0, 3.0]);
    let hasty = begun(&raw, &hasty, &[]).await;
    assert_eq!(gate.next().await, "1");
    let answer = hasty.answer().await.unwrap();
    let expected = "deadline exceeded while waiting for an instance";
    assert_eq!((answer.code(), &*answer.message()), (Code::DeadlineExceeded, expected));
    // The part that ran was stopped.
    let next = begun(&raw, &call(&[4.0]), &[]).await;
    assert_eq!(gate.next().await, "4");
    gate.open();
    answered(next).await;
    serving.finish().await;
}

#[tokio::test]
async fn the_time_that_a_level_may_wait_is_what_its_queue_says() {
    let busy =
        Busy::with("batch.priority_levels = 2\nbatch.default_priority = 1\nbatch.levels.2 = { timeout = \"50ms\" }")
            .await;
    let [patient] = busy.queue([&call(&[1.0])]).await;
    let hasty = asking(2.0, "priority", ParameterChoice::Int64Param(2));
    let answer = begun(&busy.raw, &hasty, &[]).await.answer().await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    let released = busy.release().await;
    assert_eq!(echoed(&answered(patient).await), [1.0]);
    assert_eq!(released.later_runs(), [[1.0]]);
    released.finish().await;
}
