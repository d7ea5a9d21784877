//! When a batch is closed and with whom: each reason, deadlines and delays, padding, allowed sizes.

use super::*;
use crate::batch::fixture::{Call, MS, Room, levels, plain, rules, signature};
use crate::batch::lane::Place;
use crate::batch::lane::trusted_for;
use crate::batch::rules::Pad;
use crate::batch::shape::Alike;
use crate::tensor::DType;

/// A lane with what decisions about it depend on.
struct Tried {
    room: Room,
    lane: Lane,
    cost: Cost,
    sizes: Sizes,
    moment: Moment,
    pushed: u64,
}

/// The shape of the lane.
const SHAPE: u64 = 7;

impl Tried {
    fn of(max: usize) -> Tried {
        Tried::with(Room::of(Rules { levels: levels(2), ..rules(&plain(), max) }))
    }

    fn with(room: Room) -> Tried {
        let sizes = Sizes::of(&room.rules);
        let (now, delay, margin) = (room.start, Duration::ZERO, Duration::ZERO);
        let moment = Moment { now, delay, margin, leaving: false };
        let mut lane = Lane::new(Alike::default(), 2);
        lane.shape = SHAPE;
        Tried { lane, room, cost: Cost::default(), sizes, moment, pushed: 0 }
    }

    fn push(&mut self, call: Call) {
        let (_, mut waiting) = self.room.waiting(&call);
        if waiting.sizes.is_empty() {
            waiting.own_shape = SHAPE;
        }
        self.pushed += 1;
        self.lane.push(Place { order: waiting.order, number: self.pushed }, waiting);
    }

    /// Calls of one row with these deadlines, in milliseconds.
    fn due(mut self, deadlines: impl IntoIterator<Item = u64>) -> Tried {
        deadlines.into_iter().for_each(|deadline| self.push(Call { deadline, ..Call::default() }));
        self
    }

    /// Runs of the lane's shape take so many milliseconds, and so many more for each row.
    fn learnt(mut self, fixed: u64, by_row: u64) -> Tried {
        for rows in [1, 2, 4, 8] {
            let work = Work { shape: SHAPE, rows, elements: rows * 4 };
            (0..4).for_each(|_| self.cost.learn(work, MS(fixed + by_row * rows as u64), self.room.start));
        }
        self
    }

    fn at(mut self, millis: u64) -> Tried {
        self.moment.now = self.room.at(millis);
        self
    }

    fn delay(mut self, millis: u64) -> Tried {
        self.moment.delay = MS(millis);
        self
    }

    fn ripe(&self) -> Option<Close> {
        ripe(&self.lane, &self.cost, &self.sizes, &self.moment)
    }

    /// When the lane is ripe, in milliseconds after the start.
    fn ripe_at(&self) -> Option<u64> {
        let at = ripe_at(&self.lane, &self.cost, &self.sizes, &self.moment)?;
        Some(at.duration_since(self.room.start).as_millis() as u64)
    }

    fn close(&mut self) -> (Option<Taken>, usize) {
        let scope = Scope { cost: &self.cost, sizes: &self.sizes, room: usize::MAX, moment: &self.moment };
        let mut late = Vec::new();
        let taken = close(&mut self.lane, 0, &scope, &mut late);
        (taken, late.len())
    }

    /// Rows, rows as they are run, reason, and how many were lost.
    fn closed(&mut self) -> (usize, usize, Close, usize) {
        let (taken, late) = self.close();
        let taken = taken.expect("something is taken");
        assert_eq!(taken.rows, taken.members.iter().map(|waiting| waiting.rows).sum::<usize>());
        (taken.rows, taken.work.rows, taken.closed, late)
    }
}

#[test]
fn without_a_delay_whatever_waits_goes_as_soon_as_a_slot_is_free() {
    let mut tried = Tried::of(8).due([1000; 3]);
    assert_eq!(tried.ripe(), Some(Close::SlotFree));
    assert_eq!(tried.closed(), (3, 3, Close::SlotFree, 0));
}

#[test]
fn as_many_rows_as_a_batch_may_have_are_not_held() {
    let mut tried = Tried::of(4).due([1000; 6]).delay(10);
    assert_eq!(tried.ripe(), Some(Close::Full));
    assert_eq!(tried.closed(), (4, 4, Close::Full, 0));
    assert_eq!(tried.lane.rows(), 2);
}

#[test]
fn with_a_delay_calls_wait_for_company_that_long_and_no_longer() {
    let tried = Tried::of(8).due([1000; 3]).delay(10);
    assert_eq!((tried.ripe(), tried.ripe_at()), (None, Some(10)));
    assert_eq!((tried.at(9).ripe_at()), Some(10));
    let tried = Tried::of(8).due([1000; 3]).delay(10).at(10);
    assert_eq!((tried.ripe(), tried.ripe_at()), (Some(Close::Delay), None));
}

#[test]
fn a_call_is_held_no_longer_because_more_urgent_ones_come_after_it() {
    let mut tried = Tried::of(8).due([1000]).delay(10).at(6);
    tried.push(Call { arrived: 6, deadline: 500, ..Call::default() });
    assert_eq!(tried.ripe_at(), Some(10));
}

