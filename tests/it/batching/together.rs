//! Which calls run together, and that each caller gets what it asked for.

use infergate::error::Kind;
use infergate::tensor::DType;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::model_infer_request::InferRequestedOutputTensor;
use infergate::wire::proto::inference::{InferParameter, ModelInferRequest, ModelStatisticsRequest};
use tonic::Code;

use super::{Busy, answered, begun, call, fears_thirteen, have_come, holding, ran, rows, wide};
use crate::harness::{FREE, Gate, Model, Pending, Serving, echoed, floats, raw, tensor, within};

/// Takes `a` and `b` and gives them back as `x` and `y`.
fn two(gate: &Gate) -> Model {
    let model = Model::new("two").input("a", DType::Fp32, &[FREE, 1]).input("b", DType::Fp32, &[FREE, 1]);
    let model = model.output("x", DType::Fp32, &[FREE, 1]).output("y", DType::Fp32, &[FREE, 1]);
    holding(model.settings("instances = 1"), gate, |run| run.identity())
}

/// A call of `two` whose inputs come in this order and have these rows, for these outputs.
fn of_two(id: &str, inputs: [(&str, &[f32]); 2], outputs: &[&str]) -> ModelInferRequest {
    let input = |(name, values): (&str, &[f32])| (tensor(name, DType::Fp32, &[values.len() as i64, 1]), floats(values));
    let wanted = |name: &&str| InferRequestedOutputTensor { name: (*name).to_owned(), ..Default::default() };
    let outputs = outputs.iter().map(wanted).collect();
    ModelInferRequest { id: id.to_owned(), outputs, ..raw("two", inputs.map(input)) }
}

/// Its id, and the names and values of its outputs.
type Told = (String, Vec<(String, Vec<u8>)>);

async fn told(pending: Pending) -> Told {
    let answer = answered(pending).await;
    let names = answer.outputs.into_iter().map(|output| output.name);
    (answer.id, names.zip(answer.raw_output_contents.iter().map(|raw| raw.to_vec())).collect())
}

fn expected(id: &str, outputs: &[(&str, &[f32])]) -> Told {
    let output = |(name, values): &(&str, &[f32])| ((*name).to_owned(), floats(values).to_vec());
    (id.to_owned(), outputs.iter().map(output).collect())
}

