//! Closed loops: so many calls in flight, on one server and then on the other.

use std::time::Duration;

use crate::bare::Bare;
use crate::calls::{self, Call};
use crate::rig::load::{Target, together};
use crate::rig::process::Process;
use crate::rig::{Ratio, median, verdict};
use crate::statistics::Runs;
use crate::{Effort, repository};

/// One round of load on one server.
struct Round {
    rate: f64,
    p99: f64,
    server: f64,
    client: f64,
    mean: f64,
}

struct Side {
    process: Process,
    target: Target,
    model: String,
    _repository: tempfile::TempDir,
}

impl Side {
    async fn infergate(model: &str, settings: &str, calls: &[Call], output: Option<&str>) -> Side {
        let repository = repository::of(model, settings);
        let folder = repository.path().display().to_string();
        let process = Process::infergate(&["serve", "--models", &folder, "--set", "log.level=warn"]).await;
        Side::at(process, model, calls, output, repository).await
    }

    async fn scripted(settings: &str, calls: &[Call], run: Duration, row: Duration) -> Side {
        let repository = repository::of("scripted", settings);
        let role = format!("{},{},{}", repository.path().display(), run.as_micros(), row.as_micros());
        let process = Process::myself(&role).await;
        Side::at(process, "scripted", calls, None, repository).await
    }

    async fn at(
        process: Process,
        model: &str,
        calls: &[Call],
        output: Option<&str>,
        repository: tempfile::TempDir,
    ) -> Side {
        let target = Target::in_turn(&process, calls::messages(model, calls, output)).await;
        Side { process, target, model: model.into(), _repository: repository }
    }

    /// Which part of what engines got was padding.
    fn padding(&self) -> f64 {
        let elements = self.process.metric("inference_input_elements_total");
        self.process.metric("inference_padding_elements_total") / elements.max(1.0)
    }

    async fn round(&self, in_flight: usize, time: Duration) -> Round {
        let (before, cpu, own) = (Runs::of(&self.target, &self.model).await, self.process.cpu(), own_cpu());
        let began = std::time::Instant::now();
        let mut times = together(&self.target, in_flight, time).await;
        let took = began.elapsed().as_secs_f64();
        let (server, client) = ((self.process.cpu() - cpu).as_secs_f64(), (own_cpu() - own).as_secs_f64());
        let done = times.len() as f64;
        times.sort_by(f64::total_cmp);
        Round {
            rate: done / took,
            p99: times[times.len() * 99 / 100],
            server: server / done,
            client: client / took,
            mean: Runs::of(&self.target, &self.model).await.since(before).mean(),
        }
    }
}

/// CPU time of this thread, on which the client is.
fn own_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("its times");
    Duration::from_nanos(told.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

/// Rounds of two servers, interleaved.
async fn rounds(sides: [&Side; 2], in_flight: usize, effort: Effort) -> [Vec<Round>; 2] {
    let mut rounds = [Vec::new(), Vec::new()];
    for side in sides {
        side.round(in_flight, effort.time).await;
    }
    for round in 0..effort.rounds {
        for index in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            rounds[index].push(sides[index].round(in_flight, effort.time).await);
        }
    }
    rounds
}

fn of(rounds: &[Round], what: impl Fn(&Round) -> f64) -> Vec<f64> {
    rounds.iter().map(what).collect()
}

fn say(what: &str, figures: String, ratio: &Ratio, bound: &str, met: bool) {
    let Ratio { median, least, most } = ratio;
    println!("{what:<42} {figures:<58} ratio {median:.3} ({least:.3} to {most:.3}), bound {bound}: {}", verdict(met));
}

/// `mlp` with 64 in flight: batches of up to 32 against none.
pub async fn on_against_off(effort: Effort) {
    let calls = calls::mlp();
    let on = Side::infergate("mlp", "", &calls, None).await;
    let off = Side::infergate("mlp", "batch.max_batch = 1", &calls, None).await;
    let [on, off] = rounds([&on, &off], 64, effort).await;
    let rates = [of(&on, |round| round.rate), of(&off, |round| round.rate)];
    let ratio = Ratio::of(&rates[0], &rates[1]);
    let [fast, slow] = [&rates[0], &rates[1]].map(|rates| median(&mut rates.clone()));
    let mean = median(&mut of(&on, |round| round.mean));
    say(
        "mlp, 64 in flight, calls/s, on against off",
        format!("{fast:.0} (mean batch {mean:.1}) against {slow:.0}"),
        &ratio,
        ">= 1.7",
        ratio.median >= 1.7,
    );
    let p99s = [of(&on, |round| round.p99 * 1e3), of(&off, |round| round.p99 * 1e3)];
    let ratio = Ratio::of(&p99s[0], &p99s[1]);
    let [on, off] = [&p99s[0], &p99s[1]].map(|p99s| median(&mut p99s.clone()));
    say("mlp, 64 in flight, p99", format!("{on:.1} ms against {off:.1} ms"), &ratio, "<= 1", ratio.median <= 1.0);
}

