//! When a batch is closed, and with whom: as much as goes together, no more than may, and nothing that would come too
//! late. Decisions only; `now` is passed in.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::lane::{Lane, Waiting, Wanted, trusted_for};
use super::rules::Rules;
use crate::cost::{Cost, Work};
use crate::infer::Close;

/// Calls that are looked at for a batch; those behind wait for the next.
const WINDOW: usize = 1024;
/// Padding must be predicted to be better by this much: predictions are off, and its elements are sure to be computed.
const PADDING_PAYS: f64 = 1.5;
/// A smaller batch must be predicted to be better by this much than one that is filled up.
const SMALLER_PAYS: f64 = 1.1;
/// What a batch costs beside its execution: to wake an instance, to put it together and to take it apart. Measured as
/// 10 to 30 microseconds.
const BESIDE: Duration = Duration::from_micros(20);
/// A timer rings up to a millisecond late, and who is woken by it has to be run. A call that is held to the last moment
/// would be lost then.
const TIMER: Duration = Duration::from_millis(2);

/// The sizes that a batch may have.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Rows at most.
    pub(super) max: usize,
    /// The only sizes that are run, rising; empty for any.
    pub(super) allowed: Vec<usize>,
    /// Bytes of inputs that padding may make of calls.
    pub(super) bytes: usize,
}

impl Sizes {
    pub(super) fn of(rules: &Rules) -> Sizes {
        Sizes { max: rules.max_batch, allowed: rules.allowed_sizes.clone(), bytes: rules.bounds.bytes }
    }

    /// The size that so many rows are run at.
    fn run_at(&self, rows: usize) -> usize {
        self.allowed.iter().copied().find(|size| *size >= rows).unwrap_or(rows)
    }

    /// The largest allowed size below so many rows.
    fn below(&self, rows: usize) -> Option<usize> {
        self.allowed.iter().copied().rev().find(|size| *size < rows)
    }
}

/// What a decision depends on beside what waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// How long a call may wait for others while a slot is free.
    pub(super) delay: Duration,
    /// How much earlier than its deadline a run must be over, for the way back.
    pub(super) margin: Duration,
    /// Whether the process is leaving.
    pub(super) leaving: bool,
}

/// Calls that go together.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) members: SmallVec<[Waiting; 1]>,
    pub(super) rows: usize,
    /// What is run: with the rows that fill it up to an allowed size, and with padding.
    pub(super) work: Work,
    /// Whether its calls are padded to their buckets.
    pub(super) padded: bool,
    pub(super) closed: Close,
}

/// Whether a lane's calls should wait for others no longer, and why.
pub(super) fn ripe(lane: &Lane, cost: &Cost, sizes: &Sizes, moment: &Moment) -> Option<Close> {
    // Lanes hold either calls that merge or calls that do not.
    if moment.delay.is_zero() || lane.from(0).next().is_some_and(|first| !first.merges) {
        return Some(Close::SlotFree);
    }
    if lane.rows() >= sizes.max {
        return Some(Close::Full);
    }
    if moment.leaving {
        return Some(Close::Drain);
    }
    if held_until(lane, moment.delay).is_none_or(|until| until <= moment.now) {
        return Some(Close::Delay);
    }
    (latest_start(lane, cost, sizes, moment)? <= moment.now).then_some(Close::Deadline)
}

/// When a lane is ripe if nothing else happens; `None` where it is so already.
pub(super) fn ripe_at(lane: &Lane, cost: &Cost, sizes: &Sizes, moment: &Moment) -> Option<Instant> {
    if ripe(lane, cost, sizes, moment).is_some() {
        return None;
    }
    let until = held_until(lane, moment.delay)?;
    Some(latest_start(lane, cost, sizes, moment).map_or(until, |start| start.min(until)))
}

/// Until when a lane's calls wait for others: each for the delay, and one whose place in the queue ends before its
/// deadline for half of its time there at most, so that it still goes. Lanes that are held have fewer rows than a batch
/// may have, so that few are looked at.
fn held_until(lane: &Lane, delay: Duration) -> Option<Instant> {
    let until = |waiting: &Waiting| match waiting.due < waiting.deadline {
        true => waiting.arrived + delay.min(waiting.due.saturating_duration_since(waiting.arrived) / 2),
        false => waiting.arrived + delay,
    };
    lane.from(0).map(until).min()
}

