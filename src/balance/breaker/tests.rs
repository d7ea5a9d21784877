//! What the breaker promises, one sentence each, with a clock of its own.

use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Kind};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn error(kind: Kind) -> Error {
    Error::new(kind, "it failed")
}

/// A breaker with its own clock.
struct Scene {
    breaker: Arc<Breaker>,
    now: Instant,
}

impl Scene {
    fn new() -> Scene {
        let now = Instant::now();
        Scene { breaker: Breaker::new(7, now), now }
    }

    /// One that was ejected just now.
    fn ejected() -> Scene {
        let scene = Scene::new();
        scene.fail(Kind::BackendLost, CONSECUTIVE);
        assert!(!scene.breaker.admits(scene.now));
        scene
    }

    fn enter(&self) -> Option<Pass> {
        self.breaker.enter(self.now)
    }

    fn succeed(&self, calls: u32) {
        (0..calls).for_each(|_| self.enter().unwrap().succeeded(self.now));
    }

    fn fail(&self, kind: Kind, calls: u32) {
        (0..calls).for_each(|_| self.enter().unwrap().failed(&error(kind), self.now));
    }

    /// A call that ended unanswered at its deadline.
    fn time_out(&mut self, deadline: Duration) {
        let pass = self.enter().unwrap();
        self.now += deadline;
        pass.failed(&error(Kind::Late), self.now);
    }

    fn until(&self) -> Instant {
        match self.breaker.snapshot(self.now).state {
            State::Ejected { until } => until,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the penalty pass, and enters as the probe.
    fn probe(&mut self) -> Pass {
        self.now = self.now.max(self.until());
        assert_eq!(self.breaker.admission(self.now), Admission::Probe);
        let pass = self.enter().unwrap();
        assert!(pass.is_probe());
        pass
    }

    fn why(&self) -> String {
        self.breaker.snapshot(self.now).why
    }

    fn is_admitting(&self) -> bool {
        self.breaker.snapshot(self.now).state == State::Admitting
    }
}

#[test]
fn five_failures_in_a_row_eject_and_four_do_not() {
    let scene = Scene::new();
    scene.fail(Kind::Engine, 4);
    scene.succeed(1);
    scene.fail(Kind::BackendLost, 4);
    assert!(scene.is_admitting());
    scene.fail(Kind::NoBackend, 1);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Shut);
    assert!(scene.enter().is_none());
    assert_eq!(scene.why(), "5 calls in a row failed, the last with \"it failed\"");
}

#[test]
fn changes_are_counted_by_why_and_in_one_place_for_several_breakers() {
    let (changes, now) = (Arc::<Changes>::default(), Instant::now());
    for seed in [1, 2] {
        let mut scene = Scene { breaker: Breaker::counted(seed, changes.clone(), now), now };
        scene.fail(Kind::Engine, CONSECUTIVE);
        scene.probe().failed(&error(Kind::Engine), scene.now);
        scene.probe().succeeded(scene.now);
    }
    let counts = Change::ALL.map(|why| changes.of(why));
    assert_eq!(counts, [2, 0, 0, 0, 2, 2]);
}

#[test]
fn more_than_a_fifth_of_failures_eject_though_never_five_in_a_row() {
    let scene = Scene::new();
    for _ in 0..6 {
        scene.succeed(4);
        scene.fail(Kind::Engine, 1);
    }
    assert!(scene.is_admitting(), "a fifth is borne");
    scene.fail(Kind::Engine, 1);
    assert_eq!(scene.why(), "7 of 31 calls within 10 s failed, the last with \"it failed\"");
}

#[test]
fn failures_of_long_ago_and_of_few_calls_do_not_eject() {
    let mut scene = Scene::new();
    for _ in 0..60 {
        scene.succeed(1);
        scene.fail(Kind::Engine, 1);
        scene.now += SECOND;
    }
    assert!(scene.is_admitting());
}

#[test]
fn no_mistake_of_a_caller_ejects_and_none_keeps_a_broken_endpoint_in() {
    use Kind::*;
    let scene = Scene::new();
    for kind in [Invalid, UnknownModel, TooLarge, Unauthenticated, Forbidden, Unsupported, Unloadable, Overloaded] {
        scene.fail(kind, 100);
    }
    assert!(scene.is_admitting());
    for _ in 0..5 {
        assert!(scene.is_admitting());
        scene.fail(Invalid, 1);
        scene.fail(Engine, 1);
    }
    assert!(!scene.is_admitting());
}

#[test]
fn an_endpoint_that_says_that_it_stops_gets_no_more_calls() {
    let scene = Scene::new();
    scene.fail(Kind::Draining, 1);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Shut);
    assert_eq!(scene.why(), "it is stopping: \"it failed\"");
}

