//! Deadlines and cancellation across the gateway.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tonic::Code;

use super::worker;
use crate::harness::{Deed, Fronting, Gate, INFER, Model, Part, Standing, Taken, echo, eventually, framed, within};

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

/// Calls at one time, which must all be answered.
async fn all_answered(fronting: &Fronting, count: usize) {
    let client = fronting.oip().await;
    let calls = (0..count).map(|_| {
        let mut client = client.clone();
        async move { super::call(&mut client, 1.0).await }
    });
    for answer in join_all(calls).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_is_late_says_so_and_is_not_thought_silent() {
    let after = |millis, deed| Deed::After(Duration::from_millis(millis), Box::new(deed));
    let part = Part::of(true, move |taken| after(450, Deed::Answer(taken.echo())));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    // From these it is known what calls take, and so what silence is.
    all_answered(&fronting, 150).await;
    part.plays(move |_| after(1200, Deed::Fail(Code::DeadlineExceeded, "deadline exceeded while waiting")));
    let raw = fronting.raw().await;
    for _ in 0..3 {
        let answer = raw.call(INFER, &[("grpc-timeout", "10S")], framed(&echo(&[1.0]))).await;
        assert_eq!((answer.code(), &*answer.message()), (Code::DeadlineExceeded, "deadline exceeded while waiting"));
    }
    assert_eq!(part.taken().len(), 153, "it is never tried again");
    let told = fronting.endpoint(backend.address()).await;
    assert_eq!(told["models"][0]["breaker"], "admitting", "{told}");
    fronting.finish().await;
}

#[tokio::test]
async fn a_straggler_of_a_pure_model_is_asked_of_another_and_the_loser_is_cancelled_and_counted_out() {
    let fast = |taken: &Taken| Deed::After(Duration::from_millis(5), Box::new(Deed::Answer(taken.echo())));
    let straggles = |taken: &Taken| match taken.headers.contains_key("grpc-previous-rpc-attempts") {
        true => Deed::Answer(taken.echo()),
        false => Deed::Never,
    };
    let (one, other) = (Part::of(true, fast), Part::of(true, fast));
    let (at, also) = (Standing::of(&one).await, Standing::of(&other).await);
    let fronting = Fronting::of(&[at.address(), also.address()]).await;
    for _ in 0..10 {
        all_answered(&fronting, 20).await;
    }
    one.plays(straggles);
    other.plays(straggles);
    let mut hedged = 0;
    // The fleet is thought to be busy for a moment after the calls before.
    eventually("a straggler is answered by the other", async || {
        let answer = fronting.raw().await.call(INFER, &[("grpc-timeout", "500m")], framed(&echo(&[1.0]))).await;
        hedged += usize::from(answer.code() == Code::Ok);
        hedged > 0
    })
    .await;
    eventually("nothing is under way", async || {
        let endpoints = fronting.endpoints().await;
        endpoints.iter().all(|told| told["in_flight"] == 0 && told["models"][0]["in_flight"] == 0)
    })
    .await;
    eventually("the losers are cancelled", async || one.cancelled() + other.cancelled() > 0).await;
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