#[test]
fn nobody_is_held_once_the_process_is_leaving() {
    let mut tried = Tried::of(8).due([1000; 3]).delay(10);
    tried.moment.leaving = true;
    assert_eq!(tried.ripe(), Some(Close::Drain));
}

#[test]
fn calls_are_held_no_longer_than_the_first_deadline_less_the_run_and_the_margin() {
    let mut tried = Tried::of(8).due([40, 20]).delay(100).learnt(3, 1);
    let timer = TIMER.as_millis() as u64;
    assert_eq!(tried.ripe_at(), Some(20 - 3 - 2 - timer));
    tried.moment.margin = MS(4);
    assert_eq!(tried.ripe_at(), Some(20 - 3 - 2 - 4 - timer));
    assert_eq!(tried.at(12 - timer).ripe(), Some(Close::Deadline));
}

#[test]
fn the_first_deadline_counts_also_behind_calls_that_want_to_wait_less() {
    let mut tried = Tried::of(8).delay(100).learnt(8, 0);
    tried.push(Call { deadline: 1000, timeout: Some(19), ..Call::default() });
    tried.push(Call { deadline: 20, ..Call::default() });
    assert!(tried.ripe_at() <= Some(12), "{:?}", tried.ripe_at());
}

#[test]
fn a_call_that_wants_to_wait_less_than_the_delay_goes_while_it_still_may() {
    let mut tried = Tried::of(8).delay(100);
    tried.push(Call { timeout: Some(10), ..Call::default() });
    assert!(tried.ripe_at() < Some(10), "{:?}", tried.ripe_at());
}

#[test]
fn a_batch_becomes_smaller_for_a_deadline_where_the_others_have_the_next_slot() {
    // 8 rows take 18 ms; in 15 ms are 5 of them through.
    let mut tried = Tried::of(8).due([15, 99, 99, 99, 99, 99, 99, 99]).learnt(10, 1);
    assert_eq!(tried.closed(), (5, 5, Close::Deadline, 0));
    assert_eq!(tried.closed(), (3, 3, Close::SlotFree, 0));
}

#[test]
fn where_more_waits_than_fits_the_call_that_would_make_batches_small_is_lost() {
    let mut tried = Tried::of(4).due([12, 99, 99, 99, 99, 99]).learnt(10, 1);
    assert_eq!(tried.closed(), (4, 4, Close::Full, 1));
    assert_eq!(tried.lane.rows(), 1);
}

#[test]
fn where_no_full_batch_could_be_in_time_a_smaller_one_is_filled() {
    // 8 rows take 18 ms, which none of them has; 4 take 14.
    let mut tried = Tried::of(8).due([15; 20]).learnt(10, 1);
    assert_eq!(tried.closed(), (4, 4, Close::Full, 0));
}

#[test]
fn a_batch_has_no_more_rows_than_get_cheaper() {
    // With 1 ms for a run and 2 for a row the time by row falls by less than a part in 25 beyond 13.
    let mut tried = Tried::of(32).due([999; 32]).learnt(1, 2);
    let (calls, _, closed, _) = tried.closed();
    assert!((12..=14).contains(&calls) && closed == Close::Full, "{calls}");
}

#[test]
fn a_call_that_cannot_be_in_time_even_alone_is_lost() {
    let mut tried = Tried::of(8).due([10, 10, 99]).learnt(10, 1);
    assert_eq!(tried.closed(), (1, 1, Close::SlotFree, 2));
    assert!(tried.lane.is_empty());
    let mut alone = Tried::of(8).due([10]).learnt(10, 1);
    assert!(matches!(alone.close(), (None, 1)));
}

#[test]
fn the_margin_is_kept_when_a_batch_is_closed() {
    let mut tried = Tried::of(8).due([14, 99]).learnt(10, 1);
    tried.moment.margin = MS(3);
    assert_eq!(tried.closed(), (1, 1, Close::Deadline, 0));
}

#[test]
fn however_wide_the_margin_a_call_has_three_quarters_of_its_time() {
    let goes = |deadline| {
        let mut tried = Tried::of(8).due([deadline]).learnt(10, 1);
        tried.moment.margin = MS(1000);
        tried.close().0.is_some()
    };
    assert!(goes(16));
    assert!(!goes(12));
}

#[test]
fn what_was_learnt_long_ago_turns_nobody_away() {
    let long = trusted_for(MS(11)).as_millis() as u64;
    let mut tried = Tried::of(8).due([long + 6]).learnt(10, 1).at(long + 1);
    assert_eq!(tried.closed(), (1, 1, Close::SlotFree, 0));
}

#[test]
fn nothing_is_turned_away_before_runs_were_seen() {
    let mut tried = Tried::of(8).due([1, 1, 1]);
    assert_eq!(tried.closed(), (3, 3, Close::SlotFree, 0));
}

