//! Bad input over the wire: the right code, a short message that names the tensor and both values, and a server that
//! answers the next call as if nothing had happened.

use bytes::Bytes;
use http::{Request, StatusCode};
use infergate::tensor::DType;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::model_infer_request::InferRequestedOutputTensor;
use infergate::wire::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use prost::Message;
use tonic::Code;

use crate::harness::{
    FREE, INFER, Model, Serving, Wire, echo, echo_of, echoed, floats, framed, raw, refused_for, strings, tensor,
    unframed, within,
};

/// A batch of pairs and a line of text.
fn pairs() -> Model {
    Model::new("pairs")
        .input("image", DType::Fp32, &[FREE, 2])
        .input("caption", DType::Bytes, &[1])
        .output("image-out", DType::Fp32, &[FREE, 2])
        .output("caption-out", DType::Bytes, &[1])
}

/// A call of `pairs` that is right in all but what a test changes.
fn good() -> ModelInferRequest {
    raw(
        "pairs",
        [
            (tensor("image", DType::Fp32, &[1, 2]), floats(&[1.0, 2.0])),
            (tensor("caption", DType::Bytes, &[1]), strings(&[b"a pair"])),
        ],
    )
}

fn changed(change: impl FnOnce(&mut ModelInferRequest)) -> ModelInferRequest {
    let mut call = good();
    change(&mut call);
    call
}

/// With another shape of the image and as many bytes as are given.
fn shaped(shape: &[i64], bytes: usize) -> ModelInferRequest {
    changed(|call| {
        call.inputs[0].shape = shape.to_vec();
        call.raw_input_contents[0] = vec![0; bytes].into();
    })
}

fn wanted(names: &[&str]) -> ModelInferRequest {
    let output = |name: &&str| InferRequestedOutputTensor { name: (*name).to_owned(), ..Default::default() };
    changed(|call| call.outputs = names.iter().map(output).collect())
}

/// A parameter of the image tensor.
fn with_parameter(name: &str, value: &str) -> ModelInferRequest {
    let parameter = InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.to_owned())) };
    changed(|call| _ = call.inputs[0].parameters.insert(name.to_owned(), parameter))
}

