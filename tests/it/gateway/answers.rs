//! Calls and their answers, as they are without a gateway.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use infergate::tensor::DType;
use infergate::wire::proto::inference as proto;
use infergate::wire::proto::tensorflow as tf;
use infergate::wire::tfs::data_type;
use prost::Message;
use tf::serving::prediction_service_client::PredictionServiceClient;
use tonic::Code;

use super::{Callers, more_answers, worker};
use crate::harness::{
    Deed, FREE, Fronting, INFER, Model, PREDICT, Part, STREAM_INFER, Standing, Taken, echo, echoed, floats, framed,
    raw, tensor, unframed, within,
};

#[tokio::test]
async fn calls_spread_over_all_backends() {
    let slow = |taken: &Taken| Deed::After(Duration::from_millis(5), Box::new(Deed::Answer(taken.echo())));
    let parts: Vec<Part> = (0..3).map(|_| Part::of(true, slow)).collect();
    let mut backends = Vec::new();
    for part in &parts {
        backends.push(Standing::of(part).await);
    }
    let fronting = Fronting::of(&backends.iter().map(Standing::address).collect::<Vec<_>>()).await;
    let callers = Callers::of(&fronting, 12).await;
    more_answers(&fronting, 600).await;
    let ends = callers.rest().await;
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["answered"], "{ends:?}");
    let runs: Vec<usize> = parts.iter().map(|part| part.taken().len()).collect();
    assert!(runs.iter().all(|one| *one * 10 >= runs.iter().sum::<usize>()), "{runs:?}");
    fronting.finish().await;
}

/// An answer without what says when and where it was made.
fn bare(answer: crate::harness::Answer) -> (Code, Bytes) {
    (answer.code(), answer.body)
}

