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
    println!(
        "CPU time by call that is counted, all of one model, on {most} cores; others who use them hide what it is worth"
    );
    for threads in [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|threads| *threads <= most.max(2)) {
        let (mut ratios, mut striped) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let [several, one] = [CallTable::new, CallTable::unstriped]
                .map(|table| counted(&table(code), threads, Duration::from_millis(time)));
            striped.push(several);
            ratios.push(one / several);
        }
        let (striped, ratio) = (median(&mut striped), median(&mut ratios));
        println!("  {threads:>2} threads: {striped:>6.1} ns, in one set {ratio:>5.2} times as much");
    }
}

fn code(_: Kind) -> &'static str {
    "UNKNOWN"
}

/// Nanoseconds of CPU time by call while so many threads count.
fn counted(table: &CallTable, threads: usize, time: Duration) -> f64 {
    let begin = Barrier::new(threads);
    let counted = scope(|scope| {
        let counting: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    counted_here(table, time)
                })
            })
            .collect();
        counting.into_iter().map(|thread| thread.join().expect("it counts")).collect::<Vec<_>>()
    });
    let (calls, nanos) = counted.iter().fold((0, 0), |(calls, nanos), (more, time)| (calls + more, nanos + time));
    nanos as f64 / calls as f64
}

/// Calls that this thread counts, and the CPU time that it takes for them.
fn counted_here(table: &CallTable, time: Duration) -> (u64, u64) {
    let timeline = call();
    let began = Instant::now();
    let spent = timeline.spent_until(began);
    let before = on_cpu();
    let mut calls = 0;
    while began.elapsed() < time {
        (0..CALLS).for_each(|_| table.ended(&timeline, began, &spent, None, None));
        calls += CALLS;
    }
    (calls, on_cpu() - before)
}

/// How long this thread has run, in nanoseconds (proc(5)).
fn on_cpu() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux with /proc");
    told.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
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
