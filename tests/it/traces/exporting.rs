//! Messages on their way to a collector: what is said with them, and what becomes of those that it does not take.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use infergate::infer::{Forms, Notes, Timeline, Trace};
use infergate::observe::otlp::{self, Protocol};
use infergate::observe::trace::{Counts, Dropped, Rules, Sampler, Status, Tracer};
use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tonic::Code;

use super::dropped;
use crate::harness::{Collector, INFER, Part, Raw, Reply, Standing, echo, framed, get, within};

/// A refusal by gRPC that says when to come back, where it does.
fn refusal(code: Code, wait: Option<Duration>) -> Reply {
    let Some(wait) = wait else { return Reply::Grpc(tonic::Status::new(code, "no")) };
    let delay = prost_types::Duration { seconds: wait.as_secs() as i64, nanos: wait.subsec_nanos() as i32 };
    // A `google.rpc.RetryInfo`, whose only field is the delay.
    let mut value = vec![10, delay.encoded_len() as u8];
    value.extend(delay.encode_to_vec());
    let any = prost_types::Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value };
    // The same within a `google.rpc.Status`.
    let mut details = vec![26, any.encoded_len() as u8];
    details.extend(any.encode_to_vec());
    Reply::Grpc(tonic::Status::with_details(code, "no", details.into()))
}

