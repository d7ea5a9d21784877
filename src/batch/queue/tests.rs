//! The queue as plain data: whatever is pushed, taken, removed and learnt, nothing is lost or repeated, no bound is
//! passed, nothing dead or of another kind is taken, and everybody gets a share.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::batch::fixture::{Call, MS, Room, levels, plain, rules};

fn moment(now: Instant) -> Moment {
    Moment { now, delay: Duration::ZERO, margin: Duration::ZERO, leaving: false }
}

/// A queue with its rules, and what it should hold.
struct Tried {
    room: Room,
    queue: Queue,
    waiting: Vec<Known>,
    /// Milliseconds after the start.
    now: u64,
    learnt: bool,
    next: usize,
}

#[derive(Clone)]
struct Known {
    id: String,
    alike: Alike,
    ticket: Ticket,
    rows: usize,
    bytes: usize,
    merges: bool,
    due: Instant,
}

impl Known {
    fn is_before(&self, other: &Known) -> bool {
        self.ticket.lane == other.ticket.lane
            && self.ticket.level == other.ticket.level
            && self.ticket.place < other.ticket.place
    }
}

impl Tried {
    fn of(rules: Rules) -> Tried {
        let queue = Queue::new(&rules);
        Tried { room: Room::of(rules), queue, waiting: Vec::new(), now: 0, learnt: false, next: 0 }
    }

    fn push(&mut self, call: &Call) {
        let (arrived, deadline) = (self.now, self.now + call.deadline);
        let (alike, mut waiting) = self.room.waiting(&Call { arrived, deadline, ..call.clone() });
        self.next += 1;
        let id = self.next.to_string();
        waiting.request.members[0].id = id.clone().into();
        let Waiting { rows, bytes, merges, due, level, .. } = waiting;
        if self.queue.lacks(level, 1, bytes).is_some() {
            return;
        }
        let ticket = self.queue.push(alike.clone(), waiting);
        self.waiting.push(Known { id, alike, ticket, rows, bytes, merges, due });
        let (bounds, level) = (self.room.rules.bounds, &self.room.rules.levels[level]);
        let of_level = self.waiting.iter().filter(|known| known.ticket.level == ticket.level).count();
        assert!(self.waiting.len() <= bounds.calls && of_level <= level.calls);
        let bytes: usize = self.waiting.iter().map(|known| known.bytes).sum();
        assert!(bytes <= bounds.bytes || self.waiting.len() == 1);
    }

    fn take(&mut self, after: u64, room: usize, delay: u64) {
        self.now += after;
        let moment = Moment { delay: MS(delay), ..moment(self.room.at(self.now)) };
        let mut late = Vec::new();
        let taken = self.queue.take(room, &moment, &mut late);
        for waiting in &late {
            let known = self.end(waiting);
            assert!(known.due <= moment.now || self.learnt, "a call in time was lost");
        }
        assert!(self.waiting.iter().all(|known| known.due > moment.now), "a late call waits on");
        match taken {
            Some(taken) => self.check(&taken, room, moment.now),
            None => assert!(delay > 0 || self.waiting.is_empty(), "nothing was taken of what waits"),
        }
    }

    fn check(&mut self, taken: &Taken, room: usize, now: Instant) {
        let members: Vec<Known> = taken.members.iter().map(|waiting| self.end(waiting)).collect();
        let first = &members[0];
        assert!(members.iter().all(|member| member.alike == first.alike), "calls that are not alike were mixed");
        assert!(members.len() == 1 || members.iter().all(|member| member.merges));
        assert!(members.iter().all(|member| member.due > now), "a dead call was taken");
        let rows: usize = members.iter().map(|member| member.rows).sum();
        assert_eq!(taken.rows, rows);
        assert!(rows <= self.room.rules.max_batch.min(room).max(first.rows), "{rows} rows for {room}");
        let left_behind = |member: &Known| {
            self.waiting.iter().any(|known| known.is_before(member) && (known.merges || member.id == first.id))
        };
        assert!(!members.iter().any(left_behind), "an earlier deadline was passed over");
    }

