//! What is tried again, and what is not.

use proptest::prelude::*;

use super::*;
use crate::error::Room;

const MS: Duration = Duration::from_millis(1);

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        ran: Ran::Never,
        pure: false,
        left: MS * 100,
        predicted: MS * 10,
        answer: Speaks::ForItself,
        earlier: 0,
    }
}

fn lost() -> Error {
    Error::new(Kind::BackendLost, "the connection was reset")
}

fn full(wait: Duration) -> Error {
    Error::overloaded(Room::QueueCalls, "the queue is full", wait)
}

/// Decides with a fresh budget, and tells what was taken out of it.
fn decide_once(error: &Error, attempt: &Attempt) -> (Next, u64) {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    let before = budget.left(now);
    (decide(error, attempt, &budget, now), before - budget.left(now))
}

fn empty() -> RetryBudget {
    let budget = RetryBudget::new(Instant::now());
    while budget.withdraw(Instant::now()) {}
    budget
}

const AT_ONCE: Next = Next::Again { after: Duration::ZERO };

#[test]
fn what_never_ran_is_tried_again_once_for_nothing_and_then_out_of_the_budget() {
    assert_eq!(decide_once(&lost(), &attempt()), (AT_ONCE, 0));
    assert_eq!(decide_once(&lost(), &Attempt { number: 2, ..attempt() }), (AT_ONCE, 1));
    let third = Attempt { number: 3, ..attempt() };
    assert_eq!(decide_once(&lost(), &third), (Next::GiveUp(GiveUp::TriedEnough), 0));
}

#[test]
fn a_retry_of_what_never_ran_needs_no_budget() {
    assert_eq!(decide(&lost(), &attempt(), &empty(), Instant::now()), AT_ONCE);
}

#[test]
fn what_may_have_run_is_tried_again_only_for_a_pure_model_and_within_the_budget() {
    let maybe = Attempt { ran: Ran::Maybe, ..attempt() };
    assert_eq!(decide_once(&lost(), &maybe), (Next::GiveUp(GiveUp::MayHaveRun), 0));
    let pure = Attempt { pure: true, ..maybe };
    assert_eq!(decide_once(&lost(), &pure), (AT_ONCE, 1));
    assert_eq!(decide(&lost(), &pure, &empty(), Instant::now()), Next::GiveUp(GiveUp::NoBudget));
}

#[test]
fn a_kind_that_is_safe_says_nothing_of_an_attempt_that_may_have_run() {
    let gone = Error::new(Kind::Draining, "the server is stopping");
    let maybe = Attempt { ran: Ran::Maybe, ..attempt() };
    assert_eq!(decide_once(&gone, &maybe).0, Next::GiveUp(GiveUp::MayHaveRun));
}

#[test]
fn what_load_refused_is_tried_elsewhere_out_of_the_budget() {
    assert_eq!(decide_once(&full(MS * 500), &attempt()), (AT_ONCE, 1));
    assert_eq!(decide(&full(MS), &attempt(), &empty(), Instant::now()), Next::GiveUp(GiveUp::NoBudget));
}

#[test]
fn nothing_is_tried_again_that_would_be_late() {
    let short = Attempt { left: MS * 9, ..attempt() };
    assert_eq!(decide_once(&lost(), &short), (Next::GiveUp(GiveUp::NoTime), 0));
    assert_eq!(decide_once(&lost(), &Attempt { left: MS * 10, ..attempt() }).0, AT_ONCE);
}

#[test]
fn a_gateway_that_asks_for_time_gets_it_where_there_is_time() {
    let gateway = Attempt { answer: Speaks::ForAll, ..attempt() };
    assert_eq!(decide_once(&full(MS * 90), &gateway).0, Next::Again { after: MS * 90 });
    assert_eq!(decide_once(&full(MS * 91), &gateway), (Next::GiveUp(GiveUp::NoTime), 0));
}

#[test]
fn a_negative_pushback_is_the_last_word() {
    assert_eq!(decide_once(&lost().never_again(), &attempt()), (Next::GiveUp(GiveUp::Forbidden), 0));
}

#[test]
fn no_tier_tries_again_what_a_tier_in_front_tries_again() {
    let again = Attempt { earlier: 1, ..attempt() };
    assert_eq!(decide_once(&lost(), &again), (Next::GiveUp(GiveUp::TierInFront), 0));
}

/// A call through so many tiers in front of an endpoint that refuses all; tells how often it was sent to the endpoint.
fn sent_through(tiers: u32, earlier: u32, ran: Ran) -> (u32, Error) {
    if tiers == 0 {
        return (1, lost());
    }
    let (budget, mut sent, mut number) = (RetryBudget::new(Instant::now()), 0, 1);
    loop {
        let (more, error) = sent_through(tiers - 1, earlier + number - 1, ran);
        sent += more;
        let tried = Attempt { number, ran, pure: true, earlier, ..attempt() };
        match decide(&error, &tried, &budget, Instant::now()) {
            Next::Again { .. } => number += 1,
            Next::GiveUp(_) => return (sent, if number > 1 { error.never_again() } else { error }),
        }
    }
}

#[test]
fn tries_do_not_multiply_by_tier() {
    for tiers in 1..=4 {
        for ran in [Ran::Never, Ran::Maybe] {
            assert_eq!(sent_through(tiers, 0, ran).0, MOST_ATTEMPTS, "{tiers} tiers");
        }
    }
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    (1..5u32, any::<[bool; 3]>(), 0..50u32, 0..50u32, 0..3u32).prop_map(|(number, flags, left, predicted, earlier)| {
        let [never, pure, gateway] = flags;
        Attempt {
            number,
            ran: if never { Ran::Never } else { Ran::Maybe },
            pure,
            left: MS * left,
            predicted: MS * predicted,
            answer: if gateway { Speaks::ForAll } else { Speaks::ForItself },
            earlier,
        }
    })
}

fn any_error() -> impl Strategy<Value = Error> {
    use Kind::*;
    let kinds = [
        Invalid,
        UnknownModel,
        NotReady,
        Unloadable,
        TooLarge,
        Overloaded,
        Late,
        Cancelled,
        NoBackend,
        BackendLost,
        Draining,
        Unauthenticated,
        Forbidden,
        Unsupported,
        Engine,
    ];
    (prop::sample::select(kinds.to_vec()), 0..30u32, any::<bool>()).prop_map(|(kind, wait, last)| {
        let error = Error::new(kind, "it failed").after(MS * wait);
        if last { error.never_again() } else { error }
    })
}

proptest! {
    #[test]
    fn whatever_comes_nothing_runs_twice_that_must_not_and_nothing_begins_too_late(
        error in any_error(), attempt in any_attempt()
    ) {
        let (next, taken) = decide_once(&error, &attempt);
        match next {
            Next::GiveUp(_) => prop_assert_eq!(taken, 0),
            Next::Again { after } => {
                prop_assert!(attempt.pure || attempt.ran == Ran::Never);
                prop_assert!(attempt.predicted + after <= attempt.left);
                prop_assert!(attempt.number < MOST_ATTEMPTS && attempt.earlier == 0 && !error.forbids_retry());
                prop_assert!(error.kind().retry() != Retry::Never);
                prop_assert!(taken == 1 || (attempt.number == 1 && attempt.ran == Ran::Never));
            }
        }
    }
}
