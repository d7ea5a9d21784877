//! TensorFlow Serving's protocol, over the same models.

use std::collections::HashMap;

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::tensorflow as tf;
use infergate::wire::proto::tensorflow::serving as proto;
use infergate::wire::tfs::data_type;
use prost::Message;
use proto::model_service_client::ModelServiceClient;
use proto::model_spec::VersionChoice;
use proto::model_version_status::State;
use proto::prediction_service_client::PredictionServiceClient;
use tf::TensorProto;
use tonic::Code;

use crate::harness::{FREE, Model, PREDICT, Serving, floats, framed, unframed, within};

fn spec(name: &str, version_choice: Option<VersionChoice>) -> Option<proto::ModelSpec> {
    Some(proto::ModelSpec { name: name.to_owned(), version_choice, ..Default::default() })
}

fn shape(dims: &[i64]) -> Option<tf::TensorShapeProto> {
    let dim = |size: &i64| tf::tensor_shape_proto::Dim { size: *size, ..Default::default() };
    Some(tf::TensorShapeProto { dim: dims.iter().map(dim).collect(), unknown_rank: false })
}

fn tensor(dtype: DType, dims: &[i64]) -> TensorProto {
    TensorProto { dtype: data_type(dtype), tensor_shape: shape(dims), ..Default::default() }
}

/// Floats in the form that most clients use.
fn listed(values: &[f32]) -> TensorProto {
    TensorProto { float_val: values.to_vec(), ..tensor(DType::Fp32, &[values.len() as i64]) }
}

fn predict(spec: Option<proto::ModelSpec>, inputs: &[(&str, TensorProto)]) -> proto::PredictRequest {
    let inputs: HashMap<String, TensorProto> =
        inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    proto::PredictRequest { model_spec: spec, inputs, ..Default::default() }
}

async fn client(serving: &Serving) -> PredictionServiceClient<tonic::transport::Channel> {
    PredictionServiceClient::new(serving.channel().await)
}

#[tokio::test]
async fn predict_mirrors_the_form_and_says_which_version_answered() {
    let serving = Serving::of([Model::echo().versions(&[4])]).await;
    let mut client = client(&serving).await;
    let call = predict(spec("echo", None), &[("x", listed(&[1.0, -2.0]))]);
    let answer = within(client.predict(call)).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"], listed(&[1.0, -2.0]));
    let answered = answer.model_spec.unwrap();
    assert_eq!(answered.version_choice, Some(VersionChoice::Version(4)));
    assert_eq!((&*answered.name, &*answered.signature_name), ("echo", "serving_default"));

    let content = TensorProto { tensor_content: floats(&[1.0, -2.0]), ..tensor(DType::Fp32, &[2]) };
    let call = predict(spec("echo", None), &[("x", content.clone())]);
    let answer = within(client.predict(call)).await.unwrap().into_inner();
    assert_eq!(answer.outputs["y"], content);
    serving.finish().await;
}

