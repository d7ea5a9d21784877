//! An endpoint's load as a plan sees it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Line, Load};
use crate::balance::plan::Seat;

/// A full batch goes out so long before it can begin, as part of what it takes: how long a run takes is known no
/// better, and by waiting longer nothing is won but another endpoint that might be free first. Without that p99.9 is a
/// tenth to a quarter higher at 85 and 95 % load (`benches/balance`, one gateway).
const AHEAD: f64 = 0.2;
/// When to look again at the latest, in nanoseconds, where an endpoint should open by itself.
const AGAIN: f64 = 500e3;

impl Load {
    /// How it looks to a plan now. Where any of the endpoints' reports are `doubted`, those of the others come the same
    /// way and are not believed either.
    pub fn seat(&self, doubted: bool, now: Instant) -> Seat {
        let at = self.nanos(now);
        if doubted || !self.reports() {
            return self.silent_seat(at);
        }
        let (line, arrives) = (self.line(), at + self.one_way());
        let free_in = self.wait(&line, at);
        let ahead = if line.largest.is_finite() { AHEAD * line.time(line.largest) } else { 0.0 };
        // A gateway that is alone knows when the run ends and sends as it does. One of several hears of it too late: it
        // sends what the next run has room for beside its own calls. Those that others are taken to send say how long a
        // call would wait, but give no room away: of few endpoints a gateway would else keep calls back that arrived in
        // a burst while the others, which had none, leave the run half empty (`benches/balance`, two workers behind four
        // gateways at 85 % load: p99.9 is 1.12 of peak-EWMA's so, 1.00 without).
        let alone = self.gateways.load(Relaxed) <= 1;
        let room = if alone { self.outlook(&line).room(arrives, &line) } else { self.room_beside_ours(&line) };
        let open = if alone { free_in <= ahead } else { room > 0 };
        // One batch runs at each instance and one is on its way, until an answer comes, whatever is predicted of them: by
        // the prediction alone calls would go one by one where the way, or the worker's turn at the CPU, takes longer than
        // a run. What is full wins nothing by waiting. Of several gateways each would hold back what the next run there has
        // room for, which doubles what calls take with two and four of them (`benches/balance`, 85 % load), so they do it
        // only where a run is over before its answer is back.
        let is_far = 2.0 * self.one_way() as f64 > line.time(1.0);
        let is_supplied = (alone || is_far) && self.calls() > self.instances.load(Relaxed);
        let opens_in = if alone && free_in > ahead { free_in - ahead } else { free_in };
        Seat {
            free_in,
            line,
            penalty: self.failing.at(at),
            room: if open { room } else { 0 },
            only_full: is_supplied || (alone && free_in > 0.0),
            // An answer opens it earlier than time does.
            opens_in: (!is_supplied).then(|| opens_in.max(AGAIN)),
        }
    }

    /// Rows that the next run can take if nobody else sends any: all but those of ours that cannot be running.
    fn room_beside_ours(&self, line: &Line) -> usize {
        let waiting = f64::from(self.rows.load(Relaxed)) - line.largest * line.instances;
        (line.largest - waiting.max(0.0)).max(0.0) as usize
    }

    /// When a run could begin there with what is sent now, counted from now; `None` where it does not report.
    pub fn free_in(&self, now: Instant) -> Option<Duration> {
        self.reports().then(|| Duration::from_nanos(self.wait(&self.line(), self.nanos(now)) as u64))
    }

    fn wait(&self, line: &Line, at: u64) -> f64 {
        self.outlook(line).wait(at + self.one_way(), line) + self.overdue(at)
    }

    /// Whether its reports cannot be those of the calls that they come with.
    pub fn has_doubtful_reports(&self, now: Instant) -> bool {
        self.is_doubted(self.nanos(now))
    }

    /// Calls go there one by one and at once: nothing says when it could take a batch.
    fn silent_seat(&self, at: u64) -> Seat {
        let line = Line { run: self.by_round_trip(at), row: 0.0, largest: f64::INFINITY, instances: 1.0 };
        Seat { free_in: 0.0, line, penalty: 0.0, room: 1, only_full: false, opens_in: None }
    }
}
