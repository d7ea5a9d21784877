//! What it is worth that threads count calls in several sets of numbers: all of them end calls of one model as fast as they
//! can, once counted in sets of their own and once all in one, and only the ratio is told. `--short` sees that it runs.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Barrier;
use std::thread::{available_parallelism, scope};
use std::time::{Duration, Instant};

use infergate::error::Kind;
use infergate::infer::{Stage, Timeline, Version};
use infergate::observe::CallTable;

/// Calls between two looks at the clock.
const CALLS: u64 = 256;

fn main() {
    let short = std::env::args().any(|argument| argument == "--short");
    let (rounds, time) = if short { (3, 10) } else { (21, 100) };
    let most = available_parallelism().map_or(1, usize::from);
    println!("calls that are counted by second and thread, of one model, on {most} cores");
    for threads in [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|threads| *threads <= most.max(2)) {
        let (mut ratios, mut striped) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let [several, one] = [CallTable::new, CallTable::unstriped]
                .map(|table| counted(&table(code), threads, Duration::from_millis(time)));
            striped.push(several / threads as f64);
            ratios.push(several / one);
        }
        let (striped, ratio) = (median(&mut striped), median(&mut ratios));
        println!("  {threads:>2} threads: {:>5.2} million, {ratio:>5.2} times as many as in one set", striped / 1e6);
    }
}

fn code(_: Kind) -> &'static str {
    "UNKNOWN"
}

/// Calls that so many threads together count in a second.
fn counted(table: &CallTable, threads: usize, time: Duration) -> f64 {
    let begin = Barrier::new(threads);
    scope(|scope| {
        let counting: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    counted_here(table, time)
                })
            })
            .collect();
        counting.into_iter().map(|thread| thread.join().expect("it counts")).sum()
    })
}

fn counted_here(table: &CallTable, time: Duration) -> f64 {
    let timeline = call();
    let began = Instant::now();
    let spent = timeline.spent_until(began);
    let mut calls = 0;
    while began.elapsed() < time {
        (0..CALLS).for_each(|_| table.ended(&timeline, began, &spent, None, None));
        calls += CALLS;
    }
    calls as f64 / began.elapsed().as_secs_f64()
}

/// A call that took time in each of its stages.
fn call() -> Timeline {
    let start = Instant::now();
    let timeline = Timeline::start(start);
    timeline.taken_by(&"m".parse().expect("a name"), Version::new(1));
    let mut at = start;
    for stage in Stage::ALL {
        at += Duration::from_micros(40);
        timeline.end(stage, at);
    }
    timeline
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
