//! Calls that wait at a gateway: real workers behind it, and what they get to see.

use std::fs;

use infergate::config::{Binding, Config, ModelRules, Period};
use infergate::role::Gateway;
use infergate::tensor::DType;
use infergate::wire::orca;
use infergate::wire::proto::inference::{
    ModelInferRequest, ModelStatistics, ModelStatisticsRequest, RepositoryModelLoadRequest,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Code;

use crate::harness::{
    Answer, Collector, FREE, Gate, INFER, Model, Pending, Raw, Serving, echoed, eventually, floats, framed, get, raw,
    tensor, unframed, within,
};

/// `rows`, with one instance: rows of one float come back as they are, once the gate lets the run go on.
fn rows(gate: &Gate) -> Model {
    Model::identity("rows", DType::Fp32, &[FREE, 1]).settings("instances = 1").behind(gate)
}

fn call(values: &[f32]) -> ModelInferRequest {
    raw("rows", [(tensor("x", DType::Fp32, &[values.len() as i64, 1]), floats(values))])
}

async fn worker(model: Model) -> Serving {
    Serving::with([model], |config| config.load_report = true).await
}

/// A gateway in front of a worker that binds the calls of `rows` late, once it knows what there is.
async fn gateway(worker: &Serving) -> (Gateway, Raw) {
    gateway_with(worker, |_| ()).await
}

/// The same with another configuration.
async fn gateway_with(worker: &Serving, configure: impl FnOnce(&mut Config)) -> (Gateway, Raw) {
    let port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { listen: port, admin: port, load_report: true, ..Config::default() };
    config.discovery.backends = serde_json::from_value(serde_json::json!([worker.grpc()])).unwrap();
    config.model = Some([("rows".to_owned(), ModelRules { binding: Binding::Late, ..Default::default() })].into());
    config.drain.announce = Period::ZERO;
    configure(&mut config);
    let gateway = within(Gateway::start(&config)).await.unwrap();
    eventually("the model is known", async || gateway.roster().told().iter().any(|told| told.ready)).await;
    let raw = Raw::connect(gateway.addresses().grpc).await;
    (gateway, raw)
}

async fn begun(raw: &Raw, call: &ModelInferRequest) -> Pending {
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(call), true);
    pending
}

/// A call that runs at a worker which has said that it would be through by now: what comes is kept back.
async fn late(gateway: &Gateway, raw: &Raw, gate: &mut Gate) -> Pending {
    let before = begun(raw, &call(&[9.0])).await;
    assert_eq!(gate.next().await, "9");
    gate.let_one_pass();
    assert_eq!(values(&before.answer().await.unwrap()), [9.0]);
    let idle = predicted(gateway);
    let late = begun(raw, &call(&[0.0])).await;
    assert_eq!(gate.next().await, "0");
    // Its own run, one more, and how late it is already.
    eventually("it is late", async || predicted(gateway) > 3.0 * idle).await;
    late
}

/// What a call is predicted to take, in seconds.
fn predicted(gateway: &Gateway) -> f64 {
    let listed = gateway.roster().listing(std::time::Instant::now());
    listed[0].models[0].predicted_s.unwrap()
}

/// Once this is answered, what was sent before it on the same connection waits or runs.
async fn have_come(raw: &Raw) {
    let live = raw.call("/inference.GRPCInferenceService/ServerLive", &[], vec![0; 5]).await;
    assert_eq!(live.code(), Code::Ok);
}

fn values(answer: &Answer) -> Vec<f32> {
    assert_eq!(answer.code(), Code::Ok, "{}", answer.message());
    echoed(&unframed(answer.body.clone()).remove(0))
}

/// The value of a metric in a scrape.
fn metric(told: &str, series: &str) -> f64 {
    let line = told.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{told}")).parse().unwrap()
}

async fn statistics(worker: &Serving) -> ModelStatistics {
    let request = ModelStatisticsRequest { name: "rows".to_owned(), ..Default::default() };
    let answer = within(worker.oip().await.model_statistics(request)).await.unwrap();
    answer.into_inner().model_stats.remove(0)
}

