//! Spans of notes that were taken, without a clock or a collector.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

use super::*;
use crate::error::Kind;
use crate::infer::{
    Attempt, Close, Composition, Ending, Forms, Hop, Joint, Member, Notes, Run, Spent, Stage, TraceContext, Why,
};
use crate::tensor::Shape;

const MS: Duration = Duration::from_millis(1);

/// A call that takes notes, whose span has this id.
fn member(start: Instant, span_id: u64, sampled: bool) -> Member {
    let context = TraceContext { trace_id: span_id.into(), span_id, sampled };
    let (forms, notes) = (Forms::default(), Some(Notes::begin(None)));
    let trace = Arc::new(Trace { context, state: None, baggage: None, forms, notes });
    let (deadline, timeline) = (start + 1000 * MS, Timeline::start(start));
    Member { id: "".into(), deadline, trace: Some(trace), previous_attempts: 0, timeline }
}

/// The same without notes.
fn unnoted(start: Instant) -> Member {
    Member { trace: None, ..member(start, 1, false) }
}

/// Its spans, of one that was answered at that time.
fn of(member: &Member, at: Instant) -> Vec<Span> {
    let trace = member.trace.clone().unwrap();
    let (timeline, method) = (member.timeline.clone(), "service/Method");
    spans(&Ended::Call(OfCall { trace, timeline, method, at, status: Status::OK, kept: Kept::Sampled }))
}

/// What a collector reads of it.
fn spans(ended: &Ended) -> Vec<Span> {
    let mut spans = Spans::of(&[], 0);
    draw(ended, Anchor::now(), &mut spans);
    let count = spans.count();
    let mut read = ExportTraceServiceRequest::decode(&*spans.finish()).unwrap();
    let spans = read.resource_spans[0].scope_spans.swap_remove(0).spans;
    assert_eq!(spans.len(), count);
    spans
}

fn id(span_id: u64) -> Vec<u8> {
    span_id.to_be_bytes().to_vec()
}

/// The sentence on its failure; none where it has not failed.
fn failure(span: &Span) -> Option<&str> {
    span.status.as_ref().map(|status| &*status.message)
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn get(span: &Span, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match attribute.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn run(joint: Joint, taken: Instant, failure: Option<Error>) -> Run {
    let composition = Composition { rows: 3, elements: 12, padding: 4, closed: Close::Full };
    let (merged, executed) = (taken + MS, taken + 5 * MS);
    Run { joint, composition, shape: Shape::new(&[4, 3]).ok(), device: "cpu".into(), taken, merged, executed, failure }
}

fn attempt(why: Why, began: Instant) -> Attempt {
    let address = ([127, 0, 0, 1], 8001).into();
    let endpoint = "worker".into();
    Attempt { span_id: 0, earlier: 0, why, endpoint, address, zone: None, is_probe: false, began, ended: None }
}

fn answered(sent: Instant, spent: Option<Spent>) -> Ending {
    Ending::Answered { connected: sent, sent, spent: spent.map(Box::new), rows: 8, calls: 2 }
}

#[test]
fn an_attempt_that_lost_against_another_ends_with_the_hop_and_is_no_failure() {
    let start = Instant::now();
    let call = member(start, 7, true);
    let hop = Hop::note(std::slice::from_ref(&call), "peak-ewma").unwrap();
    hop.begin(attempt(Why::First, start));
    let second = hop.begin(attempt(Why::Hedge, start + 4 * MS));
    hop.end(second, start + 6 * MS, answered(start + 4 * MS, None));
    let spans = of(&call, start + 7 * MS);
    let client = *named(&spans, "inference.GRPCInferenceService/ModelInfer").first().unwrap();
    assert_eq!((client.kind(), get(client, "inference.attempts").as_deref()), (SpanKind::Client, Some("2")));
    assert_eq!(get(client, "rpc.response.status_code").as_deref(), Some("OK"));
    let attempts = named(&spans, "Attempt.inference.GRPCInferenceService/ModelInfer");
    assert!(attempts.iter().all(|attempt| attempt.parent_span_id == client.span_id));
    let told: Vec<_> = attempts.iter().map(|attempt| get(attempt, "rpc.response.status_code").unwrap()).collect();
    assert_eq!(told, ["CANCELLED", "OK"]);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.end_time_unix_nano == client.end_time_unix_nano && failure(attempt).is_none())
    );
}

