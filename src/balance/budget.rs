//! How much more work than asked for may be sent, so that hiding faults never becomes the load that breaks the rest.

use std::time::Instant;

use super::window::Window;

/// What retries and hedges of one model share: a fifth of its calls and ten a second, over ten seconds. These are the
/// figures of Finagle, Linkerd and tower; a fifth is what a fleet at 80 % load can just take.
///
/// For each withdrawal that is granted it holds exactly: those granted in the ten seconds that end with it are at most
/// a fifth of the calls of these ten seconds and a hundred.
#[derive(Debug)]
pub struct RetryBudget {
    calls: Window,
    taken: Window,
}

/// Of so many calls one may be sent again.
const CALLS_FOR_ONE: u64 = 5;

/// How far back is looked, in seconds.
const SECONDS: usize = 10;

/// So many in ten seconds are granted whatever there is of calls (ten a second), so that a model that is hardly called
/// is not the one whose faults are seen.
const FLOOR: u64 = 100;

impl RetryBudget {
    /// A budget from `now` on, with its floor in it.
    pub fn new(now: Instant) -> RetryBudget {
        RetryBudget { calls: Window::new(now), taken: Window::new(now) }
    }

    /// A call came. Its retries and hedges are no calls.
    pub fn deposit(&self, now: Instant) {
        self.calls.add(now);
    }

    /// Takes one attempt out of the budget, if there is one in it. What is taken is not given back.
    pub fn withdraw(&self, now: Instant) -> bool {
        // Ten buckets are at most ten seconds, eleven are at least ten: what is taken is never seen too small, what it
        // is measured by never too large.
        let most = FLOOR + self.calls.sum(now, SECONDS) / CALLS_FOR_ONE;
        self.taken.add_if(now, SECONDS + 1, |taken| taken < most)
    }

    /// How many attempts are in it now.
    pub fn left(&self, now: Instant) -> u64 {
        let most = FLOOR + self.calls.sum(now, SECONDS) / CALLS_FOR_ONE;
        most.saturating_sub(self.taken.sum(now, SECONDS + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn a_model_without_calls_has_the_floor_and_one_with_calls_a_fifth_of_them_more() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        assert_eq!(budget.left(now), 100);
        (0..500).for_each(|_| budget.deposit(now));
        assert_eq!((0..1000).filter(|_| budget.withdraw(now)).count(), 200);
        assert_eq!(budget.left(now), 0);
    }

    #[test]
    fn what_was_taken_is_there_again_after_the_window() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        assert_eq!((0..200).filter(|_| budget.withdraw(start)).count(), 100);
        assert!(!budget.withdraw(start + Duration::from_secs(9)));
        assert!(budget.withdraw(start + Duration::from_secs(11)));
    }

    #[test]
    fn threads_that_ask_at_once_get_no_more_than_there_is() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        let granted: usize = std::thread::scope(|scope| {
            let ask = || (0..500).filter(|_| budget.withdraw(now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 100);
    }

    proptest! {
        #[test]
        fn no_ten_seconds_that_end_with_a_retry_have_more_than_a_fifth_of_their_calls_and_the_floor(
            steps in prop::collection::vec((0u64..400, 0u32..60, 0u32..60), 1..150)
        ) {
            let start = Instant::now();
            let (budget, mut now) = (RetryBudget::new(start), start);
            let (mut calls, mut granted) = (Vec::new(), Vec::new());
            for (millis, deposits, withdrawals) in steps {
                now += Duration::from_millis(millis);
                for _ in 0..deposits {
                    budget.deposit(now);
                    calls.push(now);
                }
                let count = (0..withdrawals).filter(|_| budget.withdraw(now)).count();
                granted.extend((0..count).map(|_| now));
                let recent = |all: &[Instant]| all.iter().filter(|at| now - **at < WINDOW).count();
                let (taken, asked) = (recent(&granted), recent(&calls));
                prop_assert!(count == 0 || taken <= asked / 5 + 100, "{taken} of {asked}");
            }
        }
    }
}
