//! Callers who leave, and deadlines that pass, where others are in the same batch.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use tonic::Code;

use super::{Busy, answered, begun, call, has, have_come, ran, rows};
use crate::harness::{FREE, Gate, Model, Pending, Raw, Serving, echoed, eventually};

/// A server with one instance that stops when nobody waits any more; it holds every run.
async fn attentive() -> (Serving, Raw, Gate) {
    let gate = Gate::closed();
    let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).settings("instances = 1");
    let serving = Serving::of([model.behind_while_waited_for(&gate)]).await;
    let raw = serving.raw().await;
    (serving, raw, gate)
}

/// Lets calls with these values run as one, which stands at the gate then.
async fn running_together<const N: usize>(raw: &Raw, gate: &mut Gate, calls: [(f32, &str); N]) -> [Pending; N] {
    let first = begun(raw, &call(&[0.0]), &[]).await;
    gate.next().await;
    let mut running = Vec::new();
    for (value, timeout) in calls {
        running.push(begun(raw, &call(&[value]), &[("grpc-timeout", timeout)]).await);
        have_come(raw).await;
    }
    gate.let_one_pass();
    assert_eq!(gate.next().await, calls[0].0.to_string());
    answered(first).await;
    running.try_into().unwrap_or_else(|_| unreachable!("as many run as were given"))
}

async fn have_left(serving: &Serving, callers: u64) {
    eventually("they have left", async || serving.totals().abandoned == callers).await;
}

#[tokio::test]
async fn who_leaves_while_waiting_is_not_in_the_batch() {
    let busy = Busy::with("").await;
    let [one, leaving, two] = busy.queue([&call(&[1.0]), &call(&[2.0]), &call(&[3.0])]).await;
    leaving.reset();
    have_left(&busy.serving, 1).await;
    let released = busy.release().await;
    assert_eq!((echoed(&answered(one).await), echoed(&answered(two).await)), (vec![1.0], vec![3.0]));
    assert_eq!(released.later_runs(), [[1.0, 3.0]]);
    released.finish().await;
}

#[tokio::test]
async fn when_all_have_left_their_run_is_stopped() {
    let (serving, raw, mut gate) = attentive().await;
    for pending in running_together(&raw, &mut gate, [(1.0, "30S"), (2.0, "30S")]).await {
        pending.reset();
    }
    // Nobody opened the gate: the next one comes to it because the run gave up.
    let next = begun(&raw, &call(&[3.0]), &[]).await;
    assert_eq!(gate.next().await, "3");
    gate.open();
    answered(next).await;
    assert_eq!(serving.finish().await.abandoned, 2);
}

#[tokio::test]
async fn when_one_has_left_the_run_goes_on_for_the_others() {
    let (serving, raw, mut gate) = attentive().await;
    let [leaving, staying] = running_together(&raw, &mut gate, [(1.0, "30S"), (2.0, "30S")]).await;
    leaving.reset();
    have_left(&serving, 1).await;
    gate.open();
    assert_eq!(echoed(&answered(staying).await), [2.0]);
    serving.finish().await;
}

#[tokio::test]
async fn who_is_late_is_told_at_its_own_deadline_and_the_run_goes_on_for_the_others() {
    let (serving, raw, mut gate) = attentive().await;
    let [late, patient] = running_together(&raw, &mut gate, [(1.0, "1S"), (2.0, "30S")]).await;
    let answer = late.answer().await.unwrap();
    assert_eq!(
        (answer.code(), &*answer.message()),
        (Code::DeadlineExceeded, "deadline exceeded while waiting for an answer")
    );
    gate.open();
    assert_eq!(echoed(&answered(patient).await), [2.0]);
    assert_eq!(serving.finish().await.expired, 1);
}

/// A run of several fails, which is told at the gate before it does; runs of one are held there.
fn fails_together(gate: &Gate) -> Model {
    let passage = gate.passage();
    rows(gate).acting(move |run| {
        passage.pass(run.first());
        match run.inputs[0].shape()[0] > 1 || has(run, 13.0) {
            true => Err(Error::new(Kind::Engine, "not together")),
            false => run.identity(),
        }
    })
}

#[tokio::test]
async fn who_leaves_during_a_run_that_fails_is_not_in_its_repetition() {
    let mut gate = Gate::closed();
    let model = fails_together(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let [leaving, staying] = running_together(&raw, &mut gate, [(1.0, "30S"), (2.0, "30S")]).await;
    leaving.reset();
    have_left(&serving, 1).await;
    gate.open();
    assert_eq!(echoed(&answered(staying).await), [2.0]);
    assert_eq!(ran(&log), [vec![0.0], vec![1.0, 2.0], vec![2.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn who_leaves_before_its_repetition_never_runs_again() {
    let mut gate = Gate::closed();
    let model = fails_together(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    let [one, leaving, two] = running_together(&raw, &mut gate, [(1.0, "30S"), (2.0, "30S"), (3.0, "30S")]).await;
    gate.let_one_pass();
    assert_eq!(gate.next().await, "1");
    leaving.reset();
    have_left(&serving, 1).await;
    gate.open();
    assert_eq!((echoed(&answered(one).await), echoed(&answered(two).await)), (vec![1.0], vec![3.0]));
    assert_eq!(ran(&log), [vec![0.0], vec![1.0, 2.0, 3.0], vec![1.0], vec![3.0]]);
    serving.finish().await;
}

#[tokio::test]
async fn who_leaves_a_call_that_runs_in_parts_leaves_all_of_them() {
    let (serving, raw, mut gate) = {
        let gate = Gate::closed();
        let model = Model::identity("rows", DType::Fp32, &[FREE, FREE]).behind_while_waited_for(&gate);
        let serving = Serving::of([model.settings("instances = 1\nbatch.max_batch = 2")]).await;
        let raw = serving.raw().await;
        (serving, raw, gate)
    };
    let leaving = begun(&raw, &call(&[1.0, 2.0, 3.0, 4.0, 5.0]), &[]).await;
    assert_eq!(gate.next().await, "1");
    leaving.reset();
    let next = begun(&raw, &call(&[9.0]), &[]).await;
    assert_eq!(gate.next().await, "9");
    gate.open();
    assert_eq!(echoed(&answered(next).await), [9.0]);
    assert_eq!(serving.finish().await.abandoned, 1);
}