#[test]
fn an_answered_probe_lets_calls_in_again_and_the_past_does_not_count() {
    let mut scene = Scene::ejected();
    assert!(scene.until() - scene.now >= SECOND);
    let probe = scene.probe();
    assert_eq!(scene.breaker.admission(scene.now), Admission::Shut, "one at a time");
    probe.succeeded(scene.now);
    assert!(scene.is_admitting());
    scene.fail(Kind::Engine, 4);
    assert!(scene.is_admitting());
}

#[test]
fn a_probe_that_fails_or_is_refused_for_want_of_room_makes_the_next_wait_longer() {
    for kind in [Kind::BackendLost, Kind::Overloaded, Kind::Draining] {
        let mut scene = Scene::ejected();
        for doubled in [2, 4, 8, 16, 32, 60, 60] {
            scene.probe().failed(&error(kind), scene.now);
            let wait = scene.until() - scene.now;
            assert!(wait >= SECOND * doubled && wait <= SECOND * doubled * 3 / 2, "{wait:?} for {doubled} s");
        }
        assert_eq!(scene.why(), "the probe failed with \"it failed\"");
    }
}

#[test]
fn an_endpoint_that_does_well_for_a_while_is_punished_less_the_next_time() {
    let waits = |good: Duration| {
        let mut scene = Scene::ejected();
        (0..3).for_each(|_| scene.probe().failed(&error(Kind::Engine), scene.now));
        scene.probe().succeeded(scene.now);
        scene.now += good;
        scene.fail(Kind::Engine, 5);
        scene.until() - scene.now
    };
    assert!(waits(SECOND) >= SECOND * 16);
    assert!(waits(SECOND * 20) < SECOND * 8);
    assert!(waits(SECOND * 60) < SECOND * 2);
}

#[test]
fn a_probe_that_is_abandoned_or_says_nothing_frees_the_place_for_the_next() {
    let mut scene = Scene::ejected();
    drop(scene.probe());
    scene.probe().abandoned(scene.now + MS * 10);
    scene.probe().failed(&error(Kind::Invalid), scene.now);
    scene.probe().succeeded(scene.now);
    assert!(scene.is_admitting());
}

#[test]
fn a_frozen_endpoint_is_ejected_a_second_after_it_was_last_heard_of() {
    let mut scene = Scene::new();
    scene.succeed(3);
    let waiting: Vec<_> = (0..3).map(|_| scene.enter().unwrap()).collect();
    scene.now += MS * 1000;
    scene.breaker.watch(Some(MS * 20), scene.now);
    assert!(scene.is_admitting());
    scene.now += MS * 100;
    scene.breaker.watch(Some(MS * 20), scene.now);
    assert_eq!(scene.why(), "nothing heard for 1.1s, calls that wait: 3");
    drop(waiting);
}

#[test]
fn an_endpoint_whose_calls_take_long_is_waited_for_as_long_as_three_of_them() {
    let mut scene = Scene::new();
    let _waiting = scene.enter().unwrap();
    scene.now += SECOND * 5;
    scene.breaker.watch(Some(SECOND * 2), scene.now);
    assert!(scene.is_admitting());
    scene.now += SECOND * 2;
    scene.breaker.watch(Some(SECOND * 2), scene.now);
    assert!(!scene.is_admitting());
}

#[test]
fn a_frozen_endpoint_is_found_too_where_deadlines_are_shorter_than_patience() {
    let mut scene = Scene::new();
    scene.breaker.watch(Some(MS * 50), scene.now);
    (0..10).for_each(|_| scene.time_out(MS * 100));
    assert!(scene.is_admitting());
    scene.time_out(MS * 100);
    assert_eq!(scene.why(), "nothing heard for 1.1s, calls that wait: 1");
}

