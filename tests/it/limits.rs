//! Limits: what is over one is refused at once, says when to come again, and takes nothing from those within.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use infergate::tensor::DType;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tonic::Code;

use crate::harness::{
    Answer, FREE, Gate, INFER, Model, Pending, Raw, STREAM_INFER, Serving, echo, echo_of, eventually, framed,
    refused_for, within,
};

async fn begun(raw: &Raw, model: &str, value: f32) -> Pending {
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo_of(model, &[value])), true);
    pending
}

/// A refusal for want of room, which says when trying again may help.
fn assert_refused(answer: &Answer, message: &str) {
    assert_eq!((answer.code(), &*answer.message()), (Code::ResourceExhausted, message));
    let pushback = answer.get("grpc-retry-pushback-ms").expect("a refusal says when to come again");
    assert!(pushback.parse::<u64>().unwrap() >= 1, "{pushback}");
}

fn other() -> Model {
    Model::identity("other", DType::Fp32, &[FREE])
}

#[tokio::test]
async fn calls_over_the_limit_of_the_process_are_refused_until_one_ends() {
    let mut gate = Gate::closed();
    let serving = Serving::with([Model::echo().behind(&gate), other()], |config| config.limits.in_flight = 2).await;
    let raw = serving.raw().await;
    let held = [begun(&raw, "echo", 1.0).await, begun(&raw, "echo", 2.0).await];
    gate.next_two().await;
    // Of whatever model.
    let refused = begun(&raw, "other", 3.0).await.answer().await.unwrap();
    assert_refused(&refused, "the server has 2 calls in flight, its limit");
    gate.open();
    for call in held {
        assert_eq!(call.answer().await.unwrap().code(), Code::Ok);
    }
    assert_eq!(begun(&raw, "other", 4.0).await.answer().await.unwrap().code(), Code::Ok);
    assert_eq!(refused_for(serving.admin(), "in_flight").await, 1);
    assert_eq!(serving.finish().await.refused, 1);
}

