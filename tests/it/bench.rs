//! `infergate bench` as a process of its own against servers of the test.

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use infergate::error::{Error, Kind};
use infergate::tensor::{DType, Rope, Tensor};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::harness::{FREE, Gate, Model, Serving, eventually, within};

/// The command, which calls `echo` unless it is told otherwise.
fn start(target: &str, flags: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infergate"));
    command.args(["bench", "--target", target, "--model", "echo"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// How a command ended: its code, and what it said.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

async fn ended(child: Child) -> Ended {
    let Output { status, stdout, stderr } = within(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

async fn bench(serving: &Serving, flags: &[&str]) -> Ended {
    ended(start(&serving.grpc().to_string(), flags)).await
}

/// The sum of one number over a list of objects.
fn sum(list: &Value, key: &str) -> u64 {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_u64().unwrap()).sum()
}

/// The tensor of one float that an answer of `echo` has.
fn answer(value: f32) -> Tensor {
    let data = Rope::from(value.to_le_bytes().to_vec());
    Tensor::new("y".into(), DType::Fp32, infergate::tensor::Shape::new(&[1]).unwrap(), data).unwrap()
}

#[tokio::test]
async fn a_closed_loop_makes_exactly_the_calls_that_were_asked_for_and_its_json_adds_up() {
    let serving = Serving::of([Model::identity("echo", DType::Fp32, &[FREE, 1])]).await;
    let flags = ["--calls", "50", "--concurrency", "4", "--connections", "2", "--rows", "3", "--json"];
    let json = bench(&serving, &flags).await.json();
    assert_eq!((&json["calls"]["sent"], &json["calls"]["answered"]), (&Value::from(50), &Value::from(50)));
    assert_eq!(json["load"], serde_json::json!({ "kind": "closed", "concurrency": 4 }));
    assert_eq!(sum(&json["histogram"], "count"), 50);
    assert_eq!(json["failures"], serde_json::json!([]));
    assert!(json["latency_us"]["p50"].as_f64().unwrap() <= json["latency_us"]["max"].as_f64().unwrap(), "{json}");
    // Rows, of which each call has three.
    let rows = json["statistics"]["rows"].as_u64().unwrap();
    assert!(rows.is_multiple_of(3), "{json}");
    // And the call before them.
    assert_eq!(serving.finish().await.answered, 51);
}

#[tokio::test]
async fn an_open_loop_counts_each_call_from_when_it_was_due() {
    let mut gate = Gate::closed();
    let serving = Serving::of([Model::echo().behind(&gate)]).await;
    gate.let_one_pass();
    let flags = ["--rate", "1000", "--calls", "3", "--arrivals", "constant", "--json"];
    let child = start(&serving.grpc().to_string(), &flags);
    // The call before, and the first of those that count.
    gate.next().await;
    gate.next().await;
    let standing_still = Instant::now();
    eventually("all have come", async || serving.totals().accepted == 4).await;
    let waited = standing_still.elapsed();
    gate.open();
    let json = ended(child).await.json();
    let max = json["latency_us"]["max"].as_f64().unwrap();
    assert!(max >= waited.as_secs_f64() * 1e6, "{waited:?} {json}");
    assert_eq!((&json["calls"]["answered"], &json["calls"]["not_sent"]), (&Value::from(3), &Value::from(0)));
    assert!(json["lateness_us"]["max"].is_number(), "{json}");
    serving.finish().await;
}

#[tokio::test]
async fn calls_beyond_those_that_may_be_outstanding_are_counted_as_not_sent() {
    let mut gate = Gate::closed();
    let serving = Serving::of([Model::echo().behind(&gate)]).await;
    gate.let_one_pass();
    let flags = ["--rate", "100000", "--calls", "40", "--max-outstanding", "2", "--json"];
    let child = start(&serving.grpc().to_string(), &flags);
    gate.next().await;
    gate.next().await;
    gate.open();
    let json = ended(child).await.json();
    let calls = &json["calls"];
    assert_eq!(calls["sent"].as_u64().unwrap() + calls["not_sent"].as_u64().unwrap(), 40, "{json}");
    assert_eq!(calls["sent"], calls["answered"], "{json}");
    serving.finish().await;
}

#[tokio::test]
async fn a_server_that_answers_differently_is_found() {
    let runs = AtomicU32::new(0);
    let model = Model::echo().acting(move |_| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        Ok(vec![answer(if run == 6 { 2.0 } else { 1.0 })])
    });
    let serving = Serving::of([model]).await;
    let ended = bench(&serving, &["--calls", "10", "--concurrency", "1", "--check"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("1 of 10 answers from 127.0.0.1:"), "{}", ended.err);
    assert!(ended.err.contains("the first: output \"y\": element 0: expected 1.0, got 2.0"), "{}", ended.err);
    assert!(ended.out.contains("\nunlike the reference      1  "), "{}", ended.out);
    serving.finish().await;
}

#[tokio::test]
async fn a_server_that_answers_the_same_is_left_in_peace() {
    let serving = Serving::of([Model::identity("echo", DType::Bytes, &[FREE])]).await;
    let json = bench(&serving, &["--calls", "20", "--check", "--rows", "2", "--json"]).await.json();
    assert_eq!(json["check"], serde_json::json!({ "different": 0, "first": null }));
    serving.finish().await;
}

#[tokio::test]
async fn two_servers_are_measured_in_turns() {
    let one = Serving::of([Model::echo()]).await;
    let other = Serving::of([Model::echo()]).await;
    let vs = other.grpc().to_string();
    let flags = ["--vs", &vs, "--rounds", "3", "--calls", "31", "--concurrency", "2"];
    let text = bench(&one, &flags).await;
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(text.out.contains(&format!("{} vs {vs}", one.grpc())), "{}", text.out);
    assert!(text.out.contains("\nMEDIANS ") && text.out.contains("\nanswers per second "), "{}", text.out);
    let json = bench(&one, &[&flags[..], &["--json"]].concat()).await.json();
    let first: Vec<&str> =
        json["rounds"].as_array().unwrap().iter().map(|one| one["first"].as_str().unwrap()).collect();
    assert_eq!(first, ["target", "vs", "target"]);
    assert!(json["compared"]["rate_per_s"]["ratio"]["median"].is_number(), "{json}");
    for (serving, key) in [(one, "target"), (other, "vs")] {
        // Three rounds of ten, and the remainder of one call is not made.
        assert_eq!(json[key]["calls"]["answered"], 30, "{json}");
        assert_eq!(serving.finish().await.answered, 62);
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_run_and_shows_what_was_measured() {
    let mut gate = Gate::closed();
    let serving = Serving::of([Model::echo().behind(&gate)]).await;
    gate.let_one_pass();
    let child = start(&serving.grpc().to_string(), &["--concurrency", "1", "--calls", "9", "--json"]);
    // The call before, and the first of the run.
    gate.next().await;
    gate.next().await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let json = ended(child).await.json();
    assert_eq!((&json["interrupted"], &json["calls"]["sent"]), (&Value::from(true), &Value::from(1)));
    assert_eq!(json["calls"]["given_up"], 1);
    gate.open();
    serving.finish().await;
}

#[tokio::test]
async fn failures_are_counted_by_code_and_a_run_without_any_answer_is_one() {
    let runs = AtomicU32::new(0);
    let model = Model::echo().acting(move |run| match runs.fetch_add(1, Ordering::Relaxed) {
        0 => run.identity(),
        _ => Err(Error::new(Kind::Engine, "it broke")),
    });
    let serving = Serving::of([model]).await;
    let ended = bench(&serving, &["--calls", "5", "--json"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("answered none of the calls: it broke (INTERNAL)"), "{}", ended.err);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["failures"], serde_json::json!([{ "code": "INTERNAL", "count": 5, "first": "it broke" }]));
    serving.finish().await;
}

#[tokio::test]
async fn a_call_that_can_never_work_is_told_before_the_run() {
    let serving = Serving::of([Model::identity("echo", DType::Int64, &[FREE, FREE])]).await;
    let ended = bench(&serving, &[]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("say its size by --dim x=SIZE"), "{}", ended.err);
    let unknown = bench(&serving, &["--model-version", "9", "--dim", "x=2"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.ends_with("(NOT_FOUND)\n"), "{}", unknown.err);
    assert_eq!(serving.finish().await.accepted, 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_clear_line() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = ended(start(&port, &[])).await;
    assert_eq!((ended.code, ended.out.as_str(), ended.err.lines().count()), (Some(1), "", 1));
    assert!(ended.err.starts_with(&format!("error: nothing listens at {port}")), "{}", ended.err);
}

#[tokio::test]
async fn wrong_flags_are_wrong_use() {
    for flags in [&["--rate", "0"][..], &["--rate", "5", "--concurrency", "5"], &["--duration", "0s"]] {
        let ended = ended(start("127.0.0.1:1", flags)).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{flags:?} {}", ended.err);
        assert!(ended.err.contains(flags[0]), "{}", ended.err);
    }
}
