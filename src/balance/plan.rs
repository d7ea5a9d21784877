//! Late binding: calls wait at the gateway, are laid out over the endpoints by earliest predicted completion, and go out
//! only when the endpoint that the plan gave them can take them. Plain numbers; whoever holds the queue and the
//! connections asks again when one of them has changed.

use std::time::Duration;

use super::load::Line;

/// Rows that are laid out at most: those behind them change nothing of what can go now, unless more endpoints than that
/// are idle at once, which the next plan sees to.
const HORIZON: usize = 1024;

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
    /// When each endpoint would be done with one row more, with what failures cost, in nanoseconds from now. Apart from
    /// the rest, as a plan goes through it once for each row.
    ends: Vec<f64>,
    /// The endpoint with which the last plan began.
    turn: usize,
}

/// What a plan gives an endpoint.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// When the batch begins that is being filled, in nanoseconds from now.
    begins: f64,
    /// Rows in it.
    rows: usize,
    /// Rows of the first batch, once it is full; until then 0.
    first: usize,
    seat: Seat,
}

impl Planner {
    /// One that goes through the endpoints beginning with that one; best another for each gateway.
    pub fn starting_at(turn: usize) -> Planner {
        Planner { turn, ..Planner::default() }
    }

    /// What to do now with `rows` that wait, of which `largest` may go in one batch.
    ///
    /// Row by row, in the order in which they wait, each is given to the endpoint that would be done with it first:
    /// beside others in the batch that is planned there, or in one after it. What the plan gives to an endpoint with an
    /// open slot goes there now, beginning with the calls that have waited longest.
    pub fn next(&mut self, rows: usize, largest: usize, seats: &[Seat]) -> Decision {
        self.begin(seats);
        for _ in 0..rows.min(HORIZON) {
            let Some(to) = least(&self.ends) else { break };
            self.ends[to] = self.seats[to].add(largest);
        }
        let given = self.seats.iter().enumerate().filter(|(_, planned)| planned.goes(largest) > 0);
        let fastest = given.min_by(|(_, one), (_, other)| one.seat.line.run.total_cmp(&other.seat.line.run));
        match fastest {
            Some((to, planned)) => Decision::Send { to: (to + self.turn) % seats.len(), rows: planned.goes(largest) },
            None => Decision::Hold { until: opens(seats) },
        }
    }

    fn begin(&mut self, seats: &[Seat]) {
        // Gateways that know the same must not all begin with the same endpoint.
        self.turn = (self.turn + 1) % seats.len().max(1);
        let (before, from) = seats.split_at(self.turn.min(seats.len()));
        let seats = || from.iter().chain(before);
        self.seats.clear();
        self.seats.extend(seats().map(|seat| Planned { begins: seat.free_in, rows: 0, first: 0, seat: *seat }));
        self.ends.clear();
        self.ends.extend(seats().map(|seat| seat.free_in + seat.line.time(1.0) + seat.penalty));
    }
}

/// When the first slot opens by itself.
fn opens(seats: &[Seat]) -> Option<Duration> {
    let closed = seats.iter().filter(|seat| seat.room == 0 || seat.only_full);
    let first = closed.filter_map(|seat| seat.opens_in).min_by(f64::total_cmp);
    first.map(|nanos| Duration::from_nanos(nanos as u64))
}

/// The index of the least; the first of equals.
fn least(values: &[f64]) -> Option<usize> {
    let (mut least, mut at) = (f64::INFINITY, None);
    for (index, value) in values.iter().enumerate() {
        if *value < least {
            (least, at) = (*value, Some(index));
        }
    }
    at
}

impl Planned {
    /// Gives it one row more, and tells when it would be done with another.
    fn add(&mut self, largest: usize) -> f64 {
        let Seat { line, penalty, .. } = self.seat;
        self.rows += 1;
        if self.rows >= largest {
            if self.first == 0 {
                self.first = self.rows;
            }
            self.begins += line.time(self.rows as f64);
            self.rows = 0;
        }
        self.begins + line.time(self.rows as f64 + 1.0) + penalty
    }

