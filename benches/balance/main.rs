//! Balancing in virtual time: the product's own pickers and planner, and rules of others, over the same arrivals and
//! the same workers. Nothing here is timed by a clock, so that the figures are the same on every machine.
//!
//! `--short` for a few seconds of it, `--seeds N`, `--only PART` of a scenario's name, `--plot FOLDER` for pictures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod list;
mod others;
mod ours;
mod plot;
mod scenario;
mod statistics;
mod verdict;
mod worker;
mod world;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use list::{ALONE, RULES, SIMPLE};
use scenario::{Rule, Scenario};
use statistics::{Ratio, Summary, mean};
use world::World;

/// The bound of the load that is held: p99 within it, in milliseconds.
const HELD: f64 = 50.0;

/// What all runs came to, by scenario and rule, one for each seed.
pub struct Outcomes {
    names: Vec<String>,
    runs: HashMap<(String, &'static str), Vec<Summary>>,
}

impl Outcomes {
    /// Runs all of it, on as many threads as there are.
    fn of(scenarios: &[Scenario], rules: fn(&Scenario) -> Vec<Rule>, seeds: u64) -> Outcomes {
        let jobs: Vec<(&Scenario, Rule, u64)> = scenarios
            .iter()
            .flat_map(|scenario| rules(scenario).into_iter().map(move |rule| (scenario, rule)))
            .flat_map(|(scenario, rule)| (1..=seeds).map(move |seed| (scenario, rule, seed)))
            .collect();
        let (next, results) = (AtomicUsize::new(0), Mutex::new(vec![None; jobs.len()]));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Relaxed);
                        let Some((scenario, rule, seed)) = jobs.get(index) else { break };
                        let summary = Summary::of(&World::new(scenario, *rule, *seed).run());
                        results.lock().expect("no panic")[index] = Some(summary);
                    }
                });
            }
        });
        let mut runs: HashMap<_, Vec<Summary>> = HashMap::new();
        for ((scenario, rule, _), summary) in jobs.iter().zip(results.into_inner().expect("no panic")) {
            runs.entry((scenario.name.clone(), rule.name())).or_default().push(summary.expect("it has run"));
        }
        Outcomes { names: scenarios.iter().map(|scenario| scenario.name.clone()).collect(), runs }
    }

    fn scenarios(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    fn runs(&self, scenario: &str, rule: Rule) -> &[Summary] {
        self.runs.get(&(scenario.to_owned(), rule.name())).map_or(&[], Vec::as_slice)
    }

    fn ratio(&self, scenario: &str, rule: Rule, to: Rule, figure: fn(&Summary) -> f64) -> Option<Ratio> {
        let (runs, base) = (self.runs(scenario, rule), self.runs(scenario, to));
        (!runs.is_empty() && !base.is_empty()).then(|| Ratio::of(runs, base, figure))
    }
}

fn rules(scenario: &Scenario) -> Vec<Rule> {
    let simple = if scenario.name == ALONE || scenario.name.starts_with("S10") { &SIMPLE[..] } else { &[] };
    RULES.iter().chain(simple).copied().collect()
}

fn table(outcomes: &Outcomes, scenario: &str) {
    println!(
        "\n{scenario}\n{:<24} {:>8} {:>8} {:>8} {:>8}   {:<18} {:>7} {:>6}",
        "ms", "mean", "p50", "p99", "p99.9", "p99.9 to peak-EWMA", "errors", "batch"
    );
    for rule in RULES.into_iter().chain(SIMPLE) {
        let runs = outcomes.runs(scenario, rule);
        let Some(ratio) = outcomes.ratio(scenario, rule, RULES[0], |summary| summary.p999) else { continue };
        let of = |figure: fn(&Summary) -> f64| mean(runs, figure);
        println!(
            "{:<24} {:>8.1} {:>8.1} {:>8.1} {:>8.1}   {:.2} ({:.2}–{:.2})   {:>6.1}% {:>6.1}",
            rule.name(),
            of(|run| run.mean),
            of(|run| run.p50),
            of(|run| run.p99),
            of(|run| run.p999),
            ratio.mean,
            ratio.low,
            ratio.high,
            100.0 * of(|run| run.failed),
            of(|run| run.batch),
        );
    }
}

/// The highest load of the sweep up to which p99 keeps within the bound.
fn held(sweep: &Outcomes, loads: &[f64]) {
    println!("\nLoad held with p99 ≤ {HELD} ms, unequal fleet, 4 gateways");
    for rule in RULES {
        let within = sweep.scenarios().map(|scenario| mean(sweep.runs(scenario, rule), |run| run.p99) <= HELD);
        let highest = within.zip(loads).take_while(|(within, _)| *within).last().map(|(_, load)| *load);
        println!("{:<24} {}", rule.name(), highest.map_or("none".to_owned(), |load| format!("{load:.2}")));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    let short = arguments.iter().any(|argument| argument == "--short");
    let seeds = value("--seeds").and_then(|seeds| seeds.parse().ok()).unwrap_or(if short { 2 } else { 20 });
    let mut scenarios = if short { list::short() } else { list::all() };
    if let Some(part) = value("--only") {
        scenarios.retain(|scenario| scenario.name.contains(&part));
    }
    println!(
        "{seeds} seeds; workers take {} ms and {} ms by row, up to {} rows a run",
        worker::FIXED / 1e6,
        worker::ROW / 1e6,
        worker::LARGEST
    );
    let outcomes = Outcomes::of(&scenarios, rules, seeds);
    outcomes.scenarios().for_each(|scenario| table(&outcomes, scenario));
    verdict::print(&outcomes);
    if let Some(folder) = value("--plot") {
        let steps = list::sweep();
        let loads: Vec<f64> = steps.iter().map(|step| step.load).collect();
        let sweep = Outcomes::of(&steps, |_| RULES.to_vec(), seeds.div_ceil(4));
        held(&sweep, &loads);
        plot::write(Path::new(&folder), &outcomes, &sweep, &loads).expect("the folder can be written");
    }
}