#[test]
fn a_hop_whose_attempts_failed_has_failed_with_the_last() {
    let start = Instant::now();
    let call = member(start, 7, true);
    let hop = Hop::note(std::slice::from_ref(&call), "least-request").unwrap();
    for (number, message) in ["one", "two"].into_iter().enumerate() {
        let id = hop.begin(attempt(Why::Retry { never_ran: true }, start + number as u32 * MS));
        let error = Error::new(Kind::BackendLost, message);
        hop.end(id, start + (number as u32 + 1) * MS, Ending::Failed("UNAVAILABLE", error));
    }
    let spans = of(&call, start + 5 * MS);
    let client = named(&spans, "inference.GRPCInferenceService/ModelInfer")[0];
    assert_eq!(failure(client), Some("two"));
    assert_eq!(get(client, "error.type").as_deref(), Some("UNAVAILABLE"));
}

#[test]
fn what_an_endpoint_says_of_its_time_is_told_with_the_attempt_and_the_rest_is_the_way() {
    let start = Instant::now();
    let call = member(start, 7, true);
    let hop = Hop::note(std::slice::from_ref(&call), "plan").unwrap();
    let id = hop.begin(attempt(Why::First, start));
    let mut spent = Spent::default();
    spent.add(Some(Stage::Queue), 2 * MS);
    spent.add(Some(Stage::Execute), 5 * MS);
    hop.end(id, start + 10 * MS, answered(start, Some(spent)));
    let spans = of(&call, start + 10 * MS);
    let told = named(&spans, "Attempt.inference.GRPCInferenceService/ModelInfer")[0];
    let seconds = |name| get(told, name).unwrap().parse::<f64>().unwrap();
    assert_eq!((seconds("inference.queue.duration"), seconds("inference.batch.execute.duration")), (0.002, 0.005));
    assert_eq!(seconds("inference.stage.return"), 0.003);
    assert_eq!(get(told, "inference.batch.calls").as_deref(), Some("2"));
}

#[test]
fn joint_work_is_told_once_by_whoever_asks_first_and_stands_in_the_first_that_is_recorded() {
    let start = Instant::now();
    let calls = [unnoted(start), member(start, 2, false), member(start, 3, true), member(start, 4, true)];
    run(Joint::of(&calls).unwrap(), start, None).note(&calls);
    let told: Vec<Vec<Span>> = calls[1..].iter().map(|call| of(call, start + 9 * MS)).collect();
    let batches: Vec<&Span> = told.iter().flat_map(|spans| named(spans, "batch")).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!((&batches[0].parent_span_id, &batches[0].trace_id[..]), (&id(3), &3u128.to_be_bytes()[..]));
    let linked: Vec<Vec<u8>> = batches[0].links.iter().map(|link| link.span_id.clone()).collect();
    assert_eq!(linked, [2, 3, 4].map(id), "of the first call nothing is noted");
    assert_eq!(get(batches[0], "inference.batch.calls").as_deref(), Some("4"));
    assert_eq!(get(batches[0], "inference.batch.close_reason").as_deref(), Some("full"));
}

#[test]
fn joint_work_of_calls_none_of_which_is_recorded_stands_in_the_first_that_is_kept() {
    let start = Instant::now();
    let calls = [member(start, 2, false), member(start, 3, false)];
    run(Joint::of(&calls).unwrap(), start, Some(Error::new(Kind::Engine, "broken"))).note(&calls);
    let spans = of(&calls[1], start + 9 * MS);
    let batch = named(&spans, "batch")[0];
    assert_eq!((&batch.parent_span_id, failure(batch)), (&id(3), Some("broken")));
    assert!(named(&of(&calls[0], start + 9 * MS), "batch").is_empty());
}

#[test]
fn nothing_is_noted_of_what_is_done_for_calls_without_notes() {
    assert!(Joint::of(&[unnoted(Instant::now())]).is_none());
    assert!(Hop::note(&[unnoted(Instant::now())], "plan").is_none());
}