#[tokio::test]
async fn calls_over_a_models_limit_are_refused_and_those_of_others_are_not() {
    let mut gate = Gate::closed();
    // The model's own limit counts, where it has one, before that of all models.
    let own = Model::echo().behind(&gate).settings("max_in_flight = 1");
    let serving = Serving::with([own, other().behind(&gate)], |config| config.limits.in_flight_per_model = 2).await;
    let raw = serving.raw().await;
    let mut held = vec![begun(&raw, "echo", 1.0).await];
    gate.next().await;
    let refused = begun(&raw, "echo", 2.0).await.answer().await.unwrap();
    assert_refused(&refused, "the model has 1 calls in flight, its limit");
    for value in [3.0, 4.0] {
        held.push(begun(&raw, "other", value).await);
        gate.next().await;
    }
    let refused = begun(&raw, "other", 5.0).await.answer().await.unwrap();
    assert_refused(&refused, "the model has 2 calls in flight, its limit");
    assert_eq!(refused_for(serving.admin(), "model_in_flight").await, 2);
    gate.open();
    for call in held {
        assert_eq!(call.answer().await.unwrap().code(), Code::Ok);
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_those_who_wait_are_served() {
    let mut gate = Gate::closed();
    let model = Model::echo().settings("instances = 1").behind(&gate);
    let serving = Serving::with([model], |config| config.limits.queue_calls = 2).await;
    let raw = serving.raw().await;
    let running = begun(&raw, "echo", 0.0).await;
    gate.next().await;
    let mut others = FuturesUnordered::new();
    for value in [1.0, 2.0, 3.0] {
        others.push(begun(&raw, "echo", value).await.answer());
    }
    assert_refused(&others.next().await.unwrap().unwrap(), "the queue is full, 2 calls wait");
    gate.open();
    others.push(running.answer());
    while let Some(answer) = others.next().await {
        assert_eq!(answer.unwrap().code(), Code::Ok);
    }
    assert_eq!(refused_for(serving.admin(), "queue_calls").await, 1);
    assert_eq!(serving.finish().await.refused, 1);
}

#[tokio::test]
async fn a_queue_is_full_of_bytes_too() {
    let gate = Gate::closed();
    let model = Model::echo().settings("instances = 1").behind(&gate);
    let serving = Serving::with([model], |config| {
        config.limits.queue_bytes = "1KiB".parse().unwrap();
        config.limits.message_size = "1KiB".parse().unwrap();
    })
    .await;
    let raw = serving.raw().await;
    let call = || raw.call(INFER, &[], framed(&echo(&[1.0; 200])));
    let mut calls = FuturesUnordered::from_iter([call(), call(), call()]);
    // One runs, one waits, and there is no room for the bytes of another.
    assert_refused(&calls.next().await.unwrap(), "the queue is full, 1 calls wait");
    assert_eq!(refused_for(serving.admin(), "queue_bytes").await, 1);
    gate.open();
    while let Some(answer) = calls.next().await {
        assert_eq!(answer.code(), Code::Ok);
    }
    serving.finish().await;
}

#[tokio::test]
async fn bytes_of_messages_are_bounded_also_of_those_that_never_come() {
    let serving = Serving::with([Model::echo()], |config| {
        config.limits.message_size = "1KiB".parse().unwrap();
        config.limits.message_bytes = "1KiB".parse().unwrap();
    })
    .await;
    let raw = serving.raw().await;
    // A message of a thousand bytes is announced; its bytes are kept free for it.
    let mut slow = raw.begin(INFER, &[]).await.unwrap();
    slow.put(&[0, 0, 0, 3, 0xe8][..], false);
    eventually("the announcement is known", async || serving.totals().accepted == 1).await;
    let refused = raw.call(INFER, &[], framed(&echo(&[1.0; 100]))).await;
    assert_refused(&refused, "messages in memory are at their limit of 1024 bytes");
    assert_eq!(refused_for(serving.admin(), "message_bytes").await, 1);
    slow.reset();
    eventually("its bytes are free again", async || {
        raw.call(INFER, &[], framed(&echo(&[1.0; 100]))).await.code() == Code::Ok
    })
    .await;
    serving.finish().await;
}

#[tokio::test]
async fn a_stream_is_not_ended_by_a_call_in_it_that_is_refused() {
    let mut gate = Gate::closed();
    let serving = Serving::with([Model::echo().behind(&gate)], |config| config.limits.in_flight = 1).await;
    let raw = serving.raw().await;
    let held = begun(&raw, "echo", 1.0).await;
    gate.next().await;
    let mut stream = raw.begin(STREAM_INFER, &[]).await.unwrap();
    stream.put(framed(&echo(&[2.0])), true);
    let answer = stream.answer().await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert!(String::from_utf8_lossy(&answer.body).contains("the server has 1 calls in flight, its limit"));
    assert_eq!(refused_for(serving.admin(), "in_flight").await, 1);
    gate.open();
    assert_eq!(held.answer().await.unwrap().code(), Code::Ok);
    serving.finish().await;
}

/// Whether the server keeps a connection: it says something, where one over a limit is closed without a word.
async fn is_kept(mut stream: TcpStream) -> Option<TcpStream> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let _ = within(tokio::io::AsyncWriteExt::write_all(&mut stream, preface)).await;
    let said = within(stream.read(&mut [0; 9])).await;
    (said.unwrap_or(0) > 0).then_some(stream)
}

async fn connect(serving: &Serving) -> TcpStream {
    within(TcpStream::connect(serving.grpc())).await.unwrap()
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_one_that_ends_makes_room() {
    let serving = Serving::with([Model::echo()], |config| config.limits.connections = 2).await;
    let first = is_kept(connect(&serving).await).await.expect("there is room for the first");
    let _second = is_kept(connect(&serving).await).await.expect("there is room for the second");
    assert!(is_kept(connect(&serving).await).await.is_none());
    drop(first);
    eventually("there is room again", async || is_kept(connect(&serving).await).await.is_some()).await;
    serving.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_of_one_address_are_bounded_by_themselves() {
    let serving = Serving::with([Model::echo()], |config| config.limits.connections_per_ip = 1).await;
    let _first = is_kept(connect(&serving).await).await.expect("there is room for the first");
    assert!(is_kept(connect(&serving).await).await.is_none());
    // Another address of this machine.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
    let elsewhere = within(socket.connect(serving.grpc())).await.unwrap();
    assert!(is_kept(elsewhere).await.is_some());
    serving.finish().await;
}