    fn remove(&mut self, index: Index) {
        if self.waiting.is_empty() {
            return;
        }
        let ticket = self.waiting[index.index(self.waiting.len())].ticket;
        let removed = self.queue.remove(ticket).expect("it waits");
        self.end(&removed);
        assert!(self.queue.remove(ticket).is_none(), "a call was taken out twice");
    }

    /// Strikes a call off those that wait, which it can be only once.
    fn end(&mut self, waiting: &Waiting) -> Known {
        let id = &waiting.request.members[0].id;
        let index = self.waiting.iter().position(|known| known.id == **id).expect("a call comes out once");
        self.waiting.swap_remove(index)
    }

    fn learn(&mut self, rows: usize, millis: u64) {
        self.learnt = true;
        let shape = self.waiting.first().map_or(0, |known| known.alike.shape());
        for _ in 0..3 {
            self.queue.cost().learn(Work { shape, rows, elements: rows * 4 }, MS(millis), self.room.at(self.now));
        }
    }

    fn check_sums(&self) {
        let sum = |of: fn(&Known) -> usize| self.waiting.iter().map(of).sum::<usize>();
        assert_eq!((self.queue.calls, self.queue.rows), (sum(|_| 1), sum(|known| known.rows)));
        assert_eq!(self.queue.bytes, sum(|known| known.bytes));
        for (index, level) in self.queue.levels.iter().enumerate() {
            assert_eq!(level.calls, self.waiting.iter().filter(|known| known.ticket.level == index).count());
        }
        assert!(self.queue.nanos >= 0.0 && (!self.waiting.is_empty() || self.queue.nanos == 0.0));
        assert_eq!(self.queue.backlog().map(|backlog| backlog.calls), Some(self.waiting.len()).filter(|len| *len > 0));
        assert_eq!(self.queue.busy.is_empty(), self.waiting.is_empty());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Call),
    Take { after: u64, room: usize, delay: u64 },
    Remove(Index),
    Learn(usize, u64),
}

