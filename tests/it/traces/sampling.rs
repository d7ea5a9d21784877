//! Who decides what is recorded, and what is kept in spite of that.

use infergate::config::Period;
use infergate::error::{Error, Kind};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Code;

use super::{all_to, part_to, trusts_nobody, worker};
use crate::harness::{Collector, Fronting, INFER, Model, Part, Serving, Standing, echo, eventually, framed};

const SAMPLED: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
const UNSAMPLED: (&str, &str) = ("traceparent", "00-00000000000000000000000000000bad-b7ad6b7169203331-00");

async fn call(serving: &Serving, headers: &[(&str, &str)]) -> Code {
    serving.raw().await.call(INFER, headers, framed(&echo(&[1.0]))).await.code()
}

#[tokio::test]
async fn a_trusted_caller_decides_for_and_against() {
    let collector = Collector::grpc().await;
    let all = Serving::with([Model::echo()], all_to(&collector)).await;
    let none = Serving::with([Model::echo()], part_to(&collector, 0.0)).await;
    assert_eq!(call(&all, &[UNSAMPLED]).await, Code::Ok);
    assert_eq!(call(&none, &[SAMPLED]).await, Code::Ok);
    let spans = collector.calls(1).await;
    assert!(spans.0.iter().all(|span| span.trace() == SAMPLED.1[3..35]), "{spans:#?}");
    assert_eq!((all.traced().kept(), none.traced().kept()), (0, 1));
    all.finish().await;
    none.finish().await;
}

#[tokio::test]
async fn anybody_elses_decision_counts_for_nothing_but_its_trace_goes_on() {
    let collector = Collector::grpc().await;
    let untrusting = |ratio| {
        let to = part_to(&collector, ratio);
        move |config: &mut infergate::config::Config| {
            to(config);
            trusts_nobody(config);
        }
    };
    let none = Serving::with([Model::echo()], untrusting(0.0)).await;
    let all = Serving::with([Model::echo()], untrusting(1.0)).await;
    for _ in 0..20 {
        assert_eq!(call(&none, &[SAMPLED]).await, Code::Ok);
    }
    assert_eq!(call(&all, &[UNSAMPLED]).await, Code::Ok);
    let spans = collector.calls(1).await;
    let server = spans.of(SpanKind::Server)[0];
    assert_eq!((server.trace(), server.inner.parent_span_id[0]), (UNSAMPLED.1[3..35].to_owned(), 0xb7));
    assert_eq!((none.traced().kept(), all.traced().kept()), (0, 1));
    none.finish().await;
    all.finish().await;
}

#[tokio::test]
async fn a_decision_is_told_to_the_processes_behind_and_done_there() {
    let collector = Collector::grpc().await;
    // The worker would record everything that nobody has decided on.
    let worker = worker([Model::echo()], all_to(&collector)).await;
    let fronting = Fronting::with(&[worker.grpc()], part_to(&collector, 0.0)).await;
    let answer = fronting.raw().await.call(INFER, &[], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    assert_eq!((worker.traced().kept(), fronting.traced().kept()), (0, 0));
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn a_call_that_fails_by_the_servers_doing_is_kept_and_one_that_its_caller_got_wrong_is_not() {
    let collector = Collector::grpc().await;
    let broken = Model::echo().acting(|_| Err(Error::new(Kind::Engine, "broken")));
    let serving = Serving::with([broken], part_to(&collector, 0.0)).await;
    assert_eq!(call(&serving, &[]).await, Code::Internal);
    let raw = serving.raw().await;
    assert_eq!(raw.call(INFER, &[], framed(&echo(&[]))).await.code(), Code::Internal);
    let unknown = infergate::wire::proto::inference::ModelInferRequest { model_name: "none".into(), ..echo(&[1.0]) };
    assert_eq!(raw.call(INFER, &[], framed(&unknown)).await.code(), Code::NotFound);
    // That the caller decided against it counts also then.
    assert_eq!(call(&serving, &[UNSAMPLED]).await, Code::Internal);
    let spans = collector.calls(2).await;
    for span in spans.of(SpanKind::Server) {
        assert_eq!(span.get("inference.kept").as_deref(), Some("error"));
        assert_eq!(span.get("error.type").as_deref(), Some("INTERNAL"));
        assert_eq!(span.inner.status.as_ref().unwrap().message, "broken");
    }
    assert_eq!(serving.traced().kept(), 2);
    serving.finish().await;
}

#[tokio::test]
async fn a_call_that_is_slow_is_kept() {
    let collector = Collector::grpc().await;
    let to = part_to(&collector, 0.0);
    let serving = Serving::with([Model::echo()], |config| {
        to(config);
        config.tracing.slow = Period::micros(1).unwrap();
    })
    .await;
    assert_eq!(call(&serving, &[]).await, Code::Ok);
    let spans = collector.calls(1).await;
    assert_eq!(spans.of(SpanKind::Server)[0].get("inference.kept").as_deref(), Some("slow"));
    serving.finish().await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_span() {
    let collector = Collector::grpc().await;
    let part = Part::of(true, |_| crate::harness::Deed::Never);
    let backend = Standing::of(&part).await;
    let fronting = Fronting::with(&[backend.address()], all_to(&collector)).await;
    let raw = fronting.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), true);
    eventually("the backend has the call", async || part.taken().len() == 1).await;
    drop(pending);
    let spans = collector.calls(1).await;
    let server = spans.of(SpanKind::Server)[0];
    assert_eq!(server.get("rpc.response.status_code").as_deref(), Some("CANCELLED"));
    assert!(!server.failed());
    assert_eq!((server.number("inference.stage.other"), server.get("inference.stage.execute").is_some()), (0.0, true));
    let attempt = spans.one("Attempt.inference.GRPCInferenceService/ModelInfer");
    assert_eq!(attempt.get("rpc.response.status_code").as_deref(), Some("CANCELLED"));
    fronting.finish().await;
}