#[test]
fn a_burst_that_is_too_much_for_an_endpoint_does_not_eject_it() {
    let mut scene = Scene::new();
    scene.breaker.watch(Some(MS * 70), scene.now);
    let mut passes: Vec<_> = (0..100).map(|_| scene.enter().unwrap()).collect();
    for pass in passes.drain(..30) {
        scene.now += MS * 6;
        pass.succeeded(scene.now);
    }
    scene.now += MS * 20;
    passes.into_iter().for_each(|pass| pass.failed(&error(Kind::Late), scene.now));
    assert!(scene.is_admitting());
}

#[test]
fn an_endpoint_that_swallows_calls_while_it_answers_others_is_ejected() {
    let mut scene = Scene::new();
    scene.breaker.watch(Some(MS * 70), scene.now);
    let swallowed: Vec<_> = (0..10).map(|_| scene.enter().unwrap()).collect();
    for _ in 0..30 {
        scene.now += MS * 10;
        scene.succeed(1);
    }
    swallowed.into_iter().for_each(|pass| pass.failed(&error(Kind::Late), scene.now));
    assert_eq!(scene.why(), "8 of 38 calls within 10 s failed, the last with \"no answer in time\"");
}

#[test]
fn callers_with_deadlines_that_nobody_could_keep_eject_nobody() {
    let mut scene = Scene::new();
    scene.breaker.watch(Some(MS * 50), scene.now);
    (0..1000).for_each(|_| scene.time_out(MS * 49));
    assert!(scene.is_admitting());
}

#[test]
fn a_late_answer_of_an_endpoint_that_was_thought_dead_calls_for_a_probe() {
    let mut scene = Scene::new();
    let waiting = scene.enter().unwrap();
    scene.now += SECOND * 2;
    scene.breaker.watch(None, scene.now);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Shut);
    waiting.succeeded(scene.now);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Probe);
}

#[test]
fn a_late_answer_of_an_endpoint_that_failed_changes_nothing() {
    let scene = Scene::new();
    let early = scene.enter().unwrap();
    scene.fail(Kind::Engine, 5);
    early.succeeded(scene.now);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Shut);
}

#[test]
fn a_probe_without_an_answer_does_not_hold_its_place_for_ever() {
    let mut scene = Scene::ejected();
    let stuck = scene.probe();
    scene.now += MS * 1100;
    scene.breaker.watch(None, scene.now);
    assert!(scene.until() - scene.now >= SECOND * 2);
    let second = scene.probe();
    stuck.failed(&error(Kind::Engine), scene.now);
    assert_eq!(scene.breaker.snapshot(scene.now).state, State::Probing, "the first has no say any more");
    second.succeeded(scene.now);
    assert!(scene.is_admitting());
}

#[test]
fn a_probe_has_its_own_time_beside_calls_that_wait_since_long_before() {
    let mut scene = Scene::new();
    let _old = scene.enter().unwrap();
    scene.now += SECOND * 2;
    scene.breaker.watch(None, scene.now);
    let _probe = scene.probe();
    scene.now += MS * 900;
    scene.breaker.watch(None, scene.now);
    assert_eq!(scene.breaker.snapshot(scene.now).state, State::Probing);
}

#[test]
fn a_new_connection_calls_for_a_probe() {
    let scene = Scene::ejected();
    scene.breaker.reconnected(scene.now);
    assert_eq!(scene.breaker.admission(scene.now), Admission::Probe);
}

#[test]
fn where_nobody_admits_an_endpoint_is_tried_each_tenth_of_a_second() {
    let mut scene = Scene::ejected();
    (0..5).for_each(|_| scene.probe().failed(&error(Kind::NoBackend), scene.now));
    scene.breaker.hurry(scene.now);
    assert_eq!(scene.breaker.opens_in(scene.now), Some(MS * 100));
    scene.now += MS * 40;
    scene.breaker.hurry(scene.now);
    assert_eq!(scene.breaker.opens_in(scene.now), Some(MS * 60), "hurrying again does not put it off");
    scene.probe().succeeded(scene.now);
    assert!(scene.is_admitting());
}