fn call() -> impl Strategy<Value = Call> {
    let kind = (1..4i64, prop_oneof![Just(""), Just("2")], prop::option::of(0..2i64), prop::bool::weighted(0.9));
    let times = (1..60u64, prop::option::of(1..60u64));
    (0..9usize, 0..3usize, kind, times).prop_map(|(rows, level, (length, version, parameter, merges), times)| {
        let (deadline, timeout) = times;
        Call { rows, length, version, parameter, level, arrived: 0, deadline, timeout, merges }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => call().prop_map(Step::Push),
        3 => (0..9u64, prop_oneof![Just(usize::MAX), 0..10usize], prop_oneof![Just(0), 1..9u64])
            .prop_map(|(after, room, delay)| Step::Take { after, room, delay }),
        1 => any::<Index>().prop_map(Step::Remove),
        1 => (1..9usize, 0..9u64).prop_map(|(rows, millis)| Step::Learn(rows, millis)),
    ]
}

fn bounded(calls: usize, bytes: usize, of_level: usize) -> Rules {
    let levels = levels(3).into_iter().map(|level| Level { calls: of_level, ..level }).collect();
    Rules { bounds: Bounds { calls, bytes }, levels, ..rules(&plain(), 8) }
}

proptest! {
    #[test]
    fn every_call_comes_out_once_and_all_promises_are_kept_whatever_happens(
        steps in prop::collection::vec(step(), 0..80),
        (calls, bytes, of_level) in (1..20usize, 1..200usize, 1..10usize),
    ) {
        let mut tried = Tried::of(bounded(calls, bytes, of_level));
        for step in steps {
            match step {
                Step::Push(call) => tried.push(&call),
                Step::Take { after, room, delay } => tried.take(after, room, delay),
                Step::Remove(index) => tried.remove(index),
                Step::Learn(rows, millis) => tried.learn(rows, millis),
            }
            tried.check_sums();
        }
        while !tried.waiting.is_empty() {
            tried.take(1, usize::MAX, 0);
            tried.check_sums();
        }
    }
}

#[test]
fn a_call_larger_than_the_bound_on_bytes_waits_alone() {
    let mut tried = Tried::of(bounded(9, 6, 9));
    tried.push(&Call { rows: 8, ..Call::default() });
    assert_eq!(tried.waiting.len(), 1);
    tried.push(&Call::default());
    assert_eq!(tried.waiting.len(), 1);
}

#[test]
fn shapes_that_callers_think_up_leave_few_lanes_behind() {
    let mut tried = Tried::of(rules(&plain(), 8));
    for length in 1..1000 {
        tried.push(&Call { length, ..Call::default() });
        tried.take(0, usize::MAX, 0);
    }
    assert!(tried.queue.lanes.len() <= IDLE_LANES + 1 && tried.queue.known.len() <= IDLE_LANES + 1);
}

/// A queue that is kept full of calls of several kinds, and the time that each kind got.
struct Busy {
    room: Room,
    queue: Queue,
    /// What is pushed again once it was taken, with what its run takes in milliseconds.
    kinds: Vec<(Call, u64)>,
    got: Vec<u64>,
}

impl Busy {
    fn of(rules: Rules, kinds: Vec<(Call, u64)>) -> Busy {
        let (queue, room) = (Queue::new(&rules), Room::of(rules));
        let mut busy = Busy { room, queue, got: vec![0; kinds.len()], kinds };
        for kind in 0..busy.kinds.len() {
            (0..20).for_each(|_| busy.push(kind));
        }
        busy
    }

    fn push(&mut self, kind: usize) {
        let (alike, mut waiting) = self.room.waiting(&self.kinds[kind].0);
        waiting.request.members[0].id = kind.to_string().into();
        self.queue.push(alike, waiting);
    }

    /// One batch; which kinds it is of.
    fn turn(&mut self) -> Vec<usize> {
        let taken = self.queue.take(usize::MAX, &moment(self.room.start), &mut Vec::new()).expect("it is busy");
        let kind = |waiting: &Waiting| waiting.request.members[0].id.parse::<usize>().unwrap();
        let kinds: Vec<usize> = taken.members.iter().map(kind).collect();
        let time = self.kinds[kinds[0]].1;
        self.queue.cost().learn(taken.work, MS(time), self.room.start);
        self.got[kinds[0]] += time;
        kinds
    }

    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn().into_iter().for_each(|kind| self.push(kind));
        }
    }
}

fn of_length(length: i64, deadline: u64) -> Call {
    Call { length, deadline, ..Call::default() }
}

#[test]
fn shapes_that_are_always_busy_get_the_same_time_whatever_their_runs_cost() {
    let kinds = vec![(of_length(1, 90_000), 1), (of_length(2, 80_000), 5), (of_length(3, 70_000), 20)];
    let mut busy = Busy::of(rules(&plain(), 4), kinds);
    busy.run(2000);
    let (least, most) = (busy.got.iter().min().unwrap(), busy.got.iter().max().unwrap());
    // A turn more or less of the most expensive, and the first few, whose cost was not known.
    assert!(most - least <= 80, "{:?} ms", busy.got);
}

#[test]
fn levels_that_are_always_busy_get_shares_by_their_weights_and_the_lowest_moves() {
    let of_level = |level| (Call { level, deadline: 90_000, ..Call::default() }, 2);
    let mut busy =
        Busy::of(Rules { levels: levels(3), ..rules(&plain(), 4) }, vec![of_level(0), of_level(1), of_level(2)]);
    busy.run(1400);
    let shares: Vec<f64> = busy.got.iter().map(|got| *got as f64 / 200.0).collect();
    for (share, weight) in shares.iter().zip([9.0, 4.0, 1.0]) {
        assert!((share - weight).abs() <= weight * 0.05, "{shares:?} instead of 9, 4 and 1");
    }
}

