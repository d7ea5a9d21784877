//! What clients ask about the server and its models.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::inference as proto;
use proto::model_metadata_response::TensorMetadata;
use tonic::Code;

use crate::harness::{FREE, Model, Oip, Serving, echo, echo_of, within};

async fn ready(client: &mut Oip, name: &str, version: &str) -> bool {
    let request = proto::ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
    within(client.model_ready(request)).await.unwrap().get_ref().ready
}

async fn metadata(client: &mut Oip, name: &str, version: &str) -> proto::ModelMetadataResponse {
    let request = proto::ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() };
    within(client.model_metadata(request)).await.unwrap().into_inner()
}

async fn statistics(client: &mut Oip, name: &str, version: &str) -> Vec<proto::ModelStatistics> {
    let request = proto::ModelStatisticsRequest { name: name.to_owned(), version: version.to_owned() };
    within(client.model_statistics(request)).await.unwrap().into_inner().model_stats
}

/// Lines of the index: name, version, state, reason.
async fn index(client: &mut Oip, ready: bool) -> Vec<[String; 4]> {
    let request = proto::RepositoryIndexRequest { ready, ..Default::default() };
    let models = within(client.repository_index(request)).await.unwrap().into_inner().models;
    models.into_iter().map(|model| [model.name, model.version, model.state, model.reason]).collect()
}

fn lines(lines: &[[&str; 4]]) -> Vec<[String; 4]> {
    lines.iter().map(|line| line.map(str::to_owned)).collect()
}

/// Versions 1 and 3 serve, and 2 cannot.
fn three_versions() -> Model {
    Model::echo().versions(&[1, 2, 3]).settings("versions = \"all\"").loading(|plan, _| match plan.version.number() {
        2 => Err(Error::new(Kind::Unloadable, "two is broken")),
        _ => Ok(()),
    })
}

#[tokio::test]
async fn the_server_says_what_it_is_and_no_more_than_it_serves() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = serving.oip().await;
    assert!(within(client.server_live(proto::ServerLiveRequest {})).await.unwrap().get_ref().live);
    assert!(within(client.server_ready(proto::ServerReadyRequest {})).await.unwrap().get_ref().ready);
    let about = within(client.server_metadata(proto::ServerMetadataRequest {})).await.unwrap().into_inner();
    assert_eq!((&*about.name, &*about.version), ("infergate", env!("CARGO_PKG_VERSION")));
    let extensions = ["classification", "model_repository", "model_configuration", "statistics", "trace", "logging"];
    assert_eq!(about.extensions, extensions);
    serving.finish().await;
}

