//! RPCs that are no calls, as spans.

use infergate::config::Period;
use infergate::error::{Error, Kind};
use infergate::infer::Version;
use infergate::tensor::DType;
use infergate::wire::proto::health::HealthCheckRequest;
use infergate::wire::proto::health::health_client::HealthClient;
use infergate::wire::proto::inference as proto;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Code;

use super::{all_to, part_to, trusts_nobody, worker};
use crate::harness::{Collector, FREE, Fronting, Model, Part, Serving, Span, Standing, eventually, framed, within};

const SAMPLED: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
const UNSAMPLED: (&str, &str) = ("traceparent", "00-00000000000000000000000000000bad-b7ad6b7169203331-00");

const LIVE: &str = "inference.GRPCInferenceService/ServerLive";
const LOAD: &str = "inference.GRPCInferenceService/RepositoryModelLoad";
const UNLOAD: &str = "inference.GRPCInferenceService/RepositoryModelUnload";
const PROBES: [&str; 5] = [
    LIVE,
    "inference.GRPCInferenceService/ServerReady",
    "inference.GRPCInferenceService/ModelReady",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/List",
];
const OTHERS: [&str; 12] = [
    "inference.GRPCInferenceService/ServerMetadata",
    "inference.GRPCInferenceService/ModelMetadata",
    "inference.GRPCInferenceService/ModelConfig",
    "inference.GRPCInferenceService/ModelStatistics",
    "inference.GRPCInferenceService/RepositoryIndex",
    "inference.GRPCInferenceService/TraceSetting",
    "inference.GRPCInferenceService/LogSettings",
    "inference.GRPCInferenceService/SystemSharedMemoryStatus",
    LOAD,
    "tensorflow.serving.PredictionService/GetModelMetadata",
    "tensorflow.serving.ModelService/GetModelStatus",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Asks with an empty message.
async fn ask(serving: &Serving, method: &str, headers: &[(&str, &str)]) -> Code {
    within(serving.raw().await.call(&format!("/{method}"), headers, vec![0; 5])).await.code()
}

/// The request of a load, and as good of an unload.
fn load(model: &str) -> Vec<u8> {
    let request = proto::RepositoryModelLoadRequest { model_name: model.to_owned(), ..Default::default() };
    framed(&request).to_vec()
}

fn code(span: &Span) -> String {
    span.get("rpc.response.status_code").unwrap()
}

#[tokio::test]
async fn every_question_is_one_span_of_its_callers_trace() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], part_to(&collector, 0.0)).await;
    let headers = [SAMPLED, ("tracestate", "vendor=7")];
    let mut codes = Vec::new();
    for method in PROBES.into_iter().chain(OTHERS) {
        codes.push((method, ask(&serving, method, &headers).await));
    }
    let spans = collector.calls(codes.len()).await;
    assert_eq!(spans.0.len(), codes.len(), "{spans:#?}");
    for (method, answered) in codes {
        let span = spans.one(method);
        assert_eq!((span.kind(), span.trace()), (SpanKind::Server, SAMPLED.1[3..35].to_owned()));
        assert_eq!((&span.inner.parent_span_id[..2], &*span.inner.trace_state), (&[0xb7, 0xad][..], "vendor=7"));
        assert_eq!(span.get("rpc.system.name").as_deref(), Some("grpc"));
        assert_eq!(span.get("rpc.method").as_deref(), Some(method));
        assert_eq!(span.get("inference.kept").as_deref(), Some("sampled"));
        let expected = infergate::wire::status::code_name(answered);
        assert_eq!((&*code(span), span.failed()), (expected, answered == Code::Unimplemented), "{method}");
        assert!(span.nanos() > 0 && !span.inner.attributes.iter().any(|told| told.key.starts_with("inference.stage")));
    }
    serving.finish().await;
}