#[tokio::test]
async fn lists_that_are_shorter_than_the_shape_are_filled_up_with_their_last_value() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = client(&serving).await;
    for (given, filled) in [(&[7.0][..], [7.0; 3]), (&[1.0, 2.0], [1.0, 2.0, 2.0]), (&[], [0.0; 3])] {
        let short = TensorProto { float_val: given.to_vec(), ..tensor(DType::Fp32, &[3]) };
        let call = predict(spec("echo", None), &[("x", short)]);
        let answer = within(client.predict(call)).await.unwrap().into_inner();
        assert_eq!(answer.outputs["y"].float_val, filled, "{given:?}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn every_type_comes_back_in_its_own_list() {
    let serving = Serving::of(DType::ALL.map(|dtype| Model::identity(dtype.name(), dtype, &[FREE]))).await;
    let mut client = client(&serving).await;
    for dtype in DType::ALL {
        let empty = tensor(dtype, &[2]);
        let input = match dtype {
            DType::Bool => TensorProto { bool_val: vec![true, false], ..empty },
            DType::Uint8 | DType::Uint16 => TensorProto { int_val: vec![1, 255], ..empty },
            DType::Int8 | DType::Int16 | DType::Int32 => TensorProto { int_val: vec![-1, 127], ..empty },
            DType::Uint32 => TensorProto { uint32_val: vec![1, u32::MAX], ..empty },
            DType::Uint64 => TensorProto { uint64_val: vec![1, u64::MAX], ..empty },
            DType::Int64 => TensorProto { int64_val: vec![i64::MIN, 1], ..empty },
            // One, and the largest of BF16 that is no number of FP16.
            DType::Fp16 | DType::Bf16 => TensorProto { half_val: vec![0x3c00, 0x7f7f], ..empty },
            DType::Fp32 => TensorProto { float_val: vec![1.5, -0.0], ..empty },
            DType::Fp64 => TensorProto { double_val: vec![1e300, -0.0], ..empty },
            DType::Bytes => TensorProto { string_val: vec!["a\0".into(), vec![0xff].into()], ..empty },
        };
        let call = predict(spec(dtype.name(), None), &[("x", input.clone())]);
        let answer = within(client.predict(call)).await.unwrap().into_inner();
        assert_eq!(answer.outputs["y"], input, "{dtype}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn output_filters_choose_and_versions_are_found_by_number_and_by_label() {
    let model = Model::new("two")
        .input("a", DType::Fp32, &[FREE])
        .input("b", DType::Fp32, &[FREE])
        .output("c", DType::Fp32, &[FREE])
        .output("d", DType::Fp32, &[FREE])
        .versions(&[1, 2])
        .settings("versions = \"all\"\nversion_labels = { stable = 1 }");
    let serving = Serving::of([model]).await;
    let mut client = client(&serving).await;
    let label = VersionChoice::VersionLabel("stable".to_owned());
    for (choice, version) in [(None, 2), (Some(VersionChoice::Version(1)), 1), (Some(label), 1)] {
        let mut call = predict(spec("two", choice), &[("a", listed(&[1.0])), ("b", listed(&[2.0]))]);
        call.output_filter = vec!["d".to_owned()];
        let answer = within(client.predict(call)).await.unwrap().into_inner();
        assert_eq!(answer.outputs, HashMap::from([("d".to_owned(), listed(&[2.0]))]));
        assert_eq!(answer.model_spec.unwrap().version_choice, Some(VersionChoice::Version(version)));
    }
    serving.finish().await;
}

#[tokio::test]
async fn wrong_calls_are_refused_with_the_right_code_and_a_sentence() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = client(&serving).await;
    let good = || predict(spec("echo", None), &[("x", listed(&[1.0]))]);
    let signature = |name: &str| {
        let spec = proto::ModelSpec { signature_name: name.to_owned(), ..spec("echo", None).unwrap() };
        proto::PredictRequest { model_spec: Some(spec), ..good() }
    };
    let content = TensorProto { tensor_content: floats(&[1.0]), ..tensor(DType::Fp32, &[2]) };
    let negative = Some(VersionChoice::Version(-1));
    let missing = Some(VersionChoice::VersionLabel("canary".to_owned()));
    let huge = tensor(DType::Fp32, &[1 << 40]);
    for (call, code, message) in [
        (signature("classify"), Code::NotFound, "signature \"classify\" is not known, the model has"),
        (predict(spec("nobody", None), &[]), Code::NotFound, "model \"nobody\" is not known"),
        (predict(spec("echo", negative), &[]), Code::InvalidArgument, "model version -1 is negative"),
        (predict(spec("echo", missing), &[]), Code::NotFound, "model \"echo\" version label \"canary\" is not known"),
        (predict(None, &[]), Code::InvalidArgument, "model name \"\" is not"),
        (predict(spec("echo", None), &[]), Code::InvalidArgument, "input \"x\" is missing"),
        (
            predict(spec("echo", None), &[("z", listed(&[1.0]))]),
            Code::InvalidArgument,
            "unknown input \"z\", the model takes \"x\"",
        ),
        (
            predict(spec("echo", None), &[("x", content)]),
            Code::InvalidArgument,
            "input \"x\": shape [2] of FP32 takes 8 bytes, got 4",
        ),
        (
            predict(spec("echo", None), &[("x", tensor(DType::Int64, &[1]))]),
            Code::InvalidArgument,
            "input \"x\": expected FP32, got INT64",
        ),
        (
            predict(spec("echo", None), &[("x", huge)]),
            Code::ResourceExhausted,
            "input \"x\": 1099511627776 elements take more than",
        ),
    ] {
        let status = within(client.predict(call)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().starts_with(message), "{status:?}");
    }
    assert!(within(client.predict(signature("serving_default"))).await.is_ok());
    serving.finish().await;
}

#[tokio::test]
async fn what_is_not_served_says_so_in_a_sentence() {
    let serving = Serving::of([Model::echo()]).await;
    let mut predictions = client(&serving).await;
    let mut models = ModelServiceClient::new(serving.channel().await);
    let refusals = [
        within(predictions.classify(proto::ClassificationRequest::default())).await.unwrap_err(),
        within(predictions.regress(proto::RegressionRequest::default())).await.unwrap_err(),
        within(predictions.multi_inference(proto::MultiInferenceRequest::default())).await.unwrap_err(),
        within(models.handle_reload_config_request(proto::ReloadConfigRequest::default())).await.unwrap_err(),
    ];
    let expected = ["use Predict", "use Predict", "use Predict", "use RepositoryModelLoad"];
    for (status, expected) in refusals.iter().zip(expected) {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(expected), "{status:?}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn the_metadata_is_the_signature_under_its_default_name() {
    let serving = Serving::of([Model::identity("pets", DType::Int64, &[FREE, 3]).versions(&[7])]).await;
    let mut client = client(&serving).await;
    let metadata_field = vec!["signature_def".to_owned()];
    let request = proto::GetModelMetadataRequest { model_spec: spec("pets", None), metadata_field };
    let answer = within(client.get_model_metadata(request.clone())).await.unwrap().into_inner();
    assert_eq!(answer.model_spec.unwrap().version_choice, Some(VersionChoice::Version(7)));
    let any = &answer.metadata["signature_def"];
    assert_eq!(any.type_url, "type.googleapis.com/tensorflow.serving.SignatureDefMap");
    let map = proto::SignatureDefMap::decode(&*any.value).unwrap();
    let signature = &map.signature_def["serving_default"];
    assert_eq!(signature.method_name, "tensorflow/serving/predict");
    let input = &signature.inputs["x"];
    assert_eq!((input.dtype, &input.tensor_shape), (data_type(DType::Int64), &shape(&[FREE, 3])));

    let request = proto::GetModelMetadataRequest { metadata_field: vec![], ..request };
    let status = within(client.get_model_metadata(request)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "metadata_field must be \"signature_def\""));
    serving.finish().await;
}

#[tokio::test]
async fn the_status_of_each_version_is_told_with_its_reason() {
    let model = Model::echo().versions(&[1, 2, 3]).settings("versions = \"all\"").loading(|plan, _| {
        match plan.version.number() {
            2 => Err(Error::new(Kind::Unloadable, "two is broken")),
            _ => Ok(()),
        }
    });
    let serving = Serving::of([model]).await;
    let mut client = ModelServiceClient::new(serving.channel().await);
    let request = proto::GetModelStatusRequest { model_spec: spec("echo", None) };
    let answer = within(client.get_model_status(request)).await.unwrap().into_inner();
    let told: Vec<_> = answer.model_version_status.iter().map(|one| (one.version, one.state())).collect();
    assert_eq!(told, [(1, State::Available), (2, State::End), (3, State::Available)]);
    assert_eq!(answer.model_version_status[1].status.as_ref().unwrap().error_message, "two is broken");

    let exact = proto::GetModelStatusRequest { model_spec: spec("echo", Some(VersionChoice::Version(3))) };
    let answer = within(client.get_model_status(exact)).await.unwrap().into_inner();
    assert_eq!(answer.model_version_status.len(), 1);

    for unknown in [spec("nobody", None), spec("echo", Some(VersionChoice::Version(9)))] {
        let request = proto::GetModelStatusRequest { model_spec: unknown };
        let status = within(client.get_model_status(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn fields_may_come_in_any_order() {
    let serving = Serving::of([Model::echo()]).await;
    let call = predict(spec("echo", None), &[("x", listed(&[3.0]))]);
    // The model's name after the tensors, and a field that nobody knows between them.
    let tensors = proto::PredictRequest { model_spec: None, ..call.clone() }.encode_to_vec();
    let named = proto::PredictRequest { inputs: HashMap::new(), ..call }.encode_to_vec();
    let message = [tensors, vec![0xf8, 0x07, 1], named].concat();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let answer = serving.raw().await.call(PREDICT, &[], body).await;
    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
    let messages: Vec<proto::PredictResponse> = unframed(answer.body);
    assert_eq!(messages[0].outputs["y"], listed(&[3.0]));
    let empty = serving.raw().await.call(PREDICT, &[], framed(&proto::PredictRequest::default())).await;
    assert_eq!(empty.code(), Code::InvalidArgument);
    serving.finish().await;
}
