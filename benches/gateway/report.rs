//! The figures of a case, and whether the bounds are kept.

use crate::Case;
use crate::rig::{Ratio, median, verdict};
use crate::rounds::Round;
use crate::sides::Sides;

/// At one call in flight, what the gateway adds to the p50 against what haproxy adds.
const ADDED: f64 = 1.25;
/// At so many calls in flight, the gateway's CPU per call against nginx's.
const MANY: usize = 128;
const CPU: f64 = 0.6;

pub fn heading() {
    println!(
        "{:<6} {:>4}  {:<10} {:>9} {:>10} {:>10} {:>10} {:>10} {:>6} {:>10}",
        "size", "at", "way", "calls/s", "p50", "p99", "added p50", "CPU/call", "busy", "load's CPU"
    );
}

pub fn case(case: &Case, sides: &Sides, rounds: &[Vec<Round>]) {
    let added: Vec<Vec<f64>> = rounds.iter().map(|rounds_of| added(rounds_of, &rounds[0])).collect();
    for ((side, rounds), added) in sides.all.iter().zip(rounds).zip(&added) {
        let us = |what: fn(&Round) -> f64| format!("{:.1} us", middle(rounds, what) * 1e6);
        let of_proxy = |text: String| if side.proxy.is_some() { text } else { "-".into() };
        println!(
            "{:<6} {:>4}  {:<10} {:>9.0} {:>10} {:>10} {:>10} {:>10} {:>6} {:>10}{}",
            case.name,
            case.in_flight,
            side.name,
            middle(rounds, |round| round.rate),
            time(middle(rounds, |round| round.p50)),
            time(middle(rounds, |round| round.p99)),
            of_proxy(time(median(&mut added.clone()))),
            of_proxy(us(|round| round.cpu)),
            of_proxy(format!("{:.2}", middle(rounds, |round| round.busy))),
            us(|round| round.client),
            failures(rounds),
        );
    }
    for (at, side) in sides.all.iter().enumerate().skip(2) {
        let what = format!("{} at {}, infergate against {}", case.name, case.in_flight, side.name);
        let bound = (side.name == "haproxy" && case.in_flight == 1).then_some(ADDED);
        say(&format!("{what}, added p50"), &Ratio::of(&added[1], &added[at]), bound);
        let cpu = |rounds: &[Round]| rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
        let bound = (side.name == "nginx" && case.in_flight == MANY).then_some(CPU);
        say(&format!("{what}, CPU per call"), &Ratio::of(&cpu(&rounds[1]), &cpu(&rounds[at])), bound);
    }
}

/// What a way adds to the p50 of the direct one, round by round.
fn added(rounds: &[Round], direct: &[Round]) -> Vec<f64> {
    rounds.iter().zip(direct).map(|(round, direct)| round.p50 - direct.p50).collect()
}

fn middle(rounds: &[Round], what: impl Fn(&Round) -> f64) -> f64 {
    median(&mut rounds.iter().map(what).collect::<Vec<_>>())
}

fn failures(rounds: &[Round]) -> String {
    match rounds.iter().map(|round| round.failed).sum::<usize>() {
        0 => String::new(),
        failed => format!("  {failed} calls FAILED"),
    }
}

fn time(seconds: f64) -> String {
    if seconds.abs() < 10e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.1} ms", seconds * 1e3) }
}

fn say(what: &str, ratio: &Ratio, bound: Option<f64>) {
    let Ratio { median, least, most } = ratio;
    let bound = bound.map_or(String::new(), |bound| format!(", bound <= {bound}: {}", verdict(*median <= bound)));
    println!("  {what:<58} ratio {median:.3} ({least:.3} to {most:.3}){bound}");
}
