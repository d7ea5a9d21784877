//! The admin port: probes, in each phase of the process.

use std::net::{Ipv4Addr, SocketAddr};

use infergate::wire::proto::health::HealthCheckRequest;
use infergate::wire::proto::health::health_check_response::ServingStatus;
use infergate::wire::proto::health::health_client::HealthClient;
use infergate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use infergate::wire::proto::inference::{
    ModelReadyRequest, RepositoryModelLoadRequest, ServerLiveRequest, ServerReadyRequest, TraceSettingRequest,
    trace_setting_request,
};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::harness::{Collector, FREE, Gate, INFER, Model, Serving, echo, echo_of, eventually, framed, get, within};
use infergate::error::{Error, Kind};
use infergate::tensor::DType;

/// A port that nobody else is given, while it is held: bound, so that a server in this process can bind it, too.
struct Reserved(TcpSocket);

impl Reserved {
    fn port() -> Reserved {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Reserved(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

#[tokio::test]
async fn a_server_that_serves_is_live_and_ready() {
    let serving = Serving::of([Model::echo()]).await;
    assert_eq!(get(serving.admin(), "/livez").await, (200, "live\n".to_owned()));
    assert_eq!(get(serving.admin(), "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(get(serving.admin(), "/secrets").await.0, 404);
    serving.finish().await;
}

// Only on Linux may a port be bound twice as it is done here.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn while_models_load_the_process_is_live_not_ready_and_answers_with_those_that_are() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let slow = Model::identity("slow", DType::Fp32, &[FREE]).loading(move |_, _| {
        passage.pass("load");
        Ok(())
    });
    let ports = [Reserved::port(), Reserved::port()];
    let [grpc, admin] = [ports[0].address(), ports[1].address()];
    let starting = tokio::spawn(Serving::start([Model::echo(), slow], move |config| {
        (config.listen, config.admin) = (grpc, admin);
        config.compute.load_concurrency = 2;
    }));
    gate.next().await;
    assert_eq!(get(admin, "/livez").await.0, 200);
    let not_ready = "not ready: models are loading\nmodel \"slow\" (version 1): loading\n";
    eventually("the models are known", async || get(admin, "/readyz").await == (503, not_ready.to_owned())).await;

    let channel = within(Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect()).await.unwrap();
    let mut client = GrpcInferenceServiceClient::new(channel.clone());
    assert!(within(client.server_live(ServerLiveRequest {})).await.unwrap().get_ref().live);
    assert!(!within(client.server_ready(ServerReadyRequest {})).await.unwrap().get_ref().ready);
    let echo_ready = || ModelReadyRequest { name: "echo".to_owned(), version: String::new() };
    eventually("the other model is loaded", async || {
        let mut client = client.clone();
        within(client.model_ready(echo_ready())).await.unwrap().get_ref().ready
    })
    .await;
    assert!(within(client.model_infer(echo(&[1.0]))).await.is_ok());
    let status = within(client.model_infer(echo_of("slow", &[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "model \"slow\" (version 1) is not ready: loading");

    let mut health = HealthClient::new(channel);
    for (service, expected) in [
        ("", ServingStatus::NotServing),
        ("inference.GRPCInferenceService", ServingStatus::NotServing),
        ("model/echo", ServingStatus::Serving),
        ("model/slow", ServingStatus::NotServing),
    ] {
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        assert_eq!(within(health.check(request)).await.unwrap().get_ref().status(), expected, "{service:?}");
    }

    gate.open();
    let serving = within(starting).await.unwrap().unwrap();
    assert_eq!(get(admin, "/readyz").await.0, 200);
    assert!(within(client.model_infer(echo_of("slow", &[1.0]))).await.is_ok());
    serving.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_port_open() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let slow = Model::echo().loading(move |_, _| {
        passage.pass("load");
        Ok(())
    });
    let ports = [Reserved::port(), Reserved::port()];
    let [grpc, admin] = [ports[0].address(), ports[1].address()];
    let starting = tokio::spawn(Serving::start([slow], move |config| (config.listen, config.admin) = (grpc, admin)));
    gate.next().await;
    assert_eq!(get(admin, "/livez").await.0, 200);
    starting.abort();
    assert!(starting.await.is_err_and(|error| error.is_cancelled()));
    for port in [grpc, admin] {
        eventually("the port is closed", async || within(TcpStream::connect(port)).await.is_err()).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_is_live_and_not_ready_to_its_end() {
    let mut gate = Gate::closed();
    let mut serving =
        Serving::with([Model::echo().behind(&gate)], |config| config.drain.announce = "300ms".parse().unwrap()).await;
    let raw = serving.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), true);
    gate.next().await;
    let drain = serving.drain();
    let stopping = (503, "not ready: the server is stopping\n".to_owned());
    eventually("it says so", async || get(serving.admin(), "/readyz").await == stopping).await;
    // The calls' port is closed and a call is in flight still.
    eventually("it leaves", async || within(TcpStream::connect(serving.grpc())).await.is_err()).await;
    assert_eq!(get(serving.admin(), "/readyz").await, stopping);
    assert_eq!(get(serving.admin(), "/livez").await.0, 200);
    gate.open();
    assert_eq!(pending.answer().await.unwrap().code(), Code::Ok);
    within(drain).await.unwrap();
    serving.finish().await;
}

#[tokio::test]
async fn answers_carry_a_load_report_where_it_is_wanted() {
    for wanted in [true, false] {
        let serving = Serving::with([Model::echo()], |config| config.load_report = wanted).await;
        let answer = serving.raw().await.call(INFER, &[], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::Ok);
        assert_eq!(answer.get("endpoint-load-metrics-bin").is_some(), wanted);
        serving.finish().await;
    }
}

#[tokio::test]
async fn metrics_tell_what_batching_did() {
    let serving = Serving::of([Model::identity("rows", DType::Fp32, &[FREE, 1])]).await;
    let raw = serving.raw().await;
    let mut call = echo_of("rows", &[1.0]);
    call.inputs[0].shape = vec![1, 1];
    assert_eq!(raw.call(INFER, &[], framed(&call)).await.code(), Code::Ok);
    let (status, text) = get(serving.admin(), "/metrics").await;
    assert_eq!(status, 200);
    let line = "inference_batches_total{model=\"rows\",version=\"1\",closed=\"slot_free\"} 1";
    assert!(text.lines().any(|told| told == line), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    serving.finish().await;
}

#[tokio::test]
async fn models_are_told_as_they_are_served_and_a_broken_one_does_not_make_the_process_unready() {
    let broken = Model::identity("broken", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "no such operator")));
    let serving = Serving::of([Model::identity("rows", DType::Fp32, &[FREE, 1]), broken]).await;
    let (status, text) = get(serving.admin(), "/models").await;
    assert_eq!(status, 200);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let models = told["models"].as_array().unwrap();
    assert_eq!([&models[0]["name"], &models[1]["name"]], ["broken", "rows"]);
    assert_eq!((&models[0]["state"], &models[0]["instances"]), (&"unavailable".into(), &serde_json::Value::Null));
    assert!(models[0]["reason"].as_str().unwrap().contains("no such operator"), "{text}");
    assert_eq!((&models[1]["state"], &models[1]["version"]), (&"ready".into(), &1.into()));
    assert!(
        models[1]["batching"]["max_batch"].as_u64() > Some(1) && models[1]["instances"].as_u64() > Some(0),
        "{text}"
    );
    let (status, ready) = get(serving.admin(), "/readyz").await;
    assert!(status == 200 && ready.starts_with("ready\nmodel \"broken\" (version 1): "), "{ready}");
    serving.finish().await;
}

#[tokio::test]
async fn the_settings_in_force_are_told() {
    let serving = Serving::with([Model::echo()], |config| config.limits.in_flight = 77).await;
    let (status, text) = get(serving.admin(), "/config").await;
    assert!(status == 200 && text.contains("\nin_flight = 77 # "), "{text}");
    serving.finish().await;
}

/// The settings as JSON.
async fn settings(serving: &Serving) -> serde_json::Value {
    let (status, text) = get(serving.admin(), "/config?json").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_model_that_is_loaded_with_other_settings_is_told_with_those_and_with_those_of_the_start() {
    let models = [Model::echo().settings("max_in_flight = 7"), Model::identity("other", DType::Fp32, &[FREE])];
    let serving = Serving::of(models).await;
    let told = settings(&serving).await;
    assert_eq!(told["served"][0]["name"], "echo");
    assert_eq!(told["served"][0]["settings"]["max_in_flight"], serde_json::json!({ "value": 7 }));
    let (_, text) = get(serving.admin(), "/config").await;
    assert!(text.contains("\n# echo, version 1\n#   max_in_flight = 7\n# other, version 1\n"), "{text}");

    std::fs::write(serving.folder().join("echo/model.toml"), "[batch]\nmax_batch = 4\n").unwrap();
    let unchanged = settings(&serving).await;
    assert_eq!(unchanged, told, "a file that nobody has read changes nothing");
    let mut client = serving.oip().await;
    let load = RepositoryModelLoadRequest { model_name: "echo".to_owned(), ..Default::default() };
    within(client.repository_model_load(load)).await.unwrap();
    let told = settings(&serving).await;
    let echo = &told["served"][0]["settings"];
    let start = serde_json::json!({ "value": 7 });
    assert_eq!((&echo["max_in_flight"]["value"], &echo["max_in_flight"]["start"]), (&serde_json::Value::Null, &start));
    assert_eq!((&echo["batch.max_batch"]["value"], echo["pure"].get("start")), (&4.into(), None));
    let (_, text) = get(serving.admin(), "/config").await;
    let changed = "#   max_in_flight is not set # changed while running; at the start max_in_flight = 7\n";
    assert!(text.contains(changed) && text.contains("#   batch.max_batch = 4 # changed while running"), "{text}");
    serving.finish().await;
}

#[tokio::test]
async fn a_version_that_came_later_is_told_as_such_and_what_is_set_at_run_time_as_changed() {
    let collector = Collector::grpc().await;
    let echo = Model::echo().versions(&[1, 2]).settings("versions = [1]");
    let serving = Serving::with([echo], |config| {
        config.tracing.endpoint = collector.endpoint();
        config.tracing.ratio = Some(0.25);
    })
    .await;
    std::fs::write(serving.folder().join("echo/model.toml"), "versions = [2]\n").unwrap();
    let mut client = serving.oip().await;
    let load = RepositoryModelLoadRequest { model_name: "echo".to_owned(), ..Default::default() };
    within(client.repository_model_load(load)).await.unwrap();
    let rate = trace_setting_request::SettingValue { value: vec!["2".to_owned()] };
    let request = TraceSettingRequest { settings: [("trace_rate".to_owned(), rate)].into(), ..Default::default() };
    within(client.trace_setting(request)).await.unwrap();
    let told = settings(&serving).await;
    let served = &told["served"][0];
    assert_eq!((&served["version"], &served["served_at_start"]), (&2.into(), &false.into()));
    let ratio = &told["tracing.ratio"];
    assert_eq!((&ratio["value"], &ratio["source"]), (&0.5.into(), &"changed while running".into()));
    assert_eq!(ratio["start"]["value"], 0.25);
    let (_, text) = get(serving.admin(), "/config").await;
    assert!(text.contains("# echo, version 2, not served at the start\n"), "{text}");
    assert!(text.contains("\nratio = 0.5 # changed while running; at the start 0.25 ("), "{text}");
    serving.finish().await;
}
