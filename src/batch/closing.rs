//! When a batch is closed, and with whom: as much as goes together, no more than may, and nothing that would come too
//! late. Decisions only; `now` is passed in.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::lane::{Lane, Waiting, Wanted};
use super::plan::{Plan, Scope, WINDOW};
use super::rules::Rules;
use crate::cost::{Cost, Work};
use crate::infer::Close;

/// A timer rings up to a millisecond late, and who is woken by it has to be run. A call that is held to the last moment
/// would be lost then.
const TIMER: Duration = Duration::from_millis(2);

/// What a batch costs beside its execution: to wake an instance, to put it together and to take it apart. Measured as
/// 10 to 30 microseconds.
const BESIDE: Duration = Duration::from_micros(20);

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

    /// Rows that are worth to be run together: beyond them none gets cheaper, and all wait longer for their answers
    /// while other instances have nothing to do.
    pub(super) fn worth(&self, cost: &Cost, work: Work) -> usize {
        let worth = if self.allowed.is_empty() { cost.worth(work, BESIDE) } else { usize::MAX };
        self.max.min(worth)
    }

    /// The size that so many rows are run at.
    pub(super) fn run_at(&self, rows: usize) -> usize {
        self.allowed.iter().copied().find(|size| *size >= rows).unwrap_or(rows)
    }

    /// The largest allowed size below so many rows.
    pub(super) fn below(&self, rows: usize) -> Option<usize> {
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
    match cost.predict(work) {
        Some(run) => {
            let back = lane.from(0).map(|waiting| waiting.back_by(moment.margin)).min()?;
            Some(back.checked_sub(run + TIMER).unwrap_or(moment.now))
        }
        None => {
            let deadline = lane.from(0).map(|waiting| waiting.deadline).min()?;
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
