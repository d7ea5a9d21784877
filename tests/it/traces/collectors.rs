//! Collectors that take spans, and those that do not.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use infergate::config::{Config, ExportProtocol};
use infergate::infer::{Forms, Notes, Timeline, Trace};
use infergate::observe::otlp::{self, Protocol};
use infergate::observe::trace::{Dropped, Rules, Sampler, Status, Tracer};
use tokio::net::TcpListener;
use tonic::Code;

use super::{all_to, dropped};
use crate::harness::{Authority, Collector, INFER, Model, Serving, echo, eventually, framed, within};

async fn calls(serving: &Serving, count: usize) {
    let raw = serving.raw().await;
    for _ in 0..count {
        assert_eq!(raw.call(INFER, &[], framed(&echo(&[1.0]))).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn spans_are_sent_over_http_as_well() {
    let collector = Collector::http().await;
    let to = all_to(&collector);
    let configure = |config: &mut Config| {
        to(config);
        config.tracing.protocol = Some(ExportProtocol::Http);
    };
    let serving = Serving::with([Model::echo()], configure).await;
    calls(&serving, 3).await;
    let spans = collector.calls(3).await;
    assert!(spans.0.iter().all(|span| span.service == "infergate"));
    assert_eq!(spans.roots().len(), 3);
    serving.finish().await;
}

#[tokio::test]
async fn messages_are_compressed_where_that_is_asked_for() {
    let collector = Collector::grpc().await;
    let rules = Rules { sampler: Sampler { ratio: 1.0, parent_based: true }, slow: Duration::MAX, queue: 100 };
    let to = otlp::Collector {
        is_gzipped: true,
        resource: vec![("service.name".to_owned(), "zipped".to_owned())],
        ..otlp::Collector::at(collector.endpoint().unwrap(), Protocol::Grpc)
    };
    let tracer = Tracer::start(rules, &to).unwrap();
    let context = tracer.begin(None).unwrap();
    let notes = Some(Notes::begin(None));
    let trace = Arc::new(Trace { context, state: None, baggage: None, forms: Forms::default(), notes });
    let (now, method) = (Instant::now(), "a/B");
    let exported = tracer.follow(Some(&trace), method, &Timeline::start(now)).end(now, || Status::OK);
    assert_eq!(exported, Some(context.trace_id));
    tracer.flush(Duration::from_secs(10)).await;
    let spans = collector.spans();
    assert_eq!((spans.0.len(), spans.0[0].name(), &*spans.0[0].service), (1, method, "zipped"));
}

#[tokio::test]
async fn spans_are_sent_within_tls_to_who_is_known_and_to_nobody_else() {
    let authority = Authority::new();
    let signed = authority.sign("collector");
    for (protocol, collector) in [
        (ExportProtocol::Grpc, Collector::encrypted(&signed).await),
        (ExportProtocol::Http, Collector::encrypted_http(&signed).await),
    ] {
        let start = async |ca| {
            let to = all_to(&collector);
            Serving::with([Model::echo()], |config| {
                to(config);
                config.tracing.ca = Some(ca);
                config.tracing.protocol = Some(protocol);
            })
            .await
        };
        let stranger = start(Authority::new().certificate()).await;
        calls(&stranger, 1).await;
        let counts = stranger.traced().clone();
        eventually("it is counted", async || dropped(&counts) == 1).await;
        let known = start(authority.certificate()).await;
        calls(&known, 1).await;
        assert_eq!(collector.calls(1).await.roots().len(), 1);
        stranger.finish().await;
        known.finish().await;
    }
}

#[tokio::test]
async fn a_collector_that_stalls_costs_calls_nothing_and_what_it_does_not_take_is_counted() {
    let collector = Collector::grpc().await;
    collector.stall();
    let to = all_to(&collector);
    let configure = |config: &mut Config| {
        to(config);
        config.tracing.queue = 8;
    };
    let mut serving = Serving::with([Model::echo()], configure).await;
    let counts = serving.traced().clone();
    calls(&serving, 400).await;
    // What is in the queue and what is in the one message that was sent may still be waiting.
    assert_eq!(counts.kept(), 400);
    assert!(counts.dropped(Dropped::QueueFull) >= 400 - 8 - 2 * 128, "{counts:?}");
    let drained = serving.drain();
    within(drained).await.unwrap();
    assert_eq!(counts.exported(), 0);
    assert_eq!(dropped(&counts), 400, "{counts:?}");
    assert!(counts.dropped(Dropped::Shutdown) > 0, "{counts:?}");
    serving.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_calls_nothing_and_every_span_is_counted() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let configure = |config: &mut Config| {
        config.tracing.endpoint = Some(format!("http://{nobody}"));
        config.tracing.ratio = Some(1.0);
    };
    let serving = Serving::with([Model::echo()], configure).await;
    calls(&serving, 20).await;
    let counts = serving.traced().clone();
    eventually("each is counted", async || dropped(&counts) == 20).await;
    assert_eq!((counts.kept(), counts.exported()), (20, 0));
    let told = serving.metrics().await;
    for line in ["tracing_calls_kept_total 20", "tracing_calls_exported_total 0"] {
        assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_process_ends() {
    let collector = Collector::grpc().await;
    let mut serving = Serving::with([Model::echo()], all_to(&collector)).await;
    let counts = serving.traced().clone();
    calls(&serving, 10).await;
    let drained = serving.drain();
    within(drained).await.unwrap();
    assert_eq!((counts.kept(), counts.exported(), dropped(&counts)), (10, 10, 0));
    assert_eq!(collector.spans().roots().len(), 10);
    serving.finish().await;
}

#[tokio::test]
async fn without_a_collector_nothing_is_begun_and_what_callers_say_is_passed_on() {
    let serving = Serving::of([Model::echo()]).await;
    calls(&serving, 1).await;
    assert!(serving.is_untraced());
    assert!(!serving.metrics().await.contains("tracing_"));
    serving.finish().await;
}
