//! What the gateway says of models.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::health::HealthCheckRequest;
use infergate::wire::proto::health::health_check_response::ServingStatus;
use infergate::wire::proto::health::health_client::HealthClient;
use infergate::wire::proto::inference as proto;
use tonic::{Code, Status};

use super::{call, code, freed, worker};
use crate::harness::{
    Deed, FREE, Fronting, Model, Oip, Part, Serving, Standing, echo, echo_of, echoed, eventually, within,
};

async fn ready(client: &mut Oip, name: &str, version: &str) -> bool {
    let request = proto::ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
    within(client.model_ready(request)).await.unwrap().get_ref().ready
}

async fn infer(client: &mut Oip, name: &str, version: &str) -> Result<proto::ModelInferResponse, Status> {
    let call = proto::ModelInferRequest { model_version: version.to_owned(), ..echo_of(name, &[1.0]) };
    within(client.model_infer(call)).await.map(tonic::Response::into_inner)
}

async fn load(client: &mut Oip, name: &str) -> Result<(), Status> {
    let request = proto::RepositoryModelLoadRequest { model_name: name.to_owned(), ..Default::default() };
    within(client.repository_model_load(request)).await.map(drop)
}

async fn unload(client: &mut Oip, name: &str) -> Result<(), Status> {
    let request = proto::RepositoryModelUnloadRequest { model_name: name.to_owned(), ..Default::default() };
    within(client.repository_model_unload(request)).await.map(drop)
}

#[tokio::test]
async fn what_nobody_has_is_not_found_and_no_backend_is_asked() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let mut client = fronting.oip().await;
    let status = infer(&mut client, "nobody", "").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no backend has model \"nobody\""));
    let status = infer(&mut client, "echo", "7").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no backend has model \"echo\" version 7"));
    assert!(!ready(&mut client, "nobody", "").await);
    assert_eq!(part.taken().len(), 0);
    fronting.finish().await;
}

#[tokio::test]
async fn what_some_have_and_none_serves_is_unavailable_with_the_reason() {
    let broken = Model::identity("broken", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "this is no model")));
    let worker = worker([Model::echo(), broken]).await;
    let fronting = Fronting::of(&[worker.grpc()]).await;
    let mut client = fronting.oip().await;
    let status = infer(&mut client, "broken", "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "model \"broken\" is not ready: this is no model");
    assert!(!ready(&mut client, "broken", "").await && ready(&mut client, "echo", "").await);
    fronting.answers_as_ever().await;
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn calls_go_where_their_version_is_and_any_serves_those_that_name_none() {
    let old = worker([Model::echo().versions(&[1])]).await;
    let new = worker([Model::echo().versions(&[1, 2]).settings("versions = \"all\"")]).await;
    let by_turns =
        |config: &mut infergate::config::Config| config.balance.policy = infergate::config::PickBy::RoundRobin;
    let fronting = Fronting::with(&[old.grpc(), new.grpc()], by_turns).await;
    let mut client = fronting.oip().await;
    for _ in 0..20 {
        assert_eq!(infer(&mut client, "echo", "2").await.unwrap().model_version, "2");
        assert_eq!(infer(&mut client, "echo", "1").await.unwrap().model_version, "1");
    }
    let mut versions: Vec<String> = Vec::new();
    for _ in 0..40 {
        versions.push(infer(&mut client, "echo", "").await.unwrap().model_version);
    }
    assert!(["1", "2"].iter().all(|version| versions.iter().any(|answered| answered == version)), "{versions:?}");
    let request = proto::ModelMetadataRequest { name: "echo".to_owned(), version: String::new() };
    let metadata = within(client.model_metadata(request)).await.unwrap().into_inner();
    assert_eq!((metadata.versions, metadata.inputs.len()), (vec!["1".to_owned(), "2".to_owned()], 1));
    fronting.finish().await;
    old.finish().await;
    new.finish().await;
}

