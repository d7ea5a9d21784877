//! A repository that was laid out for Triton is served as it lies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use infergate::compute::session::Runtime;
use infergate::role::onnx_runtime;
use infergate::tensor::DType;
use infergate::wire::proto::inference as proto;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::proto::inference::model_infer_request::InferRequestedOutputTensor;
use infergate::wire::proto::tensorflow;
use infergate::wire::proto::tensorflow::serving as tfs;
use prost::Message;
use tfs::prediction_service_client::PredictionServiceClient;
use tonic::Code;

use crate::harness::{FREE, Model, Serving, floats, raw, strings, tensor, within};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/triton")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let into = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &into);
        } else {
            fs::copy(entry.path(), into).unwrap();
        }
    }
}

fn rows(model: &str, count: i64) -> proto::ModelInferRequest {
    raw(model, [(tensor("x", DType::Fp32, &[count, 16]), floats(&vec![0.5; 16 * count as usize]))])
}

async fn index(serving: &Serving) -> Vec<(String, String, String)> {
    let request = proto::RepositoryIndexRequest::default();
    let models = within(serving.oip().await.repository_index(request)).await.unwrap().into_inner().models;
    models.into_iter().map(|one| (format!("{}/{}", one.name, one.version), one.state, one.reason)).collect()
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn a_repository_of_tritons_is_served_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture(), folder.path());
    let serving = Serving::over(folder, onnx_runtime(Runtime::load().unwrap()), |_| ()).await.unwrap();

    let index = index(&serving).await;
    let states: Vec<(&str, &str)> = index.iter().map(|(name, state, _)| (&**name, &**state)).collect();
    let expected =
        [("external/1", "READY"), ("matmul/1", "READY"), ("matmul/2", "READY"), ("pipeline/", "UNAVAILABLE")];
    assert_eq!(states, expected);
    assert!(index[3].2.contains("ensemble_scheduling: ensembles are not served"), "{index:?}");

    let mut client = serving.oip().await;
    let mut call = rows("matmul", 2);
    let mut classes = InferRequestedOutputTensor { name: "y".into(), ..Default::default() };
    let one = proto::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
    classes.parameters.insert("classification".into(), one);
    call.outputs.push(classes);
    let answer = within(client.model_infer(call)).await.unwrap().into_inner();
    assert_eq!((&*answer.model_version, &answer.outputs[0].shape[..]), ("2", &[2, 1][..]));
    let contents = String::from_utf8_lossy(&answer.raw_output_contents[0]).into_owned();
    let labelled = ["ant", "bee", "cat", "dog"].iter().any(|class| contents.ends_with(&format!(":{class}")));
    assert!(labelled, "{contents:?}");

    let plain = within(client.model_infer(rows("external", 3))).await.unwrap().into_inner();
    let same = within(client.model_infer(rows("matmul", 3))).await.unwrap().into_inner();
    assert_eq!(plain.raw_output_contents, same.raw_output_contents);

    let request = proto::ModelConfigRequest { name: "matmul".into(), version: String::new() };
    let config = within(client.model_config(request)).await.unwrap().into_inner().config.unwrap();
    assert_eq!(config.default_model_filename, "classifier.onnx");
    assert_eq!((config.instance_group[0].count, &*config.output[0].label_filename), (2, "classes.txt"));
    serving.finish().await;
}

/// A repository of fixtures, each under another name and with a configuration.
fn repository(models: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for (name, fixture, config) in models {
        copy(&fixtures.join(fixture), &folder.path().join(name));
        fs::write(folder.path().join(name).join("config.pbtxt"), config).unwrap();
    }
    folder
}

/// The floats `1, 2, …` as `x` in this shape.
fn counted(model: &str, shape: &[i64]) -> proto::ModelInferRequest {
    let values: Vec<f32> = (1..=shape.iter().product::<i64>()).map(|value| value as f32).collect();
    raw(model, [(tensor("x", DType::Fp32, shape), floats(&values))])
}

