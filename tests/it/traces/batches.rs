//! Calls that ran together.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::Code;

use super::{all_to, part_to};
use crate::harness::{Collector, FREE, Gate, INFER, Model, Pending, Raw, Serving, Span, floats, framed, raw, tensor};

async fn begun(connection: &Raw, value: f32, headers: &[(&str, &str)]) -> Pending {
    let call = raw("rows", [(tensor("x", DType::Fp32, &[1, 1]), floats(&[value]))]);
    let mut pending = connection.begin(INFER, headers).await.unwrap();
    pending.put(framed(&call), true);
    // Once this is answered, what was sent before it waits or runs.
    let live = connection.call("/inference.GRPCInferenceService/ServerLive", &[], vec![0; 5]).await;
    assert_eq!(live.code(), Code::Ok);
    pending
}

/// Calls of these values that run together, since one instance was held by a call before; what all of them ended with. Runs
/// of several with a 13 among them fail.
async fn together(serving: &Serving, gate: &mut Gate, values: &[f32], headers: &[(&str, &str)]) -> Vec<Code> {
    let connection = serving.raw().await;
    let first = begun(&connection, 0.0, headers).await;
    gate.next().await;
    let mut pending = vec![first];
    for value in values {
        pending.push(begun(&connection, *value, headers).await);
    }
    gate.open();
    let mut codes = Vec::new();
    for call in pending {
        codes.push(call.answer().await.unwrap().code());
    }
    codes
}

fn rows(gate: &Gate) -> Model {
    let passage = gate.passage();
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).settings("instances = 1");
    model.acting(move |run| {
        if run.first() == "0" {
            passage.pass("0");
        }
        let data = run.inputs[0].data().to_bytes();
        let has_thirteen = data.chunks(4).any(|bytes| bytes == 13f32.to_le_bytes());
        if has_thirteen { Err(Error::new(Kind::Engine, "thirteen is not served")) } else { run.identity() }
    })
}

#[tokio::test]
async fn calls_that_ran_together_have_one_batch_which_is_linked_to_each_of_them() {
    let collector = Collector::grpc().await;
    let mut gate = Gate::closed();
    let serving = Serving::with([rows(&gate)], all_to(&collector)).await;
    let codes = together(&serving, &mut gate, &[1.0, 2.0, 3.0, 4.0, 5.0], &[]).await;
    assert!(codes.iter().all(|code| *code == Code::Ok), "{codes:?}");
    let spans = collector.calls(6).await;
    let batches = spans.named("batch");
    assert_eq!(batches.len(), 2, "that of the first call alone, and that of all others: {spans:#?}");
    let batch = *batches.iter().find(|batch| batch.number("inference.batch.calls") == 5.0).unwrap();
    assert_eq!(
        (batch.number("inference.batch.size"), batch.get("inference.batch.bucket")),
        (5.0, Some("[5,1]".into()))
    );
    let servers = spans.of(SpanKind::Server);
    let members: Vec<&&Span> = servers.iter().filter(|span| batch.links().iter().any(|id| id == span.id())).collect();
    assert_eq!((batch.links().len(), members.len()), (5, 5));
    // It is drawn in one of them; the others lead to it.
    let id = batch.id().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(members.iter().all(|member| member.get("inference.batch.span_id") == Some(id.clone())));
    let homes = members.iter().filter(|member| member.id() == batch.inner.parent_span_id);
    assert_eq!(homes.count(), 1);
    let leading: Vec<&Span> = spans.named("execute");
    assert_eq!(leading.len(), 4);
    assert!(
        leading.iter().all(|span| span.links() == [batch.id()] && span.inner.links[0].trace_id == batch.inner.trace_id)
    );
    serving.finish().await;
}

#[tokio::test]
async fn of_a_run_that_failed_for_all_it_is_told_as_well_as_of_those_that_each_had_alone() {
    let collector = Collector::grpc().await;
    let mut gate = Gate::closed();
    let serving = Serving::with([rows(&gate)], all_to(&collector)).await;
    let codes = together(&serving, &mut gate, &[7.0, 13.0, 8.0], &[]).await;
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::Internal, Code::Ok]);
    let spans = collector.calls(4).await;
    let batches = spans.named("batch");
    let joint = *batches.iter().find(|batch| batch.number("inference.batch.calls") == 3.0).unwrap();
    assert!(joint.failed() && joint.links().len() == 3, "{joint:#?}");
    assert_eq!(joint.get("error.type").as_deref(), Some("engine"));
    let alone: Vec<&&Span> = batches.iter().filter(|batch| batch.number("inference.batch.calls") == 1.0).collect();
    assert_eq!((batches.len(), alone.iter().filter(|batch| batch.failed()).count()), (5, 1));
    let failed: Vec<&Span> = spans.of(SpanKind::Server).into_iter().filter(|span| span.failed()).collect();
    assert_eq!((failed.len(), failed[0].get("error.type").as_deref()), (1, Some("INTERNAL")));
    serving.finish().await;
}

#[tokio::test]
async fn a_batch_is_told_where_any_of_its_calls_is_kept_and_is_linked_to_the_others_too() {
    let collector = Collector::grpc().await;
    let mut gate = Gate::closed();
    let serving = Serving::with([rows(&gate)], part_to(&collector, 0.0)).await;
    // Of calls that are not recorded when they come, one fails, and is kept with its runs.
    let codes = together(&serving, &mut gate, &[7.0, 13.0], &[]).await;
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::Internal]);
    let spans = collector.calls(1).await;
    let server = spans.of(SpanKind::Server)[0];
    assert_eq!((server.get("inference.kept").as_deref(), server.failed()), (Some("error"), true));
    let joint = *spans.named("batch").iter().find(|batch| batch.number("inference.batch.calls") == 2.0).unwrap();
    assert_eq!((joint.links().len(), &joint.inner.parent_span_id[..]), (2, server.id()));
    serving.finish().await;
}
