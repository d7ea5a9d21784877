//! What endpoints are predicted to take.

use proptest::prelude::*;

use super::*;

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// An endpoint whose runs take 4 ms and 1 ms by row, up to 8 rows.
struct Endpoint {
    load: Load,
    zero: Instant,
}

impl Endpoint {
    fn new(binding: Binding) -> Endpoint {
        let zero = Instant::now();
        Endpoint { load: Load::new(binding, Some(8), zero, zero), zero }
    }

    fn at(&self, millis: u64) -> Instant {
        self.zero + MILLIS(millis)
    }

    /// One call there and back, from and until when, that brings a report.
    fn reported(self, from: u64, until: u64, report: &LoadReport) -> Endpoint {
        let sent = self.load.start(1, self.at(from));
        self.load.end(sent, Outcome::Answered(Some(report)), self.at(until));
        self
    }

    fn predicted(&self, millis: u64) -> Duration {
        self.load.predicted(1, self.at(millis))
    }
}

fn report(waiting: u32) -> LoadReport {
    LoadReport { waiting, running: 1, execution: MILLIS(5), run: MILLIS(4), row: MILLIS(1), ..LoadReport::default() }
}

fn near(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) < Duration::from_micros(10)
}

#[test]
fn an_idle_endpoint_is_predicted_to_take_one_run() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    assert!(near(endpoint.predicted(6), MILLIS(5)), "{:?}", endpoint.predicted(6));
}

#[test]
fn what_waits_is_run_before_and_is_forgotten_as_time_goes_by() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(8));
    // Eight rows run from 5 to 17 ms.
    assert!(near(endpoint.predicted(5), MILLIS(12 + 5)), "{:?}", endpoint.predicted(5));
    assert!(near(endpoint.predicted(11), MILLIS(6 + 5)), "{:?}", endpoint.predicted(11));
    assert!(near(endpoint.predicted(30), MILLIS(5)), "{:?}", endpoint.predicted(30));
}

#[test]
fn more_than_one_run_waits_for_all_of_them() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(20));
    // Two full runs, then four rows together with the one that comes.
    assert!(near(endpoint.predicted(5), MILLIS(12 + 12 + 9)), "{:?}", endpoint.predicted(5));
}

#[test]
fn what_was_sent_since_the_report_counts_at_once() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    let first = endpoint.load.start(1, endpoint.at(10));
    assert!(near(endpoint.predicted(10), MILLIS(5 + 5)), "{:?}", endpoint.predicted(10));
    let second = endpoint.load.start(1, endpoint.at(10));
    assert!(near(endpoint.predicted(10), MILLIS(5 + 6)), "{:?}", endpoint.predicted(10));
    endpoint.load.end(first, Outcome::Abandoned, endpoint.at(11));
    endpoint.load.end(second, Outcome::Abandoned, endpoint.at(11));
    assert_eq!((endpoint.load.calls(), endpoint.load.rows()), (0, 0));
}

#[test]
fn a_call_that_has_other_rows_than_were_said_counts_as_it_is() {
    for (runs, said, is) in [(false, 8, 2), (false, 2, 8), (true, 8, 2), (true, 2, 8)] {
        let [changed, right] = [said, is].map(|rows| {
            let endpoint = Endpoint::new(Binding::Late).reported(0, 5, &report(0));
            let before = runs.then(|| endpoint.load.start(8, endpoint.at(10)));
            let sent = endpoint.load.start(rows, endpoint.at(10));
            (endpoint, before, sent)
        });
        let (endpoint, _before, mut sent) = changed;
        endpoint.load.resize(&mut sent, is);
        assert_eq!(endpoint.load.rows(), right.0.load.rows());
        assert!(near(endpoint.predicted(10), right.0.predicted(10)), "{runs} {said} {is}");
        assert!((sent.predicted - right.2.predicted).abs() < 1e4, "{} {}", sent.predicted, right.2.predicted);
    }
}

#[test]
fn a_call_that_is_not_sent_after_all_leaves_its_endpoint_as_it_was() {
    let endpoint = Endpoint::new(Binding::Late).reported(0, 5, &LoadReport { gateways: 3, ..report(0) });
    let mut sent = endpoint.load.start(8, endpoint.at(100));
    endpoint.load.resize(&mut sent, 0);
    assert_eq!((endpoint.load.rows(), endpoint.load.free_in(endpoint.at(100))), (0, Some(Duration::ZERO)));
    endpoint.load.end(sent, Outcome::Abandoned, endpoint.at(100));
    assert!(near(endpoint.predicted(100), MILLIS(5)), "{:?}", endpoint.predicted(100));
}