/// Server CPU of `mlp` with 128 in flight, against a bare tonic echo plus bare ONNX Runtime at the same mean batch.
pub async fn against_the_floor(effort: Effort) {
    let effort = effort.in_short_rounds();
    let calls = calls::mlp();
    let ours = Side::infergate("mlp", "", &calls, None).await;
    let echo = Process::myself("echo").await;
    let echoed = Target::floor(&echo, calls::messages("mlp", &calls, None)[0].clone()).await;
    let mut bare = Bare::of("mlp");
    let (mut own, mut floor, mut means, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let round = ours.round(128, effort.time).await;
        let before = echo.cpu();
        let done = together(&echoed, 128, effort.time).await.len() as f64;
        let tonic = (echo.cpu() - before).as_secs_f64() / done;
        let run = bare.seconds_per_row(&calls[0], round.mean.round().max(1.0) as usize, effort.time);
        own.push(round.server * 1e6);
        floor.push((tonic + run) * 1e6);
        parts.push((tonic * 1e6, run * 1e6));
        means.push(round.mean);
    }
    let ratio = Ratio::of(&own, &floor);
    let (tonic, run) = parts[parts.len() / 2];
    let [own, floor, mean] = [own, floor, means].map(|mut values| median(&mut values));
    let figures = format!("{own:.1} us (mean batch {mean:.1}) against {floor:.1} (about {tonic:.1} + {run:.1})");
    say("mlp, 128 in flight, server CPU per call", figures, &ratio, "<= 1.2", ratio.median <= 1.2);
}

/// What the cores that the client leaves do, against the same cores with bare ONNX Runtime, call by call.
pub async fn against_bare(model: &str, calls: Vec<Call>, effort: Effort) {
    let effort = effort.in_short_rounds();
    let ours = Side::infergate(model, "", &calls, None).await;
    let mut bare = Bare::of(model);
    ours.round(32, effort.time).await;
    let cores = crate::cores() as f64;
    let (mut own, mut most, mut means, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let run = bare.seconds_per_row(&calls[0], 1, effort.time);
        let round = ours.round(32, effort.time).await;
        own.push(round.rate);
        most.push((cores - round.client) / run);
        means.push(round.mean);
        shares.push(run / round.server);
    }
    let ratio = Ratio::of(&own, &most);
    let [own, most, mean, share] = [own, most, means, shares].map(|mut values| median(&mut values));
    let figures = format!("{own:.0} (mean batch {mean:.1}, CPU {share:.2}) against {most:.0} calls/s");
    say(&format!("{model}, 32 in flight, against bare"), figures, &ratio, ">= 0.85", ratio.median >= 0.85);
}

const BUCKETS: &str = "buckets = [16, 32, 64, 128]";

/// Lengths of 1 to 64 on an engine that takes 2 ms for a run, whatever is in it.
pub async fn lengths_scripted(effort: Effort) {
    let mut random = fastrand::Rng::with_seed(1);
    let calls = calls::rows((0..509).map(|_| random.usize(1..=64)));
    let times = (Duration::from_millis(2), Duration::ZERO);
    let padded = format!("[batch.dims.length]\n{BUCKETS}");
    let padded = Side::scripted(&padded, &calls, times.0, times.1).await;
    let equal = Side::scripted("", &calls, times.0, times.1).await;
    let [rounds_padded, rounds_equal] = rounds([&padded, &equal], 64, effort).await;
    let padding = padded.padding();
    compare("mixed lengths, fixed cost, padded", &rounds_padded, &rounds_equal, padding, 2.0);
}

/// Lengths of 8 to 128 on the real encoder.
pub async fn lengths_of_the_encoder(effort: Effort) {
    let mut random = fastrand::Rng::with_seed(1);
    let calls = calls::encoder((0..509).map(|_| random.usize(8..=128)));
    let padded = format!("[batch.dims.sequence]\n{BUCKETS}\nmask = \"attention_mask\"");
    let padded = Side::infergate("encoder", &padded, &calls, Some("pooled")).await;
    let equal = Side::infergate("encoder", "", &calls, Some("pooled")).await;
    let [rounds_padded, rounds_equal] = rounds([&padded, &equal], 64, effort).await;
    let padding = padded.padding();
    compare("mixed lengths, encoder, padded", &rounds_padded, &rounds_equal, padding, 0.97);
}

fn compare(what: &str, padded: &[Round], equal: &[Round], padding: f64, bound: f64) {
    let rates = [of(padded, |round| round.rate), of(equal, |round| round.rate)];
    let ratio = Ratio::of(&rates[0], &rates[1]);
    let means = [padded, equal].map(|side| median(&mut of(side, |round| round.mean)));
    let [fast, slow] = rates.map(|mut rates| median(&mut rates));
    let figures = format!(
        "{fast:.0} (mean batch {:.1}, {:.0} % padding) against {slow:.0} ({:.1}) calls/s",
        means[0],
        padding * 100.0,
        means[1]
    );
    say(what, figures, &ratio, &format!(">= {bound}"), ratio.median >= bound);
}
