//! Deadlines and callers who leave: what was held for a call is free again at once, and nothing runs for nobody.

use std::time::{Duration, Instant};

use infergate::tensor::DType;
use tokio::task::yield_now;
use tonic::Code;

use crate::harness::{
    FREE, Gate, INFER, Model, Pending, Raw, STREAM_INFER, Serving, echo, echo_of, eventually, floats, framed,
};

/// `echo` with one engine that holds each call at the gate, whoever leaves.
fn one_stubborn(gate: &Gate) -> Model {
    Model::echo().settings("instances = 1").behind(gate)
}

/// `echo` with one engine that stops when nobody waits any more.
fn one_attentive(gate: &Gate) -> Model {
    Model::echo().settings("instances = 1").behind_while_waited_for(gate)
}

/// Begins a call and sends all of it.
async fn begun(raw: &Raw, value: f32, headers: &[(&str, &str)]) -> Pending {
    let mut pending = raw.begin(INFER, headers).await.unwrap();
    pending.put(framed(&echo(&[value])), true);
    pending
}

#[tokio::test]
async fn a_call_is_answered_at_its_deadline_while_the_engine_is_still_busy_with_it() {
    let mut gate = Gate::closed();
    let serving = Serving::of([one_stubborn(&gate)]).await;
    let raw = serving.raw().await;
    let began = Instant::now();
    let call = begun(&raw, 1.0, &[("grpc-timeout", "500m")]).await;
    gate.next().await;
    let answer = call.answer().await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    assert_eq!(answer.message(), "deadline exceeded while waiting for an answer");
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    gate.open();
    serving.answers_as_ever().await;
    assert_eq!(serving.finish().await.expired, 1);
}

