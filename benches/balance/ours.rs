//! The product's own deciding: its pickers, and its planner with a queue in front.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;
use infergate::balance::load::{Binding, Load, Outcome, Sent};
use infergate::balance::pick::{Candidate, Picker, Policy, SlowStart, Zones};
use infergate::balance::plan::{Decision, Planner, Seat};

use crate::others::{Answer, Balancer};
use crate::worker::LARGEST;

/// What a failure counts as, as in the product.
const PENALTY: Duration = Duration::from_secs(5);

pub struct Endpoint {
    index: usize,
    load: Load,
}

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.load
    }

    fn admits(&self, _now: Instant) -> bool {
        true
    }
}

fn endpoint(index: usize, zero: Instant, now: u64) -> Endpoint {
    Endpoint { index, load: Load::new(Binding::Early, Some(LARGEST as u32), zero, instant(zero, now)) }
}

/// Virtual time as the product's code sees it.
pub fn instant(zero: Instant, now: u64) -> Instant {
    zero + Duration::from_nanos(now)
}

fn outcome<'a>(answer: &Answer<'a>) -> Outcome<'a> {
    if answer.failed { Outcome::Failed { penalty: PENALTY } } else { Outcome::Answered(answer.report) }
}

/// Early binding: picked when a call comes.
pub struct Early {
    zero: Instant,
    picker: Picker,
    endpoints: Vec<Endpoint>,
}

impl Early {
    pub fn new(policy: Policy, endpoints: usize, zero: Instant) -> Early {
        // The fleet is there from the beginning, and nothing is known of it.
        let endpoints = (0..endpoints).map(|index| endpoint(index, zero, 0)).collect();
        Early { zero, picker: Picker::new(policy, Zones::default(), SlowStart::default()), endpoints }
    }
}

impl Balancer for Early {
    fn pick(&mut self, now: u64, rng: &mut Rng) -> usize {
        let picked = self.picker.pick(&self.endpoints, &[], |_| false, 1, instant(self.zero, now), rng);
        picked.expect("all admit").index
    }

    fn sent(&mut self, to: usize, now: u64) -> Option<Sent> {
        Some(self.endpoints[to].load.start(1, instant(self.zero, now)))
    }

    fn ended(&mut self, answer: Answer<'_>, now: u64) {
        let outcome = outcome(&answer);
        let Some(sent) = answer.sent else { return };
        self.endpoints[answer.from].load.end(sent, outcome, instant(self.zero, now));
    }

    fn joined(&mut self, index: usize, now: u64) {
        self.endpoints.push(endpoint(index, self.zero, now));
    }
}

/// Late binding: calls wait here until the plan sends them.
pub struct Late {
    zero: Instant,
    planner: Planner,
    loads: Vec<Load>,
    seats: Vec<Seat>,
    pub waiting: VecDeque<u32>,
}

impl Late {
    pub fn new(endpoints: usize, zero: Instant, turn: usize) -> Late {
        let loads = (0..endpoints).map(|_| Load::new(Binding::Late, Some(LARGEST as u32), zero, zero)).collect();
        Late { zero, planner: Planner::starting_at(turn), loads, seats: Vec::new(), waiting: VecDeque::new() }
    }

    /// What to do now.
    pub fn next(&mut self, now: u64) -> Decision {
        let now = instant(self.zero, now);
        self.seats.clear();
        let doubted = self.loads.iter().any(|load| load.has_doubtful_reports(now));
        self.seats.extend(self.loads.iter().map(|load| load.seat(doubted, now)));
        self.planner.next(self.waiting.len(), LARGEST, &self.seats)
    }

    pub fn sent(&mut self, to: usize, rows: usize, now: u64) -> Sent {
        self.loads[to].start(rows as u32, instant(self.zero, now))
    }

    pub fn ended(&mut self, answer: Answer<'_>, now: u64) {
        let outcome = outcome(&answer);
        let Some(sent) = answer.sent else { return };
        self.loads[answer.from].end(sent, outcome, instant(self.zero, now));
    }

    pub fn joined(&mut self, now: u64) {
        self.loads.push(Load::new(Binding::Late, Some(LARGEST as u32), self.zero, instant(self.zero, now)));
    }
}