/// Sends each call, expects its refusal, and a good answer after it.
async fn refused(cases: Vec<(ModelInferRequest, Code, &str)>) {
    let model = pairs();
    let log = model.log();
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    for (number, (call, code, message)) in cases.into_iter().enumerate() {
        let status = within(client.model_infer(call)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
        assert!(status.message().len() <= 200, "{status:?}");
        within(client.model_infer(good())).await.unwrap();
        assert_eq!(log.runs(), number + 1, "a refused call came to the engine: {message}");
    }
    let totals = serving.finish().await;
    assert_eq!(totals.refused, totals.answered);
}

#[tokio::test]
async fn names_of_models_that_are_wrong_or_unknown() {
    let named = |name: &str| changed(|call| call.model_name = name.to_owned());
    let versioned = |version: &str| changed(|call| call.model_version = version.to_owned());
    let illegal = "is not a letter or digit followed by at most 127 letters, digits, '.', '_' or '-'";
    let cases =
        [("../secret", "\"../secret\""), ("a/b", "\"a/b\""), ("..", "\"..\""), ("a\0b", "\"a\\0b\""), ("", "\"\"")];
    let messages = cases.map(|(_, shown)| format!("model name {shown} {illegal}"));
    let mut all: Vec<_> =
        cases.iter().zip(&messages).map(|((name, _), told)| (named(name), Code::InvalidArgument, &**told)).collect();
    all.extend([
        (named("nobody"), Code::NotFound, "model \"nobody\" is not known"),
        (versioned("2"), Code::NotFound, "model \"pairs\" version 2 is not known"),
        (versioned("one"), Code::InvalidArgument, "model version \"one\" is not a decimal number"),
        (versioned("01"), Code::InvalidArgument, "model version \"01\" is not a decimal number"),
        (versioned("../1"), Code::InvalidArgument, "model version \"../1\" is not a decimal number"),
        (
            versioned("99999999999999999999"),
            Code::InvalidArgument,
            "model version \"99999999999999999999\" is not a decimal number",
        ),
    ]);
    refused(all).await;
}

#[tokio::test]
async fn tensors_that_do_not_fit_the_model() {
    let renamed = changed(|call| call.inputs[0].name = "imag".to_owned());
    let missing = changed(|call| {
        call.inputs.pop();
        call.raw_input_contents.pop();
    });
    let twice = changed(|call| {
        call.inputs.push(tensor("image", DType::Fp32, &[1, 2]));
        call.raw_input_contents.push(floats(&[3.0, 4.0]));
    });
    let integers = changed(|call| call.inputs[0].datatype = "INT32".to_owned());
    let unheard = changed(|call| call.inputs[0].datatype = "FP4".to_owned());
    let invalid = Code::InvalidArgument;
    refused(vec![
        (renamed, invalid, "unknown input \"imag\", the model takes \"image\", \"caption\""),
        (missing, invalid, "input \"caption\" is missing"),
        (twice, invalid, "input \"image\" is given twice"),
        (integers, invalid, "input \"image\": expected FP32, got INT32"),
        (unheard, invalid, "input \"image\": unknown datatype \"FP4\""),
        (shaped(&[2], 8), invalid, "input \"image\": expected rank 2 [-1,2], got rank 1 [2]"),
        (shaped(&[1, 3], 12), invalid, "input \"image\": expected shape [-1,2], got [1,3]"),
        (wanted(&["probs"]), invalid, "unknown output \"probs\", the model gives \"image-out\", \"caption-out\""),
        (wanted(&["image-out", "image-out"]), invalid, "output \"image-out\" is asked for twice"),
    ])
    .await;
}

#[tokio::test]
async fn shapes_and_bytes_that_contradict_one_another() {
    let invalid = Code::InvalidArgument;
    refused(vec![
        (shaped(&[1, 2], 7), invalid, "input \"image\": shape [1,2] of FP32 takes 8 bytes, got 7"),
        (shaped(&[1, 2], 9), invalid, "input \"image\": shape [1,2] of FP32 takes 8 bytes, got 9"),
        (shaped(&[1, 2], 0), invalid, "input \"image\": shape [1,2] of FP32 takes 8 bytes, got 0"),
        (shaped(&[-1, 2], 8), invalid, "input \"image\": shape [-1,2] has the negative dimension -1"),
        (
            shaped(&[i64::MIN, 2], 8),
            invalid,
            "input \"image\": shape [-9223372036854775808,2] has the negative dimension -9223372036854775808",
        ),
        (shaped(&[1 << 40, 1 << 40], 8), invalid, "input \"image\": shape [1099511627776,1099511627776] overflows"),
        (shaped(&[0, i64::MAX, 2], 0), invalid, "input \"image\": shape [0,9223372036854775807,2] overflows"),
        (shaped(&[i64::MAX / 2, 2], 8), invalid, "input \"image\": shape [4611686018427387903,2] of FP32 overflows"),
        (shaped(&[1; 17], 4), invalid, "input \"image\": rank 17 is over the limit of 16"),
        (shaped(&[1; 5000], 4), invalid, "input \"image\": rank 5000 is over the limit of 16"),
    ])
    .await;
}

#[tokio::test]
async fn forms_that_are_mixed_and_contents_that_do_not_belong() {
    let contents = |contents| changed(|call| call.inputs[0].contents = Some(contents));
    let typed = |contents| {
        changed(|call| {
            call.raw_input_contents.clear();
            call.inputs[0].contents = Some(contents);
            call.inputs[1].contents =
                Some(InferTensorContents { bytes_contents: vec!["a pair".into()], ..Default::default() });
        })
    };
    let floats = |values: &[f32]| InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() };
    let integers = InferTensorContents { int_contents: vec![1, 2], ..Default::default() };
    let surplus = changed(|call| call.raw_input_contents.push(Bytes::from_static(b"more")));
    let too_few = changed(|call| _ = call.raw_input_contents.pop());
    let invalid = Code::InvalidArgument;
    refused(vec![
        (contents(floats(&[1.0, 2.0])), invalid, "input \"image\" has contents, but raw_input_contents are used"),
        (surplus, invalid, "2 inputs, but 3 raw_input_contents"),
        (too_few, invalid, "2 inputs, but 1 raw_input_contents"),
        (typed(floats(&[1.0])), invalid, "input \"image\": shape [1,2] of FP32 takes 8 bytes, got 4"),
        (typed(integers), invalid, "input \"image\": FP32 data belongs into fp32_contents, got int_contents"),
    ])
    .await;
}

