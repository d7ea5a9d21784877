//! The queue as plain data: who waits, and who goes next with whom. It knows no clock, no place and no thread; `now` is
//! passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slab::Slab;
use smallvec::SmallVec;

use super::closing::{self, Moment, Sizes, Taken};
use super::fair::{self, Turns};
use super::lane::{Lane, Place, Waiting, Wanted, trusted_for};
use super::plan::Scope;
use super::rules::{Bounds, Level, Rules};
use super::shape::Alike;
use crate::cost::{Cost, Work};
use crate::error::Room;
use crate::infer::{Backlog, Close};

/// Lanes that are kept although nothing waits in them, so that the next call finds its own made.
const IDLE_LANES: usize = 64;

/// Where a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    lane: usize,
    level: usize,
    place: Place,
}

/// Calls that wait, in a lane for each shape.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    levels: Vec<LevelState>,
    sizes: Sizes,
    lanes: Slab<Lane>,
    known: HashMap<Alike, usize>,
    /// The lane of the last call.
    recent: usize,
    /// Lanes in which something waits.
    busy: Vec<usize>,
    lane_turns: Turns,
    level_turns: Turns,
    calls: usize,
    rows: usize,
    bytes: usize,
    /// Predicted execution time of all that waits, in nanoseconds.
    nanos: f64,
    next: u64,
    cost: Cost,
}

#[derive(Debug)]
struct LevelState {
    calls: usize,
    most: usize,
    served: f64,
    weight: f64,
}

impl Queue {
    pub(super) fn new(rules: &Rules) -> Queue {
        let count = rules.levels.len();
        let level = |(index, level): (usize, &Level)| LevelState {
            calls: 0,
            most: level.calls,
            served: 0.0,
            weight: fair::weight(index, count),
        };
        Queue {
            bounds: rules.bounds,
            levels: rules.levels.iter().enumerate().map(level).collect(),
            sizes: Sizes::of(rules),
            lanes: Slab::new(),
            known: HashMap::new(),
            recent: 0,
            busy: Vec::new(),
            lane_turns: Turns::default(),
            level_turns: Turns::default(),
            calls: 0,
            rows: 0,
            bytes: 0,
            nanos: 0.0,
            next: 0,
            cost: Cost::default(),
        }
    }