/// When a run of all that waits in a lane must begin to be in time for the first deadline, though a timer begins it;
/// halfway to it where nobody knows yet what a run takes.
fn latest_start(lane: &Lane, cost: &Cost, sizes: &Sizes, moment: &Moment) -> Option<Instant> {
    let first = lane.from(0).next()?;
    let rows = sizes.run_at(lane.rows().min(sizes.max));
    let work = Work { shape: lane.shape, rows, elements: first.padded_elements / first.rows.max(1) * rows };
    let deadline = lane.from(0).map(|waiting| waiting.deadline).min()?;
    match cost.predict(work) {
        Some(run) => Some(deadline.checked_sub(run + moment.margin + TIMER).unwrap_or(moment.now)),
        None => {
            let since = lane.from(0).map(|waiting| waiting.arrived).min()?;
            Some(since + deadline.saturating_duration_since(since) / 2)
        }
    }
}

/// Takes a batch of a lane, beginning with the calls of `level`. `None` where none of them could be answered in time:
/// those that were looked at are late.
pub(super) fn close(lane: &mut Lane, level: usize, scope: &Scope<'_>, late: &mut Vec<Waiting>) -> Option<Taken> {
    let (mut most, mut limit) = (WINDOW, scope.worth(lane, level)?);
    while lane.has(level) {
        let plan = scope.plan(lane, level, most, limit)?;
        if scope.is_in_time(&plan) {
            return Some(taken(lane, level, &plan));
        }
        if plan.calls > 1 && lane.rows() <= scope.limit() {
            // With fewer rows it is through earlier, and the others have the next slot.
            most = plan.calls - 1;
            continue;
        }
        // More waits than fits. A call for whose sake all would run in smaller batches is the one to lose, but where no
        // batch of that size could be filled with calls that are in time, a smaller one is.
        match scope.filled(lane, level, limit, &plan) {
            Some(rows) if rows < limit && plan.calls > 1 => limit = rows,
            _ => late.extend(lose(lane, level, plan.deadline)),
        }
        most = WINDOW;
    }
    None
}

/// What a batch must keep to.
pub(super) struct Scope<'a> {
    pub(super) cost: &'a Cost,
    pub(super) sizes: &'a Sizes,
    /// Rows that the slot takes.
    pub(super) room: usize,
    pub(super) moment: &'a Moment,
}

/// Calls that might go together: the first so many of a lane, or of those of one shape in it.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Where only calls of one shape are taken, which.
    own: Option<u64>,
    calls: usize,
    rows: usize,
    /// Bytes of their inputs where they are padded.
    bytes: usize,
    work: Work,
    padded: bool,
    closed: Close,
    deadline: Instant,
}

impl Plan {
    /// Rows by time, where the time can be told.
    fn rate(&self, cost: &Cost) -> Option<f64> {
        let time = cost.predict(self.work)?;
        Some(self.rows as f64 / time.as_nanos().max(1) as f64)
    }

    /// This one, unless the other is predicted to be so many times better.
    fn unless_worse_than(self, other: Option<Plan>, by: f64, cost: &Cost) -> Plan {
        let Some(other) = other else { return self };
        match (self.rate(cost), other.rate(cost)) {
            (Some(own), Some(rate)) if rate > own * by => other,
            _ => self,
        }
    }
}

