//! Unary calls of the Open Inference Protocol, from the port to the engine and back.

use bytes::Bytes;
use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::model_infer_request::InferRequestedOutputTensor;
use infergate::wire::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use tonic::Code;

use crate::harness::{FREE, Model, Serving, echo, echo_of, echoed, floats, raw, strings, tensor, within};

fn wanted(name: &str) -> InferRequestedOutputTensor {
    InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() }
}

/// The best `count` classes of an output.
fn classes(name: &str, count: i64) -> InferRequestedOutputTensor {
    let count = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(count)) };
    InferRequestedOutputTensor { name: name.to_owned(), parameters: [("classification".to_owned(), count)].into() }
}

fn echo_name(dtype: DType) -> String {
    format!("echo-{dtype}")
}

/// A server with an identity model for each type.
async fn echoes_of_all_types() -> Serving {
    Serving::of(DType::ALL.map(|dtype| Model::identity(&echo_name(dtype), dtype, &[FREE]))).await
}

#[tokio::test]
async fn raw_tensors_of_every_type_come_back_bit_by_bit() {
    let serving = echoes_of_all_types().await;
    let mut client = serving.oip().await;
    for dtype in DType::ALL {
        let data = match dtype.size() {
            // Among the floats these are a NaN with a payload, infinities of some types, and denormals.
            Some(size) => (0..5 * size).map(|index| !(index as u8).wrapping_mul(0x33) & mask(dtype)).collect(),
            None => strings(&[b"", b"a\0b", &[0xff, 0xfe], "é".as_bytes(), &[b'x'; 5000]]),
        };
        let call = raw(&echo_name(dtype), [(tensor("x", dtype, &[5]), data.clone())]);
        let answer = within(client.model_infer(call)).await.unwrap().into_inner();
        let output = &answer.outputs[0];
        assert_eq!((output.name.as_str(), output.datatype.as_str(), &*output.shape), ("y", dtype.name(), &[5][..]));
        assert_eq!(answer.raw_output_contents, [data], "{dtype}");
        assert_eq!(output.contents, None, "{dtype}");
    }
    assert_eq!(serving.finish().await.answered, 14);
}

/// The bits that an element's bytes may have: a truth value is 0 or 1.
fn mask(dtype: DType) -> u8 {
    if dtype == DType::Bool { 1 } else { 0xff }
}

#[tokio::test]
async fn typed_tensors_come_back_bit_by_bit_and_in_the_typed_form() {
    let serving = echoes_of_all_types().await;
    let mut client = serving.oip().await;
    let contents = InferTensorContents::default;
    let nan = f32::from_bits(0x7fc0_1234);
    for (dtype, contents) in [
        (DType::Bool, InferTensorContents { bool_contents: vec![true, false, true], ..contents() }),
        (DType::Int8, InferTensorContents { int_contents: vec![-128, 0, 127], ..contents() }),
        (DType::Int16, InferTensorContents { int_contents: vec![-32768, -1, 32767], ..contents() }),
        (DType::Int32, InferTensorContents { int_contents: vec![i32::MIN, 0, i32::MAX], ..contents() }),
        (DType::Int64, InferTensorContents { int64_contents: vec![i64::MIN, -1, i64::MAX], ..contents() }),
        (DType::Uint8, InferTensorContents { uint_contents: vec![0, 1, 255], ..contents() }),
        (DType::Uint16, InferTensorContents { uint_contents: vec![0, 1, 65535], ..contents() }),
        (DType::Uint32, InferTensorContents { uint_contents: vec![0, 1, u32::MAX], ..contents() }),
        (DType::Uint64, InferTensorContents { uint64_contents: vec![0, 1, u64::MAX], ..contents() }),
        (DType::Fp32, InferTensorContents { fp32_contents: vec![-0.0, f32::MIN_POSITIVE, 1e30], ..contents() }),
        (DType::Fp64, InferTensorContents { fp64_contents: vec![-0.0, f64::INFINITY, 1e300], ..contents() }),
        (
            DType::Bytes,
            InferTensorContents { bytes_contents: vec!["a\0".into(), "".into(), vec![0xff].into()], ..contents() },
        ),
    ] {
        let input = ModelInferRequest {
            model_name: echo_name(dtype),
            inputs: vec![infergate::wire::proto::inference::model_infer_request::InferInputTensor {
                contents: Some(contents.clone()),
                ..tensor("x", dtype, &[3])
            }],
            ..Default::default()
        };
        let answer = within(client.model_infer(input)).await.unwrap().into_inner();
        assert_eq!(answer.outputs[0].contents.as_ref(), Some(&contents), "{dtype}");
        assert!(answer.raw_output_contents.is_empty(), "{dtype}");
    }
    // A NaN is unlike itself; its bits are not.
    let mut call = raw(&echo_name(DType::Fp32), [(tensor("x", DType::Fp32, &[1]), floats(&[nan]))]);
    call.raw_input_contents.clear();
    call.inputs[0].contents = Some(InferTensorContents { fp32_contents: vec![nan], ..contents() });
    let answer = within(client.model_infer(call)).await.unwrap().into_inner();
    let back = answer.outputs[0].contents.as_ref().unwrap().fp32_contents[0];
    assert_eq!(back.to_bits(), nan.to_bits());
    serving.finish().await;
}