#[tokio::test]
async fn a_message_for_several_calls_is_one_hop_in_one_of_their_traces_and_linked_to_all() {
    let mut gate = Gate::closed();
    let (worker, collector) = (worker(rows(&gate)).await, Collector::grpc().await);
    let (gateway, raw) = gateway_with(&worker, |config| {
        config.tracing.endpoint = collector.endpoint();
        config.tracing.ratio = Some(1.0);
    })
    .await;
    let first = late(&gateway, &raw, &mut gate).await;
    let mut waiting = Vec::new();
    for value in [1.0, 2.0, 3.0] {
        waiting.push(begun(&raw, &call(&[value])).await);
        have_come(&raw).await;
    }
    gate.open();
    assert_eq!(values(&first.answer().await.unwrap()), [0.0]);
    for pending in waiting {
        pending.answer().await.unwrap();
    }
    // Two alone, and those that had waited.
    let spans = collector.calls(5).await;
    let hops: Vec<_> =
        spans.of(SpanKind::Client).into_iter().filter(|span| span.get("inference.picker").is_some()).collect();
    assert_eq!(hops.len(), 3);
    let joint = *hops.iter().find(|hop| hop.get("inference.batch.calls").is_some()).unwrap();
    assert_eq!((joint.number("inference.batch.calls"), joint.links().len()), (3.0, 3));
    let members = joint.links();
    assert!(members.contains(&joint.inner.parent_span_id));
    let servers = spans.of(SpanKind::Server);
    assert_eq!(servers.iter().filter(|span| members.iter().any(|member| member == span.id())).count(), 3);
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test]
async fn calls_that_wait_at_the_gateway_come_to_the_worker_as_one_and_each_gets_its_own() {
    let mut gate = Gate::closed();
    let worker = worker(rows(&gate)).await;
    let (gateway, raw) = gateway(&worker).await;
    let first = late(&gateway, &raw, &mut gate).await;
    let mut waiting = Vec::new();
    for value in [1.0, 2.0, 3.0, 4.0] {
        waiting.push((vec![value, -value], begun(&raw, &call(&[value, -value])).await));
        have_come(&raw).await;
        // What has not changed leaves what waits as it is.
        within(gateway.roster().survey()).await;
    }
    let (_, told) = get(gateway.addresses().admin, "/metrics").await;
    let of = |name: &str| format!("{name}{{model=\"rows\",version=\"\"}}");
    assert_eq!(metric(&told, &of("inference_queue_calls")), 4.0);
    assert!(metric(&told, &of("inference_predicted_wait_seconds")) >= 0.0);
    gate.open();
    assert_eq!(values(&first.answer().await.unwrap()), [0.0]);
    for (expected, pending) in waiting {
        assert_eq!(values(&pending.answer().await.unwrap()), expected);
    }
    // The worker was called three times: by two alone, and by all that had waited meanwhile.
    let statistics = statistics(&worker).await;
    let calls = statistics.inference_stats.unwrap().success.unwrap().count;
    assert_eq!((calls, statistics.inference_count, statistics.execution_count), (3, 10, 3));
    let (_, told) = get(gateway.addresses().admin, "/metrics").await;
    assert_eq!(metric(&told, &of("inference_queue_calls")), 0.0);
    let sum_and_count = ["sum", "count"].map(|end| metric(&told, &of(&format!("inference_batch_rows_{end}"))));
    assert_eq!(sum_and_count, [10.0, 3.0]);
    let closed =
        |why: &str| metric(&told, &format!("inference_batches_total{{model=\"rows\",version=\"\",closed=\"{why}\"}}"));
    assert_eq!(["slot_free", "full", "delay", "deadline", "drain"].map(closed).iter().sum::<f64>(), 3.0);
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test]
async fn a_model_whose_largest_batch_changed_is_put_together_up_to_that() {
    let mut gate = Gate::closed();
    let model = Model::identity("rows", DType::Fp32, &[FREE, 1]).behind(&gate);
    let worker = worker(model.settings("instances = 1\n[batch]\nmax_batch = 2")).await;
    let (gateway, raw) = gateway(&worker).await;
    fs::write(worker.folder().join("rows/model.toml"), "instances = 1\n[batch]\nmax_batch = 8").unwrap();
    let request = RepositoryModelLoadRequest { model_name: "rows".to_owned(), ..Default::default() };
    within(worker.oip().await.repository_model_load(request)).await.unwrap();
    within(gateway.roster().survey()).await;
    let first = late(&gateway, &raw, &mut gate).await;
    let mut waiting = Vec::new();
    for value in [1.0, 2.0, 3.0, 4.0] {
        waiting.push(begun(&raw, &call(&[value, -value])).await);
        have_come(&raw).await;
    }
    gate.open();
    assert_eq!(values(&first.answer().await.unwrap()), [0.0]);
    for (pending, value) in waiting.into_iter().zip([1.0, 2.0, 3.0, 4.0]) {
        assert_eq!(values(&pending.answer().await.unwrap()), [value, -value]);
    }
    // What had waited came as one of eight rows.
    let statistics = statistics(&worker).await;
    assert!(statistics.batch_stats.iter().any(|batch| batch.batch_size == 8), "{statistics:?}");
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test]
async fn a_call_that_is_left_while_it_waits_is_never_sent() {
    let mut gate = Gate::closed();
    let worker = worker(rows(&gate)).await;
    let (gateway, raw) = gateway(&worker).await;
    let first = late(&gateway, &raw, &mut gate).await;
    let left = begun(&raw, &call(&[1.0])).await;
    let stays = begun(&raw, &call(&[2.0])).await;
    have_come(&raw).await;
    left.reset();
    eventually("it has left", async || gateway.ledger().totals().abandoned == 1).await;
    gate.open();
    assert_eq!(values(&first.answer().await.unwrap()), [0.0]);
    assert_eq!(values(&stays.answer().await.unwrap()), [2.0]);
    assert_eq!(statistics(&worker).await.inference_count, 3);
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test]
async fn calls_of_a_model_that_is_not_batched_are_not_held_back() {
    let mut gate = Gate::closed();
    // Of a dimension without a name nobody knows whether it is a batch.
    let model = Model::identity("rows", DType::Fp32, &[FREE]).settings("instances = 2").behind(&gate);
    let worker = worker(model).await;
    let (gateway, raw) = gateway(&worker).await;
    let of = |value: f32| self::raw("rows", [(tensor("x", DType::Fp32, &[1]), floats(&[value]))]);
    let calls = [begun(&raw, &of(1.0)).await, begun(&raw, &of(2.0)).await];
    assert_eq!(gate.next_two().await, ["1", "2"]);
    gate.open();
    for (pending, value) in calls.into_iter().zip([1.0, 2.0]) {
        assert_eq!(values(&pending.answer().await.unwrap()), [value]);
    }
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test]
async fn a_worker_says_how_many_gateways_call_it_and_a_gateway_what_it_has_to_give() {
    let gate = Gate::closed();
    gate.open();
    let worker = worker(rows(&gate)).await;
    let (one, through_one) = gateway(&worker).await;
    let (other, through_other) = gateway(&worker).await;
    let answer = async |raw: &Raw, caller: &[(&str, &str)]| {
        let answer = raw.call(INFER, caller, framed(&call(&[1.0]))).await;
        orca::read(answer.get("endpoint-load-metrics-bin").unwrap())
    };
    // As a third one, since only gateways are told.
    let report = async |raw: &Raw| answer(raw, &[("infergate-gateway", "3")]).await.unwrap();
    let direct = worker.raw().await;
    assert_eq!(answer(&direct, &[]).await, None);
    assert_eq!(report(&direct).await.gateways, 1);
    report(&through_one).await;
    assert_eq!(report(&direct).await.gateways, 2);
    report(&through_other).await;
    assert_eq!(report(&direct).await.gateways, 3);
    // Of the gateways only this one calls it, and it knows of one instance behind it.
    let own = async || {
        let report = report(&through_one).await;
        assert_eq!(report.gateways, 1);
        report.free_slots + report.running == 1
    };
    eventually("it has looked at its endpoints", own).await;
    within(one.drain()).await;
    within(other.drain()).await;
    worker.finish().await;
}
