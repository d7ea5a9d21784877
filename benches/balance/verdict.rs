//! Whether the bounds hold.

use crate::Outcomes;
use crate::list::{ALONE, EARLY, MANY};
use crate::scenario::Rule;
use crate::statistics::{Ratio, Summary};

/// How much worse than peak-EWMA no scenario may be.
const NO_WORSE: f64 = 1.05;

fn p999(summary: &Summary) -> f64 {
    summary.p999
}

/// Prints each bound with what was measured: it holds where all of the interval is within it.
pub fn print(outcomes: &Outcomes) {
    println!("\nBounds on p99.9 (95 % intervals over seeds)");
    let base = Rule::TowerPeakEwma;
    for (rule, scenario, to, bound) in [
        (Rule::Planned, ALONE, base, 0.5),
        (EARLY, ALONE, base, 0.6),
        (Rule::Planned, MANY, base, 0.65),
        (EARLY, MANY, base, 0.65),
        (Rule::Planned, MANY, Rule::OracleRoundRobin, 0.6),
        (EARLY, MANY, Rule::OracleRoundRobin, 0.6),
    ] {
        if let Some(ratio) = outcomes.ratio(scenario, rule, to, p999) {
            println!("  {:<20} ≤ {bound:.2} × {:<22} {scenario}: {}", rule.name(), to.name(), said(&ratio, bound));
        }
    }
    for rule in [EARLY, Rule::Planned] {
        println!("  {} ≤ {NO_WORSE} × {} in every scenario:", rule.name(), base.name());
        let ratios = outcomes.scenarios().map(|scenario| (scenario, outcomes.ratio(scenario, rule, base, p999)));
        let worse: Vec<_> = ratios
            .filter_map(|(scenario, ratio)| ratio.filter(|ratio| ratio.mean > NO_WORSE).map(|ratio| (scenario, ratio)))
            .collect();
        worse.iter().for_each(|(scenario, ratio)| println!("    {scenario}: {}", said(ratio, NO_WORSE)));
        if worse.is_empty() {
            println!("    holds");
        }
    }
}

fn said(ratio: &Ratio, bound: f64) -> String {
    let Ratio { mean, low, high } = ratio;
    let verdict = match () {
        () if *high <= bound => "holds",
        () if *mean <= bound => "holds on average",
        () => "does not hold",
    };
    format!("{mean:.2} ({low:.2}–{high:.2}), {verdict}")
}