#[tokio::test]
async fn half_floats_have_no_typed_form_and_the_refusal_says_where_they_belong() {
    let serving = echoes_of_all_types().await;
    let mut client = serving.oip().await;
    for dtype in [DType::Fp16, DType::Bf16] {
        let mut call = raw(&echo_name(dtype), [(tensor("x", dtype, &[1]), floats(&[]))]);
        call.raw_input_contents.clear();
        call.inputs[0].contents = Some(InferTensorContents { fp32_contents: vec![1.0], ..Default::default() });
        let status = within(client.model_infer(call)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let expected = format!("input \"x\": {dtype} data can only be given in raw_input_contents");
        assert_eq!(status.message(), expected);
    }
    serving.finish().await;
}

#[tokio::test]
async fn ranks_of_one_call_may_differ_from_scalars_to_the_highest_with_zero_sizes_among_them() {
    let ranks: [(&str, &[i64], &[i64]); 5] = [
        ("scalar", &[], &[]),
        ("empty", &[FREE, 3], &[0, 3]),
        ("vector", &[FREE], &[4]),
        ("matrix", &[2, FREE], &[2, 1]),
        ("deep", &[FREE; 16], &[1; 16]),
    ];
    let mut model = Model::new("ranks");
    for (name, dims, _) in ranks {
        model = model.input(name, DType::Fp32, dims).output(&format!("{name}-out"), DType::Fp32, dims);
    }
    let serving = Serving::of([model]).await;
    let data = |shape: &[i64]| floats(&vec![1.5; shape.iter().product::<i64>() as usize]);
    let inputs = ranks.map(|(name, _, shape)| (tensor(name, DType::Fp32, shape), data(shape)));
    let answer = within(serving.oip().await.model_infer(raw("ranks", inputs))).await.unwrap().into_inner();
    for (index, (name, _, shape)) in ranks.into_iter().enumerate() {
        assert_eq!(
            (&*answer.outputs[index].shape, &answer.raw_output_contents[index]),
            (shape, &data(shape)),
            "{name}"
        );
    }
    serving.finish().await;
}

#[tokio::test]
async fn the_outputs_asked_for_come_alone_and_in_the_order_asked() {
    let mut model = Model::new("three");
    for name in ["a", "b", "c"] {
        model = model.input(name, DType::Fp32, &[1]).output(&format!("{name}-out"), DType::Fp32, &[1]);
    }
    let log = model.log();
    let serving = Serving::of([model]).await;
    let inputs = [("a", 1.0), ("b", 2.0), ("c", 3.0)];
    let inputs = inputs.map(|(name, value)| (tensor(name, DType::Fp32, &[1]), floats(&[value])));
    let mut call = raw("three", inputs);
    call.outputs = vec![wanted("c-out"), wanted("a-out")];
    let answer = within(serving.oip().await.model_infer(call)).await.unwrap().into_inner();
    let names: Vec<&str> = answer.outputs.iter().map(|output| &*output.name).collect();
    assert_eq!(names, ["c-out", "a-out"]);
    assert_eq!(answer.raw_output_contents, [floats(&[3.0]), floats(&[1.0])]);
    assert_eq!(log.seen()[0].outputs, ["c-out", "a-out"], "the engine need not make the rest");
    serving.finish().await;
}

#[tokio::test]
async fn the_answer_has_the_calls_id_and_says_which_version_gave_it() {
    let serving = Serving::of([Model::echo().versions(&[3, 12])]).await;
    let mut client = serving.oip().await;
    for id in ["", "call-7", "é\u{1f600}"] {
        let call = ModelInferRequest { id: id.to_owned(), ..echo(&[1.0]) };
        let answer = within(client.model_infer(call)).await.unwrap().into_inner();
        let ModelInferResponse { model_name, model_version, id: back, .. } = answer;
        assert_eq!((&*model_name, &*model_version, &*back), ("echo", "12", id));
    }
    serving.finish().await;
}

#[tokio::test]
async fn classification_gives_the_best_classes_with_their_labels() {
    let model = Model::identity("pets", DType::Fp32, &[FREE, 3])
        .settings("labels = { y = \"labels.txt\" }")
        .file("labels.txt", "cat\ndog\n");
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    let scores = floats(&[0.25, 0.5, 0.125, 0.75, 0.0, 1.0]);
    let mut call = raw("pets", [(tensor("x", DType::Fp32, &[2, 3]), scores)]);
    call.outputs = vec![classes("y", 2)];
    let answer = within(client.model_infer(call.clone())).await.unwrap().into_inner();
    assert_eq!((&*answer.outputs[0].datatype, &*answer.outputs[0].shape), ("BYTES", &[2, 2][..]));
    let expected = strings(&[b"0.500000:1:dog", b"0.250000:0:cat", b"1.000000:2", b"0.750000:0:cat"]);
    assert_eq!(answer.raw_output_contents, [expected]);

    call.outputs = vec![classes("y", 0)];
    let status = within(client.model_infer(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "output \"y\": parameter \"classification\" must be a positive integer");
    serving.finish().await;
}

#[tokio::test]
async fn a_message_larger_than_every_window_and_frame_comes_back_whole() {
    let serving = Serving::of([Model::echo()]).await;
    // Blocks that differ in length from every frame and window, so that a lost or swapped part would be seen.
    let block: Vec<u8> = (0..10_012).map(|index| (index % 251) as u8).collect();
    let data = Bytes::from(block.repeat(2000));
    let call = raw("echo", [(tensor("x", DType::Fp32, &[data.len() as i64 / 4]), data.clone())]);
    let answer = within(serving.oip().await.model_infer(call)).await.unwrap();
    assert!(answer.get_ref().raw_output_contents[0] == data);
    serving.finish().await;
}

#[tokio::test]
async fn many_calls_at_once_on_one_connection_each_get_their_own_answer() {
    let serving = Serving::of([Model::echo()]).await;
    let client = serving.oip().await;
    let calls = (0..200).map(|number| {
        let mut client = client.clone();
        async move { (number, within(client.model_infer(echo(&[number as f32]))).await) }
    });
    for (number, answer) in futures_util::future::join_all(calls).await {
        assert_eq!(echoed(answer.unwrap().get_ref()), [number as f32]);
    }
    assert_eq!(serving.finish().await.answered, 200);
}

#[tokio::test]
async fn a_failure_of_the_engine_is_told_and_the_instance_goes_on() {
    let mind = |text: &'static str, kind| {
        Model::identity(text, DType::Fp32, &[FREE]).acting(move |run| match run.first() {
            first if first == "13" => Err(Error::new(kind, "thirteen is not served")),
            _ => run.identity(),
        })
    };
    let models = [mind("internal", Kind::Engine), mind("invalid", Kind::Invalid)];
    let serving = Serving::of(models.map(|model| model.settings("instances = 1"))).await;
    let mut client = serving.oip().await;
    for (model, code) in [("internal", Code::Internal), ("invalid", Code::InvalidArgument)] {
        let status = within(client.model_infer(echo_of(model, &[13.0]))).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "thirteen is not served"));
        assert!(within(client.model_infer(echo_of(model, &[14.0]))).await.is_ok());
    }
    let totals = serving.finish().await;
    assert_eq!((totals.answered, totals.failed, totals.refused), (2, 1, 1));
}

#[tokio::test]
async fn a_panic_in_an_engine_costs_its_call_and_nothing_else() {
    let model = Model::echo().settings("instances = 1").acting(|run| match run.first() {
        first if first == "13" => panic!("as the script says"),
        _ => run.identity(),
    });
    let serving = Serving::of([model]).await;
    let status = within(serving.oip().await.model_infer(echo(&[13.0]))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "the engine panicked"));
    serving.answers_as_ever().await;
    assert_eq!(serving.finish().await.failed, 1);
}
