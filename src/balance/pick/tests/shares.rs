//! Which part of the calls each endpoint gets over time.

use super::*;

/// Endpoints that run one call after another, each as long as its worker takes, and report it.
struct Workers {
    fleet: Vec<Endpoint>,
    picker: Picker,
    rng: Rng,
    /// What a run takes by endpoint, now.
    run: Vec<Duration>,
    /// Runs so far, and what they took in all.
    ran: Vec<(u32, Duration)>,
    /// Until when each is taken.
    taken: Vec<Instant>,
    reports: bool,
    now: Instant,
}

/// The way there and back.
const WAY: Duration = Duration::from_micros(300);

impl Workers {
    fn new(micros: &[u64]) -> Workers {
        let now = Instant::now();
        Workers {
            fleet: fleet(micros.len(), now),
            picker: picker(Policy::ExpectedCompletion),
            rng: Rng::with_seed(5),
            run: micros.iter().map(|micros| Duration::from_micros(*micros)).collect(),
            ran: vec![(0, Duration::ZERO); micros.len()],
            taken: vec![now; micros.len()],
            reports: true,
            now,
        }
    }

    /// A call that is sent now: where, and when its answer comes with which report.
    fn send(&mut self, cold: fn(usize) -> Duration) -> (usize, Instant, Sent, LoadReport) {
        let to = picked(&self.picker, &self.fleet, &[], self.now, &mut self.rng).unwrap();
        let sent = self.fleet[to].load.start(1, self.now);
        // Runs of one size differ by a tenth, and the ways by some tens of microseconds.
        let mut run = self.run[to].mul_f64(0.95 + 0.1 * self.rng.f64());
        let mut way = WAY + Duration::from_micros(self.rng.u64(..40));
        if self.ran[to].0 == 0 {
            (run, way) = (run + cold(to), way + cold(to));
        }
        let ends = self.taken[to].max(self.now + way / 2) + run;
        self.taken[to] = ends;
        let (count, all) = &mut self.ran[to];
        (*count, *all) = (*count + 1, *all + run);
        // What a worker says of its runs is their mean, the first of them in it.
        let mean = if *count < 3 { Duration::ZERO } else { *all / *count };
        let report = LoadReport { running: 1, execution: run, run: mean, ..LoadReport::default() };
        (to, ends + way / 2, sent, report)
    }

    fn end(&self, (to, at, sent, report): (usize, Instant, Sent, LoadReport)) {
        self.fleet[to].load.end(sent, Outcome::Answered(self.reports.then_some(&report)), at);
    }

    /// So many calls one after the other with a pause between them: how many each endpoint gets. The first runs of
    /// endpoints take longer by `cold`, as do the first ways there and back.
    fn one_by_one(&mut self, calls: usize, pause: Duration, cold: fn(usize) -> Duration) -> Vec<usize> {
        let mut counts = vec![0; self.fleet.len()];
        for _ in 0..calls {
            let call = self.send(cold);
            counts[call.0] += 1;
            self.now = call.1 + pause;
            self.end(call);
        }
        counts
    }

    /// So many calls, one each `gap`, whether earlier ones were answered or not.
    fn each(&mut self, gap: Duration, calls: usize) -> Vec<usize> {
        let mut counts = vec![0; self.fleet.len()];
        let mut flying: Vec<(usize, Instant, Sent, LoadReport)> = Vec::new();
        for _ in 0..calls {
            let (over, rest): (Vec<_>, Vec<_>) = flying.into_iter().partition(|(_, at, ..)| *at <= self.now);
            over.into_iter().for_each(|call| self.end(call));
            flying = rest;
            let call = self.send(WARM);
            counts[call.0] += 1;
            flying.push(call);
            self.now += gap;
        }
        counts
    }
}

const MILLIS: fn(u64) -> Duration = Duration::from_millis;
const WARM: fn(usize) -> Duration = |_| Duration::ZERO;
const COLD: fn(usize) -> Duration = |_| MILLIS(80);
const FIRST_COLD: fn(usize) -> Duration = |index| if index == 0 { MILLIS(80) } else { Duration::ZERO };