#[tokio::test]
async fn probes_are_told_only_where_their_caller_wants_it_or_they_fail_and_others_as_often_as_calls_are() {
    let collector = Collector::grpc().await;
    let to = all_to(&collector);
    let serving = Serving::with([Model::echo()], |config| {
        to(config);
        // So slow is everything.
        config.tracing.slow = Period::micros(1).unwrap();
    })
    .await;
    for probe in PROBES {
        ask(&serving, probe, &[]).await;
    }
    for method in OTHERS {
        ask(&serving, method, &[UNSAMPLED]).await;
    }
    assert_eq!(serving.traced().kept(), 0);
    for method in OTHERS {
        ask(&serving, method, &[]).await;
    }
    assert_eq!(collector.calls(OTHERS.len()).await.0.len(), OTHERS.len());
    // A probe whose message does not come in time.
    let raw = serving.raw().await;
    let pending = raw.begin(&format!("/{LIVE}"), &[("grpc-timeout", "1m")]).await.unwrap();
    assert_eq!(pending.answer().await.unwrap().code(), Code::DeadlineExceeded);
    let spans = collector.calls(OTHERS.len() + 1).await;
    let failed = spans.one(LIVE);
    assert_eq!((failed.get("inference.kept").as_deref(), failed.failed()), (Some("error"), true));
    assert_eq!(failed.get("error.type").as_deref(), Some("DEADLINE_EXCEEDED"));
    serving.finish().await;
}

#[tokio::test]
async fn a_question_that_fails_by_the_servers_doing_or_is_slow_is_kept_and_one_that_its_caller_got_wrong_is_not() {
    let collector = Collector::grpc().await;
    let broken = Model::identity("broken", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "this is no model")));
    let models = || [Model::echo(), broken.clone()];
    let quick = Serving::with(models(), part_to(&collector, 0.0)).await;
    let to = part_to(&collector, 0.0);
    let slow = Serving::with(models(), |config| {
        to(config);
        config.tracing.slow = Period::micros(1).unwrap();
    })
    .await;
    let metadata = |name: &str, version: &str| {
        framed(&proto::ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() }).to_vec()
    };
    const METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";
    let raw = quick.raw().await;
    assert_eq!(raw.call(METADATA, &[], metadata("nobody", "")).await.code(), Code::NotFound);
    assert_eq!(raw.call(METADATA, &[], metadata("echo", "")).await.code(), Code::Ok);
    assert_eq!(quick.traced().kept(), 0);
    assert_eq!(raw.call(METADATA, &[], metadata("broken", "")).await.code(), Code::Unavailable);
    let spans = collector.calls(1).await;
    let span = &spans.0[0];
    assert_eq!((span.get("inference.kept").as_deref(), span.failed()), (Some("error"), true));
    let said = format!("model \"broken\" (version {}) is not ready: this is no model", Version::new(1).unwrap());
    assert_eq!(span.inner.status.as_ref().unwrap().message, said);
    assert_eq!(span.get("inference.model.name").as_deref(), Some("broken"));
    assert_eq!(slow.raw().await.call(METADATA, &[], metadata("echo", "")).await.code(), Code::Ok);
    let spans = collector.calls(2).await;
    assert_eq!(spans.0[1].get("inference.kept").as_deref(), Some("slow"));
    quick.finish().await;
    slow.finish().await;
}

#[tokio::test]
async fn a_caller_whom_nobody_trusts_decides_nothing_of_its_questions() {
    let collector = Collector::grpc().await;
    let to = part_to(&collector, 0.0);
    let serving = Serving::with([Model::echo()], |config| {
        to(config);
        trusts_nobody(config);
    })
    .await;
    for method in PROBES.into_iter().chain(OTHERS).filter(|method| !method.contains("SharedMemory")) {
        ask(&serving, method, &[SAMPLED]).await;
    }
    assert_eq!(serving.traced().kept(), 0);
    serving.finish().await;
}

#[tokio::test]
async fn a_method_that_nobody_knows_names_no_span() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], all_to(&collector)).await;
    assert_eq!(ask(&serving, "some.Service/Method", &[]).await, Code::Unimplemented);
    let spans = collector.calls(1).await;
    let span = spans.one("grpc");
    assert_eq!(span.get("rpc.method").as_deref(), Some("_OTHER"));
    assert_eq!(span.get("rpc.method_original").as_deref(), Some("some.Service/Method"));
    serving.finish().await;
}

