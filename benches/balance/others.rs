//! Rules of others, as their authors publish them, to compare with.

use std::collections::VecDeque;

use fastrand::Rng;
use infergate::balance::load::Sent;
use infergate::infer::LoadReport;

/// What a probe found: endpoint, calls in flight there, and the latency to expect, in nanoseconds.
pub type Probe = (usize, usize, u64);

/// An answer as a gateway gets it.
pub struct Answer<'a> {
    pub from: usize,
    pub failed: bool,
    /// Nanoseconds since it was sent.
    pub took: u64,
    pub report: Option<&'a LoadReport>,
    pub sent: Option<Sent>,
}

/// One gateway's rule; times are nanoseconds of virtual time.
pub trait Balancer {
    fn pick(&mut self, now: u64, rng: &mut Rng) -> usize;

    /// A call goes out; what our own rules want to have back with its answer.
    fn sent(&mut self, _to: usize, _now: u64) -> Option<Sent> {
        None
    }

    fn ended(&mut self, _answer: Answer<'_>, _now: u64) {}

    /// Endpoints to probe beside a call.
    fn probes(&mut self, _rng: &mut Rng) -> Vec<usize> {
        Vec::new()
    }

    fn probed(&mut self, _probe: Probe, _now: u64) {}

    /// An endpoint has been found.
    fn joined(&mut self, _endpoint: usize, _now: u64) {}
}

fn two(count: usize, rng: &mut Rng) -> (usize, usize) {
    let first = rng.usize(..count);
    if count == 1 {
        return (first, first);
    }
    let second = rng.usize(..count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// tower 0.5.3: two at random, each at its peak-EWMA round trip times its calls in flight and one. A read feeds a
/// sample of 0, so that what is not used decays; failures count as fast answers.
pub struct TowerPeakEwma {
    endpoints: Vec<Estimate>,
}

#[derive(Clone)]
struct Estimate {
    pending: u32,
    round_trip: f64,
    at: u64,
}

impl Estimate {
    /// tower's and Linkerd's usual decay.
    const DECAY: f64 = 10e9;

    fn update(&mut self, took: f64, now: u64) {
        if self.round_trip < took {
            self.round_trip = took;
        } else {
            let kept = (-((now - self.at) as f64) / Self::DECAY).exp();
            self.round_trip = self.round_trip * kept + took * (1.0 - kept);
        }
        self.at = now;
    }

    fn load(&mut self, now: u64) -> f64 {
        self.update(0.0, now);
        self.round_trip * f64::from(self.pending + 1)
    }
}

impl TowerPeakEwma {
    /// The round trips begin at Linkerd's 30 ms.
    pub fn new(endpoints: usize) -> TowerPeakEwma {
        TowerPeakEwma { endpoints: vec![Estimate { pending: 0, round_trip: 30e6, at: 0 }; endpoints] }
    }
}

impl Balancer for TowerPeakEwma {
    fn pick(&mut self, now: u64, rng: &mut Rng) -> usize {
        let (one, other) = two(self.endpoints.len(), rng);
        let (one_load, other_load) = (self.endpoints[one].load(now), self.endpoints[other].load(now));
        if one_load <= other_load { one } else { other }
    }

    fn sent(&mut self, to: usize, _now: u64) -> Option<Sent> {
        self.endpoints[to].pending += 1;
        None
    }

    fn ended(&mut self, answer: Answer<'_>, now: u64) {
        self.endpoints[answer.from].pending -= 1;
        self.endpoints[answer.from].update(answer.took as f64, now);
    }

    fn joined(&mut self, _endpoint: usize, now: u64) {
        self.endpoints.push(Estimate { pending: 0, round_trip: 30e6, at: now });
    }
}

/// Smooth weighted round robin by capacities that nobody knows so well in practice.
pub struct OracleRoundRobin {
    capacities: Vec<f64>,
    current: Vec<f64>,
}

impl OracleRoundRobin {
    pub fn new(capacities: Vec<f64>, rng: &mut Rng) -> OracleRoundRobin {
        // Gateways do not go round in step.
        let current = capacities.iter().map(|capacity| rng.f64() * capacity).collect();
        OracleRoundRobin { capacities, current }
    }
}

impl Balancer for OracleRoundRobin {
    fn pick(&mut self, _now: u64, _rng: &mut Rng) -> usize {
        self.current.iter_mut().zip(&self.capacities).for_each(|(current, capacity)| *current += capacity);
        let next = (0..self.current.len()).max_by(|one, other| self.current[*one].total_cmp(&self.current[*other]));
        let next = next.expect("there is an endpoint");
        self.current[next] -= self.capacities.iter().sum::<f64>();
        next
    }

    fn joined(&mut self, _endpoint: usize, _now: u64) {
        self.capacities.push(self.capacities[0]);
        self.current.push(0.0);
    }
}

/// Envoy's least request with equal weights: two at random, the one with fewer calls in flight.
pub struct EnvoyLeastRequest {
    pending: Vec<u32>,
}

impl EnvoyLeastRequest {
    pub fn new(endpoints: usize) -> EnvoyLeastRequest {
        EnvoyLeastRequest { pending: vec![0; endpoints] }
    }
}

impl Balancer for EnvoyLeastRequest {
    fn pick(&mut self, _now: u64, rng: &mut Rng) -> usize {
        let (one, other) = two(self.pending.len(), rng);
        if self.pending[one] <= self.pending[other] { one } else { other }
    }

    fn sent(&mut self, to: usize, _now: u64) -> Option<Sent> {
        self.pending[to] += 1;
        None
    }

    fn ended(&mut self, answer: Answer<'_>, _now: u64) {
        self.pending[answer.from] -= 1;
    }

    fn joined(&mut self, _endpoint: usize, _now: u64) {
        self.pending.push(0);
    }
}

/// Prequal (NSDI 2024): a pool of probes, asked for beside the calls. A probe is hot when it met more calls in flight
/// than most; of the cold ones the least latency, else of the hot ones the fewest in flight.
pub struct Prequal {
    endpoints: usize,
    pool: Vec<Pooled>,
    met: VecDeque<usize>,
    drops_worst: bool,
}

struct Pooled {
    endpoint: usize,
    in_flight: f64,
    latency: u64,
    at: u64,
    uses: f64,
}

impl Prequal {
    const PROBES: usize = 3;
    const POOL: usize = 16;
    const AGE: u64 = 1_000_000_000;
    const HOT: f64 = 0.84;
    const DELTA: f64 = 1.0;

    pub fn new(endpoints: usize) -> Prequal {
        Prequal { endpoints, pool: Vec::new(), met: VecDeque::new(), drops_worst: false }
    }

    /// How often a probe may be used.
    fn reuse(&self) -> f64 {
        let part = (Self::POOL as f64 / self.endpoints as f64).min(0.8);
        let fresh = (1.0 - part) * Self::PROBES as f64 - 1.0;
        if fresh <= 0.0 { 4.0 } else { ((1.0 + Self::DELTA) / fresh).max(1.0) }
    }

    fn hot_from(&self) -> f64 {
        let mut met: Vec<usize> = self.met.iter().copied().collect();
        let at = (met.len().saturating_sub(1) as f64 * Self::HOT) as usize;
        if met.is_empty() { 0.0 } else { *met.select_nth_unstable(at).1 as f64 }
    }

    fn rank(probe: &Pooled, hot: f64) -> (bool, f64) {
        if probe.in_flight > hot { (true, probe.in_flight) } else { (false, probe.latency as f64) }
    }

    fn extreme(&self, hot: f64, worst: bool) -> Option<usize> {
        let order = |one: &usize, other: &usize| {
            let (one, other) = (Self::rank(&self.pool[*one], hot), Self::rank(&self.pool[*other], hot));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        };
        let indexes = 0..self.pool.len();
        if worst { indexes.max_by(order) } else { indexes.min_by(order) }
    }

    fn oldest(&self) -> Option<usize> {
        (0..self.pool.len()).min_by_key(|index| self.pool[*index].at)
    }
}

impl Balancer for Prequal {
    fn pick(&mut self, now: u64, rng: &mut Rng) -> usize {
        self.pool.retain(|probe| now - probe.at < Self::AGE && probe.uses >= 1.0);
        if self.pool.len() < 2 {
            return rng.usize(..self.endpoints);
        }
        let hot = self.hot_from();
        let Some(best) = self.extreme(hot, false) else { return rng.usize(..self.endpoints) };
        let endpoint = self.pool[best].endpoint;
        self.pool[best].uses -= 1.0;
        self.pool.iter_mut().filter(|probe| probe.endpoint == endpoint).for_each(|probe| probe.in_flight += 1.0);
        if self.pool.len() > 2 {
            self.drops_worst = !self.drops_worst;
            let dropped = if self.drops_worst { self.extreme(hot, true) } else { self.oldest() };
            dropped.map(|index| self.pool.swap_remove(index));
        }
        endpoint
    }

    fn probes(&mut self, rng: &mut Rng) -> Vec<usize> {
        rng.choose_multiple(0..self.endpoints, Self::PROBES)
    }

    fn probed(&mut self, (endpoint, met, latency): Probe, now: u64) {
        self.met.push_back(met);
        if self.met.len() > 128 {
            self.met.pop_front();
        }
        if self.pool.len() >= Self::POOL {
            self.oldest().map(|index| self.pool.swap_remove(index));
        }
        let uses = self.reuse();
        self.pool.push(Pooled { endpoint, in_flight: met as f64, latency, at: now, uses });
    }

    fn joined(&mut self, _endpoint: usize, _now: u64) {
        self.endpoints += 1;
    }
}