#[test]
fn after_a_fault_of_all_nobody_waits_for_long_penalties() {
    let mut scene = Scene::ejected();
    for _ in 0..100 {
        scene.breaker.hurry(scene.now);
        scene.probe().failed(&error(Kind::NoBackend), scene.now);
    }
    let wait = scene.until() - scene.now;
    assert!(wait <= SECOND * 3 / 2, "{wait:?}");
    scene.probe().failed(&error(Kind::NoBackend), scene.now);
    assert!(scene.until() - scene.now >= SECOND * 2, "without hurry penalties double again");
}

#[test]
fn a_spared_endpoint_gets_calls_until_it_turns_out_to_be_of_no_use() {
    let mut scene = Scene::new();
    scene.succeed(95);
    scene.fail(Kind::Engine, 5);
    assert_eq!(scene.breaker.standing(scene.now), Standing::Ejected { success: 0.95 });
    scene.breaker.spare(true);
    scene.fail(Kind::Engine, 5);
    assert_eq!(scene.breaker.standing(scene.now), Standing::Ejected { success: 0.0 });
    scene.breaker.spare(false);
    assert!(scene.enter().is_none());
    scene.now += SECOND * 60;
    assert_eq!(scene.breaker.standing(scene.now), Standing::Ejected { success: 0.95 }, "what is old is not known");
    scene.probe().failed(&error(Kind::Engine), scene.now);
    assert_eq!(scene.breaker.standing(scene.now), Standing::Ejected { success: 0.0 });
}

#[test]
fn a_listing_tells_the_state_since_when_and_how_well_it_goes() {
    let mut scene = Scene::new();
    let start = scene.now;
    scene.now += SECOND;
    scene.succeed(3);
    scene.fail(Kind::Engine, 1);
    let Snapshot { state, since, why, success_rate, spared, silent_for } = scene.breaker.snapshot(scene.now);
    assert_eq!((state, since, why.as_str()), (State::Admitting, start, "it is new"));
    assert_eq!((success_rate, spared, silent_for), (Some(0.75), false, Duration::ZERO));
}

#[test]
fn a_long_message_is_cut_for_the_listing() {
    let scene = Scene::new();
    scene.enter().unwrap().failed(&Error::new(Kind::Draining, "é".repeat(4000)), scene.now);
    assert!(scene.why().len() < 250);
}

/// An endpoint that works for half of each second, asked a hundred times a second for ten minutes.
#[test]
fn an_endpoint_that_flaps_gets_next_to_nothing() {
    let (mut scene, mut entered, steps) = (Scene::new(), 0, 60_000);
    for step in 0..steps {
        scene.now += MS * 10;
        let Some(pass) = scene.enter() else { continue };
        entered += 1;
        if step % 100 < 50 {
            pass.succeeded(scene.now);
        } else {
            pass.failed(&error(Kind::NoBackend), scene.now);
        }
    }
    assert!(entered * 50 < steps, "{entered} of {steps}");
}

/// An endpoint that fails at once, asked a thousand times a second for ten minutes.
#[test]
fn an_endpoint_that_fails_at_once_gets_less_than_a_probe_a_second() {
    let (mut scene, mut entered) = (Scene::new(), 0);
    for _ in 0..600_000 {
        scene.now += MS;
        if let Some(pass) = scene.enter() {
            entered += 1;
            pass.failed(&error(Kind::Engine), scene.now);
        }
    }
    assert!(entered < 40, "{entered}");
}

#[test]
fn of_threads_that_come_at_once_one_is_the_probe() {
    const THREADS: usize = 4;
    for round in 0..200 {
        let mut scene = Scene::ejected();
        scene.now = scene.until();
        let (probes, at_once) = (AtomicUsize::new(0), Barrier::new(THREADS));
        let come = || {
            at_once.wait();
            let pass = scene.enter();
            probes.fetch_add(usize::from(pass.is_some()), SeqCst);
            at_once.wait();
            // All ends compete too: abandoned by being dropped, or answered.
            if round % 2 == 0 {
                drop(pass)
            } else if let Some(pass) = pass {
                pass.succeeded(scene.now)
            }
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(come))));
        assert_eq!(probes.into_inner(), 1);
        let after = if round % 2 == 0 { Admission::Probe } else { Admission::Open };
        assert_eq!(scene.breaker.admission(scene.now), after);
    }
}

