//! Stopping gently: nothing that was accepted is lost, and nothing waits for ever.

use std::time::{Duration, Instant};

use infergate::config::Period;
use infergate::wire::proto::health::health_check_response::ServingStatus;
use infergate::wire::proto::health::health_client::HealthClient;
use infergate::wire::proto::health::{HealthCheckRequest, HealthCheckResponse};
use infergate::wire::proto::inference::{ModelStreamInferResponse, ServerReadyRequest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use crate::harness::{
    Frame, Gate, INFER, Model, Raw, STREAM_INFER, Serving, Wire, echo, echoed, eventually, framed, kind, unframed,
    within,
};

/// A watch over the whole server, told SERVING already.
async fn watch(serving: &Serving) -> Streaming<HealthCheckResponse> {
    let mut client = HealthClient::new(serving.channel().await);
    let mut watch = within(client.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    watch
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    within(watch.message()).await.unwrap().map(|response| response.status())
}

#[tokio::test]
async fn not_serving_is_told_at_once_while_new_connections_and_calls_are_still_taken() {
    let mut serving = Serving::with([Model::echo()], |config| config.drain.announce = "2s".parse().unwrap()).await;
    let mut watch = watch(&serving).await;
    let mut old = serving.oip().await;
    let drain = serving.drain();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    // All of it long before two seconds are over, on connections old and new.
    let mut new = serving.oip().await;
    for client in [&mut old, &mut new] {
        assert!(!within(client.server_ready(ServerReadyRequest {})).await.unwrap().get_ref().ready);
        let answer = within(client.model_infer(echo(&[3.0]))).await.unwrap();
        assert_eq!(echoed(answer.get_ref()), [3.0]);
    }
    // The watch is a call, too; it ends when the process leaves, well before the grace is over.
    assert_eq!(next(&mut watch).await, None);
    within(drain).await.unwrap();
    assert_eq!(serving.finish().await.answered, 2);
}

#[tokio::test]
async fn connections_are_asked_to_go_and_calls_in_flight_finish() {
    let mut gate = Gate::closed();
    let mut serving = Serving::of([Model::echo().behind(&gate)]).await;
    let mut wire = Wire::open(serving.grpc()).await;
    let message = Frame::new(kind::DATA, crate::harness::END_STREAM, 1, framed(&echo(&[1.0])));
    wire.put(&[Frame::call(1, INFER), message]).await;
    gate.next().await;
    let drain = serving.drain();
    for last in [(1 << 31) - 1, 1] {
        assert_eq!(wire.until(|frame| frame.kind == kind::GOAWAY).await.number(0), last);
    }
    // Nobody new is taken in by then.
    assert!(within(TcpStream::connect(serving.grpc())).await.is_err());
    assert!(!drain.is_finished());
    gate.open();
    let rest = wire.rest().await;
    assert!(rest.iter().any(|frame| frame.kind == kind::DATA) && rest.iter().any(|frame| frame.ends(1)), "{rest:?}");
    within(drain).await.unwrap();
    assert_eq!(serving.finish().await.answered, 1);
}

#[tokio::test]
async fn streams_answer_what_they_took_and_then_end() {
    let mut gate = Gate::closed();
    let mut serving = Serving::of([Model::echo().behind(&gate)]).await;
    let raw = serving.raw().await;
    let mut stream = raw.begin(STREAM_INFER, &[]).await.unwrap();
    stream.put([framed(&echo(&[1.0])), framed(&echo(&[2.0]))].concat(), false);
    gate.next_two().await;
    let other = serving.raw().await;
    let idle = other.begin(STREAM_INFER, &[]).await.unwrap();
    let drain = serving.drain();
    let ended = idle.answer().await.unwrap();
    assert_eq!((ended.code(), &*ended.message()), (Code::Unavailable, "the server is stopping"));
    gate.open();
    let answer = stream.answer().await.unwrap();
    assert_eq!(answer.code(), Code::Unavailable, "its caller had not said that there was no more");
    let messages: Vec<ModelStreamInferResponse> = unframed(answer.body);
    let values: Vec<_> = messages.iter().map(|message| echoed(message.infer_response.as_ref().unwrap())).collect();
    assert_eq!(values, [[1.0], [2.0]]);
    within(drain).await.unwrap();
    assert_eq!(serving.finish().await.answered, 2);
}

#[tokio::test]
async fn what_hangs_is_cut_off_after_the_grace_and_its_engine_is_stopped() {
    let mut gate = Gate::closed();
    let model = Model::echo().behind_while_waited_for(&gate);
    let mut serving = Serving::with([model], |config| config.drain.grace = "200ms".parse().unwrap()).await;
    let raw = serving.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), true);
    gate.next().await;
    let began = Instant::now();
    within(serving.drain()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    assert!(pending.answer().await.is_err());
    let totals = serving.finish().await;
    assert_eq!((totals.accepted, totals.abandoned), (1, 1));
}

#[tokio::test]
async fn a_connection_that_does_not_care_holds_nothing_up() {
    let mut serving = Serving::with([Model::echo()], |config| config.drain.grace = "200ms".parse().unwrap()).await;
    let mut deaf = Wire::open(serving.grpc()).await;
    deaf.next().await;
    let _silent = Wire::silent(serving.grpc()).await;
    // Neither answers the GOAWAY's ping: nobody reads there.
    within(serving.drain()).await.unwrap();
    serving.finish().await;
}

#[tokio::test]
async fn a_drain_without_work_ends_at_once() {
    let mut serving = Serving::with([Model::echo()], |config| config.drain.grace = "60s".parse().unwrap()).await;
    let _idle = serving.channel().await;
    serving.answers_as_ever().await;
    within(serving.drain()).await.unwrap();
    serving.finish().await;
}

/// How one call ended for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Answered,
    /// The server said that it takes no more, or that it never took this one: it may be sent elsewhere.
    Refused,
    /// Nobody knows what became of it.
    Lost,
}

async fn end_of_call(raw: &Raw) -> End {
    let end_of_error = |error: h2::Error| {
        let never_taken = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if never_taken && error.is_remote() { End::Refused } else { End::Lost }
    };
    let mut pending = match raw.begin(INFER, &[]).await {
        Ok(pending) => pending,
        Err(error) => return end_of_error(error),
    };
    pending.put(framed(&echo(&[1.0])), true);
    match pending.answer().await {
        Ok(answer) if answer.code() == Code::Ok => End::Answered,
        Ok(answer) if answer.code() == Code::Unavailable => End::Refused,
        Ok(_) => End::Lost,
        Err(error) => end_of_error(error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_race_with_the_drain_are_answered_or_refused_and_none_is_lost() {
    for round in 0..5 {
        let mut serving =
            Serving::with([Model::echo()], |config| config.drain.announce = Period::millis(20 * round)).await;
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let raw = serving.raw().await;
            callers.spawn(async move {
                let mut ends = Vec::new();
                while ends.last().is_none_or(|end| *end == End::Answered) {
                    ends.push(end_of_call(&raw).await);
                }
                ends
            });
        }
        eventually("calls are under way", async || serving.totals().answered >= 40).await;
        let drain = serving.drain();
        let ends = within(callers.join_all()).await.concat();
        within(drain).await.unwrap();
        let count = |wanted: End| ends.iter().filter(|end| **end == wanted).count();
        assert_eq!((count(End::Refused), count(End::Lost)), (8, 0), "each caller stops at its first refusal");
        let totals = serving.finish().await;
        assert_eq!(totals.answered, count(End::Answered) as u64, "an answer did not arrive");
    }
}
