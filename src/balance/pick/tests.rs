//! Who is picked.

use std::cell::Cell;
use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::balance::load::{Binding, Outcome, Sent};
use crate::infer::LoadReport;

mod shares;

struct Endpoint {
    index: usize,
    load: Load,
    open: Cell<bool>,
}

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.load
    }

    fn admits(&self, _now: Instant) -> bool {
        self.open.get()
    }
}

fn fleet(count: usize, zero: Instant) -> Vec<Endpoint> {
    let endpoint =
        |index| Endpoint { index, load: Load::new(Binding::Early, Some(8), zero, zero), open: Cell::new(true) };
    (0..count).map(endpoint).collect()
}

fn picker(policy: Policy) -> Picker {
    Picker::new(policy, Zones::default(), SlowStart::default())
}

/// Lets an endpoint report that so much waits there, twice, as a first answer says little.
fn busy(endpoint: &Endpoint, waiting: u32, now: Instant) {
    let millis = Duration::from_millis;
    let report = LoadReport { waiting, running: 1, run: millis(4), row: millis(1), ..LoadReport::default() };
    for _ in 0..2 {
        let sent = endpoint.load.start(1, now);
        endpoint.load.end(sent, Outcome::Answered(Some(&report)), now);
    }
}

fn picked(picker: &Picker, near: &[Endpoint], far: &[Endpoint], now: Instant, rng: &mut Rng) -> Option<usize> {
    picker.pick(near, far, |_| false, 1, now, rng).map(|endpoint| endpoint.index)
}

/// How often each of so many is picked.
fn counts(picker: &Picker, fleet: &[Endpoint], now: Instant, picks: usize) -> Vec<usize> {
    let (mut counts, mut rng) = (vec![0; fleet.len()], Rng::with_seed(7));
    for _ in 0..picks {
        counts[picked(picker, fleet, &[], now, &mut rng).unwrap()] += 1;
    }
    counts
}

#[test]
fn of_three_or_fewer_the_best_is_always_found() {
    let now = Instant::now();
    for count in 1..=3 {
        let fleet = fleet(count, now);
        fleet.iter().enumerate().for_each(|(index, endpoint)| busy(endpoint, 40 - 10 * index as u32, now));
        let counts = counts(&picker(Policy::ExpectedCompletion), &fleet, now, 50);
        assert_eq!(counts[count - 1], 50, "{counts:?}");
    }
}

#[test]
fn of_many_the_two_busiest_are_never_picked_and_others_share() {
    let now = Instant::now();
    let fleet = fleet(10, now);
    fleet.iter().enumerate().for_each(|(index, endpoint)| busy(endpoint, 10 * index as u32, now));
    let counts = counts(&picker(Policy::ExpectedCompletion), &fleet, now, 2000);
    assert_eq!(&counts[8..], [0, 0], "of three different ones the two busiest always meet a better one");
    // The best of all is among the three three times in ten.
    assert!((500..700).contains(&counts[0]), "{counts:?}");
    assert!(counts[1] > 0 && counts[5] > 0, "{counts:?}");
}

#[test]
fn fewest_calls_in_flight_are_preferred_by_least_request_alone() {
    let now = Instant::now();
    let fleet = fleet(3, now);
    let _sent: Vec<Sent> = [0, 0, 1].map(|index: usize| fleet[index].load.start(1, now)).into();
    assert_eq!(counts(&picker(Policy::LeastRequest), &fleet, now, 20), [0, 0, 20]);
}

#[test]
fn round_robin_goes_round() {
    let now = Instant::now();
    let fleet = fleet(4, now);
    assert_eq!(counts(&picker(Policy::RoundRobin), &fleet, now, 40), [10; 4]);
}

#[test]
fn an_endpoint_that_fails_at_once_draws_no_more_than_its_share() {
    for policy in [Policy::ExpectedCompletion, Policy::PeakEwma] {
        let (mut now, mut rng) = (Instant::now(), Rng::with_seed(3));
        let (fleet, picker) = (fleet(10, now), picker(policy));
        let mut flying: Vec<(Instant, usize, Sent)> = Vec::new();
        let (mut failed, calls) = (0, 5000);
        for _ in 0..calls {
            now += Duration::from_millis(1);
            let to = picked(&picker, &fleet, &[], now, &mut rng).unwrap();
            let took = if to == 0 { 0 } else { 20 };
            failed += usize::from(to == 0);
            flying.push((now + Duration::from_millis(took), to, fleet[to].load.start(1, now)));
            let (ended, rest): (Vec<_>, Vec<_>) = flying.into_iter().partition(|(ends, ..)| *ends <= now);
            flying = rest;
            for (_, to, sent) in ended {
                let outcome = match to {
                    0 => Outcome::Failed { penalty: Duration::from_secs(5) },
                    _ => Outcome::Answered(None),
                };
                fleet[to].load.end(sent, outcome, now);
            }
        }
        assert!(failed < calls / 100, "{policy} sent {failed} of {calls} to an endpoint that fails");
    }
}

#[test]
fn endpoints_with_and_without_reports_are_compared_on_one_scale() {
    let now = Instant::now();
    let fleet = fleet(2, now);
    // The one that does not report is as fast, and has nothing in flight.
    let trip = Duration::from_millis(5);
    for _ in 0..100 {
        let sent = fleet[0].load.start(1, now);
        fleet[0].load.end(sent, Outcome::Answered(None), now + trip);
        busy(&fleet[1], 0, now);
    }
    let _sent: Vec<Sent> = (0..5).map(|_| fleet[1].load.start(1, now)).collect();
    assert_eq!(counts(&picker(Policy::ExpectedCompletion), &fleet, now + trip, 20), [20, 0]);
}

