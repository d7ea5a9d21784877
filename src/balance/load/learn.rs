//! What is taken over from a report. Whatever numbers a peer sends, they make a bad prediction at worst.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Load;
use super::outlook::Outlook;
use crate::infer::LoadReport;

/// How many of the longest runs an endpoint may let pass without an answer until it is taken to be late.
const PATIENCE: f64 = 2.0;
/// How long reports are not believed, in nanoseconds, after one that cannot be of the call that it came with.
const DOUBT: u64 = 60_000_000_000;

impl Load {
    /// Takes over what the endpoint says of itself.
    pub(super) fn learn(&self, report: &LoadReport, took: u64, now: u64) {
        let execution = u64::try_from(report.execution.as_nanos()).unwrap_or(u64::MAX);
        // A thousandth for two clocks that do not run alike.
        if took < execution - execution / 1000 {
            // No call is answered before it has run: what comes as a report is an old one, kept by something between.
            self.doubted.store(now + DOUBT, Relaxed);
        }
        let one_way = (took.saturating_sub(execution) / 2).max(1);
        if self.one_way() == 0 || one_way < self.one_way() {
            self.one_way.store(one_way, Relaxed);
        }
        self.instances.store(report.running.saturating_add(report.free_slots).max(1), Relaxed);
        self.gateways.store(report.gateways, Relaxed);
        self.learn_line(report);
        let line = self.line();
        // One slow run is no reason for more patience with the next.
        let longest = if line.largest.is_finite() { line.time(line.largest) } else { execution as f64 };
        self.patience.store(((PATIENCE * longest) as u64).saturating_add(2 * self.one_way()), Relaxed);
        let made = now.saturating_sub(self.one_way());
        // What was on its way to the endpoint when it made the report is not in it. Among several gateways what waits
        // there is not told by whose it is, and what they send is estimated anyway.
        let unseen = match self.others() {
            0.0 => self.rows.load(Relaxed).saturating_sub(report.waiting),
            _ => 0,
        };
        self.outlook.store(Outlook::reported(report.waiting.saturating_add(unseen), made, &line).pack(), Relaxed);
        self.silent.store(0, Relaxed);
    }

    fn learn_line(&self, report: &LoadReport) {
        let (run, row) = match report.run.is_zero() && report.row.is_zero() {
            // It has not run often enough to tell the one from the other.
            true => (report.execution, Duration::ZERO),
            false => (report.run, report.row),
        };
        let factor = quicker(report.execution, run.saturating_add(row));
        let [run, row] = [run, row].map(|time| u64::from((time.as_nanos() as f32 * factor).to_bits()));
        self.line.store(run << 32 | row, Relaxed);
    }

    /// An answer came without a report.
    pub(super) fn unreported(&self) {
        let _ = self.silent.fetch_update(Relaxed, Relaxed, |silent| Some(silent.saturating_add(1)));
    }
}

/// By how much a run that took so long was quicker than any should be. The first runs of a process are slow, and are
/// in what it says of itself until many more were made: those that nobody asks of it, as it looks slow.
fn quicker(took: Duration, least: Duration) -> f32 {
    if took.is_zero() || took >= least { 1.0 } else { (took.as_nanos() as f64 / least.as_nanos() as f64) as f32 }
}
