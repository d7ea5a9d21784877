//! Loading, unloading and exchanging models while calls are served.

use std::collections::HashSet;
use std::fs;

use infergate::error::{Error, Kind};
use infergate::tensor::{DType, Tensor};
use infergate::wire::proto::inference as proto;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};

use crate::harness::{FREE, Gate, Model, Oip, Run, Serving, echo, echoed, eventually, floats, within};

async fn load(client: &mut Oip, name: &str) -> Result<(), Status> {
    let request = proto::RepositoryModelLoadRequest { model_name: name.to_owned(), ..Default::default() };
    within(client.repository_model_load(request)).await.map(drop)
}

async fn unload(client: &mut Oip, name: &str) -> Result<(), Status> {
    let request = proto::RepositoryModelUnloadRequest { model_name: name.to_owned(), ..Default::default() };
    within(client.repository_model_unload(request)).await.map(drop)
}

/// Lines of the index: name and version, state, reason.
async fn index(client: &mut Oip) -> Vec<(String, String, String)> {
    let models = within(client.repository_index(proto::RepositoryIndexRequest::default())).await.unwrap();
    let line = |model: proto::repository_index_response::ModelIndex| {
        (format!("{}/{}", model.name, model.version), model.state, model.reason)
    };
    models.into_inner().models.into_iter().map(line).collect()
}

/// `echo`, which answers which of its loads it is instead.
fn counting() -> Model {
    Model::echo().acting(which_load)
}

fn which_load(run: &Run<'_>) -> Result<Vec<Tensor>, Error> {
    let shape = infergate::tensor::Shape::new(&[1])?;
    Tensor::new("y".into(), DType::Fp32, shape, floats(&[run.load as f32]).into()).map(|tensor| vec![tensor])
}

/// Which load answers now.
async fn answering(client: &mut Oip) -> f32 {
    echoed(within(client.model_infer(echo(&[0.0]))).await.unwrap().get_ref())[0]
}

/// Puts another file in a version's place, as whoever publishes a model does.
fn publish(serving: &Serving, name: &str, version: u64, text: &str) {
    let folder = serving.folder().join(name).join(version.to_string());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("incoming"), text).unwrap();
    fs::rename(folder.join("incoming"), folder.join("model.onnx")).unwrap();
}

#[tokio::test]
async fn a_load_of_what_is_served_as_it_is_changes_nothing() {
    let serving = Serving::of([counting()]).await;
    let mut client = serving.oip().await;
    load(&mut client, "echo").await.unwrap();
    assert_eq!(answering(&mut client).await, 1.0);
    publish(&serving, "echo", 1, "other");
    load(&mut client, "echo").await.unwrap();
    assert_eq!(answering(&mut client).await, 2.0);
    serving.finish().await;
}

/// Callers that never rest; at the end each says which loads answered it, in order and each once.
fn callers(client: &Oip, count: usize) -> (tokio::sync::watch::Sender<bool>, JoinSet<Vec<f32>>) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..count {
        let (mut client, stopped) = (client.clone(), stopped.clone());
        callers.spawn(async move {
            let mut answers: Vec<f32> = Vec::new();
            while !*stopped.borrow() {
                answers.push(answering(&mut client).await);
                answers.dedup();
            }
            answers
        });
    }
    (stop, callers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_one_answers_until_the_new_one_is_warm_and_no_call_fails_in_between() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let model = counting().loading(move |_, load| {
        if load > 1 {
            passage.pass(load.to_string());
        }
        Ok(())
    });
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    let (stop, callers) = callers(&client, 4);
    for round in 2..=6 {
        publish(&serving, "echo", 1, &format!("generation {round}"));
        let loading: JoinHandle<_> = tokio::spawn({
            let mut client = client.clone();
            async move { load(&mut client, "echo").await }
        });
        gate.next().await;
        // It is being loaded, and the old one answers.
        assert_eq!(answering(&mut client).await, (round - 1) as f32);
        let answered = serving.totals().answered;
        eventually("calls go on", async || serving.totals().answered > answered + 10).await;
        assert!(!loading.is_finished());
        gate.let_one_pass();
        within(loading).await.unwrap().unwrap();
        assert_eq!(answering(&mut client).await, round as f32);
    }
    stop.send_replace(true);
    // Each caller saw the generations one after the other and never an old one after a new one.
    for answers in within(callers.join_all()).await {
        assert!(answers.is_sorted(), "{answers:?}");
    }
    let totals = serving.finish().await;
    assert_eq!(totals.answered, totals.accepted);
}

#[tokio::test]
async fn a_call_in_flight_ends_where_it_began() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let model = Model::echo().acting(move |run| {
        if run.load == 1 {
            passage.pass("first");
        }
        which_load(run)
    });
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    let old = tokio::spawn({
        let mut client = client.clone();
        async move { answering(&mut client).await }
    });
    gate.next().await;
    publish(&serving, "echo", 1, "other");
    load(&mut client, "echo").await.unwrap();
    assert_eq!(answering(&mut client).await, 2.0);
    unload(&mut client, "echo").await.unwrap();
    assert_eq!(within(client.model_infer(echo(&[0.0]))).await.unwrap_err().code(), Code::Unavailable);
    gate.open();
    assert_eq!(within(old).await.unwrap(), 1.0);
    serving.finish().await;
}

