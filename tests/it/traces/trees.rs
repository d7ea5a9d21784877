//! What hangs beneath what, and what is said of it.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Code;

use super::{all_to, worker};
use crate::harness::{
    Collector, Deed, Fronting, INFER, Model, Part, STREAM_INFER, Serving, Span, Spans, Standing, echo, framed,
};

const METHOD: &str = "inference.GRPCInferenceService/ModelInfer";
const ATTEMPT: &str = "Attempt.inference.GRPCInferenceService/ModelInfer";

/// The span of the call at this service.
fn server<'a>(spans: &'a Spans, service: &str) -> &'a Span {
    let servers = spans.of(SpanKind::Server).into_iter();
    let own: Vec<&Span> = servers.filter(|span| span.service == service).collect();
    assert_eq!(own.len(), 1, "{service} in {spans:#?}");
    own[0]
}

/// The sum of what is said of the stages, in nanoseconds.
fn stages(span: &Span) -> u64 {
    let own = span.inner.attributes.iter().filter(|attribute| attribute.key.starts_with("inference.stage."));
    own.map(|attribute| (span.number(&attribute.key) * 1e9).round() as u64).sum()
}

#[tokio::test]
async fn a_call_through_a_gateway_is_one_trace_from_the_caller_down_to_the_batch() {
    let collector = Collector::grpc().await;
    let worker = worker([Model::echo()], all_to(&collector)).await;
    let fronting = Fronting::with(&[worker.grpc()], all_to(&collector)).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", parent), ("tracestate", "vendor=7")];
    let answer = fronting.raw().await.call(INFER, &headers, framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    let spans = collector.calls(2).await;
    assert!(spans.0.iter().all(|span| span.trace() == "0af7651916cd43dd8448eb211c80319c"), "{spans:#?}");
    assert!(spans.0.iter().all(|span| span.inner.trace_state == "vendor=7"), "{spans:#?}");

    let front = server(&spans, "infergate-gateway");
    assert_eq!((front.name(), &front.inner.parent_span_id[..2]), (METHOD, &[0xb7, 0xad][..]));
    let hop = *spans.beneath(front).iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    let attempt = spans.one(ATTEMPT);
    assert_eq!((hop.name(), spans.beneath(hop)[0].id()), (METHOD, attempt.id()));
    let behind = server(&spans, "infergate-worker");
    assert_eq!(behind.inner.parent_span_id, attempt.id());
    let batch = spans.one("batch");
    assert_eq!(batch.inner.parent_span_id, behind.id());
    assert_eq!(batch.links(), [behind.id()]);
    assert!(!spans.names_beneath(behind).contains(&"execute"), "the batch stands there");

    for (span, status) in [(front, "OK"), (hop, "OK"), (attempt, "OK"), (behind, "OK")] {
        assert_eq!(span.get("rpc.system.name").as_deref(), Some("grpc"));
        assert_eq!(span.get("rpc.method").as_deref(), Some(METHOD));
        assert_eq!(span.get("rpc.response.status_code").as_deref(), Some(status));
        assert_eq!((span.get("error.type"), span.failed()), (None, false));
    }
    for span in [front, behind] {
        assert_eq!(span.get("inference.model.name").as_deref(), Some("echo"));
        assert_eq!(span.get("inference.model.version").as_deref(), Some("1"));
    }
    assert_eq!(attempt.get("server.port"), Some(worker.grpc().port().to_string()));
    assert_eq!(attempt.get("inference.attempt.why").as_deref(), Some("first"));
    assert_eq!(hop.get("inference.picker").as_deref(), Some("expected-completion"));
    assert_eq!(batch.get("inference.device").as_deref(), Some("cpu"));
    assert_eq!((batch.number("inference.batch.size"), batch.number("inference.batch.calls")), (1.0, 1.0));
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn what_stages_took_adds_up_to_the_call_and_what_is_beneath_lies_within() {
    let collector = Collector::grpc().await;
    let worker = worker([Model::echo()], all_to(&collector)).await;
    let fronting = Fronting::with(&[worker.grpc()], all_to(&collector)).await;
    let raw = fronting.raw().await;
    for _ in 0..10 {
        assert_eq!(raw.call(INFER, &[], framed(&echo(&[1.0]))).await.code(), Code::Ok);
    }
    let spans = collector.calls(20).await;
    let servers = spans.of(SpanKind::Server);
    assert_eq!(spans.roots().len(), 10);
    for span in &servers {
        // Each is told in seconds, rounded to a nanosecond or so.
        assert!(stages(span).abs_diff(span.nanos()) <= 20, "{span:#?}");
    }
    for span in spans.0.iter().filter(|span| span.kind() != SpanKind::Server) {
        let parent = spans.0.iter().find(|parent| parent.id() == span.inner.parent_span_id).unwrap();
        let (start, end) = (span.inner.start_time_unix_nano, span.inner.end_time_unix_nano);
        let (from, until) = (parent.inner.start_time_unix_nano, parent.inner.end_time_unix_nano);
        assert!(from <= start && start <= end && end <= until, "{span:#?} in {parent:#?}");
    }
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn attempts_of_one_call_are_children_of_one_hop_and_endpoints_are_told_their_ids() {
    let collector = Collector::grpc().await;
    let part = Part::of(true, |taken| match taken.headers.contains_key("grpc-previous-rpc-attempts") {
        true => Deed::Answer(taken.echo()),
        false => Deed::Reset(h2::Reason::REFUSED_STREAM),
    });
    let (one, other) = (Standing::of(&part).await, Standing::of(&part).await);
    let fronting = Fronting::with(&[one.address(), other.address()], all_to(&collector)).await;
    let answer = fronting.raw().await.call(INFER, &[], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    let spans = collector.calls(1).await;
    let front = server(&spans, "infergate-gateway");
    let hops: Vec<&Span> = spans.named(METHOD).into_iter().filter(|span| span.kind() == SpanKind::Client).collect();
    assert_eq!((hops.len(), &hops[0].inner.parent_span_id[..]), (1, front.id()));
    let mut attempts = spans.beneath(hops[0]);
    attempts.sort_by_key(|attempt| attempt.inner.start_time_unix_nano);
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            let get = |name| attempt.get(name).unwrap();
            (get("inference.attempt.why"), get("rpc.response.status_code"), get("previous-rpc-attempts"))
        })
        .collect();
    let of = |why: &str, code: &str, earlier: &str| (why.to_owned(), code.to_owned(), earlier.to_owned());
    assert_eq!(told, [of("first", "UNAVAILABLE", "0"), of("retry", "OK", "1")]);
    assert_eq!(attempts[1].get("transparent-retry").as_deref(), Some("true"));
    assert!(attempts[0].failed() && !attempts[1].failed() && !hops[0].failed());
    let said: Vec<String> =
        part.taken().iter().map(|taken| taken.headers["traceparent"].to_str().unwrap().to_owned()).collect();
    let id = |span: &Span| span.id().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected: Vec<String> =
        attempts.iter().map(|attempt| format!("00-{}-{}-01", front.trace(), id(attempt))).collect();
    assert_eq!(said, expected);
    fronting.finish().await;
}

#[tokio::test]
async fn each_call_of_a_stream_is_a_span_of_its_callers_trace() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], all_to(&collector)).await;
    let b3 = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    let calls = [framed(&echo(&[1.0])), framed(&echo(&[2.0])), framed(&echo(&[3.0]))].concat();
    let answer = serving.raw().await.call(STREAM_INFER, &[("b3", b3)], calls).await;
    assert_eq!(answer.code(), Code::Ok);
    let spans = collector.calls(3).await;
    let servers = spans.of(SpanKind::Server);
    assert_eq!(servers.len(), 3);
    for span in servers {
        assert_eq!(span.name(), "inference.GRPCInferenceService/ModelStreamInfer");
        assert_eq!((span.trace(), &span.inner.parent_span_id[..2]), (b3[..32].to_owned(), &[0xb7, 0xad][..]));
    }
    serving.finish().await;
}

#[tokio::test]
async fn what_callers_do_wrong_is_no_error_of_the_server() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], all_to(&collector)).await;
    let raw = serving.raw().await;
    let unknown = infergate::wire::proto::inference::ModelInferRequest { model_name: "none".into(), ..echo(&[1.0]) };
    assert_eq!(raw.call(INFER, &[], framed(&unknown)).await.code(), Code::NotFound);
    assert_eq!(raw.call(INFER, &[("grpc-timeout", "junk")], framed(&unknown)).await.code(), Code::InvalidArgument);
    let spans = collector.calls(2).await;
    for (span, code) in spans.of(SpanKind::Server).into_iter().zip(["NOT_FOUND", "INVALID_ARGUMENT"]) {
        assert_eq!(span.get("rpc.response.status_code").as_deref(), Some(code));
        assert_eq!((span.get("error.type"), span.failed()), (None, false));
    }
    serving.finish().await;
}