#[test]
fn what_other_gateways_send_is_taken_into_account() {
    let shared = LoadReport { gateways: 7, ..report(0) };
    let alone = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    let shared = Endpoint::new(Binding::Early).reported(0, 5, &shared);
    let predicted = [&alone, &shared].map(|endpoint| {
        let _sent = endpoint.load.start(1, endpoint.at(10));
        endpoint.predicted(10)
    });
    assert!(predicted[0] < predicted[1], "{predicted:?}");
}

#[test]
fn the_way_there_and_back_is_part_of_the_prediction() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 7, &report(0));
    assert!(near(endpoint.predicted(10), MILLIS(2 + 5)), "{:?}", endpoint.predicted(10));
}

#[test]
fn an_endpoint_that_owes_an_answer_for_too_long_is_predicted_to_owe_it_longer() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    let _sent = endpoint.load.start(1, endpoint.at(10));
    assert!(endpoint.predicted(10 + 24) < MILLIS(10));
    assert!(endpoint.predicted(10 + 1024) > MILLIS(1000), "{:?}", endpoint.predicted(1034));
}

#[test]
fn failures_cost_in_proportion_to_their_share_and_are_forgotten() {
    let failing = |share: u64| {
        let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
        for call in 1..=400 {
            let sent = endpoint.load.start(1, endpoint.at(call * 10));
            let outcome = match call % share {
                0 => Outcome::Failed { penalty: MILLIS(5000) },
                _ => Outcome::Answered(Some(&LoadReport::default())),
            };
            endpoint.load.end(sent, outcome, endpoint.at(call * 10 + 5));
        }
        endpoint
    };
    let (always, seldom) = (failing(1), failing(400));
    assert!(always.predicted(4010) > MILLIS(4000), "{:?}", always.predicted(4010));
    assert!(seldom.predicted(4010) < MILLIS(400), "{:?}", seldom.predicted(4010));
    assert!(always.predicted(120_000) < MILLIS(10), "{:?}", always.predicted(120_000));
}

#[test]
fn without_reports_round_trips_are_measured_and_their_peaks_count_at_once() {
    let endpoint = Endpoint::new(Binding::Early);
    assert_eq!(endpoint.predicted(0), Duration::ZERO);
    for (from, until) in [(0, 10), (20, 60)] {
        let sent = endpoint.load.start(1, endpoint.at(from));
        endpoint.load.end(sent, Outcome::Answered(None), endpoint.at(until));
    }
    assert!(!endpoint.load.reports());
    assert!(near(endpoint.predicted(60), MILLIS(40)), "{:?}", endpoint.predicted(60));
    let _sent = endpoint.load.start(1, endpoint.at(60));
    assert!(near(endpoint.predicted(60), MILLIS(80)), "{:?}", endpoint.predicted(60));
}

#[test]
fn an_endpoint_of_which_nothing_is_known_gets_one_call_to_find_out() {
    let endpoint = Endpoint::new(Binding::Early);
    assert_eq!(endpoint.predicted(0), Duration::ZERO);
    let _sent = endpoint.load.start(1, endpoint.at(0));
    assert!(endpoint.predicted(0) >= MILLIS(1000));
}

#[test]
fn an_endpoint_that_stops_reporting_is_measured() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    for call in 1..=u64::from(SILENT) {
        assert!(endpoint.load.reports());
        let sent = endpoint.load.start(1, endpoint.at(call * 10));
        endpoint.load.end(sent, Outcome::Answered(None), endpoint.at(call * 10 + 5));
    }
    assert!(!endpoint.load.reports());
}

#[test]
fn a_report_of_another_run_than_the_calls_own_is_not_believed() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    assert!(endpoint.load.is_predictable(endpoint.at(5)));
    let endpoint = endpoint.reported(10, 14, &report(0));
    assert!(!endpoint.load.is_predictable(endpoint.at(14)));
    assert!(endpoint.load.is_predictable(endpoint.at(70_000)));
}

