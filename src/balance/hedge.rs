//! Whether, and when, a second endpoint is asked for what a first one is slow to answer. Whoever asks cancels the loser.

mod quantile;

use std::time::{Duration, Instant};

use quantile::Quantile;

use super::budget::RetryBudget;
use super::window::Window;

/// A call is slow when 95 of 100 recent ones were faster (Dean and Barroso, "The tail at scale", 2013).
const SLOW: f64 = 0.95;

/// The p95 means something when some five calls are beyond it.
const LEAST: u64 = 100;

/// At most one call of so many is hedged, 2 %: what the same paper reports as the price of a p99.9 that is a
/// twentieth of what it was. That less than half of the slow ones are is no mistake: hedges are for stragglers, and where
/// all are slow there is nothing to win.
const CALLS_FOR_ONE: u64 = 50;

/// The window of that share, in seconds; as long as the one of the budget.
const SECONDS: usize = 10;

/// In a fleet that is busier nobody is asked twice: the copies would make others wait for longer than they save.
const BUSY: f64 = 0.7;

/// When the calls of one model are hedged. Nothing of it takes a lock.
#[derive(Debug)]
pub struct Hedging {
    round_trips: Quantile,
    calls: Window,
    hedges: Window,
}

impl Hedging {
    /// For a model of which nothing is known yet.
    pub fn new(now: Instant) -> Hedging {
        Hedging { round_trips: Quantile::new(SLOW, LEAST, now), calls: Window::new(now), hedges: Window::new(now) }
    }

    /// A call was answered after `round_trip`, from its first attempt to its answer, whichever attempt gave it: with only
    /// the winners' own times, what is slow would be forgotten.
    pub fn answered(&self, round_trip: Duration, now: Instant) {
        self.calls.add(now);
        self.round_trips.record(round_trip, now);
    }

    /// How long to wait for the first answer before a second endpoint is asked. `None` where that is never: the model is
    /// not pure, the fleet is more than 70 % busy (`busy`, from 0 to 1), or too little is known of how long calls take.
    pub fn after(&self, pure: bool, busy: f64, now: Instant) -> Option<Duration> {
        // Written so that a share that is not a number hedges nothing.
        if pure && busy <= BUSY { self.round_trips.get(now) } else { None }
    }

    /// Whether a hedge may be sent now that the time has come, for a call that has `left` until its deadline and is
    /// `predicted` to take so long elsewhere. If so, it is taken out of the model's budget, and is one of the 2 % that may
    /// be hedged.
    pub fn may_send(&self, left: Duration, predicted: Duration, budget: &RetryBudget, now: Instant) -> bool {
        if left < predicted {
            return false;
        }
        // Ten buckets are at most ten seconds, eleven at least: see the budget.
        let most = self.calls.sum(now, SECONDS) / CALLS_FOR_ONE;
        // The budget is asked before the share is taken: it is also what retries live on.
        self.hedges.sum(now, SECONDS + 1) < most
            && budget.withdraw(now)
            && self.hedges.add_if(now, SECONDS + 1, |hedges| hedges < most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Of a model with so many calls, of which one in ten takes 100 ms and the others 10 ms.
    fn known(calls: usize, now: Instant) -> Hedging {
        let hedging = Hedging::new(now);
        (0..calls).for_each(|call| hedging.answered(if call % 10 == 0 { MS * 100 } else { MS * 10 }, now));
        hedging
    }

    fn send(hedging: &Hedging, budget: &RetryBudget, now: Instant) -> bool {
        hedging.may_send(MS * 50, MS * 10, budget, now)
    }

    #[test]
    fn a_call_is_hedged_once_it_takes_longer_than_nearly_all() {
        let now = Instant::now();
        let after = known(320, now).after(true, 0.5, now).unwrap();
        assert!(after >= MS * 100 && after < MS * 113, "{after:?}");
    }

    #[test]
    fn nothing_is_hedged_that_must_not_run_twice_or_in_a_busy_fleet_or_before_anything_is_known() {
        let now = Instant::now();
        let hedging = known(320, now);
        assert_eq!(hedging.after(false, 0.5, now), None);
        assert_eq!(hedging.after(true, 0.71, now), None);
        assert_eq!(hedging.after(true, f64::NAN, now), None);
        assert_eq!(known(96, now).after(true, 0.5, now), None);
    }

    #[test]
    fn of_a_hundred_calls_two_are_hedged() {
        let now = Instant::now();
        let (hedging, budget) = (known(1000, now), RetryBudget::new(now));
        assert_eq!((0..100).filter(|_| send(&hedging, &budget, now)).count(), 20);
        assert_eq!(budget.left(now), 80);
    }

    #[test]
    fn hedges_and_retries_live_on_one_budget() {
        let now = Instant::now();
        let (hedging, budget) = (known(10_000, now), RetryBudget::new(now));
        (0..95).for_each(|_| assert!(budget.withdraw(now)));
        assert_eq!((0..100).filter(|_| send(&hedging, &budget, now)).count(), 5);
    }

    #[test]
    fn a_hedge_that_would_be_late_is_not_sent_and_costs_nothing() {
        let now = Instant::now();
        let (hedging, budget) = (known(1000, now), RetryBudget::new(now));
        assert!(!hedging.may_send(MS * 9, MS * 10, &budget, now));
        assert_eq!(budget.left(now), 100);
    }

    proptest! {
        #[test]
        fn no_ten_seconds_that_end_with_a_hedge_have_more_than_two_of_a_hundred(
            steps in prop::collection::vec((0u64..600, 0usize..200), 1..80)
        ) {
            let start = Instant::now();
            let (hedging, budget, mut now) = (Hedging::new(start), RetryBudget::new(start), start);
            let (mut calls, mut hedges) = (Vec::new(), Vec::new());
            for (millis, count) in steps {
                now += MS * millis as u32;
                for _ in 0..count {
                    budget.deposit(now);
                    hedging.answered(MS, now);
                    calls.push(now);
                    if send(&hedging, &budget, now) {
                        hedges.push(now);
                    }
                }
                let recent = |all: &[Instant]| all.iter().filter(|at| now - **at < Duration::from_secs(10)).count();
                prop_assert!(hedges.last() != Some(&now) || recent(&hedges) * 50 <= recent(&calls));
            }
        }
    }
}
