//! A worker as gateways see it: a work-conserving batcher whose runs take `fixed + row × rows`, which learns what its
//! runs cost as ours does, and says with each answer what ours says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;
use infergate::cost::Fit;
use infergate::infer::LoadReport;

/// What a run of speed 1 takes beside its rows, and by row, in nanoseconds.
pub const FIXED: f64 = 4e6;
pub const ROW: f64 = 1e6;
/// Rows of the largest run.
pub const LARGEST: usize = 8;
/// How much longer or shorter a run takes than its line says, at most.
const NOISE: f64 = 0.1;
/// A gateway that has called within this time counts as one that calls.
const LATELY: u64 = 1_000_000_000;

/// Work that came in one message: a call, or a batch made by a gateway.
#[derive(Clone, Copy)]
pub struct Work {
    pub shipment: u32,
    pub rows: usize,
    /// How many times as long each of its rows takes; those of one weight run together.
    pub weight: f64,
}

pub struct Worker {
    /// How many times as long as at speed 1 everything takes.
    pub slowness: f64,
    /// Whether it answers everything with an error at once.
    pub fails: bool,
    queue: VecDeque<Work>,
    running: Vec<Work>,
    began: u64,
    fits: Vec<(f64, Fit)>,
    callers: Vec<Option<u64>>,
    recent: VecDeque<(usize, u64)>,
    pub rows: u64,
    pub runs: u64,
    rng: Rng,
}

impl Worker {
    pub fn new(slowness: f64, gateways: usize, seed: u64) -> Worker {
        Worker {
            slowness,
            fails: false,
            queue: VecDeque::new(),
            running: Vec::new(),
            began: 0,
            fits: Vec::new(),
            callers: vec![None; gateways],
            recent: VecDeque::new(),
            rows: 0,
            runs: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// What one run takes on average.
    fn time(&self, rows: usize, weight: f64) -> f64 {
        self.slowness * (FIXED + ROW * weight * rows as f64)
    }

    /// Work has come; answers when the run that it begins ends.
    pub fn take(&mut self, work: Work, gateway: usize, now: u64) -> Option<u64> {
        self.callers[gateway] = Some(now);
        self.queue.push_back(work);
        if self.running.is_empty() { self.begin(now) } else { None }
    }

    /// Begins the next run with what goes together with what has waited longest.
    fn begin(&mut self, now: u64) -> Option<u64> {
        let weight = self.queue.front()?.weight;
        let mut rows = 0;
        let Worker { queue, running, .. } = self;
        queue.retain(|work| {
            let fits = work.weight == weight && rows + work.rows <= LARGEST;
            if fits {
                rows += work.rows;
                running.push(*work);
            }
            !fits
        });
        self.began = now;
        self.rows += rows as u64;
        self.runs += 1;
        let noise = 1.0 - NOISE + 2.0 * NOISE * self.rng.f64();
        Some(now + (self.time(rows, weight) * noise) as u64)
    }

    /// A run has ended: what it answers, with the report, and when the next one ends.
    pub fn end(&mut self, now: u64, zero: Instant) -> (Vec<Work>, LoadReport, Option<u64>) {
        let done = std::mem::take(&mut self.running);
        let took = Duration::from_nanos(now - self.began);
        let (weight, rows) = (done[0].weight, done.iter().map(|work| work.rows).sum::<usize>());
        self.fit(weight).learn(rows as f64, took, zero + Duration::from_nanos(now));
        let of = |fit: &Fit, rows: f64| fit.predict(rows).unwrap_or_default();
        let (run, with_row) = (of(self.fit(weight), 0.0), of(self.fit(weight), 1.0));
        let report = LoadReport {
            waiting: self.queue.iter().map(|work| work.rows).sum::<usize>() as u32,
            running: 1,
            free_slots: 0,
            execution: took,
            wait: self.wait(rows),
            run,
            row: with_row.saturating_sub(run),
            gateways: self.callers.iter().flatten().filter(|last| now - **last < LATELY).count() as u32,
        };
        (done, report, self.begin(now))
    }

    /// What waits, each row at what a row took in a run of the size of the last, as our worker predicts it.
    fn wait(&mut self, last: usize) -> Duration {
        let waiting: Vec<(f64, usize)> = self.queue.iter().map(|work| (work.weight, work.rows)).collect();
        let by_row = |fit: &Fit| fit.predict(last as f64).unwrap_or_default() / last as u32;
        waiting.into_iter().map(|(weight, rows)| by_row(self.fit(weight)) * rows as u32).sum()
    }

    fn fit(&mut self, weight: f64) -> &mut Fit {
        let at = self.fits.iter().position(|(known, _)| *known == weight).unwrap_or_else(|| {
            self.fits.push((weight, Fit::default()));
            self.fits.len() - 1
        });
        &mut self.fits[at].1
    }

    /// Rows that wait or run.
    pub fn in_flight(&self) -> usize {
        self.queue.iter().chain(&self.running).map(|work| work.rows).sum()
    }

    /// For probes: notes what a call took here that met `met` others.
    pub fn took(&mut self, met: usize, took: u64) {
        self.recent.push_back((met, took));
        if self.recent.len() > 64 {
            self.recent.pop_front();
        }
    }

    /// What a probe answers: calls in flight, and the median of what those took lately that met about as many.
    pub fn probe(&self) -> (usize, u64) {
        let met = self.in_flight();
        let mut near: Vec<(usize, u64)> =
            self.recent.iter().map(|(other, took)| (other.abs_diff(met), *took)).collect();
        near.sort_unstable();
        near.truncate(9);
        near.sort_unstable_by_key(|(_, took)| *took);
        (met, near.get(near.len() / 2).map_or(1, |(_, took)| *took))
    }
}