    /// How much of its first batch may go now.
    fn goes(&self, largest: usize) -> usize {
        let planned = if self.first > 0 { self.first } else { self.rows };
        self.seat.takes(planned, largest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLIS: f64 = 1e6;

    fn line(run: f64, row: f64) -> Line {
        Line { run: run * MILLIS, row: row * MILLIS, largest: 8.0, instances: 1.0 }
    }

    /// An endpoint that is idle.
    fn idle(run: f64) -> Seat {
        Seat { free_in: 0.0, line: line(run, 1.0), penalty: 0.0, room: 8, only_full: false, opens_in: None }
    }

    /// One that is busy for so long.
    fn busy(run: f64, free_in: f64) -> Seat {
        let free_in = free_in * MILLIS;
        Seat { free_in, room: 0, opens_in: Some(free_in), ..idle(run) }
    }

    fn plan(rows: usize, seats: &[Seat]) -> Decision {
        Planner::default().next(rows, 8, seats)
    }

    #[test]
    fn a_call_goes_to_an_idle_endpoint_at_once_and_to_the_fastest() {
        assert_eq!(plan(1, &[idle(8.0), idle(4.0), idle(8.0)]), Decision::Send { to: 1, rows: 1 });
    }

    #[test]
    fn a_call_waits_for_a_fast_endpoint_rather_than_go_to_a_slow_one() {
        let Decision::Hold { until: Some(until) } = plan(1, &[busy(4.0, 2.0), idle(16.0)]) else { panic!("it waits") };
        assert_eq!(until, Duration::from_millis(2));
        assert_eq!(plan(1, &[busy(4.0, 20.0), idle(16.0)]), Decision::Send { to: 1, rows: 1 });
    }

    #[test]
    fn with_more_waiting_the_slow_one_is_used_as_well() {
        let seats = [busy(4.0, 2.0), idle(16.0)];
        assert!(matches!(plan(4, &seats), Decision::Hold { .. }));
        assert!(matches!(plan(30, &seats), Decision::Send { to: 1, .. }));
    }

    #[test]
    fn calls_spread_over_idle_endpoints_rather_than_go_together() {
        let seats = [idle(4.0), idle(4.0), idle(4.0)];
        assert!(matches!(plan(3, &seats), Decision::Send { rows: 1, .. }));
        assert!(matches!(plan(24, &seats), Decision::Send { rows: 8, .. }));
    }

    #[test]
    fn plans_that_know_the_same_begin_with_different_endpoints() {
        let seats = [idle(4.0), idle(4.0), idle(4.0)];
        let to = |turn| match Planner::starting_at(turn).next(1, 8, &seats) {
            Decision::Send { to, .. } => to,
            Decision::Hold { .. } => panic!("all are idle"),
        };
        let mut all = [to(0), to(1), to(2)];
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    #[test]
    fn an_endpoint_that_fails_is_left_alone() {
        let failing = Seat { penalty: 5000.0 * MILLIS, ..idle(1.0) };
        assert_eq!(plan(1, &[failing, idle(16.0)]), Decision::Send { to: 1, rows: 1 });
    }

    #[test]
    fn a_slot_that_opens_soon_takes_a_full_batch_only() {
        let soon = Seat { only_full: true, room: 8, ..busy(4.0, 1.0) };
        assert!(matches!(plan(5, &[soon]), Decision::Hold { .. }));
        assert_eq!(plan(9, &[soon]), Decision::Send { to: 0, rows: 8 });
    }

    #[test]
    fn without_endpoints_or_calls_nothing_is_sent() {
        assert_eq!(plan(5, &[]), Decision::Hold { until: None });
        assert!(matches!(plan(0, &[idle(4.0)]), Decision::Hold { .. }));
    }

    fn seats() -> impl Strategy<Value = Vec<Seat>> {
        let seat = (0.0..50.0, 0.1..20.0, 0.0..5.0, 0..10usize, any::<bool>()).prop_map(
            |(free_in, run, row, room, only_full)| Seat { line: line(run, row), room, only_full, ..busy(run, free_in) },
        );
        prop::collection::vec(seat, 1..12)
    }

    proptest! {
        #[test]
        fn only_open_slots_are_given_work_no_more_than_fits_or_waits(
            seats in seats(), rows in 1..60usize, largest in 1..10usize, turn in 0..20usize,
        ) {
            if let Decision::Send { to, rows: sent } = Planner::starting_at(turn).next(rows, largest, &seats) {
                prop_assert!(sent >= 1 && sent <= rows && sent <= largest && sent <= seats[to].room);
                prop_assert!(!seats[to].only_full || sent == largest);
            }
        }

        #[test]
        fn an_idle_fleet_never_waits_and_everything_goes_out(
            runs in prop::collection::vec(0.1..20.0, 1..12), rows in 1..60usize,
        ) {
            let mut seats: Vec<Seat> = runs.iter().map(|run| idle(*run)).collect();
            let (mut planner, mut left) = (Planner::default(), rows);
            prop_assert!(
                matches!(planner.next(left, 8, &seats), Decision::Send { .. }),
                "at least one call goes out at once"
            );
            let mut decisions = 0;
            while left > 0 {
                decisions += 1;
                prop_assert!(decisions < 500, "a plan that waits for nothing gets on");
                match planner.next(left, 8, &seats) {
                    Decision::Send { to, rows } => {
                        prop_assert_eq!(seats[to].room, 8);
                        left -= rows;
                        seats[to] = busy(runs[to], seats[to].line.time(rows as f64) / MILLIS);
                    }
                    Decision::Hold { until } => {
                        let passed = until.unwrap().as_nanos() as f64 + 1.0;
                        for (seat, run) in seats.iter_mut().zip(&runs) {
                            let free_in = (seat.free_in - passed).max(0.0) / MILLIS;
                            *seat = if free_in == 0.0 { idle(*run) } else { busy(*run, free_in) };
                        }
                    }
                }
            }
        }
    }
}