#[tokio::test]
async fn calls_that_wait_run_as_one_and_each_gets_its_own_in_the_order_it_asked_for() {
    let gate = Gate::closed();
    let model = two(&gate);
    let busy = Busy::of(model, gate, &of_two("", [("a", &[0.0]), ("b", &[0.0])], &[])).await;
    let calls = [
        of_two("one", [("a", &[1.0]), ("b", &[-1.0])], &[]),
        of_two("two", [("b", &[-2.0, -3.0]), ("a", &[2.0, 3.0])], &["y", "x"]),
        of_two("", [("a", &[4.0]), ("b", &[-4.0])], &["y"]),
    ];
    let [one, two, three] = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    assert_eq!(told(one).await, expected("one", &[("x", &[1.0]), ("y", &[-1.0])]));
    assert_eq!(told(two).await, expected("two", &[("y", &[-2.0, -3.0]), ("x", &[2.0, 3.0])]));
    assert_eq!(told(three).await, expected("", &[("y", &[-4.0])]));
    assert_eq!(released.later_runs(), [[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(released.serving.finish().await.answered, 4);
}

#[tokio::test]
async fn outputs_that_none_of_them_wants_are_not_made() {
    let gate = Gate::closed();
    let model = Model::output(two(&gate), "z", DType::Fp32, &[FREE, 1]);
    let first = of_two("", [("a", &[0.0]), ("b", &[0.0])], &["x"]);
    let busy = Busy::of(model, gate, &first).await;
    let calls =
        [of_two("", [("a", &[1.0]), ("b", &[-1.0])], &["y"]), of_two("", [("a", &[2.0]), ("b", &[-2.0])], &["x", "y"])];
    let [one, two] = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    assert_eq!(told(one).await, expected("", &[("y", &[-1.0])]));
    assert_eq!(told(two).await, expected("", &[("x", &[2.0]), ("y", &[-2.0])]));
    assert_eq!(released.log.seen()[1].outputs, ["y", "x"]);
    released.serving.finish().await;
}

#[tokio::test]
async fn classes_are_for_the_caller_who_asked_for_them() {
    let busy = Busy::with("").await;
    let mut best = wide(&[0.25, 0.75], 2);
    let count = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
    let parameters = [("classification".to_owned(), count)].into();
    best.outputs = vec![InferRequestedOutputTensor { name: "y".to_owned(), parameters }];
    let [best, plain] = busy.queue([&best, &wide(&[4.0, 3.0], 2)]).await;
    let released = busy.release().await;
    let best = answered(best).await;
    assert_eq!((&*best.outputs[0].datatype, &*best.outputs[0].shape), ("BYTES", &[1, 1][..]));
    assert!(best.raw_output_contents[0].ends_with(b"0.750000:1"), "{best:?}");
    assert_eq!(echoed(&answered(plain).await), [4.0, 3.0]);
    assert_eq!(released.later_runs(), [[0.25, 0.75, 4.0, 3.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_call_that_finds_an_idle_instance_does_not_wait_for_others() {
    let mut gate = Gate::closed();
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).settings("instances = 2").behind(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let one = begun(&raw, &call(&[1.0]), &[]).await;
    assert_eq!(gate.next().await, "1");
    let two = begun(&raw, &call(&[2.0]), &[]).await;
    assert_eq!(gate.next().await, "2");
    gate.open();
    assert_eq!((echoed(&answered(one).await), echoed(&answered(two).await)), (vec![1.0], vec![2.0]));
    assert_eq!(ran(&log), [[1.0], [2.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn all_instances_take_from_one_queue() {
    let mut gate = Gate::closed();
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).behind(&gate);
    let model = model.settings("instances = 2\nbatch.max_batch = 2");
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let mut calls = Vec::new();
    for value in [1.0, 2.0] {
        calls.push(begun(&raw, &call(&[value]), &[]).await);
        gate.next().await;
    }
    for value in [3.0, 4.0, 5.0, 6.0] {
        calls.push(begun(&raw, &call(&[value]), &[]).await);
    }
    have_come(&raw).await;
    // Whichever of the two is done, it takes what is next.
    for next in ["3", "5"] {
        gate.let_one_pass();
        assert_eq!(gate.next().await, next);
    }
    gate.open();
    for (call, value) in calls.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
        assert_eq!(echoed(&answered(call).await), [value]);
    }
    assert_eq!(ran(&log), [vec![1.0], vec![2.0], vec![3.0, 4.0], vec![5.0, 6.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn shapes_run_apart_and_neither_cuts_the_others_batch_short() {
    let busy = Busy::with("").await;
    let calls = [call(&[1.0]), wide(&[2.0, 2.5], 2), call(&[3.0]), wide(&[4.0, 4.5], 2)];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, expected) in waiting.into_iter().zip([&[1.0][..], &[2.0, 2.5], &[3.0], &[4.0, 4.5]]) {
        assert_eq!(echoed(&answered(waiting).await), expected);
    }
    let mut runs = released.later_runs();
    runs.sort_by_key(Vec::len);
    assert_eq!(runs, [vec![1.0, 3.0], vec![2.0, 2.5, 4.0, 4.5]]);
    released.finish().await;
}

fn with_parameter(call: ModelInferRequest, name: &str, value: i64) -> ModelInferRequest {
    let value = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) };
    ModelInferRequest { parameters: [(name.to_owned(), value)].into(), ..call }
}

#[tokio::test]
async fn parameters_keep_calls_apart_unless_they_are_only_about_waiting() {
    let busy = Busy::with("batch.priority_levels = 2").await;
    let calls = [
        with_parameter(call(&[1.0]), "mode", 1),
        with_parameter(call(&[2.0]), "mode", 2),
        with_parameter(call(&[3.0]), "mode", 1),
        with_parameter(call(&[4.0]), "timeout", 20_000_000),
        with_parameter(call(&[5.0]), "priority", 0),
        call(&[6.0]),
    ];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, expected) in waiting.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
        assert_eq!(echoed(&answered(waiting).await), [expected]);
    }
    let mut runs = released.later_runs();
    runs.sort_by(|one, other| one.partial_cmp(other).unwrap());
    assert_eq!(runs, [vec![1.0, 3.0], vec![2.0], vec![4.0, 5.0, 6.0]]);
    released.finish().await;
}

#[tokio::test]
async fn versions_run_apart_and_an_empty_version_is_the_one_it_stands_for() {
    let mut gate = Gate::closed();
    let model = rows(&gate).versions(&[1, 2]).settings("versions = \"all\"");
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let of = |version: &str, value| ModelInferRequest { model_version: version.to_owned(), ..call(&[value]) };
    // It has all CPUs, so that the other version's instance waits as well.
    let first = begun(&raw, &of("1", 0.0), &[]).await;
    gate.next().await;
    let mut waiting = Vec::new();
    for (version, value) in [("1", 1.0), ("2", 2.0), ("1", 3.0), ("", 4.0)] {
        waiting.push((begun(&raw, &of(version, value), &[]).await, version, value));
        have_come(&raw).await;
    }
    gate.open();
    for (waiting, version, value) in waiting {
        let answer = answered(waiting).await;
        let version = if version.is_empty() { "2" } else { version };
        assert_eq!((&*answer.model_version, echoed(&answer)), (version, vec![value]));
    }
    answered(first).await;
    let mut runs = ran(&log).split_off(1);
    runs.sort_by(|one, other| one.partial_cmp(other).unwrap());
    assert_eq!(runs, [[1.0, 3.0], [2.0, 4.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn a_run_that_fails_is_repeated_call_by_call_and_only_the_guilty_one_fails() {
    for (kind, code) in [(Kind::Engine, Code::Internal), (Kind::Invalid, Code::InvalidArgument)] {
        let gate = Gate::closed();
        let model = holding(rows(&gate), &gate, move |run| fears_thirteen(run, kind));
        let busy = Busy::of(model, gate, &call(&[0.0])).await;
        let [one, guilty, two] = busy.queue([&call(&[1.0]), &call(&[12.0, 13.0]), &call(&[2.0])]).await;
        let released = busy.release().await;
        assert_eq!(echoed(&answered(one).await), [1.0]);
        assert_eq!(echoed(&answered(two).await), [2.0]);
        let answer = guilty.answer().await.unwrap();
        assert_eq!((answer.code(), &*answer.message()), (code, "thirteen is not served"));
        let mut runs = released.later_runs();
        assert_eq!(runs.remove(0), [1.0, 12.0, 13.0, 2.0]);
        runs.sort_by(|one, other| one.partial_cmp(other).unwrap());
        assert_eq!(runs, [vec![1.0], vec![2.0], vec![12.0, 13.0]]);
        released.finish().await;
    }
}

#[tokio::test]
async fn statistics_count_rows_by_calls_and_runs_by_batches() {
    let busy = Busy::with("batch.max_batch = 4").await;
    let waiting = busy.queue([&call(&[1.0]), &call(&[2.0, 3.0]), &call(&[4.0]), &call(&[5.0, 6.0])]).await;
    let released = busy.release().await;
    for waiting in waiting {
        answered(waiting).await;
    }
    let request = ModelStatisticsRequest { name: "rows".to_owned(), version: String::new() };
    let mut client = released.serving.oip().await;
    let told = within(client.model_statistics(request)).await.unwrap().into_inner().model_stats.remove(0);
    assert_eq!((told.inference_count, told.execution_count), (7, 3));
    let stages = told.inference_stats.as_ref().unwrap();
    let counts = [&stages.success, &stages.fail, &stages.queue, &stages.compute_input, &stages.compute_infer];
    assert_eq!(counts.map(|stage| stage.unwrap().count), [5, 0, 5, 5, 5], "of calls, not of runs");
    let batches: Vec<_> =
        told.batch_stats.iter().map(|batch| (batch.batch_size, batch.compute_infer.unwrap().count)).collect();
    assert_eq!(batches, [(1, 1), (2, 1), (4, 1)]);
    released.finish().await;
}