#[tokio::test]
async fn strings_whose_lengths_lie() {
    let captioned = |raw: &'static [u8]| changed(|call| call.raw_input_contents[1] = Bytes::from_static(raw));
    let invalid = Code::InvalidArgument;
    refused(vec![
        (captioned(&[9, 0, 0, 0, b'a']), invalid, "input \"caption\": a BYTES element says 9 bytes, 1 are left"),
        (captioned(&[0xff; 6]), invalid, "input \"caption\": a BYTES element says 4294967295 bytes, 2 are left"),
        (captioned(&[1, 0]), invalid, "input \"caption\": a BYTES length needs 4 bytes, 2 are left"),
        (captioned(&[]), invalid, "input \"caption\": shape [1] takes 1 BYTES elements, got 0"),
        (captioned(&[0; 8]), invalid, "input \"caption\": shape [1] takes 1 BYTES elements, got 2"),
    ])
    .await;
}

#[tokio::test]
async fn tensors_in_shared_memory_are_not_served() {
    let shared = "input \"image\": tensors in shared memory are not served";
    refused(vec![(with_parameter("shared_memory_region", "region"), Code::Unimplemented, shared)]).await;
}

#[tokio::test]
async fn fields_in_unusual_order_are_read_all_the_same() {
    let serving = Serving::of([pairs()]).await;
    // Each field of the message by itself, put together from the last to the first.
    let part = |change: fn(&ModelInferRequest) -> ModelInferRequest| change(&good()).encode_to_vec();
    let contents =
        part(|good| ModelInferRequest { raw_input_contents: good.raw_input_contents.clone(), ..Default::default() });
    let outputs = part(|_| ModelInferRequest { outputs: wanted(&["image-out"]).outputs, ..Default::default() });
    let inputs = part(|good| ModelInferRequest { inputs: good.inputs.clone(), ..Default::default() });
    let id = part(|_| ModelInferRequest { id: "last".to_owned(), ..Default::default() });
    let name = part(|good| ModelInferRequest { model_name: good.model_name.clone(), ..Default::default() });
    let message = [contents, outputs, vec![0xf8, 0x07, 1], inputs, id, name].concat();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let answer = serving.raw().await.call(INFER, &[], body).await;
    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
    let messages: Vec<ModelInferResponse> = unframed(answer.body);
    assert_eq!((&*messages[0].id, echoed(&messages[0])), ("last", vec![1.0, 2.0]));
    serving.finish().await;
}

#[tokio::test]
async fn bodies_that_are_not_one_message() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    let one = framed(&echo(&[1.0]));
    let junk = [&[0, 0, 0, 0, 4][..], &[0xff; 4]].concat();
    for (body, message) in [
        (Vec::new(), "the call has no message"),
        ([&one[..], &one].concat(), "a unary call has more than one message"),
        (one[..3].to_vec(), "the body ends inside a message"),
        (one[..one.len() - 1].to_vec(), "the body ends inside a message"),
        ([&[2][..], &one[1..]].concat(), "a message has the flag 2, expected 0 or 1"),
        (junk, "malformed message: it ends inside a field"),
    ] {
        let answer = raw.call(INFER, &[], body).await;
        assert_eq!((answer.code(), &*answer.message()), (Code::InvalidArgument, message));
        assert!(raw.call(INFER, &[], one.clone()).await.code() == Code::Ok);
    }
    serving.finish().await;
}

#[tokio::test]
async fn an_oversized_message_is_refused_before_it_has_come() {
    let serving = Serving::with([Model::echo()], |config| config.limits.message_size = "1MiB".parse().unwrap()).await;
    let raw = serving.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), false);
    let answer = pending.answer().await.unwrap();
    assert_eq!(answer.code(), Code::ResourceExhausted);
    assert_eq!(answer.message(), "a message of 4294967295 bytes is over the limit of 1048576 bytes");
    assert_eq!(answer.get("grpc-retry-pushback-ms"), None, "trying again does not help");

    // The same with a client that sends all of it, whether it is wanted or not.
    let status = within(serving.oip().await.model_infer(echo(&vec![0.0; 1 << 20]))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(refused_for(serving.admin(), "too_large").await, 2);
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused_rather_than_ignored() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    for timeout in ["", "5", "S", "-1S", "1.5S", "123456789S", "1s", "1 S"] {
        let answer = raw.call(INFER, &[("grpc-timeout", timeout)], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::InvalidArgument, "{timeout:?}");
        let expected =
            format!("malformed grpc-timeout {timeout:?}, expected one to eight digits and one of H, M, S, m, u, n");
        assert_eq!(answer.message(), expected);
    }
    // Of every RPC, not of calls alone.
    let live = "/inference.GRPCInferenceService/ServerLive";
    let answer = raw.call(live, &[("grpc-timeout", "soon")], vec![0; 5]).await;
    assert_eq!(answer.code(), Code::InvalidArgument);
    serving.finish().await;
}

