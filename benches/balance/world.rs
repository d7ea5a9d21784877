//! The event loop: calls come to gateways, go to workers, and back, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use fastrand::Rng;
use infergate::balance::load::Sent;
use infergate::balance::plan::Decision;
use infergate::infer::LoadReport;

use crate::others::{Answer, Probe};
use crate::ours::Late;
use crate::scenario::{Reports, Rule, Scenario, Side};
use crate::worker::{Work, Worker};

/// One way between a gateway and a worker.
pub const ONE_WAY: u64 = 250_000;
pub const SECOND: u64 = 1_000_000_000;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Reach(u32),
    End(usize),
    Answer(u32),
    Probe(usize, usize),
    Probed(usize, Probe),
    Timer(usize, u64),
    Tick,
}

struct Call {
    came: u64,
    weight: f64,
}

/// One call or a batch of them, on its way to a worker and back.
struct Shipment {
    gateway: usize,
    to: usize,
    calls: Vec<u32>,
    sent: u64,
    ticket: Option<Sent>,
    met: usize,
    failed: bool,
    report: Option<LoadReport>,
}

/// What a run came to.
#[derive(Default, Clone)]
pub struct Figures {
    /// What calls took, in nanoseconds, those of the warm-up left out; sorted.
    pub latencies: Vec<u64>,
    pub failed: usize,
    /// Rows by run.
    pub batch: f64,
}

pub struct World<'a> {
    scenario: &'a Scenario,
    zero: Instant,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    workers: Vec<Worker>,
    sides: Vec<Side>,
    timers: Vec<u64>,
    calls: Vec<Call>,
    shipments: Vec<Shipment>,
    history: Vec<Vec<(u64, LoadReport)>>,
    arrivals: Rng,
    picks: Rng,
    losses: Rng,
    figures: Figures,
}

impl<'a> World<'a> {
    /// All rules meet the same arrivals where the seed is the same.
    pub fn new(scenario: &'a Scenario, rule: Rule, seed: u64) -> World<'a> {
        let zero = Instant::now();
        let mut picks = Rng::with_seed(seed * 31 + 7);
        let workers = scenario.fleet.iter().enumerate();
        let workers: Vec<Worker> =
            workers.map(|(index, slow)| Worker::new(*slow, scenario.gateways, seed * 1009 + index as u64)).collect();
        let sides = (0..scenario.gateways).map(|_| rule.side(scenario, zero, &mut picks)).collect();
        World {
            scenario,
            zero,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            history: workers.iter().map(|_| Vec::new()).collect(),
            workers,
            sides,
            timers: vec![u64::MAX; scenario.gateways],
            calls: Vec::new(),
            shipments: Vec::new(),
            arrivals: Rng::with_seed(seed * 17 + 3),
            picks,
            losses: Rng::with_seed(seed * 13 + 5),
            figures: Figures::default(),
        }
    }

    fn at(&mut self, then: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((then, self.count, event)));
    }

