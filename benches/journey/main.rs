//! What the journey of a call costs: `infergate serve` against a floor, in one run, given as ratios.
//!
//! The floor of a call is a bare tonic handler that hands the message's bytes, not even decoded, to a thread with a
//! bare ONNX Runtime session, and waits. The floor of a large call is a bare tonic echo with the same windows. Each
//! server is a process of its own, so that its CPU and memory are its own; rounds of both are interleaved.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod accounts;
mod floor;
#[path = "../rig/mod.rs"]
mod rig;

use std::time::{Duration, Instant};

use bytes::Bytes;
use rig::load::{Target, one_after_another, together};
use rig::process::Process;
use rig::{Ratio, median, verdict};

/// A digit through the example CNN: a few kilobytes of weights, some tens of microseconds to run.
const TINY: &str = "digits";
const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models");
const ROUNDS: usize = 31;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--be") {
        Some(at) => floor::be(&arguments[at + 1]),
        None => measure(arguments.iter().any(|argument| argument == "--short")),
    }
}

fn measure(short: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        unary(short).await;
        large(short).await;
        accounts::show(short).await;
        idle().await;
    });
}

/// One call at a time, and 128 at a time, on a tiny model.
async fn unary(short: bool) {
    let floor = Process::myself("floor").await;
    let ours = Process::infergate(&["serve", "--models", MODELS]).await;
    let message = floor::digit_message();
    let targets = [Target::floor(&floor, message.clone()).await, Target::model_infer(&ours, message).await];
    check_answers(&targets).await;

    let (calls, time) = if short { (100, Duration::from_millis(100)) } else { (1000, Duration::from_millis(700)) };
    let mut p50s = [Vec::new(), Vec::new()];
    let mut cpus = [Vec::new(), Vec::new()];
    let mut rates = [Vec::new(), Vec::new()];
    let mut sleeps = [Vec::new(), Vec::new()];
    let mut many_sleeps = [Vec::new(), Vec::new()];
    for target in &targets {
        one_after_another(target, calls).await;
    }
    for _ in 0..ROUNDS {
        for (side, (target, process)) in targets.iter().zip([&floor, &ours]).enumerate() {
            let before = process.sleeps();
            p50s[side].push(one_after_another(target, calls).await);
            sleeps[side].push((process.sleeps() - before) as f64 / calls as f64);
        }
        for (side, (target, process)) in targets.iter().zip([&floor, &ours]).enumerate() {
            let (before, slept) = (process.cpu(), process.sleeps());
            let done = together(target, 128, time).await.len();
            many_sleeps[side].push((process.sleeps() - slept) as f64 / done as f64);
            cpus[side].push((process.cpu() - before).as_secs_f64() / done as f64);
            rates[side].push(done as f64 / time.as_secs_f64());
        }
    }
    report("unary p50, one in flight", "us", 1e6, &p50s, 1.15);
    report("server CPU per call, 128 in flight", "us", 1e6, &cpus, 1.15);
    for (what, sleeps) in [("one in flight", sleeps), ("128 in flight", many_sleeps)] {
        let [floor, ours] = sleeps.map(|mut sleeps| median(&mut sleeps));
        println!("{:<44} floor {floor:>9.2}    ours {ours:>9.2}", format!("threads going to sleep per call, {what}"));
    }
    let [floor, ours] = rates.map(|mut rates| median(&mut rates));
    println!("{:<44} floor {floor:>9.0}/s  ours {ours:>9.0}/s", "calls, 128 in flight");
}

/// 16 MiB through an identity engine against an echo.
async fn large(short: bool) {
    let echo = Process::myself("echo").await;
    let ours = Process::myself("identity").await;
    let message = floor::identity_message(16 << 20);
    let targets = [Target::floor(&echo, message.clone()).await, Target::model_infer(&ours, message).await];
    let calls = if short { 1 } else { 5 };
    let mut p50s = [Vec::new(), Vec::new()];
    for target in &targets {
        one_after_another(target, 2).await;
    }
    for _ in 0..ROUNDS {
        for (side, target) in targets.iter().enumerate() {
            p50s[side].push(one_after_another(target, calls).await);
        }
    }
    report("16 MiB, p50, one in flight", "ms", 1e3, &p50s, 1.1);
}

/// Mebibytes of its own that a process may have at rest. On two CPUs it has 11.3; with 16 of them, or where the kernel gives
/// huge pages, 12.7.
const OWN: f64 = 14.0;

/// Memory at rest and time to the first answer.
async fn idle() {
    let folder = format!("{MODELS}/{TINY}/1/model.onnx");
    let (mut starts, mut own, mut of_files) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let began = Instant::now();
        let ours = Process::infergate(&["serve", "--models", &folder, "--set", "log.level=off"]).await;
        let target = Target::model_infer(&ours, floor::digit_message_for("model")).await;
        target.call().await;
        starts.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let memory = ours.memory();
        own.push(memory.own as f64 / 1048576.0);
        of_files.push(memory.of_files as f64 / 1048576.0);
    }
    println!("{:<44} {:>9.0} ms   (bound 300)", "start to first answer", median(&mut starts) * 1e3);
    let (own, of_files) = (median(&mut own), median(&mut of_files));
    let kept = verdict(own <= OWN);
    println!("{:<44} {own:>9.1} MiB, bound {OWN}: {kept}", "own memory at rest, one tiny model");
    println!("{:<44} {of_files:>9.1} MiB", "pages of program and libraries beside it");
}

/// Both must give the same bytes, or the comparison is of different things.
async fn check_answers(targets: &[Target; 2]) {
    let tail = |answer: Bytes| answer.slice(answer.len() - 40..);
    let [floor, ours] = [tail(targets[0].call().await), tail(targets[1].call().await)];
    assert_eq!(floor, ours, "the floor and infergate answer differently");
}

fn report(what: &str, unit: &str, scale: f64, sides: &[Vec<f64>; 2], bound: f64) {
    let [floor, ours] = [0, 1].map(|side| median(&mut sides[side].clone()) * scale);
    let Ratio { median: ratio, least, most } = Ratio::of(&sides[1], &sides[0]);
    let verdict = verdict(ratio <= bound);
    println!(
        "{what:<44} floor {floor:>9.1} {unit} ours {ours:>9.1} {unit}  ratio {ratio:.3} ({least:.3} to {most:.3}), bound {bound}: {verdict}"
    );
}
