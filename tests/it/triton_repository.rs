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
use tonic::Code;

use crate::harness::{FREE, Model, Serving, floats, raw, tensor, within};

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