#[tokio::test]
async fn a_load_reaches_everybody_and_whoever_cannot_is_named() {
    let moody = || Model::identity("moody", DType::Fp32, &[FREE]);
    let fails_again = moody().loading(|_, load| match load {
        2 => Err(Error::new(Kind::Unloadable, "not twice")),
        _ => Ok(()),
    });
    let one = worker([Model::echo(), moody()]).await;
    let other = worker([Model::echo(), fails_again]).await;
    let fronting = Fronting::of(&[one.grpc(), other.grpc()]).await;
    let mut client = fronting.oip().await;
    unload(&mut client, "moody").await.unwrap();
    for worker in [&one, &other] {
        assert!(!ready(&mut worker.oip().await, "moody", "").await);
    }
    eventually("the gateway knows", async || !ready(&mut fronting.oip().await, "moody", "").await).await;
    assert_eq!(code(&infer(&mut client, "moody", "").await), Code::Unavailable);
    let status = load(&mut client, "moody").await.unwrap_err();
    let expected = format!("1 of 2 backends did not load model \"moody\": {}: ", other.grpc());
    assert!(status.message().starts_with(&expected) && status.message().contains("not twice"), "{status:?}");
    eventually("the gateway knows", async || ready(&mut fronting.oip().await, "moody", "").await).await;
    for _ in 0..10 {
        assert_eq!(echoed(&infer(&mut client, "moody", "").await.unwrap()), [1.0]);
    }
    load(&mut client, "moody").await.unwrap();
    assert!(ready(&mut other.oip().await, "moody", "").await);
    fronting.finish().await;
    one.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn a_load_tells_of_whoever_could_not_be_asked() {
    let one = worker([Model::echo()]).await;
    let mut other = worker([Model::echo()]).await;
    let fronting = Fronting::of(&[one.grpc(), other.grpc()]).await;
    other.kill();
    eventually("it is lost", async || fronting.endpoint(other.grpc()).await["connection"] == "lost").await;
    let status = load(&mut fronting.oip().await, "echo").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected =
        format!("1 of 2 backends did not load model \"echo\": {0}: backend {0} is not connected", other.grpc());
    assert!(status.message().starts_with(&expected), "{status:?}");
    fronting.finish().await;
    one.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn the_index_and_statistics_are_those_of_all_together() {
    let rare = Model::identity("rare", DType::Fp32, &[FREE]);
    let one = worker([Model::echo(), rare]).await;
    let other = worker([Model::echo().versions(&[1, 2]).settings("versions = \"all\"")]).await;
    let fronting = Fronting::of(&[one.grpc(), other.grpc()]).await;
    let mut client = fronting.oip().await;
    let index = within(client.repository_index(proto::RepositoryIndexRequest::default())).await.unwrap().into_inner();
    let told: Vec<String> =
        index.models.iter().map(|entry| format!("{}/{} {}", entry.name, entry.version, entry.state)).collect();
    assert_eq!(told, ["echo/1 READY", "echo/2 READY", "rare/1 READY"]);
    for _ in 0..30 {
        infer(&mut client, "echo", "1").await.unwrap();
    }
    let request = proto::ModelStatisticsRequest { name: "echo".to_owned(), version: String::new() };
    let told = within(client.model_statistics(request)).await.unwrap().into_inner().model_stats;
    let counts: Vec<(&str, u64)> = told.iter().map(|told| (&*told.version, told.inference_count)).collect();
    assert_eq!(counts, [("1", 30), ("2", 0)]);
    let success = told[0].inference_stats.as_ref().unwrap().success.unwrap();
    assert!(success.count == 30 && success.ns > 0);
    fronting.finish().await;
    one.finish().await;
    other.finish().await;
}

async fn health(client: &mut HealthClient<tonic::transport::Channel>, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    within(client.check(request)).await.unwrap().get_ref().status()
}

#[tokio::test]
async fn the_gateway_is_ready_from_its_first_backend_on_and_stays_so_when_all_are_lost() {
    let mut worker = worker([Model::echo()]).await;
    let fronting = Fronting::of(&[worker.grpc()]).await;
    let mut client = HealthClient::new(fronting.channel().await);
    let request = HealthCheckRequest { service: "model/echo".to_owned() };
    let mut watch = within(client.watch(request)).await.unwrap().into_inner();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    let address = worker.grpc();
    worker.kill();
    freed(address).await;
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(health(&mut client, "").await, ServingStatus::Serving);
    assert_eq!(fronting.get("/readyz").await.0, 200);
    let again = Serving::with([Model::echo()], |config| config.listen = address).await;
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    fronting.answers_as_ever().await;
    fronting.finish().await;
    worker.finish().await;
    again.finish().await;
}

#[tokio::test]
async fn without_any_backend_the_gateway_is_not_ready_and_says_so() {
    // A name that nobody has leads to nobody.
    let fronting = Fronting::start(&[], |config| {
        config.discovery.dns = serde_json::from_value(serde_json::json!(["nobody.invalid:8001"])).unwrap();
    })
    .await
    .unwrap();
    let mut client = HealthClient::new(fronting.channel().await);
    assert_eq!(health(&mut client, "").await, ServingStatus::NotServing);
    let (status, body) = fronting.get("/readyz").await;
    assert_eq!((status, &*body), (503, "not ready: no backend is known yet\n"));
    let status = call(&mut fronting.oip().await, 1.0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "no backend is known yet"));
    fronting.finish().await;
}

#[tokio::test]
async fn backends_that_do_not_list_their_models_are_asked_by_name_and_stay_known() {
    let part = Part::with(&["echo"], None, false, |taken| Deed::Answer(taken.echo()));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::start(&[backend.address()], |config| {
        config.balance.survey_interval = "500ms".parse().unwrap();
    })
    .await
    .unwrap();
    let mut client = fronting.oip().await;
    eventually("it was asked", async || code(&infer(&mut client.clone(), "nobody", "").await) == Code::NotFound).await;
    let began = std::time::Instant::now();
    // Over several surveys.
    while began.elapsed() < std::time::Duration::from_secs(3) {
        call(&mut client, 1.0).await.unwrap();
    }
    fronting.finish().await;
}

#[tokio::test]
async fn a_backend_that_comes_later_is_found_and_one_that_changes_its_models_is_asked_again() {
    let one = worker([Model::echo()]).await;
    let fronting = Fronting::of(&[one.grpc()]).await;
    let mut direct = one.oip().await;
    unload(&mut direct, "echo").await.unwrap();
    let mut client = fronting.oip().await;
    eventually("it is known that it was unloaded", async || !ready(&mut fronting.oip().await, "echo", "").await).await;
    let status = within(client.model_infer(echo(&[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    load(&mut direct, "echo").await.unwrap();
    eventually("it is known that it is back", async || ready(&mut fronting.oip().await, "echo", "").await).await;
    fronting.answers_as_ever().await;
    fronting.finish().await;
    one.finish().await;
}

#[tokio::test]
async fn the_admin_port_tells_models_by_how_many_endpoints_have_them() {
    let broken = Model::identity("extra", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "this is no model")));
    let (one, other) = (worker([Model::echo()]).await, worker([Model::echo(), broken]).await);
    let fronting = Fronting::of(&[one.grpc(), other.grpc()]).await;
    let (status, body) = fronting.get("/models").await;
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, told["models"].as_array().map(Vec::len)), (200, Some(2)), "{body}");
    for (index, name, state, ready, known) in [(0, "echo", "ready", 2, 2), (1, "extra", "unavailable", 0, 1)] {
        let model = &told["models"][index];
        assert_eq!((&model["name"], &model["state"]), (&name.into(), &state.into()));
        assert_eq!(model["endpoints"], serde_json::json!({ "ready": ready, "known": known }), "{body}");
    }
    assert_eq!(told["models"][1]["reason"], "this is no model");
    let (status, ready) = fronting.get("/readyz").await;
    assert_eq!((status, &*ready), (200, "ready\nmodel \"extra\" (version 1): this is no model\n"));
    fronting.finish().await;
    one.finish().await;
    other.finish().await;
}
