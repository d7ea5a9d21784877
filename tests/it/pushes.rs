//! Metrics as a collector sees them that they are pushed to.

use std::net::Ipv4Addr;

use infergate::config::{Config, ExportProtocol, Period};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Status;

use crate::harness::{Collector, Model, Pushed, Reply, Samples, Serving, echo, eventually, told, within};

const CALLS: usize = 5;

/// Metrics are pushed there.
fn to(collector: &Collector, interval: Period) -> impl Fn(&mut Config) {
    let endpoint = collector.endpoint();
    move |config| {
        config.metrics.endpoint = endpoint.clone();
        config.metrics.interval = Some(interval);
    }
}

async fn calls(serving: &Serving) {
    let mut client = serving.oip().await;
    for _ in 0..CALLS {
        within(client.model_infer(echo(&[1.0]))).await.unwrap();
    }
    serving.settled().await;
}

/// What stands still while nobody calls.
fn still(samples: Samples) -> Samples {
    let moves = ["process_", "metrics_pushes", "inference_predicted_wait"];
    samples.into_iter().filter(|((name, _), _)| !moves.iter().any(|moving| name.starts_with(moving))).collect()
}

fn counted(pushed: &Pushed) -> f64 {
    let is_of_calls = |name: &str| name == "inference_calls_total";
    pushed.samples().into_iter().filter(|((name, _), _)| is_of_calls(name)).map(|(_, count)| count).sum()
}

#[tokio::test]
async fn what_is_pushed_is_what_the_page_tells_by_either_protocol() {
    for (protocol, collector, traces) in [
        (ExportProtocol::Grpc, Collector::grpc().await, Collector::grpc().await),
        (ExportProtocol::Http, Collector::http().await, Collector::http().await),
    ] {
        let to = to(&collector, Period::millis(50));
        let serving = Serving::with([Model::echo()], |config| {
            to(config);
            config.metrics.protocol = Some(protocol);
            config.metrics.compatible = serde_json::from_value(json!(["triton", "tensorflow-serving"])).unwrap();
            config.tracing.endpoint = traces.endpoint();
            config.tracing.protocol = Some(protocol);
            config.tracing.ratio = Some(1.0);
        })
        .await;
        calls(&serving).await;
        traces.calls(CALLS).await;
        let text = serving.metrics().await;
        // Two more, since one may have been gathered before all was still.
        let before = collector.pushes().len();
        eventually("two more pushes come", async || collector.pushes().len() >= before + 2).await;
        let pushed = collector.pushes().pop().unwrap();
        let (page, sent) = (still(told(&text)), still(pushed.samples()));
        assert!(page.len() > 100, "{page:?}");
        assert_eq!(sent, page);
        assert_eq!(pushed.resource["service.name"], "infergate");
        assert_eq!(pushed.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(pushed.resource["service.instance.id"].len(), 16);
        assert_eq!(pushed.metric("inference_call_duration_seconds").unit, "s");
        assert!(!pushed.metric("inference_calls_total").description.is_empty());
        assert!(serving.pushed().taken() > 0 && serving.pushed().failed() == 0);
        serving.finish().await;
    }
}

#[tokio::test]
async fn the_last_values_are_pushed_when_the_process_ends() {
    let collector = Collector::grpc().await;
    let mut serving = Serving::with([Model::echo()], to(&collector, Period::minutes(10))).await;
    let counts = serving.pushed().clone();
    calls(&serving).await;
    assert_eq!(collector.pushes().len(), 0);
    let drained = serving.drain();
    within(drained).await.unwrap();
    let pushes = collector.pushes();
    assert_eq!((pushes.len(), counted(&pushes[0])), (1, CALLS as f64));
    assert_eq!((counts.taken(), counts.failed()), (1, 0));
    serving.finish().await;
}

#[tokio::test]
async fn a_push_is_sent_again_where_a_collector_asks_for_it_and_counts_as_taken_if_only_a_part_is() {
    for (protocol, collector, later) in [
        (ExportProtocol::Grpc, Collector::grpc().await, Reply::Grpc(Status::unavailable("no"))),
        (ExportProtocol::Http, Collector::http().await, Reply::Http(503, Some("0"))),
    ] {
        collector.replies([later, Reply::Partly(3, "too old")]);
        let to = to(&collector, Period::minutes(10));
        let mut serving = Serving::with([Model::echo()], |config| {
            to(config);
            config.metrics.protocol = Some(protocol);
        })
        .await;
        let counts = serving.pushed().clone();
        let drained = serving.drain();
        within(drained).await.unwrap();
        assert_eq!((collector.heads().len(), collector.pushes().len()), (2, 1), "{protocol:?}");
        assert_eq!((counts.taken(), counts.failed()), (1, 0), "{protocol:?}");
        serving.finish().await;
    }
}

#[tokio::test]
async fn a_collector_that_stalls_costs_calls_nothing_and_holds_up_the_end_for_a_bounded_time() {
    let collector = Collector::grpc().await;
    collector.stall();
    let mut serving = Serving::with([Model::echo()], to(&collector, Period::millis(10))).await;
    let counts = serving.pushed().clone();
    calls(&serving).await;
    let drained = serving.drain();
    within(drained).await.unwrap();
    assert_eq!((counts.taken(), counts.failed()), (0, 1), "what is under way is not joined by others");
    serving.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_calls_nothing_and_each_push_is_counted() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let configure = |config: &mut Config| {
        config.metrics.endpoint = Some(format!("http://{nobody}"));
        config.metrics.interval = Some(Period::millis(10));
    };
    let serving = Serving::with([Model::echo()], configure).await;
    calls(&serving).await;
    let is_counted = async || {
        let page = serving.metrics().await;
        page.lines().any(|line| line.starts_with("metrics_pushes_total{end=\"failed\"} ") && !line.ends_with(" 0"))
    };
    eventually("it is counted", is_counted).await;
    assert_eq!(serving.pushed().taken(), 0);
    serving.finish().await;
}

#[tokio::test]
async fn who_has_a_collector_for_traces_alone_is_pushed_nothing() {
    let collector = Collector::grpc().await;
    let endpoint = collector.endpoint();
    let mut serving = Serving::with([Model::echo()], |config| config.tracing.endpoint = endpoint).await;
    calls(&serving).await;
    assert!(!serving.metrics().await.contains("metrics_pushes"));
    let drained = serving.drain();
    within(drained).await.unwrap();
    assert!(collector.pushes().is_empty());
    serving.finish().await;
}
