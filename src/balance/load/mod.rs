//! What one gateway knows of how busy one endpoint is for one model: numbers that whoever sends and whoever gets an
//! answer move without a lock. Read while it is moved it is a mixture of two moments, which misleads one pick at most.

mod average;
mod outlook;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use average::{Failing, PeakAverage};
pub use outlook::Line;
use outlook::Outlook;

use crate::infer::LoadReport;

/// Answers in a row without a report after which an endpoint is taken for one that makes none. Some of them are lost
/// on the way, as where a client of the endpoint's leaves before its trailers.
const SILENT: u32 = 64;
/// What a call costs where nothing is known of an endpoint but that it owes answers: more than any that is known, so
/// that one call finds out (Finagle does the same).
const UNKNOWN: f64 = 1e9;
/// How many of the longest runs an endpoint may let pass without an answer until it is taken to be late.
const PATIENCE: f64 = 2.0;

/// How a call to an endpoint ended, as far as its load goes.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It was answered, with a report of the endpoint's load where the endpoint makes them.
    Answered(Option<&'a LoadReport>),
    /// It failed, and by the endpoint's doing: it counts as if it had taken `penalty` longer.
    Failed {
        /// At least what a caller loses by it; what the endpoint asked for where it asked for a pause.
        penalty: Duration,
    },
    /// Nobody waited for it any more, so that nothing is known but that it took no less.
    Abandoned,
}

/// How busy one endpoint is for one model.
#[derive(Debug)]
pub struct Load {
    /// Zero of all times below, which are nanoseconds.
    joined: Instant,
    calls: AtomicU32,
    rows: AtomicU32,
    outlook: AtomicU64,
    line: AtomicU64,
    largest: AtomicU32,
    instances: AtomicU32,
    gateways: AtomicU32,
    /// Answers since the last report; `u32::MAX` before the first.
    silent: AtomicU32,
    /// When the last answer came, or when a call was sent after none was in flight.
    heard: AtomicU64,
    /// What a round trip takes beside the run.
    overhead: AtomicU64,
    round_trip: PeakAverage,
    failing: Failing,
}

impl Load {
    /// Of an endpoint that was just found. `largest` is how many rows it runs at once, where that is known.
    pub fn new(largest: Option<u32>, joined: Instant) -> Load {
        Load {
            joined,
            calls: AtomicU32::new(0),
            rows: AtomicU32::new(0),
            outlook: AtomicU64::new(0),
            line: AtomicU64::new(0),
            largest: AtomicU32::new(largest.unwrap_or(0)),
            instances: AtomicU32::new(1),
            gateways: AtomicU32::new(0),
            silent: AtomicU32::new(u32::MAX),
            heard: AtomicU64::new(0),
            overhead: AtomicU64::new(u64::MAX),
            round_trip: PeakAverage::default(),
            failing: Failing::default(),
        }
    }

    /// So many rows are run at once there.
    pub fn runs_at_once(&self, largest: u32) {
        self.largest.store(largest, Relaxed);
    }

    /// It was lost and is back: what is behind the connection may be another process, or is so over another way. What it
    /// failed and how long it took say nothing any more; otherwise it would get no calls for most of a minute while the
    /// others drown. One that fails again is for its breaker.
    pub fn begin_anew(&self) {
        self.round_trip.forget();
        self.failing.forget();
    }

    /// A call of so many rows is sent now. Whoever says so says how it ended, once.
    pub fn start(&self, rows: u32, now: Instant) {
        let at = self.nanos(now);
        self.rows.fetch_add(rows, Relaxed);
        if self.calls.fetch_add(1, Relaxed) == 0 {
            self.heard.store(at, Relaxed);
        }
        if self.reports() {
            let (line, others) = (self.line(), self.others());
            let arrives = at + self.one_way();
            let _ = self.outlook.fetch_update(Relaxed, Relaxed, |packed| {
                Some(Outlook::unpack(packed).joined(f64::from(rows) * (1.0 + others), arrives, &line).pack())
            });
        }
    }

    /// A call of so many rows that was sent `took` ago has ended.
    pub fn end(&self, rows: u32, outcome: Outcome<'_>, took: Duration, now: Instant) {
        let (at, took) = (self.nanos(now), took.as_nanos() as u64);
        self.calls.fetch_sub(1, Relaxed);
        self.rows.fetch_sub(rows, Relaxed);
        match outcome {
            Outcome::Answered(report) => {
                self.heard.store(at, Relaxed);
                self.round_trip.add(took as f64, at);
                self.failing.add(0.0, at);
                match report {
                    Some(report) => self.learn(report, took, at),
                    None => self.unreported(),
                }
            }
            Outcome::Failed { penalty } => {
                self.heard.store(at, Relaxed);
                self.failing.add(penalty.as_nanos() as f64, at);
            }
            Outcome::Abandoned => self.round_trip.at_least(took as f64, at),
        }
    }

