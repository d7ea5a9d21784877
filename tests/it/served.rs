//! Whole journeys over ONNX Runtime: from a folder of models to answers at the port.

use std::fs;
use std::path::Path;

use infergate::compute::session::Runtime;
use infergate::role::onnx_runtime;
use infergate::tensor::DType;
use infergate::wire::proto::inference as proto;
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{INFER, Serving, echo_of, echoed, floats, framed, raw, tensor, within};

/// A repository of these fixtures, each under its own name.
fn repository(fixtures: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for fixture in fixtures {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture).join("1");
        let to = folder.path().join(Path::new(fixture).file_name().unwrap()).join("1");
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    folder
}

async fn serve(fixtures: &[&str]) -> Serving {
    let engines = onnx_runtime(Runtime::load().unwrap());
    Serving::over(repository(fixtures), engines, |_| ()).await.unwrap()
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn models_on_disk_answer_at_the_port_and_broken_ones_tell_why_they_do_not() {
    let serving = serve(&["models/identity_fp32", "models/external", "hostile/garbage", "hostile/truncated"]).await;
    let mut client = serving.oip().await;
    let answer = within(client.model_infer(echo_of("identity_fp32", &[1.5, f32::MIN_POSITIVE]))).await.unwrap();
    assert_eq!(echoed(answer.get_ref()), [1.5, f32::MIN_POSITIVE]);

    let index = within(client.repository_index(proto::RepositoryIndexRequest::default())).await.unwrap();
    let models = index.into_inner().models;
    let states: Vec<_> = models.iter().map(|model| (&*model.name, &*model.state)).collect();
    let expected =
        [("external", "READY"), ("garbage", "UNAVAILABLE"), ("identity_fp32", "READY"), ("truncated", "UNAVAILABLE")];
    assert_eq!(states, expected);
    for model in models.iter().filter(|model| model.state == "UNAVAILABLE") {
        assert!(model.reason.starts_with("model.onnx "), "{model:?}");
        let folder = serving.folder().to_str().unwrap();
        assert!(!model.reason.contains(folder), "{model:?}");
    }
    let status = within(client.model_infer(echo_of("garbage", &[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    serving.finish().await;
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn what_the_session_finds_wrong_with_a_call_is_the_callers_doing() {
    let serving = serve(&["models/identity_bool"]).await;
    let call = raw("identity_bool", [(tensor("x", DType::Bool, &[2]), vec![1, 2].into())]);
    let status = within(serving.oip().await.model_infer(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "input \"x\": BOOL element 1 is 2, expected 0 or 1");
    assert_eq!(serving.finish().await.refused, 1);
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn a_session_whose_only_caller_left_stops_and_serves_the_next() {
    let serving = serve(&["models/slow"]).await;
    let turns =
        |count: i64| raw("slow", [(tensor("iterations", DType::Int64, &[]), count.to_le_bytes().to_vec().into())]);
    let connection = serving.raw().await;
    // As many as there are instances at most, so that the next call has none left unless they stop.
    for _ in 0..4 {
        let answer = connection.call(INFER, &[("grpc-timeout", "50m")], framed(&turns(i64::MAX))).await;
        assert_eq!(answer.code(), Code::DeadlineExceeded);
    }
    assert_eq!(connection.call(INFER, &[], framed(&turns(3))).await.code(), Code::Ok);
    assert_eq!(serving.finish().await.expired, 4);
}

#[tokio::test]
#[ignore = "needs ONNX Runtime: make onnxruntime"]
async fn one_model_file_is_a_repository_of_its_own() {
    let folder = repository(&["models/identity_fp32"]);
    fs::rename(folder.path().join("identity_fp32/1/model.onnx"), folder.path().join("echo.onnx")).unwrap();
    let file = folder.path().join("echo.onnx");
    let engines = onnx_runtime(Runtime::load().unwrap());
    let serving = Serving::over(folder, engines, |config| config.models = Some(file)).await.unwrap();
    let call = raw("echo", [(tensor("x", DType::Fp32, &[2]), floats(&[1.0, 2.0]))]);
    let answer = within(serving.oip().await.model_infer(call)).await.unwrap();
    assert_eq!(answer.get_ref().raw_output_contents, [floats(&[1.0, 2.0])]);
    serving.finish().await;
}