#[tokio::test]
async fn answers_are_those_of_the_worker_to_the_byte_in_every_protocol() {
    let many = Model::new("many").input("a", DType::Fp32, &[FREE]).input("b", DType::Bytes, &[1]);
    let many = many.output("c", DType::Fp32, &[FREE]).output("d", DType::Bytes, &[1]);
    let worker = worker([Model::echo(), many]).await;
    let fronting = Fronting::of(&[worker.grpc()]).await;
    let (direct, through) = (worker.raw().await, fronting.raw().await);

    let mut typed = raw("echo", []);
    let contents = proto::InferTensorContents { fp32_contents: vec![1.5, -2.0], ..Default::default() };
    let mut input = tensor("x", DType::Fp32, &[2]);
    input.contents = Some(contents);
    typed.inputs.push(input);
    typed.id = "of the caller".to_owned();
    let text = Bytes::from_static(b"\x03\0\0\0abc");
    let two = raw("many", [(tensor("a", DType::Fp32, &[1]), floats(&[4.0])), (tensor("b", DType::Bytes, &[1]), text)]);
    let one_of_two = proto::ModelInferRequest {
        outputs: vec![proto::model_infer_request::InferRequestedOutputTensor {
            name: "d".to_owned(),
            ..Default::default()
        }],
        ..two.clone()
    };
    let classified = proto::ModelInferRequest {
        outputs: vec![proto::model_infer_request::InferRequestedOutputTensor {
            name: "y".to_owned(),
            parameters: [(
                "classification".to_owned(),
                proto::InferParameter {
                    parameter_choice: Some(proto::infer_parameter::ParameterChoice::Int64Param(1)),
                },
            )]
            .into_iter()
            .collect(),
        }],
        ..echo(&[1.0, 9.0])
    };
    let wrong_input = raw("echo", [(tensor("z", DType::Fp32, &[1]), floats(&[4.0]))]);
    let version = proto::ModelInferRequest { model_version: "1".to_owned(), ..echo(&[1.0]) };
    for call in [echo(&[1.0, 2.0]), echo(&[]), typed, two, one_of_two, classified, wrong_input, version] {
        let body = framed(&call);
        let expected = direct.call(INFER, &[], body.clone()).await;
        let expected = (expected.message(), bare(expected));
        let got = through.call(INFER, &[], body.clone()).await;
        assert_eq!((got.message(), bare(got)), expected, "{call:?}");
    }

    let stream = [framed(&echo(&[1.0])), framed(&raw("nobody", [])), framed(&echo(&[3.0]))].concat();
    let told = |answer: crate::harness::Answer| {
        assert_eq!(answer.code(), Code::Ok);
        let mut answers: Vec<(String, Vec<f32>)> = unframed::<proto::ModelStreamInferResponse>(answer.body)
            .iter()
            .map(|answer| match &answer.infer_response {
                Some(response) if answer.error_message.is_empty() => (String::new(), echoed(response)),
                _ => (answer.error_message.clone(), vec![]),
            })
            .collect();
        answers.sort_by(|one, other| one.partial_cmp(other).unwrap());
        answers
    };
    let expected = told(direct.call(STREAM_INFER, &[], stream.clone()).await);
    let got = told(through.call(STREAM_INFER, &[], stream).await);
    assert_eq!(got[..2], expected[..2]);
    assert_eq!((got.len(), &*got[2].0), (3, "no backend has model \"nobody\""));

    let shape = tf::TensorShapeProto {
        dim: vec![tf::tensor_shape_proto::Dim { size: 2, ..Default::default() }],
        unknown_rank: false,
    };
    let listed = tf::TensorProto {
        dtype: data_type(DType::Fp32),
        tensor_shape: Some(shape),
        float_val: vec![1.0, -2.0],
        ..Default::default()
    };
    let predict = tf::serving::PredictRequest {
        model_spec: Some(tf::serving::ModelSpec { name: "echo".to_owned(), ..Default::default() }),
        inputs: HashMap::from([("x".to_owned(), listed.clone())]),
        ..Default::default()
    };
    let expected = bare(direct.call(PREDICT, &[], framed(&predict)).await);
    assert_eq!(expected.0, Code::Ok);
    assert_eq!(bare(through.call(PREDICT, &[], framed(&predict)).await), expected);
    let mut client = PredictionServiceClient::new(fronting.channel().await);
    let answer = within(client.predict(predict)).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"], listed);
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn a_call_that_nothing_has_changed_is_passed_on_byte_for_byte_and_so_is_its_answer() {
    // Fields in an order that no library writes, and a field that nobody knows.
    let mut message = Vec::new();
    let call = echo(&[1.0, 2.0]);
    let raw_contents =
        proto::ModelInferRequest { raw_input_contents: call.raw_input_contents.clone(), ..Default::default() };
    message.extend(raw_contents.encode_to_vec());
    message.extend(proto::ModelInferRequest { inputs: call.inputs.clone(), ..Default::default() }.encode_to_vec());
    message.extend([0xf8, 0x3f, 7]);
    message.extend(proto::ModelInferRequest { model_name: "echo".to_owned(), ..Default::default() }.encode_to_vec());
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(&message);
    let body = Bytes::from(body);

    let answer = Bytes::from({
        let mut answer = Vec::new();
        let output = proto::model_infer_response::InferOutputTensor {
            name: "y".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1],
            ..Default::default()
        };
        let raw_contents =
            proto::ModelInferResponse { raw_output_contents: vec![floats(&[5.0])], ..Default::default() };
        answer.extend(raw_contents.encode_to_vec());
        answer.extend(proto::ModelInferResponse { outputs: vec![output], ..Default::default() }.encode_to_vec());
        answer.extend([0xf8, 0x3f, 9]);
        answer.extend(
            proto::ModelInferResponse {
                model_name: "echo".to_owned(),
                model_version: "1".to_owned(),
                ..Default::default()
            }
            .encode_to_vec(),
        );
        let mut framed = vec![0];
        framed.extend((answer.len() as u32).to_be_bytes());
        framed.extend(answer);
        framed
    });
    let (part, told) = (Part::echo(), answer.clone());
    part.plays(move |_| Deed::Answer(told.clone()));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let got = fronting.raw().await.call(INFER, &[], body.clone()).await;
    assert_eq!(got.code(), Code::Ok, "{}", got.message());
    assert_eq!(got.body, answer);
    assert_eq!(part.taken()[0].body, body);
    fronting.finish().await;
}

#[tokio::test]
async fn what_callers_say_of_a_trace_and_of_earlier_attempts_is_passed_on_and_their_other_headers_are_not() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("traceparent", trace),
        ("tracestate", "vendor=7"),
        ("baggage", "user=somebody"),
        ("authorization", "Bearer secret"),
        ("grpc-previous-rpc-attempts", "2"),
    ];
    let answer = fronting.raw().await.call(INFER, &headers, framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    let taken = part.taken();
    let passed = &taken[0].headers;
    assert_eq!((passed["traceparent"].to_str().unwrap(), passed["tracestate"].to_str().unwrap()), (trace, "vendor=7"));
    assert_eq!(passed["grpc-previous-rpc-attempts"], "2");
    assert!(!passed.contains_key("authorization") && !passed.contains_key("baggage"));
    fronting.finish().await;
}