    /// What waits; `None` where nothing does.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        let deadlines = self.busy.iter().filter_map(|lane| self.lanes[*lane].earliest_deadline());
        let earliest_deadline = deadlines.min()?;
        Some(Backlog { calls: self.calls, rows: self.rows, bytes: self.bytes, earliest_deadline })
    }

    /// Calls that wait.
    pub(super) fn len(&self) -> usize {
        self.calls
    }

    /// Their rows along the batch axis.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What keeps so many calls of so many bytes in all from waiting on that level, where something does. A call that is
    /// larger than the bound on bytes waits alone, so that no bound makes it unanswerable.
    pub(super) fn lacks(&self, level: usize, calls: usize, bytes: usize) -> Option<Room> {
        let level = &self.levels[level];
        let is_over = |waiting: usize, most: usize| waiting + calls > most.max(calls);
        if is_over(self.calls, self.bounds.calls) || is_over(level.calls, level.most) {
            return Some(Room::QueueCalls);
        }
        let fits = self.bytes.saturating_add(bytes) <= self.bounds.bytes || self.calls == 0;
        (!fits).then_some(Room::QueueBytes)
    }

    /// What runs cost.
    pub(super) fn cost(&mut self) -> &mut Cost {
        &mut self.cost
    }

    /// How long what waits will take, where that can be told, with so many runs at one time.
    pub(super) fn predicted(&self, parallel: usize) -> Duration {
        Duration::from_nanos((self.nanos / parallel.max(1) as f64) as u64)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// Whether a call that came last would be answered too late if what waits takes so long.
    pub(super) fn is_hopeless(&self, waiting: &Waiting, wait: Duration, moment: &Moment) -> bool {
        let worth = self.sizes.worth(&self.cost, waiting.work());
        let rows = waiting.rows.max((self.rows + waiting.rows).min(worth));
        let elements = waiting.elements / waiting.rows.max(1) * rows;
        let Some(run) = self.cost.predict(Work { rows, elements, ..waiting.work() }) else { return false };
        let trusted = self.cost.is_fresh(trusted_for(run), moment.now);
        trusted && moment.now + wait + run > waiting.back_by(moment.margin) && self.is_last(waiting.order)
    }

    /// Whether nothing that waits is due later than `order`.
    fn is_last(&self, order: Instant) -> bool {
        let mut lanes = self.busy.iter().map(|lane| &self.lanes[*lane]);
        lanes.all(|lane| lane.last_order().is_none_or(|last| last <= order))
    }

    /// Lets a call wait for which there is room.
    pub(super) fn push(&mut self, alike: Alike, mut waiting: Waiting) -> Ticket {
        let lane = self.lane(alike);
        if waiting.sizes.is_empty() {
            waiting.own_shape = self.lanes[lane].shape;
        }
        waiting.nanos = self.lanes[lane].row_nanos * waiting.rows.max(1) as f64;
        let (level, place) = (waiting.level, Place { order: waiting.order, number: self.next });
        self.next += 1;
        self.calls += 1;
        self.rows += waiting.rows;
        self.bytes += waiting.bytes;
        self.nanos += waiting.nanos;
        let state = &mut self.levels[level];
        if state.calls == 0 {
            state.served = self.level_turns.begin(state.served);
        }
        state.calls += 1;
        let queue = &mut self.lanes[lane];
        if queue.is_empty() {
            queue.served = self.lane_turns.begin(queue.served);
            self.busy.push(lane);
        }
        queue.push(place, waiting);
        Ticket { lane, level, place }
    }

    fn lane(&mut self, alike: Alike) -> usize {
        // Most calls are like the one before.
        if self.lanes.get(self.recent).is_some_and(|lane| lane.alike == alike) {
            return self.recent;
        }
        if let Some(lane) = self.known.get(&alike) {
            self.recent = *lane;
            return *lane;
        }
        if self.lanes.len() >= self.busy.len() + IDLE_LANES {
            self.lanes.retain(|_, lane| !lane.is_empty());
            self.known.retain(|_, lane| self.lanes.contains(*lane));
        }
        let lane = self.lanes.insert(Lane::new(alike.clone(), self.levels.len()));
        self.known.insert(alike, lane);
        lane
    }

    /// Takes a call out that has not begun yet, as when it has waited long enough.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.lanes.get_mut(ticket.lane)?.remove(ticket.level, ticket.place)?;
        self.forget(&waiting);
        self.rest_if_empty(ticket.lane);
        Some(waiting)
    }

    /// Takes out all calls that nobody waits for any more.
    pub(super) fn remove_abandoned(&mut self) -> Vec<Waiting> {
        let mut abandoned = Vec::new();
        let wanted = |waiting: &Waiting| if waiting.interest.is_gone() { Wanted::Yes } else { Wanted::No };
        for lane in self.busy.clone() {
            abandoned.extend(self.lanes[lane].take(0, 0, wanted));
            self.rest_if_empty(lane);
        }
        abandoned.iter().for_each(|waiting| self.forget(waiting));
        abandoned
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.calls -= 1;
        self.rows -= waiting.rows;
        self.bytes -= waiting.bytes;
        // Sums of floating-point numbers drift; an empty queue takes no time.
        self.nanos = if self.calls == 0 { 0.0 } else { (self.nanos - waiting.nanos).max(0.0) };
        self.levels[waiting.level].calls -= 1;
    }

    fn rest_if_empty(&mut self, lane: usize) {
        if self.lanes[lane].is_empty() {
            self.busy.retain(|busy| *busy != lane);
        }
    }

    /// Until when all that waits may wait for company; `None` where something should go now, or nothing waits.
    pub(super) fn hold(&self, moment: &Moment) -> Option<Instant> {
        let mut until = None;
        for lane in &self.busy {
            let at = closing::ripe_at(&self.lanes[*lane], &self.cost, &self.sizes, moment)?;
            until = Some(until.map_or(at, |until: Instant| until.min(at)));
        }
        until
    }

    /// Takes the calls that go next, together. Those whose time is over, or that could not be answered in time any
    /// more, are put into `late`.
    pub(super) fn take(&mut self, room: usize, moment: &Moment, late: &mut Vec<Waiting>) -> Option<Taken> {
        self.expire(moment.now, late);
        loop {
            let (lane, level, closed) = self.choose(moment)?;
            let missed = late.len();
            let queue = &mut self.lanes[lane];
            let scope = Scope { cost: &self.cost, sizes: &self.sizes, room, moment };
            let taken = closing::close(queue, level, &scope, late);
            late[missed..].iter().for_each(|waiting| self.forget(waiting));
            if let Some(mut taken) = taken {
                taken.closed = if taken.closed == Close::SlotFree { closed } else { taken.closed };
                self.charge(lane, &taken);
                self.rest_if_empty(lane);
                return Some(taken);
            }
            self.rest_if_empty(lane);
        }
    }

    fn expire(&mut self, now: Instant, late: &mut Vec<Waiting>) {
        let busy: SmallVec<[usize; 8]> = SmallVec::from_slice(&self.busy);
        for lane in busy {
            for level in 0..self.levels.len() {
                while self.lanes[lane].front(level).is_some_and(|(_, waiting)| waiting.due <= now)
                    && let Some(waiting) = self.lanes[lane].pop(level)
                {
                    self.forget(&waiting);
                    late.push(waiting);
                }
            }
            self.rest_if_empty(lane);
        }
    }

    /// The level that has had the least of its share, and in it the lane whose turn it is.
    fn choose(&self, moment: &Moment) -> Option<(usize, usize, Close)> {
        // Mostly there is nothing to choose.
        if let ([lane], [_]) = (&*self.busy, &*self.levels) {
            let closed = closing::ripe(&self.lanes[*lane], &self.cost, &self.sizes, moment)?;
            return Some((*lane, 0, closed));
        }
        let ripe: SmallVec<[(usize, Close); 8]> = self
            .busy
            .iter()
            .filter_map(|lane| {
                closing::ripe(&self.lanes[*lane], &self.cost, &self.sizes, moment).map(|closed| (*lane, closed))
            })
            .collect();
        let levels = 0..self.levels.len();
        let level = levels
            .filter(|level| ripe.iter().any(|(lane, _)| self.lanes[*lane].has(*level)))
            .min_by(|one, other| self.levels[*one].served.total_cmp(&self.levels[*other].served))?;
        let waiting = ripe.iter().filter_map(|(lane, closed)| {
            let queue = &self.lanes[*lane];
            let (place, _) = queue.front(level)?;
            Some(((*lane, *closed), queue.served, *place))
        });
        let (lane, closed) = fair::next(waiting)?;
        Some((lane, level, closed))
    }

    /// Counts a run against the shares of its shape and of its calls' levels.
    fn charge(&mut self, lane: usize, taken: &Taken) {
        let nanos = self.cost.predict(taken.work).map_or(taken.rows as f64, |time| time.as_nanos() as f64);
        let row_nanos = self.row_nanos(taken.work);
        let queue = &mut self.lanes[lane];
        queue.row_nanos = row_nanos;
        queue.served = self.lane_turns.serve(queue.served, nanos, 1.0);
        for waiting in &taken.members {
            let level = &mut self.levels[waiting.level];
            let part = nanos * waiting.rows.max(1) as f64 / taken.rows.max(1) as f64;
            level.served = self.level_turns.serve(level.served, part, level.weight);
        }
        taken.members.iter().for_each(|waiting| self.forget(waiting));
    }

    /// How long a row takes in a full batch of such runs, in nanoseconds; 0 where that is not known yet.
    fn row_nanos(&self, work: Work) -> f64 {
        let rows = work.rows.max(1);
        let full = self.sizes.max.max(rows);
        let elements = (work.elements / rows).saturating_mul(full);
        let time = self.cost.predict(Work { rows: full, elements, ..work });
        time.map_or(0.0, |time| time.as_nanos() as f64 / full as f64)
    }
}

#[cfg(test)]
mod tests;