#[test]
fn links_and_works_are_bounded_and_what_is_over_is_counted() {
    let start = Instant::now();
    let calls: Vec<Member> = (1..=600).map(|id| member(start, id, true)).collect();
    run(Joint::of(&calls).unwrap(), start, None).note(&calls);
    let batch = of(&calls[0], start + 9 * MS);
    let batch = named(&batch, "batch")[0];
    assert_eq!((batch.links.len(), batch.dropped_links_count), (512, 88));
    assert_eq!(get(batch, "inference.batch.calls").as_deref(), Some("600"));
    let call = member(start, 7, true);
    for _ in 0..40 {
        run(Joint::of(std::slice::from_ref(&call)).unwrap(), start, None).note(std::slice::from_ref(&call));
    }
    let spans = of(&call, start + 9 * MS);
    assert_eq!(named(&spans, "batch").len(), 32);
    assert_eq!(get(named(&spans, "service/Method")[0], "inference.works.dropped").as_deref(), Some("8"));
}

#[test]
fn stages_that_wait_are_drawn_and_all_are_told() {
    let start = Instant::now();
    let call = member(start, 7, true);
    for (at, stage) in
        [Stage::Receive, Stage::Admit, Stage::Queue, Stage::Merge, Stage::Execute].into_iter().enumerate()
    {
        call.timeline.end(stage, start + (at as u32 + 1) * MS);
    }
    let spans = of(&call, start + 8 * MS);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["service/Method", "receive", "queue", "execute"]);
    let queue = named(&spans, "queue")[0];
    assert_eq!(queue.end_time_unix_nano - queue.start_time_unix_nano, 1_000_000);
    assert_eq!(get(&spans[0], "inference.stage.admit").as_deref(), Some("0.001"));
    assert_eq!(get(&spans[0], "inference.stage.other").as_deref(), Some("0.003"));
    assert_eq!(spans[0].end_time_unix_nano - spans[0].start_time_unix_nano, 8_000_000);
}

#[test]
fn of_a_call_that_failed_the_rest_of_its_time_was_spent_in_the_stage_that_it_did_not_get_through() {
    let start = Instant::now();
    let told = |stamps: &[Stage], asks: Option<bool>| {
        let call = member(start, 7, true);
        for (at, stage) in stamps.iter().enumerate() {
            call.timeline.end(*stage, start + (at as u32 + 1) * MS);
        }
        if let Some(is_asked) = asks {
            let hop = Hop::note(std::slice::from_ref(&call), "plan").unwrap();
            is_asked.then(|| hop.begin(attempt(Why::First, start)));
        }
        let (trace, timeline, method) = (call.trace.clone().unwrap(), call.timeline.clone(), "service/Method");
        let failure = Some(Error::late("waiting"));
        let status = Status { code: "DEADLINE_EXCEEDED", failure };
        let ended = Ended::Call(OfCall { trace, timeline, method, at: start + 9 * MS, status, kept: Kept::Error });
        let span = spans(&ended).swap_remove(0);
        assert_eq!(get(&span, "inference.stage.other").as_deref(), Some("0"));
        let long = Stage::ALL.map(Stage::name).into_iter().filter(|stage| {
            let seconds = get(&span, &format!("inference.stage.{stage}"));
            seconds.is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 0.005)
        });
        long.collect::<Vec<_>>()
    };
    assert_eq!(told(&[], None), ["receive"]);
    assert_eq!(told(&[Stage::Receive], None), ["admit"]);
    assert_eq!(told(&[Stage::Receive, Stage::Admit], None), ["queue"]);
    assert_eq!(told(&[Stage::Receive, Stage::Queue], None), ["execute"]);
    assert_eq!(told(&[Stage::Receive, Stage::Admit], Some(false)), ["pick"]);
    assert_eq!(told(&[Stage::Receive, Stage::Pick], Some(true)), ["execute"]);
}

#[test]
fn a_call_that_is_kept_takes_no_more_room_because_questions_are_kept_too() {
    assert_eq!(size_of::<Ended>(), size_of::<OfCall>());
}

#[test]
fn times_of_day_keep_the_lengths_that_were_measured() {
    let anchor = Anchor::now();
    let start = Instant::now();
    for (from, until) in [(start, start + 3 * MS), (start - 9 * MS, start + 3 * MS)] {
        assert_eq!(u128::from(anchor.at(until) - anchor.at(from)), (until - from).as_nanos());
    }
}