#[tokio::test]
async fn a_load_that_fails_takes_nothing_away() {
    let model = counting().loading(|_, load| match load {
        2 => Err(Error::new(Kind::Unloadable, "the second is broken")),
        _ => Ok(()),
    });
    let serving = Serving::of([model]).await;
    let mut client = serving.oip().await;
    publish(&serving, "echo", 1, "broken");
    let status = load(&mut client, "echo").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "model \"echo\" cannot be loaded: version 1: the second is broken");
    assert_eq!(answering(&mut client).await, 1.0);
    let told = index(&mut client).await;
    let reason = "serves, but a later load failed: the second is broken";
    assert_eq!(told, [("echo/1".to_owned(), "READY".to_owned(), reason.to_owned())]);
    // Mended, it takes the place.
    load(&mut client, "echo").await.unwrap();
    assert_eq!(answering(&mut client).await, 3.0);
    assert_eq!(index(&mut client).await[0].2, "");
    serving.finish().await;
}

#[tokio::test]
async fn a_new_version_takes_over_and_an_unloaded_model_can_come_back() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = serving.oip().await;
    publish(&serving, "echo", 2, "second");
    load(&mut client, "echo").await.unwrap();
    let version = |answer: tonic::Response<proto::ModelInferResponse>| answer.into_inner().model_version;
    assert_eq!(version(within(client.model_infer(echo(&[1.0]))).await.unwrap()), "2");
    let states = |told: Vec<(String, String, String)>| -> HashSet<(String, String)> {
        told.into_iter().map(|(name, state, _)| (name, state)).collect()
    };
    let line = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    let expected = HashSet::from([line("echo/1", "UNAVAILABLE"), line("echo/2", "READY")]);
    assert_eq!(states(index(&mut client).await), expected);

    unload(&mut client, "echo").await.unwrap();
    let status = within(client.model_infer(echo(&[1.0]))).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "model \"echo\" (version 2) is not ready: unloaded")
    );
    load(&mut client, "echo").await.unwrap();
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_model_that_came_later_is_found_when_it_is_asked_for() {
    let late = Model::identity("late", DType::Fp32, &[FREE]).versions(&[]);
    let serving = Serving::of([Model::echo(), late]).await;
    let mut client = serving.oip().await;
    assert_eq!(load(&mut client, "late").await.unwrap_err().code(), Code::NotFound);
    publish(&serving, "late", 1, "here");
    load(&mut client, "late").await.unwrap();
    assert!(within(client.model_infer(crate::harness::echo_of("late", &[1.0]))).await.is_ok());
    serving.finish().await;
}

#[tokio::test]
async fn models_are_loaded_one_at_a_time_while_calls_are_served() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let slow = |name: &'static str| {
        let passage = passage.clone();
        Model::identity(name, DType::Fp32, &[FREE]).loading(move |_, load| {
            if load > 1 {
                passage.pass(name);
            }
            Ok(())
        })
    };
    let serving = Serving::of([slow("one"), slow("two"), Model::echo()]).await;
    let client = serving.oip().await;
    let loads: Vec<JoinHandle<_>> = ["one", "two"]
        .into_iter()
        .map(|name| {
            publish(&serving, name, 1, "other");
            let mut client = client.clone();
            tokio::spawn(async move { load(&mut client, name).await })
        })
        .collect();
    let first = gate.next().await;
    serving.answers_as_ever().await;
    assert!(!gate.has_visitor(), "a second load began beside the first");
    gate.let_one_pass();
    assert_ne!(gate.next().await, first);
    gate.open();
    for load in loads {
        within(load).await.unwrap().unwrap();
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_load_goes_on_when_its_caller_leaves() {
    let mut gate = Gate::closed();
    let passage = gate.passage();
    let model = counting().loading(move |_, load| {
        if load > 1 {
            passage.pass("load");
        }
        Ok(())
    });
    let serving = Serving::of([model]).await;
    let client = serving.oip().await;
    publish(&serving, "echo", 1, "other");
    let leaving = tokio::spawn({
        let mut client = client.clone();
        async move { load(&mut client, "echo").await }
    });
    gate.next().await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    gate.open();
    eventually("the new one answers", async || answering(&mut client.clone()).await == 2.0).await;
    serving.finish().await;
}

#[tokio::test]
async fn what_may_not_be_loaded_is_refused_with_a_reason() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = serving.oip().await;
    for (name, code) in [
        ("nobody", Code::NotFound),
        ("../echo", Code::InvalidArgument),
        ("..", Code::InvalidArgument),
        ("a/b", Code::InvalidArgument),
        ("echo\0", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        assert_eq!(load(&mut client, name).await.unwrap_err().code(), code, "{name:?}");
        assert_eq!(unload(&mut client, name).await.unwrap_err().code(), code, "{name:?}");
    }
    let parameter = proto::ModelRepositoryParameter::default();
    let request = proto::RepositoryModelLoadRequest {
        model_name: "echo".to_owned(),
        parameters: [("config".to_owned(), parameter)].into(),
        ..Default::default()
    };
    let status = within(client.repository_model_load(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "parameter \"config\" is not served: change the model's folder");
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn with_model_control_off_nobody_loads_or_unloads() {
    let serving = Serving::with([Model::echo()], |config| config.allow_model_control = false).await;
    let mut client = serving.oip().await;
    // Whatever the name is: whoever may not ask learns nothing.
    for name in ["echo", "nobody", "../echo"] {
        for status in [load(&mut client, name).await, unload(&mut client, name).await] {
            let status = status.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(status.message(), "loading and unloading is switched off (allow_model_control)");
        }
    }
    serving.answers_as_ever().await;
    serving.finish().await;
}