#[tokio::test]
async fn a_call_with_no_time_left_never_comes_to_the_engine() {
    let model = Model::echo();
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    for timeout in ["0n", "0S", "1n"] {
        let answer = raw.call(INFER, &[("grpc-timeout", timeout)], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::DeadlineExceeded, "{timeout}");
        assert!(answer.message().starts_with("deadline exceeded while "), "{}", answer.message());
    }
    assert_eq!(log.runs(), 0);
    assert_eq!(serving.finish().await.expired, 3);
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_with_a_sentence() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    let shared_memory = "shared memory is not served: send tensors in the message";
    let oip = "/inference.GRPCInferenceService/";
    for (path, message) in [
        (format!("{oip}SystemSharedMemoryStatus"), shared_memory),
        (format!("{oip}SystemSharedMemoryRegister"), shared_memory),
        (format!("{oip}SystemSharedMemoryUnregister"), shared_memory),
        (format!("{oip}CudaSharedMemoryStatus"), shared_memory),
        (format!("{oip}CudaSharedMemoryRegister"), shared_memory),
        (format!("{oip}CudaSharedMemoryUnregister"), shared_memory),
        ("/inference.Nothing/Infer".into(), "unknown method /inference.Nothing/Infer"),
        ("/".into(), "unknown method /"),
    ] {
        let answer = raw.call(&path, &[], vec![0; 5]).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::OK, Code::Unimplemented), "{path}");
        assert_eq!(answer.message(), message);
    }
    let unknown = raw.call(&format!("{oip}ModelTrain"), &[], vec![0; 5]).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert_eq!(unknown.message(), "unknown method /inference.GRPCInferenceService/ModelTrain");
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn what_is_http_2_but_no_grpc_is_told_so() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    let request = |method: &str, content_type: Option<&str>| {
        let mut request = Request::builder().method(method).uri(format!("http://test{INFER}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request.body(()).unwrap()
    };
    for (method, content_type, status) in [
        ("POST", Some("application/json"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("POST", Some("application/grpc-web+proto"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("POST", None, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("GET", None, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("GET", Some("application/grpc"), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let pending = raw.send(request(method, content_type), true).await.unwrap();
        let answer = pending.answer().await.unwrap();
        assert_eq!(answer.status, status, "{method} {content_type:?}");
        assert!(answer.message().contains("this port speaks gRPC"), "{answer:?}");
    }
    for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let answer = raw.call(INFER, &[("content-type", content_type)], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::Ok, "{content_type}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn http_1_is_told_what_the_port_speaks_and_junk_is_closed() {
    let serving = Serving::of([Model::echo()]).await;
    for hello in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.1\r\n"] {
        let mut wire = Wire::silent(serving.grpc()).await;
        wire.say(hello).await;
        let said = String::from_utf8(wire.rest_as_bytes().await).unwrap();
        assert!(said.starts_with("HTTP/1.1 505 "), "{said:?}");
        assert!(said.ends_with("\r\n\r\nthis port speaks gRPC, which needs HTTP/2\r\n"), "{said:?}");
    }
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_and_the_connection_lives() {
    let serving = Serving::of([Model::echo()]).await;
    let raw = serving.raw().await;
    let large = "x".repeat(20 << 10);
    let answer = raw.begin(INFER, &[("x-large", &large)]).await.unwrap().answer().await.unwrap();
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let answer = raw.call(INFER, &[("x-small", &large[..1000])], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    serving.finish().await;
}

#[tokio::test]
async fn a_message_is_cut_to_what_trailers_can_carry() {
    let serving = Serving::of([Model::echo()]).await;
    let call = ModelInferRequest {
        outputs: vec![InferRequestedOutputTensor { name: "o".repeat(100_000), ..Default::default() }],
        ..echo_of("echo", &[1.0])
    };
    let status = within(serving.oip().await.model_infer(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message().len(), 1024);
    serving.finish().await;
}
