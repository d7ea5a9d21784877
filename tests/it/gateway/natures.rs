//! What the gateway knows of the nature of models, and that it notices when it changes.

use std::fs;

use infergate::config::{Config, ModelRules, PickBy};
use infergate::wire::proto::inference as proto;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::{call, freed, worker};
use crate::harness::{Deed, Fronting, Gate, Log, Model, Oip, Part, Serving, Standing, eventually, within};

/// An `echo` whose runs wait at the gate, and what its engines see.
fn waiting(gate: &Gate) -> (Model, Log) {
    let model = Model::echo().settings("pure = true").behind_while_waited_for(gate);
    let log = model.log();
    (model, log)
}

/// Writes other settings of `echo`.
fn rewrite(worker: &Serving, settings: &str) {
    fs::write(worker.folder().join("echo/model.toml"), settings).unwrap();
}

async fn load(mut client: Oip) {
    let request = proto::RepositoryModelLoadRequest { model_name: "echo".to_owned(), ..Default::default() };
    within(client.repository_model_load(request)).await.unwrap();
}

/// Whether the gateway takes `echo` for pure.
fn is_pure(fronting: &Fronting) -> bool {
    let models = fronting.roster().models();
    let (_, tactics, _) = models.iter().find(|(name, ..)| name.as_str() == "echo").unwrap();
    tactics.traits.load().pure
}

/// A call whose worker was killed while it ran there.
async fn bereft(
    fronting: &Fronting,
    gate: &mut Gate,
    workers: &mut Vec<(Serving, Log)>,
) -> JoinHandle<Result<f32, Status>> {
    let before: Vec<usize> = workers.iter().map(|(_, log)| log.runs()).collect();
    let mut client = fronting.oip().await;
    let calling = tokio::spawn(async move { call(&mut client, 1.0).await });
    gate.next().await;
    let at = (0..workers.len()).find(|at| workers[*at].1.runs() > before[*at]).unwrap();
    let (mut worker, _) = workers.swap_remove(at);
    let address = worker.grpc();
    worker.kill();
    freed(address).await;
    worker.finish().await;
    calling
}

#[tokio::test]
async fn a_worker_whose_model_becomes_impure_is_not_called_again_for_what_may_have_run() {
    let mut gate = Gate::closed();
    let mut workers = Vec::new();
    for _ in 0..3 {
        let (model, log) = waiting(&gate);
        workers.push((worker([model]).await, log));
    }
    let addresses: Vec<_> = workers.iter().map(|(worker, _)| worker.grpc()).collect();
    let once = |config: &mut Config| {
        config.balance.policy = PickBy::RoundRobin;
        config.model = Some([("echo".to_owned(), ModelRules { hedge: Some(false), ..Default::default() })].into());
    };
    let fronting = Fronting::with(&addresses, once).await;
    assert!(is_pure(&fronting));
    let calling = bereft(&fronting, &mut gate, &mut workers).await;
    assert_eq!(gate.next().await, "1", "it runs again");
    gate.let_one_pass();
    assert_eq!(within(calling).await.unwrap().unwrap(), 1.0);

    // Of this load the gateway is told nothing.
    rewrite(&workers[0].0, "pure = false");
    load(workers[0].0.oip().await).await;
    eventually("the gateway has noticed", async || !is_pure(&fronting)).await;
    let all: Vec<Log> = workers.iter().map(|(_, log)| log.clone()).collect();
    let runs = || all.iter().map(Log::runs).sum::<usize>();
    let before = runs();
    let calling = bereft(&fronting, &mut gate, &mut workers).await;
    assert_eq!(within(calling).await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(runs(), before + 1, "it ran once");
    fronting.finish().await;
    for (worker, _) in workers {
        worker.finish().await;
    }
}

#[tokio::test]
async fn what_a_load_through_the_gateway_changes_is_known_when_it_has_ended() {
    let worker = worker([Model::echo().settings("pure = false")]).await;
    let seldom = |config: &mut Config| config.balance.survey_interval = "1h".parse().unwrap();
    let fronting = Fronting::with(&[worker.grpc()], seldom).await;
    assert!(!is_pure(&fronting));
    for pure in [true, false, true] {
        rewrite(&worker, &format!("pure = {pure}"));
        load(fronting.oip().await).await;
        assert_eq!(is_pure(&fronting), pure);
    }
    fronting.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn a_gateway_behind_the_gateway_hands_on_what_changes() {
    let worker = worker([Model::echo().settings("pure = false")]).await;
    let inner = Fronting::of(&[worker.grpc()]).await;
    let outer = Fronting::of(&[inner.grpc()]).await;
    assert!(!is_pure(&outer));
    rewrite(&worker, "pure = true");
    load(worker.oip().await).await;
    eventually("both have noticed", async || is_pure(&inner) && is_pure(&outer)).await;
    outer.finish().await;
    inner.finish().await;
    worker.finish().await;
}

#[tokio::test]
async fn of_many_that_say_the_same_one_is_asked_once_for_each_of_their_models() {
    const MODELS: &[&str] = &["echo", "a", "b", "c"];
    let part = Part::with(MODELS, Some(true), true, |taken| Deed::Answer(taken.echo()));
    part.becomes(true, 7);
    let mut backends = Vec::new();
    for _ in 0..20 {
        backends.push(Standing::of(&part).await);
    }
    let addresses: Vec<_> = backends.iter().map(Standing::address).collect();
    let fronting = Fronting::of(&addresses).await;
    assert!(is_pure(&fronting));
    assert_eq!(part.asked("ModelConfig"), MODELS.len());
    part.becomes(false, 8);
    within(fronting.roster().survey()).await;
    assert!(!is_pure(&fronting));
    assert_eq!(part.asked("ModelConfig"), 2 * MODELS.len());
    fronting.finish().await;
}

#[tokio::test]
async fn a_backend_that_does_not_know_the_question_is_not_asked_at_each_survey() {
    let part = Part::with(&["echo"], None, true, |taken| Deed::Answer(taken.echo()));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::with(&[backend.address()], |config| {
        config.balance.survey_interval = "1h".parse().unwrap();
    })
    .await;
    for _ in 0..5 {
        within(fronting.roster().survey()).await;
    }
    assert_eq!((part.asked("RepositoryIndex") > 5, part.asked("ModelConfig")), (true, 1));
    fronting.finish().await;
}

#[tokio::test]
async fn who_a_backend_is_is_asked_once_each_time_that_it_is_connected() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let address = backend.address();
    let often = |config: &mut Config| config.balance.survey_interval = "10ms".parse().unwrap();
    let fronting = Fronting::with(&[address], often).await;
    let surveys = async |more: usize| {
        let enough = part.asked("RepositoryIndex") + more;
        eventually("it is surveyed", async || part.asked("RepositoryIndex") >= enough).await;
    };
    surveys(5).await;
    assert_eq!(part.asked("ServerMetadata"), 1);
    drop(backend);
    freed(address).await;
    let _back = Standing::at(address, &part).await;
    surveys(5).await;
    assert_eq!(part.asked("ServerMetadata"), 2, "what is there now may be another server");
    fronting.finish().await;
}