#[test]
fn predictions_that_are_far_off_are_not_used() {
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &report(0));
    for call in 1..=100 {
        let sent = endpoint.load.start(1, endpoint.at(call * 1000));
        endpoint.load.end(sent, Outcome::Answered(Some(&report(0))), endpoint.at(call * 1000 + 500));
    }
    assert!(!endpoint.load.is_predictable(endpoint.at(100_500)));
}

#[test]
fn runs_that_are_not_told_apart_yet_are_taken_to_be_as_the_last() {
    let young = LoadReport { running: 1, execution: MILLIS(30), ..LoadReport::default() };
    let endpoint = Endpoint::new(Binding::Early).reported(0, 30, &young);
    assert!(near(endpoint.predicted(40), MILLIS(30)), "{:?}", endpoint.predicted(40));
}

#[test]
fn an_endpoint_that_says_that_runs_take_longer_than_the_one_that_it_made_is_not_believed() {
    // Its first run took long, and is part of the mean.
    let slow = LoadReport { run: MILLIS(20), row: MILLIS(5), ..report(0) };
    let endpoint = Endpoint::new(Binding::Early).reported(0, 5, &slow);
    assert!(near(endpoint.predicted(10), MILLIS(5)), "{:?}", endpoint.predicted(10));
}

#[test]
fn several_instances_take_what_waits_in_turn() {
    let busy = |running| LoadReport { running, ..report(16) };
    let one = Endpoint::new(Binding::Early).reported(0, 5, &busy(1));
    let four = Endpoint::new(Binding::Early).reported(0, 5, &busy(4));
    assert!(four.predicted(5) < one.predicted(5));
}

#[test]
fn an_idle_endpoint_has_an_open_seat_and_a_busy_one_opens_as_its_run_ends() {
    let endpoint = Endpoint::new(Binding::Late).reported(0, 5, &report(0));
    let seat = endpoint.load.seat(false, endpoint.at(10));
    assert_eq!((seat.room, seat.only_full, seat.free_in), (8, false, 0.0));
    let _sent = endpoint.load.start(8, endpoint.at(10));
    let seat = endpoint.load.seat(false, endpoint.at(10));
    assert_eq!(seat.room, 0);
    let opens = 10 + seat.opens_in.unwrap() as u64 / 1_000_000 + 1;
    assert_eq!(endpoint.load.seat(false, endpoint.at(opens)).room, 8);
    assert!(endpoint.load.seat(false, endpoint.at(opens)).only_full);
}

#[test]
fn behind_a_long_way_an_endpoint_gets_one_batch_to_run_one_on_its_way_and_then_full_ones_only() {
    // A call was under way for 100 ms, of which it ran for 5: whatever is sent has run long before the next arrives.
    let endpoint = Endpoint::new(Binding::Late).reported(0, 100, &report(0));
    let seat = |millis| endpoint.load.seat(false, endpoint.at(millis));
    let is_open = |millis| seat(millis).room > 0 && !seat(millis).only_full;
    assert!(is_open(200));
    let runs = endpoint.load.start(1, endpoint.at(200));
    assert!(is_open(210), "what is sent now arrives when that is over");
    let arrives = endpoint.load.start(1, endpoint.at(210));
    assert!(seat(220).room > 0 && seat(220).only_full);
    assert_eq!(seat(220).opens_in, None, "an answer opens it");
    endpoint.load.end(runs, Outcome::Answered(None), endpoint.at(300));
    assert!(is_open(300));
    endpoint.load.end(arrives, Outcome::Answered(None), endpoint.at(310));
}

#[test]
fn an_endpoint_that_is_later_than_predicted_gets_no_third_batch_that_is_not_full_from_a_gateway_alone() {
    // The way is short, and runs are over after 5 ms by what is reported.
    let endpoint = Endpoint::new(Binding::Late).reported(0, 5, &report(0));
    let seat = |millis| endpoint.load.seat(false, endpoint.at(millis));
    let first = endpoint.load.start(1, endpoint.at(200));
    let second = endpoint.load.start(1, endpoint.at(206));
    assert!(seat(220).room > 0 && seat(220).only_full);
    assert_eq!(seat(220).opens_in, None, "an answer opens it");
    endpoint.load.end(first, Outcome::Answered(None), endpoint.at(220));
    assert!(seat(220).room > 0 && !seat(220).only_full);
    endpoint.load.end(second, Outcome::Answered(None), endpoint.at(221));
}

