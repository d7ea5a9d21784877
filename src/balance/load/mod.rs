//! What one gateway knows of how busy one endpoint is for one model: numbers that whoever sends and whoever gets an
//! answer move without a lock. Read while it is moved it is a mixture of two moments, which misleads one pick at most.
//!
//! `outlook` predicts from what the endpoint reports, `average` measures where it reports nothing, `surprise` says
//! whether predictions are any good, `trial` whether anything is known since it was connected; `cost` is how all of it
//! looks to a picker, `seat` how to a plan.

mod average;
mod cost;
mod learn;
mod outlook;
mod seat;
mod surprise;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use average::{Failing, PeakAverage};
pub(super) use cost::Cost;
pub use outlook::Line;
use outlook::Outlook;
use surprise::Surprise;
use trial::Trial;

use crate::infer::LoadReport;

/// Answers in a row without a report after which an endpoint is taken for one that makes none. Some are lost without
/// that, as where what is between cuts trailers off.
const SILENT: u32 = 64;

/// When a gateway decides which endpoint gets a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// When it comes.
    Early,
    /// When an endpoint can take it.
    Late,
}

impl Binding {
    /// What each other gateway is taken to send until the next report for each row of ours. As much, where all plan;
    /// where calls are picked one by one a third is best: with 16 gateways p99.9 is a tenth lower than with one for
    /// one, and with none of it the mean is a tenth higher (`benches/balance`, 85 % load).
    fn others(self) -> f64 {
        match self {
            Binding::Early => 1.0 / 3.0,
            Binding::Late => 1.0,
        }
    }
}

/// How a call to an endpoint ended, as far as its load goes.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It was answered, with a report of the endpoint's load where the endpoint makes them.
    Answered(Option<&'a LoadReport>),
    /// It failed, and by the endpoint's doing.
    Failed {
        /// What a caller loses by it: the time of another try, or the pause for which the endpoint asked.
        penalty: Duration,
    },
    /// Nobody waited for it any more, so that nothing is known but that it took no less.
    Abandoned,
}

/// A call on its way. Whoever has it says how it ended.
#[derive(Debug)]
#[must_use]
pub struct Sent {
    /// Nanoseconds of the endpoint's zero.
    at: u64,
    rows: u32,
    /// When its answer was predicted, in nanoseconds from when it was sent; 0 where nothing was.
    predicted: f32,
}

/// How busy one endpoint is for one model.
#[derive(Debug)]
pub struct Load {
    /// Zero of all times below, which are nanoseconds.
    zero: Instant,
    joined: u64,
    binding: Binding,
    calls: AtomicU32,
    rows: AtomicU32,
    outlook: AtomicU64,
    /// What a run takes and each of its rows, each as 32 bits.
    line: AtomicU64,
    /// Rows of the largest run, as a float; infinite where that is not known.
    largest: AtomicU64,
    instances: AtomicU32,
    gateways: AtomicU32,
    /// Answers since the last report; `u32::MAX` before the first.
    silent: AtomicU32,
    /// When the last answer came, or when a call was sent after none was in flight.
    heard: AtomicU64,
    /// How long nothing may come while something is in flight.
    patience: AtomicU64,
    /// Half of what a round trip takes beside the run: of the shortest seen, which has not waited for a run; 0 where that
    /// is not known.
    one_way: AtomicU64,
    /// Until when reports are not believed.
    doubted: AtomicU64,
    trial: Trial,
    surprise: Surprise,
    failing: Failing,
    round_trip: PeakAverage,
}

impl Load {
    /// Of an endpoint that is found now, for a gateway that binds so. `largest` is how many rows it runs at once, where
    /// that is known. Endpoints that are picked from together have one `zero`, from which time is counted, so that it is
    /// counted once for all of them.
    pub fn new(binding: Binding, largest: Option<u32>, zero: Instant, now: Instant) -> Load {
        Load {
            zero,
            joined: nanos(zero, now),
            binding,
            calls: AtomicU32::new(0),
            rows: AtomicU32::new(0),
            outlook: AtomicU64::new(0),
            line: AtomicU64::new(0),
            largest: AtomicU64::new(largest.map_or(f64::INFINITY, f64::from).to_bits()),
            instances: AtomicU32::new(1),
            gateways: AtomicU32::new(0),
            silent: AtomicU32::new(u32::MAX),
            heard: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            one_way: AtomicU64::new(0),
            doubted: AtomicU64::new(0),
            trial: Trial::default(),
            surprise: Surprise::default(),
            failing: Failing::default(),
            round_trip: PeakAverage::default(),
        }
    }

    /// So many rows are run at once there.
    pub fn runs_at_once(&self, largest: u32) {
        self.largest.store(f64::from(largest).to_bits(), Relaxed);
    }

    /// It was lost and is back: what is behind the connection may be another process, or is so over another way. What it
    /// failed and how long it took say nothing any more; otherwise it would get no calls for most of a minute while the
    /// others drown. One that fails again is for its breaker. It begins small: until it has answered, pickers give it one
    /// call at a time, however often it comes back.
    pub fn begin_anew(&self) {
        self.trial.begin();
        self.round_trip.forget();
        self.failing.forget();
    }

