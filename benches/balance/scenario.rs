//! What happens to the fleet, and which rules meet it.

use std::time::Instant;

use fastrand::Rng;
use infergate::balance::pick::Policy;

use crate::others::{Balancer, EnvoyLeastRequest, OracleRoundRobin, Prequal, TowerPeakEwma};
use crate::ours::{Early, Late};
use crate::worker::{FIXED, LARGEST, ROW};
use crate::world::SECOND;

/// A rule, or late binding, with all its gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Ours(Policy),
    Planned,
    TowerPeakEwma,
    OracleRoundRobin,
    EnvoyLeastRequest,
    Prequal,
}

/// One gateway.
pub enum Side {
    Early(Box<dyn Balancer>),
    Late(Late),
}

impl Side {
    pub fn joined(&mut self, index: usize, now: u64) {
        match self {
            Side::Early(balancer) => balancer.joined(index, now),
            Side::Late(late) => late.joined(now),
        }
    }
}

impl Rule {
    pub fn name(self) -> &'static str {
        match self {
            Rule::Ours(policy) => policy.name(),
            Rule::Planned => "planned late binding",
            Rule::TowerPeakEwma => "P2C peak-EWMA (tower)",
            Rule::OracleRoundRobin => "WRR, true capacities",
            Rule::EnvoyLeastRequest => "least request (Envoy)",
            Rule::Prequal => "Prequal",
        }
    }

    pub fn side(self, scenario: &Scenario, zero: Instant, rng: &mut Rng) -> Side {
        let count = scenario.fleet.len();
        Side::Early(match self {
            Rule::Planned => return Side::Late(Late::new(count, zero, rng.usize(..count))),
            Rule::Ours(policy) => Box::new(Early::new(policy, count, zero)),
            Rule::TowerPeakEwma => Box::new(TowerPeakEwma::new(count)),
            Rule::OracleRoundRobin => {
                Box::new(OracleRoundRobin::new(scenario.fleet.iter().map(|slow| capacity(*slow)).collect(), rng))
            }
            Rule::EnvoyLeastRequest => Box::new(EnvoyLeastRequest::new(count)),
            Rule::Prequal => Box::new(Prequal::new(count)),
        })
    }
}

/// Rows by second at most.
fn capacity(slowness: f64) -> f64 {
    LARGEST as f64 / (slowness * (FIXED + ROW * LARGEST as f64)) * SECOND as f64
}

/// What becomes of reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reports {
    Fresh,
    /// That part of the answers comes without.
    Lost(f64),
    /// Each says what was so long ago.
    Late(u64),
}

/// What changes with time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The first worker is so many times slower in the middle half.
    Slow(f64),
    /// The first worker answers errors at once.
    Fails,
    /// After a quarter one more worker comes, ten times slower in its first 5 s.
    Joins,
    /// Ten times as many calls for 200 ms of each 2 s.
    Bursts,
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// How many times as long as the fastest each worker takes.
    pub fleet: Vec<f64>,
    /// Calls by second, as part of what the fleet can do at most.
    pub load: f64,
    pub gateways: usize,
    pub fault: Fault,
    pub reports: Reports,
    /// A fifth of the calls take 20 times as long by row.
    pub mixed: bool,
    pub seconds: f64,
}

impl Scenario {
    /// A steady one.
    pub fn new(name: impl Into<String>, fleet: &[f64], load: f64, gateways: usize) -> Scenario {
        let mut scenario = Scenario {
            name: name.into(),
            fleet: fleet.to_vec(),
            load,
            gateways,
            fault: Fault::None,
            reports: Reports::Fresh,
            mixed: false,
            seconds: 20.0,
        };
        // As many calls in all, so that large fleets do not take all the time there is.
        scenario.seconds = (90_000.0 / scenario.rate(0)).clamp(0.75, 60.0);
        scenario
    }

    pub fn end(&self) -> u64 {
        (self.seconds * SECOND as f64) as u64
    }

    pub fn warm_up(&self) -> u64 {
        self.end() / 10
    }

    /// Calls by second.
    pub fn rate(&self, now: u64) -> f64 {
        let most: f64 = self.fleet.iter().map(|slow| capacity(*slow)).sum();
        let burst = self.fault == Fault::Bursts && now % (2 * SECOND) < SECOND / 5;
        // Calls of both kinds run in batches of their own kind.
        let mean = if self.mixed { 0.8 + 0.2 * (FIXED + 20.0 * ROW * 8.0) / (FIXED + ROW * 8.0) } else { 1.0 };
        most * self.load / mean * if burst { 10.0 } else { 1.0 }
    }

    /// How many times as long each row of the next call takes.
    pub fn weight(&self, rng: &mut Rng) -> f64 {
        if self.mixed && rng.f64() < 0.2 { 20.0 } else { 1.0 }
    }

    /// Each worker's slowness and whether it fails.
    pub fn workers(&self, now: u64) -> Vec<(f64, bool)> {
        let mut workers: Vec<(f64, bool)> = self.fleet.iter().map(|slow| (*slow, false)).collect();
        let end = self.end();
        match self.fault {
            Fault::Slow(times) if (end / 4..3 * (end / 4)).contains(&now) => workers[0].0 *= times,
            Fault::Fails => workers[0].1 = true,
            Fault::Joins if now >= end / 4 => {
                workers.push((if now < end / 4 + 5 * SECOND { 10.0 } else { 1.0 }, false));
            }
            _ => (),
        }
        workers
    }
}