#[test]
fn among_several_gateways_a_seat_has_the_room_that_the_next_run_has_beside_calls_of_its_own() {
    let endpoint = Endpoint::new(Binding::Late).reported(0, 5, &LoadReport { gateways: 3, ..report(8 + 5) });
    let seat = || endpoint.load.seat(false, endpoint.at(5));
    assert_eq!(seat().room, 8, "what others sent makes it wait, and closes nothing");
    assert!(seat().free_in > 0.0);
    let running = endpoint.load.start(8, endpoint.at(5));
    assert_eq!(seat().room, 8);
    let next = endpoint.load.start(5, endpoint.at(5));
    assert_eq!(seat().room, 3);
    for sent in [running, next] {
        endpoint.load.end(sent, Outcome::Abandoned, endpoint.at(5));
    }
}

#[test]
fn a_report_of_the_largest_numbers_there_are_is_only_a_bad_prediction() {
    let (most, longest) = (u32::MAX, Duration::MAX);
    let report = LoadReport {
        waiting: most,
        running: most,
        free_slots: most,
        execution: longest,
        wait: longest,
        run: longest,
        row: longest,
        gateways: most,
    };
    for binding in [Binding::Early, Binding::Late] {
        let endpoint = Endpoint::new(binding).reported(0, 5, &report);
        let sent = endpoint.load.start(most, endpoint.at(10));
        assert!(endpoint.predicted(10) > MILLIS(1));
        assert!(endpoint.load.seat(false, endpoint.at(70_000)).free_in > 0.0);
        endpoint.load.end(sent, Outcome::Answered(Some(&report)), endpoint.at(70_000));
    }
}

proptest! {
    #[test]
    fn whatever_is_reported_and_sent_a_prediction_is_finite_and_costs_as_much_and_what_is_in_flight_adds_up(
        steps in prop::collection::vec((0..4u8, 0..5000u64, 0..10_000u32, 0..100_000u64, 1..64u32), 1..60),
        largest in prop::option::of(1..64u32),
        binding in prop::sample::select(vec![Binding::Early, Binding::Late]),
    ) {
        let zero = Instant::now();
        let load = Load::new(binding, largest, zero, zero);
        let (mut now, mut flying) = (zero, Vec::new());
        for (step, micros, count, time, rows) in steps {
            now += Duration::from_micros(micros);
            let time = Duration::from_micros(time);
            let report = LoadReport {
                waiting: count, running: rows, free_slots: count, execution: time, wait: time, run: time, row: time, gateways: rows,
            };
            match (step, flying.pop()) {
                (0, sent) => {
                    flying.extend(sent);
                    flying.push((load.start(rows, now), rows));
                }
                (1, Some((sent, _))) => load.end(sent, Outcome::Answered(Some(&report)), now),
                (2, Some((sent, _))) => load.end(sent, Outcome::Answered(None), now),
                (_, Some((sent, _))) => load.end(sent, Outcome::Failed { penalty: time }, now),
                (_, None) => (),
            }
            prop_assert_eq!(load.rows(), flying.iter().map(|(_, rows)| rows).sum::<u32>());
            prop_assert_eq!(load.calls() as usize, flying.len());
            let predicted = load.predicted(rows, now);
            prop_assert!(predicted < Duration::from_secs(100_000_000));
            if load.is_predictable(now) && load.trial.is_over() {
                let cost = load.cost(rows, load.nanos(now));
                let off = (cost.known - predicted.as_nanos() as f64).abs();
                prop_assert!(off <= 1.0 + predicted.as_nanos() as f64 * 1e-9, "{cost:?} and not {predicted:?}");
                prop_assert!(cost.doubted == cost.known || load.calls() == 0 && cost.doubted < cost.known, "{cost:?}");
            }
            let seat = load.seat(false, now);
            prop_assert!(seat.free_in.is_finite() && seat.free_in >= 0.0);
        }
    }
}

#[test]
fn of_an_endpoint_that_was_lost_and_is_back_what_it_failed_is_forgotten() {
    let endpoint = Endpoint::new(Binding::Early);
    for _ in 0..10 {
        let sent = endpoint.load.start(1, endpoint.at(0));
        endpoint.load.end(sent, Outcome::Failed { penalty: MILLIS(5000) }, endpoint.at(1));
    }
    assert!(endpoint.predicted(1) > MILLIS(1000));
    endpoint.load.begin_anew();
    assert_eq!(endpoint.predicted(1), Duration::ZERO);
}