#[test]
fn equal_endpoints_get_equal_shares_one_call_after_another_although_some_began_slowly() {
    for (endpoints, reports, cold) in
        [(2, true, COLD), (3, true, COLD), (3, true, FIRST_COLD), (5, true, FIRST_COLD), (3, false, COLD)]
    {
        let mut workers = Workers { reports, ..Workers::new(&vec![3000; endpoints]) };
        // Without reports there is nothing to tell an outlier from a slow endpoint but time.
        let pause = if reports { Duration::ZERO } else { MILLIS(500) };
        let counts = workers.one_by_one(60 * endpoints, pause, cold);
        assert!(counts.iter().all(|count| (35..=85).contains(count)), "{reports} {counts:?}");
    }
}

#[test]
fn of_three_one_of_which_is_slow_the_two_others_get_about_as_much() {
    let counts = Workers::new(&[3000, 12_000, 3000]).one_by_one(600, Duration::ZERO, COLD);
    assert!(counts[1] <= 600 / 50 && counts[0].abs_diff(counts[2]) < 80, "{counts:?}");
}

#[test]
fn an_endpoint_that_was_slow_and_has_not_been_called_for_ten_seconds_is_tried_again() {
    let mut workers = Workers::new(&[3000, 3000, 7500]);
    let before = workers.one_by_one(500, MILLIS(10), WARM);
    assert!(before[2] <= 4, "{before:?}");
    workers.run[2] = MILLIS(3);
    let after = workers.one_by_one(1500, MILLIS(10), WARM);
    assert!(after[2] > 100, "{after:?}");
}

#[test]
fn a_slow_endpoint_still_gets_little() {
    // One call after the other for some minutes.
    let counts = Workers::new(&[3000, 3000, 60_000]).one_by_one(6000, MILLIS(20), WARM);
    assert!(counts[2] <= 6000 / 100, "{counts:?}");
}

#[test]
fn under_load_the_shares_follow_the_speed() {
    // Together they could run one each 1.2 ms.
    let counts = Workers::new(&[2000, 6000, 6000]).each(Duration::from_micros(1400), 5000);
    let share = |index: usize| counts[index] as f64 / 5000.0;
    assert!((0.5..0.75).contains(&share(0)), "{counts:?}");
    assert!((0.12..0.25).contains(&share(1)) && (0.12..0.25).contains(&share(2)), "{counts:?}");
}

#[test]
fn an_endpoint_that_is_back_gets_one_call_until_it_has_answered_however_often_it_comes_back() {
    let now = Instant::now();
    let fleet = fleet(3, now);
    fleet.iter().for_each(|endpoint| busy(endpoint, 0, now));
    let (picker, later) = (picker(Policy::ExpectedCompletion), now + MILLIS(1));
    for _ in 0..3 {
        fleet[0].load.begin_anew();
        assert_eq!(counts(&picker, &fleet, later, 20), [20, 0, 0], "it is tried");
        let sent = fleet[0].load.start(1, later);
        assert_eq!(counts(&picker, &fleet, later, 20)[0], 0, "by one call");
        fleet[0].load.end(sent, Outcome::Failed { penalty: Duration::from_secs(5) }, later);
    }
}

#[test]
fn no_call_leaves_its_zone_to_find_out_whether_a_far_endpoint_is_still_as_slow() {
    let zero = Instant::now();
    let (near, far) = (fleet(3, zero), fleet(3, zero));
    let report = LoadReport { running: 1, execution: MILLIS(40), run: MILLIS(40), ..LoadReport::default() };
    let later = zero + Duration::from_secs(60);
    for (endpoints, at) in [(&near, later), (&far, zero)] {
        for (endpoint, call) in endpoints.iter().flat_map(|endpoint| [(endpoint, 0), (endpoint, 1)]) {
            let sent = endpoint.load.start(1, at + call * MILLIS(40));
            endpoint.load.end(sent, Outcome::Answered(Some(&report)), at + (call + 1) * MILLIS(40));
        }
    }
    let (picker, mut rng) = (picker(Policy::ExpectedCompletion), Rng::with_seed(1));
    for _ in 0..50 {
        let picked = picker.pick(&near, &far, |_| false, 1, later + MILLIS(80), &mut rng).unwrap();
        assert!(near.iter().any(|endpoint| std::ptr::eq(endpoint, picked)));
    }
}
