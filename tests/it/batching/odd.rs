//! Odd calls among good ones while batching is on: each is answered or refused as its own doing, and nothing hangs.

use futures_util::future::join_all;
use infergate::error::Kind;
use infergate::tensor::DType;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::{InferParameter, ModelConfigRequest, ModelInferRequest};
use tonic::Code;

use super::{Busy, answered, begun, call, fears_thirteen, good, have_come, rows, wide};
use crate::harness::{FREE, Gate, Model, Pending, Serving, echoed, floats, raw, strings, tensor, within};

#[tokio::test]
async fn empty_calls_and_calls_of_another_rank_disturb_nobody() {
    let busy = Busy::with("").await;
    let [one, empty, two, none] = busy.queue([&call(&[1.0]), &wide(&[], 1), &call(&[2.0]), &wide(&[], 1)]).await;
    let scalar = raw("rows", [(tensor("x", DType::Fp32, &[1]), floats(&[1.0]))]);
    let refused = begun(&busy.raw, &scalar, &[]).await.answer().await.unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let released = busy.release().await;
    for (waiting, expected) in [(one, &[1.0][..]), (empty, &[]), (two, &[2.0]), (none, &[])] {
        let answer = answered(waiting).await;
        assert_eq!((echoed(&answer), &*answer.outputs[0].shape), (expected.to_vec(), &[expected.len() as i64, 1][..]));
    }
    let mut runs = released.later_runs();
    runs.sort_by_key(Vec::len);
    assert_eq!(runs, [vec![], vec![], vec![1.0, 2.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_model_that_was_asked_nothing_but_empty_calls_answers_others() {
    let busy = Busy::with("").await;
    let released = busy.release().await;
    for _ in 0..20 {
        answered(begun(&released.raw, &wide(&[], 5), &[]).await).await;
    }
    for _ in 0..3 {
        let one = begun(&released.raw, &wide(&[1.0; 5], 5), &[]).await;
        assert_eq!(echoed(&answered(one).await), [1.0; 5]);
    }
    released.finish().await;
}

#[tokio::test]
async fn strings_with_zeros_in_them_are_put_together_and_cut_apart_where_they_should() {
    let gate = Gate::closed();
    let texts = Model::identity("texts", DType::Bytes, &[FREE, 2]);
    let passage = gate.passage();
    let model = texts.settings("instances = 1").acting(move |run| {
        // The first one says nothing at all.
        if run.inputs[0].shape()[0] == 1 && run.inputs[0].data().len() == 8 {
            passage.pass("empty");
        }
        run.identity()
    });
    let of = |elements: &[&[u8]]| {
        raw("texts", [(tensor("x", DType::Bytes, &[elements.len() as i64 / 2, 2]), strings(elements))])
    };
    let log = model.log();
    let serving = Serving::of([model]).await;
    let connection = serving.raw().await;
    let mut gate = gate;
    let first = begun(&connection, &of(&[b"", b""]), &[]).await;
    gate.next().await;
    let calls = [
        of(&[b"\0", b"a\0b\0"]),
        of(&[b"", &[0xff; 300], b"\0\0\0\0", b""]),
        of(&[&[0; 70_000], "é".as_bytes()]),
        of(&[]),
    ];
    let mut waiting = Vec::new();
    for call in &calls {
        waiting.push(begun(&connection, call, &[]).await);
    }
    have_come(&connection).await;
    gate.open();
    answered(first).await;
    for (waiting, call) in waiting.into_iter().zip(&calls) {
        let answer = answered(waiting).await;
        assert_eq!(
            (&answer.outputs[0].shape, &answer.raw_output_contents),
            (&call.inputs[0].shape, &call.raw_input_contents)
        );
    }
    assert_eq!(log.runs(), 3, "one for the first, one for those with rows, one for that without");
    serving.finish().await;
}

#[tokio::test]
async fn a_hundred_parameters_are_compared_whatever_their_order() {
    let busy = Busy::with("").await;
    let with_many = |value: f32, last: &str| {
        let many = (0..100).map(|number| (format!("p{number}"), ParameterChoice::StringParam("v".repeat(number))));
        let parameters = many.chain([("last".to_owned(), ParameterChoice::StringParam(last.to_owned()))]);
        let parameters =
            parameters.map(|(name, choice)| (name, InferParameter { parameter_choice: Some(choice) })).collect();
        ModelInferRequest { parameters, ..call(&[value]) }
    };
    // A map is encoded in another order each time.
    let calls = [with_many(1.0, "a"), with_many(2.0, "b"), with_many(3.0, "a"), with_many(4.0, "a")];
    let waiting = busy.queue(calls.each_ref()).await;
    let released = busy.release().await;
    for (waiting, value) in waiting.into_iter().zip([1.0, 2.0, 3.0, 4.0]) {
        assert_eq!(echoed(&answered(waiting).await), [value]);
    }
    assert_eq!(released.later_runs(), [vec![1.0, 3.0, 4.0], vec![2.0]]);
    released.finish().await;
}

#[tokio::test]
async fn a_thousand_shapes_at_once_are_all_answered() {
    let busy = Busy::with("max_in_flight = 1010").await;
    let mut connections = Vec::new();
    for _ in 0..5 {
        connections.push(busy.serving.raw().await);
    }
    let mut calls = Vec::new();
    for width in 1..=1000 {
        calls.push(begun(&connections[width % 5], &wide(&vec![width as f32; width], width), &[]).await);
    }
    for connection in &connections {
        have_come(connection).await;
    }
    assert_eq!(busy.log.runs(), 1, "all of them wait");
    let released = busy.release().await;
    for (index, answer) in join_all(calls.into_iter().map(Pending::answer)).await.into_iter().enumerate() {
        let width = index + 1;
        assert_eq!(echoed(&good(&answer.unwrap())), vec![width as f32; width]);
    }
    assert_eq!(released.later_runs().len(), 1000);
    released.finish().await;
}

/// A call as a careless client makes it: of any rows and width, with a 13 in some, and as patient as it likes.
fn careless(random: &mut fastrand::Rng) -> (ModelInferRequest, Vec<f32>, &'static str) {
    let (rows, width) = (random.usize(0..10), random.usize(1..4));
    let mut values: Vec<f32> = (0..rows * width).map(|_| f32::from(random.u8(20..200))).collect();
    if random.u8(..10) == 0 {
        values.iter_mut().take(1).for_each(|value| *value = 13.0);
    }
    let mut call = wide(&values, width);
    if random.u8(..4) == 0 {
        let choice = ParameterChoice::Uint64Param(random.u64(..4));
        call.parameters.insert("priority".to_owned(), InferParameter { parameter_choice: Some(choice) });
    }
    if random.u8(..8) == 0 {
        let choice = ParameterChoice::Int64Param(random.i64(1..3000));
        call.parameters.insert("timeout".to_owned(), InferParameter { parameter_choice: Some(choice) });
    }
    let timeout = if random.u8(..8) == 0 { "2m" } else { "30S" };
    (call, values, timeout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_callers_do_each_gets_its_own_answer_or_a_reason_and_nothing_is_left_behind() {
    for settings in ["", "max_delay = \"1ms\"\n", "allowed_sizes = [2, 4]\n", "max_batch = 3\n"] {
        let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).acting(|run| fears_thirteen(run, Kind::Engine));
        let model = model.settings("instances = 2\n[batch]\npriority_levels = 3").settings(settings);
        let serving = Serving::of([model]).await;
        let mut random = fastrand::Rng::with_seed(2027);
        let (mut answered_well, mut raw) = (0, serving.raw().await);
        for _ in 0..30 {
            let mut calls = Vec::new();
            for _ in 0..30 {
                let (call, values, timeout) = careless(&mut random);
                let pending = begun(&raw, &call, &[("grpc-timeout", timeout)]).await;
                if random.u8(..6) == 0 {
                    pending.reset();
                } else {
                    calls.push((pending, values, timeout));
                }
            }
            if random.u8(..5) == 0 {
                // All of them leave with their connection.
                raw = serving.raw().await;
                continue;
            }
            for (pending, values, timeout) in calls {
                let answer = pending.answer().await.unwrap();
                match answer.code() {
                    Code::Ok => assert_eq!(echoed(&good(&answer)), values),
                    Code::Internal => assert_eq!((values[0], &*answer.message()), (13.0, "thirteen is not served")),
                    code => assert_eq!(code, Code::DeadlineExceeded, "{timeout}: {}", answer.message()),
                }
                answered_well += u32::from(answer.code() == Code::Ok);
            }
        }
        assert!(answered_well > 300, "{answered_well} with {settings:?}");
        assert_eq!(echoed(&answered(begun(&raw, &call(&[1.0]), &[]).await).await), [1.0]);
        serving.finish().await;
    }
}

#[tokio::test]
async fn calls_without_a_batch_axis_of_their_own_are_merged_along_the_models() {
    let declared = "input { name: 'x' dims: 1 reshape { shape: [ 1, 1 ] } }
                    output { name: 'y' dims: 1 reshape { shape: [ 1, 1 ] } }";
    let one = |value: f32| raw("rows", [(tensor("x", DType::Fp32, &[1]), floats(&[value]))]);
    let gate = Gate::closed();
    let model = rows(&gate).file("config.pbtxt", declared).settings("[batch]\nmax_batch = 4");
    let busy = Busy::of(model, gate, &one(0.0)).await;
    let waiting = busy.queue([&one(1.0), &one(2.0), &one(3.0)]).await;
    let released = busy.release().await;
    for (waiting, expected) in waiting.into_iter().zip([1.0, 2.0, 3.0]) {
        let answer = answered(waiting).await;
        assert_eq!((echoed(&answer), &*answer.outputs[0].shape), (vec![expected], &[1][..]));
    }
    assert_eq!(released.later_runs(), [[1.0, 2.0, 3.0]]);

    // Nobody is told to put rows together who could not say where.
    let request = ModelConfigRequest { name: "rows".into(), version: String::new() };
    let config = within(released.serving.oip().await.model_config(request)).await.unwrap().into_inner().config.unwrap();
    let told = |name: &str| config.parameters.get(name).map(|parameter| &*parameter.string_value);
    assert_eq!(
        (config.max_batch_size, told("infergate.max_batch"), told("infergate.batch_axis")),
        (0, Some("1"), None)
    );
    assert_eq!(told("infergate.dims"), Some(r#"{"inputs":{"x":[1]},"outputs":{"y":[1]}}"#));
    released.serving.finish().await;
}