#[tokio::test]
async fn a_broken_model_leaves_the_server_ready_and_the_others_served() {
    let broken = Model::identity("broken", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "this is no model")));
    let panics = Model::identity("panics", DType::Fp32, &[FREE]).loading(|_, _| panic!("as the script says"));
    let serving = Serving::of([Model::echo(), broken, panics]).await;
    let mut client = serving.oip().await;
    assert!(within(client.server_ready(proto::ServerReadyRequest {})).await.unwrap().get_ref().ready);
    assert!(ready(&mut client, "echo", "").await);
    assert!(!ready(&mut client, "broken", "").await);
    let told = index(&mut client, false).await;
    let expected = [
        ["broken", "1", "UNAVAILABLE", "this is no model"],
        ["echo", "1", "READY", ""],
        ["panics", "1", "UNAVAILABLE", "loading it panicked, see the log"],
    ];
    assert_eq!(told, lines(&expected));
    assert_eq!(index(&mut client, true).await, lines(&[["echo", "1", "READY", ""]]));
    let status = within(client.model_infer(echo_of("broken", &[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "model \"broken\" (version 1) is not ready: this is no model");
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_folder_that_holds_no_model_is_told_with_its_reason_too() {
    let serving = Serving::of([
        Model::echo(),
        Model::identity("empty", DType::Fp32, &[FREE]).versions(&[]).file("readme.txt", ""),
        Model::identity("typo", DType::Fp32, &[FREE]).settings("instancs = 2"),
    ])
    .await;
    let told = index(&mut serving.oip().await, false).await;
    let reason = |name: &str| told.iter().find(|line| line[0] == name).unwrap_or_else(|| panic!("{told:?}"))[3].clone();
    assert_ne!(reason("empty"), "");
    assert!(reason("typo").starts_with("model.toml: instancs: unknown key, did you mean instances?"), "{told:?}");
    serving.finish().await;
}

#[tokio::test]
async fn an_empty_version_is_the_highest_that_is_ready() {
    let serving = Serving::of([three_versions()]).await;
    let mut client = serving.oip().await;
    let answer = within(client.model_infer(echo(&[1.0]))).await.unwrap().into_inner();
    assert_eq!(answer.model_version, "3");
    for (version, is_ready) in [("", true), ("1", true), ("2", false), ("3", true), ("4", false)] {
        assert_eq!(ready(&mut client, "echo", version).await, is_ready, "{version:?}");
    }
    assert_eq!(metadata(&mut client, "echo", "").await.versions, ["1", "3"]);
    assert_eq!(metadata(&mut client, "echo", "1").await.versions, ["1"]);
    let call = proto::ModelInferRequest { model_version: "2".to_owned(), ..echo(&[1.0]) };
    let status = within(client.model_infer(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "model \"echo\" version 2 is not ready: two is broken");
    serving.finish().await;
}

#[tokio::test]
async fn version_policies_choose_by_number() {
    for (policy, expected) in [
        ("", &["10"][..]),
        ("versions = \"latest 2\"", &["9", "10"]),
        ("versions = \"all\"", &["2", "9", "10"]),
        ("versions = [2, 9]", &["2", "9"]),
    ] {
        let serving = Serving::of([Model::echo().versions(&[2, 9, 10]).settings(policy)]).await;
        assert_eq!(metadata(&mut serving.oip().await, "echo", "").await.versions, expected, "{policy}");
        serving.finish().await;
    }
}

#[tokio::test]
async fn metadata_and_configuration_are_those_of_the_model() {
    let model = Model::new("pets")
        .input("image", DType::Fp32, &[FREE, 3, 8])
        .input("caption", DType::Bytes, &[])
        .output("probs", DType::Fp32, &[FREE, 10])
        .settings("instances = 3\npure = false\nlabels = { probs = \"labels.txt\" }")
        .file("labels.txt", "cat\ndog\n")
        .versions(&[7]);
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    let told = metadata(&mut client, "pets", "").await;
    let tensor = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
    };
    assert_eq!((&*told.name, &*told.platform, &*told.versions), ("pets", "onnxruntime_onnx", &["7".to_owned()][..]));
    assert_eq!(told.inputs, [tensor("image", "FP32", &[-1, 3, 8]), tensor("caption", "BYTES", &[])]);
    assert_eq!(told.outputs, [tensor("probs", "FP32", &[-1, 10])]);

    let request = proto::ModelConfigRequest { name: "pets".to_owned(), version: String::new() };
    let config = within(client.model_config(request)).await.unwrap().into_inner().config.unwrap();
    assert_eq!((&*config.name, config.max_batch_size), ("pets", 0), "a scalar input forbids batches");
    let input = &config.input[0];
    assert_eq!((&*input.name, input.data_type(), &*input.dims), ("image", proto::DataType::TypeFp32, &[-1, 3, 8][..]));
    assert_eq!(config.input[1].data_type(), proto::DataType::TypeString);
    assert_eq!((&*config.output[0].name, &*config.output[0].label_filename), ("probs", "labels.txt"));
    assert_eq!(config.instance_group[0].count, 3);
    assert_eq!(config.parameters["infergate.pure"].string_value, "false");
    assert!(!config.model_transaction_policy.unwrap().decoupled);
    serving.finish().await;
}

#[tokio::test]
async fn statistics_are_true_numbers() {
    let rows = |name: &str| Model::identity(name, DType::Fp32, &[FREE, 1]);
    let moody = rows("rows").acting(|run| match run.first() {
        first if first == "13" => Err(Error::new(Kind::Engine, "thirteen is not served")),
        _ => run.identity(),
    });
    let serving = Serving::of([moody, rows("idle").versions(&[1, 2]).settings("versions = \"all\"")]).await;
    let mut client = serving.oip().await;
    let call = |values: &[f32]| {
        let mut call = echo_of("rows", values);
        call.inputs[0].shape = vec![values.len() as i64, 1];
        call
    };
    for values in [&[1.0][..], &[1.0], &[1.0, 2.0, 3.0], &[1.0; 5], &[1.0; 5]] {
        within(client.model_infer(call(values))).await.unwrap();
    }
    within(client.model_infer(call(&[13.0]))).await.unwrap_err();
    within(client.model_infer(echo_of("rows", &[1.0]))).await.unwrap_err();

    let told = statistics(&mut client, "rows", "").await;
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!((&*told.name, &*told.version), ("rows", "1"));
    assert_eq!((told.inference_count, told.execution_count), (1 + 1 + 3 + 5 + 5, 5));
    assert!(told.last_inference > 1_700_000_000_000, "milliseconds since 1970");
    let stages = told.inference_stats.as_ref().unwrap();
    let counts = [&stages.success, &stages.fail, &stages.queue, &stages.compute_input, &stages.compute_infer];
    assert_eq!(counts.map(|stage| stage.unwrap().count), [5, 2, 5, 5, 5]);
    assert!(stages.success.unwrap().ns >= stages.compute_infer.unwrap().ns);
    assert!(stages.success.unwrap().ns > 0 && stages.fail.unwrap().ns > 0);
    let batches: Vec<_> =
        told.batch_stats.iter().map(|batch| (batch.batch_size, batch.compute_infer.unwrap().count)).collect();
    assert_eq!(batches, [(1, 2), (3, 1), (5, 2)]);
    let by_batch: u64 = told.batch_stats.iter().map(|batch| batch.compute_infer.unwrap().ns).sum();
    assert_eq!(by_batch, stages.compute_infer.unwrap().ns, "each of these calls ran alone");

    // All models, and each version by itself.
    let names = |told: Vec<proto::ModelStatistics>| -> Vec<String> {
        told.into_iter().map(|one| format!("{}/{}", one.name, one.version)).collect()
    };
    assert_eq!(names(statistics(&mut client, "", "").await), ["idle/1", "idle/2", "rows/1"]);
    assert_eq!(names(statistics(&mut client, "idle", "").await), ["idle/1", "idle/2"]);
    assert_eq!(names(statistics(&mut client, "idle", "2").await), ["idle/2"]);
    assert_eq!(statistics(&mut client, "idle", "2").await[0].inference_count, 0);
    serving.finish().await;
}

#[tokio::test]
async fn questions_about_what_is_unknown_or_illegal_are_refused() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = serving.oip().await;
    for (name, version, code) in [
        ("nobody", "", Code::NotFound),
        ("echo", "9", Code::NotFound),
        ("echo", "first", Code::InvalidArgument),
        ("../echo", "", Code::InvalidArgument),
        ("..", "", Code::InvalidArgument),
        ("a/b", "", Code::InvalidArgument),
        ("echo\0", "", Code::InvalidArgument),
    ] {
        let (name, version) = (name.to_owned(), version.to_owned());
        let metadata = proto::ModelMetadataRequest { name: name.clone(), version: version.clone() };
        let config = proto::ModelConfigRequest { name: name.clone(), version: version.clone() };
        let statistics = proto::ModelStatisticsRequest { name: name.clone(), version: version.clone() };
        let codes = [
            within(client.model_metadata(metadata)).await.unwrap_err().code(),
            within(client.model_config(config)).await.unwrap_err().code(),
            within(client.model_statistics(statistics)).await.unwrap_err().code(),
        ];
        assert_eq!(codes, [code; 3], "{name:?} {version:?}");
        let ready = within(client.model_ready(proto::ModelReadyRequest { name, version })).await;
        match code {
            Code::NotFound => assert!(!ready.unwrap().get_ref().ready),
            _ => assert_eq!(ready.unwrap_err().code(), code),
        }
    }
    let elsewhere = proto::RepositoryIndexRequest { repository_name: "elsewhere".to_owned(), ready: false };
    assert_eq!(within(client.repository_index(elsewhere)).await.unwrap_err().code(), Code::InvalidArgument);
    serving.finish().await;
}
