//! Deadlines and cancellation across the gateway.

use std::time::{Duration, Instant};

use tonic::Code;

use super::worker;
use crate::harness::{Deed, Fronting, Gate, INFER, Model, Part, Standing, echo, eventually, framed, within};

#[tokio::test]
async fn a_backend_is_told_a_little_less_time_than_the_caller_gave() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let answer = fronting.raw().await.call(INFER, &[("grpc-timeout", "2S")], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    let told = part.taken()[0].timeout();
    let full = Duration::from_secs(2);
    assert!(told <= full - Duration::from_millis(1) && told > full - Duration::from_millis(500), "{told:?}");
    fronting.finish().await;
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_whatever_its_backend_does_and_is_cancelled_there() {
    let part = Part::of(true, |_| Deed::Never);
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let raw = fronting.raw().await;
    let began = Instant::now();
    let answer = raw.call(INFER, &[("grpc-timeout", "300m")], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(295) && took < Duration::from_secs(2), "{took:?}");
    eventually("the call is cancelled at the backend", async || part.cancelled() == 1).await;
    assert_eq!(part.taken().len(), 1, "it is not tried elsewhere");
    assert_eq!(fronting.finish().await.expired, 1);
}

#[tokio::test]
async fn a_worker_that_is_late_says_so_and_is_not_thought_silent() {
    let part = Part::of(true, |_| Deed::Fail(Code::DeadlineExceeded, "deadline exceeded while waiting"));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let raw = fronting.raw().await;
    for _ in 0..100 {
        let answer = raw.call(INFER, &[("grpc-timeout", "10S")], framed(&echo(&[1.0]))).await;
        assert_eq!((answer.code(), &*answer.message()), (Code::DeadlineExceeded, "deadline exceeded while waiting"));
    }
    assert_eq!(part.taken().len(), 100, "it is never tried again");
    assert_eq!(fronting.breaker(backend.address()).await, "admitting");
    fronting.finish().await;
}

#[tokio::test]
async fn a_caller_that_leaves_frees_the_worker() {
    let mut gate = Gate::closed();
    let worker = worker([Model::echo().behind_while_waited_for(&gate)]).await;
    let fronting = Fronting::of(&[worker.grpc()]).await;
    let raw = fronting.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), true);
    within(gate.next()).await;
    pending.reset();
    eventually("the worker's call was abandoned", async || worker.totals().abandoned == 1).await;
    eventually("nothing is under way", async || fronting.endpoint(worker.grpc()).await["in_flight"] == 0).await;
    assert_eq!(fronting.endpoint(worker.grpc()).await["models"][0]["in_flight"], 0);
    assert_eq!(fronting.finish().await.abandoned, 1);
    worker.finish().await;
}
