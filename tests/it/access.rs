//! Lines of calls in the log, as whoever reads it sees them.

use infergate::config::{AccessLog, Config};
use serde_json::Value;
use tonic::Code;

use crate::harness::{
    Fronting, Gate, INFER, Lines, Model, PREDICT, Raw, STREAM_INFER, Serving, echo, echo_of, eventually, framed,
};

const TRACEPARENT: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");

fn all(config: &mut Config) {
    config.log.access = AccessLog::All;
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

async fn code(raw: &Raw, path: &str, call: Vec<u8>) -> Code {
    raw.call(path, &[TRACEPARENT], framed_bytes(call)).await.code()
}

fn framed_bytes(message: Vec<u8>) -> bytes::Bytes {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed.into()
}

#[tokio::test]
async fn each_call_has_a_line_with_how_it_ended_and_where_its_time_went_and_nothing_of_its_content() {
    let lines = Lines::of("info");
    let serving = Serving::with([Model::echo()], all).await;
    let raw = serving.raw().await;
    assert_eq!(raw.call(INFER, &[TRACEPARENT], framed(&echo(&[1.0, 2.0]))).await.code(), Code::Ok);
    assert_eq!(raw.call(INFER, &[TRACEPARENT], framed(&echo_of("nobody", &[1.0]))).await.code(), Code::NotFound);
    assert_eq!(raw.call(STREAM_INFER, &[], framed(&echo(&[3.0]))).await.code(), Code::Ok);
    assert_eq!(code(&raw, PREDICT, b"\xffsecret".to_vec()).await, Code::InvalidArgument);
    let told = lines.saying("call");
    let codes: Vec<&str> = told.iter().map(|line| text(line, "code")).collect();
    assert_eq!(codes, ["OK", "NOT_FOUND", "OK", "INVALID_ARGUMENT"], "{told:?}");
    let good = &told[0];
    assert_eq!((text(good, "model"), &good["version"], &good["rows"]), ("echo", &1.into(), &1.into()));
    assert_eq!((text(good, "ran_at"), &good["calls"]), ("cpu", &1.into()));
    assert!(good["bytes_in"].as_u64() > Some(8) && good["bytes_out"].as_u64() > Some(8), "{good}");
    assert!(text(good, "peer").starts_with("127.0.0.1:"), "{good}");
    let stages = good.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_ms"));
    let sum: f64 = stages.map(|(_, ms)| ms.as_f64().unwrap()).sum();
    let whole = good["ms"].as_f64().unwrap();
    assert!(whole > 0.0 && (sum - whole).abs() < 0.02, "each is rounded: {good}");
    assert_eq!(text(good, "trace_id"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(text(good, "span_id"), "b7ad6b7169203331", "without spans of our own it is the caller's");
    assert_eq!((text(&told[1], "model"), text(&told[1], "failure")), ("nobody", "UnknownModel"));
    assert!(text(&told[2], "method").ends_with("ModelStreamInfer"), "{}", told[2]);
    assert!(!told.iter().any(|line| line.to_string().contains("secret")), "{told:?}");
    serving.finish().await;
}

#[tokio::test]
async fn where_only_failed_calls_have_one_those_whose_caller_left_are_among_them() {
    let lines = Lines::of("info");
    let mut gate = Gate::closed();
    let serving = Serving::with([Model::echo().behind(&gate)], |config| config.log.access = AccessLog::Failed).await;
    let raw = serving.raw().await;
    let mut left = raw.begin(INFER, &[]).await.unwrap();
    left.put(framed(&echo(&[1.0])), true);
    gate.next().await;
    drop(left);
    eventually("the call has ended", async || serving.totals().abandoned == 1).await;
    gate.open();
    serving.answers_as_ever().await;
    let told = lines.saying("call");
    let codes: Vec<&str> = told.iter().map(|line| text(line, "code")).collect();
    assert_eq!(codes, ["CANCELLED"], "{told:?}");
    serving.finish().await;
}

#[tokio::test]
async fn a_gateways_line_names_the_endpoint_and_whoever_reads_the_log_can_turn_them_off() {
    let lines = Lines::of("info");
    let worker = Serving::with([Model::echo()], |config| config.load_report = true).await;
    let fronting = Fronting::with(&[worker.grpc()], all).await;
    fronting.answers_as_ever().await;
    let told = lines.saying("call");
    assert_eq!(told.len(), 1, "the worker was asked for none: {told:?}");
    assert_eq!(text(&told[0], "ran_at"), worker.grpc().to_string());
    assert!(told[0]["send_ms"].is_number() || told[0]["return_ms"].is_number(), "{}", told[0]);
    lines.log.set_filter("info,infergate::access=off").unwrap();
    fronting.answers_as_ever().await;
    assert_eq!(lines.saying("call").len(), 1);
    fronting.finish().await;
    worker.finish().await;
}