#[tokio::test]
async fn a_watch_ends_its_span_when_its_caller_leaves() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], part_to(&collector, 0.0)).await;
    let mut client = HealthClient::new(serving.channel().await);
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert(SAMPLED.0, SAMPLED.1.parse().unwrap());
    let mut watch = within(client.watch(request)).await.unwrap().into_inner();
    assert!(within(watch.message()).await.unwrap().is_some());
    drop(watch);
    let spans = collector.calls(1).await;
    let watched = spans.one("grpc.health.v1.Health/Watch");
    assert_eq!((&*code(watched), watched.failed()), ("CANCELLED", false));
    serving.finish().await;
}

#[tokio::test]
async fn a_load_through_a_gateway_is_one_trace_with_each_endpoint_that_was_asked() {
    let collector = Collector::grpc().await;
    let moody = |loads: u32| {
        Model::identity("moody", DType::Fp32, &[FREE]).loading(move |_, load| match load {
            load if load > loads => Err(Error::new(Kind::Unloadable, "not again")),
            _ => Ok(()),
        })
    };
    let one = worker([moody(9)], all_to(&collector)).await;
    let other = worker([moody(1)], all_to(&collector)).await;
    let fronting = Fronting::with(&[one.grpc(), other.grpc()], all_to(&collector)).await;
    let raw = fronting.raw().await;
    assert_eq!(raw.call(&format!("/{UNLOAD}"), &[UNSAMPLED], load("moody")).await.code(), Code::Ok);
    let answer = raw.call(&format!("/{LOAD}"), &[SAMPLED], load("moody")).await;
    assert_eq!(answer.code(), Code::FailedPrecondition);
    let spans = collector.calls(3).await;
    assert!(spans.0.iter().all(|span| span.trace() == SAMPLED.1[3..35]), "{spans:#?}");
    let servers = spans.of(SpanKind::Server);
    let front = servers.iter().find(|span| span.service == "infergate-gateway").unwrap();
    assert_eq!(front.get("inference.model.name").as_deref(), Some("moody"));
    let mut told: Vec<_> = spans
        .beneath(front)
        .iter()
        .map(|errand| {
            assert_eq!((errand.name(), errand.kind()), (LOAD, SpanKind::Client));
            let behind = spans.beneath(errand);
            assert_eq!((behind.len(), behind[0].kind(), behind[0].name()), (1, SpanKind::Server, LOAD));
            assert_eq!((code(behind[0]), behind[0].service.as_str()), (code(errand), "infergate-worker"));
            (errand.get("server.port").unwrap(), code(errand), errand.failed())
        })
        .collect();
    told.sort();
    let port = |worker: &Serving| worker.grpc().port().to_string();
    let mut expected = [(port(&one), "OK".to_owned(), false), (port(&other), "FAILED_PRECONDITION".to_owned(), true)];
    expected.sort();
    assert_eq!(told, expected);
    fronting.finish().await;
    one.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn a_gateway_that_draws_nothing_passes_on_whose_question_it_is() {
    let collector = Collector::grpc().await;
    let worker = worker([Model::echo()], part_to(&collector, 0.0)).await;
    for decision in [SAMPLED, UNSAMPLED] {
        let fronting = Fronting::of(&[worker.grpc()]).await;
        let answer = fronting.raw().await.call(&format!("/{LOAD}"), &[decision], load("echo")).await;
        assert_eq!(answer.code(), Code::Ok);
        fronting.finish().await;
    }
    let spans = collector.calls(1).await;
    let behind = spans.one(LOAD);
    assert_eq!(
        (behind.trace(), behind.inner.parent_span_id[..2].to_vec()),
        (SAMPLED.1[3..35].to_owned(), vec![0xb7, 0xad])
    );
    assert_eq!(worker.traced().kept(), 1);
    worker.finish().await;
}

#[tokio::test]
async fn what_a_gateway_asks_of_its_own_accord_is_recorded_by_nobody() {
    let collector = Collector::grpc().await;
    let worker = worker([Model::echo()], all_to(&collector)).await;
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::with(&[worker.grpc(), backend.address()], all_to(&collector)).await;
    let before = part.asked("RepositoryIndex");
    eventually("it is asked again", async || part.asked("RepositoryIndex") > before + 1).await;
    assert_eq!((worker.traced().kept(), fronting.traced().kept()), (0, 0));
    fronting.finish().await;
    worker.finish().await;
}