impl Scope<'_> {
    fn limit(&self) -> usize {
        self.sizes.max.min(self.room)
    }

    fn is_in_time(&self, plan: &Plan) -> bool {
        let Some(run) = self.cost.predict(plan.work) else { return true };
        let now = self.moment.now;
        !self.cost.is_fresh(trusted_for(run), now) || self.makes_it(plan.deadline, run)
    }

    /// Rows that are worth to be run together: beyond them none gets cheaper, and all wait longer for their answers
    /// while other instances have nothing to do.
    fn worth(&self, lane: &Lane, level: usize) -> Option<usize> {
        let first = lane.from(level).next()?;
        let worth = if self.sizes.allowed.is_empty() { self.cost.worth(first.work(), BESIDE) } else { usize::MAX };
        Some(self.limit().min(worth))
    }

    /// Whether a call is answered in time that is run now for so long.
    fn makes_it(&self, deadline: Instant, run: Duration) -> bool {
        self.moment.now + run + self.moment.margin <= deadline
    }

    /// The largest batch, of `limit` rows or half of that or half again, that can be filled with calls that are all in
    /// time; `None` where there is none.
    fn filled(&self, lane: &Lane, level: usize, limit: usize, plan: &Plan) -> Option<usize> {
        let sizes = std::iter::successors(Some(limit), |rows| (*rows > 1).then_some(rows / 2));
        sizes.into_iter().find(|rows| {
            let elements = plan.work.elements / plan.work.rows.max(1) * rows;
            let Some(run) = self.cost.predict(Work { rows: *rows, elements, ..plan.work }) else { return true };
            let in_time = lane.from(level).take(WINDOW).filter(|waiting| self.makes_it(waiting.deadline, run));
            in_time.map(|waiting| waiting.rows).sum::<usize>() >= *rows
        })
    }

    /// The best use of a slot for at most so many calls of a lane with at most `limit` rows: those of the first one's
    /// shape, or with padding also others; and filled up to an allowed size, or cut down to one.
    fn plan(&self, lane: &Lane, level: usize, most: usize, limit: usize) -> Option<Plan> {
        let first = lane.from(level).next()?;
        let all = self.together(lane, level, most, limit, None)?;
        let plan = if all.padded {
            let own = self.together(lane, level, most, limit, Some(first.own_shape))?;
            let fits = all.calls > own.calls && all.bytes <= self.sizes.bytes;
            own.unless_worse_than(fits.then_some(all), PADDING_PAYS, self.cost)
        } else {
            all
        };
        let smaller = self.sizes.below(plan.rows).filter(|_| self.sizes.run_at(plan.rows) > plan.rows);
        let smaller = smaller.and_then(|rows| self.together(lane, level, most, rows, plan.own));
        Some(plan.unless_worse_than(smaller, SMALLER_PAYS, self.cost))
    }

    fn together(&self, lane: &Lane, level: usize, most: usize, limit: usize, own: Option<u64>) -> Option<Plan> {
        let mut choice = Choice { own, limit, most, calls: 0, rows: 0, full: false };
        let (mut elements, mut padded_elements, mut bytes, mut deadline, mut shapes) = (0, 0, 0usize, None, None);
        let mut fills = true;
        for waiting in lane.from(level).take(WINDOW) {
            match choice.look(waiting) {
                Wanted::No => continue,
                Wanted::Enough => break,
                Wanted::Yes => {}
            }
            fills &= waiting.fills;
            elements += waiting.elements;
            padded_elements += waiting.padded_elements;
            bytes = bytes.saturating_add(waiting.padded_bytes());
            deadline = Some(deadline.map_or(waiting.deadline, |earliest: Instant| earliest.min(waiting.deadline)));
            let (shape, mixed) = shapes.unwrap_or((waiting.own_shape, false));
            shapes = Some((shape, mixed || shape != waiting.own_shape));
        }
        let (shape, padded) = shapes?;
        let rows = if fills { self.sizes.run_at(choice.rows) } else { choice.rows };
        let (shape, elements) = if padded { (lane.shape, padded_elements) } else { (shape, elements) };
        let work = Work { shape, rows, elements: elements / choice.rows.max(1) * rows };
        let closed = match (choice.full, most < WINDOW) {
            (true, _) => Close::Full,
            (false, true) => Close::Deadline,
            (false, false) => Close::SlotFree,
        };
        let Choice { calls, rows, .. } = choice;
        Some(Plan { own, calls, rows, bytes, work, padded, closed, deadline: deadline? })
    }
}

/// Which calls go together, looked at one after another.
struct Choice {
    own: Option<u64>,
    limit: usize,
    most: usize,
    calls: usize,
    rows: usize,
    full: bool,
}

impl Choice {
    fn look(&mut self, waiting: &Waiting) -> Wanted {
        if self.full || self.calls == self.most {
            return Wanted::Enough;
        }
        if self.own.is_some_and(|own| own != waiting.own_shape) || (self.calls > 0 && !waiting.merges) {
            return Wanted::No;
        }
        // The first is taken whatever its size: it could not be in any other batch either.
        if self.calls > 0 && self.rows + waiting.rows > self.limit {
            self.full = true;
            return Wanted::Enough;
        }
        self.calls += 1;
        self.rows += waiting.rows;
        self.full = !waiting.merges || self.rows >= self.limit;
        Wanted::Yes
    }
}

fn taken(lane: &mut Lane, level: usize, plan: &Plan) -> Taken {
    let mut left = plan.calls;
    let members = lane.take(level, plan.calls, |waiting| match plan.own {
        _ if left == 0 => Wanted::Enough,
        Some(own) if own != waiting.own_shape => Wanted::No,
        _ if left < plan.calls && !waiting.merges => Wanted::No,
        _ => {
            left -= 1;
            Wanted::Yes
        }
    });
    Taken { members, rows: plan.rows, work: plan.work, padded: plan.padded, closed: plan.closed }
}

/// Takes out the first call that has this deadline.
fn lose(lane: &mut Lane, level: usize, deadline: Instant) -> SmallVec<[Waiting; 1]> {
    let mut lost = false;
    lane.take(level, 1, |waiting| match (lost, waiting.deadline == deadline) {
        (true, _) => Wanted::Enough,
        (false, false) => Wanted::No,
        (false, true) => {
            lost = true;
            Wanted::Yes
        }
    })
}

#[cfg(test)]
mod tests;