/// Shapes of the only input and output: what metadata says.
async fn told(serving: &Serving, model: &str) -> [Vec<i64>; 2] {
    let request = proto::ModelMetadataRequest { name: model.into(), version: String::new() };
    let mut told = within(serving.oip().await.model_metadata(request)).await.unwrap().into_inner();
    [told.inputs.remove(0).shape, told.outputs.remove(0).shape]
}

async fn config(serving: &Serving, model: &str) -> proto::ModelConfig {
    let request = proto::ModelConfigRequest { name: model.into(), version: String::new() };
    within(serving.oip().await.model_config(request)).await.unwrap().into_inner().config.unwrap()
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn tensors_are_called_in_the_shape_that_is_declared_and_run_in_that_of_the_model() {
    let folder = repository(&[
        ("plain", "matmul", ""),
        (
            "one",
            "matmul",
            "max_batch_size: 0
             input [ { name: 'x' data_type: TYPE_FP32 dims: [ 4, 4 ] reshape { shape: [ 1, 16 ] } } ]
             output [ { name: 'y' data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 1, 4 ] } } ]",
        ),
        (
            "rows",
            "matmul",
            "max_batch_size: 8
             input [ { name: 'x' data_type: TYPE_FP32 dims: [ 4, 4 ] reshape { shape: [ 16 ] } } ]
             output [ { name: 'y' data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 4 ] } } ]",
        ),
        (
            "scalars",
            "identity_fp32",
            "max_batch_size: 8
             input [ { name: 'x' data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]
             output [ { name: 'y' data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]",
        ),
    ]);
    let serving = Serving::over(folder, onnx_runtime(Runtime::load().unwrap()), |_| ()).await.unwrap();
    let mut client = serving.oip().await;
    for (model, takes, gives, given, answered, wrong) in [
        ("one", &[4, 4][..], &[4][..], &[4, 4][..], &[4][..], &[1, 16][..]),
        ("rows", &[-1, 4, 4], &[-1, 2, 2], &[3, 4, 4], &[3, 2, 2], &[3, 16]),
        ("scalars", &[-1, 1], &[-1, 1], &[5, 1], &[5, 1], &[5]),
    ] {
        assert_eq!(told(&serving, model).await, [takes, gives], "{model}");
        let answer = within(client.model_infer(counted(model, given))).await.unwrap().into_inner();
        assert_eq!(answer.outputs[0].shape, answered, "{model}");
        let status = within(client.model_infer(counted(model, wrong))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("input \"x\": expected "), "{status}");
        if model != "scalars" {
            let rows = given.iter().product::<i64>() / 16;
            let plain = within(client.model_infer(counted("plain", &[rows, 16]))).await.unwrap().into_inner();
            assert_eq!(plain.raw_output_contents, answer.raw_output_contents, "{model}");
        }
    }

    let shape = |reshape: &Option<proto::ModelTensorReshape>| reshape.clone().unwrap().shape;
    let one = config(&serving, "one").await;
    assert_eq!((one.max_batch_size, &*one.input[0].dims, shape(&one.input[0].reshape)), (0, &[4, 4][..], vec![1, 16]));
    let rows = config(&serving, "rows").await;
    assert_eq!((rows.max_batch_size, &*rows.input[0].dims, shape(&rows.input[0].reshape)), (8, &[4, 4][..], vec![16]));
    assert_eq!((&*rows.output[0].dims, shape(&rows.output[0].reshape)), (&[2, 2][..], vec![4]));
    let scalars = config(&serving, "scalars").await;
    assert_eq!((&*scalars.input[0].dims, shape(&scalars.input[0].reshape)), (&[1][..], vec![]));
    assert_eq!(config(&serving, "plain").await.input[0].reshape, None);
    serving.finish().await;
}

