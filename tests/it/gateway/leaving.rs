//! Rollouts: workers and gateways that leave lose nothing.

use infergate::config::Period;
use tonic::Code;

use super::{Callers, freed, more_answers, worker};
use crate::harness::{Deed, Fronting, Gate, INFER, Model, Part, Serving, Standing, echo, eventually, framed, within};

fn answered_only(ends: &std::collections::BTreeMap<String, usize>) -> bool {
    ends.keys().all(|end| end == "answered")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_drains_loses_nothing_even_of_a_model_that_must_run_once() {
    let model = || Model::echo().settings("pure = false");
    let stays = worker([model()]).await;
    let mut leaves = Serving::with([model()], |config| config.drain.announce = Period::millis(50)).await;
    let fronting = Fronting::of(&[stays.grpc(), leaves.grpc()]).await;
    let callers = Callers::of(&fronting, 8).await;
    more_answers(&fronting, 50).await;
    within(leaves.drain()).await.unwrap();
    more_answers(&fronting, 50).await;
    let ends = callers.rest().await;
    assert!(answered_only(&ends), "{ends:?}");
    fronting.finish().await;
    leaves.finish().await;
    stays.finish().await;
}

#[tokio::test]
async fn a_single_backend_that_says_goodbye_to_its_connection_loses_no_call() {
    let part =
        Part::of(false, |taken| Deed::After(std::time::Duration::from_millis(1), Box::new(Deed::Answer(taken.echo()))));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let callers = Callers::of(&fronting, 8).await;
    for _ in 0..5 {
        more_answers(&fronting, 100).await;
        // A connection that ends at its beginning is not replaced at once.
        tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(150)).await;
        part.say_goodbye();
    }
    more_answers(&fronting, 100).await;
    let ends = callers.rest().await;
    assert!(answered_only(&ends), "{ends:?}");
    assert!(part.connections() >= 6, "{}", part.connections());
    let totals = fronting.finish().await;
    assert_eq!(part.taken().len() as u64, totals.answered, "none ran twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_worker_whose_connections_grow_old_loses_no_call() {
    let young = |config: &mut infergate::config::Config| config.http2.max_connection_age = Period::millis(300);
    let worker = Serving::with([Model::echo().settings("pure = false")], young).await;
    let fronting = Fronting::of(&[worker.grpc()]).await;
    let callers = Callers::of(&fronting, 4).await;
    tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(1500)).await;
    let ends = callers.rest().await;
    assert!(answered_only(&ends), "{ends:?}");
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn a_gateway_that_drains_finishes_what_it_has() {
    let mut gate = Gate::closed();
    let worker = worker([Model::echo().behind(&gate)]).await;
    let mut fronting = Fronting::of(&[worker.grpc()]).await;
    let raw = fronting.raw().await;
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), true);
    within(gate.next()).await;
    let drain = fronting.drain();
    eventually("nobody new is taken in", async || tokio::net::TcpStream::connect(fronting.grpc()).await.is_err()).await;
    assert!(!drain.is_finished());
    gate.open();
    assert_eq!(pending.answer().await.unwrap().code(), Code::Ok);
    within(drain).await.unwrap();
    assert_eq!(fronting.finish().await.answered, 1);
    worker.finish().await;
}

#[tokio::test]
async fn a_gateway_that_is_dropped_leaves_no_connection_behind() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let mut fronting = Fronting::of(&[backend.address()]).await;
    fronting.kill();
    let address = backend.address();
    drop(backend);
    freed(address).await;
    let backend = Standing::at(address, &part).await;
    let before = part.connections();
    tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(500)).await;
    assert_eq!(part.connections(), before, "nobody dials any more");
    drop(backend);
    fronting.finish().await;
}