#[test]
fn near_endpoints_are_preferred_until_they_are_worse_by_more_than_the_margin() {
    let now = Instant::now();
    // One short run is within the margin, five full ones are not.
    for (waiting, stays_near) in [(0, true), (2, true), (40, false)] {
        let (near, far) = (fleet(5, now), fleet(5, now));
        near.iter().for_each(|endpoint| busy(endpoint, waiting, now));
        far.iter().for_each(|endpoint| busy(endpoint, 0, now));
        let (picker, mut rng) = (picker(Policy::ExpectedCompletion), Rng::with_seed(1));
        for _ in 0..50 {
            let picked = picker.pick(&near, &far, |_| false, 1, now, &mut rng).unwrap();
            assert_eq!(near.iter().any(|endpoint| std::ptr::eq(endpoint, picked)), stays_near, "{waiting} wait");
        }
    }
}

#[test]
fn calls_go_far_where_no_near_endpoint_admits_any() {
    let now = Instant::now();
    for policy in Policy::ALL {
        let (near, far) = (fleet(3, now), fleet(3, now));
        near.iter().for_each(|endpoint| endpoint.open.set(false));
        let picked = picker(policy).pick(&near, &far, |_| false, 1, now, &mut Rng::with_seed(1)).unwrap();
        assert!(far.iter().any(|endpoint| std::ptr::eq(endpoint, picked)), "{policy}");
    }
}

#[test]
fn a_single_near_endpoint_does_not_take_every_turn() {
    let now = Instant::now();
    let (near, far) = (fleet(1, now), fleet(3, now));
    let (picker, mut rng) = (picker(Policy::RoundRobin), Rng::with_seed(1));
    let picks = (0..40).map(|_| picker.pick(&near, &far, |_| false, 1, now, &mut rng).unwrap());
    assert_eq!(picks.filter(|picked| std::ptr::eq(*picked, &near[0])).count(), 10);
}

#[test]
fn a_new_endpoint_gets_a_tenth_at_once_and_grows_into_its_share() {
    let window = SlowStart::over(Duration::from_secs(10));
    let shares = [0, 500, 5000, 10_000, 60_000].map(|millis| window.share(Duration::from_millis(millis)));
    assert_eq!(shares, [0.1, 0.1, 0.5, 1.0, 1.0]);
    assert_eq!(SlowStart::default().share(Duration::ZERO), 1.0);

    let (old, now) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
    let mut fleet = fleet(10, old);
    fleet[0].load = Load::new(Binding::Early, None, old, now);
    for policy in Policy::ALL {
        let picker = Picker::new(policy, Zones::default(), window);
        // Nothing is in flight anywhere, so that all are equal.
        let counts = counts(&picker, &fleet, now + Duration::from_secs(1), 5000);
        assert!((15..=150).contains(&counts[0]), "{policy} gave {} of 5000 to one at a tenth of its share", counts[0]);
    }
}

#[test]
fn new_endpoints_get_everything_where_there_are_no_others() {
    let now = Instant::now();
    let fleet = fleet(2, now);
    for policy in Policy::ALL {
        let picker = Picker::new(policy, Zones::default(), SlowStart::over(Duration::from_secs(60)));
        assert_eq!(counts(&picker, &fleet, now, 100).iter().sum::<usize>(), 100);
    }
}

proptest! {
    #[test]
    fn nothing_is_picked_that_does_not_admit_or_is_excluded_and_something_is_where_anything_may_be(
        near in prop::collection::vec(any::<(bool, bool)>(), 0..30),
        far in prop::collection::vec(any::<(bool, bool)>(), 0..30),
        policy in prop::sample::select(Policy::ALL.to_vec()),
        seed in any::<u64>(),
    ) {
        let now = Instant::now();
        let sets = [&near, &far].map(|kinds| {
            let fleet = fleet(kinds.len(), now);
            fleet.iter().zip(kinds).for_each(|(endpoint, (open, _))| endpoint.open.set(*open));
            fleet
        });
        let excluded = |endpoint: &Endpoint| {
            let is = |(set, kinds): (&Vec<Endpoint>, &Vec<(bool, bool)>)| {
                set.get(endpoint.index).is_some_and(|other| std::ptr::eq(other, endpoint)) && kinds[endpoint.index].1
            };
            is((&sets[0], &near)) || is((&sets[1], &far))
        };
        let possible = near.iter().chain(&far).any(|(open, excluded)| *open && !excluded);
        let picked = picker(policy).pick(&sets[0], &sets[1], excluded, 1, now, &mut Rng::with_seed(seed));
        prop_assert_eq!(picked.is_some(), possible);
        if let Some(endpoint) = picked {
            prop_assert!(endpoint.open.get() && !excluded(endpoint));
        }
    }

    #[test]
    fn what_is_compared_are_different_ones_and_three_where_there_are_as_many(
        open in prop::collection::vec(any::<bool>(), 0..40),
        seed in any::<u64>(),
    ) {
        let items: Vec<(usize, bool)> = open.iter().copied().enumerate().collect();
        let mut sample = Sample::default();
        sample.fill(&items, |item, _| item.1, &mut Rng::with_seed(seed));
        let mut indexes: Vec<usize> = sample.iter().map(|item| item.0).collect();
        prop_assert_eq!(indexes.len(), open.iter().filter(|open| **open).count().min(sample::CHOICES));
        prop_assert!(sample.iter().all(|item| item.1));
        indexes.sort_unstable();
        indexes.dedup();
        prop_assert_eq!(indexes.len(), sample.iter().count());
    }
}
