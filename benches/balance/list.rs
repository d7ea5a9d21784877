//! The scenarios, and which rules meet each.

use infergate::balance::pick::Policy;

use crate::scenario::{Fault, Reports, Rule, Scenario};
use crate::world::SECOND;

/// Six of one speed, three half as fast, one a quarter.
pub const UNEQUAL: [f64; 10] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 4.0];

/// The rules that are compared everywhere, the first being what others are compared with.
pub const RULES: [Rule; 7] = [
    Rule::TowerPeakEwma,
    Rule::OracleRoundRobin,
    Rule::EnvoyLeastRequest,
    Rule::Prequal,
    Rule::Ours(Policy::PeakEwma),
    EARLY,
    Rule::Planned,
];
pub const EARLY: Rule = Rule::Ours(Policy::ExpectedCompletion);
/// Rules of ours that know nothing of speed, which unequal fleets do not forgive.
pub const SIMPLE: [Rule; 2] = [Rule::Ours(Policy::RoundRobin), Rule::Ours(Policy::LeastRequest)];

/// Names under which the verdict finds its scenarios.
pub const ALONE: &str = "S1 unequal fleet, load .85, 1 gateway";
pub const MANY: &str = "S1 unequal fleet, load .85, 16 gateways";

fn steady(load: f64, gateways: usize) -> Scenario {
    let plural = if gateways == 1 { "" } else { "s" };
    let percent = (load * 100.0).round();
    Scenario::new(format!("S1 unequal fleet, load .{percent}, {gateways} gateway{plural}"), &UNEQUAL, load, gateways)
}

/// So many workers, of the same mixture of speeds.
fn of(workers: usize) -> Scenario {
    let fleet: Vec<f64> = (0..workers).map(|index| UNEQUAL[index * 3 % UNEQUAL.len()]).collect();
    Scenario::new(format!("S9 {workers} workers, load .85, 4 gateways"), &fleet, 0.85, 4)
}

fn faulty(name: &str, fault: Fault, load: f64) -> Scenario {
    Scenario { fault, seconds: 20.0, ..Scenario::new(name, &UNEQUAL, load, 4) }
}

fn reporting(name: &str, reports: Reports) -> Scenario {
    Scenario { reports, ..Scenario::new(name, &UNEQUAL, 0.85, 4) }
}

/// Every scenario, S1 with all of S7's numbers of gateways.
pub fn all() -> Vec<Scenario> {
    let loads = [0.5, 0.7, 0.85, 0.95];
    let mut all: Vec<Scenario> =
        [1, 4, 16].iter().flat_map(|gateways| loads.map(|load| steady(load, *gateways))).collect();
    all.extend([
        faulty("S2 one worker 20 times slower for half of the time, load .6", Fault::Slow(20.0), 0.6),
        faulty("S3 one worker answers errors at once, load .5", Fault::Fails, 0.5),
        faulty("S4 a worker joins, 10 times slower for 5 s, load .7", Fault::Joins, 0.7),
        faulty("S5 bursts of 10 times as much for 200 ms of 2 s, load .25", Fault::Bursts, 0.25),
        Scenario {
            mixed: true,
            seconds: 60.0,
            ..Scenario::new("S6 a fifth of the calls costs 20 times, load .6", &UNEQUAL, 0.6, 4)
        },
        Scenario { gateways: 2, ..steady(0.85, 2) },
        reporting("S8 half of the reports lost, load .85", Reports::Lost(0.5)),
        reporting("S8 no reports, load .85", Reports::Lost(1.0)),
        reporting("S8 reports 1 s late, load .85", Reports::Late(SECOND)),
    ]);
    all.extend([2, 3, 5, 40, 200].map(of));
    all.extend([1, 4].map(|gateways| {
        Scenario::new(format!("S10 ten equal workers, load .85, gateways: {gateways}"), &[1.0; 10], 0.85, gateways)
    }));
    all
}

/// Enough to see that it runs, and that the main bounds hold.
pub fn short() -> Vec<Scenario> {
    let few = all().into_iter().filter(|one| one.name == ALONE || one.name == MANY || one.name.starts_with("S3"));
    few.map(|one| Scenario { seconds: one.seconds / 4.0, ..one }).collect()
}

/// The steady fleet at growing load, for the load that is held within a bound.
pub fn sweep() -> Vec<Scenario> {
    (25..50).map(|step| steady(f64::from(step) / 50.0, 4)).collect()
}
