//! What it costs to decide: a pick over 200 endpoints and a plan for 200 calls over 40, in time and in allocations.
//!
//! `--picks N` or `--plans N`: so many and nothing else, for a tool that counts instructions.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fastrand::Rng;
use infergate::balance::load::{Binding, Load, Outcome, Sent};
use infergate::balance::pick::{Candidate, Picker, Policy, SlowStart, Zones};
use infergate::balance::plan::{Decision, Planner, Seat};
use infergate::infer::LoadReport;

const ENDPOINTS: usize = 200;
const SEATS: usize = 40;
const WAITING: usize = 200;
const LARGEST: usize = 8;
/// What an early pick and a plan may take.
const PICK: Duration = Duration::from_nanos(80);
const PLAN: Duration = Duration::from_micros(20);

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Endpoint(Load);

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.0
    }

    fn admits(&self, _now: Instant) -> bool {
        true
    }
}

/// An endpoint that has reported, and has calls in flight: nothing that a pick reads is left out.
fn busy(binding: Binding, index: usize, zero: Instant) -> (Load, Vec<Sent>) {
    let load = Load::new(binding, Some(LARGEST as u32), zero, zero);
    let millis = Duration::from_millis;
    let report = LoadReport {
        waiting: (index % 20) as u32,
        running: 1,
        execution: millis(8),
        run: millis(4 + index as u64 % 3),
        row: millis(1),
        gateways: 2,
        ..LoadReport::default()
    };
    // A first answer says little.
    let sent = load.start(1, zero);
    load.end(sent, Outcome::Answered(None), zero);
    let sent = load.start(1, zero);
    load.end(sent, Outcome::Answered(Some(&report)), zero + millis(9));
    let sent = (0..index % 4).map(|_| load.start(1, zero + millis(10))).collect();
    (load, sent)
}

/// The shortest of some rounds by operation, and allocations in all of them.
fn measure(rounds: usize, operations: usize, mut operation: impl FnMut(usize)) -> (Duration, usize) {
    // What is kept between operations is made by the first.
    operation(0);
    let before = ALLOCATIONS.load(Relaxed);
    let mut shortest = Duration::MAX;
    for _ in 0..rounds {
        let began = Instant::now();
        (0..operations).for_each(&mut operation);
        shortest = shortest.min(began.elapsed() / operations as u32);
    }
    (shortest, ALLOCATIONS.load(Relaxed) - before)
}

fn said(what: &str, (took, allocations): (Duration, usize), bound: Option<Duration>) {
    let bound = bound.map(|bound| format!(", bound {bound:?}")).unwrap_or_default();
    println!("{what:<48} {took:>9.0?}{bound}; {allocations} allocations in all");
}

fn pick(policy: Policy) -> impl FnMut(usize) {
    let zero = Instant::now();
    let (loads, _sent): (Vec<_>, Vec<_>) = (0..ENDPOINTS).map(|index| busy(Binding::Early, index, zero)).unzip();
    let endpoints: Vec<Endpoint> = loads.into_iter().map(Endpoint).collect();
    let picker = Picker::new(policy, Zones::default(), SlowStart::over(Duration::from_millis(1)));
    let (mut rng, now) = (Rng::with_seed(1), zero + Duration::from_millis(12));
    move |_| {
        let picked = picker.pick(black_box(&endpoints), &[], |_| false, 1, now, &mut rng);
        black_box(picked.is_some());
    }
}

/// A plan down to its end: the fleet is busy, so that all of it is laid out and nothing goes.
fn plan() -> impl FnMut(usize) {
    let zero = Instant::now();
    let loads: Vec<Load> = (0..SEATS).map(|index| busy(Binding::Late, 8 + index % 8, zero).0).collect();
    let (mut planner, mut seats) = (Planner::default(), Vec::<Seat>::new());
    let now = zero + Duration::from_millis(12);
    move |_| {
        seats.clear();
        seats.extend(loads.iter().map(|load| Seat { room: 0, ..load.seat(false, now) }));
        let decision = planner.next(black_box(WAITING), LARGEST, &seats);
        assert!(matches!(black_box(decision), Decision::Hold { .. }), "all are busy");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str| -> Option<usize> {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse().ok()
    };
    if let Some(picks) = number("--picks") {
        return (0..picks).for_each(pick(Policy::ExpectedCompletion));
    }
    if let Some(plans) = number("--plans") {
        return (0..plans).for_each(plan());
    }
    let rounds = if arguments.iter().any(|argument| argument == "--short") { 5 } else { 50 };
    for policy in Policy::ALL {
        let bound = (policy == Policy::ExpectedCompletion).then_some(PICK);
        said(&format!("{policy} over {ENDPOINTS} endpoints"), measure(rounds * 5, 10_000, pick(policy)), bound);
    }
    said(&format!("a plan for {WAITING} calls over {SEATS} endpoints"), measure(rounds * 5, 100, plan()), Some(PLAN));
}