#[test]
fn never_are_two_probes_under_way_whatever_threads_do() {
    let scene = Scene::ejected();
    let (under_way, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let come = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut now = scene.now;
        for _ in 0..2000 {
            now += SECOND * 100;
            let Some(pass) = scene.breaker.enter(now).filter(Pass::is_probe) else { continue };
            assert_eq!(under_way.fetch_add(1, SeqCst), 0, "two probes");
            std::thread::yield_now();
            taken.fetch_add(1, SeqCst);
            under_way.fetch_sub(1, SeqCst);
            // Never answered, so that it stays ejected and is probed on.
            if random.bool() { drop(pass) } else { pass.failed(&error(Kind::Engine), now) }
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let come = &come;
            scope.spawn(move || come(seed));
        }
    });
    assert!(taken.into_inner() >= 100);
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Enter,
    Succeed(usize),
    Fail(usize, Kind),
    Abandon(usize),
    Drop(usize),
    Watch,
    Hurry,
    Spare(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    use Kind::*;
    let kind = prop::sample::select(vec![Invalid, Overloaded, Late, NoBackend, BackendLost, Draining, Engine]);
    prop_oneof![
        2 => (0u64..3000).prop_map(Step::Pass),
        6 => Just(Step::Enter),
        2 => any::<usize>().prop_map(Step::Succeed),
        4 => (any::<usize>(), kind).prop_map(|(at, kind)| Step::Fail(at, kind)),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => Just(Step::Watch),
        1 => Just(Step::Hurry),
        1 => any::<bool>().prop_map(Step::Spare),
    ]
}

/// Does one thing; of a step that ends a call, the call is any of those under way.
fn act(scene: &mut Scene, passes: &mut Vec<Pass>, step: Step) {
    let mut take = |at: usize| (!passes.is_empty()).then(|| passes.swap_remove(at % passes.len()));
    match step {
        Step::Pass(millis) => scene.now += MS * millis as u32,
        Step::Enter => passes.extend(scene.enter()),
        Step::Succeed(at) => take(at).into_iter().for_each(|pass| pass.succeeded(scene.now)),
        Step::Fail(at, kind) => take(at).into_iter().for_each(|pass| pass.failed(&error(kind), scene.now)),
        Step::Abandon(at) => take(at).into_iter().for_each(|pass| pass.abandoned(scene.now)),
        Step::Drop(at) => drop(take(at)),
        Step::Watch => scene.breaker.watch(Some(MS * 100), scene.now),
        Step::Hurry => scene.breaker.hurry(scene.now),
        Step::Spare(spared) => scene.breaker.spare(spared),
    }
}

proptest! {
    #[test]
    fn whatever_happens_calls_are_let_in_as_promised_and_an_endpoint_comes_back(
        steps in prop::collection::vec(any_step(), 1..200)
    ) {
        let (mut scene, mut passes) = (Scene::new(), Vec::new());
        for step in steps {
            let (admission, before, is_entry) =
                (scene.breaker.admission(scene.now), passes.len(), matches!(step, Step::Enter));
            act(&mut scene, &mut passes, step);
            if is_entry {
                prop_assert_eq!(passes.len() > before, admission != Admission::Shut);
                let probe = passes.len() > before && passes.last().is_some_and(Pass::is_probe);
                prop_assert_eq!(probe, admission == Admission::Probe);
            }
            prop_assert_eq!(scene.breaker.silence.waiting() as usize, passes.len());
        }
        // Whatever state it is in: calls that are well from now on bring it back, at the latest after the longest penalty.
        passes.clear();
        scene.breaker.spare(false);
        scene.now += SECOND * 90;
        scene.succeed(1);
        prop_assert!(scene.is_admitting());
    }
}