    /// Takes over what the endpoint says of itself.
    fn learn(&self, report: &LoadReport, took: u64, now: u64) {
        self.overhead.fetch_min(took.saturating_sub(report.execution.as_nanos() as u64), Relaxed);
        let line = self.learnt_line(report);
        self.instances.store((report.running + report.free_slots).max(1), Relaxed);
        self.gateways.store(report.gateways, Relaxed);
        self.silent.store(0, Relaxed);
        let made = now.saturating_sub(self.one_way());
        // What the report cannot know of is what was on its way to the endpoint when it was made.
        let on_its_way = self.rows.load(Relaxed).saturating_sub(report.waiting);
        let ours = if self.others() > 0.0 { 0 } else { on_its_way };
        let outlook = Outlook::reported(report.waiting + ours, made, &line);
        self.outlook.store(outlook.pack(), Relaxed);
    }

    fn learnt_line(&self, report: &LoadReport) -> Line {
        let (run, row) = match report.run + report.row {
            // It has not run often enough to tell the one from the other.
            Duration::ZERO => (report.execution, Duration::ZERO),
            _ => (report.run, report.row),
        };
        let (run, row) = (run.as_nanos() as f32, row.as_nanos() as f32);
        self.line.store(u64::from(run.to_bits()) << 32 | u64::from(row.to_bits()), Relaxed);
        self.line()
    }

    fn unreported(&self) {
        let _ = self.silent.fetch_update(Relaxed, Relaxed, |silent| Some(silent.saturating_add(1)));
    }

    /// When a call of so many rows would be answered that is sent now, as far as can be told, counted from now.
    pub fn predicted(&self, rows: u32, now: Instant) -> Duration {
        Duration::from_nanos(self.cost(rows, now) as u64)
    }

    /// The same in nanoseconds, with what failures cost.
    pub(super) fn cost(&self, rows: u32, now: Instant) -> f64 {
        let at = self.nanos(now);
        if !self.reports() {
            return self.by_round_trip(at);
        }
        let line = self.line();
        let outlook = Outlook::unpack(self.outlook.load(Relaxed)).at_least(self.rows.load(Relaxed), &line);
        let arrives = at + self.one_way();
        let completion = outlook.completion(rows, arrives, &line) + 2.0 * self.one_way() as f64;
        completion + self.overdue(at, &line) + self.failing.at(at)
    }

    /// What a call costs by the peaks of the round trip and by what is in flight, in nanoseconds: of one unit with
    /// predictions, though further from what will be.
    pub(super) fn cost_by_round_trip(&self, now: Instant) -> f64 {
        self.by_round_trip(self.nanos(now))
    }

    fn by_round_trip(&self, now: u64) -> f64 {
        let calls = f64::from(self.calls.load(Relaxed));
        let trip = match self.round_trip.at(now) {
            Some(trip) => trip.max(self.quiet(now)),
            None if calls == 0.0 => 0.0,
            None => UNKNOWN,
        };
        (trip + self.failing.at(now)) * (calls + 1.0)
    }

    /// How long it has owed an answer beyond what runs take. What is late by so much is as likely as not to be late by
    /// as much again.
    fn overdue(&self, now: u64, line: &Line) -> f64 {
        (self.quiet(now) - PATIENCE * line.time(line.largest) - 2.0 * self.one_way() as f64).max(0.0)
    }

    /// For how long nothing has come, though something was in flight.
    fn quiet(&self, now: u64) -> f64 {
        match self.calls.load(Relaxed) {
            0 => 0.0,
            _ => now.saturating_sub(self.heard.load(Relaxed)) as f64,
        }
    }

    /// Calls in flight from here.
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Rows in flight from here.
    pub fn rows(&self) -> u32 {
        self.rows.load(Relaxed)
    }

    /// Whether it says with its answers how busy it is.
    pub fn reports(&self) -> bool {
        self.silent.load(Relaxed) < SILENT
    }

    /// How long ago it was found.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.joined)
    }

    /// When a batch that is sent now could begin, counted from now; `None` where it does not report.
    pub fn free_in(&self, now: Instant) -> Option<Duration> {
        let line = self.line();
        let arrives = self.nanos(now) + self.one_way();
        let outlook = Outlook::unpack(self.outlook.load(Relaxed)).at_least(self.rows.load(Relaxed), &line);
        let wait = outlook.wait(arrives, &line) + self.overdue(self.nanos(now), &line);
        self.reports().then(|| Duration::from_nanos(wait as u64))
    }

    /// What a run takes there, by its rows, as the endpoint said last.
    pub fn line(&self) -> Line {
        let packed = self.line.load(Relaxed);
        let [run, row] = [(packed >> 32) as u32, packed as u32].map(|bits| f64::from(f32::from_bits(bits)));
        let largest = match self.largest.load(Relaxed) {
            0 => f64::INFINITY,
            largest => f64::from(largest),
        };
        Line { run, row, largest, instances: f64::from(self.instances.load(Relaxed)) }
    }

    /// Half of what a round trip takes beside the run.
    fn one_way(&self) -> u64 {
        match self.overhead.load(Relaxed) {
            u64::MAX => 0,
            overhead => overhead / 2,
        }
    }

    /// What other gateways are taken to send for each row of ours.
    fn others(&self) -> f64 {
        f64::from(self.gateways.load(Relaxed).saturating_sub(1))
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.joined).as_nanos() as u64
    }
}