#[test]
fn a_call_larger_than_a_batch_is_taken_alone() {
    let mut tried = Tried::of(8);
    tried.sizes.max = 4;
    tried.push(Call { rows: 6, deadline: 10, ..Call::default() });
    tried.push(Call::default());
    assert_eq!(tried.closed(), (6, 6, Close::Full, 0));
    assert_eq!(tried.closed(), (1, 1, Close::SlotFree, 0));
}

#[test]
fn no_more_rows_are_taken_than_the_slot_has_room_for() {
    let mut tried = Tried::of(8).due([1000; 6]);
    let scope = Scope { cost: &tried.cost, sizes: &tried.sizes, room: 2, moment: &tried.moment };
    assert_eq!(close(&mut tried.lane, 0, &scope, &mut Vec::new()).unwrap().rows, 2);
}

#[test]
fn calls_that_cannot_be_merged_are_passed_by_and_taken_alone_in_their_turn() {
    let mut tried = Tried::of(8).due([10]);
    tried.push(Call { deadline: 20, merges: false, ..Call::default() });
    tried.push(Call { deadline: 30, ..Call::default() });
    assert_eq!(tried.closed(), (2, 2, Close::SlotFree, 0));
    assert_eq!(tried.closed().0, 1);
    assert!(tried.lane.is_empty());
}

#[test]
fn a_batch_is_filled_with_calls_of_other_levels_behind_those_of_its_own() {
    let mut tried = Tried::of(4).due([50, 60, 70]);
    tried.push(Call { level: 1, deadline: 10, ..Call::default() });
    tried.push(Call { level: 1, deadline: 20, ..Call::default() });
    let taken = tried.close().0.unwrap();
    assert_eq!(taken.members.iter().map(|waiting| waiting.level).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert_eq!(taken.members[3].deadline, tried.room.at(10));
}

fn allowed(sizes: &[usize]) -> Tried {
    let max = *sizes.last().unwrap();
    Tried::with(Room::of(Rules { allowed_sizes: sizes.to_vec(), ..rules(&plain(), max) }))
}

#[test]
fn where_rows_cost_nothing_a_batch_is_filled_up_to_an_allowed_size() {
    let mut tried = allowed(&[1, 4, 8]).due([1000; 5]).learnt(10, 0);
    assert_eq!(tried.closed(), (5, 8, Close::SlotFree, 0));
}

#[test]
fn where_only_rows_cost_a_batch_is_cut_down_to_an_allowed_size() {
    let mut tried = allowed(&[1, 4, 8]).due([1000; 5]).learnt(0, 2);
    assert_eq!(tried.closed(), (4, 4, Close::Full, 0));
    assert_eq!(tried.closed(), (1, 1, Close::SlotFree, 0));
}

#[test]
fn a_single_row_is_filled_up_where_no_smaller_size_is_allowed() {
    let mut tried = allowed(&[4, 8]).due([1000]);
    assert_eq!(tried.closed(), (1, 4, Close::SlotFree, 0));
}

/// A room of a model whose inputs have a length that is padded to 8 or 16.
fn padding() -> Room {
    let dims = ["batch", "length"];
    let signature = signature(&[("x", DType::Uint8, &dims)], &[("y", DType::Uint8, &dims)]);
    let pads = vec![Pad { symbol: "length".into(), buckets: vec![8, 16], value: 0.0, mask: None }];
    Room::with(signature.clone(), Rules { pads, levels: levels(2), ..rules(&signature, 8) })
}

/// Two lengths wait in one lane; runs cost `time` of their elements.
fn two_lengths(time: fn(usize) -> u64) -> Tried {
    let mut tried = Tried::with(padding());
    for length in [3, 8, 3, 8] {
        tried.push(Call { length, ..Call::default() });
    }
    let lengths: Vec<u64> = tried.lane.from(0).map(|waiting| waiting.own_shape).take(2).collect();
    for (shape, length) in [(lengths[0], 3), (lengths[1], 8), (SHAPE, 8)] {
        for rows in [1, 2, 4, 8] {
            let work = Work { shape, rows, elements: rows * length };
            (0..4).for_each(|_| tried.cost.learn(work, MS(time(work.elements)), tried.room.start));
        }
    }
    tried
}

#[test]
fn calls_of_different_lengths_are_padded_where_a_run_costs_the_same_anyhow() {
    let taken = two_lengths(|_| 10).close().0.unwrap();
    assert!(taken.padded && taken.rows == 4);
    assert_eq!(taken.work, Work { shape: SHAPE, rows: 4, elements: 4 * 8 });
}

#[test]
fn calls_of_different_lengths_are_not_padded_where_only_elements_cost() {
    let mut tried = two_lengths(|elements| elements as u64);
    let taken = tried.close().0.unwrap();
    assert!(!taken.padded && taken.rows == 2);
    assert_eq!(taken.work.elements, 2 * 3);
    assert!(tried.lane.from(0).all(|waiting| waiting.elements == 8), "the others are left");
}

#[test]
fn nothing_is_padded_before_runs_were_seen() {
    let mut tried = Tried::with(padding());
    for length in [3, 8] {
        tried.push(Call { length, ..Call::default() });
    }
    assert_eq!(tried.closed().0, 1);
}