    /// A call of so many rows is sent now.
    pub fn start(&self, rows: u32, now: Instant) -> Sent {
        let at = self.nanos(now);
        // A prediction from a first answer alone says how long it took to begin.
        let is_predicted = self.reports() && self.trial.is_over();
        let predicted = if is_predicted { self.completion(rows, at) as f32 } else { 0.0 };
        self.rows.fetch_add(rows, Relaxed);
        if self.calls.fetch_add(1, Relaxed) == 0 {
            self.heard.store(at, Relaxed);
        }
        if self.reports() {
            let (line, arrives) = (self.line(), at + self.one_way());
            let rows = f64::from(rows) * (1.0 + self.others());
            let _ = self.outlook.fetch_update(Relaxed, Relaxed, |packed| {
                Some(Outlook::unpack(packed).joined(rows, arrives, &line).pack())
            });
        }
        Sent { at, rows, predicted }
    }

    /// A call that was said to be sent has so many rows and not as many; 0 where it is not sent at all.
    pub fn resize(&self, sent: &mut Sent, rows: u32) {
        let (from, to) = (sent.rows, rows);
        if from == to {
            return;
        }
        sent.rows = to;
        self.rows.fetch_add(to.wrapping_sub(from), Relaxed);
        if self.reports() {
            let (line, factor) = (self.line(), 1.0 + self.others());
            let [from, to] = [from, to].map(f64::from);
            if sent.predicted > 0.0 {
                sent.predicted = (f64::from(sent.predicted) + line.time(to) - line.time(from)).max(0.0) as f32;
            }
            let _ = self.outlook.fetch_update(Relaxed, Relaxed, |packed| {
                Some(Outlook::unpack(packed).resized(from * factor, to * factor, &line).pack())
            });
        }
    }

    /// A call has ended.
    pub fn end(&self, sent: Sent, outcome: Outcome<'_>, now: Instant) {
        let at = self.nanos(now);
        let took = at.saturating_sub(sent.at);
        self.calls.fetch_sub(1, Relaxed);
        self.rows.fetch_sub(sent.rows, Relaxed);
        match outcome {
            Outcome::Answered(report) => {
                self.heard.store(at, Relaxed);
                if self.trial.answered(sent.at, at) {
                    self.round_trip.forget();
                }
                self.round_trip.add(took as f64, at);
                self.failing.add(0.0, at);
                if sent.predicted > 0.0 {
                    self.surprise.add(sent.predicted, took as f32);
                }
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

    #[inline]
    fn completion(&self, rows: u32, now: u64) -> f64 {
        let line = self.line();
        let one_way = self.one_way();
        self.outlook(&line).completion(rows, now + one_way, &line) + 2.0 * one_way as i64 as f64
    }

    #[inline]
    fn outlook(&self, line: &Line) -> Outlook {
        Outlook::unpack(self.outlook.load(Relaxed)).at_least(self.rows.load(Relaxed), line)
    }

    /// How long it has owed an answer beyond what runs take. What is late by so much is as likely as not to be late by
    /// as much again.
    #[inline]
    fn overdue(&self, now: u64) -> f64 {
        self.quiet(now).saturating_sub(self.patience.load(Relaxed)) as i64 as f64
    }

    /// For how long nothing has come, though something was in flight.
    #[inline]
    fn quiet(&self, now: u64) -> u64 {
        match self.calls.load(Relaxed) {
            0 => 0,
            _ => now.saturating_sub(self.heard.load(Relaxed)),
        }
    }

    /// Calls in flight from here.
    #[inline]
    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    /// Rows in flight from here.
    pub fn rows(&self) -> u32 {
        self.rows.load(Relaxed)
    }

    /// Whether it says with its answers how busy it is.
    #[inline]
    pub fn reports(&self) -> bool {
        self.silent.load(Relaxed) < SILENT
    }

    #[inline]
    fn is_doubted(&self, now: u64) -> bool {
        now < self.doubted.load(Relaxed)
    }

    /// What a run takes there, by its rows, as it said last.
    #[inline]
    pub fn line(&self) -> Line {
        let packed = self.line.load(Relaxed);
        let [run, row] = [(packed >> 32) as u32, packed as u32].map(|bits| f64::from(f32::from_bits(bits)));
        let (largest, instances) = (f64::from_bits(self.largest.load(Relaxed)), self.instances.load(Relaxed));
        Line { run, row, largest, instances: f64::from(instances) }
    }

    #[inline]
    fn one_way(&self) -> u64 {
        self.one_way.load(Relaxed)
    }

    /// What other gateways are taken to send for each row of ours.
    fn others(&self) -> f64 {
        f64::from(self.gateways.load(Relaxed).saturating_sub(1)) * self.binding.others()
    }

    /// Now in nanoseconds from its zero.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        nanos(self.zero, now)
    }

    /// How long ago it was found, in nanoseconds.
    #[inline]
    pub(super) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.joined)
    }
}

fn nanos(zero: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(zero);
    // `as_nanos` counts in 128 bits, which shows in what a pick takes.
    since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
}