fn later(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

/// What becomes of the spans of one call, and how long that takes.
async fn exported(collector: &Collector, protocol: Protocol, timeout: Duration) -> (Arc<Counts>, Duration) {
    let rules = Rules { sampler: Sampler { ratio: 1.0, parent_based: true }, slow: Duration::MAX, queue: 100 };
    let path = if protocol == Protocol::Http { "/v1/traces" } else { "" };
    let resource = vec![("service.name".to_owned(), "test".to_owned())];
    let endpoint = format!("{}{path}", collector.endpoint().unwrap());
    let to = otlp::Collector { timeout, resource, ..otlp::Collector::at(endpoint, protocol) };
    let tracer = Tracer::start(rules, &to).unwrap();
    let notes = Some(Notes::begin(None));
    let context = tracer.begin(None).unwrap();
    let trace = Arc::new(Trace { context, state: None, baggage: None, forms: Forms::default(), notes });
    let began = Instant::now();
    tracer.follow(Some(&trace), "a/B", &Timeline::start(began)).end(began, || Status::OK);
    within(tracer.flush(Duration::from_secs(20))).await;
    (tracer.counts().unwrap().clone(), began.elapsed())
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_a_collector_may_take_later_is_sent_again_and_that_is_counted() {
    for (protocol, replies) in [
        (Protocol::Grpc, vec![refusal(Code::Unavailable, None), refusal(Code::Aborted, None)]),
        (Protocol::Grpc, vec![refusal(Code::ResourceExhausted, later(1)), refusal(Code::Unavailable, later(1))]),
        (Protocol::Http, vec![Reply::Http(503, None), Reply::Http(429, Some("0"))]),
        (Protocol::Http, vec![Reply::Http(502, None), Reply::Http(504, Some("soon"))]),
    ] {
        let collector = if protocol == Protocol::Grpc { Collector::grpc().await } else { Collector::http().await };
        collector.replies(replies.clone());
        let (counts, _) = exported(&collector, protocol, PATIENT).await;
        assert_eq!((counts.exported(), dropped(&counts), counts.retries()), (1, 0, 2), "{replies:?}");
        assert_eq!((collector.heads().len(), collector.spans().0.len()), (3, 1), "{replies:?}");
    }
}

#[tokio::test]
async fn it_is_sent_again_no_sooner_than_the_collector_asks() {
    for (protocol, reply) in [
        (Protocol::Grpc, refusal(Code::ResourceExhausted, later(1200))),
        (Protocol::Grpc, refusal(Code::Unavailable, later(1200))),
        (Protocol::Http, Reply::Http(429, Some("1"))),
    ] {
        let collector = if protocol == Protocol::Grpc { Collector::grpc().await } else { Collector::http().await };
        collector.replies([reply.clone()]);
        let (counts, took) = exported(&collector, protocol, PATIENT).await;
        assert_eq!((counts.exported(), counts.retries()), (1, 1), "{reply:?}");
        assert!(took >= Duration::from_secs(1), "{reply:?}: {took:?}");
    }
}

#[tokio::test]
async fn what_it_will_not_take_is_dropped_at_once_and_counted() {
    for (protocol, reply) in [
        (Protocol::Grpc, refusal(Code::ResourceExhausted, None)),
        (Protocol::Grpc, Reply::Grpc(tonic::Status::with_details(Code::ResourceExhausted, "no", vec![8, 8].into()))),
        (Protocol::Grpc, refusal(Code::InvalidArgument, later(1))),
        (Protocol::Grpc, refusal(Code::Unauthenticated, None)),
        (Protocol::Http, Reply::Http(400, None)),
        (Protocol::Http, Reply::Http(500, Some("0"))),
        (Protocol::Http, Reply::Http(401, None)),
    ] {
        let collector = if protocol == Protocol::Grpc { Collector::grpc().await } else { Collector::http().await };
        collector.replies([reply.clone()]);
        let (counts, _) = exported(&collector, protocol, PATIENT).await;
        assert_eq!((counts.exported(), counts.dropped(Dropped::Failed), counts.retries()), (0, 1, 0), "{reply:?}");
        assert_eq!(collector.heads().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_collector_that_never_takes_it_is_tried_within_bounds() {
    let collector = Collector::grpc().await;
    collector.replies(vec![refusal(Code::Unavailable, None); 100]);
    let (counts, took) = exported(&collector, Protocol::Grpc, PATIENT).await;
    assert_eq!((counts.dropped(Dropped::Failed), counts.retries(), collector.heads().len()), (1, 3, 4));
    assert!(took < PATIENT, "{took:?}");
    for (protocol, reply) in
        [(Protocol::Grpc, refusal(Code::Unavailable, later(60_000))), (Protocol::Http, Reply::Http(503, Some("60")))]
    {
        let collector = if protocol == Protocol::Grpc { Collector::grpc().await } else { Collector::http().await };
        collector.replies([reply]);
        let (counts, took) = exported(&collector, protocol, Duration::from_millis(300)).await;
        assert_eq!((counts.dropped(Dropped::Failed), collector.heads().len()), (1, 1));
        assert!(took < PATIENT, "{took:?}");
    }
}

#[tokio::test]
async fn spans_that_a_collector_has_not_taken_of_a_message_are_counted_and_not_sent_again() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = if protocol == Protocol::Grpc { Collector::grpc().await } else { Collector::http().await };
        for (reply, rejected) in [(Reply::Partly(1, "too old"), 1), (Reply::Partly(-5, ""), 0)] {
            collector.replies([reply.clone()]);
            let (counts, _) = exported(&collector, protocol, PATIENT).await;
            assert_eq!((counts.exported(), counts.retries()), (1, 0), "{protocol:?} {reply:?}");
            assert_eq!((counts.spans_rejected(), counts.spans()), (rejected, 1 - rejected), "{protocol:?} {reply:?}");
        }
        // A warning without a loss.
        collector.replies([Reply::Partly(0, "deprecated")]);
        let (counts, _) = exported(&collector, protocol, PATIENT).await;
        assert_eq!((counts.spans_rejected(), counts.spans()), (0, 1));
    }
}

/// A gateway as a process, with these variables; its addresses.
async fn gateway(backend: SocketAddr, variables: &[(&str, &str)]) -> (tokio::process::Child, SocketAddr, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infergate"));
    command.args(["gateway", "--backend", &backend.to_string(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut gateway = command.spawn().unwrap();
    let mut said = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let line = within(said.next_line()).await.unwrap().expect("it says where it listens");
    let of = |name: &str| {
        let address = line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        address.unwrap_or_else(|| panic!("no {name} in {line:?}")).parse().unwrap()
    };
    (gateway, of("grpc"), of("admin"))
}

#[tokio::test]
async fn what_the_variables_say_of_headers_and_compression_goes_with_each_message() {
    let backend = Standing::of(&Part::echo()).await;
    for (protocol, collector, encoding) in [
        ("grpc", Collector::grpc().await, "grpc-encoding"),
        ("http/protobuf", Collector::http().await, "content-encoding"),
    ] {
        let endpoint = collector.endpoint().unwrap();
        let (_gateway, grpc, admin) = gateway(
            backend.address(),
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20dTpwPXE%3D, X-Scope=a%2Cb,broken"),
                ("OTEL_TRACES_SAMPLER", "always_on"),
                ("OTEL_SERVICE_NAME", "named"),
            ],
        )
        .await;
        let raw = Raw::connect(grpc).await;
        crate::harness::eventually("a call is answered", async || {
            raw.call(INFER, &[], framed(&echo(&[1.0]))).await.code() == Code::Ok
        })
        .await;
        assert_eq!(collector.calls(1).await.0[0].service, "named");
        let heads = collector.heads();
        let get_header = |name: &str| heads[0].get(name).map(|value| value.to_str().unwrap());
        assert_eq!(get_header("authorization"), Some("Basic dTpwPXE="), "{heads:?}");
        assert_eq!((get_header("x-scope"), get_header(encoding)), (Some("a,b"), Some("gzip")), "{heads:?}");
        let told = get(admin, "/metrics").await.1;
        for line in ["tracing_exports_retried_total 0", "tracing_spans_rejected_total 0"] {
            assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
        }
    }
}