#[test]
fn a_rare_shape_waits_for_two_batches_of_a_busy_one_at_most() {
    let mut busy = Busy::of(rules(&plain(), 4), vec![(of_length(1, 50_000), 5), (of_length(2, 90_000), 5)]);
    busy.run(50);
    while busy.queue.lanes.iter().filter(|(_, lane)| !lane.is_empty()).count() > 1 {
        let turn = busy.turn();
        turn.into_iter().filter(|kind| *kind == 0).for_each(|_| busy.push(0));
    }
    for _ in 0..30 {
        busy.push(1);
        let waited = (0..).find(|_| {
            let turn = busy.turn();
            turn.iter().filter(|kind| **kind == 0).for_each(|_| busy.push(0));
            turn[0] == 1
        });
        assert!(waited <= Some(2), "it waited for {waited:?} batches");
    }
}

#[test]
fn an_urgent_call_that_comes_to_a_busy_queue_goes_in_the_next_batch() {
    let busy = || {
        let rules = Rules { levels: levels(2), ..rules(&plain(), 4) };
        let call = Call { level: 1, ..of_length(1, 50_000) };
        let mut busy = Busy::of(rules, vec![(call.clone(), 5), (Call { deadline: 10, ..call }, 5)]);
        while busy.turn().contains(&1) {}
        (0..40).for_each(|_| busy.push(0));
        busy.run(7);
        busy
    };
    let mut same_shape = busy();
    same_shape.push(1);
    assert_eq!(same_shape.turn()[0], 1);

    let mut other_shape = busy();
    other_shape.kinds[1].0.length = 2;
    other_shape.push(1);
    assert_eq!(other_shape.turn(), [1]);

    let mut higher_level = busy();
    higher_level.kinds[1].0 = Call { deadline: 90_000, ..of_length(1, 0) };
    higher_level.push(1);
    assert_eq!(higher_level.turn()[0], 1);
}

#[test]
fn a_call_that_may_be_last_is_hopeless_only_if_what_waits_takes_too_long() {
    let mut tried = Tried::of(rules(&plain(), 4));
    (0..8).for_each(|_| tried.push(&Call { deadline: 100, ..Call::default() }));
    let (start, hopeless) = (tried.room.start, |tried: &Tried, deadline, wait| {
        let (_, waiting) = tried.room.waiting(&Call { deadline, ..Call::default() });
        tried.queue.is_hopeless(&waiting, MS(wait), &moment(tried.room.start))
    });
    assert!(!hopeless(&tried, 100, 1000), "nothing was learnt yet");
    let shape = tried.waiting[0].alike.shape();
    for rows in [1, 4, 1, 4] {
        tried.queue.cost().learn(Work { shape, rows, elements: rows * 4 }, MS(10), start);
    }
    assert!(!hopeless(&tried, 100, 90));
    assert!(hopeless(&tried, 100, 91));
    assert!(!hopeless(&tried, 99, 99), "one that is due earlier does not wait for the others");
}

#[test]
fn a_call_is_taken_to_run_with_as_many_as_are_worth_it_and_not_with_all_that_may() {
    let mut tried = Tried::of(rules(&plain(), 32));
    (0..31).for_each(|_| tried.push(&Call { deadline: 100, ..Call::default() }));
    let shape = tried.waiting[0].alike.shape();
    for rows in [1, 4, 1, 4] {
        tried.queue.cost().learn(Work { shape, rows, elements: rows * 4 }, MS(10 * rows as u64), tried.room.start);
    }
    // Rows cost 10 ms each in any company, so that no more than two are run together.
    let (_, waiting) = tried.room.waiting(&Call { deadline: 100, ..Call::default() });
    assert!(!tried.queue.is_hopeless(&waiting, MS(80), &moment(tried.room.start)));
    assert!(tried.queue.is_hopeless(&waiting, MS(81), &moment(tried.room.start)));
}
