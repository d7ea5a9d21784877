//! The endpoints of one model, bound late: a place where batches run. Calls wait in front of it, are laid out over the
//! endpoints by earliest predicted completion, and go out as one message once the endpoint that the plan gives them can
//! take it. An endpoint has no more rows from here than it runs at one time and a batch beside those; only what is sent
//! anew after a failure may come on top. To one that does not say how busy it is calls go one by one, as they come.

mod sending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::member::{Member, Sent};
use super::now;
use super::pick::{Candidate, Zones};
use super::plan::{Decision, Planner, Seat};
use super::pool::{Pool, Tried};
use crate::infer::{Backlog, Batch, Place, Slot};

/// Grants slots at the endpoints of a pool.
pub struct Fleet {
    pool: Arc<Pool>,
    /// Rows of the largest batch.
    largest: usize,
    planner: Planner,
    /// Those that take batches, and how the plan sees each. Kept between plans for their room.
    open: Vec<Arc<Member>>,
    seats: Vec<Seat>,
    timer: Option<Timer>,
    runtime: Handle,
}

impl Fleet {
    /// The members of `pool` as a place for batches of so many rows at most. To be called within a runtime, on which its
    /// batches are sent.
    pub fn new(pool: Arc<Pool>, largest: usize) -> Fleet {
        let (open, seats) = Default::default();
        // Another turn for each gateway, so that those with the same list do not all begin with the same endpoint.
        let planner = Planner::starting_at(fastrand::u16(..).into());
        Fleet { pool, largest: largest.max(1), planner, open, seats, timer: None, runtime: Handle::current() }
    }

    /// A slot for some of the rows that wait, or when something changes by itself.
    fn decide(&mut self, rows: usize, now: Instant) -> Result<FleetSlot, Option<Duration>> {
        // Whoever is to be tried again is tried with as little as may be.
        if let Some(sent) = self.pool.probe(&Tried::new(), 1, now) {
            return Ok(self.slot(Some(sent), 1));
        }
        self.look(now);
        let decided = self.planned(rows, now);
        // Whoever leaves the pool is not held.
        self.open.clear();
        decided
    }

    /// What the plan says of those that were looked at.
    fn planned(&mut self, rows: usize, now: Instant) -> Result<FleetSlot, Option<Duration>> {
        while !self.open.is_empty() {
            match self.planner.next(rows, self.largest, &self.seats) {
                Decision::Hold { until } => return Err(until),
                Decision::Send { to, rows } => match self.open[to].enter(rows_of(rows), now) {
                    Some(sent) => return Ok(self.slot(Some(sent), rows)),
                    // Between the look and the way in another call has become its probe.
                    None => {
                        self.open.swap_remove(to);
                        self.seats.swap_remove(to);
                    }
                },
            }
        }
        // Nobody is to be waited for: the batch is told why, as a call without a queue is.
        Ok(self.slot(None, self.largest))
    }

    /// Takes down who takes batches.
    fn look(&mut self, now: Instant) {
        let members = self.pool.members();
        self.open.clear();
        self.seats.clear();
        // Who keeps old reports is in front of all of them.
        let doubted = members.iter().any(|member| member.load().has_doubtful_reports(now));
        for (member, is_far) in members.by_zone().filter(|(member, _)| member.admits(now)) {
            let mut seat = member.load().seat(doubted, now);
            if is_far {
                seat.free_in += Zones::default().margin.as_nanos() as f64;
            }
            if !doubted && member.load().reports() {
                seat = within(self.largest, seat, member.load().rows());
            }
            self.open.push(member.clone());
            self.seats.push(seat);
        }
    }

    fn slot(&self, sent: Option<Sent>, rows: usize) -> FleetSlot {
        FleetSlot { pool: self.pool.clone(), sent, rows, runtime: self.runtime.clone() }
    }

    /// Has `waker` woken when that time is over, unless it will be earlier. There is one timer.
    fn set_timer(&mut self, until: Option<Duration>, waker: &Waker, now: Instant) {
        let Some(rings) = until.map(|until| now + until) else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.rings > now && timer.rings <= rings) {
            return;
        }
        let waker = waker.clone();
        let ringing = self.runtime.spawn(async move {
            tokio::time::sleep_until(rings.into()).await;
            waker.wake();
        });
        self.timer = Some(Timer { rings, ringing });
    }
}

impl Place for Fleet {
    type Slot = FleetSlot;

    fn poll_slot(&mut self, cx: &mut Context<'_>, waiting: &Backlog) -> Poll<FleetSlot> {
        if let Ok(slot) = self.decide(waiting.rows, now()) {
            return Poll::Ready(slot);
        }
        // What changes from here on wakes; what has changed until here is seen by a second look.
        let tactics = self.pool.tactics();
        tactics.bell.wait(cx.waker());
        tactics.stir();
        let now = now();
        match self.decide(waiting.rows, now) {
            Ok(slot) => Poll::Ready(slot),
            Err(until) => {
                self.set_timer(until, cx.waker(), now);
                Poll::Pending
            }
        }
    }
}

/// A place at an endpoint for one batch, taken until the batch is over or this is dropped.
pub struct FleetSlot {
    pool: Arc<Pool>,
    /// Where it is; `None` where nobody takes a batch now.
    sent: Option<Sent>,
    rows: usize,
    runtime: Handle,
}

impl Slot for FleetSlot {
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(mut self, batch: Batch) {
        let mut sent = self.sent.take();
        if let Some(sent) = &mut sent {
            sent.resize(rows_of(batch.composition.rows));
        }
        self.runtime.spawn(sending::send(self.pool.clone(), sent, batch));
    }
}

impl Drop for FleetSlot {
    fn drop(&mut self) {
        if let Some(mut sent) = self.sent.take() {
            sent.resize(0);
        }
    }
}

/// With room for no more than keeps its instances busy and one batch more, while so many rows are there from here: who
/// takes longer than it says gets no more until it has answered.
fn within(largest: usize, seat: Seat, there: u32) -> Seat {
    let most = largest.saturating_mul((seat.line.instances as usize).saturating_add(1));
    match most.saturating_sub(there as usize) {
        0 => Seat { room: 0, opens_in: None, ..seat },
        left => Seat { room: seat.room.min(left), ..seat },
    }
}

fn rows_of(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Wakes at a time; dropped it does not.
struct Timer {
    rings: Instant,
    ringing: JoinHandle<()>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.ringing.abort();
    }
}
