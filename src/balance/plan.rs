//! Late binding: calls wait at the gateway, are laid out over the endpoints by earliest predicted completion, and go out
//! only when the endpoint that the plan gave them can take them. Plain numbers; whoever holds the queue and the
//! connections asks again when one of them has changed.

use std::time::Duration;

use super::load::Line;

/// An endpoint, as a plan sees it. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seat {
    /// When a batch that is sent now could begin there, counted from now.
    pub free_in: f64,
    /// What runs take there.
    pub line: Line,
    /// What failures there cost a call on average.
    pub penalty: f64,
    /// Rows that it may be sent now; 0 where it has no open slot.
    pub room: usize,
    /// Whether only a full batch may be sent now, as its slot is not open yet, though soon.
    pub only_full: bool,
    /// When a slot opens by itself if no answer comes before; `None` where only an answer opens it.
    pub opens_in: Option<f64>,
}

impl Seat {
    /// How much it takes now of what was planned for it.
    fn takes(&self, planned: usize, largest: usize) -> usize {
        if self.only_full && planned.min(self.room) < largest { 0 } else { planned.min(self.room) }
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
    seats: Vec<Planned>,
    /// The endpoint with which the last plan began.
    turn: usize,
}

/// What a plan gives an endpoint.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// When the batch begins that is being filled, in nanoseconds from now.
    begins: f64,
    /// When it would be done with one row more, with what failures cost.
    ends: f64,
    /// Rows in it.
    rows: usize,
    /// Rows of the first batch, once it is full; until then 0.
    first: usize,
    /// What rows cost there.
    line: Line,
    penalty: f64,
}

impl Planner {
    /// One that goes through the endpoints beginning with that one; best another for each gateway.
    pub fn starting_at(turn: usize) -> Planner {
        Planner { seats: Vec::new(), turn }
    }

    /// What to do now with `rows` that wait, of which `largest` may go in one batch.
    ///
    /// Row by row, in the order in which they wait, each is given to the endpoint that would be done with it first:
    /// beside others in the batch that is planned there, or in one after it. What the plan gives to an endpoint with an
    /// open slot goes there now, beginning with the calls that have waited longest.
    pub fn next(&mut self, rows: usize, largest: usize, seats: &[Seat]) -> Decision {
        self.begin(seats);
        for _ in 0..rows {
            let ends = self.seats.iter().map(|seat| seat.ends).enumerate();
            let Some((to, _)) = ends.min_by(|(_, one), (_, other)| one.total_cmp(other)) else { break };
            self.seats[to].add(largest);
        }
        let (before, from) = seats.split_at(self.turn);
        let given = self.seats.iter().zip(from.iter().chain(before)).enumerate();
        let given = given.map(|(to, (planned, seat))| (to, seat.takes(planned.first_batch(), largest), planned));
        let open = given.filter(|(_, rows, _)| *rows > 0);
        match open.min_by(|(_, _, one), (_, _, other)| one.line.run.total_cmp(&other.line.run)) {
            Some((to, rows, _)) => Decision::Send { to: (to + self.turn) % seats.len(), rows },
            None => {
                let opens = seats.iter().filter(|seat| seat.room == 0).filter_map(|seat| seat.opens_in);
                let until = opens.min_by(f64::total_cmp);
                Decision::Hold { until: until.map(|nanos| Duration::from_nanos(nanos as u64)) }
            }
        }
    }

    fn begin(&mut self, seats: &[Seat]) {
        // Gateways that know the same must not all begin with the same endpoint.
        self.turn = (self.turn + 1) % seats.len().max(1);
        let (before, from) = seats.split_at(self.turn.min(seats.len()));
        self.seats.clear();
        self.seats.extend(from.iter().chain(before).map(|seat| {
            let line = seat.line;
            let begins = seat.free_in;
            Planned {
                begins,
                ends: begins + line.time(1.0) + seat.penalty,
                rows: 0,
                first: 0,
                line,
                penalty: seat.penalty,
            }
        }));
    }
}

impl Planned {
    fn add(&mut self, largest: usize) {
        self.rows += 1;
        if self.rows >= largest {
            if self.first == 0 {
                self.first = self.rows;
            }
            self.begins += self.line.time(self.rows as f64);
            self.rows = 0;
        }
        self.ends = self.begins + self.line.time(self.rows as f64 + 1.0) + self.penalty;
    }

    fn first_batch(&self) -> usize {
        if self.first > 0 { self.first } else { self.rows }
    }
}
