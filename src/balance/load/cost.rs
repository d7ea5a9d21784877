//! What a call costs at an endpoint, as a picker sees it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Load;
use super::average::kept;

/// What a call costs in nanoseconds where nothing is known of an endpoint but that it owes an answer: more than any
/// that is known, so that one call finds out (Finagle does the same).
const UNKNOWN: f64 = 1e9;
/// An endpoint fails that costs its callers so many nanoseconds on average: a fiftieth of all calls at a penalty of 5 s.
const FAILS: f64 = 100e6;

/// What a call costs, in nanoseconds, or another unit where all are in that.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::balance) struct Cost {
    /// By what is known.
    pub(in crate::balance) known: f64,
    /// The same, less the longer ago that was learnt, so that an endpoint that is left aside is tried again. By this one
    /// endpoint is chosen from among its like.
    pub(in crate::balance) doubted: f64,
}

impl Cost {
    /// Of nothing: neither more nor less than any other.
    pub(in crate::balance) const NONE: Cost = Cost { known: f64::NAN, doubted: f64::NAN };
}

impl From<f64> for Cost {
    fn from(cost: f64) -> Cost {
        Cost { known: cost, doubted: cost }
    }
}

impl Load {
    /// When a call of so many rows would be answered that is sent now, as far as can be told, counted from now; with
    /// what failures there cost on average.
    pub fn predicted(&self, rows: u32, now: Instant) -> Duration {
        let at = self.nanos(now);
        let nanos = match self.is_predictable_at(at) {
            true => self.completion(rows, at) + self.overdue(at) + self.failing.at(at),
            false => self.by_round_trip(at),
        };
        Duration::from_nanos(nanos as u64)
    }

    /// Whether it reports, and its reports have led to predictions that are better than guesses.
    pub fn is_predictable(&self, now: Instant) -> bool {
        self.is_predictable_at(self.nanos(now))
    }

    #[inline]
    fn is_predictable_at(&self, now: u64) -> bool {
        self.reports() && !self.is_doubted(now) && !self.surprise.is_large()
    }

    /// Whether its round trips are all that is known of it, and are known. One that has only failed, or has not answered
    /// yet, is set apart from all others on any scale.
    #[inline]
    pub(in crate::balance) fn is_only_measured(&self, now: u64) -> bool {
        !self.is_predictable_at(now) && self.round_trip.is_known() && self.failing.at(now) < FAILS
    }

    /// What a call costs by what was reported and sent, in nanoseconds; by the round trip where nothing was reported.
    /// With nothing in flight an endpoint is idle and not late.
    #[inline]
    pub(in crate::balance) fn cost(&self, rows: u32, now: u64) -> Cost {
        if !self.reports() || self.is_on_trial() {
            return self.cost_by_round_trip(now);
        }
        // Factors and no branches: at which endpoints calls are in flight nobody foresees.
        let in_flight = f64::from(self.calls()).min(1.0);
        let since = now.saturating_sub(self.heard.load(Relaxed));
        let late = since.saturating_sub(self.patience.load(Relaxed)) as i64 as f64 * in_flight;
        let idle = since as i64 as f64 * (1.0 - in_flight);
        // What may call a function goes first, as long as there is little to keep meanwhile.
        let (rest, kept) = (late + self.failing.at(now), kept(idle));
        let completion = self.completion(rows, now);
        Cost { known: completion + rest, doubted: completion * kept + rest }
    }

    /// What a call costs by the peaks of the round trip, which are less the longer ago they were, and by what is in
    /// flight, in nanoseconds.
    pub(in crate::balance) fn cost_by_round_trip(&self, now: u64) -> Cost {
        let nanos = match self.is_on_trial() {
            true => self.with_failures(if self.calls() == 0 { 0.0 } else { UNKNOWN }, now),
            false => self.by_round_trip(now),
        };
        nanos.into()
    }

    /// Whether it gets a call to find out what it takes, and before the first answer no more than that one.
    #[inline]
    fn is_on_trial(&self) -> bool {
        !self.trial.is_over() && (self.trial.is_untried() || self.calls() == 0)
    }

    pub(super) fn by_round_trip(&self, now: u64) -> f64 {
        let trip = match self.round_trip.at(now) {
            Some(trip) => trip.max(self.quiet(now) as f64),
            None if self.calls() == 0 => 0.0,
            None => UNKNOWN,
        };
        self.with_failures(trip, now)
    }

    #[inline]
    fn with_failures(&self, trip: f64, now: u64) -> f64 {
        (trip + self.failing.at(now)) * (f64::from(self.calls()) + 1.0)
    }
}