    /// Plays it through to the last answer.
    pub fn run(mut self) -> Figures {
        self.at(0, Event::Tick);
        self.at(1, Event::Arrive);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            // What is stuck when all is over is late by all that time.
            if now > 4 * self.scenario.end() {
                break;
            }
            self.step(event);
        }
        self.finish()
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Reach(shipment) => self.reach(shipment),
            Event::End(worker) => self.end(worker),
            Event::Answer(shipment) => self.answer(shipment),
            Event::Probe(gateway, worker) => {
                let (met, latency) = self.workers[worker].probe();
                self.at(self.now + ONE_WAY, Event::Probed(gateway, (worker, met, latency)));
            }
            Event::Probed(gateway, probe) => {
                if let Side::Early(balancer) = &mut self.sides[gateway] {
                    balancer.probed(probe, self.now);
                }
            }
            Event::Timer(gateway, then) => {
                if self.timers[gateway] == then {
                    self.timers[gateway] = u64::MAX;
                    self.drive(gateway);
                }
            }
            Event::Tick => self.tick(),
        }
    }

    /// What the scenario changes with time.
    fn tick(&mut self) {
        let changed = self.scenario.workers(self.now);
        for (worker, (slowness, fails)) in self.workers.iter_mut().zip(&changed) {
            (worker.slowness, worker.fails) = (*slowness, *fails);
        }
        for (index, (slowness, _)) in changed.iter().enumerate().skip(self.workers.len()) {
            self.workers.push(Worker::new(*slowness, self.scenario.gateways, index as u64));
            self.history.push(Vec::new());
            self.sides.iter_mut().for_each(|side| side.joined(index, self.now));
        }
        if self.now < self.scenario.end() {
            self.at(self.now + SECOND / 100, Event::Tick);
        }
    }

    fn arrive(&mut self) {
        if self.now >= self.scenario.end() {
            return;
        }
        let gap = -(1.0 - self.arrivals.f64()).ln() / self.scenario.rate(self.now) * SECOND as f64;
        self.at(self.now + gap as u64 + 1, Event::Arrive);
        let gateway = self.arrivals.usize(..self.scenario.gateways);
        let weight = self.scenario.weight(&mut self.arrivals);
        let call = self.calls.len() as u32;
        self.calls.push(Call { came: self.now, weight });
        match &mut self.sides[gateway] {
            Side::Early(balancer) => {
                let to = balancer.pick(self.now, &mut self.picks);
                let sent = balancer.sent(to, self.now);
                let probes = balancer.probes(&mut self.picks);
                self.send(gateway, to, vec![call], sent);
                probes.into_iter().for_each(|worker| self.at(self.now + ONE_WAY, Event::Probe(gateway, worker)));
            }
            Side::Late(late) => {
                late.waiting.push_back(call);
                self.drive(gateway);
            }
        }
    }

    /// Sends what the plan says can go now.
    fn drive(&mut self, gateway: usize) {
        loop {
            let Side::Late(late) = &mut self.sides[gateway] else { return };
            match late.next(self.now) {
                Decision::Send { to, rows } => {
                    let calls = Self::together(late, rows, &self.calls);
                    let sent = late.sent(to, calls.len(), self.now);
                    self.send(gateway, to, calls, Some(sent));
                }
                Decision::Hold { until } => {
                    let Some(until) = until.filter(|_| !late.waiting.is_empty()) else { return };
                    let then = self.now + (until.as_nanos() as u64).max(1000);
                    self.timers[gateway] = then;
                    return self.at(then, Event::Timer(gateway, then));
                }
            }
        }
    }

    /// The first calls of the queue that go together.
    fn together(late: &mut Late, rows: usize, calls: &[Call]) -> Vec<u32> {
        let weight = late.waiting.front().map(|call| calls[*call as usize].weight);
        let mut taken = Vec::with_capacity(rows);
        late.waiting.retain(|call| {
            let goes = taken.len() < rows && Some(calls[*call as usize].weight) == weight;
            if goes {
                taken.push(*call);
            }
            !goes
        });
        taken
    }

    fn send(&mut self, gateway: usize, to: usize, calls: Vec<u32>, ticket: Option<Sent>) {
        let shipment = self.shipments.len() as u32;
        let sent = self.now;
        self.shipments.push(Shipment { gateway, to, calls, sent, ticket, met: 0, failed: false, report: None });
        self.at(self.now + ONE_WAY, Event::Reach(shipment));
    }

    fn reach(&mut self, index: u32) {
        let shipment = &mut self.shipments[index as usize];
        let worker = &mut self.workers[shipment.to];
        if worker.fails {
            shipment.failed = true;
            return self.at(self.now + ONE_WAY, Event::Answer(index));
        }
        shipment.met = worker.in_flight();
        let (to, rows, weight) = (shipment.to, shipment.calls.len(), self.calls[shipment.calls[0] as usize].weight);
        if let Some(end) = worker.take(Work { shipment: index, rows, weight }, shipment.gateway, self.now) {
            self.at(end, Event::End(to));
        }
    }

    fn end(&mut self, index: usize) {
        let (done, report, next) = self.workers[index].end(self.now, self.zero);
        let report = self.carried(index, report);
        if let Some(end) = next {
            self.at(end, Event::End(index));
        }
        for work in done {
            let shipment = &mut self.shipments[work.shipment as usize];
            let took = self.now - shipment.sent - ONE_WAY;
            self.workers[index].took(shipment.met, took);
            shipment.report = match self.scenario.reports {
                Reports::Lost(part) if self.losses.f64() < part => None,
                _ => report,
            };
            self.at(self.now + ONE_WAY, Event::Answer(work.shipment));
        }
    }

    /// The report that an answer carries now.
    fn carried(&mut self, worker: usize, report: LoadReport) -> Option<LoadReport> {
        let Reports::Late(age) = self.scenario.reports else { return Some(report) };
        let history = &mut self.history[worker];
        history.push((self.now, report));
        let old = history.iter().rposition(|(made, _)| made + age <= self.now)?;
        history.drain(..old);
        Some(history[0].1)
    }

    fn answer(&mut self, index: u32) {
        let shipment = &mut self.shipments[index as usize];
        let calls = std::mem::take(&mut shipment.calls);
        let (gateway, failed) = (shipment.gateway, shipment.failed);
        let answer = Answer {
            from: shipment.to,
            failed,
            took: self.now - shipment.sent,
            report: shipment.report.as_ref(),
            sent: shipment.ticket.take(),
        };
        match &mut self.sides[gateway] {
            Side::Early(balancer) => balancer.ended(answer, self.now),
            Side::Late(late) => late.ended(answer, self.now),
        }
        for call in calls {
            self.record(self.calls[call as usize].came, failed);
        }
        self.drive(gateway);
    }

    fn record(&mut self, came: u64, failed: bool) {
        if came < self.scenario.warm_up() {
            return;
        }
        match failed {
            true => self.figures.failed += 1,
            false => self.figures.latencies.push(self.now - came),
        }
    }

    fn finish(mut self) -> Figures {
        let measured = self.calls.iter().filter(|call| call.came >= self.scenario.warm_up()).count();
        let stuck = measured - self.figures.latencies.len() - self.figures.failed;
        self.figures.latencies.extend(std::iter::repeat_n(self.now, stuck));
        self.figures.latencies.sort_unstable();
        let (rows, runs) =
            self.workers.iter().fold((0, 0), |(rows, runs), worker| (rows + worker.rows, runs + worker.runs));
        self.figures.batch = rows as f64 / runs.max(1) as f64;
        self.figures
    }
}