#[tokio::test]
async fn a_call_that_brings_no_deadline_gets_the_default_and_a_long_one_is_cut() {
    let gate = Gate::closed();
    let serving = Serving::with([one_stubborn(&gate)], |config| {
        config.limits.default_deadline = "100ms".parse().unwrap();
        config.limits.max_deadline = "150ms".parse().unwrap();
    })
    .await;
    let raw = serving.raw().await;
    for headers in [&[][..], &[("grpc-timeout", "99999999H")]] {
        let answer = begun(&raw, 1.0, headers).await.answer().await.unwrap();
        assert_eq!(answer.code(), Code::DeadlineExceeded, "{headers:?}");
    }
    gate.open();
    assert_eq!(serving.finish().await.expired, 2);
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_ends_the_call_and_it_never_runs() {
    let mut gate = Gate::closed();
    let model = one_stubborn(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let first = begun(&raw, 1.0, &[]).await;
    gate.next().await;
    let late = begun(&raw, 2.0, &[("grpc-timeout", "100m")]).await;
    assert_eq!(late.answer().await.unwrap().code(), Code::DeadlineExceeded);
    gate.open();
    assert_eq!(first.answer().await.unwrap().code(), Code::Ok);
    serving.answers_as_ever().await;
    assert_eq!(log.runs(), 2);
    serving.finish().await;
}

#[tokio::test]
async fn the_earliest_deadline_runs_first() {
    let mut gate = Gate::closed();
    let serving = Serving::of([one_stubborn(&gate)]).await;
    let raw = serving.raw().await;
    let mut calls = vec![begun(&raw, 0.0, &[]).await];
    gate.next().await;
    for (value, timeout) in [(3.0, "30S"), (1.0, "10S"), (2.0, "20S")] {
        calls.push(begun(&raw, value, &[("grpc-timeout", timeout)]).await);
        let accepted = calls.len() as u64;
        eventually("the call came in", async || serving.totals().accepted == accepted).await;
    }
    // What was accepted may not have been queued yet, but for a call after which an answer came on the same connection.
    let live = raw.call("/inference.GRPCInferenceService/ServerLive", &[], vec![0; 5]).await;
    assert_eq!(live.code(), Code::Ok);
    gate.open();
    for expected in ["1", "2", "3"] {
        assert_eq!(gate.next().await, expected);
    }
    for call in calls {
        assert_eq!(call.answer().await.unwrap().code(), Code::Ok);
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_call_whose_caller_left_before_it_started_never_runs() {
    let mut gate = Gate::closed();
    let model = one_stubborn(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let first = begun(&raw, 1.0, &[]).await;
    gate.next().await;
    let leaving = begun(&raw, 2.0, &[]).await;
    eventually("the second call came in", async || serving.totals().accepted == 2).await;
    leaving.reset();
    eventually("the second call is gone", async || serving.totals().abandoned == 1).await;
    gate.open();
    assert_eq!(first.answer().await.unwrap().code(), Code::Ok);
    serving.answers_as_ever().await;
    let seen: Vec<_> = log.seen().iter().map(|seen| seen.inputs[0].tensor.data().to_bytes()).collect();
    assert_eq!(seen.len(), 2);
    assert!(!seen.contains(&floats(&[2.0])));
    serving.finish().await;
}

#[tokio::test]
async fn when_the_only_caller_leaves_its_run_is_stopped_and_the_next_call_is_served() {
    let mut gate = Gate::closed();
    let serving = Serving::of([one_attentive(&gate)]).await;
    let raw = serving.raw().await;
    // Nobody opens the gate for any of them, so that each stands in the way of the next unless it is stopped.
    let resetting = begun(&raw, 1.0, &[]).await;
    assert_eq!(gate.next().await, "1");
    resetting.reset();
    let other = serving.raw().await;
    let cut = begun(&other, 2.0, &[]).await;
    assert_eq!(gate.next().await, "2");
    drop((cut, other));
    let late = begun(&raw, 3.0, &[("grpc-timeout", "500m")]).await;
    assert_eq!(gate.next().await, "3");
    assert_eq!(late.answer().await.unwrap().code(), Code::DeadlineExceeded);
    let next = begun(&raw, 4.0, &[]).await;
    assert_eq!(gate.next().await, "4");
    gate.let_one_pass();
    assert_eq!(next.answer().await.unwrap().code(), Code::Ok);
    gate.open();
    let totals = serving.finish().await;
    assert_eq!((totals.answered, totals.abandoned, totals.expired), (1, 2, 1));
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let serving = Serving::with([Model::echo()], |config| {
        config.http2.first_byte_timeout = "50ms".parse().unwrap();
        config.http2.min_body_rate = "1MiB".parse().unwrap();
    })
    .await;
    let raw = serving.raw().await;
    let message = framed(&echo(&[1.0; 100]));
    for beginning in [0, 3, 100] {
        let mut pending = raw.begin(INFER, &[]).await.unwrap();
        pending.put(message.slice(..beginning), false);
        let answer = pending.answer().await.unwrap();
        assert_eq!(answer.code(), Code::DeadlineExceeded, "{beginning} bytes");
        assert_eq!(answer.message(), "the request's body came too slowly");
    }
    // The caller's own deadline counts where it is earlier, and is told as such.
    let pending = raw.begin(INFER, &[("grpc-timeout", "10m")]).await.unwrap();
    assert_eq!(pending.answer().await.unwrap().message(), "deadline exceeded while reading the request");
    assert_eq!(serving.finish().await.expired, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_at_any_point_leave_nothing_behind() {
    let (closed, mut gate) = (Gate::closed(), Gate::closed());
    let model = Model::echo().settings("instances = 1").behind_while_waited_for(&closed);
    let log = model.log();
    let held = Model::identity("held", DType::Fp32, &[FREE]).behind(&gate);
    let serving = Serving::with([model, held], |config| {
        config.limits.in_flight = 4;
        config.limits.queue_calls = 3;
        config.limits.queue_bytes = "128KiB".parse().unwrap();
        config.limits.message_size = "128KiB".parse().unwrap();
        // Room for one message of the full size: a byte that is not given back would be missed.
        config.limits.message_bytes = "128KiB".parse().unwrap();
    })
    .await;
    let mut random = fastrand::Rng::with_seed(2026);
    let mut raw = serving.raw().await;
    for _ in 0..6 {
        for _ in 0..50 {
            leave_somewhere(&raw, &mut random).await;
            if random.u8(..8) == 0 {
                raw = serving.raw().await;
            }
        }
        serving.settled().await;
        nothing_is_held(&serving, &mut gate).await;
    }
    drop(raw);
    // Some left before their call ran and some while it did; otherwise this was no test.
    assert!(log.runs() > 0 && serving.totals().abandoned > log.runs() as u64);
    closed.open();
    let whole = framed(&echo(&[0.5; (128 * 1024 - 64) / 4]));
    let raw = serving.raw().await;
    let is_answered = async || raw.call(INFER, &[], whole.clone()).await.code() == Code::Ok;
    eventually("the bytes of all messages were given back", is_answered).await;
    serving.finish().await;
}

/// Begins a call or a stream and leaves at some point of it, in some way.
async fn leave_somewhere(raw: &Raw, random: &mut fastrand::Rng) {
    let path = if random.u8(..4) == 0 { STREAM_INFER } else { INFER };
    let message = framed(&echo(&[0.5; 8 << 10]));
    let mut pending = raw.begin(path, &[]).await.unwrap();
    match random.u8(..8) {
        0 => {}
        1 => pending.put(message.slice(..random.usize(..message.len())), false),
        2 => pending.put(message, false),
        _ => pending.put(message, true),
    }
    for _ in 0..random.u32(..200) {
        yield_now().await;
    }
    if random.bool() {
        pending.reset();
    }
}

/// Once everybody has left, as many calls as ever may be in flight, and no more.
async fn nothing_is_held(serving: &Serving, gate: &mut Gate) {
    let raw = serving.raw().await;
    let body = framed(&echo_of("held", &[1.0]));
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut pending = raw.begin(INFER, &[]).await.unwrap();
        pending.put(body.clone(), true);
        gate.next().await;
        held.push(pending);
    }
    let refused = raw.call(INFER, &[], body).await;
    assert_eq!(refused.message(), "the server has 4 calls in flight, its limit");
    held.iter().for_each(|_| gate.let_one_pass());
    for pending in held {
        assert_eq!(pending.answer().await.unwrap().code(), Code::Ok);
    }
}