#[tokio::test]
async fn classes_and_the_signature_are_those_of_the_declared_shape() {
    let declared = "output { name: 'y' data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 1, 4, 1, 1 ] } }";
    let model = Model::identity("echo", DType::Fp32, &[1, 4, 1, 1]).file("config.pbtxt", declared);
    let serving = Serving::of([model]).await;
    let mut call = raw("echo", [(tensor("x", DType::Fp32, &[1, 4, 1, 1]), floats(&[0.0, 2.0, 1.0, -1.0]))]);
    let mut classes = InferRequestedOutputTensor { name: "y".into(), ..Default::default() };
    let two = proto::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(2)) };
    classes.parameters.insert("classification".into(), two);
    call.outputs.push(classes);
    let answer = within(serving.oip().await.model_infer(call)).await.unwrap().into_inner();
    assert_eq!(answer.outputs[0].shape, [2]);
    assert_eq!(answer.raw_output_contents[0], strings(&[b"2.000000:1", b"1.000000:2"]));

    let asked = tfs::GetModelMetadataRequest {
        model_spec: Some(tfs::ModelSpec { name: "echo".into(), ..Default::default() }),
        metadata_field: vec!["signature_def".into()],
    };
    let mut client = PredictionServiceClient::new(serving.channel().await);
    let told = within(client.get_model_metadata(asked)).await.unwrap().into_inner();
    let map = tfs::SignatureDefMap::decode(&*told.metadata["signature_def"].value).unwrap();
    let signature = &map.signature_def["serving_default"];
    let rank = |tensor: &tensorflow::TensorInfo| tensor.tensor_shape.as_ref().unwrap().dim.len();
    assert_eq!((rank(&signature.inputs["x"]), rank(&signature.outputs["y"])), (4, 1));
    serving.finish().await;
}

#[tokio::test]
async fn warm_up_samples_run_on_each_instance_before_the_model_is_ready() {
    let config = "max_batch_size: 4 instance_group { count: 2 kind: KIND_CPU }
        input { name: 'x' data_type: TYPE_FP32 dims: [ 2 ] }
        model_warmup { name: 'a' batch_size: 3 count: 5
          inputs { key: 'x' value { data_type: TYPE_FP32 dims: [ 2 ] random_data: true } } }";
    let model = Model::identity("echo", DType::Fp32, &[FREE, 2]).file("config.pbtxt", config);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let shapes: Vec<_> = log.made_up().iter().map(|seen| seen.inputs[0].tensor.shape().to_vec()).collect();
    // The runs after them try whether rows may be run together.
    assert_eq!(shapes[..10], vec![vec![3, 2]; 2 * 5]);
    serving.finish().await;
}

#[tokio::test]
async fn a_configuration_that_contradicts_its_model_is_told_to_whoever_calls() {
    let config = "input { name: 'x' data_type: TYPE_INT64 dims: [ -1 ] }";
    let serving =
        Serving::of([Model::echo(), Model::identity("other", DType::Fp32, &[FREE]).file("config.pbtxt", config)]).await;
    let told = "config.pbtxt: input \"x\": INT64 is declared, and the model has FP32";
    let other = index(&serving).await.remove(1);
    assert_eq!(other, ("other/1".to_owned(), "UNAVAILABLE".to_owned(), told.to_owned()));
    let call = raw("other", [(tensor("x", DType::Fp32, &[1]), floats(&[1.0]))]);
    let status = within(serving.oip().await.model_infer(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(told), "{status}");
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[test]
fn check_says_what_is_refused_and_what_is_ignored() {
    let check = Command::new(env!("CARGO_BIN_EXE_infergate"))
        .args(["check", "--files-only", "--models"])
        .arg(fixture())
        .output()
        .unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["configuration: no mistakes", "found    external", "found    matmul"]);
    let note = "note     matmul: config.pbtxt: dynamic_batching.preferred_batch_size is ignored: ";
    assert!(lines[3].starts_with(note), "{said}");
    assert!(lines[4].starts_with("broken   pipeline: config.pbtxt: platform: found \"ensemble\""), "{said}");
    assert_eq!(check.status.code(), Some(1));
}
