//! What a slot is best used for: how many of a lane's calls go together, padded or not, and whether they would be in
//! time. Decisions only.

use std::time::{Duration, Instant};

use super::closing::{Moment, Sizes};
use super::lane::{Lane, Waiting, Wanted, trusted_for};
use crate::cost::{Cost, Work};
use crate::infer::Close;

/// Padding must be predicted to be better by this much: predictions are off, and its elements are sure to be computed.
const PADDING_PAYS: f64 = 1.5;
/// A smaller batch must be predicted to be better by this much than one that is filled up.
const SMALLER_PAYS: f64 = 1.1;
/// Calls that are looked at for a batch; those behind wait for the next.
pub(super) const WINDOW: usize = 1024;

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
pub(super) struct Plan {
    /// Where only calls of one shape are taken, which.
    pub(super) own: Option<u64>,
    pub(super) calls: usize,
    pub(super) rows: usize,
    /// Bytes of their inputs where they are padded.
    pub(super) bytes: usize,
    pub(super) work: Work,
    pub(super) padded: bool,
    pub(super) closed: Close,
    /// The first deadline, and when the run must be over for all to be in time.
    pub(super) deadline: Instant,
    pub(super) back: Instant,
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
    pub(super) fn limit(&self) -> usize {
        self.sizes.max.min(self.room)
    }

    pub(super) fn is_in_time(&self, plan: &Plan) -> bool {
        let Some(run) = self.cost.predict(plan.work) else { return true };
        let now = self.moment.now;
        !self.cost.is_fresh(trusted_for(run), now) || self.moment.now + run <= plan.back
    }

    /// Rows that are worth to be run together, and for which the slot has room.
    pub(super) fn worth(&self, lane: &Lane, level: usize) -> Option<usize> {
        let first = lane.from(level).next()?;
        Some(self.room.min(self.sizes.worth(self.cost, first.work())))
    }

    /// Whether a call is answered in time that is run now for so long.
    fn makes_it(&self, waiting: &Waiting, run: Duration) -> bool {
        self.moment.now + run <= waiting.back_by(self.moment.margin)
    }

    /// The largest batch, of `limit` rows or half of that or half again, that can be filled with calls that are all in
    /// time; `None` where there is none.
    pub(super) fn filled(&self, lane: &Lane, level: usize, limit: usize, plan: &Plan) -> Option<usize> {
        let sizes = std::iter::successors(Some(limit), |rows| (*rows > 1).then_some(rows / 2));
        sizes.into_iter().find(|rows| {
            let elements = plan.work.elements / plan.work.rows.max(1) * rows;
            let Some(run) = self.cost.predict(Work { rows: *rows, elements, ..plan.work }) else { return true };
            let in_time = lane.from(level).take(WINDOW).filter(|waiting| self.makes_it(waiting, run));
            in_time.map(|waiting| waiting.rows).sum::<usize>() >= *rows
        })
    }

    /// The best use of a slot for at most so many calls of a lane with at most `limit` rows: those of the first one's
    /// shape, or with padding also others; and filled up to an allowed size, or cut down to one.
    pub(super) fn plan(&self, lane: &Lane, level: usize, most: usize, limit: usize) -> Option<Plan> {
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
        let (mut elements, mut padded_elements, mut bytes, mut times, mut shapes) = (0, 0, 0usize, None, None);
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
            let own_times = (waiting.deadline, waiting.back_by(self.moment.margin));
            times = Some(times.map_or(own_times, |(deadline, back): (Instant, Instant)| {
                (deadline.min(own_times.0), back.min(own_times.1))
            }));
            let (shape, mixed) = shapes.unwrap_or((waiting.own_shape, false));
            shapes = Some((shape, mixed || shape != waiting.own_shape));
        }
        let ((shape, padded), (deadline, back)) = (shapes?, times?);
        let rows = if fills { self.sizes.run_at(choice.rows) } else { choice.rows };
        let (shape, elements) = if padded { (lane.shape, padded_elements) } else { (shape, elements) };
        let work = Work { shape, rows, elements: elements / choice.rows.max(1) * rows };
        let closed = match (choice.full, most < WINDOW) {
            (true, _) => Close::Full,
            (false, true) => Close::Deadline,
            (false, false) => Close::SlotFree,
        };
        let Choice { calls, rows, .. } = choice;
        Some(Plan { own, calls, rows, bytes, work, padded, closed, deadline, back })
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
