//! Late binding: calls wait at the gateway, are laid out over the endpoints by earliest predicted completion, and go out
//! only when the endpoint that the plan gave them can take them. Plain numbers; whoever holds the queue and the
//! connections asks again when one of them has changed.

use std::time::Duration;

use std::time::Instant;

use super::load::{Line, Load};

/// An endpoint, as a plan sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seat {
    /// When a batch that is sent now could begin there, counted from now.
    pub free_in: Duration,
    /// What runs take there.
    pub line: Line,
    /// Whether it may be sent a batch now.
    pub open: bool,
    /// When it opens by itself if no answer comes before; `None` where only an answer opens it.
    pub opens_in: Option<Duration>,
}

/// Batches that an endpoint may have from one gateway: one that runs and one on its way, which hides the network.
const BATCHES: u32 = 2;

impl Seat {
    /// Of an endpoint with that load: it opens when a batch that is sent then arrives as the one that runs ends.
    pub fn of(load: &Load, now: Instant) -> Seat {
        let free_in = load.free_in(now).unwrap_or(Duration::ZERO);
        let has_room = load.calls() < BATCHES;
        let open = has_room && (load.calls() == 0 || free_in.is_zero());
        let opens_in = (has_room && !open).then_some(free_in);
        Seat { free_in, line: load.line(), open, opens_in }
    }
}

/// What to do with calls that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Send the first of them now.
    Send {
        /// To that endpoint, by its index.
        to: usize,
        /// So many rows at most.
        rows: usize,
    },
    /// Keep them, and ask again when an answer, a call or an endpoint has come, or when this time is over.
    Hold {
        /// When something changes by itself.
        until: Option<Duration>,
    },
}

/// Plans, with room that is kept between plans.
#[derive(Debug, Default)]
pub struct Planner {
    /// When each endpoint will have done what the plan has given it so far, in nanoseconds from now.
    free: Vec<f64>,
}

impl Planner {
    /// What to do now with `rows` that wait, of which `largest` may go in one batch.
    pub fn next(&mut self, rows: usize, largest: usize, seats: &[Seat]) -> Decision {
        self.free.clear();
        self.free.extend(seats.iter().map(|seat| seat.free_in.as_nanos() as f64));
        let largest = largest.max(1);
        let mut left = rows;
        while left > 0 {
            let batch = left.min(largest);
            let Some((to, ends)) = self.earliest(batch as f64, seats) else { break };
            if seats[to].open && self.free[to] == seats[to].free_in.as_nanos() as f64 {
                return Decision::Send { to, rows: batch };
            }
            self.free[to] = ends;
            left -= batch;
        }
        Decision::Hold { until: seats.iter().filter_map(|seat| seat.opens_in).min() }
    }

    /// The endpoint that would be done first with a batch, and when.
    fn earliest(&self, rows: f64, seats: &[Seat]) -> Option<(usize, f64)> {
        let ends = self.free.iter().zip(seats).map(|(free, seat)| free + seat.line.time(rows));
        ends.enumerate().min_by(|(_, one), (_, other)| one.total_cmp(other))
    }
}
