//! Open loop at one and a half times what a server can do, each call with 50 ms.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;

use crate::calls::{self, Call};
use crate::rig::load::{Target, together};
use crate::rig::process::Process;
use crate::rig::{median, verdict};
use crate::statistics::Runs;
use crate::{Effort, repository};

const DEADLINE: Duration = Duration::from_millis(50);
const TIMES_CAPACITY: f64 = 1.5;

/// An engine that takes 4 ms for a run and 0.25 ms for each row: a device, so that the CPU is not what is short.
pub async fn scripted(effort: Effort) {
    let repository = repository::of("scripted", "batch.max_batch = 16");
    let process = Process::myself(&format!("{},4000,250", repository.path().display())).await;
    let calls = calls::rows([32].into_iter());
    overload("scripted engine", "scripted", &process, &calls, None, effort).await;
}

/// The real encoder, which takes all the CPU that the client leaves.
pub async fn encoder(effort: Effort) {
    let repository = repository::of("encoder", "");
    let folder = repository.path().display().to_string();
    let process = Process::infergate(&["serve", "--models", &folder, "--set", "log.level=warn"]).await;
    let calls = calls::encoder([64].into_iter());
    overload("encoder", "encoder", &process, &calls, Some("pooled"), effort).await;
}

async fn overload(what: &str, model: &str, process: &Process, calls: &[Call], output: Option<&str>, effort: Effort) {
    let messages = calls::messages(model, calls, output);
    let target = Target::in_turn(process, messages.clone()).await;
    together(&target, 64, effort.time).await;
    let (mut goods, mut lates) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let peak = together(&target, 64, effort.time).await.len() as f64 / effort.time.as_secs_f64();
        let before = Runs::of(&target, model).await;
        let good = open_loop(&target, &messages[0], peak * TIMES_CAPACITY, effort.time).await;
        let ran = Runs::of(&target, model).await.since(before).rows as f64;
        goods.push(good as f64 / effort.time.as_secs_f64() / peak);
        lates.push((ran - good as f64).max(0.0) / ran.max(1.0));
    }
    let [good, late] = [goods, lates].map(|mut values| median(&mut values));
    println!("{:<42} {good:.3} of peak, bound >= 0.9: {}", format!("overload, {what}, goodput"), verdict(good >= 0.9));
    println!(
        "{:<42} {:.2} %, bound <= 1 %: {}",
        format!("overload, {what}, executed but late"),
        late * 100.0,
        verdict(late <= 0.01)
    );
}

/// Calls that come at random, so many a second, for `time`: how many are answered well within the deadline, counted
/// from when they were meant to start.
async fn open_loop(target: &Target, message: &Bytes, rate: f64, time: Duration) -> usize {
    let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    let mut random = fastrand::Rng::new();
    let (began, mut at, mut starts) = (Instant::now(), 0.0, Vec::new());
    while at < time.as_secs_f64() {
        starts.push(began + Duration::from_secs_f64(at));
        at -= random.f64().max(f64::MIN_POSITIVE).ln() / rate;
    }
    let call = |(caller, start): (usize, Instant)| {
        let path = path.clone();
        async move {
            tokio::time::sleep_until(start.into()).await;
            let left = (start + DEADLINE).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let answer = target.send(caller, path, message.clone(), Some(left)).await;
            answer.is_ok() && start.elapsed() <= DEADLINE
        }
    };
    let answers = futures_util::future::join_all(starts.into_iter().enumerate().map(call)).await;
    answers.into_iter().filter(|good| *good).count()
}
