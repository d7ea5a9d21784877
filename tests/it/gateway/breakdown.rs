//! Where a call's time went, across the gateway.

use std::time::{Duration, Instant};

use tonic::Code;

use super::worker;
use crate::harness::{Breakdown, Deed, Fronting, INFER, Model, Part, Standing, echo, framed};

async fn breakdown(fronting: &Fronting) -> Breakdown {
    let answer = fronting.raw().await.call(INFER, &[], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Ok);
    let breakdown = Breakdown::of(&answer.trailers);
    breakdown.is_whole();
    breakdown
}

#[tokio::test]
async fn a_call_through_a_gateway_is_accounted_for_by_the_stages_of_both_processes() {
    let serving = worker([Model::echo()]).await;
    let fronting = Fronting::of(&[serving.grpc()]).await;
    for _ in 0..20 {
        let breakdown = breakdown(&fronting).await;
        for stage in ["receive", "pick", "send", "queue", "execute", "return"] {
            assert!(breakdown.has(stage), "{breakdown:?}");
        }
        assert_eq!(breakdown.other(), 0, "{breakdown:?}");
    }
    fronting.finish().await;
    serving.finish().await;
}

#[tokio::test]
async fn the_time_of_a_run_is_told_as_such_and_not_as_the_way_there() {
    let long = Duration::from_millis(20);
    let model = Model::echo().acting(move |run| {
        let began = Instant::now();
        while began.elapsed() < long {}
        run.identity()
    });
    let serving = worker([model]).await;
    let fronting = Fronting::of(&[serving.grpc()]).await;
    let breakdown = breakdown(&fronting).await;
    assert!(breakdown.micros("execute") >= 20_000 && breakdown.other() == 0, "{breakdown:?}");
    fronting.finish().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_backend_that_does_not_say_where_its_time_went_has_spent_all_of_it_running() {
    let backend = Standing::of(&Part::of(true, |taken| Deed::Answer(taken.echo()))).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let breakdown = breakdown(&fronting).await;
    assert!(breakdown.has("execute") && !breakdown.has("queue"), "{breakdown:?}");
    assert_eq!(breakdown.other(), 0, "{breakdown:?}");
    fronting.finish().await;
}
