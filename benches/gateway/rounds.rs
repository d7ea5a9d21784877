//! Rounds of one case: every way in turn, each round beginning with another.

use tokio::time::timeout;

use crate::rig::load::{PATIENCE, Target, attempted};
use crate::rig::process::Process;
use crate::sides::Sides;
use crate::{Case, Effort};

/// One way under load, once.
pub struct Round {
    pub rate: f64,
    /// Seconds.
    pub p50: f64,
    pub p99: f64,
    /// CPU seconds of the proxy by call; zero on the direct way.
    pub cpu: f64,
    /// CPU seconds of the load by call.
    pub client: f64,
    /// The part of the time in which the proxy's core worked for it.
    pub busy: f64,
    /// Calls that were not answered well.
    pub failed: usize,
}

/// Rounds by side.
pub async fn run(sides: &Sides, case: &Case, effort: Effort) -> Vec<Vec<Round>> {
    let message = crate::message(case.size);
    let mut targets = Vec::new();
    for side in &sides.all {
        targets.push(side.target(message.clone()).await);
    }
    check_answers(&targets).await;
    let count = targets.len();
    let mut rounds: Vec<Vec<Round>> = (0..count).map(|_| Vec::new()).collect();
    for (target, side) in targets.iter().zip(&sides.all) {
        round(target, side.proxy.as_ref(), case, effort).await;
    }
    for number in 0..effort.rounds {
        for side in (0..count).map(|side| (side + number) % count) {
            rounds[side].push(round(&targets[side], sides.all[side].proxy.as_ref(), case, effort).await);
        }
    }
    rounds
}

/// The bytes of an answer must be the same whatever they came through; whoever gives none is found out by the rounds.
async fn check_answers(targets: &[Target]) {
    let direct = targets[0].call().await;
    for target in &targets[1..] {
        if let Ok(Ok(answer)) = timeout(PATIENCE, target.attempt()).await {
            assert!(direct == answer, "a proxy has changed the answer");
        }
    }
}

async fn round(target: &Target, proxy: Option<&Process>, case: &Case, effort: Effort) -> Round {
    let spent = || proxy.map_or(0.0, |proxy| proxy.cpu().as_secs_f64());
    let (before, own, began) = (spent(), own_cpu(), std::time::Instant::now());
    let ended = attempted(target, case.in_flight, effort.time).await;
    let took = began.elapsed().as_secs_f64();
    let (cpu, client) = (spent() - before, own_cpu() - own);
    let all = ended.len() as f64;
    let mut times: Vec<f64> = ended.into_iter().flatten().collect();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1))).copied();
    Round {
        rate: times.len() as f64 / took,
        p50: at(0.5).unwrap_or(f64::NAN),
        p99: at(0.99).unwrap_or(f64::NAN),
        cpu: cpu / all,
        client: client / all,
        busy: cpu / took,
        failed: all as usize - times.len(),
    }
}

/// CPU seconds of this thread, on which the client is.
fn own_cpu() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("its times");
    told.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("a number") / 1e9
}
